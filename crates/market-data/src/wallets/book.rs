//! The address book: read by many lanes without a lock, changed while they read.
//!
//! A [`Snapshot`] never changes. What is known stands in one large table behind one filter; what was added or removed since it was built
//! stands beside it, and is copied with each change. When that has grown to a part of the table, a new table is built, on the thread of
//! whoever made the change. Readers go on with the snapshot that they have and look for a newer one when it suits them
//! ([`BookReader::refresh`]: one atomic load).

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use thiserror::Error;

use super::address::{Known, Packed, unpack};
use super::bloom::FalsePositiveRate;
use super::table::{ADDRESSES_MAX, Gathered, Table};

/// Changes beside a table before it is built anew: at least so many, and a 32nd of the table's addresses.
const CHANGES_MIN: usize = 1024;

/// A handle to the book; cloned, it is the same book.
#[derive(Debug, Clone)]
pub struct AddressBook {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    rate: FalsePositiveRate,
    version: AtomicU64,
    snapshot: Mutex<Arc<Snapshot>>,
    /// Held while a change is made: changes follow each other, and no reader waits for one.
    changing: Mutex<()>,
}

/// One change of a book.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// The address is known from now on; if it was, on this chain, its label is this one.
    Add(Known),
    /// The address is known no more: as it was added, for one chain or for any.
    Remove {
        /// The address.
        address: String,
        /// The chain's number; empty: where it was known on any chain.
        chain_id: String,
    },
}

/// More addresses than a book takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("an address book takes at most {ADDRESSES_MAX} addresses, and this would be {0}")]
pub struct TooMany(pub usize);

/// Gathers the addresses that a book begins with, or begins anew with.
#[derive(Debug, Default, Clone)]
pub struct BookList {
    gathered: Gathered,
}

impl BookList {
    /// Adds an address; a later one of the same address and chain replaces an earlier one.
    pub fn push(&mut self, known: &Known) {
        self.gathered.push(known);
    }

    /// How many were added.
    pub fn len(&self) -> usize {
        self.gathered.len()
    }

    /// Whether none was added.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl AddressBook {
    /// An empty book whose filter keeps the rate.
    pub fn new(rate: FalsePositiveRate) -> AddressBook {
        let snapshot = Snapshot::of(Gathered::default().table(rate));
        AddressBook {
            shared: Arc::new(Shared {
                rate,
                version: AtomicU64::new(0),
                snapshot: Mutex::new(Arc::new(snapshot)),
                changing: Mutex::default(),
            }),
        }
    }

    /// Everything anew: this list, and these changes on top of it, in one step.
    ///
    /// # Errors
    /// [`TooMany`]; the book is as it was.
    pub fn replace(&self, list: BookList, changes: impl IntoIterator<Item = Change>) -> Result<(), TooMany> {
        let _changing = self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let table = self.checked(list.gathered)?;
        self.publish(Snapshot::of(table), changes)
    }

    /// Changes the book, in one step. Takes the longer the more changes there were since the last large one; not for lanes.
    ///
    /// # Errors
    /// [`TooMany`]; the book is as it was.
    pub fn change(&self, changes: impl IntoIterator<Item = Change>) -> Result<(), TooMany> {
        let _changing = self.shared.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let old = self.snapshot();
        let copy = Snapshot { table: Arc::clone(&old.table), changes: old.changes.clone(), len: old.len };
        self.publish(copy, changes)
    }

    fn publish(
        &self,
        mut snapshot: Snapshot,
        changes: impl IntoIterator<Item = Change>,
    ) -> Result<(), TooMany> {
        changes.into_iter().for_each(|change| snapshot.apply(change));
        if snapshot.len > ADDRESSES_MAX {
            return Err(TooMany(snapshot.len));
        }
        if snapshot.changes.len() > CHANGES_MIN.max(snapshot.table.len() / 32) {
            let mut all = Gathered::default();
            snapshot.iter().for_each(|known| all.push(&known));
            snapshot = Snapshot::of(self.checked(all)?);
        }
        *self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(snapshot);
        self.shared.version.fetch_add(1, Ordering::Release);
        Ok(())
    }

