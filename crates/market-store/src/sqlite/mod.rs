//! The store in one SQLite file.
//!
//! **Layout.** One table of candles, clustered by `(interval, candle_time, series)`: time before pair. A flush touches the
//! latest candles of many pairs; clustered by time they lie side by side in a few pages, clustered by pair each lies in a page of
//! its own. On a history of a million candles that is worth a factor of seven (389 against 53 thousand rows a second). A chart
//! asks the other way round, for one pair over time, and is answered by looking down the intervals (`query`), which needs no
//! second index. A *series* is a small number for (group, chain, pair): 44-byte text keys cost a fifth.
//!
//! **Exactness.** Prices and sums are kept as text, digit for digit; nothing in SQL adds them. The order of the trades that
//! opened and closed is kept beside them, so a merge after a restart is as right as one before it. The view `kline` shows
//! everything under the original's column names.
//!
//! **Several processes** write one file: WAL, `BEGIN IMMEDIATE`, and a busy timeout. Durability is `FULL` and not `NORMAL`: a
//! flush that a power cut takes back while the group's committed offset stays would be lost trades, and it costs no
//! measurable time.

pub(crate) mod claim;
mod flush;
pub(crate) mod kept;
mod query;
mod row;
pub(crate) mod schema;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use market_data::{Candle, Interval, Pair, PairKey, Symbols};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use self::schema::Schema;
use crate::{
    Advance, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, Positions, StoreError,
    TopicPartition,
};

/// How long a call waits for other processes that write. A flush takes milliseconds; ten seconds mean that something hangs.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);
/// Between two tries to open a file where SQLite itself does not wait.
const BUSY_PAUSE: Duration = Duration::from_millis(5);

/// What [`SqliteStore::read_all`] reads.
pub(crate) enum Restored<'a> {
    /// The candles of a pair and an interval are whole from a start on.
    Since { group: &'a str, pair: &'a Arc<Pair>, interval: Interval, since: i64 },
    /// A candle, and when the last flush wrote it, unix seconds.
    Candle {
        group: &'a str,
        pair: &'a Arc<Pair>,
        interval: Interval,
        time: i64,
        updated_at: i64,
        candle: &'a Candle,
    },
}

/// A store in a SQLite file.
pub struct SqliteStore {
    connection: Connection,
    file: PathBuf,
    flusher: flush::Flusher,
}

impl SqliteStore {
    /// Opens the file, making it and its folder where they are missing, and brings its schema up to date.
    pub fn open(file: &Path) -> Result<SqliteStore, StoreError> {
        let connection = open(file, &schema::CANDLES)?;
        let flusher = flush::Flusher::default();
        Ok(SqliteStore { connection, file: file.to_owned(), flusher })
    }

    /// Waits so long for other processes that write, instead of ten seconds.
    pub fn set_busy_timeout(&mut self, timeout: Duration) -> Result<(), StoreError> {
        self.connection.busy_timeout(timeout).map_err(|error| failure(&self.file, error))
    }

    /// As [`CandleStore::flush`], for a cache that keeps candles for a time only: parts that it left out are not in `flush`, and `marks` say
    /// so, by the pair's place in it.
    pub(crate) fn flush_kept(
        &mut self,
        flush: &Flush<'_>,
        marks: &[(u32, Interval, i64)],
    ) -> Result<Flushed, FlushError> {
        self.flusher.flush(&mut self.connection, &self.file, flush, marks)
    }

    /// Deletes some of what is no longer kept: see [`kept::Walk`].
    pub(crate) fn prune(
        &mut self,
        walk: &mut kept::Walk,
        rows: usize,
        before: i64,
        since: &mut dyn FnMut(&str, &PairKey, Interval) -> Option<i64>,
    ) -> Result<usize, StoreError> {
        let gone = walk.step(&mut self.connection, &self.file, rows, before, since)?;
        self.flusher.forget(&gone);
        Ok(gone.len())
    }

