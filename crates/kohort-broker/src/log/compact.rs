//! Compaction (`cleanup.policy=compact`): of each key the latest record stays, offsets stay what they are.
//!
//! Planned under the log's lock ([`Log::compaction_due`]), done outside it ([`Compaction::run`]), put in place under it
//! ([`Log::compacted`]). Only closed segments are touched. Segments that shrink are written together into one.
//!
//! A new segment is first a `.part`, then, complete and on disk, `<base>.<next>.swap`: it stands for all segments from
//! `base` up to `next`, which are removed before it takes its name. A crash at any point leaves the old segments or a swap
//! file with which opening the log goes on.
//!
//! Source: Kafka's `Cleaner` and `LogCleanerManager`. Where Kafka marks a batch with the time when its tombstones may go
//! (KIP-534), a tombstone here goes with the second compaction that sees it, once its segment was last appended to
//! `delete.retention.ms` ago.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use kohort_protocol::records::{Batch, BatchBuilder, BatchOptions, Compressor, Decompressor, Header, Record};

use super::Log;
use super::config::LogConfig;
use super::files::{self, AppendFile};
use super::segment::{Active, Sealed, scan};

/// What the keys of one run may take in memory; the rest waits for the next (`log.cleaner.dedupe.buffer.size`).
const KEYS_BYTES_MAX: usize = 128 * 1024 * 1024;
/// What an entry takes beside its key, about.
const ENTRY_BYTES: usize = 64;
/// Compacted batches are gathered to writes of this size.
const WRITE_BYTES: usize = 1024 * 1024;

/// The latest offset of each key.
type Latest = HashMap<Box<[u8]>, i64>;

/// A compaction that is due.
#[derive(Debug)]
#[must_use = "a compaction that does not run compacts nothing"]
pub struct Compaction {
    dir: PathBuf,
    config: LogConfig,
    /// Oldest first; those before `dirty_from` were compacted before.
    segments: Vec<Arc<Sealed>>,
    dirty_from: i64,
    now_ms: i64,
    pub(super) keys_bytes_max: usize,
}

/// New segments, ready to take the place of old ones.
#[derive(Debug)]
#[must_use = "what was compacted must be put in place"]
pub struct Compacted {
    pub(super) groups: Vec<Group>,
    cleaned_to: i64,
}

#[derive(Debug)]
pub(super) struct Group {
    pub(super) old: Vec<Arc<Sealed>>,
    new: Active,
    pub(super) part: PathBuf,
    modified_ms: i64,
}

/// What a compaction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CompactionStats {
    /// Bytes of the segments before.
    pub bytes_before: u64,
    /// Bytes of the segments that took their place.
    pub bytes_after: u64,
}

impl Log {
    /// What should be compacted now: closed segments old enough (`min.compaction.lag.ms`), when the part that was never
    /// compacted reaches `min.cleanable.dirty.ratio` or is older than `max.compaction.lag.ms`.
    pub fn compaction_due(&self, now_ms: i64) -> Option<Compaction> {
        if !self.config.cleanup.compact || self.broken {
            return None;
        }
        let lag_ms = self.config.min_compaction_lag_ms;
        let old_enough =
            |sealed: &&Arc<Sealed>| lag_ms <= 0 || now_ms.saturating_sub(sealed.newest_ms()) >= lag_ms;
        let segments: Vec<_> = self.sealed.iter().take_while(old_enough).cloned().collect();
        let (clean, dirty): (Vec<_>, Vec<_>) =
            segments.iter().partition(|sealed| sealed.next_offset <= self.cleaned_to);
        let bytes = |part: &[&Arc<Sealed>]| part.iter().map(|sealed| sealed.size).sum::<u64>() as f64;
        let (clean_bytes, dirty_bytes) = (bytes(&clean), bytes(&dirty));
        let ratio = dirty_bytes / (clean_bytes + dirty_bytes).max(1.0);
        let overdue =
            |ms: i64| dirty.first().is_some_and(|oldest| now_ms.saturating_sub(oldest.newest_ms()) > ms);
        let due = ratio >= self.config.min_cleanable_dirty_ratio
            || self.config.max_compaction_lag_ms.is_some_and(overdue);
        (dirty_bytes > 0.0 && due).then(|| Compaction {
            dir: self.dir.clone(),
            config: self.config.clone(),
            segments,
            dirty_from: self.cleaned_to,
            now_ms,
            keys_bytes_max: KEYS_BYTES_MAX,
        })
    }

