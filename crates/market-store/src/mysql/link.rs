//! The connection: made when it is needed, made anew when it broke, and never used again in an unknown state.

use std::error::Error as _;
use std::io;

use mysql::prelude::Queryable;
use mysql::{Conn, DriverError, OptsBuilder, SslOpts};

use super::address::{MySqlAddress, Place, Tls};
use super::schema::{self, Schema};
use crate::StoreError;

/// How long a statement waits for another's lock, in seconds. A flush takes well below a second; ten mean that something hangs.
const LOCK_WAIT_S: u32 = 10;
/// So long, in seconds, may a writer say nothing (a process that was frozen, a cable that was cut) before the server closes its connection,
/// takes back the transaction that it was in, and lets others claim what it held. A limit for transactions alone is MariaDB's only; a
/// writer that has nothing to write for so long connects anew.
const IDLE_WRITER_S: u32 = 20;
/// The same for a reader, who keeps nobody waiting.
const IDLE_READER_S: u32 = 60;
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
    let (isolation, idle) = match purpose {
        Purpose::Write => ("READ COMMITTED", IDLE_WRITER_S),
        Purpose::Read => ("REPEATABLE READ", IDLE_READER_S),
    };
    connection.query_drop(format!("SET SESSION TRANSACTION ISOLATION LEVEL {isolation}")).map_err(fail)?;
    // Strict, whatever the server's default is: a value that does not fit is an error and not another value.
    connection
        .query_drop(format!(
            "SET SESSION sql_mode = 'STRICT_ALL_TABLES,NO_ENGINE_SUBSTITUTION', autocommit = 1,
                 innodb_lock_wait_timeout = {LOCK_WAIT_S}, wait_timeout = {idle}"
        ))
        .map_err(fail)?;
    schema::prepare(&mut connection, address, schema)?;
    if schema.bytes_only {
        // Else the server takes all that comes for UTF-8, and looks through every byte: a third of what it spends on a flush.
        connection.query_drop("SET NAMES binary").map_err(fail)?;
    }
    Ok(connection)
}

/// Sorts the server's and the driver's errors by what a person can do about them. Codes: `share/errmsg-utf8.txt` of MariaDB and
/// `share/messages_to_clients.txt` of MySQL, which agree below 1900.
pub(crate) fn failure(address: &MySqlAddress, error: mysql::Error) -> StoreError {
    let store = address.to_string();
    if let Some(why) = unsuitable(address, &error) {
        return StoreError::Unsuitable { store, why };
    }
    let code = if let mysql::Error::MySqlError(error) = &error { error.code } else { 0 };
    let source = Box::new(error);
    match code {
        // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK, ER_TRANSACTION_ROLLBACK_DURING_COMMIT (another member of a replication group was first).
        1205 | 1213 | 3101 => StoreError::Busy { store, source },
        // ER_DISK_FULL, ER_RECORD_FILE_FULL.
        1021 | 1114 => StoreError::Full { store, source },
        // Access denied: to a database, to all, to a table, to a column, for want of a privilege, without a password, by the plugin; this
        // host; this client; a plugin that the server has no more; the password has expired; the account is locked (MySQL, for wrong
        // passwords, MariaDB).
        1044 | 1045 | 1142 | 1143 | 1227 | 1370 | 1698 | 1130 | 1251 | 1524 | 1820 | 1862 | 3118 | 3955
        | 4151 => StoreError::Denied { store, source },
        // ER_BAD_DB_ERROR.
        1049 => StoreError::NoDatabase { store, database: address.database.clone() },
        // Broken off, going down, no connection left, killed, offline, idle for too long, read-only for now.
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
        | 3032
        | 4031 => StoreError::Away { store, source },
        _ => StoreError::Refused { store, source },
    }
}

