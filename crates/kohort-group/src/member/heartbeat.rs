//! Signs of life: heartbeats to the coordinator, and the application's progress (KIP-62).
//!
//! The coordinator may hold a heartbeat that has no news and answer it late, up to its whole interval. So one is in
//! flight at a time, the interval counts from its sending, and one that is not answered yet is no failure: only its
//! request timeout ends it, or the session, counted from the last answer.

use super::{Effect, Identity, LeftReason, Member, Phase, Request, RequestId, link};
use crate::Time;
use crate::messages::{ErrorCode, HeartbeatRequest};

/// The clocks of life.
#[derive(Debug, Default)]
pub(super) struct Beat {
    /// The heartbeat in flight and who sent it.
    in_flight: Option<(RequestId, Identity)>,
    /// When the next is due, if none is in flight then.
    due: Time,
    /// The last answer that says we live.
    alive: Time,
    /// When the application last made progress.
    polled: Time,
    failures: u32,
}

impl Beat {
    fn interval_starts(&mut self, now: Time) {
        self.alive = now;
        self.failures = 0;
    }
}

impl Member {
    /// A generation was joined: from now on the coordinator wants to hear from us.
    pub(super) fn beat_start(&mut self, now: Time) {
        self.beat.interval_starts(now);
        self.beat.due = now + self.config.heartbeat_interval;
    }

    /// The group is Stable. The first heartbeat leaves at once, where Java waits an interval: a coordinator that
    /// holds heartbeats can only bring news to a member that has one with it.
    pub(super) fn beat_settled(&mut self, now: Time) {
        self.beat.interval_starts(now);
        self.beat.due = now;
        self.beat.polled = now;
    }

    /// A coordinator was found: the session is counted anew, and the next heartbeat leaves at once. The connection
    /// that was lost may be all that the coordinator knew of us.
    pub(super) fn beat_now(&mut self, now: Time) {
        self.beat.interval_starts(now);
        self.beat.due = now;
    }

    pub(super) fn beat_lost(&mut self) {
        self.beat.in_flight = None;
    }

    /// Whether the coordinator expects heartbeats. Not while JoinGroup waits: that is a sign of life itself.
    fn beats(&self) -> bool {
        let joined =
            matches!(self.phase, Phase::Preparing | Phase::Assigning(_) | Phase::Syncing(..) | Phase::Stable);
        joined && self.link.versions().is_some()
    }

    pub(super) fn send_heartbeat(&mut self, now: Time, out: &mut Vec<Effect>) {
        if !self.beats() || self.beat.in_flight.is_some() || now < self.beat.due {
            return;
        }
        let request = HeartbeatRequest {
            group_id: self.config.group_id.clone(),
            generation: self.identity.generation,
            member_id: self.identity.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
        };
        let id = self.send(now, self.config.request_timeout, Request::Heartbeat(request), out);
        self.beat.in_flight = Some((id, self.identity.clone()));
        self.beat.due = now + self.config.heartbeat_interval;
    }

    /// Table 6.4, column Heartbeat. What an earlier generation is told is no news.
    pub(super) fn beaten(&mut self, now: Time, id: RequestId, error: ErrorCode, out: &mut Vec<Effect>) {
        let Some((_, sender)) = self.beat.in_flight.take_if(|(sent, _)| *sent == id) else { return };
        let current = sender == self.identity;
        match error {
            ErrorCode::None => self.beat.interval_starts(now),
            ErrorCode::RebalanceInProgress => {
                self.beat.interval_starts(now);
                if current && matches!(self.phase, Phase::Stable) {
                    self.rejoin_because("the group rebalances");
                }
            }
            error if link::no_coordinator(error) => self.drop_coordinator(now, out),
            ErrorCode::IllegalGeneration if current => self.generation_refused(now, out),
            ErrorCode::UnknownMemberId if current => {
                self.lose_membership(false, LeftReason::UnknownMember, out);
            }
            ErrorCode::FencedInstanceId if current => self.fenced(out),
            // Of an earlier generation: say at once who we are now.
            ErrorCode::IllegalGeneration | ErrorCode::UnknownMemberId | ErrorCode::FencedInstanceId => {
                self.beat.due = now;
            }
            _ => {
                // A failed beat; a backoff of zero would only repeat it.
                self.beat.failures += 1;
                let wait = self.backoff(self.beat.failures + 1);
                self.beat.due = now + wait;
            }
        }
    }

    /// No answer for a whole session: the coordinator cannot be where we think it is. (Not a loss of partitions: only
    /// the coordinator can say that, as in Java.)
    pub(super) fn expire_session(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.beats() && now >= self.beat.alive + self.config.session_timeout {
            self.drop_coordinator(now, out);
        }
    }

    pub(super) fn polled(&mut self, now: Time) {
        self.beat.polled = now;
        if self.wish.asleep {
            self.wish.asleep = false;
            self.rejoin_because("the application polls again");
        }
    }

    /// While JoinGroup or SyncGroup is under way the application waits for us, not we for it.
    fn watches_poll(&self) -> bool {
        self.wish.member() && matches!(self.phase, Phase::Preparing | Phase::Stable)
    }

    pub(super) fn expire_poll(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.watches_poll() && now >= self.beat.polled + self.config.max_poll_interval {
            self.wish.asleep = true;
            self.lose_owned(out);
            self.leave(now, LeftReason::PollIntervalExceeded, out);
        }
    }

    pub(super) fn beat_deadline(&self) -> Option<Time> {
        let poll = self.watches_poll().then(|| self.beat.polled + self.config.max_poll_interval);
        if !self.beats() {
            return poll;
        }
        let session = self.beat.alive + self.config.session_timeout;
        let due = self.beat.in_flight.is_none().then_some(self.beat.due);
        [Some(session), due, poll].into_iter().flatten().min()
    }
}