    /// Puts compacted segments in the place of the old ones; readers of those finish. Where retention or a truncation was
    /// faster, they are dropped, and compacted again with the next run.
    pub fn compacted(&mut self, compacted: Compacted) -> io::Result<CompactionStats> {
        let mut stats = CompactionStats::default();
        let mut cleaned_to = compacted.cleaned_to;
        for mut group in compacted.groups {
            let (first, last) = (&group.old[0], &group.old[group.old.len() - 1]);
            let (base, next) = (first.base_offset, last.next_offset);
            let at = self.sealed.partition_point(|sealed| sealed.base_offset < base);
            let there = self.sealed.iter().skip(at).take(group.old.len());
            if !there.eq_by_ptr(&group.old) {
                files::remove(&group.part)?;
                // What is left of it still has records that later ones replace: a tombstone among those must not go before them.
                cleaned_to = cleaned_to.min(base);
                continue;
            }
            stats.bytes_before += group.old.iter().map(|sealed| sealed.size).sum::<u64>();
            stats.bytes_after += group.new.size;
            let swap = swap_path(&self.dir, base, next);
            std::fs::rename(&group.part, &swap)?;
            for sealed in &group.old {
                Arc::clone(sealed).delete()?;
            }
            // The log changes once all that can fail is done. Until then readers have the old files, which are open.
            let count = group.old.len();
            if group.new.size > 0 || base == self.start_offset || at == 0 {
                group.new.write_indexes(&self.dir)?;
                std::fs::rename(&swap, files::path(&self.dir, base, files::LOG))?;
                let interval = self.config.index_interval_bytes;
                let sealed = group.new.seal(&self.dir, next, interval, group.modified_ms);
                self.sealed.drain(at..at + count);
                self.sealed.insert(at, Arc::new(sealed));
            } else {
                // Nothing is left of it: its neighbour covers its offsets.
                files::remove(&swap)?;
                self.sealed.drain(at..at + count);
                self.stretch(at - 1, next);
            }
        }
        self.cleaned_to = self.cleaned_to.max(cleaned_to);
        // Memory still has what the files have no more.
        self.recent.forget_before(self.cleaned_to);
        self.write_checkpoint()?;
        Ok(stats)
    }

    fn stretch(&mut self, at: usize, next_offset: i64) {
        let stretched = self.sealed[at].stretched(next_offset);
        self.sealed[at] = Arc::new(stretched);
    }
}

/// Comparing segments by identity.
trait EqByPtr {
    fn eq_by_ptr(self, other: &[Arc<Sealed>]) -> bool;
}

impl<'a, I: Iterator<Item = &'a Arc<Sealed>>> EqByPtr for I {
    fn eq_by_ptr(mut self, other: &[Arc<Sealed>]) -> bool {
        other.iter().all(|a| self.next().is_some_and(|b| Arc::ptr_eq(a, b)))
    }
}

