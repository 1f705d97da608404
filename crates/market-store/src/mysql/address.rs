//! Where a MySQL database is: data source names as Go's driver writes them, and `mysql://` URLs.
//!
//! The password is part of both and of nothing that this module shows: neither an error nor `Debug` has it.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use thiserror::Error;

/// A server that does not take a connection for so long is away.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A statement that is not answered for so long hangs: the longest of ours writes a thousand rows, and waits ten seconds for a lock.
const IO_TIMEOUT: Duration = Duration::from_secs(30);
/// MySQL's own.
const DEFAULT_PORT: u16 = 3306;

/// Parameters of Go's driver that say how *it* hands values to its program. They mean nothing here and are let pass.
const OF_THE_GO_DRIVER: [&str; 13] = [
    "allowNativePasswords",
    "allowOldPasswords",
    "charset",
    "checkConnLiveness",
    "clientFoundRows",
    "collation",
    "columnsWithAlias",
    "connectionAttributes",
    "interpolateParams",
    "loc",
    "maxAllowedPacket",
    "multiStatements",
    "parseTime",
];

/// The address of a MySQL or MariaDB database, and who connects.
#[derive(Clone, PartialEq, Eq)]
pub struct MySqlAddress {
    pub(super) user: String,
    pub(super) password: String,
    pub(super) place: Place,
    pub(super) database: String,
    pub(super) tls: Tls,
    pub(super) connect_timeout: Duration,
    pub(super) read_timeout: Duration,
    pub(super) write_timeout: Duration,
}

/// Where the server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Place {
    Tcp(String, u16),
    Unix(PathBuf),
}

/// Whether the connection is encrypted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tls {
    Off,
    /// The server's certificate is checked.
    On,
    /// It is not.
    SkipVerify,
}

/// What is wrong with an address. Its parts are named, never quoted where a password could be among them.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadMySqlAddress {
    /// No `/`, or nothing behind it.
    #[error(
        "no database is named: write `user:password@tcp(host:port)/database` or `mysql://user:password@host:port/database`"
    )]
    NoDatabase,
    /// A network that is neither.
    #[error("unknown network `{0}`: use `tcp(host:port)` or `unix(/path)`")]
    Network(String),
    /// `tcp(` or `unix(` without `)`, or without an address.
    #[error("the server's address is not closed or missing: write `tcp(host:port)` or `unix(/path)`")]
    Unclosed,
    /// A port that is no number.
    #[error("`{0}` is no port")]
    Port(String),
    /// A `%` that no two hexadecimal digits follow.
    #[error("a `%` in the {0} is not followed by two hexadecimal digits")]
    Escape(&'static str),
    /// A parameter that this program does not know.
    #[error(
        "unknown parameter `{0}`: known are `tls`, `timeout`, `readTimeout` and `writeTimeout`; those that only tell Go's \
         driver how to hand over values (`charset`, `parseTime`, `loc`, ...) are let pass"
    )]
    Parameter(String),
    /// A value that a parameter cannot have.
    #[error("`{name}` cannot be `{value}`: {hint}")]
    Value {
        /// The parameter.
        name: &'static str,
        /// What was written.
        value: String,
        /// What may be written.
        hint: &'static str,
    },
}

impl MySqlAddress {
    /// Reads `user:password@tcp(host:port)/database?param=value` (Go's driver) or `mysql://user:password@host:port/database`.
    pub fn parse(text: &str) -> Result<MySqlAddress, BadMySqlAddress> {
        match text.strip_prefix("mysql://").or_else(|| text.strip_prefix("mariadb://")) {
            Some(rest) => MySqlAddress::of_url(rest),
            None => MySqlAddress::of_data_source_name(text),
        }
    }

    /// The database's name.
    pub fn database(&self) -> &str {
        &self.database
    }

    /// The same server and user, another database.
    #[must_use]
    pub fn with_database(mut self, database: impl Into<String>) -> MySqlAddress {
        self.database = database.into();
        self
    }

    fn of_url(rest: &str) -> Result<MySqlAddress, BadMySqlAddress> {
        let (rest, parameters) = rest.split_once('?').unwrap_or((rest, ""));
        let (server, database) = rest.split_once('/').ok_or(BadMySqlAddress::NoDatabase)?;
        let (login, host) = server.rsplit_once('@').unwrap_or(("", server));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let mut address = MySqlAddress::new(
            unescape(user, "user")?,
            unescape(password, "password")?,
            tcp(host)?,
            unescape(database, "database's name")?,
        )?;
        address.set_all(parameters)?;
        Ok(address)
    }

