//! A stretch of the log in a file of its own: one that is appended to, the others closed for ever.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::UNIX_EPOCH;

use kohort_protocol::records::{Batch, BatchError, BatchHeader, Batches, NO_TIMESTAMP};
use parking_lot::Mutex;

use super::files::{self, AppendFile};
use super::index::{OffsetIndex, TimeIndex};

/// How much of a file a scan looks at in one read.
const SCAN_BYTES: usize = 1024 * 1024;

/// The file and the indexes of a segment, as readers share them.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) file: Arc<File>,
    pub(super) index: OffsetIndex,
    pub(super) times: TimeIndex,
}

/// A closed segment. Nothing of it changes; file and indexes are opened by the first reader and closed when idle.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) base_offset: i64,
    /// Where the next segment begins.
    pub(super) next_offset: i64,
    pub(super) size: u64,
    /// Of its newest record, or [`NO_TIMESTAMP`].
    pub(super) max_timestamp: i64,
    /// When the file was last written, which stands in where records have no time.
    pub(super) modified_ms: i64,
    dir: PathBuf,
    index_interval: u64,
    opened: Mutex<Option<Arc<Opened>>>,
}

impl Sealed {
    /// A segment whose indexes are trusted; reads no more than the end of the time index.
    pub(super) fn trust(
        dir: &Path,
        base_offset: i64,
        next_offset: i64,
        index_interval: u64,
    ) -> io::Result<Self> {
        let data = files::path(dir, base_offset, files::LOG).metadata()?;
        let times = files::read_small(&files::path(dir, base_offset, files::TIME_INDEX))?;
        // An empty one beside records is what a crash of the system leaves of a file that was not forced to disk.
        let times = times.and_then(|bytes| TimeIndex::decode(&bytes)).filter(|times| times.last().is_some());
        let modified = data.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
        let mut sealed = Self {
            base_offset,
            next_offset,
            size: data.len(),
            max_timestamp: NO_TIMESTAMP,
            modified_ms: modified.map_or(0, |t| t.as_millis() as i64),
            dir: dir.to_owned(),
            index_interval,
            opened: Mutex::new(None),
        };
        sealed.max_timestamp = match times {
            Some(times) => times.last().map_or(NO_TIMESTAMP, |last| last.0),
            None if sealed.size == 0 => NO_TIMESTAMP,
            None => sealed.rebuild()?.times.last().map_or(NO_TIMESTAMP, |last| last.0),
        };
        Ok(sealed)
    }

    pub(super) fn path(&self, kind: &str) -> PathBuf {
        files::path(&self.dir, self.base_offset, kind)
    }

    /// File and indexes, opened if they are not.
    pub(super) fn open(&self) -> io::Result<Arc<Opened>> {
        let mut opened = self.opened.lock();
        if let Some(opened) = &*opened {
            return Ok(Arc::clone(opened));
        }
        let index = files::read_small(&self.path(files::INDEX))?;
        let times = files::read_small(&self.path(files::TIME_INDEX))?;
        let index = index.and_then(|bytes| OffsetIndex::decode(&bytes, self.size));
        let fresh = match (index, times.and_then(|bytes| TimeIndex::decode(&bytes))) {
            (Some(index), Some(times)) => {
                let file = Arc::new(File::open(self.path(files::LOG))?);
                Arc::new(Opened { file, index, times })
            }
            _ => self.rebuild()?,
        };
        *opened = Some(Arc::clone(&fresh));
        Ok(fresh)
    }

    /// Reads the file for the indexes, and leaves them beside it for the next time.
    fn rebuild(&self) -> io::Result<Arc<Opened>> {
        let mut active = Active::open(&self.dir, self.base_offset, 0)?;
        let end = active.out.file.metadata()?.len();
        let interval = self.index_interval;
        let file = Arc::clone(&active.out.file);
        scan(&file, 0, end, |_, batch| {
            active.note(batch.header(), interval);
            ControlFlow::Continue(())
        })?;
        active.write_indexes(&self.dir)?;
        Ok(Arc::new(Opened { file, index: active.index, times: active.times }))
    }

    /// Lets go of file and indexes if no reader uses them.
    pub(super) fn close_if_idle(&self) {
        let mut opened = self.opened.lock();
        if opened.as_ref().is_some_and(|opened| Arc::strong_count(opened) == 1) {
            *opened = None;
        }
    }

    /// The same segment up to a later offset: what stood between was compacted away.
    pub(super) fn stretched(&self, next_offset: i64) -> Self {
        Self { next_offset, dir: self.dir.clone(), opened: Mutex::new(self.opened.lock().clone()), ..*self }
    }

    /// The time by which retention judges it.
    pub(super) fn newest_ms(&self) -> i64 {
        if self.max_timestamp >= 0 { self.max_timestamp } else { self.modified_ms }
    }

    /// Removes its files. A reader that already found its way here finishes: it gets the file before the name goes.
    pub(super) fn delete(self: Arc<Self>) -> io::Result<()> {
        if Arc::strong_count(&self) > 1 {
            self.open()?;
        }
        for kind in [files::LOG, files::INDEX, files::TIME_INDEX] {
            files::remove(&self.path(kind))?;
        }
        Ok(())
    }
}

