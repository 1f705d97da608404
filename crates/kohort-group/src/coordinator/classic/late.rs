//! Joins that are answered late, in cooperative rebalances (KIP-429): ours, not Kafka's.
//!
//! A cooperative rebalance takes two generations: in the first the owners give partitions up, in the second the others get
//! them. Whoever gives something up joins again at once. A newcomer, which had nothing to do in the first generation,
//! learns of the second from its heartbeat; and librdkafka sends one join a second, so that it comes one to two
//! seconds after the owners, who wait for it all that time without a word. So a newcomer is not sent
//! away from its join for nothing: its answer waits for the leader's assignment, and if that gives it nothing while others
//! give something up, for the generation that follows, which it has joined then already. It owns nothing and is
//! given nothing: nobody waits for what it would do meanwhile.
//!
//! Not so who owns something and keeps all of it: its commits must name the generation that the group is in, so it is
//! answered at once, and learns of the second generation from its heartbeat. Such a member, with librdkafka, still holds
//! the second generation up for a second or two.
//!
//! If nobody comes back soon (an owner may take its time to let go), it is answered like everybody else.

use std::collections::BTreeSet;
use std::time::Duration;

use super::State;
use super::group::{ClassicGroup, Member};
use super::subscription::{CONSUMER, owned_partitions};
use crate::consumer_protocol::Subscription;
use crate::coordinator::context::Context;
use crate::coordinator::park::hold_of_a_join;
use crate::messages::TopicPartition;

/// How long a newcomer's answer waits for the leader's assignment. Leaders assign at once; one that does not (it computes for
/// long, or somebody plays its part by hand) keeps nobody from learning what Kafka would have told it by now.
pub(super) const LEADER_PATIENCE: Duration = Duration::from_millis(300);

impl ClassicGroup {
    /// Whose join in the generation that begins is to be answered late: those without partitions, where others say that
    /// they own some. That only members of a cooperative group do; eager ones give everything back before they join.
    pub(super) fn newcomers(&self, cx: &Context<'_>) -> BTreeSet<String> {
        if !cx.config.park_heartbeats || self.protocol_type.as_deref() != Some(CONSUMER) {
            return BTreeSet::new();
        }
        let (owners, others): (Vec<_>, Vec<_>) =
            self.members.values().partition(|member| !self.declared(member).is_empty());
        if owners.is_empty() {
            return BTreeSet::new();
        }
        let joins = |member: &&Member| member.joining.is_some() && !self.is_leader(&member.id);
        others.into_iter().filter(joins).map(|member| member.id.clone()).collect()
    }

    /// What a member said that it owns.
    fn declared(&self, member: &Member) -> Vec<TopicPartition> {
        let metadata = member.metadata(self.protocol.as_deref());
        Subscription::decode(metadata).map(|read| read.owned).unwrap_or_default()
    }

    pub(super) fn is_late(&self, member_id: &str) -> bool {
        self.late_joins().any(|member| member.id == member_id)
    }

    /// The assignment is there: who is given something joins this generation; who is not, while others give something up,
    /// waits for the next.
    pub(super) fn answer_late_joins(&mut self, cx: &mut Context<'_>) {
        let late: Vec<String> = self.late_joins().map(|member| member.id.clone()).collect();
        if late.is_empty() {
            return;
        }
        let another_follows = self.members.values().any(|member| self.gives_up(member));
        for id in &late {
            let given = self.members.get(id).is_none_or(|member| has_partitions(&member.assignment));
            if given || !another_follows {
                self.answer_late_join(cx, id);
            }
        }
        let hold = self.late_joins().map(|member| hold_of_a_join(member.session_timeout)).min();
        if let Some(hold) = hold {
            cx.timers.set(self.join_timer(), cx.now + hold);
        }
    }

    /// Members of the current generation that do not know it yet.
    fn late_joins(&self) -> impl Iterator<Item = &Member> {
        let late = matches!(self.state, State::CompletingRebalance | State::Stable);
        self.members.values().filter(move |member| late && member.joining.is_some())
    }

    fn gives_up(&self, member: &Member) -> bool {
        let kept: BTreeSet<_> =
            owned_partitions(&member.assignment).unwrap_or_default().into_iter().collect();
        self.declared(member).iter().any(|owned| !kept.contains(owned))
    }

    /// Nobody has come back in time: the generation that began has to do.
    pub(super) fn late_joins_waited_long_enough(&mut self, cx: &mut Context<'_>) {
        let late: Vec<String> = self.late_joins().map(|member| member.id.clone()).collect();
        for id in &late {
            self.answer_late_join(cx, id);
        }
    }

    /// It becomes a member like the others: it is expected to sync, and its session begins.
    pub(super) fn answer_late_join(&mut self, cx: &mut Context<'_>, member_id: &str) {
        if self.pending_syncs.is_empty() {
            cx.timers.set(self.sync_timer(), cx.now + self.rebalance_timeout());
        }
        self.pending_syncs.insert(member_id.to_owned());
        let response = self.joined(member_id, false);
        self.enter_generation(cx, member_id, response);
    }
}

fn has_partitions(assignment: &[u8]) -> bool {
    // What cannot be read is the client's to judge, and now.
    owned_partitions(assignment).is_none_or(|partitions| !partitions.is_empty())
}
