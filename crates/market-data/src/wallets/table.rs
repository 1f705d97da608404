//! Many addresses in few bytes: they never change once they are here.
//!
//! One run of bytes holds the addresses, one behind the other: `[head][address][length][chain][length][label]`. Beside it a table of
//! places in that run, four bytes each, open and probed in order, and the filter in front of both.

use super::address::{Known, Packed, hash, length, unpack};
use super::bloom::{BloomFilter, FalsePositiveRate};

/// The most addresses: their places must be told in 32 bits, whatever their lengths.
pub const ADDRESSES_MAX: usize = 10_000_000;

/// Gathers addresses for a [`Table`].
#[derive(Debug, Default, Clone)]
pub(super) struct Gathered {
    run: Vec<u8>,
    count: usize,
}

impl Gathered {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Adds an address that was checked. One that is here already, for the same chain, is replaced.
    pub(super) fn push(&mut self, known: &Known) {
        let Some(packed) = Packed::new(known.address.as_bytes()) else { return };
        self.run.extend_from_slice(packed.key());
        for text in [&known.chain_id, &known.label] {
            // Both were checked: they are shorter.
            let text = &text.as_bytes()[..text.len().min(usize::from(!DEAD))];
            self.run.push(text.len() as u8);
            self.run.extend_from_slice(text);
        }
        self.count += 1;
    }

    pub(super) fn table(mut self, rate: FalsePositiveRate) -> Table {
        self.run.shrink_to_fit();
        let mut table = Table {
            filter: BloomFilter::new(self.count, rate),
            slots: vec![FREE; self.count * 4 / 3 + 1],
            run: self.run,
            count: 0,
        };
        let mut at = 0;
        while at < table.run.len() {
            at = table.index(at);
        }
        table
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Table {
    filter: BloomFilter,
    run: Vec<u8>,
    /// Places in `run`, one more than they are; 0 is free.
    slots: Vec<u32>,
    count: usize,
}

const FREE: u32 = 0;
/// The top bit of a label's length: this address was replaced by one further on.
const DEAD: u8 = 0x80;

/// An address in the run.
#[derive(Debug, Clone, Copy)]
pub(super) struct Entry<'a> {
    head: u8,
    address: &'a [u8],
    chain: &'a [u8],
    label: &'a [u8],
    dead: bool,
}

impl Entry<'_> {
    pub(super) fn chain(&self) -> &str {
        std::str::from_utf8(self.chain).unwrap_or_default()
    }

    pub(super) fn label(&self) -> &str {
        std::str::from_utf8(self.label).unwrap_or_default()
    }

    pub(super) fn known(&self) -> Known {
        Known {
            address: unpack(self.head, self.address),
            chain_id: self.chain().to_owned(),
            label: self.label().to_owned(),
        }
    }
}

impl Table {
    pub(super) fn len(&self) -> usize {
        self.count
    }

    pub(super) fn bytes(&self) -> usize {
        self.filter.bytes() + self.run.capacity() + self.slots.len() * 4
    }

    #[inline]
    pub(super) fn may_contain(&self, hash: u64) -> bool {
        self.filter.may_contain(hash)
    }

    /// The entries of an address: one for each chain that it is known on.
    pub(super) fn find<'a>(&'a self, packed: &'a Packed, hash: u64) -> impl Iterator<Item = Entry<'a>> {
        self.probe(hash)
            .map_while(|slot| self.slots[slot].checked_sub(1))
            .map(|place| self.entry(place as usize).0)
            .filter(|entry| entry.head == packed.head() && entry.address == packed.bytes())
    }

    /// All of them, in the order in which they were added.
    pub(super) fn entries(&self) -> impl Iterator<Item = Entry<'_>> {
        let mut at = 0;
        std::iter::from_fn(move || {
            if at == self.run.len() {
                return None;
            }
            let (entry, next) = self.entry(at);
            at = next;
            Some(entry)
        })
        .filter(|entry| !entry.dead)
    }

    /// The slots that a hash is looked for in, from the likeliest on. There is always a free one among them.
    fn probe(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let slots = self.slots.len();
        let first = ((u128::from(hash) * slots as u128) >> 64) as usize;
        (first..slots).chain(0..first)
    }

    /// The entry at a place, and where the next one is.
    fn entry(&self, at: usize) -> (Entry<'_>, usize) {
        let run = &self.run;
        let head = run[at];
        let address = &run[at + 1..at + 1 + length(head)];
        let at = at + 1 + address.len();
        let chain = &run[at + 1..at + 1 + usize::from(run[at])];
        let at = at + 1 + chain.len();
        let label = &run[at + 1..at + 1 + usize::from(run[at] & !DEAD)];
        let entry = Entry { head, address, chain, label, dead: run[at] & DEAD != 0 };
        (entry, at + 1 + label.len())
    }

    /// Puts the entry at a place into the table and the filter; says where the next one is.
    fn index(&mut self, at: usize) -> usize {
        let (entry, next) = self.entry(at);
        let hash = hash(entry.head, entry.address);
        let mut replaced = None;
        let mut slot = 0;
        for candidate in self.probe(hash) {
            slot = candidate;
            let Some(place) = self.slots[candidate].checked_sub(1) else { break };
            let (other, _) = self.entry(place as usize);
            if (other.head, other.address, other.chain) == (entry.head, entry.address, entry.chain) {
                replaced = Some(place as usize);
                break;
            }
        }
        self.slots[slot] = u32::try_from(at + 1).unwrap_or(FREE);
        self.filter.insert(hash);
        match replaced {
            Some(place) => {
                let (entry, next) = self.entry(place);
                let label_len = next - entry.label.len() - 1;
                self.run[label_len] |= DEAD;
            }
            None => self.count += 1,
        }
        next
    }
}
