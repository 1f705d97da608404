//! The stores of other services that share a group with this one: its partitions are claimed there too.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use kohort_service::Complaint;
use kohort_service::config;
use market_store::{
    CandleReader, CandleStore, GroupStore, GroupStores, MergedReader, MySqlAddress, MySqlStore, RedisAddress,
    RedisStore, SqliteStore, StoreError,
};

use crate::sink::SharedStore;

/// A store of another service, shared by all members of the process: our partitions are claimed there, and its parts are read.
#[derive(Clone)]
pub struct OtherStore {
    name: String,
    store: SharedStore,
    /// The groups that it has a part of; `None` where that is not known.
    groups: Option<Vec<String>>,
}

impl fmt::Debug for OtherStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OtherStore {
    /// A store by the name that its own service has for it.
    pub fn new(name: impl Into<String>, store: Box<dyn CandleStore>) -> OtherStore {
        OtherStore { name: name.into(), store: Arc::new(Mutex::new(store)), groups: None }
    }

    /// The same, of whose groups only these are its service's: others are not claimed there.
    #[must_use]
    pub fn of_groups(mut self, groups: Vec<String>) -> OtherStore {
        self.groups = Some(groups);
        self
    }

    /// Its name.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn has(&self, group: &str) -> bool {
        self.groups.as_ref().is_none_or(|groups| groups.iter().any(|of| of == group))
    }

    /// The store that a service's file names in `GroupStores`. A server that is away is no error: it delays the claims.
    ///
    /// # Errors
    /// An address of no kind of store that there is, and a file that is no store.
    pub fn open(named: &config::GroupStore) -> anyhow::Result<OtherStore> {
        let complaint = |what: String| {
            Complaint::new(format!("`{}` in `GroupStores` {what}", named.place))
                .at(named.at.clone())
                .why("a store of the group that is not claimed lets trades be counted twice")
                .hint("write `sqlite:FILE`, `mysql://user:password@host:port/database` or `redis://:password@host:port`")
        };
        if let Some(file) = named.place.strip_prefix("sqlite:") {
            return OtherStore::open_file(Path::new(file))
                .with_context(|| format!("open the store of {}", named.at));
        }
        let wrong = |why: String| complaint(format!("cannot be understood: {why}"));
        let store: Box<dyn CandleStore> = match named.place.split_once("://") {
            Some(("mysql", _)) => Box::new(MySqlStore::new(
                MySqlAddress::parse(&named.url).map_err(|why| wrong(why.to_string()))?,
            )),
            Some(("redis", _)) => Box::new(RedisStore::new(RedisAddress::parse(&named.url).map_err(wrong)?)),
            _ => return Err(complaint("is no kind of store that there is".to_owned()).into()),
        };
        Ok(OtherStore::new(named.place.clone(), store))
    }

    /// The store in a file: Dataflow's, or the one that Market's cache stands in front of.
    ///
    /// # Errors
    /// A file that is no store.
    pub fn open_file(file: &Path) -> anyhow::Result<OtherStore> {
        let store = SqliteStore::open(file).with_context(|| format!("open `{}`", file.display()))?;
        Ok(OtherStore::new(file_name(file), Box::new(store)))
    }
}

/// What a store in a file is called, the same in every process on this machine.
pub fn file_name(file: &Path) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    format!("sqlite:{}", file.display())
}

/// A reader of our own store and of the others that have a part of `groups`.
pub(crate) fn reader(
    own: &SharedStore,
    others: &[OtherStore],
    groups: &[String],
) -> Result<Box<dyn CandleReader>, StoreError> {
    let open = |store: &SharedStore| store.lock().unwrap_or_else(PoisonError::into_inner).reader();
    let sharing = others.iter().filter(|other| groups.iter().any(|group| other.has(group)));
    let others = sharing.map(|other| open(&other.store)).collect::<Result<Vec<_>, _>>()?;
    if others.is_empty() { open(own) } else { Ok(Box::new(MergedReader::new(open(own)?, others))) }
}

/// Our own store and the others, for the claims of one member of `group`.
pub(crate) fn claims(name: &str, own: &SharedStore, others: &[OtherStore], group: &str) -> GroupStores {
    let others = others
        .iter()
        .filter(|other| other.has(group))
        .map(|other| GroupStore { name: other.name.clone(), positions: Box::new(Arc::clone(&other.store)) });
    GroupStores::new(GroupStore { name: name.to_owned(), positions: Box::new(Arc::clone(own)) }, others)
}