/// What a server and this program cannot agree on as they are set up, and what to do; `None` for all else.
fn unsuitable(address: &MySqlAddress, error: &mysql::Error) -> Option<String> {
    const TLS: &str = "`tls=true`, or `tls=skip-verify` where the server made its certificate itself";
    match error {
        // ER_SECURE_TRANSPORT_REQUIRED.
        mysql::Error::MySqlError(error) if error.code == 3159 => {
            Some(format!("it takes encrypted connections only: add {TLS}"))
        }
        // ER_BINLOG_STMT_MODE_AND_ROW_ENGINE.
        mysql::Error::MySqlError(error) if error.code == 1665 => Some(
            "it logs changes as statements, which READ COMMITTED does not allow: set `binlog_format` to `ROW` or `MIXED`".to_owned(),
        ),
        mysql::Error::DriverError(DriverError::TlsNotSupported) => {
            Some("it offers no encryption: set it up there, or leave `tls` away".to_owned())
        }
        mysql::Error::DriverError(
            DriverError::UnknownAuthPlugin(_)
            | DriverError::OldMysqlPasswordDisabled
            | DriverError::CleartextPluginDisabled,
        ) => Some(format!(
            "this user logs in by a way that this program does not know ({error}): \
             ``ALTER USER `{}` IDENTIFIED WITH caching_sha2_password BY '...'`` (MariaDB: `VIA mysql_native_password`)",
            address.user
        )),
        mysql::Error::IoError(told) => of_tls(address, told),
        mysql::Error::CodecError(error) => {
            error.source().and_then(|told| of_tls(address, told.downcast_ref::<io::Error>()?))
        }
        mysql::Error::TlsError(told) => Some(no_encryption(told)),
        _ => None,
    }
}

/// What `rustls` says when no encryption comes about is data that is invalid; a connection that breaks is another kind of error.
fn of_tls(address: &MySqlAddress, told: &io::Error) -> Option<String> {
    (address.tls != Tls::Off && told.kind() == io::ErrorKind::InvalidData).then(|| no_encryption(told))
}

fn no_encryption(told: &dyn std::fmt::Display) -> String {
    let told = told.to_string();
    let mend = if told.contains("certificate") {
        "give it a certificate of a usual authority, or write `tls=skip-verify` to encrypt and not check it"
    } else {
        "it must speak TLS 1.2 or 1.3 with ECDHE, which the first releases of MySQL 8.0 do not"
    };
    format!("no encrypted connection comes about ({told}): {mend}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_waiting_mends_is_told_from_what_passes() {
        let address = MySqlAddress::parse("me:secret@/d?tls=true").unwrap();
        let coded =
            |code| mysql::MySqlError { state: "HY000".to_owned(), message: "why".to_owned(), code }.into();
        let io = |kind| mysql::Error::IoError(io::Error::new(kind, "invalid peer certificate: Expired"));
        let plugin = || DriverError::UnknownAuthPlugin("sha256_password".to_owned()).into();
        for (error, retriable, wanted) in [
            (coded(1205), true, "locked by another"),
            (coded(3101), true, "locked by another"),
            (coded(4031), true, "broke off"),
            (coded(9_999), true, "refused a statement"),
            (coded(1524), false, "refuses this user"),
            (coded(3118), false, "refuses this user"),
            (coded(3159), false, "add `tls=true`"),
            (coded(1665), false, "`binlog_format`"),
            (DriverError::TlsNotSupported.into(), false, "leave `tls` away"),
            (
                plugin(),
                false,
                "(DriverError { Unknown authentication protocol: `sha256_password` }): ``ALTER USER `me`",
            ),
            (
                io(io::ErrorKind::InvalidData),
                false,
                "invalid peer certificate: Expired): give it a certificate",
            ),
            (io(io::ErrorKind::UnexpectedEof), true, "broke off"),
        ] {
            let error = failure(&address, error);
            assert_eq!(error.is_retriable(), retriable, "{error}");
            assert!(error.to_string().contains(wanted), "{error}");
        }
        let clear = MySqlAddress::parse("me@/d").unwrap();
        assert!(failure(&clear, io(io::ErrorKind::InvalidData)).is_retriable());
    }
}