    fn checked(&self, gathered: Gathered) -> Result<Table, TooMany> {
        if gathered.len() > ADDRESSES_MAX {
            return Err(TooMany(gathered.len()));
        }
        Ok(gathered.table(self.shared.rate))
    }

    /// The book as it is now.
    pub fn snapshot(&self) -> Arc<Snapshot> {
        Arc::clone(&self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A reader of its own for a lane.
    pub fn reader(&self) -> BookReader {
        let version = self.shared.version.load(Ordering::Acquire);
        BookReader { shared: Arc::clone(&self.shared), version, snapshot: self.snapshot() }
    }

    /// The rate that the filter is sized for.
    pub fn rate(&self) -> FalsePositiveRate {
        self.shared.rate
    }
}

/// A lane's view of a book.
#[derive(Debug, Clone)]
pub struct BookReader {
    shared: Arc<Shared>,
    version: u64,
    snapshot: Arc<Snapshot>,
}

impl BookReader {
    /// Takes the newest snapshot, if it is newer than the last.
    #[inline]
    pub fn refresh(&mut self) {
        let version = self.shared.version.load(Ordering::Acquire);
        if version != self.version {
            self.version = version;
            self.snapshot = Arc::clone(&self.shared.snapshot.lock().unwrap_or_else(PoisonError::into_inner));
        }
    }

    /// The snapshot in hand.
    #[inline]
    pub fn snapshot(&self) -> &Arc<Snapshot> {
        &self.snapshot
    }
}

/// What a filter and a table say about an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Probe {
    /// The filter says: not known. That is certain.
    Absent,
    /// The filter says: known. It is wrong.
    FalsePositive,
    /// Known, on some chain.
    Known,
}

/// A book that never changes.
#[derive(Debug)]
pub struct Snapshot {
    table: Arc<Table>,
    changes: Changes,
    len: usize,
}

/// By [`Packed::key`]; for each chain the label, or that it was removed.
type Changes = HashMap<Box<[u8]>, Vec<(String, Option<String>)>, foldhash::fast::RandomState>;

impl Snapshot {
    fn of(table: Table) -> Snapshot {
        Snapshot { len: table.len(), table: Arc::new(table), changes: Changes::default() }
    }

    /// Whether an address is known, on whatever chain: the filter first, the exact answer where it says yes.
    #[inline]
    pub fn probe(&self, address: &[u8]) -> Probe {
        let Some(packed) = Packed::new(address) else { return Probe::Absent };
        let hash = packed.hash();
        let may_be = self.table.may_contain(hash);
        if !may_be && self.changes.is_empty() {
            return Probe::Absent;
        }
        self.confirm(&packed, hash, may_be)
    }

    fn confirm(&self, packed: &Packed, hash: u64, may_be: bool) -> Probe {
        let changed = self.changed(packed);
        let added = changed.iter().any(|(_, label)| label.is_some());
        let stands = |chain: &str| !changed.iter().any(|(changed, _)| changed == chain);
        if added || may_be && self.table.find(packed, hash).any(|entry| stands(entry.chain())) {
            return Probe::Known;
        }
        if may_be { Probe::FalsePositive } else { Probe::Absent }
    }

    fn changed(&self, packed: &Packed) -> &[(String, Option<String>)] {
        if self.changes.is_empty() {
            return &[];
        }
        self.changes.get(packed.key()).map_or(&[], Vec::as_slice)
    }

    /// The label of an address on a chain, which may be empty; `None` if it is not known there. An entry for this chain goes before one
    /// for any.
    pub fn label(&self, address: &str, chain_id: &str) -> Option<String> {
        let packed = Packed::new(address.as_bytes())?;
        self.entry(&packed, chain_id).or_else(|| self.entry(&packed, ""))
    }

    /// Whether an address is known just so: on this chain, or on any if the chain is empty.
    pub fn has(&self, address: &str, chain_id: &str) -> bool {
        Packed::new(address.as_bytes()).is_some_and(|packed| self.entry(&packed, chain_id).is_some())
    }

