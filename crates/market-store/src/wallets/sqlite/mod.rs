//! The log, the outbox and the addresses in one SQLite file, which several processes may open at once.

mod addresses;
mod history;
mod log;
mod outbox;
mod schema;

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use crate::sqlite::{self, claim, failure};
use crate::{Advance, Claim, FlushError, Positions, StoreError, TopicPartition};

/// The log of known wallets in a SQLite file. Open it once for each thread that shall not wait for another.
pub struct SqliteWallets {
    connection: Connection,
    file: PathBuf,
}

impl SqliteWallets {
    /// Opens the file, making it and its folder where they are missing, and brings its schema up to date.
    pub fn open(file: &Path) -> Result<SqliteWallets, StoreError> {
        Ok(SqliteWallets { connection: sqlite::open(file, &schema::WALLETS)?, file: file.to_owned() })
    }

    fn failure(&self, error: rusqlite::Error) -> StoreError {
        failure(&self.file, error)
    }
}

impl Positions for SqliteWallets {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        claim::claim(&mut self.connection, group, partitions).map_err(|error| self.failure(error))
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        claim::positions(&self.connection, group).map_err(|error| self.failure(error))
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        claim::advance_alone(&mut self.connection, &self.file, group, advances)
    }
}
