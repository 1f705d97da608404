//! Kafka consumer groups as a pure core: no I/O, no clock, no randomness of its own.
//!
//! Both halves of the protocol live here, each a state machine with one door in and one out,
//! `handle(now, event) -> effects`, and `deadline()`, which says when to call it if nothing happens before:
//!
//! - [`coordinator`]: what a broker decides (requests and timers in; replies and records out);
//! - [`member`]: what a consumer decides (responses and timers in; requests and callbacks out);
//! - [`assignor`]: plain functions from (topics, members, what each owns) to an assignment.
//!
//! [`invariants`] says what must hold between them.
//!
//! The shell around them performs the effects, in order, and owns sockets, files and clocks. What this crate
//! refuses to know: wire formats of requests (`kohort-protocol`), disks, and the time of day.

pub mod assignor;
pub mod consumer_protocol;
pub mod coordinator;
pub mod invariants;
pub mod member;
pub mod messages;
mod time;
mod wire;

pub use time::Time;
