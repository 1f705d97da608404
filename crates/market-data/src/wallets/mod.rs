//! Trades of known wallets: who is known, whose trade it is, and what of it is kept.
//!
//! - [`AddressBook`] holds a million addresses and more, with labels, behind a [`BloomFilter`] of a stated false-positive rate; it is
//!   changed while lanes read it;
//! - [`Matcher`], one for each lane, reads the maker of each trade of a message, asks the filter, then the exact table, and reads a known
//!   wallet's trade whole: a false positive costs time and is counted, and nothing is made of it;
//! - [`WalletTrade`] is what the log keeps of a trade, [`TradeId`] what tells two trades apart, whoever sends them and how often;
//! - [`read_list`] reads the file of addresses.
//!
//! It refuses to know where addresses are kept, and what follows from a trade.

mod address;
mod bloom;
mod book;
mod list;
mod matcher;
mod table;
mod trade;

pub use address::{
    ADDRESS_BYTES_MAX, BadAddress, CHAIN_BYTES_MAX, Known, LABEL_BYTES_MAX, canonical, chain_id,
};
pub use bloom::{BadRate, BloomFilter, FalsePositiveRate};
pub use book::{AddressBook, BookList, BookReader, Change, Probe, Snapshot, TooMany};
pub use list::{BadLine, LineError, read_list};
pub use matcher::{Matched, Matcher};
pub use table::ADDRESSES_MAX;
pub use trade::{TradeId, WalletTrade};