    /// The label of the entry of a chain.
    fn entry(&self, packed: &Packed, chain: &str) -> Option<String> {
        match self.changed(packed).iter().find(|(changed, _)| changed == chain) {
            Some((_, label)) => label.clone(),
            None => {
                let mut entries = self.table.find(packed, packed.hash());
                entries.find(|entry| entry.chain() == chain).map(|entry| entry.label().to_owned())
            }
        }
    }

    fn apply(&mut self, change: Change) {
        let (address, chain_id, label) = match change {
            Change::Add(known) => (known.address, known.chain_id, Some(known.label)),
            Change::Remove { address, chain_id } => (address, chain_id, None),
        };
        let Some(packed) = Packed::new(address.as_bytes()) else { return };
        let in_table = self.table.find(&packed, packed.hash()).any(|entry| entry.chain() == chain_id);
        let chains = self.changes.entry(packed.key().into()).or_default();
        let before = chains.iter().position(|(chain, _)| *chain == chain_id);
        let was_known = before.map_or(in_table, |before| chains[before].1.is_some());
        self.len = self.len + usize::from(label.is_some()) - usize::from(was_known);
        match before {
            Some(before) => chains[before].1 = label,
            None => chains.push((chain_id, label)),
        }
    }

    /// Everybody who is known: those of the last large change in their order, then the others by address.
    pub fn iter(&self) -> impl Iterator<Item = Known> {
        let mut added: Vec<Known> = Vec::new();
        for (key, chains) in &self.changes {
            let address = unpack(key[0], &key[1..]);
            added.extend(chains.iter().filter_map(|(chain, label)| {
                let label = label.clone()?;
                Some(Known { address: address.clone(), chain_id: chain.clone(), label })
            }));
        }
        added.sort();
        let stands = |known: &Known| {
            let packed = Packed::new(known.address.as_bytes());
            !packed
                .as_ref()
                .map_or(&[][..], |packed| self.changed(packed))
                .iter()
                .any(|(chain, _)| *chain == known.chain_id)
        };
        self.table.entries().map(|entry| entry.known()).filter(stands).chain(added)
    }

    /// How many are known; one that is known on several chains by itself counts for each.
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nobody is known.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes of memory that the table and its filter take.
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn known(address: &str, label: &str, chain: &str) -> Known {
        Known::new(address, label, chain).unwrap()
    }

    fn add(address: &str, label: &str, chain: &str) -> Change {
        Change::Add(known(address, label, chain))
    }

    fn remove(address: &str, chain_id: &str) -> Change {
        Change::Remove { address: address.into(), chain_id: chain_id.into() }
    }

    fn book(changes: impl IntoIterator<Item = Change>) -> AddressBook {
        let book = AddressBook::new(FalsePositiveRate::DEFAULT);
        book.change(changes).unwrap();
        book
    }

    #[test]
    fn evm_addresses_are_known_in_either_case_and_others_in_theirs_alone() {
        let book = book([add("0xABCDEF", "evm", ""), add("AbC", "sol", "sol")]);
        let now = book.snapshot();
        assert_eq!(now.probe(b"0xabcdef"), Probe::Known);
        assert_eq!(now.probe(b"0XABCdef"), Probe::Known);
        assert_eq!(now.probe(b"abcdef"), Probe::Absent);
        assert_eq!(now.probe(b"AbC"), Probe::Known);
        assert_eq!(now.probe(b"abc"), Probe::Absent);
        assert_eq!(now.probe(b""), Probe::Absent);
        assert_eq!(now.probe(&[b'x'; 300]), Probe::Absent);
    }

    #[test]
    fn an_entry_for_the_chain_goes_before_one_for_any() {
        let book = book([add("0xab", "anywhere", ""), add("0xab", "here", "1"), add("0xcd", "", "56")]);
        // Beside the table and in it alike.
        for _ in 0..2 {
            let now = book.snapshot();
            assert_eq!(now.label("0xAB", "1").as_deref(), Some("here"));
            assert_eq!(now.label("0xab", "56").as_deref(), Some("anywhere"));
            assert_eq!(now.label("0xab", "").as_deref(), Some("anywhere"));
            assert_eq!(now.label("0xcd", "56").as_deref(), Some(""));
            assert_eq!(now.label("0xcd", "1"), None);
            assert!(
                now.has("0xAB", "") && now.has("0xab", "1") && !now.has("0xab", "56") && !now.has("0xcd", "")
            );
            assert_eq!(now.len(), 3);
            let mut list = BookList::default();
            now.iter().for_each(|known| list.push(&known));
            book.replace(list, []).unwrap();
        }
    }

