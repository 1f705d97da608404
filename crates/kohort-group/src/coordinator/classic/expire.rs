//! Timers of members: sessions that end, ids that nobody used, connections that did not come back.

use super::State;
use super::group::{ClassicGroup, Connection};
use crate::coordinator::context::Context;
use crate::coordinator::{LeaveCause, RebalanceCause};

impl ClassicGroup {
    /// The timer of a member, or of an id that was handed out, fired.
    pub(in crate::coordinator) fn member_timer_fired(&mut self, cx: &mut Context<'_>, member_id: &str) {
        if self.pending_joins.remove(member_id) {
            return self.complete_if_all_joined(cx);
        }
        let Some(member) = self.members.get(member_id) else { return };
        if member.is_new {
            return self.expire(cx, member_id, LeaveCause::NewMemberTimedOut);
        }
        // Who waits for us cannot beat. Its timer begins anew when it is answered.
        if member.joining.is_none() && member.syncing.is_none() {
            self.expire(cx, member_id, LeaveCause::SessionExpired);
        }
    }

    /// A member whose connection closed has not returned.
    pub(in crate::coordinator) fn lost_timer_fired(&mut self, cx: &mut Context<'_>, member_id: &str) {
        if self.members.get(member_id).is_some_and(|member| member.connection != Connection::Fine) {
            self.expire(cx, member_id, LeaveCause::ConnectionLost);
        }
    }

    fn expire(&mut self, cx: &mut Context<'_>, member_id: &str, cause: LeaveCause) {
        let id = member_id.to_owned();
        let why = match cause {
            LeaveCause::ConnectionLost => RebalanceCause::ConnectionLost { member_id: id },
            _ => RebalanceCause::SessionExpired { member_id: id },
        };
        self.remove(cx, member_id, cause);
        match self.state {
            State::Empty => {}
            State::PreparingRebalance => self.complete_if_all_joined(cx),
            State::CompletingRebalance | State::Stable => self.prepare(cx, why),
        }
    }

    /// Unlike a join or a leave, an expiry ends even the initial delay if everyone is in then; Kafka's way.
    fn complete_if_all_joined(&mut self, cx: &mut Context<'_>) {
        if self.state == State::PreparingRebalance && self.all_joined() {
            self.complete_join_phase(cx);
        }
    }
}