    /// Hands out all that is in the file: first what is no longer whole, then the candles of one interval after the other, oldest first.
    pub(crate) fn read_all(&self, restore: &mut dyn FnMut(Restored<'_>)) -> Result<(), StoreError> {
        let fail = |error| failure(&self.file, error);
        let mut series: HashMap<i64, (String, Arc<Pair>), foldhash::fast::RandomState> = HashMap::default();
        let mut statement = self
            .connection
            .prepare(
                "SELECT id, group_id, chain_id, pair_address, token_symbol, base_token_symbol FROM series",
            )
            .map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let key = PairKey { chain_id: row.get(2).map_err(fail)?, pair: row.get(3).map_err(fail)? };
            let symbols = Symbols { token: row.get(4).map_err(fail)?, base_token: row.get(5).map_err(fail)? };
            let told = symbols.token.is_some() || symbols.base_token.is_some();
            let pair = Arc::new(Pair { key, symbols: told.then_some(symbols) });
            series.insert(row.get(0).map_err(fail)?, (row.get(1).map_err(fail)?, pair));
        }
        for interval in Interval::ALL {
            for (number, since) in kept::of_interval(&self.connection, interval).map_err(fail)? {
                if let Some((group, pair)) = series.get(&number) {
                    restore(Restored::Since { group, pair, interval, since });
                }
            }
        }
        let mut statement = self
            .connection
            .prepare(&format!(
                "SELECT series, candle_time, updated_at, {} FROM candles WHERE interval = ?1 ORDER BY candle_time",
                row::COLUMNS
            ))
            .map_err(fail)?;
        // Minutes first: by them a memory that keeps candles for a time knows how far each pair is.
        for interval in Interval::ALL {
            let mut rows = statement.query([interval.seconds()]).map_err(fail)?;
            while let Some(row) = rows.next().map_err(fail)? {
                let number: i64 = row.get(0).map_err(fail)?;
                if let Some((group, pair)) = series.get(&number) {
                    let (time, updated_at) = (row.get(1).map_err(fail)?, row.get(2).map_err(fail)?);
                    let candle = &row::read(row, 3, &self.file)?;
                    restore(Restored::Candle { group, pair, interval, time, updated_at, candle });
                }
            }
        }
        Ok(())
    }

    /// Lets the file grow to so many pages of 4 KiB and no further (never below what it has): then flushes fail with
    /// [`StoreError::Full`], change nothing, and go on once there is room.
    pub fn limit_pages(&mut self, pages: u32) -> Result<(), StoreError> {
        let set = self.connection.pragma_update_and_check(None, "max_page_count", pages, |_| Ok(()));
        set.map_err(|error| failure(&self.file, error))
    }
}

impl Positions for SqliteStore {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        claim::claim(&mut self.connection, group, partitions).map_err(|error| failure(&self.file, error))
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        claim::positions(&self.connection, group).map_err(|error| failure(&self.file, error))
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        claim::advance_alone(&mut self.connection, &self.file, group, advances)
    }
}

impl CandleStore for SqliteStore {
    fn flush(&mut self, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        self.flusher.flush(&mut self.connection, &self.file, flush, &[])
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = connect(&self.file, flags).map_err(|error| failure(&self.file, error))?;
        Ok(Box::new(query::Reader::new(connection, self.file.clone())))
    }
}

/// Opens a file of one kind, making it and its folder where they are missing, and brings its schema up to date.
pub(crate) fn open(file: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    if let Some(folder) = file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder)
            .map_err(|source| StoreError::Folder { folder: folder.to_owned(), source })?;
    }
    let until = Instant::now() + BUSY_TIMEOUT;
    loop {
        match prepared(file, schema) {
            // Where another process opens the file for the first time, SQLite says so at once and does not wait.
            Err(StoreError::Busy { .. }) if Instant::now() < until => std::thread::sleep(BUSY_PAUSE),
            opened => return opened,
        }
    }
}

/// A connection to a file whose schema is up to date.
fn prepared(file: &Path, schema: &Schema) -> Result<Connection, StoreError> {
    let mut connection = connect(file, OpenFlags::default()).map_err(|error| failure(file, error))?;
    schema::prepare(&mut connection, file, schema)?;
    Ok(connection)
}

fn connect(file: &Path, flags: OpenFlags) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(file, flags)?;
    connection.busy_timeout(BUSY_TIMEOUT)?;
    connection.set_prepared_statement_cache_capacity(32);
    connection.execute_batch(
        "PRAGMA temp_store = MEMORY; PRAGMA cache_size = -65536; PRAGMA synchronous = FULL;",
    )?;
    Ok(connection)
}

/// Sorts SQLite's errors by what a person can do about them.
pub(crate) fn failure(file: &Path, error: rusqlite::Error) -> StoreError {
    let store = file.display().to_string();
    let code = error.sqlite_error_code();
    let source = Box::new(error);
    match code {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Busy { store, source },
        Some(ErrorCode::DiskFull) => StoreError::Full { store, source },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::NotAStore { store, source },
        _ => StoreError::Unreachable { store, source },
    }
}
