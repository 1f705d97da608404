//! A cache in memory that survives its process: in front of a file that has all of it.
//!
//! Claims and flushes go to the file, in its transactions; what a flush has committed is then added to the memory, and reading asks the
//! memory alone. What the memory drops because it is too old is deleted from the file by and by, and parts that come for it are written to
//! neither; but of a group that is shared with other stores the file keeps everything: nobody else has its part, and the others' readers
//! make whole charts of it. At the start the memory is filled from the file. The positions are in the file alone, so whatever dies when, candles
//! and positions are of one moment.
//!
//! One process at a time: another's flushes would never reach the memory. A lock on a file beside the store holds that, and ends with
//! its process. Claims of other services in the file are no matter: they write no candle.

use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use market_data::{Candle, Deltas, Interval, PairKey};

use crate::sqlite::kept::Walk;
use crate::{
    Advance, CandleQuery, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, MemoryStore,
    PairName, PairParts, Positions, Scan, SqliteStore, StoreError, StoredCandle, TopicPartition, Window,
};

/// Between the beginnings of two walks through the file, in seconds.
const PRUNE_PAUSE: i64 = 3_600;
/// Rows that a step looks at, at least and at most.
const PRUNE_ROWS: (usize, usize) = (512, 8_192);
/// How long a process that is just ending is waited for.
const LOCK_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two looks at the lock.
const LOCK_PAUSE: Duration = Duration::from_millis(20);

/// A store in memory in front of a SQLite file.
pub struct CachedStore {
    file: SqliteStore,
    path: PathBuf,
    /// Makes an empty memory.
    empty: fn() -> MemoryStore,
    /// Groups of which the file keeps everything.
    shared: Vec<String>,
    /// What readers ask. Replaced as a whole where the file has to be read again.
    memory: Arc<Mutex<MemoryStore>>,
    /// A flush failed, and nobody knows whether the file has it.
    unsure: bool,
    /// The walk through the file that deletes what the memory has dropped, and before which start rows of an interval may be such.
    walk: Option<(Walk, Option<(Interval, i64)>)>,
    /// When the last walk began, by the flushes' clock.
    pruned_at: i64,
    _lock: File,
}

impl fmt::Debug for CachedStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedStore").field("file", &self.path).finish_non_exhaustive()
    }
}

impl CachedStore {
    /// Opens the file, making it where it is missing, and reads it into a memory that `empty` makes.
    ///
    /// # Errors
    /// What [`SqliteStore::open`] says, and [`StoreError::Busy`] while another process has the file as its cache.
    pub fn open(path: &Path, empty: fn() -> MemoryStore) -> Result<CachedStore, StoreError> {
        let file = SqliteStore::open(path)?;
        let lock = lock(path)?;
        let memory = Arc::new(Mutex::new(filled(&file, empty)?));
        Ok(CachedStore {
            file,
            path: path.to_owned(),
            empty,
            shared: Vec::new(),
            memory,
            unsure: false,
            walk: None,
            pruned_at: i64::MIN,
            _lock: lock,
        })
    }

    /// Of these groups the file keeps everything: other stores have the rest of their candles.
    #[must_use]
    pub fn shared_groups(mut self, groups: Vec<String>) -> CachedStore {
        self.shared = groups;
        self
    }

    /// As [`SqliteStore::set_busy_timeout`].
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_busy_timeout(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.file.set_busy_timeout(timeout)
    }

    /// Writes a flush into the file, without what is older than the memory keeps: a candle that was dropped is never begun anew, and one that
    /// is still in the file says no longer that it is whole.
    fn write(&mut self, memory: &MemoryStore, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        if self.shared.iter().any(|group| group == flush.group) {
            return self.file.flush(flush);
        }
        let expired = memory.expired(flush);
        if expired.deltas.is_empty() {
            return self.file.flush(flush);
        }
        let mut gone = expired.deltas.iter();
        let mut deltas = flush.deltas.clone();
        deltas.candles.retain(|_| !gone.next().is_some_and(|gone| *gone));
        let flushed = self.file.flush_kept(&Flush { deltas: &deltas, ..*flush }, &expired.marks)?;
        let mut kept = flushed.candles.into_iter();
        let candle = |gone: &bool| if *gone { Candle::EMPTY } else { kept.next().unwrap_or(Candle::EMPTY) };
        let candles = expired.deltas.iter().map(candle).collect();
        Ok(Flushed { candles, expired: expired.deltas.iter().filter(|gone| **gone).count() as u64 })
    }

