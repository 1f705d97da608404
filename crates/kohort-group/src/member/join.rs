//! Joining: JoinGroup with the present id and claims, and what each answer means.

use core::time::Duration;
use std::collections::BTreeSet;

use super::{Effect, LeftReason, Member, PROTOCOL_TYPE, Phase, Request, RequestId};
use crate::Time;
use crate::messages::{ErrorCode, JoinGroupRequest, JoinGroupResponse, TopicPartition};

/// A reason longer than this is cut (KIP-800).
const REASON_CHARS_MAX: usize = 255;

/// The join loop's memory over its attempts.
#[derive(Debug, Default)]
pub(super) struct JoinLoop {
    /// The subscription that the last JoinGroup carried.
    pub(super) topics: BTreeSet<String>,
    /// The partitions that the last JoinGroup claimed.
    pub(super) claims: BTreeSet<TopicPartition>,
    /// Joins that failed in a row.
    failures: u32,
}

/// A request of the join loop: to be sent, or in flight.
#[derive(Clone, Copy, Debug)]
pub(super) struct Attempt {
    sent: Option<RequestId>,
    not_before: Time,
    /// The connection on which the generation was joined is gone.
    reconnected: bool,
}

impl Attempt {
    /// To be sent, not before `not_before`.
    pub(super) const fn at(not_before: Time) -> Self {
        Self { sent: None, not_before, reconnected: false }
    }

    /// In flight as `id`.
    pub(super) const fn send(&mut self, id: RequestId) {
        self.sent = Some(id);
    }

    /// The connection is gone: send again, on the next one.
    pub(super) const fn unsend(&mut self) {
        self.sent = None;
        self.reconnected = true;
    }

    /// Send again, not before `not_before`.
    pub(super) const fn postpone(&mut self, not_before: Time) {
        self.sent = None;
        self.not_before = not_before;
    }

    /// Whether `id` is this attempt's request.
    pub(super) fn is(&self, id: RequestId) -> bool {
        self.sent == Some(id)
    }

    /// Whether to send it now.
    pub(super) fn due(&self, now: Time) -> bool {
        self.sent.is_none() && now >= self.not_before
    }

    /// Whether another connection carries it than the one on which the generation was joined.
    pub(super) const fn reconnected(&self) -> bool {
        self.reconnected
    }
}

impl Member {
    /// Sends JoinGroup, if it is due and the coordinator is known. Built at this moment, so that a retry carries the
    /// subscription and the claims of now.
    pub(super) fn send_join(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        let Phase::Joining(mut attempt) = self.phase else { return false };
        let (Some(versions), true) = (self.link.versions(), attempt.due(now)) else { return false };
        let topics = self.wish.topics.clone().unwrap_or_default();
        let request = JoinGroupRequest {
            api_version: versions.join_group,
            group_id: self.config.group_id.clone(),
            session_timeout: self.config.session_timeout,
            rebalance_timeout: self.config.rebalance_timeout,
            member_id: self.identity.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: PROTOCOL_TYPE.to_owned(),
            protocols: self.subscriptions(&topics),
            reason: self.rejoin.as_ref().map(|reason| reason.chars().take(REASON_CHARS_MAX).collect()),
        };
        self.joining.topics = topics;
        self.joining.claims = self.owned.keys().cloned().collect();
        let patience = self.config.rebalance_timeout + Duration::from_secs(5);
        let timeout = patience.max(self.config.request_timeout);
        attempt.send(self.send(now, timeout, Request::JoinGroup(request), out));
        self.phase = Phase::Joining(attempt);
        true
    }

    /// Table 6.4, column Join.
    pub(super) fn joined(
        &mut self,
        now: Time,
        id: RequestId,
        response: JoinGroupResponse,
        out: &mut Vec<Effect>,
    ) {
        if !matches!(&self.phase, Phase::Joining(attempt) if attempt.is(id)) {
            self.joined_too_late(now, &response, out);
            return;
        }
        match response.error {
            ErrorCode::None => {
                self.joining.failures = 0;
                self.rejoin = None;
                self.join_done(now, response, out);
            }
            ErrorCode::MemberIdRequired => {
                // KIP-394: a first join without an id is sent away with one, and returns at once. Sent away with
                // an id in hand it is a failure, or two confused sides would race each other.
                let confused = !self.identity.member_id.is_empty();
                self.identity.member_id = response.member_id;
                self.join_again(now, confused);
            }
            ErrorCode::UnknownMemberId => {
                self.lose_membership(false, LeftReason::UnknownMember, out);
                self.join_again(now, true);
            }
            ErrorCode::CoordinatorLoadInProgress | ErrorCode::RebalanceInProgress => {
                // What takes its time is not done in a round trip: never at once.
                self.joining.failures = self.joining.failures.max(1);
                self.join_again(now, true);
            }
            ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => {
                self.drop_coordinator(now, out);
            }
            ErrorCode::FencedInstanceId => self.fenced(out),
            error => self.refused("JoinGroup", error, out),
        }
    }

    /// The answer to a join that is not wanted any more. If it hands out an id, the coordinator's next rebalance
    /// would wait for that id: give it back. (Java lets it expire.)
    fn joined_too_late(&mut self, now: Time, response: &JoinGroupResponse, out: &mut Vec<Effect>) {
        let given = matches!(response.error, ErrorCode::None | ErrorCode::MemberIdRequired);
        if given && response.member_id != self.identity.member_id && self.config.group_instance_id.is_none() {
            self.send_leave(now, response.member_id.clone(), "the join was given up", out);
        }
    }

    /// Joins once more; from the second failure in a row on with a pause.
    fn join_again(&mut self, now: Time, failed: bool) {
        if failed {
            self.joining.failures += 1;
        }
        let wait = self.backoff(self.joining.failures);
        self.phase = Phase::Joining(Attempt::at(now + wait));
    }

    /// When the join loop's next request is due.
    pub(super) fn attempt_deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Joining(attempt) | Phase::Syncing(_, attempt)
                if attempt.sent.is_none() && self.link.versions().is_some() =>
            {
                Some(attempt.not_before)
            }
            _ => None,
        }
    }
}
