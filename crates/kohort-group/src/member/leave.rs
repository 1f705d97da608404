//! Coming and going: subscribe, unsubscribe, close, and every way to lose membership.

use std::collections::BTreeSet;

use super::{CloseGroup, Effect, FatalError, Identity, LeftReason, Member, Phase, Request, RequestId};
use crate::Time;
use crate::messages::{ErrorCode, LeaveGroupRequest, LeavingMember};

impl Member {
    pub(super) fn subscribe(&mut self, now: Time, topics: BTreeSet<String>, out: &mut Vec<Effect>) {
        if self.wish.closing.is_some() || matches!(self.phase, Phase::Ended) {
            return;
        }
        if topics.is_empty() {
            // As in Java: a subscription to nothing is none.
            self.wish.topics = None;
            return;
        }
        if self.wish.topics.is_none() && !matches!(self.phase, Phase::Unjoined) {
            // What an unsubscription under way hands back must be assigned anew.
            self.rejoin_because("subscribed again");
        }
        self.polled(now);
        self.wish.topics = Some(topics);
        self.watch_topics(out);
    }

    pub(super) fn unsubscribe(&mut self) {
        self.wish.topics = None;
        self.wish.asleep = false;
    }

    pub(super) fn close(&mut self, how: CloseGroup) {
        self.wish.closing.get_or_insert(how);
    }

    /// One step of a member that should be out of the group.
    pub(super) fn step_out(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        let closing = self.wish.closing.is_some();
        match self.phase {
            Phase::Unjoined | Phase::Closing(None) if closing && self.callback.is_none() => {
                self.phase = Phase::Ended;
                true
            }
            Phase::Ended if closing && !self.closed && self.callback.is_none() => {
                self.closed = true;
                self.forget_asks(out);
                out.push(Effect::Closed);
                true
            }
            Phase::Unjoined | Phase::Closing(_) | Phase::Ended => false,
            Phase::Stable | Phase::Preparing => {
                if self.callback.is_some() {
                    return false;
                }
                // What was assigned and never told is dropped; what is owned is handed back, and its last commits
                // still count.
                self.target = None;
                if !self.owned.is_empty() {
                    let all = self.owned.keys().cloned().collect();
                    self.revoke(all, out);
                    return false;
                }
                if self.has_commits() && self.link.versions().is_some() {
                    return false;
                }
                self.leave(now, if closing { LeftReason::Closed } else { LeftReason::Unsubscribed }, out);
                true
            }
            // In the middle of a rebalance commits do not count: what is owned is lost.
            Phase::Joining(_) | Phase::Assigning(_) | Phase::Syncing(..) => {
                self.lose_owned(out);
                self.leave(now, if closing { LeftReason::Closed } else { LeftReason::Unsubscribed }, out);
                true
            }
        }
    }

    /// Leaves the group: says so if the coordinator is known and membership is not meant to outlive us. Once: if it
    /// gets lost, the session's end says the same.
    pub(super) fn leave(&mut self, now: Time, reason: LeftReason, out: &mut Vec<Effect>) {
        let says = match self.wish.closing.unwrap_or_default() {
            CloseGroup::Default => self.config.group_instance_id.is_none(),
            CloseGroup::Leave => true,
            CloseGroup::Remain => false,
        };
        let member_id = core::mem::take(&mut self.identity.member_id);
        let known = !member_id.is_empty();
        let mut sent = None;
        if says && known && self.link.versions().is_some() {
            let words = match reason {
                LeftReason::Closed => "the consumer is being closed",
                LeftReason::PollIntervalExceeded => "the consumer did not poll within max.poll.interval.ms",
                _ => "the consumer unsubscribed",
            };
            sent = Some(self.send_leave(now, member_id, words, out));
        }
        let closing = reason == LeftReason::Closed;
        if known {
            out.push(Effect::Left(reason));
        }
        self.forget_membership();
        self.phase = if closing { Phase::Closing(sent) } else { Phase::Unjoined };
    }

    /// Sends LeaveGroup for `member_id`.
    pub(super) fn send_leave(
        &mut self,
        now: Time,
        member_id: String,
        words: &str,
        out: &mut Vec<Effect>,
    ) -> RequestId {
        let group_instance_id = self.config.group_instance_id.clone();
        let leaving = LeavingMember { member_id, group_instance_id, reason: Some(words.to_owned()) };
        let request = LeaveGroupRequest { group_id: self.config.group_id.clone(), members: vec![leaving] };
        self.send(now, self.config.request_timeout, Request::LeaveGroup(request), out)
    }

    /// LeaveGroup was answered; with what does not matter.
    pub(super) fn left(&mut self, id: RequestId) {
        if let Phase::Closing(waiting) = &mut self.phase
            && *waiting == Some(id)
        {
            *waiting = None;
        }
    }

    /// The coordinator says that we are not in the generation we thought, or not in the group (22, 25). Join again,
    /// at once.
    pub(super) fn lose_membership(
        &mut self,
        keep_member_id: bool,
        reason: LeftReason,
        out: &mut Vec<Effect>,
    ) {
        let was_in = self.identity.generation >= 0;
        let member_id = core::mem::take(&mut self.identity.member_id);
        self.forget_membership();
        if keep_member_id {
            self.identity.member_id = member_id;
        }
        self.lose_owned(out);
        self.rejoin_because(match reason {
            LeftReason::IllegalGeneration => "the generation went on without this member",
            _ => "the coordinator does not know this member",
        });
        if was_in {
            out.push(Effect::Left(reason));
        }
        self.phase = Phase::Unjoined;
    }

    fn forget_membership(&mut self) {
        self.identity = Identity::nobody();
        self.target = None;
        self.rejoin = None;
        self.leader.forget();
    }

    /// 82: the instance id has another member.
    pub(super) fn fenced(&mut self, out: &mut Vec<Effect>) {
        let group_id = self.config.group_id.clone();
        let instance_id = self.config.group_instance_id.clone().unwrap_or_default();
        self.fail(FatalError::Fenced { group_id, instance_id }, out);
    }

    /// The coordinator refuses for good.
    pub(super) fn refused(&mut self, request: &'static str, error: ErrorCode, out: &mut Vec<Effect>) {
        let group_id = self.config.group_id.clone();
        self.fail(FatalError::Refused { group_id, request, error }, out);
    }

    /// The end, not of our choosing.
    pub(super) fn fail(&mut self, error: FatalError, out: &mut Vec<Effect>) {
        self.lose_owned(out);
        self.forget_membership();
        self.phase = Phase::Ended;
        self.forget_asks(out);
        out.push(Effect::Fatal(error));
    }

    /// Whoever waits for a commit or a fetch waits no longer.
    fn forget_asks(&mut self, out: &mut Vec<Effect>) {
        self.forget_requests();
        self.forget_commits(out);
        self.forget_fetches(out);
    }
}
