//! What a broker decides about groups: requests, timers and lost connections in; replies and records out.
//!
//! # The contract with the shell
//!
//! - `handle` returns the effects in order. A [`Effect::Reply`] leaves only when every
//!   [`Effect::Append`] ahead of it, of this call and of all before, is durable.
//! - Every [`CallId`] gets exactly one [`Effect::Reply`] or [`Effect::Drop`], at once or later: a join, a sync
//!   and a heartbeat may be *parked*. In which order answers leave a connection is the shell's business.
//! - Timers fire in [`Event::Wakeup`] only. The shell sends it when the clock passes
//!   `deadline`, and looks at the deadline again after every event.
//! - With [`Config::park_heartbeats`] the shell sends [`Event::Busy`] when a request arrives on a connection
//!   that waits for an answer, and [`Event::Closed`] when a connection is gone.
//! - **What survives a restart changes only by records.** At start: `new`, then
//!   `replay` for every record in the log's order, then
//!   `loaded` once.
//! - **If an append fails**, what the coordinator believes is no longer what the log says. The shell fails every
//!   reply behind that append with the error (Kafka's mapping: `append_error`), performs the effects of
//!   `close`, which answer everybody who is parked, drops the coordinator, and starts a new
//!   one from the log.
//!
//! ```text
//! impl Coordinator {
//!     pub fn new(config: Config, seed: u64) -> Self;
//!     pub fn handle(&mut self, now: Time, event: Event) -> Vec<Effect>;
//!     pub fn deadline(&self) -> Option<Time>;
//!     pub fn replay(&mut self, record: &Record);
//!     pub fn loaded(&mut self, now: Time) -> Vec<Effect>;
//!     pub fn close(&mut self, now: Time) -> Vec<Effect>;
//!     pub fn kept(&self) -> &Kept;                       // PartialEq: ReplayEqualsState
//!     pub fn groups(&self) -> impl Iterator<Item = GroupView<'_>>;
//! }
//! pub fn append_error(storage: i16) -> i16;
//! ```
//!
//! What it refuses to know: bytes of requests and records, which topics and partitions exist, who may do what.

mod config;
mod event;
mod note;
mod record;

pub use config::Config;
pub use event::{CallId, Client, ConnectionId, Effect, Event, Request, Response, TopicId, TopicIds};
pub use note::{DeleteCause, Happened, LeaveCause, Note, Owner, RebalanceCause, Who};
pub use record::{GroupMetadata, MemberMetadata, OffsetAndMetadata, Record};
