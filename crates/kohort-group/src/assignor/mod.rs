//! Who gets which partition: Kafka's assignors as plain functions.
//!
//! Client side (the group's leader runs them): [`Range`], [`RoundRobin`], [`Sticky`], [`CooperativeSticky`], all behind
//! the trait [`Assignor`]; [`by_name`] makes one from its wire name. Broker side (KIP-848): [`server`].
//!
//! What goes in: the topics with partition counts and (where known) the racks of each partition's replicas, and the
//! members with their decoded subscriptions. What comes out: for every member its partitions. Nothing else is looked
//! at: the same input gives the same output on every machine, whatever the order in which members are listed.
//!
//! Results are those of Apache Kafka 4.0's classes, held by vectors made with them (`tests/vectors`). The algorithms
//! work on interned numbers (`intern.rs`): names are looked at once at the beginning and once at the end.

mod intern;
mod racks;
mod range;
mod roundrobin;
pub mod server;
mod sticky;

use core::fmt;
use std::collections::{BTreeMap, BTreeSet};

pub use racks::rack_aware;
pub use range::Range;
pub use roundrobin::RoundRobin;
pub use sticky::{Claim, CooperativeSticky, Plan, Sticky};

use crate::consumer_protocol::Subscription;
use crate::messages::{Partition, TopicPartition};

/// How members give up partitions in a rebalance (KIP-429).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RebalanceProtocol {
    /// Everything is given back before each join.
    Eager,
    /// Only what another member is to get is given back, and handed over in a rebalance that follows.
    Cooperative,
}

/// A topic as the leader knows it.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Topic {
    /// How many partitions it has, 0 to n-1.
    pub partitions: Partition,
    /// Per partition the racks of its replicas, in replica order; empty where unknown (KIP-881). Missing entries at
    /// the end count as unknown.
    pub racks: Vec<Vec<String>>,
}

impl Topic {
    /// A topic with this many partitions and no known racks.
    #[must_use]
    pub fn of(partitions: Partition) -> Self {
        Self { partitions, racks: Vec::new() }
    }
}

/// A member as the leader knows it, from JoinGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subscriber {
    /// Its member id.
    pub id: String,
    /// Its instance id, if static: the order of members goes by it.
    pub instance_id: Option<String>,
    /// What it sent for the chosen assignor, decoded.
    pub subscription: Subscription,
}

/// The topics that exist, by name. A subscribed topic that is not here is skipped.
pub type Topics = BTreeMap<String, Topic>;

/// Member id to partitions; every member is a key.
pub type Assignments = BTreeMap<String, Vec<TopicPartition>>;

/// An assignor of the classic protocol, with what it remembers between generations.
///
/// A member holds one of each that it offers. Before it joins it asks for [`user_data`](Self::user_data); if it leads
/// it calls [`assign`](Self::assign) of the chosen one; after every SyncGroup it tells the chosen one
/// [`on_assignment`](Self::on_assignment).
pub trait Assignor: fmt::Debug + Send {
    /// The name on the wire, `partition.assignment.strategy` in Kafka's documents.
    fn name(&self) -> &'static str;

    /// What it can work with, best first. A member takes the best that *all* assignors it offers can work with.
    fn rebalance_protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Eager]
    }

    /// What to send as user data in the subscription to `topics`.
    fn user_data(&self, topics: &BTreeSet<String>) -> Option<Vec<u8>> {
        let _ = topics;
        None
    }

    /// Assigns every partition of every subscribed topic that exists. Runs on the leader.
    fn assign(&self, topics: &Topics, members: &[Subscriber]) -> Assignments;

    /// The member has its assignment of `generation`.
    fn on_assignment(&mut self, partitions: &[TopicPartition], generation: i32) {
        let _ = (partitions, generation);
    }
}

/// The wire names of the client-side assignors.
pub const NAMES: [&str; 4] = [Range::NAME, RoundRobin::NAME, Sticky::NAME, CooperativeSticky::NAME];

/// A fresh client-side assignor; `None` for a name that is not in [`NAMES`].
#[must_use]
pub fn by_name(name: &str) -> Option<Box<dyn Assignor>> {
    match name {
        Range::NAME => Some(Box::new(Range)),
        RoundRobin::NAME => Some(Box::new(RoundRobin)),
        Sticky::NAME => Some(Box::new(Sticky::default())),
        CooperativeSticky::NAME => Some(Box::new(CooperativeSticky::default())),
        _ => None,
    }
}