impl Compaction {
    /// Reads and writes; blocks. Nothing of the log changes until [`Log::compacted`].
    pub fn run(self) -> io::Result<Compacted> {
        let (latest, mapped_to) = self.latest()?;
        let mut groups = Vec::new();
        let mut open: Option<Writer> = None;
        for sealed in self.segments.iter().take_while(|sealed| sealed.base_offset < mapped_to) {
            if open.as_ref().is_some_and(|group| !group.takes(sealed, self.config.segment_bytes)) {
                groups.extend(open.take().map(Writer::finish).transpose()?);
            }
            let group = match &mut open {
                Some(group) => group,
                none => none.insert(Writer::new(&self.dir, &self.config, sealed, self.now_ms)?),
            };
            let forget_before = self.now_ms.saturating_sub(self.config.delete_retention_ms);
            let forget = sealed.next_offset <= self.dirty_from && sealed.modified_ms < forget_before;
            let keep = |record: &Record<'_>| match record.key {
                None => false,
                Some(key) => match latest.get(key) {
                    Some(latest) => record.offset >= *latest && !(forget && record.value.is_none()),
                    None => !(forget && record.value.is_none()),
                },
            };
            group.take(sealed, &keep)?;
        }
        groups.extend(open.take().map(Writer::finish).transpose()?);
        Ok(Compacted { groups, cleaned_to: mapped_to })
    }

    /// The latest offset of every key in what was never compacted, and how far memory sufficed.
    fn latest(&self) -> io::Result<(Latest, i64)> {
        let mut latest = Latest::new();
        let (mut bytes, mut mapped_to) = (0, self.dirty_from);
        let mut decompressor = Decompressor::new();
        for sealed in self.segments.iter().filter(|sealed| sealed.next_offset > self.dirty_from) {
            let mut full = false;
            scan(&sealed.open()?.file, 0, sealed.size, |_, batch| {
                let header = batch.header();
                if header.base_offset < self.dirty_from || header.attributes.is_control() {
                    return ControlFlow::Continue(());
                }
                let Ok(records) = batch.records(&mut decompressor) else { return ControlFlow::Continue(()) };
                for record in records.map_while(Result::ok) {
                    let Some(key) = record.key else { continue };
                    match latest.entry(key.into()) {
                        Entry::Occupied(mut known) => *known.get_mut() = record.offset,
                        Entry::Vacant(new) => {
                            new.insert(record.offset);
                            bytes += key.len() + ENTRY_BYTES;
                        }
                    }
                }
                mapped_to = header.next_offset();
                full = bytes >= self.keys_bytes_max;
                if full { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
            })?;
            if full {
                return Ok((latest, mapped_to));
            }
            mapped_to = sealed.next_offset;
        }
        Ok((latest, mapped_to))
    }
}

/// Writes one new segment.
struct Writer {
    group: Group,
    first: i64,
    bytes_in: u64,
    interval: u64,
    pending: Vec<u8>,
    builder: BatchBuilder,
    compressor: Compressor,
    decompressor: Decompressor,
}

impl Writer {
    fn new(dir: &Path, config: &LogConfig, first: &Sealed, now_ms: i64) -> io::Result<Self> {
        let part = files::path(dir, first.base_offset, &format!("{}.{}", files::LOG, files::PART));
        // One of a run that failed would be appended to.
        files::remove(&part)?;
        let new = Active::on(AppendFile::open(&part)?, first.base_offset, now_ms);
        Ok(Self {
            group: Group { old: Vec::new(), new, part, modified_ms: 0 },
            first: first.base_offset,
            bytes_in: 0,
            interval: config.index_interval_bytes,
            pending: Vec::new(),
            builder: BatchBuilder::new(),
            compressor: Compressor::new(),
            decompressor: Decompressor::new(),
        })
    }

    /// Whether another segment still fits. Judged by what went in, as nobody knows yet what comes out.
    fn takes(&self, sealed: &Sealed, segment_bytes: u64) -> bool {
        self.group.new.size + sealed.size <= segment_bytes
            && sealed.next_offset - self.first <= i64::from(i32::MAX)
            && self.bytes_in > 0
    }

