//! JoinGroup: who may come in, under which id, and whether that disturbs the others.

use super::State;
use super::group::{ClassicGroup, Member, rebalance_timeout, refused_join};
use crate::coordinator::context::{Caller, Context};
use crate::coordinator::{Happened, LeaveCause, RebalanceCause, Response};
use crate::messages::{ErrorCode, JoinGroupRequest};

impl ClassicGroup {
    /// JoinGroup to a group that exists. The order of the checks is Kafka's.
    pub(in crate::coordinator) fn join(
        &mut self,
        cx: &mut Context<'_>,
        caller: Caller,
        request: &JoinGroupRequest,
    ) {
        if !self.has_room(&request.member_id, cx.config.max_size) {
            self.remove(cx, &request.member_id, LeaveCause::GroupFull);
            return refuse(cx, &caller, "", ErrorCode::GroupMaxSizeReached);
        }
        if !self.supports(request) {
            return refuse(cx, &caller, &request.member_id, ErrorCode::InconsistentGroupProtocol);
        }
        match &request.group_instance_id {
            Some(instance) if request.member_id.is_empty() => {
                let id = self.new_id(cx, instance);
                match self.instances.get(instance).cloned() {
                    Some(known) => self.replace(cx, &caller, request, &known, id),
                    None => self.add(cx, caller, request, id),
                }
            }
            None if request.member_id.is_empty() => self.join_unknown(cx, caller, request),
            _ => self.join_known(cx, caller, request),
        }
    }

    /// KIP-389. While joins are parked those are counted, so that the last of too many are turned away.
    fn has_room(&self, member_id: &str, max: usize) -> bool {
        let member = self.members.get(member_id);
        match self.state {
            State::Empty => true,
            State::PreparingRebalance => {
                member.is_some_and(|member| member.joining.is_some()) || self.parked_joins < max
            }
            State::CompletingRebalance | State::Stable => member.is_some() || self.members.len() < max,
        }
    }

    /// Whether the group can work with what is offered: one type, and one protocol that all members know.
    fn supports(&self, request: &JoinGroupRequest) -> bool {
        if self.state == State::Empty {
            return !request.protocol_type.is_empty() && !request.protocols.is_empty();
        }
        let everybody = self.members.len();
        let known_to_all = |name: &String| self.supporters.get(name).copied().unwrap_or(0) == everybody;
        self.protocol_type.as_ref() == Some(&request.protocol_type)
            && request.protocols.iter().any(|(name, _)| known_to_all(name))
    }

    /// An id that nobody in the group has: the log may hold ids that the same seed made before a restart.
    fn new_id(&self, cx: &mut Context<'_>, name: &str) -> String {
        loop {
            let id = cx.random.member_id(name);
            if !self.members.contains_key(&id) && !self.pending_joins.contains(&id) {
                return id;
            }
        }
    }

    fn join_unknown(&mut self, cx: &mut Context<'_>, caller: Caller, request: &JoinGroupRequest) {
        self.succeeded_by(cx, &caller.client);
        let id = self.new_id(cx, &caller.client.id);
        if request.api_version < 4 {
            return self.add(cx, caller, request, id);
        }
        // KIP-394: a first join without an id is sent away with one, so that a client that repeats it does not
        // leave a member behind each time.
        self.pending_joins.insert(id.clone());
        cx.timers.set(self.member_timer(&id), cx.now + request.session_timeout);
        refuse(cx, &caller, &id, ErrorCode::MemberIdRequired);
    }

    fn join_known(&mut self, cx: &mut Context<'_>, caller: Caller, request: &JoinGroupRequest) {
        let id = &request.member_id;
        if self.pending_joins.contains(id) {
            if request.group_instance_id.is_some() {
                // Static members never get an id to come back with: Kafka fails inside here.
                return refuse(cx, &caller, id, ErrorCode::UnknownServerError);
            }
            return self.add(cx, caller, request, id.clone());
        }
        if let Err(error) = self.validate(id, request.group_instance_id.as_deref()) {
            return refuse(cx, &caller, id, error);
        }
        self.returned(cx, id);
        let unchanged = self.members.get(id).is_some_and(|member| member.protocols == request.protocols);
        match self.state {
            State::Empty => refuse(cx, &caller, id, ErrorCode::UnknownMemberId),
            // It asks once more while its answer waits: it has waited long enough.
            _ if unchanged && self.is_late(id) => {
                self.park_join(cx, id, caller.call);
                self.answer_late_join(cx, id);
            }
            // The answer to its join was lost on the way: it gets it again.
            State::CompletingRebalance if unchanged => {
                let response = self.joined(id, self.is_leader(id));
                cx.reply(caller.call, Response::Join(response));
            }
            State::Stable if unchanged && !self.is_leader(id) => {
                let response = self.joined(id, false);
                cx.reply(caller.call, Response::Join(response));
            }
            // A leader that joins anew asks for a rebalance: it saw topics change, which is in no metadata of its.
            State::Stable if unchanged => {
                let cause = RebalanceCause::LeaderRejoined { member_id: id.clone() };
                self.update(cx, &caller, request, cause);
            }
            _ => {
                let cause = RebalanceCause::SubscriptionChanged { member_id: id.clone() };
                self.update(cx, &caller, request, cause);
            }
        }
    }

    fn add(&mut self, cx: &mut Context<'_>, caller: Caller, request: &JoinGroupRequest, id: String) {
        if self.state == State::PreparingRebalance && self.previous == State::Empty {
            self.added_in_delay = true;
        }
        if self.members.is_empty() {
            self.protocol_type = Some(request.protocol_type.clone());
        }
        let member = Member::new(id.clone(), caller.client, request);
        cx.note(&self.id, self.generation, Happened::MemberJoined(member.who()));
        self.insert(member);
        self.park_join(cx, &id, caller.call);
        // It cannot send heartbeats before it is answered: not its session but a patience of its own ends it.
        cx.timers.set(self.member_timer(&id), cx.now + cx.config.new_member_join_timeout);
        self.prepare_or_complete(cx, RebalanceCause::MemberJoined { member_id: id });
    }

    fn update(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
        cause: RebalanceCause,
    ) {
        self.set_offer(&request.member_id, request);
        self.park_join(cx, &request.member_id, caller.call);
        self.prepare_or_complete(cx, cause);
    }

    /// Replaces what a member offers, and its timeouts.
    pub(super) fn set_offer(&mut self, member_id: &str, request: &JoinGroupRequest) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        let before = core::mem::replace(&mut member.protocols, request.protocols.clone());
        member.session_timeout = request.session_timeout;
        member.rebalance_timeout = rebalance_timeout(request);
        self.count_supporters(&before, -1);
        self.count_supporters(&request.protocols, 1);
    }
}

fn refuse(cx: &mut Context<'_>, caller: &Caller, member_id: &str, error: ErrorCode) {
    cx.reply(caller.call, Response::Join(refused_join(member_id, error)));
}
