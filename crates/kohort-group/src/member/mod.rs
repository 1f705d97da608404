//! What a classic consumer-group member does, as a pure state machine.
//!
//! [`Member::new`] makes one; [`Member::handle`] decides what follows from an event; [`Member::deadline`] says when to
//! hand in [`Event::Wakeup`] if nothing happens before. The shell performs
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

mod assign;
mod commit;
mod fetch;
mod heartbeat;
mod join;
mod leave;
mod link;
mod revoke;
mod sync;
mod types;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

pub use types::{
    AskId, CallbackId, CloseGroup, CommitError, Config, ConfigError, Effect, Event, FatalError,
    FetchOffsetsError, LeftReason, Request, RequestId, Response, TopicMetadata, Versions,
};

use crate::Time;
use crate::assignor::{Assignor, RebalanceProtocol};
use crate::messages::{SyncGroupRequest, TopicPartition};

/// The protocol type of consumers.
const PROTOCOL_TYPE: &str = "consumer";

/// A classic consumer-group member. See the [module](self) for the contract.
#[derive(Debug)]
pub struct Member {
    config: Config,
    assignors: Vec<Box<dyn Assignor>>,
    protocol: RebalanceProtocol,
    wish: Wish,
    phase: Phase,
    /// [`Effect::Closed`] was said.
    closed: bool,
    identity: Identity,
    /// The assignor that the present generation chose.
    assignor: String,
    joining: join::JoinLoop,
    /// What is owned, and since which generation without a break. Partitions stay in here until their `Revoke` is
    /// done: until then the application works on them, and JoinGroup must claim them.
    owned: BTreeMap<TopicPartition, i32>,
    /// What the last SyncGroup assigned, until it is carried out.
    target: Option<BTreeSet<TopicPartition>>,
    /// A rebalance must follow, and why.
    rejoin: Option<String>,
    callback: Option<revoke::Callback>,
    last_callback: u64,
    strays: revoke::Strays,
    link: link::Link,
    beat: heartbeat::Beat,
    leader: assign::Leader,
    commits: commit::Commits,
    fetches: fetch::Fetches,
}

/// What the application wants.
#[derive(Debug, Default)]
struct Wish {
    /// `None`: no group membership (never subscribed, or unsubscribed).
    topics: Option<BTreeSet<String>>,
    /// `max_poll_interval` was exceeded: out of the group until the application polls again.
    asleep: bool,
    /// [`Event::Close`] was said.
    closing: Option<CloseGroup>,
}

impl Wish {
    /// Whether the member should be in the group.
    fn member(&self) -> bool {
        self.topics.is_some() && !self.asleep && self.closing.is_none()
    }
}

/// Where the member stands in the join loop.
#[derive(Debug)]
enum Phase {
    /// In no generation. Kafka: UNJOINED.
    Unjoined,
    /// In a generation that ends: what an eager rebalance takes is being handed back. Kafka: still STABLE.
    Preparing,
    /// JoinGroup is to be sent or in flight. Kafka: PREPARING_REBALANCE.
    Joining(join::Attempt),
    /// The leader waits for metadata. Kafka: COMPLETING_REBALANCE.
    Assigning(assign::Waiting),
    /// SyncGroup is to be sent or in flight. Kafka: COMPLETING_REBALANCE.
    Syncing(Box<SyncGroupRequest>, join::Attempt),
    /// In a generation.
    Stable,
    /// The member left for good; LeaveGroup may be in flight.
    Closing(Option<RequestId>),
    /// Closed or failed for good.
    Ended,
}

/// Who the member is for the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Identity {
    /// Empty before the first answer.
    member_id: String,
    /// -1 outside of a generation.
    generation: i32,
}

impl Identity {
    const fn nobody() -> Self {
        Self { member_id: String::new(), generation: -1 }
    }
}

impl Member {
    /// A member that is in no group yet. `seed` decides the jitter of backoffs and nothing else.
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself.
    pub fn new(config: Config, seed: u64) -> Result<Self, ConfigError> {
        if config.group_id.is_empty() {
            return Err(ConfigError::EmptyGroupId);
        }
        let assignors = assign::assignors(&config.assignors)?;
        Self::with_assignors(config, assignors, seed)
    }

