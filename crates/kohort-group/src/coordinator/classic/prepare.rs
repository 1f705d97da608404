//! The join phase: what begins it, how long it waits, and the generation that ends it.

use core::time::Duration;
use std::collections::BTreeMap;

use super::State;
use super::group::{ClassicGroup, InitialDelay, refused_sync};
use super::late::LEADER_PATIENCE;
use crate::coordinator::context::Context;
use crate::coordinator::{Happened, LeaveCause, RebalanceCause, Response};
use crate::messages::{ErrorCode, JoinGroupResponse};

/// A join phase that can only be ended by time looks again no sooner than this: silent static members with a
/// rebalance timeout of zero must not keep the node busy.
const REARM_MIN: Duration = Duration::from_millis(100);

impl ClassicGroup {
    /// Begins a rebalance, or goes on with the one that runs.
    pub(super) fn prepare_or_complete(&mut self, cx: &mut Context<'_>, cause: RebalanceCause) {
        if self.state == State::PreparingRebalance {
            self.complete_unless_delayed(cx)
        } else {
            self.prepare(cx, cause)
        }
    }

    /// Ends the join phase if everyone is in; the initial delay is waited for all the same.
    pub(super) fn complete_unless_delayed(&mut self, cx: &mut Context<'_>) {
        if self.state == State::PreparingRebalance && self.previous != State::Empty && self.all_joined() {
            self.complete_join_phase(cx);
        }
    }

    pub(in crate::coordinator) fn prepare(&mut self, cx: &mut Context<'_>, cause: RebalanceCause) {
        let before = self.state;
        if before == State::CompletingRebalance {
            self.fail_syncs(cx);
        }
        self.pending_syncs.clear();
        cx.timers.cancel(&self.sync_timer());
        self.enter(cx.now, State::PreparingRebalance);
        self.rebalancing_since.get_or_insert(cx.now);
        cx.note(&self.id, self.generation, Happened::RebalanceBegan { cause });
        self.tell_held(cx);
        if before == State::Empty {
            let delay = cx.config.initial_rebalance_delay;
            let remaining = self.rebalance_timeout().saturating_sub(delay);
            self.initial = Some(InitialDelay { delay, remaining });
            cx.timers.set(self.join_timer(), cx.now + delay);
        } else if self.all_joined() {
            self.complete_join_phase(cx);
        } else {
            cx.timers.set(self.join_timer(), cx.now + self.rebalance_timeout());
        }
    }

