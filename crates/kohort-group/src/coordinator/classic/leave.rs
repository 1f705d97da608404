//! LeaveGroup: members go, one or many (KIP-345), perhaps with a reason (KIP-800).

use super::State;
use super::group::ClassicGroup;
use crate::coordinator::context::{Caller, Context};
use crate::coordinator::{LeaveCause, RebalanceCause, Response};
use crate::messages::{ErrorCode, LeaveGroupRequest, LeaveGroupResponse, LeavingMember};

impl ClassicGroup {
    /// LeaveGroup to a group that exists: every entry in order, then at most one rebalance for all of them.
    pub(in crate::coordinator) fn leave(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        request: LeaveGroupRequest,
    ) {
        let mut last_gone = None;
        let mut members = Vec::with_capacity(request.members.len());
        for entry in request.members {
            let error = match self.leave_one(cx, &entry) {
                Ok(gone) => {
                    last_gone = Some(gone);
                    ErrorCode::None
                }
                Err(error) => error,
            };
            members.push((entry.member_id, entry.group_instance_id, error));
        }
        if let Some(member_id) = last_gone {
            match self.state {
                State::Empty => {}
                State::PreparingRebalance => self.complete_unless_delayed(cx),
                State::CompletingRebalance | State::Stable => {
                    self.prepare(cx, RebalanceCause::MemberLeft { member_id });
                }
            }
        }
        let response = LeaveGroupResponse { error: ErrorCode::None, members };
        cx.reply(caller.call, Response::Leave(response));
    }

    /// Takes one out, and says by which id it was known.
    fn leave_one(&mut self, cx: &mut Context<'_>, entry: &LeavingMember) -> Result<String, ErrorCode> {
        let reason = entry.reason.clone();
        if entry.member_id.is_empty() {
            // An administrator names an instance.
            let instance = entry.group_instance_id.as_ref().ok_or(ErrorCode::UnknownMemberId)?;
            let id = self.instances.get(instance).cloned().ok_or(ErrorCode::UnknownMemberId)?;
            self.remove(cx, &id, LeaveCause::Removed { reason });
            return Ok(id);
        }
        let id = &entry.member_id;
        if self.pending_joins.remove(id) {
            cx.timers.cancel(&self.member_timer(id));
            return Ok(id.clone());
        }
        self.validate(id, entry.group_instance_id.as_deref())?;
        self.remove(cx, id, LeaveCause::Left { reason });
        Ok(id.clone())
    }
}