    fn take(&mut self, sealed: &Arc<Sealed>, keep: &dyn Fn(&Record<'_>) -> bool) -> io::Result<()> {
        let opened = sealed.open()?;
        let mut failed = Ok(());
        scan(&opened.file, 0, sealed.size, |_, batch| {
            failed = self.batch(batch, keep);
            if failed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
        failed?;
        self.bytes_in += sealed.size;
        self.group.modified_ms = self.group.modified_ms.max(sealed.modified_ms);
        self.group.old.push(Arc::clone(sealed));
        Ok(())
    }

    fn batch(&mut self, batch: &Batch<'_>, keep: &dyn Fn(&Record<'_>) -> bool) -> io::Result<()> {
        let kept = match self.filter(batch, keep) {
            Filtered::Whole => batch.bytes().to_vec(),
            Filtered::Nothing => return Ok(()),
            Filtered::Some(bytes) => bytes,
        };
        let Ok(kept) = Batch::parse(&kept) else { return Ok(()) };
        self.group.new.note(kept.header(), self.interval);
        self.pending.extend_from_slice(kept.bytes());
        if self.pending.len() >= WRITE_BYTES { self.write() } else { Ok(()) }
    }

    /// What is left of a batch. One that cannot be read, or not be written again as it was, stays as it is.
    fn filter(&mut self, batch: &Batch<'_>, keep: &dyn Fn(&Record<'_>) -> bool) -> Filtered {
        let header = batch.header();
        if header.attributes.is_control() {
            return Filtered::Whole;
        }
        let Ok(records) = batch.records(&mut self.decompressor) else { return Filtered::Whole };
        self.builder.clear();
        let mut dropped = false;
        for record in records {
            let Ok(record) = record else { return Filtered::Whole };
            if !keep(&record) {
                dropped = true;
                continue;
            }
            let headers: Option<Vec<Header<'_>>> =
                record.headers.map(|(key, value)| Some((std::str::from_utf8(key).ok()?, value))).collect();
            let delta = i32::try_from(record.offset - header.base_offset);
            let (Some(headers), Ok(delta)) = (headers, delta) else { return Filtered::Whole };
            if self.builder.append_at(delta, record.timestamp, record.key, record.value, &headers).is_err() {
                return Filtered::Whole;
            }
        }
        if !dropped {
            return Filtered::Whole;
        }
        if self.builder.is_empty() {
            return Filtered::Nothing;
        }
        let attributes = header.attributes;
        let options = BatchOptions {
            codec: attributes.codec().unwrap_or_default(),
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            transactional: attributes.is_transactional(),
            control: false,
            base_offset: header.base_offset,
            leader_epoch: header.leader_epoch,
            last_offset_delta: Some(header.last_offset_delta),
            log_append_time: attributes.is_log_append_time().then_some(header.max_timestamp),
        };
        match self.builder.finish(&options, &mut self.compressor) {
            Ok(bytes) => Filtered::Some(bytes.to_vec()),
            Err(_) => Filtered::Whole,
        }
    }

    fn write(&mut self) -> io::Result<()> {
        self.group.new.out.write(&self.pending)?;
        self.pending.clear();
        Ok(())
    }

    fn finish(mut self) -> io::Result<Group> {
        self.write()?;
        let file = &self.group.new.out.file;
        file.sync_data()?;
        // The time of the last append decides when tombstones go; compaction is no append.
        file.set_modified(UNIX_EPOCH + Duration::from_millis(self.group.modified_ms.max(0) as u64))?;
        Ok(self.group)
    }
}

enum Filtered {
    Whole,
    Nothing,
    Some(Vec<u8>),
}

fn swap_path(dir: &Path, base: i64, next: i64) -> PathBuf {
    files::path(dir, base, &format!("{next:020}.{}", files::SWAP))
}

/// Goes on with a swap that a crash interrupted. To be called before segments are looked at.
pub(super) fn finish_swaps(dir: &Path) -> io::Result<()> {
    for (base, kind) in files::list(dir)? {
        let Some((next, files::SWAP)) = files::parse_name(&kind) else { continue };
        for (old, kind) in files::list(dir)? {
            let segment = matches!(kind.as_str(), files::LOG | files::INDEX | files::TIME_INDEX);
            if segment && (base..next).contains(&old) {
                files::remove(&files::path(dir, old, &kind))?;
            }
        }
        std::fs::rename(swap_path(dir, base, next), files::path(dir, base, files::LOG))?;
    }
    Ok(())
}
