//! The stores of other services that share a group with this one: its partitions are claimed there too.

use std::fmt;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::Context;
use kohort_service::Complaint;
use kohort_service::config;
use market_store::{GroupStore, GroupStores, Positions, SqliteStore};

use crate::sink::SharedStore;

/// A store of another service, shared by all members of the process.
#[derive(Clone)]
pub struct OtherStore {
    name: String,
    positions: Arc<Mutex<Box<dyn Positions>>>,
}

impl fmt::Debug for OtherStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OtherStore").field("name", &self.name).finish_non_exhaustive()
    }
}

impl OtherStore {
    /// A store by the name that its own service has for it.
    pub fn new(name: impl Into<String>, positions: impl Positions + 'static) -> OtherStore {
        OtherStore { name: name.into(), positions: Arc::new(Mutex::new(Box::new(positions))) }
    }

    /// The store that a service's file names in `GroupStores`. A server that is away is no error: it delays the claims.
    ///
    /// # Errors
    /// An address of no kind of store that there is, and a file that is no store.
    pub fn open(named: &config::GroupStore) -> anyhow::Result<OtherStore> {
        let Some(file) = named.place.strip_prefix("sqlite:") else {
            return Err(Complaint::new(format!(
                "`{}` in `GroupStores` is no kind of store that there is",
                named.place
            ))
            .at(named.at.clone())
            .why("a store of the group that is not claimed lets trades be counted twice")
            .hint("write `sqlite:FILE`")
            .into());
        };
        let file = Path::new(file);
        let store = SqliteStore::open(file).with_context(|| format!("open the store of {}", named.at))?;
        Ok(OtherStore::new(file_name(file), store))
    }
}

/// What a store in a file is called, the same in every process on this machine.
pub fn file_name(file: &Path) -> String {
    let file = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    format!("sqlite:{}", file.display())
}

/// Our own store and the others, for the claims of one member.
pub(crate) fn claims(name: &str, own: &SharedStore, others: &[OtherStore]) -> GroupStores {
    let others = others.iter().map(|other| GroupStore {
        name: other.name.clone(),
        positions: Box::new(Arc::clone(&other.positions)),
    });
    GroupStores::new(GroupStore { name: name.to_owned(), positions: Box::new(Arc::clone(own)) }, others)
}
