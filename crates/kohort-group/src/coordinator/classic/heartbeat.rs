//! Heartbeat: a member lives, and learns whether there is news.

use super::State;
use super::group::ClassicGroup;
use crate::coordinator::context::{Caller, Context};
use crate::coordinator::timers::Timer;
use crate::coordinator::{CallId, Response};
use crate::messages::{ErrorCode, HeartbeatRequest};

impl ClassicGroup {
    /// Heartbeat to a group that exists.
    pub(in crate::coordinator) fn heartbeat(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        request: &HeartbeatRequest,
    ) {
        let id = &request.member_id;
        if let Err(error) = self.may_beat(request) {
            if error == ErrorCode::FencedInstanceId {
                self.note_fenced(cx, id, error);
            }
            return cx.reply(caller.call, Response::Heartbeat(error));
        }
        self.touch(cx, id);
        self.beats_on(cx, id, caller.connection);
        match self.state {
            State::PreparingRebalance => {
                cx.reply(caller.call, Response::Heartbeat(ErrorCode::RebalanceInProgress));
            }
            State::Stable if cx.config.park_heartbeats => self.park_heartbeat(cx, caller, id),
            // In CompletingRebalance too: members may beat between their join and their sync.
            _ => cx.reply(caller.call, Response::Heartbeat(ErrorCode::None)),
        }
    }

    fn may_beat(&self, request: &HeartbeatRequest) -> Result<(), ErrorCode> {
        self.validate(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation != self.generation {
            return Err(ErrorCode::IllegalGeneration);
        }
        if self.state == State::Empty { Err(ErrorCode::UnknownMemberId) } else { Ok(()) }
    }

    /// Holds a heartbeat that has no news, for as long as the member's rhythm allows.
    fn park_heartbeat(&mut self, cx: &mut Context<'_>, caller: &Caller, id: &str) {
        let Some(member) = self.members.get_mut(id) else { return };
        // A client that beats again has given up on the last one, or does not wait for answers.
        if let Some(before) = member.beat.cut_short() {
            cx.answer_held(before, ErrorCode::None);
        }
        member.beat.arrived(cx.now, member.session_timeout);
        let Some(hold) = member.beat.hold_for(member.session_timeout) else {
            return cx.reply(caller.call, Response::Heartbeat(ErrorCode::None));
        };
        member.beat.parked(caller.call, hold);
        cx.park.hold(caller.call, caller.connection, &self.id, id);
        cx.timers.set(Timer::Held(caller.call), cx.now + hold);
    }

    /// The hold is over, and there was no news.
    pub(in crate::coordinator) fn hold_ended(&mut self, cx: &mut Context<'_>, member_id: &str, call: CallId) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.beat.held_to_the_end();
        }
        cx.answer_held(call, ErrorCode::None);
    }

    /// Another request needs the connection.
    pub(in crate::coordinator) fn connection_busy(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &str,
        call: CallId,
    ) {
        if let Some(member) = self.members.get_mut(member_id) {
            member.beat.cut_short();
        }
        cx.answer_held(call, ErrorCode::None);
    }
}