    fn of_data_source_name(text: &str) -> Result<MySqlAddress, BadMySqlAddress> {
        // As Go's driver does: the last `/` stands before the database, the last `@` before it ends the login, and the first
        // `:` in that ends the user. So a password may hold all three.
        let (server, database) = text.rsplit_once('/').ok_or(BadMySqlAddress::NoDatabase)?;
        let (database, parameters) = database.split_once('?').unwrap_or((database, ""));
        let (login, net) = server.rsplit_once('@').unwrap_or(("", server));
        let (user, password) = login.split_once(':').unwrap_or((login, ""));
        let (net, at) = match net.split_once('(') {
            Some((net, at)) => (net, at.strip_suffix(')').ok_or(BadMySqlAddress::Unclosed)?),
            None => (net, ""),
        };
        let place = match net {
            "" | "tcp" => tcp(at)?,
            "unix" if at.is_empty() => return Err(BadMySqlAddress::Unclosed),
            "unix" => Place::Unix(PathBuf::from(at)),
            other => return Err(BadMySqlAddress::Network(other.to_owned())),
        };
        let database = unescape(database, "database's name")?;
        let mut address = MySqlAddress::new(user.to_owned(), password.to_owned(), place, database)?;
        address.set_all(parameters)?;
        Ok(address)
    }

    fn new(
        user: String,
        password: String,
        place: Place,
        database: String,
    ) -> Result<MySqlAddress, BadMySqlAddress> {
        if database.is_empty() {
            return Err(BadMySqlAddress::NoDatabase);
        }
        Ok(MySqlAddress {
            user,
            password,
            place,
            database,
            tls: Tls::Off,
            connect_timeout: CONNECT_TIMEOUT,
            read_timeout: IO_TIMEOUT,
            write_timeout: IO_TIMEOUT,
        })
    }

    fn set_all(&mut self, parameters: &str) -> Result<(), BadMySqlAddress> {
        for parameter in parameters.split('&').filter(|parameter| !parameter.is_empty()) {
            let (name, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            match name {
                "tls" => self.tls = tls(value)?,
                "timeout" => self.connect_timeout = duration("timeout", value)?,
                "readTimeout" => self.read_timeout = duration("readTimeout", value)?,
                "writeTimeout" => self.write_timeout = duration("writeTimeout", value)?,
                name if OF_THE_GO_DRIVER.contains(&name) => {}
                unknown => return Err(BadMySqlAddress::Parameter(unknown.to_owned())),
            }
        }
        Ok(())
    }
}

fn tls(value: &str) -> Result<Tls, BadMySqlAddress> {
    match value {
        "false" => Ok(Tls::Off),
        "true" => Ok(Tls::On),
        "skip-verify" => Ok(Tls::SkipVerify),
        _ => Err(BadMySqlAddress::Value {
            name: "tls",
            value: value.to_owned(),
            hint: "use `true`, `skip-verify` or `false`",
        }),
    }
}

fn tcp(at: &str) -> Result<Place, BadMySqlAddress> {
    // `[::1]:3306`, `[::1]`, `host:3306`, `host`.
    let (host, port) = match at.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, rest)) => (host, rest.strip_prefix(':')),
        None => at.rsplit_once(':').map_or((at, None), |(host, port)| (host, Some(port))),
    };
    let port = match port {
        Some(port) => port.parse().map_err(|_| BadMySqlAddress::Port(port.to_owned()))?,
        None => DEFAULT_PORT,
    };
    let host = if host.is_empty() { "127.0.0.1" } else { host };
    Ok(Place::Tcp(host.to_owned(), port))
}

/// A duration as Go writes it, of whole numbers: `30s`, `500ms`, `1m30s`.
fn duration(name: &'static str, value: &str) -> Result<Duration, BadMySqlAddress> {
    let bad = || BadMySqlAddress::Value {
        name,
        value: value.to_owned(),
        hint: "use a duration above zero, such as `30s` or `1m30s`",
    };
    let mut total = Duration::ZERO;
    let mut rest = value;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(bad)?;
        let number: u32 = rest[..digits].parse().map_err(|_| bad())?;
        rest = &rest[digits..];
        let unit = rest.find(|c: char| c.is_ascii_digit()).unwrap_or(rest.len());
        let one = match &rest[..unit] {
            "ms" => Duration::from_millis(1),
            "s" => Duration::from_secs(1),
            "m" => Duration::from_secs(60),
            "h" => Duration::from_secs(3_600),
            _ => return Err(bad()),
        };
        total += one * number;
        rest = &rest[unit..];
    }
    if total.is_zero() { Err(bad()) } else { Ok(total) }
}

