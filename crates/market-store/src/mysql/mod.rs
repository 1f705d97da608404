//! The store in a MySQL or MariaDB database.
//!
//! **Layout.** As in SQLite: one table of candles, clustered by `(interval_s, candle_time, series)`, time before pair, because a flush
//! touches the latest candles of many pairs. A candle is one column ([`row`]): prices and sums as texts, digit for digit; nothing in SQL
//! adds them. The views `kline_1m` ... `kline_1d` show them as the original's columns, as decimals. A candle's time is its key, so no year ever
//! overwrites another.
//!
//! **Who waits for whom.** Every claim and every flush begins with the row of its group in `candle_groups` and holds it to the end.
//! A lock on a row that is missing is no lock (under READ COMMITTED), so without it two owners could make the same new candle, and
//! each other's trades would be lost. The row counts the flushes as well: a store whose number follows on its own last one knows that
//! nobody else has written, and need not read what it wrote itself.
//!
//! **The server goes away**, whenever it likes. A connection is made at the first call, so a server that is not there yet delays the
//! claim; after any error the next call makes a new one. A flush whose COMMIT was not answered may have got through: tried
//! again, it is fenced by its own success, and its owner claims and goes on behind it.

mod address;
pub(crate) mod claim;
mod flush;
mod known;
pub(crate) mod link;
mod query;
pub(crate) mod row;
pub(crate) mod schema;

pub use address::{BadMySqlAddress, MySqlAddress};

use link::{Link, Purpose};

use crate::{
    Advance, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, Positions, StoreError,
    TopicPartition,
};

/// A store in a MySQL or MariaDB database, which exists; its tables are made where they are missing.
pub struct MySqlStore {
    link: Link,
    flusher: flush::Flusher,
}

impl MySqlStore {
    /// A store at an address. Nothing is asked of the server yet.
    pub fn new(address: MySqlAddress) -> MySqlStore {
        MySqlStore {
            link: Link::new(address, Purpose::Write, &schema::CANDLES),
            flusher: flush::Flusher::default(),
        }
    }

    /// A store at an address, asked at once for what no waiting would mend: a wrong password, a database that is missing or another
    /// program's. A server that is away is no error: the first call asks it again.
    pub fn open(address: MySqlAddress) -> Result<MySqlStore, StoreError> {
        let mut store = MySqlStore::new(address);
        match store.connect() {
            Err(error) if !error.is_retriable() => Err(error),
            _ => Ok(store),
        }
    }

    /// Writes as to a MySQL, whatever the server is: for a proxy on the way that does not know MariaDB's bulk statements.
    #[must_use]
    pub fn without_bulk(mut self) -> MySqlStore {
        self.flusher.bulk = Some(false);
        self
    }

    /// Connects and makes the tables, as the first claim would.
    pub fn connect(&mut self) -> Result<(), StoreError> {
        self.link.connect()
    }

    /// Whether no group ever claimed anything here.
    pub fn is_empty(&mut self) -> Result<bool, StoreError> {
        let address = self.link.address().clone();
        self.link.transaction(|connection| claim::is_empty(connection, &address))
    }
}

impl Positions for MySqlStore {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        let address = self.link.address().clone();
        let tables = schema::CANDLES.positions;
        self.link.transaction(|connection| claim::claim(connection, &address, tables, group, partitions))
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        let address = self.link.address().clone();
        let tables = schema::CANDLES.positions;
        self.link.transaction(|connection| claim::positions(connection, &address, tables, group))
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        let address = self.link.address().clone();
        let tables = schema::CANDLES.positions;
        self.link.transaction(|connection| {
            claim::lock_group(connection, &address, tables, group)?;
            claim::advance(connection, &address, tables, group, advances)
        })
    }
}

impl CandleStore for MySqlStore {
    fn flush(&mut self, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        self.flusher.flush(&mut self.link, flush)
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        let link = Link::new(self.link.address().clone(), Purpose::Read, &schema::CANDLES);
        Ok(Box::new(query::Reader::new(link)))
    }
}
