//! `--store URL` of `verify` and `bench pipeline`: a store, or Market's cache, of the run's own.

use std::path::{Path, PathBuf};

use kohort_service::Complaint;
use market_store::{MySqlAddress, MySqlStore, RedisAddress, RedisStore, StoreError};

/// The store of a run, which is empty when the run begins.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct RunStore {
    /// Its address, for `market_store::open`; empty for Market's own cache, in memory in front of a file.
    pub(crate) url: String,
    /// The folder of the service under test.
    pub(crate) data: PathBuf,
    /// What the service's file says about it: whole lines.
    pub(crate) in_file: String,
}

impl RunStore {
    /// The store of `--store`; a file in `folder` without it.
    pub(crate) fn choose(url: Option<&str>, folder: &Path) -> Result<RunStore, Complaint> {
        let Some(url) = url else {
            return Ok(RunStore::file(&folder.join(dataflow::service::STORE_FILE), folder));
        };
        match url.strip_prefix("sqlite:") {
            Some(path) => RunStore::new_file(url, Path::new(path.trim_start_matches("//"))),
            None => RunStore::database(url, folder),
        }
    }

    /// The cache of Market's `--store`: `memory:` or `redis://...`; memory in front of a file in `folder` without it.
    pub(crate) fn cache(url: Option<&str>, folder: &Path) -> Result<RunStore, Complaint> {
        let in_file = match url {
            None | Some("memory:") => String::new(),
            Some(url) => RunStore::redis(url)?,
        };
        Ok(RunStore { url: url.unwrap_or_default().to_owned(), data: folder.to_owned(), in_file })
    }

    fn redis(url: &str) -> Result<String, Complaint> {
        // The address itself is not quoted: it may hold a password.
        let wrong = |why: String| {
            Complaint::new("this cache's address cannot be understood")
                .at("--store")
                .why(why)
                .hint("write `memory:` or `redis://:password@host:port`")
        };
        let address = RedisAddress::parse(url).map_err(wrong)?;
        if address.user.is_some() || address.database != 0 {
            return Err(wrong("`Redis` of a service's file names no user and no database".to_owned()));
        }
        let at = format!("--store {address}");
        let empty = RedisStore::new(address.clone()).is_empty().map_err(|error| said(&error, &at))?;
        if !empty {
            return Err(Complaint::new("this Redis has keys already")
                .at(at)
                .why("candles among them would be counted")
                .hint("name one that is empty"));
        }
        let quoted = |text: &str| text.replace('\'', "''");
        let pass = address.pass.map(|pass| format!("  Pass: '{}'\n", quoted(&pass))).unwrap_or_default();
        Ok(format!("Redis:\n  Host: '{}'\n{pass}", quoted(&address.host)))
    }

    fn file(path: &Path, data: &Path) -> RunStore {
        RunStore { url: format!("sqlite:{}", path.display()), data: data.to_owned(), in_file: String::new() }
    }

    fn new_file(url: &str, path: &Path) -> Result<RunStore, Complaint> {
        let name = dataflow::service::STORE_FILE;
        let complaint = |what: &str| Complaint::new(what).at(format!("--store {url}"));
        if path.file_name().is_none_or(|last| last != name) {
            return Err(complaint("the service would use another file")
                .hint(format!("end the path with `{name}`: that is how the service names its file")));
        }
        if path.exists() {
            return Err(complaint("this store is there already")
                .why("candles that it has would be counted")
                .hint("name a file that is not there yet"));
        }
        Ok(RunStore::file(path, path.parent().unwrap_or(Path::new(""))))
    }

    fn database(url: &str, folder: &Path) -> Result<RunStore, Complaint> {
        // The address itself is not quoted: it may hold a password.
        let address = MySqlAddress::parse(url).map_err(|error| {
            Complaint::new("this store's address cannot be understood")
                .at("--store")
                .why(error.to_string())
                .hint("write `sqlite:PATH`, `mysql://user:password@host:port/database` or `user:password@tcp(host:port)/database`")
        })?;
        let at = format!("--store {address}");
        let empty = MySqlStore::new(address).is_empty().map_err(|error| said(&error, &at))?;
        if !empty {
            return Err(Complaint::new("this store has candles already")
                .at(at)
                .why("they would be counted")
                .hint("name a new, empty database"));
        }
        let in_file = format!("Mysql:\n  DataSource: '{}'\n", url.replace('\'', "''"));
        Ok(RunStore { url: url.to_owned(), data: folder.to_owned(), in_file })
    }
}

/// What a store said that was asked whether it is empty.
fn said(error: &StoreError, at: &str) -> Complaint {
    let cause = std::error::Error::source(error).map(ToString::to_string);
    cause.into_iter().fold(Complaint::new(error.to_string()).at(at), Complaint::why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_store_that_cannot_be_used_is_refused_with_the_mend() {
        let here = Path::new("x");
        let choose = |url| RunStore::choose(url, here);
        let own = RunStore { url: "sqlite:x/candles.db".into(), data: here.into(), in_file: String::new() };
        assert_eq!(choose(None).unwrap(), own);
        assert_eq!(choose(Some("sqlite:no/such/candles.db")).unwrap().data, Path::new("no/such"));
        let refused = |url| choose(Some(url)).unwrap_err().to_string();
        assert!(refused("sqlite:other.db").contains("candles.db"));
        assert!(refused("postgres").contains("sqlite:PATH"));
        let away = refused("u:secret@tcp(127.0.0.1:1)/d");
        assert!(away.contains("check that it runs") && !away.contains("secret"), "{away}");
    }

    #[test]
    fn a_cache_that_cannot_be_used_is_refused_with_the_mend() {
        let here = Path::new("x");
        for (url, kept) in [(None, ""), (Some("memory:"), "memory:")] {
            let cache = RunStore { url: kept.into(), data: here.into(), in_file: String::new() };
            assert_eq!(RunStore::cache(url, here).unwrap(), cache);
        }
        let refused = |url| RunStore::cache(Some(url), here).unwrap_err().to_string();
        assert!(refused("sqlite:x").contains("`memory:`"));
        for named in ["redis://user:secret@127.0.0.1:1", "redis://:secret@127.0.0.1:1/3"] {
            let why = refused(named);
            assert!(why.contains("no user and no database") && !why.contains("secret"), "{why}");
        }
        let away = refused("redis://:secret@127.0.0.1:1");
        assert!(away.contains("127.0.0.1:1") && !away.contains("secret"), "{away}");
    }
}