    /// The assignment under way is void: who waits for it joins again.
    fn fail_syncs(&mut self, cx: &mut Context<'_>) {
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(member) = self.members.get_mut(&id) else { continue };
            member.assignment.clear();
            if let Some(call) = member.syncing.take() {
                cx.reply(call, Response::Sync(refused_sync(ErrorCode::RebalanceInProgress)));
                self.touch(cx, &id);
            }
        }
    }

    /// There is news: parked heartbeats bring it.
    fn tell_held(&mut self, cx: &mut Context<'_>) {
        for member in self.members.values_mut() {
            if let Some(call) = member.beat.cut_short() {
                cx.answer_held(call, ErrorCode::RebalanceInProgress);
            }
            member.beat.interrupted();
        }
    }

    /// The join timer fired: the initial delay is extended while members keep coming, or the join phase ends.
    pub(in crate::coordinator) fn join_timer_fired(&mut self, cx: &mut Context<'_>) {
        if self.state != State::PreparingRebalance {
            return self.late_joins_waited_long_enough(cx);
        }
        match self.initial {
            Some(InitialDelay { delay, remaining }) if self.added_in_delay && !remaining.is_zero() => {
                self.added_in_delay = false;
                let next = cx.config.initial_rebalance_delay.min(remaining);
                let remaining = remaining.saturating_sub(delay);
                self.initial = Some(InitialDelay { delay: next, remaining });
                cx.timers.set(self.join_timer(), cx.now + next);
            }
            _ => self.complete_join_phase(cx),
        }
    }

    /// Ends the join phase: who is not in is out, and the rest begin a generation.
    pub(super) fn complete_join_phase(&mut self, cx: &mut Context<'_>) {
        self.initial = None;
        cx.timers.cancel(&self.join_timer());
        // A static member that is silent keeps its place until its session ends.
        let silent = |member: &&super::Member| member.joining.is_none() && member.instance_id.is_none();
        let gone: Vec<_> = self.members.values().filter(silent).map(|member| member.id.clone()).collect();
        for id in gone {
            self.remove(cx, &id, LeaveCause::RebalanceTimedOut);
        }
        if self.members.is_empty() {
            return self.empty_out(cx);
        }
        if !self.elect_leader() {
            // Only silent static members are left: there is nobody to begin a generation with.
            let wait = self.rebalance_timeout().max(REARM_MIN);
            cx.timers.set(self.join_timer(), cx.now + wait);
            return;
        }
        self.begin_generation(cx);
    }

    /// The leader must have joined; if it has not, another one leads. False if nobody has joined.
    fn elect_leader(&mut self) -> bool {
        let joined = |id: &String| self.members.get(id).is_some_and(|member| member.joining.is_some());
        if !self.leader.as_ref().is_some_and(joined) {
            let Some(first) = self.members.values().find(|member| member.joining.is_some()) else {
                return false;
            };
            self.leader = Some(first.id.clone());
        }
        true
    }

    fn empty_out(&mut self, cx: &mut Context<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = None;
        self.subscribed = self.subscribed_topics();
        self.pending_syncs.clear();
        self.enter(cx.now, State::Empty);
        self.rebalancing_since = None;
        cx.keep(self.record());
        cx.note(&self.id, self.generation, Happened::Emptied);
    }

    fn begin_generation(&mut self, cx: &mut Context<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.select_protocol();
        self.subscribed = self.subscribed_topics();
        self.enter(cx.now, State::CompletingRebalance);
        cx.note(
            &self.id,
            self.generation,
            Happened::GenerationBegan {
                protocol: self.protocol.clone().unwrap_or_default(),
                leader: self.leader.clone().unwrap_or_default(),
                members: self.members.len(),
            },
        );
        let late = self.newcomers(cx);
        self.pending_syncs = self.members.keys().filter(|id| !late.contains(*id)).cloned().collect();
        for id in self.pending_syncs.clone() {
            let response = self.joined(&id, self.is_leader(&id));
            self.enter_generation(cx, &id, response);
        }
        if !late.is_empty() {
            cx.timers.set(self.join_timer(), cx.now + LEADER_PATIENCE);
        }
        cx.timers.set(self.sync_timer(), cx.now + self.rebalance_timeout());
    }

    /// A member learns of the generation that it is in.
    pub(super) fn enter_generation(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &str,
        response: JoinGroupResponse,
    ) {
        self.answer_join(cx, member_id, response);
        // Silent static members too: their session is what ends them.
        self.restart_session(cx, member_id);
        if let Some(member) = self.members.get_mut(member_id) {
            member.is_new = false;
        }
    }

    fn restart_session(&self, cx: &mut Context<'_>, member_id: &str) {
        if let Some(member) = self.members.get(member_id) {
            cx.timers.set(self.member_timer(member_id), cx.now + member.session_timeout);
        }
    }

    /// Each member votes for the first of its protocols that all members know; the most votes win. Kafka leaves
    /// a tie to the order of a map; here the first by name wins.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let everybody = self.members.len();
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let known_to_all = |name: &&str| self.supporters.get(*name) == Some(&everybody);
            if let Some(choice) = member.protocols.iter().map(|(name, _)| name.as_str()).find(known_to_all) {
                *votes.entry(choice).or_default() += 1;
            }
        }
        let most = votes.values().copied().max()?;
        votes.into_iter().find(|(_, count)| *count == most).map(|(name, _)| name.to_owned())
    }
}
