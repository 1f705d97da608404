//! What can go wrong with a store.

use std::error::Error;
use std::path::PathBuf;

use thiserror::Error;

use crate::TopicPartition;

type Cause = Box<dyn Error + Send + Sync>;

/// A store that did not do what it was asked, and changed nothing.
#[derive(Debug, Error)]
pub enum StoreError {
    /// Another process held the store for longer than the busy timeout. Worth another try.
    #[error("`{store}` is locked by another process: nothing was changed")]
    Busy {
        /// The file or address.
        store: String,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// Somebody else claimed the same partitions again and again while this claim was under way. Worth another try.
    #[error(
        "the claim over the group's stores was overtaken in `{store}` in {rounds} rounds: another process claims the same partitions \
         at the same time, or one store is given under two names"
    )]
    Contended {
        /// Where it was seen.
        store: String,
        /// How often it was tried.
        rounds: u32,
    },
    /// The disk is full. Worth another try once it is not.
    #[error("no space left for `{store}`: free some on its disk; nothing was changed")]
    Full {
        /// The file or address.
        store: String,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// Reading or writing failed. Worth another try.
    #[error("`{store}` cannot be read or written: check its disk and its permissions; nothing was changed")]
    Unreachable {
        /// The file or address.
        store: String,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// The server does not answer, or broke off. Worth another try; what a flush wrote whose last answer was lost, the next one finds.
    #[error("the server of `{store}` does not answer or broke off: check that it runs and listens there")]
    Away {
        /// The address.
        store: String,
        /// What the driver said.
        #[source]
        source: Cause,
    },
    /// The server answered with an error that is nothing of the above. Worth another try, once somebody has looked.
    #[error("the server of `{store}` refused a statement: nothing was changed")]
    Refused {
        /// The address.
        store: String,
        /// What the server said.
        #[source]
        source: Cause,
    },
    /// The server does not let this user in, or not do what is needed.
    #[error(
        "`{store}` refuses this user: check the name, the password and the grants (it needs all on that database)"
    )]
    Denied {
        /// The address.
        store: String,
        /// What the server said.
        #[source]
        source: Cause,
    },
    /// The server has no such database.
    #[error("`{store}` does not exist: make it with ``CREATE DATABASE `{database}` ``")]
    NoDatabase {
        /// The address.
        store: String,
        /// The database.
        database: String,
    },
    /// A database in which another program keeps things under our names.
    #[error("`{store}` has a table `{table}` that is not a candle store's: name a database of its own")]
    Foreign {
        /// The address.
        store: String,
        /// The table or view.
        table: String,
    },
    /// A server that cannot be used as it is set up.
    #[error("`{store}` cannot be used: {why}")]
    Unsuitable {
        /// The address.
        store: String,
        /// Why, and what to do.
        why: String,
    },
    /// The file's folder cannot be made or written.
    #[error("folder `{}` cannot be used: make it writable or name another one with `--data`", folder.display())]
    Folder {
        /// The folder.
        folder: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// A file that is no store, or a damaged one.
    #[error(
        "`{store}` is not a store of this kind, or is damaged: move it away and move the groups back \
         (`kohort groups reset GROUP --all-topics --to first --execute`): it is made anew from the topics"
    )]
    NotAStore {
        /// The file or address.
        store: String,
        /// What the database said.
        #[source]
        source: Cause,
    },
    /// A store that a newer program wrote.
    #[error(
        "`{store}` has schema version {found}, and this program knows up to {known}: use a newer program"
    )]
    Newer {
        /// The file or address.
        store: String,
        /// The version that the file says.
        found: i64,
        /// The newest version that this program knows.
        known: i64,
    },
    /// A stored value that cannot be what this program wrote.
    #[error("`{store}` holds a {what} that cannot be read: `{value}`")]
    Damaged {
        /// The file or address.
        store: String,
        /// Which value.
        what: &'static str,
        /// What stands there.
        value: String,
    },
}

impl StoreError {
    /// Whether the same call may succeed later without anybody changing the program or the store.
    pub fn is_retriable(&self) -> bool {
        matches!(
            self,
            StoreError::Busy { .. }
                | StoreError::Contended { .. }
                | StoreError::Full { .. }
                | StoreError::Unreachable { .. }
                | StoreError::Away { .. }
                | StoreError::Refused { .. }
        )
    }
}

/// A flush that changed nothing.
#[derive(Debug, Error)]
pub enum FlushError {
    /// Somebody else claimed a partition, or its position moved: this owner is a zombie. Its deltas must be dropped, and it
    /// claims anew only if it still owns the partition.
    #[error(
        "fenced at `{partition}`: epoch {epoch} and position {from:?} were claimed, and the store has epoch {found_epoch} \
         and position {found:?}"
    )]
    Fenced {
        /// The partition that moved.
        partition: TopicPartition,
        /// The epoch that the flush stated.
        epoch: i64,
        /// The position that the flush stated.
        from: Option<i64>,
        /// The store's epoch; 0 where nobody ever claimed.
        found_epoch: i64,
        /// The store's position.
        found: Option<i64>,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}
