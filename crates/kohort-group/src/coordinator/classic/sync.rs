//! SyncGroup: the leader's assignment comes in, everybody's part of it goes out.

use std::collections::BTreeMap;

use super::State;
use super::group::{ClassicGroup, refused_sync};
use crate::coordinator::context::{Caller, Context};
use crate::coordinator::{Happened, LeaveCause, RebalanceCause, Response};
use crate::messages::{ErrorCode, SyncGroupRequest, SyncGroupResponse};

impl ClassicGroup {
    /// SyncGroup to a group that exists.
    pub(in crate::coordinator) fn sync(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        request: SyncGroupRequest,
    ) {
        if let Err(error) = self.may_sync(&request) {
            return cx.reply(caller.call, Response::Sync(refused_sync(error)));
        }
        let id = request.member_id;
        self.returned(cx, &id);
        match self.state {
            State::Empty => cx.reply(caller.call, Response::Sync(refused_sync(ErrorCode::UnknownMemberId))),
            State::PreparingRebalance => {
                cx.reply(caller.call, Response::Sync(refused_sync(ErrorCode::RebalanceInProgress)));
            }
            State::CompletingRebalance => {
                self.park_sync(cx, &id, caller);
                self.synced(cx, &id);
                if self.is_leader(&id) {
                    self.assign(cx, request.assignments);
                }
            }
            State::Stable => {
                // What a leader assigns now comes too late: the assignment stands.
                self.synced(cx, &id);
                let response = self.synced_response(&id);
                cx.reply(caller.call, Response::Sync(response));
                self.touch(cx, &id);
            }
        }
    }

    fn may_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        self.validate(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        let differs = |given: &Option<String>, ours: &Option<String>| given.is_some() && given != ours;
        if differs(&request.protocol_type, &self.protocol_type)
            || differs(&request.protocol_name, &self.protocol)
        {
            return Err(ErrorCode::InconsistentGroupProtocol);
        }
        Ok(())
    }

    fn park_sync(&mut self, cx: &mut Context<'_>, id: &str, caller: &Caller) {
        let Some(member) = self.members.get_mut(id) else { return };
        if let Some(before) = member.syncing.replace(caller.call) {
            cx.drop_call(before);
        }
    }

    fn synced(&mut self, cx: &mut Context<'_>, id: &str) {
        self.pending_syncs.remove(id);
        self.end_sync_phase_if_all_synced(cx);
    }

    pub(super) fn end_sync_phase_if_all_synced(&self, cx: &mut Context<'_>) {
        if self.pending_syncs.is_empty() {
            cx.timers.cancel(&self.sync_timer());
        }
    }

    fn synced_response(&self, id: &str) -> SyncGroupResponse {
        SyncGroupResponse {
            error: ErrorCode::None,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            assignment: self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default(),
        }
    }

    /// The leader has spoken. Whom it left out gets no bytes; whom it invented is ignored.
    fn assign(&mut self, cx: &mut Context<'_>, assignments: Vec<(String, Vec<u8>)>) {
        let mut assignments: BTreeMap<_, _> = assignments.into_iter().collect();
        for member in self.members.values_mut() {
            member.assignment = assignments.remove(&member.id).unwrap_or_default();
        }
        self.enter(cx.now, State::Stable);
        cx.keep(self.record());
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            let Some(call) = self.members.get_mut(&id).and_then(|member| member.syncing.take()) else {
                continue;
            };
            cx.reply(call, Response::Sync(self.synced_response(&id)));
            self.touch(cx, &id);
        }
        self.answer_late_joins(cx);
        let began = self.rebalancing_since.take().unwrap_or(cx.now);
        let what = Happened::RebalanceEnded { took: cx.now.since(began), members: self.owners() };
        cx.note(&self.id, self.generation, what);
    }

    /// The sync timer fired: who has not synced is out, static or not.
    pub(in crate::coordinator) fn sync_timer_fired(&mut self, cx: &mut Context<'_>) {
        let syncing = matches!(self.state, State::CompletingRebalance | State::Stable);
        if !syncing || self.pending_syncs.is_empty() {
            return;
        }
        let member_ids: Vec<_> = core::mem::take(&mut self.pending_syncs).into_iter().collect();
        for id in &member_ids {
            self.remove(cx, id, LeaveCause::SyncTimedOut);
        }
        self.prepare(cx, RebalanceCause::SyncTimedOut { member_ids });
    }
}
