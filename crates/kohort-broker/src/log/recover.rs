//! Opening a log: fast after a clean shutdown, sound after a crash.
//!
//! After a clean shutdown indexes and producer states are read and no records but the few behind the last index
//! entry. After a crash every segment that was not known to be on disk (the recovery point; usually only the active one) is
//! walked with its checksums, and cut where the first torn or damaged batch begins. Indexes that are missing or damaged are
//! rebuilt.

use std::collections::VecDeque;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::records::BatchHeader;
use thiserror::Error;

use super::config::LogConfig;
use super::epochs::Epochs;
use super::index::{OffsetIndex, TimeIndex};
use super::producers::Producers;
use super::recent::Recent;
use super::segment::{Active, Sealed, scan};
use super::{Log, compact, files};

/// Why a log cannot be opened.
#[derive(Debug, Error)]
#[error("cannot open the log in `{}`", dir.display())]
pub struct OpenError {
    /// The folder.
    pub dir: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

/// What opening found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Recovered {
    /// Whether the log was closed with [`Log::close`].
    pub clean: bool,
    /// Bytes cut from the tail: an append that a crash interrupted.
    pub truncated_bytes: u64,
    /// Segments that were read with their checksums.
    pub segments_checked: usize,
    /// Segments in the log, the active one included.
    pub segments: usize,
    /// Idempotent producers that are remembered.
    pub producers: usize,
}

impl Log {
    /// Opens the log in `dir`, or makes it. `now_ms` is the broker's time in milliseconds since the epoch.
    pub fn open(dir: &Path, config: LogConfig, now_ms: i64) -> Result<(Self, Recovered), OpenError> {
        let open = || {
            std::fs::create_dir_all(dir)?;
            Recovery::read(dir, config, now_ms)?.run()
        };
        open().map_err(|source| OpenError { dir: dir.to_owned(), source })
    }
}

/// What the small files say, ahead of the records.
struct Recovery {
    dir: PathBuf,
    config: LogConfig,
    now_ms: i64,
    bases: Vec<i64>,
    start_offset: i64,
    recovery_point: i64,
    cleaned_to: i64,
    /// (size of the active segment, end offset), if the last process said good-bye.
    clean: Option<(u64, i64)>,
    found: Recovered,
}

impl Recovery {
    fn read(dir: &Path, config: LogConfig, now_ms: i64) -> io::Result<Self> {
        compact::finish_swaps(dir)?;
        let mut bases = Vec::new();
        for (offset, kind) in files::list(dir)? {
            match kind.as_str() {
                files::LOG => bases.push(offset),
                files::INDEX | files::TIME_INDEX | files::SNAPSHOT => {}
                // Something of ours that was being written when the process ended.
                _ if kind.ends_with(files::PART) => files::remove(&files::path(dir, offset, &kind))?,
                _ => {}
            }
        }
        let checkpoint = numbers(&dir.join(files::CHECKPOINT))?;
        let [start_offset, recovery_point, cleaned_to] = checkpoint.unwrap_or([0; 3]);
        let mark = dir.join(files::CLEAN);
        let clean = numbers(&mark)?.and_then(|[base, size, end]| {
            let really = files::path(dir, base, files::LOG).metadata().ok()?.len();
            (bases.last() == Some(&base) && really == size as u64).then_some((really, end))
        });
        // From the first append on it would be a lie. (It also names the size, should the removal be lost.)
        files::remove(&mark)?;
        let found = Recovered { clean: clean.is_some(), ..Recovered::default() };
        let dir = dir.to_owned();
        Ok(Self { dir, config, now_ms, bases, start_offset, recovery_point, cleaned_to, clean, found })
    }

