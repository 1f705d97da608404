//! A store by its address.

use std::path::Path;

use thiserror::Error;

use crate::{
    BadMySqlAddress, CandleStore, MemoryStore, MySqlAddress, MySqlStore, RedisAddress, RedisStore, Retention,
    SqliteStore, StoreError,
};

/// Why there is no store at an address.
#[derive(Debug, Error)]
pub enum OpenError {
    /// None of the kinds that there are. The address is not quoted: it may hold a password.
    #[error(
        "this is no store's address: write `sqlite:PATH`, `mysql://user:password@host:port/database`, \
         `user:password@tcp(host:port)/database`, `redis://:password@host:port/number` or `memory:`"
    )]
    Unknown,
    /// An address of Redis that cannot be read: what is wrong with it.
    #[error("this is no address of Redis: {0}")]
    Redis(String),
    /// An address of MySQL that cannot be read.
    #[error(transparent)]
    MySql(#[from] BadMySqlAddress),
    /// The store itself.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Opens the store at an address: `sqlite:PATH`, `mysql://...` or `mariadb://...`, a data source name of Go's driver, `redis://...`,
/// `memory:`. It keeps everything: [`Retention`] is a matter of the service that has it as its cache.
///
/// A server that is away is no error: it is asked again with every call. What no waiting would mend (a wrong password, a database
/// that is missing or another program's) is.
pub fn open(url: &str) -> Result<Box<dyn CandleStore>, OpenError> {
    let url = url.trim();
    if url == "memory:" {
        return Ok(Box::new(MemoryStore::new()));
    }
    if let Some(path) = url.strip_prefix("sqlite:") {
        let path = path.strip_prefix("//").unwrap_or(path);
        return Ok(Box::new(SqliteStore::open(Path::new(path))?));
    }
    if url.starts_with("redis://") {
        let address = RedisAddress::parse(url).map_err(OpenError::Redis)?;
        return Ok(Box::new(RedisStore::new(address).retention(Retention::OFF)));
    }
    // Any other URL is of something else; a data source name has no scheme, though its password may look as if.
    let other =
        url.split_once("://").is_some_and(|(scheme, _)| scheme.chars().all(|c| c.is_ascii_alphanumeric()));
    let ours = url.starts_with("mysql://") || url.starts_with("mariadb://");
    if ours || !other && url.contains('/') && (url.contains('@') || url.contains('(')) {
        return Ok(Box::new(MySqlStore::open(MySqlAddress::parse(url)?)?));
    }
    Err(OpenError::Unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_told_by_its_address() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("candles.db");
        assert!(open("memory:").is_ok());
        assert!(open(&format!("sqlite:{}", file.display())).is_ok() && file.exists());
        assert!(open(&format!("sqlite://{}", file.display())).is_ok());
        // Nobody listens there, and that is no error.
        for away in [
            "redis://:p@127.0.0.1:1/2",
            "mysql://u:p@127.0.0.1:1/d",
            "mariadb://127.0.0.1:1/d",
            "u:p@tcp(127.0.0.1:1)/d",
        ] {
            open(away).unwrap().reader().unwrap();
            assert!(open(away).unwrap().positions("g").is_err_and(|error| error.is_retriable()), "{away}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_and_not_quoted() {
        for url in [
            "",
            "secret",
            "postgres://u:secret@h/d",
            "u:secret@udp(h)/d",
            "mysql://u:secret@h",
            "redis://:secret@h/x",
        ] {
            let error = open(url).err().unwrap();
            assert!(!format!("{error} {error:?}").contains("secret"), "{error:?}");
        }
    }
}
