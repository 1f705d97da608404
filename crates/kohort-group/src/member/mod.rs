//! What a classic consumer-group member does, as a pure state machine.
//!
//! `Member::new(config, seed)` makes one; `handle(now, Event) -> Vec<Effect>` decides what follows from an event;
//! `deadline() -> Option<Time>` says when to hand in [`Event::Wakeup`] if nothing happens before. The shell performs
//! the effects in order. It owns sockets and callbacks; the member owns every timeout.
//!
//! The contract, from the shell's side:
//!
//! - Everything of one group goes over **one** connection to the coordinator, in order: [`Effect::Send`]. Answers come
//!   back as [`Event::Response`] with the request's id. When that connection closes: [`Event::CoordinatorLost`]. The
//!   member then asks for [`Effect::FindCoordinator`] by itself and repeats what must be repeated.
//! - [`Effect::Revoke`], [`Effect::Assign`] and [`Effect::Lose`] are callbacks: at most one is open, its end is told by
//!   [`Event::CallbackDone`]. Heartbeats go on meanwhile: they never depend on handlers. `Lose` may overtake an open
//!   `Revoke` or `Assign`, whose done is then not awaited any more (saying it does no harm).
//! - While a `Revoke` is open, commits still count: this is the moment to commit what is being handed back.
//! - [`Event::Polled`] is the application's sign of life (KIP-62), [`Effect::Left`] tells that membership ended.
//! - Metadata: the member names the topics it needs ([`Effect::WatchTopics`]), the shell reports their partition counts
//!   at once and whenever they change. Only the leader's choice depends on it, but asking at subscription saves a
//!   round trip in the join.
//!
//! Sources: AbstractCoordinator, ConsumerCoordinator and Heartbeat of Apache Kafka 4.2's Java client; KIP-62, 134, 345,
//! 394, 429, 559, 792, 800, 814. Where we do better than Java it says so at the place.

mod types;

pub use types::{
    AskId, CallbackId, CloseGroup, CommitError, Config, ConfigError, Effect, Event, FatalError,
    FetchOffsetsError, LeftReason, Request, RequestId, Response, TopicMetadata, Versions,
};