/// The segment that is appended to.
#[derive(Debug)]
pub(super) struct Active {
    pub(super) base_offset: i64,
    pub(super) out: AppendFile,
    pub(super) size: u64,
    pub(super) index: OffsetIndex,
    pub(super) times: TimeIndex,
    since_entry: u64,
    pub(super) first_timestamp: Option<i64>,
    pub(super) created_ms: i64,
    pub(super) max_timestamp: i64,
    max_timestamp_offset: i64,
}

impl Active {
    /// Opens or creates the file; of what is in it nothing is known yet.
    pub(super) fn open(dir: &Path, base_offset: i64, now_ms: i64) -> io::Result<Self> {
        Ok(Self::on(AppendFile::open(&files::path(dir, base_offset, files::LOG))?, base_offset, now_ms))
    }

    /// One that is written into this file, which is empty or not yet looked at.
    pub(super) fn on(out: AppendFile, base_offset: i64, now_ms: i64) -> Self {
        Self {
            base_offset,
            out,
            size: 0,
            index: OffsetIndex::default(),
            times: TimeIndex::default(),
            since_entry: 0,
            first_timestamp: None,
            created_ms: now_ms,
            max_timestamp: NO_TIMESTAMP,
            max_timestamp_offset: base_offset,
        }
    }

    /// Takes up a segment whose end and indexes are known; `first` is the first batch of the file.
    pub(super) fn resume(&mut self, opened: (OffsetIndex, TimeIndex), first: Option<&BatchHeader>) {
        (self.index, self.times) = opened;
        self.first_timestamp = first.map(|first| first.max_timestamp);
        if let Some((timestamp, relative)) = self.times.last() {
            self.max_timestamp = timestamp;
            self.max_timestamp_offset = self.base_offset + i64::from(relative);
        }
        self.size = self.index.last().map_or(0, |last| u64::from(last.1));
    }

    /// Notes a batch that stands at the end of the file: in the indexes, the size, the times. Appending and recovery both do
    /// this and nothing else, so the state after a restart is the state before.
    pub(super) fn note(&mut self, batch: &BatchHeader, index_interval: u64) {
        if self.since_entry > index_interval {
            let at = u32::try_from(self.size).unwrap_or(u32::MAX);
            let relative = self.relative(batch.base_offset);
            if self.index.last().is_none_or(|last| last.1 < at && last.0 < relative) {
                self.index.push(relative, at);
                self.push_time();
            }
            self.since_entry = 0;
        }
        self.since_entry += batch.size() as u64;
        self.size += batch.size() as u64;
        if batch.max_timestamp > self.max_timestamp {
            self.max_timestamp = batch.max_timestamp;
            self.max_timestamp_offset = batch.base_offset;
        }
        self.first_timestamp.get_or_insert(batch.max_timestamp);
    }

    pub(super) fn relative(&self, offset: i64) -> u32 {
        u32::try_from(offset - self.base_offset).unwrap_or(u32::MAX)
    }

    fn push_time(&mut self) {
        if self.max_timestamp >= 0 {
            self.times.push(self.max_timestamp, self.relative(self.max_timestamp_offset));
        }
    }

    /// Writes the indexes beside the segment, complete to its end.
    pub(super) fn write_indexes(&mut self, dir: &Path) -> io::Result<()> {
        self.push_time();
        std::fs::write(files::path(dir, self.base_offset, files::INDEX), self.index.encode())?;
        std::fs::write(files::path(dir, self.base_offset, files::TIME_INDEX), self.times.encode())
    }

    /// As it is once nothing is appended any more.
    pub(super) fn seal(self, dir: &Path, next_offset: i64, index_interval: u64, now_ms: i64) -> Sealed {
        let opened = Opened { file: self.out.file, index: self.index, times: self.times };
        Sealed {
            base_offset: self.base_offset,
            next_offset,
            size: self.size,
            max_timestamp: self.max_timestamp,
            modified_ms: now_ms,
            dir: dir.to_owned(),
            index_interval,
            opened: Mutex::new(Some(Arc::new(opened))),
        }
    }
}

/// Walks the batches of `file` from `at` to `end`; returns where the whole batches end, which is `end` unless the file is torn
/// or damaged there or `each` broke off.
pub(super) fn scan(
    file: &File,
    mut at: u64,
    end: u64,
    mut each: impl FnMut(u64, &Batch<'_>) -> ControlFlow<()>,
) -> io::Result<u64> {
    let mut buf = vec![0_u8; SCAN_BYTES.min(usize::try_from(end.saturating_sub(at)).unwrap_or(SCAN_BYTES))];
    while at < end {
        let window = usize::try_from(end - at).unwrap_or(usize::MAX).min(buf.len());
        files::read_exact_at(file, &mut buf[..window], at)?;
        let begin = at;
        let mut batches = Batches::new(&buf[..window]);
        let mut need = None;
        for batch in batches.by_ref() {
            match batch {
                Ok(batch) => {
                    if each(at, &batch).is_break() {
                        return Ok(at);
                    }
                    at += batch.bytes().len() as u64;
                }
                Err(BatchError::Torn { need: bytes, .. }) => need = Some(bytes),
                Err(_) => return Ok(at),
            }
        }
        let Some(need) = need else { continue };
        if at + need as u64 > end {
            return Ok(at);
        }
        // A batch larger than the window: grow to it. It is no larger than the file, so a wild length costs nothing.
        if at == begin && need > buf.len() {
            buf.resize(need, 0);
        }
    }
    Ok(at)
}
