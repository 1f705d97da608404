//! The classic protocol (KIP-62, 134, 345, 389, 394, 559, 814): one group, cut by phase.
//!
//! - [`group`]: the group and its members, and what keeps its counts true;
//! - [`join`]: who may come in; [`replace`]: static members who return under a new id;
//! - [`prepare`]: the join phase, from what begins it to the generation that ends it;
//! - [`sync`], [`heartbeat`], [`leave`], [`expire`]; [`lost`] connections; [`late`] answers to joins;
//! - [`subscription`]: which topics the members subscribe to.

mod expire;
mod group;
mod heartbeat;
mod join;
mod late;
mod leave;
mod lost;
mod prepare;
mod replace;
mod subscription;
mod sync;

pub(super) use group::{ClassicGroup, Member, refused_join, refused_sync};
pub(super) use subscription::{CONSUMER, owned_partitions};

use super::context::Context;
use super::{GroupMetadata, Happened, Kept, MemberMetadata, Owner, RebalanceCause, Record, Who};
use crate::Time;
use crate::invariants;

/// Kafka's states of a classic group, with its spelling on the wire. `Dead`, the fifth, is a group that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// No members.
    Empty,
    /// The join phase: members join anew.
    PreparingRebalance,
    /// The sync phase: the leader's assignment is awaited.
    CompletingRebalance,
    /// Everybody has an assignment.
    Stable,
}

impl State {
    /// Kafka's spelling.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl Member {
    pub(super) fn who(&self) -> Who {
        Who {
            member_id: self.id.clone(),
            group_instance_id: self.instance_id.clone(),
            client_id: self.client.id.clone(),
            client_host: self.client.host.clone(),
        }
    }
}

impl ClassicGroup {
    /// The record of the group as it is.
    pub(super) fn record(&self) -> Record {
        let members = self.members.values().map(|member| MemberMetadata {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client.id.clone(),
            client_host: member.client.host.clone(),
            rebalance_timeout: member.rebalance_timeout,
            session_timeout: member.session_timeout,
            subscription: member.metadata(self.protocol.as_deref()).to_vec(),
            assignment: member.assignment.clone(),
        });
        Record::GroupMetadata {
            group_id: self.id.clone(),
            value: Some(GroupMetadata {
                protocol_type: self.protocol_type.clone().unwrap_or_default(),
                generation: self.generation,
                protocol: self.protocol.clone(),
                leader: self.leader.clone(),
                state_since: self.since,
                members: members.collect(),
            }),
        }
    }

    /// The group that a record describes: Stable if it has members, else Empty. Members keep only the chosen
    /// protocol.
    pub(super) fn load(id: &str, kept: Option<&GroupMetadata>) -> Self {
        let Some(kept) = kept else { return Self::new(id, None) };
        let mut group = Self::new(id, kept.state_since);
        group.protocol_type = (!kept.protocol_type.is_empty()).then(|| kept.protocol_type.clone());
        group.generation = kept.generation;
        group.protocol.clone_from(&kept.protocol);
        for member in &kept.members {
            group.insert(Member::load(member, kept));
        }
        group.leader.clone_from(&kept.leader);
        if !kept.members.is_empty() {
            group.state = State::Stable;
        }
        group.subscribed = group.subscribed_topics();
        group
    }

    /// The group is loaded: sessions begin anew, and one that is over the limit of today rebalances at once.
    pub(super) fn resume(&mut self, cx: &mut Context<'_>) {
        cx.note(&self.id, self.generation, Happened::Loaded { members: self.members.len() });
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in &ids {
            self.touch(cx, id);
        }
        if self.members.len() > cx.config.max_size {
            self.prepare(cx, RebalanceCause::GroupFull);
        }
    }

    /// `ReplayEqualsState` of one group: while it rests, it is what its record says.
    pub(super) fn check(&self, kept: &Kept) {
        if !matches!(self.state, State::Stable | State::Empty) {
            return;
        }
        let Record::GroupMetadata { value: Some(now), .. } = self.record() else { return };
        match kept.group(&self.id) {
            Some(kept) => {
                let equal = invariants::replay_equals_state(kept, &now);
                assert!(equal.is_ok(), "{equal:?}");
            }
            // A simple group has no record of its own.
            None => assert!(
                now.members.is_empty() && now.protocol_type.is_empty(),
                "`ReplayEqualsState`: `{}` has members and no record",
                self.id
            ),
        }
    }

    /// Everybody, and what each owns.
    pub(super) fn owners(&self) -> Vec<Owner> {
        let owner =
            |member: &Member| Owner { who: member.who(), partitions: owned_partitions(&member.assignment) };
        self.members.values().map(owner).collect()
    }

    /// Since when the group is in its state; `None` where a loaded record did not say.
    pub(super) const fn since(&self) -> Option<Time> {
        self.since
    }
}