    /// As [`new`](Self::new), with assignors of one's own, best first; `config.assignors` is not looked at.
    ///
    /// # Errors
    ///
    /// When the configuration contradicts itself.
    pub fn with_assignors(
        config: Config,
        assignors: Vec<Box<dyn Assignor>>,
        seed: u64,
    ) -> Result<Self, ConfigError> {
        if config.group_id.is_empty() {
            return Err(ConfigError::EmptyGroupId);
        }
        if config.heartbeat_interval >= config.session_timeout {
            let Config { heartbeat_interval, session_timeout, .. } = config;
            return Err(ConfigError::HeartbeatTooSlow { heartbeat_interval, session_timeout });
        }
        if assignors.is_empty() {
            return Err(ConfigError::NoAssignor);
        }
        let protocol = assign::rebalance_protocol(&assignors);
        Ok(Self {
            assignors,
            protocol,
            wish: Wish::default(),
            phase: Phase::Unjoined,
            closed: false,
            identity: Identity::nobody(),
            assignor: String::new(),
            joining: join::JoinLoop::default(),
            owned: BTreeMap::new(),
            target: None,
            rejoin: None,
            callback: None,
            last_callback: 0,
            strays: revoke::Strays::new(),
            link: link::Link::new(seed),
            beat: heartbeat::Beat::default(),
            leader: assign::Leader::default(),
            commits: commit::Commits::default(),
            fetches: fetch::Fetches::default(),
            config,
        })
    }

    /// Decides what follows from `event`; the shell performs the effects, in order.
    #[must_use = "an effect that is not performed never happened"]
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Effect> {
        let mut out = Vec::new();
        match event {
            Event::Subscribe(topics) => self.subscribe(now, topics, &mut out),
            Event::Unsubscribe => self.unsubscribe(),
            Event::CoordinatorFound(versions) => self.coordinator_found(now, versions, &mut out),
            Event::CoordinatorNotFound(error) => self.coordinator_not_found(now, error, &mut out),
            Event::CoordinatorLost => self.coordinator_lost(now, &mut out),
            Event::Response(id, response) => self.response(now, id, response, &mut out),
            Event::Metadata(topics) => self.metadata(topics),
            Event::CallbackDone(id) => self.callback_done(id),
            Event::CallbackOverdue(id) => self.callback_overdue(id),
            Event::Polled => self.polled(now),
            Event::Commit { id, offsets, retry_until } => {
                self.ask_commit(now, id, offsets, retry_until, &mut out);
            }
            Event::FetchOffsets { id, partitions, retry_until } => {
                self.ask_fetch(id, partitions, retry_until, &mut out);
            }
            Event::Close(how) => self.close(how),
            Event::Wakeup => {}
        }
        self.advance(now, &mut out);
        out
    }

    /// When to call [`handle`](Self::handle) with [`Event::Wakeup`], if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        let timers = [
            self.link_deadline(),
            self.attempt_deadline(),
            self.assign_deadline(),
            self.beat_deadline(),
            self.commit_deadline(),
            self.fetch_deadline(),
        ];
        timers.into_iter().flatten().min()
    }

    /// The generation the member is in, if it is in one.
    #[must_use]
    pub fn generation(&self) -> Option<i32> {
        (self.identity.generation >= 0).then_some(self.identity.generation)
    }

    /// The member's id as the coordinator gave it; empty before.
    #[must_use]
    pub fn member_id(&self) -> &str {
        &self.identity.member_id
    }

    /// What the member owns: from `Assign` until its `Revoke` is done, or until `Lose`.
    pub fn owned(&self) -> impl Iterator<Item = &TopicPartition> {
        self.owned.keys()
    }

    /// Whether the member is in a generation, has carried out its assignment and knows of no rebalance.
    #[must_use]
    pub fn is_stable(&self) -> bool {
        matches!(self.phase, Phase::Stable)
            && self.rejoin.is_none()
            && self.target.is_none()
            && self.callback.is_none()
    }

    /// Does everything that can be done now. Each step either changes the phase (or opens a callback, or sends) and
    /// so runs again, or reports that nothing is left.
    fn advance(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.expire_requests(now, out);
        self.expire_session(now, out);
        self.expire_poll(now, out);
        while self.step(now, out) {}
        self.send_commits(now, out);
        self.send_fetches(now, out);
        self.send_heartbeat(now, out);
        self.find_coordinator(now, out);
        debug_assert!(self.deadline().is_none_or(|at| at > now), "a deadline that is due was not dealt with");
    }

    /// One step of the join loop; false when it has to wait for an event.
    fn step(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        if !self.wish.member() {
            return self.step_out(now, out);
        }
        match &self.phase {
            Phase::Unjoined => {
                self.phase = Phase::Joining(join::Attempt::at(now));
                true
            }
            Phase::Preparing => self.step_prepared(now),
            Phase::Joining(_) => self.send_join(now, out),
            Phase::Assigning(_) => self.assign_when_known(now),
            Phase::Syncing(..) => self.send_sync(now, out),
            Phase::Stable => self.reconcile(out) || self.prepare(now, out),
            Phase::Closing(_) | Phase::Ended => false,
        }
    }
}
