//! Consumers x Processors: a group's members in one process, and ordered lanes within each.
//!
//! `consumers` members of a group read a topic; each has `processors` lanes. A record goes to the lane that its key hashes to, so
//! records with one key are handled in order whatever the number of lanes is. Members beyond the number of partitions stand idle, as
//! in Kafka, and say so. What this runtime keeps, whatever dies when:
//!
//! - **at least once, and effectively once with a store**: a position moves past a record only when everything below it is done.
//!   [`Sink::flush`] writes what the lanes gathered *and* the new positions in one transaction; the group's offsets follow it;
//! - **claims**: before the first record of a partition is read, [`Sink::claim`] takes the right to write for it from whoever had it;
//!   a member that was replaced and does not know it yet writes nothing ([`Flushed::Fenced`]), drops what it has, and claims anew
//!   only what it still owns;
//! - **back-pressure**: lanes are bounded; a slow lane or a store that is away stops the reading, not the membership;
//! - **nothing that hangs is waited for**: whatever a store, a broker or a handler does, a member hears that it is to stop, that its
//!   partitions are lost, or that another wants them;
//! - **revocation drains**: what is in hand is finished, flushed and committed before the partitions are let go;
//! - **dead letters**: a record that a worker rejects goes to the dead-letter topic with the reason in its headers, acknowledged
//!   before the position passes it: it never blocks for ever and never disappears.
//!
//! Modules: [`lane`], `ledger`, [`watermark`] and [`retry`] are pure; [`worker`] and [`handler`] say what is plugged in; `member` is the
//! loop around one consumer, `stored` and `handled` what it does with records; `jobs` asks stores;
//! [`group`] starts and stops members; [`kq`] reads a service's `Kq` block.
//!
//! What it refuses to know: what the records mean, and how a store keeps positions.

pub mod group;
mod groups;
mod handled;
pub mod handler;
mod jobs;
pub mod kq;
pub mod lane;
mod lanes;
mod ledger;
mod letters;
mod member;
pub mod retry;
pub mod stats;
mod stored;
pub mod watermark;
pub mod worker;

pub use group::{Group, GroupConfig, Running, StartError};
pub use groups::Groups;
pub use handler::{HandleError, Handler, HandlerGroup};
pub use lane::Order;
pub use retry::Retries;
pub use stats::{MemberState, Stats};
pub use worker::{Claim, FlushBatch, Flushed, Progress, Reject, Sink, Worker};