fn unescape(text: &str, part: &'static str) -> Result<String, BadMySqlAddress> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, behind @ ..] = rest {
        rest = behind;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let digit = |at: usize| behind.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        let (Some(high), Some(low)) = (digit(0), digit(1)) else { return Err(BadMySqlAddress::Escape(part)) };
        bytes.push((high * 16 + low) as u8);
        rest = &behind[2..];
    }
    String::from_utf8(bytes).map_err(|_| BadMySqlAddress::Escape(part))
}

impl fmt::Display for MySqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Tcp(host, port) if host.contains(':') => {
                write!(f, "mysql://[{host}]:{port}/{}", self.database)
            }
            Place::Tcp(host, port) => write!(f, "mysql://{host}:{port}/{}", self.database),
            Place::Unix(path) => write!(f, "unix({})/{}", path.display(), self.database),
        }
    }
}

impl fmt::Debug for MySqlAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "MySqlAddress({self}, user `{}`)", self.user)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, String, String, String) {
        let address = MySqlAddress::parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
        (address.user.clone(), address.password.clone(), address.to_string(), format!("{:?}", address.tls))
    }

    #[test]
    fn data_source_names_are_read_as_gos_driver_reads_them() {
        let own = |user: &str, password: &str, at: &str| {
            (user.to_owned(), password.to_owned(), at.to_owned(), "Off".to_owned())
        };
        assert_eq!(
            parsed(
                "root:p@ss:w/rd@tcp(db.example:3307)/dex?charset=utf8mb4&parseTime=true&loc=Asia%2FShanghai"
            ),
            own("root", "p@ss:w/rd", "mysql://db.example:3307/dex")
        );
        assert_eq!(parsed("/dex"), own("", "", "mysql://127.0.0.1:3306/dex"));
        assert_eq!(parsed("u@/dex"), own("u", "", "mysql://127.0.0.1:3306/dex"));
        assert_eq!(parsed("u@tcp([::1]:9)/dex"), own("u", "", "mysql://[::1]:9/dex"));
        assert_eq!(parsed("u@tcp(host)/dex"), own("u", "", "mysql://host:3306/dex"));
        assert_eq!(parsed("u:x@unix(/run/m.sock)/dex"), own("u", "x", "unix(/run/m.sock)/dex"));
        let address = MySqlAddress::parse("u@/d?timeout=1m30s&readTimeout=500ms&tls=skip-verify").unwrap();
        assert_eq!(address.connect_timeout, Duration::from_secs(90));
        assert_eq!((address.read_timeout, address.tls), (Duration::from_millis(500), Tls::SkipVerify));
    }

    #[test]
    fn urls_are_unescaped() {
        let (user, password, at, tls) = parsed("mysql://us%40er:p%2Fw:d@db:33/dex?tls=true");
        assert_eq!(
            (user.as_str(), password.as_str(), at.as_str(), tls.as_str()),
            ("us@er", "p/w:d", "mysql://db:33/dex", "On")
        );
        assert_eq!(parsed("mysql://db/dex").2, "mysql://db:3306/dex");
    }

    #[test]
    fn what_is_wrong_is_said_and_no_password_is_shown() {
        for (text, wanted) in [
            ("secret", "no database"),
            ("u:secret@tcp(h:1)/", "no database"),
            ("mysql://u:secret@h", "no database"),
            ("u:secret@udp(h:1)/d", "unknown network `udp`"),
            ("u:secret@tcp(h:1/d", "not closed"),
            ("u:secret@unix()/d", "missing"),
            ("u:secret@tcp(h:x)/d", "`x` is no port"),
            ("u:secret@/d?readTimout=3s", "unknown parameter `readTimout`"),
            ("u:secret@/d?tls=custom", "`tls` cannot be `custom`"),
            ("u:secret@/d?timeout=0s", "above zero"),
            ("u:secret@/d?timeout=5", "duration"),
            ("mysql://u:secret%2@h/d", "hexadecimal"),
        ] {
            let error = MySqlAddress::parse(text).unwrap_err();
            assert!(error.to_string().contains(wanted), "{text}: {error}");
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
        let address = MySqlAddress::parse("u:secret@/d").unwrap();
        assert!(!format!("{address} {address:?}").contains("secret"));
    }
}
