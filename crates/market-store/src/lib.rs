//! Where candles and positions are kept.
//!
//! A [`CandleStore`] holds two things and keeps them in step: candles, and for each partition the *position* up to which
//! its trades are in them. A flush writes both in one transaction, so whatever dies when, a trade is in the candles
//! exactly if the position is past it: effectively once.
//!
//! - [`SqliteStore`]: one file, several processes may write it;
//! - [`MySqlStore`]: a database of MySQL or MariaDB, for many processes on many machines;
//! - [`CachedStore`]: memory that is read, in front of a file that has all of it;
//! - [`RedisStore`]: a cache with the original's keys, which several processes may write;
//! - [`MemoryStore`]: the same behaviour without a file, for tests and for trying out.
//!
//! A cache keeps candles for a time only: [`Retention`].
//!
//! [`open`](fn@open) opens any of them by its address.
//!
//! Services that share a group and write into different stores claim their partitions in all of them: [`GroupStores`].
//!
//! [`wallets`] is the same for Smart Money: the log of known wallets' trades and what is told about them, in step with positions.
//!
//! Reading goes through a [`CandleReader`], which a store gives out and which waits for no flush. [`chart`](fn@chart) makes bars of any
//! length of what it reads, and [`spans`](fn@spans) what was traded in any span of minutes.
//!
//! The traits block: the shell that owns a store gives it a thread.
//!
//! Candles carry the group that made them. Two groups that read the same trades make two whole copies, and nothing here ever
//! merges across groups. What one group has in several stores are parts, and a [`MergedReader`] makes whole candles of them.

mod cached;
mod chart;
mod error;
mod group_stores;
mod memory;
mod merged;
mod mysql;
mod open;
mod redis;
mod retention;
mod spans;
mod sqlite;
mod store;
pub mod wallets;

pub use cached::CachedStore;
pub use chart::{Bar, ChartQuery, Take, chart};
pub use error::{FlushError, StoreError};
pub use group_stores::{GroupClaim, GroupStore, GroupStores};
pub use memory::MemoryStore;
pub use merged::MergedReader;
pub use mysql::{BadMySqlAddress, MySqlAddress, MySqlStore};
pub use open::{OpenError, open};
pub use redis::{RedisAddress, RedisStore};
pub use retention::Retention;
pub use spans::{Span, Spans, spans};
pub use sqlite::SqliteStore;
pub use store::{
    Advance, CandleQuery, CandleReader, CandleStore, Claim, Flush, Flushed, PairName, PairParts, PairSummary,
    Positions, Scan, StoredCandle, TopicPartition, Window, WindowSums,
};
