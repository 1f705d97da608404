//! The connection: made when it is needed, made anew when it broke, and never used again in an unknown state.

use mysql::prelude::Queryable;
use mysql::{Conn, OptsBuilder, SslOpts};

use super::address::{MySqlAddress, Place, Tls};
use super::schema::{self, Schema};
use crate::StoreError;

/// How long a statement waits for another's lock, in seconds. A flush takes well below a second; ten mean that something hangs.
const LOCK_WAIT_S: u32 = 10;
/// So long, in seconds, may a writer say nothing in the middle of a transaction (a process that was frozen, a cable that was cut) before
/// the server takes the transaction back and lets others claim what it held. MariaDB only.
const IDLE_TRANSACTION_S: u32 = 20;
/// So long, in seconds, may a connection say nothing at all. MySQL knows no other limit, so it bounds both servers.
const IDLE_S: u32 = 60;
/// Statements that the server keeps prepared for a connection.
const PREPARED_MAX: usize = 32;

/// What a connection is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// Claims and flushes. Each statement sees what is committed: the row of the group keeps others away.
    Write,
    /// Questions. Each sees one state.
    Read,
}

/// A server, and a connection to it while there is one.
pub(crate) struct Link {
    address: MySqlAddress,
    purpose: Purpose,
    schema: &'static Schema,
    connection: Option<Conn>,
}

impl Link {
    pub(crate) fn new(address: MySqlAddress, purpose: Purpose, schema: &'static Schema) -> Link {
        Link { address, purpose, schema, connection: None }
    }

    pub(crate) fn address(&self) -> &MySqlAddress {
        &self.address
    }

    /// Connects, if there is no connection, and brings the schema up to date.
    pub(crate) fn connect(&mut self) -> Result<(), StoreError> {
        if self.connection.is_none() {
            self.connection = Some(connect(&self.address, self.purpose, self.schema)?);
        }
        Ok(())
    }

    /// Runs `work` in one transaction: committed if it returns `Ok`, taken back if not.
    ///
    /// Only a connection whose transaction was committed is used again. After an error or a panic of `work` it is closed: the server
    /// takes back what was not committed, and the next call looks at the tables anew.
    pub(crate) fn transaction<T, E: From<StoreError>>(
        &mut self,
        work: impl FnOnce(&mut Conn) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.begin()?;
        match work(&mut connection) {
            Ok(value) => {
                connection.query_drop("COMMIT").map_err(|error| failure(&self.address, error))?;
                self.connection = Some(connection);
                Ok(value)
            }
            Err(error) => {
                // Asked for, so that the locks are gone when this returns. If it fails, closing does the same a little later.
                connection.query_drop("ROLLBACK").ok();
                Err(error)
            }
        }
    }

    /// A connection in a new transaction.
    fn begin(&mut self) -> Result<Conn, StoreError> {
        let begin = match self.purpose {
            Purpose::Write => "START TRANSACTION",
            Purpose::Read => "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY",
        };
        if let Some(mut connection) = self.connection.take() {
            // Nothing was asked yet, so a connection that the server closed meanwhile is no news to anybody.
            if connection.query_drop(begin).is_ok() {
                return Ok(connection);
            }
        }
        let mut connection = connect(&self.address, self.purpose, self.schema)?;
        connection.query_drop(begin).map_err(|error| failure(&self.address, error))?;
        Ok(connection)
    }
}

fn connect(address: &MySqlAddress, purpose: Purpose, schema: &Schema) -> Result<Conn, StoreError> {
    let options = OptsBuilder::new()
        .user(Some(&address.user))
        .pass(Some(&address.password))
        .db_name(Some(&address.database))
        // A socket of the same machine is used only where the address names it: its logins may differ.
        .prefer_socket(false)
        .tcp_connect_timeout(Some(address.connect_timeout))
        .read_timeout(Some(address.read_timeout))
        .write_timeout(Some(address.write_timeout))
        .stmt_cache_size(PREPARED_MAX)
        .ssl_opts(match address.tls {
            Tls::Off => None,
            Tls::On => Some(SslOpts::default()),
            Tls::SkipVerify => Some(
                SslOpts::default()
                    .with_danger_accept_invalid_certs(true)
                    .with_danger_skip_domain_validation(true),
            ),
        });
    let options = match &address.place {
        Place::Tcp(host, port) => options.ip_or_hostname(Some(host)).tcp_port(*port),
        Place::Unix(path) => options.socket(Some(path.display().to_string())),
    };
    let fail = |error| failure(address, error);
    let mut connection = Conn::new(options).map_err(fail)?;
    let isolation = match purpose {
        Purpose::Write => "READ COMMITTED",
        Purpose::Read => "REPEATABLE READ",
    };
    connection.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")).map_err(fail)?;
    // Strict, whatever the server's default is: a value that does not fit is an error and not another value.
    connection
        .query_drop(format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', innodb_lock_wait_timeout = {LOCK_WAIT_S},
                 wait_timeout = {IDLE_S} /*M!100300 , idle_transaction_timeout = {IDLE_TRANSACTION_S} */"
        ))
        .map_err(fail)?;
    schema::prepare(&mut connection, address, schema)?;
    if schema.bytes_only {
        // Else the server takes all that comes for UTF-8, and looks through every byte: a third of what it spends on a flush.
        connection.query_drop("SET NAMES binary").map_err(fail)?;
    }
    Ok(connection)
}

/// Sorts the server's and the driver's errors by what a person can do about them. Codes: `share/errmsg-utf8.txt` of MariaDB, the
/// same in MySQL.
pub(crate) fn failure(address: &MySqlAddress, error: mysql::Error) -> StoreError {
    let store = address.to_string();
    let code = if let mysql::Error::MySqlError(error) = &error { error.code } else { 0 };
    let source = Box::new(error);
    match code {
        // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK.
        1205 | 1213 => StoreError::Busy { store, source },
        // ER_DISK_FULL, ER_RECORD_FILE_FULL.
        1021 | 1114 => StoreError::Full { store, source },
        // Access denied: to a database, to all, to a table, to a column, for want of a privilege, without a password, by the plugin.
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 => StoreError::Denied { store, source },
        // ER_BAD_DB_ERROR.
        1049 => StoreError::NoDatabase { store, database: address.database.clone() },
        // Broken off, going down, no connection left, killed, idle for too long, read-only for now.
        0
        | 1040
        | 1053
        | 1077
        | 1152..=1161
        | 1203
        | 1290
        | 1317
        | 1792
        | 1836
        | 1927
        | 2006
        | 2013
        | 4031 => StoreError::Away { store, source },
        _ => StoreError::Refused { store, source },
    }
}
