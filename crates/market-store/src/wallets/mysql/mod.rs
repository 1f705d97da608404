//! The log, the outbox and the addresses in a MySQL or MariaDB database.
//!
//! **Who waits for whom.** Every flush of the log begins with the row of `wallet_store` and holds it to the end: rules see a log that nobody
//! else is writing, and rows come into the outbox in the order of their numbers. Trades of known wallets are few. Then comes the row of
//! the group, which claims hold too. A lease holds the row of its channel.
//!
//! The server goes away, whenever it likes: see [`crate::MySqlStore`].

mod addresses;
mod history;
mod log;
mod outbox;
mod schema;

use mysql::{Conn, Row, Value};

use crate::mysql::claim;
use crate::mysql::link::{Link, Purpose, failure};
use crate::mysql::row::{integer, integer_or_null, text, text_or_null};
use crate::wallets::log::Columns;
use crate::{Advance, Claim, FlushError, MySqlAddress, Positions, StoreError, TopicPartition};

use self::schema::WALLETS;

/// The log of known wallets in a MySQL or MariaDB database, which exists; its tables are made where they are missing.
pub struct MySqlWallets {
    link: Link,
}

impl MySqlWallets {
    /// A log at an address. Nothing is asked of the server yet.
    pub fn new(address: MySqlAddress) -> MySqlWallets {
        MySqlWallets { link: Link::new(address, Purpose::Write, &WALLETS) }
    }

    /// Connects and makes the tables: to hear of a wrong password before anything depends on it.
    pub fn connect(&mut self) -> Result<(), StoreError> {
        self.link.connect()
    }

    /// Runs `work` in one transaction.
    fn transaction<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Session<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let address = self.link.address().clone();
        self.link.transaction(|connection| work(&mut Session { connection, address: &address }))
    }

    /// One statement in a transaction: how many rows it changed.
    fn change(&mut self, sql: &str, values: Vec<Value>) -> Result<usize, StoreError> {
        self.transaction(|session| session.change(sql, values))
    }
}

impl Positions for MySqlWallets {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        self.transaction(|s| claim::claim(s.connection, s.address, WALLETS.positions, group, partitions))
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        self.transaction(|s| claim::positions(s.connection, s.address, WALLETS.positions, group))
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        self.transaction(|s| {
            claim::lock_group(s.connection, s.address, WALLETS.positions, group)?;
            claim::advance(s.connection, s.address, WALLETS.positions, group, advances)
        })
    }
}

/// A connection in a transaction.
struct Session<'a> {
    connection: &'a mut Conn,
    address: &'a MySqlAddress,
}

impl Session<'_> {
    /// How many rows a statement changed; one that writes what is there already changes none.
    fn change(&mut self, sql: &str, values: Vec<Value>) -> Result<usize, StoreError> {
        use mysql::prelude::Queryable as _;
        let done = self.connection.exec_iter(sql, values).map(|done| done.affected_rows());
        done.map(|rows| usize::try_from(rows).unwrap_or(usize::MAX))
            .map_err(|error| failure(self.address, error))
    }

    /// The rows of an answer.
    fn ask<T>(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        each: impl Fn(&mut Values<'_>) -> Result<T, StoreError>,
    ) -> Result<Vec<T>, StoreError> {
        use mysql::prelude::Queryable as _;
        let fail = |error| failure(self.address, error);
        let mut found = Vec::new();
        for row in self.connection.exec_iter(sql, values).map_err(fail)? {
            let row = row.map_err(fail)?;
            found.push(each(&mut Values { row: &row, at: 0, address: self.address })?);
        }
        Ok(found)
    }

    fn last_insert_id(&self) -> i64 {
        self.connection.last_insert_id().cast_signed()
    }
}

/// The values of a row, one after another.
struct Values<'a> {
    row: &'a Row,
    at: usize,
    address: &'a MySqlAddress,
}

impl Values<'_> {
    fn next<T>(
        &mut self,
        read: impl FnOnce(&Row, usize, &MySqlAddress) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let value = read(self.row, self.at, self.address);
        self.at += 1;
        value
    }

    fn integer_or_null(&mut self) -> Result<Option<i64>, StoreError> {
        self.next(integer_or_null)
    }
}

impl Columns for Values<'_> {
    fn integer(&mut self) -> Result<i64, StoreError> {
        self.next(integer)
    }

    fn text(&mut self) -> Result<String, StoreError> {
        self.next(|row, at, address| text(row, at, address).map(str::to_owned))
    }

    fn text_or_null(&mut self) -> Result<Option<String>, StoreError> {
        self.next(text_or_null)
    }

    fn damaged(&self, what: &'static str, value: String) -> StoreError {
        StoreError::Damaged { store: self.address.to_string(), what, value }
    }
}

/// A text as the bytes that it is.
fn bytes(text: &str) -> Value {
    Value::Bytes(text.as_bytes().to_vec())
}