    #[test]
    fn a_change_is_seen_by_a_reader_that_looks_and_by_no_other() {
        let book = book([add("a", "", "")]);
        let (mut looking, other) = (book.reader(), book.reader());
        book.change([remove("a", ""), add("b", "new", "")]).unwrap();
        looking.refresh();
        assert_eq!(looking.snapshot().probe(b"a"), Probe::Absent);
        assert_eq!(looking.snapshot().probe(b"b"), Probe::Known);
        assert_eq!(other.snapshot().probe(b"a"), Probe::Known);
        assert_eq!(other.snapshot().probe(b"b"), Probe::Absent);
        assert_eq!(book.snapshot().len(), 1);
    }

    #[test]
    fn what_was_removed_from_the_table_is_a_false_positive_until_it_is_built_anew() {
        let book = AddressBook::new(FalsePositiveRate::DEFAULT);
        let mut list = BookList::default();
        ["a", "b", "c"].iter().for_each(|address| list.push(&known(address, "", "")));
        list.push(&known("b", "twice", ""));
        book.replace(list, [remove("a", ""), remove("nobody", "")]).unwrap();
        let now = book.snapshot();
        assert_eq!(now.probe(b"a"), Probe::FalsePositive);
        assert_eq!((now.label("a", ""), now.label("b", "").as_deref()), (None, Some("twice")));
        let all: Vec<String> = now.iter().map(|known| known.address).collect();
        assert_eq!((all, now.len()), (vec!["c".to_owned(), "b".to_owned()], 2));
        book.change((0..=CHANGES_MIN).map(|i| add(&format!("0x{i:04x}"), "", ""))).unwrap();
        let now = book.snapshot();
        assert!(now.changes.is_empty(), "built anew");
        assert_eq!((now.len(), now.iter().count()), (CHANGES_MIN + 3, CHANGES_MIN + 3));
        assert_ne!(now.probe(b"a"), Probe::Known);
        book.change([add("a", "back", "1")]).unwrap();
        assert_eq!(book.snapshot().label("a", "1").as_deref(), Some("back"));
    }

    #[test]
    fn changes_of_all_kinds_come_to_what_a_map_comes_to() {
        let mut seed = 3u64;
        let mut next = move |below: u64| {
            seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (seed >> 33) % below
        };
        let book = AddressBook::new(FalsePositiveRate::DEFAULT);
        let mut model = std::collections::BTreeMap::new();
        for round in 0..40 {
            let mut changes = Vec::new();
            for _ in 0..next(200) {
                let key = (format!("0x{:04x}", next(3000)), ["", "1"][next(2) as usize].to_owned());
                if next(3) == 0 {
                    model.remove(&key);
                    changes.push(remove(&key.0, &key.1));
                } else {
                    let label = format!("l{}", next(10));
                    changes.push(add(&key.0, &label, &key.1));
                    model.insert(key, label);
                }
            }
            book.change(changes).unwrap();
            let now = book.snapshot();
            assert_eq!(now.len(), model.len(), "round {round}");
            let all: std::collections::BTreeMap<_, _> =
                now.iter().map(|known| ((known.address, known.chain_id), known.label)).collect();
            assert_eq!(all, model);
            for i in 0..3000 {
                let address = format!("0x{i:04x}");
                let any = model.get(&(address.clone(), String::new()));
                let here = model.get(&(address.clone(), "1".to_owned()));
                assert_eq!(now.label(&address, "1").as_ref(), here.or(any));
                let is_known = now.probe(address.as_bytes()) == Probe::Known;
                assert_eq!(is_known, here.or(any).is_some(), "{address}");
            }
        }
    }
}
