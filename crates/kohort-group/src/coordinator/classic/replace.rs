//! Static members (KIP-345, KIP-814): an instance returns under a new member id and takes the old one's place.

use super::State;
use super::group::{ClassicGroup, refused_join, refused_sync};
use crate::coordinator::context::{Caller, Context};
use crate::coordinator::{Happened, RebalanceCause, Response};
use crate::messages::{ErrorCode, JoinGroupRequest};

impl ClassicGroup {
    /// A known instance joins without a member id: `old_id` is replaced by `id`.
    pub(super) fn replace(
        &mut self,
        cx: &mut Context<'_>,
        caller: &Caller,
        request: &JoinGroupRequest,
        old_id: &str,
        id: String,
    ) {
        let leader_before = self.leader.clone();
        self.swap_id(cx, old_id, &id);
        // The new id's first timer runs with the session timeout of the old one, as in Kafka.
        self.touch(cx, &id);
        self.set_offer(&id, request);
        self.park_join(cx, &id, caller.call);

        let cause = RebalanceCause::MemberReplaced { member_id: id.clone() };
        if self.state != State::Stable || self.select_protocol() != self.protocol {
            return self.prepare_or_complete(cx, cause);
        }
        // The vote stands, so the assignment does: nobody else notices, even if the subscription changed.
        cx.keep(self.record());
        let mut response = self.joined(&id, false);
        if request.api_version >= 9 {
            if self.is_leader(&id) {
                response = self.joined(&id, true);
                response.skip_assignment = true;
            }
        } else {
            // A returning leader must not believe that it leads, or it would assign (before KIP-814).
            response.leader = leader_before.unwrap_or_default();
        }
        self.answer_join(cx, &id, response);
    }

    /// The old id is fenced at once; the new one has its assignment, its offer, and its leadership.
    fn swap_id(&mut self, cx: &mut Context<'_>, old_id: &str, id: &str) {
        let leads = self.is_leader(old_id);
        cx.timers.cancel(&self.member_timer(old_id));
        self.hang_up(cx, old_id);
        self.returned(cx, old_id);
        self.answer_join(cx, old_id, refused_join(old_id, ErrorCode::FencedInstanceId));
        let Some(mut member) = self.take(old_id) else { return };
        if let Some(call) = member.syncing.take() {
            cx.reply(call, Response::Sync(refused_sync(ErrorCode::FencedInstanceId)));
        }
        if let Some(call) = member.beat.cut_short() {
            cx.answer_held(call, ErrorCode::FencedInstanceId);
        }
        member.beat.interrupted();
        id.clone_into(&mut member.id);
        member.is_new = false;
        let who = member.who();
        self.insert(member);
        if leads {
            self.leader = Some(id.to_owned());
        }
        // The old id cannot sync any more: nobody waits for it.
        self.end_sync_phase_if_all_synced(cx);
        let what = Happened::MemberReplaced { who, old_member_id: old_id.to_owned() };
        cx.note(&self.id, self.generation, what);
    }
}