    fn run(mut self) -> io::Result<(Log, Recovered)> {
        let first = self.bases.first().copied();
        if first.is_none() {
            // Everything was deleted, or nothing was ever here: begin where the log was to begin.
            self.bases.push(self.start_offset);
            self.clean = None;
        }
        let (mut producers, states_at) = self.producers()?;
        let mut epochs = self.epochs()?;
        let mut sealed = VecDeque::new();
        let mut active = None;
        for i in 0..self.bases.len() {
            let base = self.bases[i];
            let next = self.bases.get(i + 1).copied();
            let trusted = next.is_some_and(|next| next <= self.recovery_point);
            if let (Some(next), true) = (next, trusted && base >= 0) {
                let segment = Sealed::trust(&self.dir, base, next, self.config.index_interval_bytes)?;
                if states_at < next {
                    let opened = segment.open()?;
                    scan(&opened.file, 0, segment.size, |_, batch| {
                        if batch.header().base_offset >= states_at {
                            producers.appended(batch.header(), self.now_ms);
                        }
                        epochs.note(batch.header().leader_epoch, batch.header().base_offset);
                        ControlFlow::Continue(())
                    })?;
                }
                sealed.push_back(Arc::new(segment));
                continue;
            }
            let (segment, end, torn) =
                self.segment(base, next.is_none(), &mut producers, states_at, &mut epochs)?;
            if torn {
                self.drop_from(i + 1)?;
                active = Some((segment, end));
                break;
            }
            match next {
                Some(next) => {
                    let mut segment = segment;
                    segment.write_indexes(&self.dir)?;
                    let interval = self.config.index_interval_bytes;
                    sealed.push_back(Arc::new(segment.seal(&self.dir, next, interval, self.now_ms)));
                }
                None => active = Some((segment, end)),
            }
        }
        let Some((active, end_offset)) = active else {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "the recovery point lies beyond the log"));
        };
        self.finish(sealed, active, end_offset, producers, epochs)
    }

    fn finish(
        self,
        sealed: VecDeque<Arc<Sealed>>,
        active: Active,
        end_offset: i64,
        producers: Producers,
        mut epochs: Epochs,
    ) -> io::Result<(Log, Recovered)> {
        let Self { dir, config, now_ms, mut found, .. } = self;
        let first = sealed.front().map_or(active.base_offset, |sealed| sealed.base_offset);
        let start_offset = self.start_offset.clamp(first, end_offset);
        epochs.truncate(end_offset);
        found.segments = sealed.len() + 1;
        found.producers = producers.len();
        let log = Log {
            recent: Recent::new(config.recent_bytes_max, Arc::clone(&config.recent_budget)),
            recovery_point: self.recovery_point.min(end_offset),
            cleaned_to: self.cleaned_to.min(end_offset),
            dir,
            config,
            sealed,
            active,
            start_offset,
            end_offset,
            producers,
            epochs,
            decompressor: None,
            unflushed_records: 0,
            flushed_ms: now_ms,
            broken: false,
            hook: None,
        };
        Ok((log, found))
    }

    /// Walks or resumes one segment. Returns it, the offset after it, and whether something was cut off its end.
    fn segment(
        &mut self,
        base: i64,
        last: bool,
        producers: &mut Producers,
        states_at: i64,
        epochs: &mut Epochs,
    ) -> io::Result<(Active, i64, bool)> {
        let mut segment = Active::open(&self.dir, base, self.now_ms)?;
        let file = Arc::clone(&segment.out.file);
        let size = file.metadata()?.len();
        let clean = self.clean.filter(|_| last && states_at == self.clean.map_or(-1, |clean| clean.1));
        if clean.is_some()
            && let Some(indexes) = read_indexes(&self.dir, base, size)?
        {
            let first = first_header(&file, size)?;
            segment.resume(indexes, first.as_ref());
        } else {
            self.found.segments_checked += 1;
        }
        let from = segment.size;
        let (interval, now_ms, mut next) = (self.config.index_interval_bytes, self.now_ms, base);
        let end = scan(&file, from, size, |_, batch| {
            let header = batch.header();
            // The first batch of a resumed stretch may begin anywhere; from there on offsets rise.
            if header.base_offset < next || batch.check_crc().is_err() {
                return ControlFlow::Break(());
            }
            next = header.next_offset();
            segment.note(header, interval);
            if header.base_offset >= states_at {
                producers.appended(header, now_ms);
            }
            epochs.note(header.leader_epoch, header.base_offset);
            ControlFlow::Continue(())
        })?;
        debug_assert_eq!(end, segment.size);
        if end < size {
            file.set_len(end)?;
            self.found.truncated_bytes += size - end;
        }
        Ok((segment, next, end < size))
    }

    /// The newest producer states that the log reaches, and the offset they are of.
    fn producers(&self) -> io::Result<(Producers, i64)> {
        let mut snapshots = files::list(&self.dir)?;
        snapshots.retain(|(_, kind)| kind == files::SNAPSHOT);
        for (offset, kind) in snapshots.iter().rev() {
            // Of a crash's active segment the end is not known yet: only states at its base or before are of use.
            let of_use = match self.clean {
                Some((_, end)) => *offset <= end,
                None => *offset <= self.recovery_bound(),
            };
            if !of_use {
                continue;
            }
            if let Some(bytes) = files::read_small(&files::path(&self.dir, *offset, kind))?
                && let Some(producers) = Producers::decode(&bytes)
            {
                return Ok((producers, *offset));
            }
        }
        Ok((Producers::default(), self.bases.first().copied().unwrap_or(0)))
    }

    /// Base of the first segment that is checked: anything beyond may be cut, and states of it with it.
    fn recovery_bound(&self) -> i64 {
        let trusted = self.bases.windows(2).take_while(|pair| pair[1] <= self.recovery_point).count();
        self.bases.get(trusted).copied().unwrap_or(0)
    }

    fn epochs(&self) -> io::Result<Epochs> {
        let text = files::read_small(&self.dir.join(files::EPOCHS))?;
        let mut epochs =
            text.and_then(|bytes| Epochs::decode(std::str::from_utf8(&bytes).ok()?)).unwrap_or_default();
        if self.clean.is_none() {
            epochs.truncate(self.recovery_bound());
        }
        Ok(epochs)
    }

    /// A segment was cut: what came after it does not join on any more.
    fn drop_from(&mut self, index: usize) -> io::Result<()> {
        for base in self.bases.drain(index..) {
            let path = files::path(&self.dir, base, files::LOG);
            self.found.truncated_bytes += path.metadata().map_or(0, |data| data.len());
            for kind in [files::LOG, files::INDEX, files::TIME_INDEX, files::SNAPSHOT] {
                files::remove(&files::path(&self.dir, base, kind))?;
            }
        }
        Ok(())
    }
}

