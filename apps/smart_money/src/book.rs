//! The address book in step with its two sources: a file, and the table of what was added and removed while the service ran.
//!
//! The table stands above the file. A change is written to the table first and comes into the book from there, so what the book has
//! outlives the process; what other processes change comes in the same way, when [`Keeper::follow`] looks.
//!
//! A table whose server is away at the start is read when it comes. Until then nobody is known: who is in the file may have been removed
//! in the table. No trade may be judged before that, so claims wait for [`Keeper::load`].

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use kohort_service::Complaint;
use market_data::wallets::{
    ADDRESSES_MAX, AddressBook, BadLine, BookList, Change, FalsePositiveRate, Snapshot, TooMany, read_list,
};
use market_store::StoreError;
use market_store::wallets::{AddressChanges, AddressTable};
use thiserror::Error;

/// The most addresses that change in one step through the API.
pub const CHANGES_MAX: usize = 10_000;

/// Where the addresses come from that are known from the start.
#[derive(Debug, Clone, Default)]
pub enum Source {
    /// Nowhere: all are added while the service runs.
    #[default]
    None,
    /// A file, and `file:line` of where it is named.
    File(PathBuf, String),
    /// Texts in the form of the file that are in the program.
    Texts(&'static [&'static str]),
}

/// Keeps the book. Cloned, it is the same. Its methods block: not for a thread that must not wait.
#[derive(Clone)]
pub struct Keeper {
    book: AddressBook,
    source: Source,
    table: Arc<Mutex<Table>>,
    /// Whether the table was ever read.
    loaded: Arc<AtomicBool>,
}

struct Table {
    store: Box<dyn AddressTable>,
    /// The table's version that the book has.
    version: i64,
}

impl std::fmt::Debug for Keeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keeper").field("source", &self.source).finish_non_exhaustive()
    }
}

/// Why the book was not changed.
#[derive(Debug, Error)]
pub enum KeepError {
    /// The file cannot be read.
    #[error("the file of addresses `{}` cannot be read", .0.display())]
    Unreadable(PathBuf, #[source] std::io::Error),
    /// A line of it is no address. Which and why is all of its text, so that it is not told twice.
    #[error("the file of addresses is wrong in {0}")]
    Line(BadLine),
    /// The book is full.
    #[error(transparent)]
    TooMany(#[from] TooMany),
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The table was not read yet: its server was away since the start.
    #[error("it is not known yet who is known: the server of the table of addresses does not answer")]
    NotYet,
}

impl From<BadLine> for KeepError {
    fn from(line: BadLine) -> KeepError {
        KeepError::Line(line)
    }
}

impl KeepError {
    /// Whether waiting is all that it takes.
    pub fn is_retriable(&self) -> bool {
        match self {
            KeepError::Store(error) => error.is_retriable(),
            KeepError::NotYet => true,
            KeepError::Unreadable(..) | KeepError::Line(_) | KeepError::TooMany(_) => false,
        }
    }
}

impl Keeper {
    /// A book with what the source and the table have; and if the table has to be waited for, why.
    ///
    /// # Errors
    /// A source that cannot be read; a table of which waiting would make nothing better.
    pub fn open(
        source: Source,
        rate: FalsePositiveRate,
        store: Box<dyn AddressTable>,
    ) -> Result<(Keeper, Option<StoreError>), KeepError> {
        let table = Arc::new(Mutex::new(Table { store, version: 0 }));
        let keeper = Keeper { book: AddressBook::new(rate), source, table, loaded: Arc::default() };
        // Read even if the table is away: what is wrong with it is said at the start.
        let list = keeper.read_source()?;
        let mut table = keeper.table();
        let away = match table.store.address_changes(0) {
            Ok(all) => {
                keeper.take(&mut table, list, all)?;
                None
            }
            Err(error) if error.is_retriable() => Some(error),
            Err(error) => return Err(error.into()),
        };
        drop(table);
        Ok((keeper, away))
    }

    /// The book. Nobody is in it until the table was read.
    pub fn book(&self) -> &AddressBook {
        &self.book
    }

    /// Who is known.
    ///
    /// # Errors
    /// [`KeepError::NotYet`], at once.
    pub fn known(&self) -> Result<Arc<Snapshot>, KeepError> {
        if self.is_loaded() { Ok(self.book.snapshot()) } else { Err(KeepError::NotYet) }
    }

    fn is_loaded(&self) -> bool {
        self.loaded.load(Ordering::Acquire)
    }

    /// Makes sure that the table was read.
    ///
    /// # Errors
    /// As [`Keeper::reload`].
    pub fn load(&self) -> Result<(), KeepError> {
        if self.is_loaded() {
            return Ok(());
        }
        let mut table = self.table();
        // Another thread may have done it while this one waited.
        if self.is_loaded() { Ok(()) } else { self.load_table(&mut table) }
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Reads the source anew, and the whole table on top of it: how many are known now.
    ///
    /// # Errors
    /// As [`Keeper::open`]; the book is as it was.
    pub fn reload(&self) -> Result<usize, KeepError> {
        let mut table = self.table();
        self.load_table(&mut table)?;
        Ok(self.book.snapshot().len())
    }

    fn load_table(&self, table: &mut Table) -> Result<(), KeepError> {
        // The table first: while it is away, a long file would be read for nothing with each try.
        let all = table.store.address_changes(0)?;
        let list = self.read_source()?;
        self.take(table, list, all)
    }

    fn take(&self, table: &mut Table, list: BookList, all: AddressChanges) -> Result<(), KeepError> {
        self.book.replace(list, all.changes)?;
        table.version = all.version;
        self.loaded.store(true, Ordering::Release);
        Ok(())
    }

    fn read_source(&self) -> Result<BookList, KeepError> {
        let mut list = BookList::default();
        match &self.source {
            Source::None => {}
            Source::File(path, _) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| KeepError::Unreadable(path.clone(), error))?;
                read_list(&text, &mut list)?;
            }
            Source::Texts(texts) => {
                texts.iter().try_for_each(|text| read_list(text, &mut list))?;
            }
        }
        Ok(list)
    }

    /// Adds and removes addresses, for good: how many changes were any.
    ///
    /// # Errors
    /// A table that cannot be written, a book that is full; nothing was changed.
    pub fn change(&self, changes: &[Change]) -> Result<usize, KeepError> {
        self.load()?;
        let mut table = self.table();
        let added = changes.iter().filter(|change| matches!(change, Change::Add(_))).count();
        let would_be = self.book.snapshot().len() + added;
        if added > 0 && would_be > ADDRESSES_MAX {
            return Err(TooMany(would_be).into());
        }
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().cast_signed());
        let changed = table.store.change_addresses(changes, now)?;
        self.catch_up(&mut table)?;
        Ok(changed)
    }

