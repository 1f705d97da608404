//! A cache in memory that survives its process: in front of a file that has all of it.
//!
//! Claims and flushes go to the file, in its transactions; what a flush has committed is then added to the memory, and reading asks the
//! memory alone. At the start the memory is filled from the file. The positions are in the file alone, so whatever dies when, candles
//! and positions are of one moment.
//!
//! One process at a time: another's flushes would never reach the memory. A lock on a file beside the store holds that, and ends with
//! its process. Claims of other services in the file are no matter: they write no candle.

use std::collections::HashMap;
use std::fmt;
use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use market_data::{Candle, Delta, Deltas, Interval, Pair, PairKey, Symbols};

use crate::{
    Advance, CandleQuery, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, MemoryStore,
    PairName, PairParts, Positions, Scan, SqliteStore, StoreError, StoredCandle, TopicPartition, Window,
};

/// Candles that go from the file to the memory at once.
const FILL: usize = 4096;
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
    /// What readers ask. Replaced as a whole where the file has to be read again.
    memory: Arc<Mutex<MemoryStore>>,
    /// A flush failed, and nobody knows whether the file has it.
    unsure: bool,
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
        Ok(CachedStore { file, path: path.to_owned(), empty, memory, unsure: false, _lock: lock })
    }

    /// As [`SqliteStore::set_busy_timeout`].
    ///
    /// # Errors
    /// What SQLite says.
    pub fn set_busy_timeout(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.file.set_busy_timeout(timeout)
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
                return Err(StoreError::Busy { store, source: "it is another process's cache".into() });
            }
            Err(TryLockError::Error(source)) => return Err(unreachable(source)),
        }
    }
}

/// A memory with everything that the file has.
fn filled(file: &SqliteStore, empty: fn() -> MemoryStore) -> Result<MemoryStore, StoreError> {
    let mut memory = empty();
    let mut reader = file.reader()?;
    for group in file.groups()? {
        let no_window = Window { start: 0, end: 0 };
        let symbols = |part: PairParts| {
            let symbols = Symbols { token: part.token_symbol, base_token: part.base_token_symbol };
            let told = symbols.token.is_some() || symbols.base_token.is_some();
            (part.pair.clone(), Arc::new(Pair { key: part.pair, symbols: told.then_some(symbols) }))
        };
        let parts = reader.pair_parts(std::slice::from_ref(&group), no_window)?;
        let pairs: HashMap<PairKey, Arc<Pair>> = parts.into_iter().map(symbols).collect();
        let mut batch = Batch {
            group: &group,
            pairs: &pairs,
            memory: &mut memory,
            held: Deltas::default(),
            numbers: HashMap::new(),
        };
        // Minutes first: by them a memory that keeps candles for a time knows how far each pair is.
        for interval in Interval::ALL {
            let scan = Scan { intervals: &[interval], ..Scan::all(&group) };
            reader
                .scan(&scan, &mut |pair, interval, time, candle| batch.add(pair, interval, time, candle))?;
            batch.pour();
        }
    }
    Ok(memory)
}

/// Candles on their way from the file to the memory.
struct Batch<'a> {
    group: &'a str,
    pairs: &'a HashMap<PairKey, Arc<Pair>>,
    memory: &'a mut MemoryStore,
    held: Deltas,
    numbers: HashMap<PairKey, u32>,
}

impl Batch<'_> {
    fn add(&mut self, pair: &PairKey, interval: Interval, time: i64, candle: &Candle) {
        let number = self.numbers.get(pair).copied().unwrap_or_else(|| {
            let number = u32::try_from(self.held.pairs.len()).unwrap_or(u32::MAX);
            let known = self.pairs.get(pair).cloned();
            let unknown = || Arc::new(Pair { key: pair.clone(), symbols: None });
            self.held.pairs.push(known.unwrap_or_else(unknown));
            self.numbers.insert(pair.clone(), number);
            number
        });
        self.held.candles.push(Delta { pair: number, interval, time, candle: *candle });
        if self.held.candles.len() >= FILL {
            self.pour();
        }
    }

    fn pour(&mut self) {
        let deltas = std::mem::take(&mut self.held);
        self.numbers.clear();
        add(self.memory, self.group, &deltas, now());
    }
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
        match self.file.flush(flush) {
            Ok(flushed) => {
                // A handle of it: readers ask for theirs while this one adds.
                let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner).clone();
                add(&mut memory, flush.group, flush.deltas, flush.now);
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