    /// Deletes from the file, once an hour and a little with each flush, what the memory has dropped. A step is a transaction of its own.
    fn prune(&mut self, memory: &MemoryStore, flush: &Flush<'_>) {
        if self.walk.is_none() && flush.now.saturating_sub(self.pruned_at) >= PRUNE_PAUSE {
            self.pruned_at = flush.now;
            self.walk = Some((Walk::new(), None));
        }
        let Some((walk, before)) = &mut self.walk else { return };
        let Some(interval) = walk.interval() else {
            self.walk = None;
            return;
        };
        let before = match before {
            Some((of, before)) if *of == interval => *before,
            _ => before.insert((interval, memory.latest_since(interval))).1,
        };
        // Faster than candles come, so that the walk comes to its end.
        let rows = (2 * flush.deltas.candles.len()).clamp(PRUNE_ROWS.0, PRUNE_ROWS.1);
        let shared = &self.shared;
        let mut since = |group: &str, pair: &PairKey, interval| {
            if shared.iter().any(|of| of == group) { None } else { memory.since(group, pair, interval) }
        };
        if let Err(error) = self.file.prune(walk, rows, before, &mut since) {
            // The flush is written, and what is too old is there for an hour more.
            tracing::warn!(error = &error as &dyn std::error::Error, "old candles could not be deleted");
            self.walk = None;
        }
    }

    /// Reads the file again if a flush may have reached it without the memory.
    fn be_sure(&mut self) -> Result<(), StoreError> {
        if self.unsure {
            let memory = filled(&self.file, self.empty)?;
            *self.memory.lock().unwrap_or_else(PoisonError::into_inner) = memory;
            self.unsure = false;
        }
        Ok(())
    }
}

fn lock(path: &Path) -> Result<File, StoreError> {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    let store = path.display().to_string();
    let unreachable =
        |source: std::io::Error| StoreError::Unreachable { store: store.clone(), source: Box::new(source) };
    let file = File::options().create(true).write(true).truncate(false).open(&name).map_err(unreachable)?;
    let until = Instant::now() + LOCK_TIMEOUT;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) if Instant::now() < until => std::thread::sleep(LOCK_PAUSE),
            Err(TryLockError::WouldBlock) => {
                let source = "it is another process's cache: end that one, or give this one another folder with `--data`";
                return Err(StoreError::Busy { store, source: source.into() });
            }
            Err(TryLockError::Error(source)) => return Err(unreachable(source)),
        }
    }
}

/// A memory with everything that the file has.
fn filled(file: &SqliteStore, empty: fn() -> MemoryStore) -> Result<MemoryStore, StoreError> {
    let memory = empty();
    file.read_all(&mut |restored| memory.restore(&restored))?;
    memory.restored(now());
    Ok(memory)
}

/// Adds candles to a memory, which knows no positions: it has nothing to refuse.
fn add(memory: &mut MemoryStore, group: &str, deltas: &Deltas, now: i64) {
    let added = memory.flush(&Flush { group, advances: &[], deltas, now });
    debug_assert!(added.is_ok(), "{added:?}");
}

fn now() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs().cast_signed())
}

impl Positions for CachedStore {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        self.be_sure()?;
        self.file.claim(group, partitions)
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        self.file.positions(group)
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        self.file.advance(group, advances)
    }
}

impl CandleStore for CachedStore {
    fn flush(&mut self, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        self.be_sure()?;
        // A handle of it: readers ask for theirs while this one adds.
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
        match self.write(&memory, flush) {
            Ok(flushed) => {
                add(&mut memory, flush.group, flush.deltas, flush.now);
                self.prune(&memory, flush);
                Ok(flushed)
            }
            Err(FlushError::Store(error)) => {
                // A commit whose answer was lost may have happened after all: then the next try is fenced.
                self.unsure = true;
                Err(error.into())
            }
            Err(fenced) => Err(fenced),
        }
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        Ok(Box::new(Reader { memory: Arc::clone(&self.memory) }))
    }
}

/// Asks whatever memory there is at the time.
struct Reader {
    memory: Arc<Mutex<MemoryStore>>,
}

impl Reader {
    fn memory(&self) -> MemoryStore {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl CandleReader for Reader {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        self.memory().candles(query)
    }

    fn kept_since(
        &mut self,
        group: &str,
        pair: &PairKey,
        interval: Interval,
    ) -> Result<Option<i64>, StoreError> {
        self.memory().kept_since(group, pair, interval)
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        self.memory().newest_trade(groups)
    }

    fn names(&mut self, groups: &[String]) -> Result<Vec<PairName>, StoreError> {
        self.memory().names(groups)
    }

    fn stretches(
        &mut self,
        group: &str,
        stretches: &[(i64, i64)],
        each: &mut dyn FnMut(&PairKey, &[Candle]),
    ) -> Result<(), StoreError> {
        self.memory().stretches(group, stretches, each)
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        self.memory().pair_parts(groups, window)
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        self.memory().scan(scan, each)
    }
}