    /// Takes what other processes changed since the last time.
    ///
    /// # Errors
    /// As [`Keeper::change`].
    pub fn follow(&self) -> Result<(), KeepError> {
        self.load()?;
        self.catch_up(&mut self.table())
    }

    fn catch_up(&self, table: &mut Table) -> Result<(), KeepError> {
        let news = table.store.address_changes(table.version)?;
        if news.version != table.version {
            self.book.change(news.changes)?;
            table.version = news.version;
        }
        Ok(())
    }

    /// What a person is told when the service cannot start for this reason.
    pub(crate) fn complaint(source: &Source, store_at: &str, error: KeepError) -> anyhow::Error {
        let at = match source {
            Source::File(_, at) => at.clone(),
            _ => String::new(),
        };
        let complaint = Complaint::new(format!("`smart_money` cannot start: {error}"));
        match error {
            KeepError::Unreadable(_, cause) => complaint
                .at(at)
                .why(format!("nobody would be known that it names ({cause})"))
                .hint("name an existing file in `Addresses: File:`, or remove the key")
                .into(),
            KeepError::Line(_) => complaint
                .at(at)
                .why("a wallet that was meant would silently not be known")
                .hint("write `address`, `address,label` or `address,label,chain` in each line")
                .into(),
            KeepError::TooMany(_) => complaint.at(at).hint("shorten the list").into(),
            KeepError::Store(error) => {
                let complaint = Complaint::new(format!("`smart_money` cannot start: {error}")).at(store_at);
                let said = std::error::Error::source(&error).map(ToString::to_string);
                said.into_iter().fold(complaint, Complaint::why).into()
            }
            KeepError::NotYet => complaint.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_line_is_told_once() {
        let wrong = read_list("0xab\nnot an address\n", &mut BookList::default()).unwrap_err();
        let told = format!("{:#}", anyhow::Error::new(KeepError::from(wrong)));
        assert_eq!(told.matches("line 2").count(), 1, "{told}");
    }
}