fn read_indexes(dir: &Path, base: i64, size: u64) -> io::Result<Option<(OffsetIndex, TimeIndex)>> {
    let index = files::read_small(&files::path(dir, base, files::INDEX))?;
    let times = files::read_small(&files::path(dir, base, files::TIME_INDEX))?;
    let index = index.and_then(|bytes| OffsetIndex::decode(&bytes, size));
    Ok(index.zip(times.and_then(|bytes| TimeIndex::decode(&bytes))))
}

fn first_header(file: &std::fs::File, size: u64) -> io::Result<Option<BatchHeader>> {
    let mut bytes = [0; kohort_protocol::records::HEADER_BYTES];
    if size < bytes.len() as u64 {
        return Ok(None);
    }
    files::read_exact_at(file, &mut bytes, 0)?;
    Ok(BatchHeader::parse(&bytes).ok())
}

/// The numbers of a small text file; `None` if it is missing or damaged.
fn numbers<const N: usize>(path: &Path) -> io::Result<Option<[i64; N]>> {
    let Some(bytes) = files::read_small(path)? else { return Ok(None) };
    let text = String::from_utf8(bytes).unwrap_or_default();
    let numbers: Option<Vec<i64>> = text.split_whitespace().map(|word| word.parse().ok()).collect();
    Ok(numbers.and_then(|numbers| numbers.try_into().ok()))
}
