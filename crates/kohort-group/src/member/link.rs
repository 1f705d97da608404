//! The coordinator: finding it, losing it, and the requests in flight to it.

use core::time::Duration;
use std::collections::BTreeMap;

use super::{Effect, FatalError, Member, Phase, Request, RequestId, Response, Versions};
use crate::Time;
use crate::messages::ErrorCode;

/// What the member knows of its coordinator.
#[derive(Debug)]
pub(super) struct Link {
    state: State,
    /// Lookups and connections that failed since the last answer of a coordinator.
    failures: u32,
    in_flight: BTreeMap<RequestId, Time>,
    last_request: u64,
    random: Random,
}

#[derive(Clone, Copy, Debug)]
enum State {
    /// Look it up, when something needs it, but not before.
    Unknown(Time),
    /// A lookup is under way.
    Finding,
    /// Requests can be sent.
    Found(Versions),
}

impl Link {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            state: State::Unknown(Time::ZERO),
            failures: 0,
            in_flight: BTreeMap::new(),
            last_request: 0,
            random: Random(seed),
        }
    }

    /// The coordinator's versions, if it is known.
    pub(super) fn versions(&self) -> Option<Versions> {
        match self.state {
            State::Found(versions) => Some(versions),
            State::Unknown(_) | State::Finding => None,
        }
    }
}

/// SplitMix64: enough for jitter, and the same everywhere.
#[derive(Debug)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

impl Member {
    /// How long to wait after the `failures`-th failure in a row: nothing after the first (what failed once is most
    /// often a broker that restarted or moved, and a rebalance waits for us), then `retry.backoff.ms` doubling up to
    /// `retry.backoff.max.ms`, each ± 20 %.
    pub(super) fn backoff(&mut self, failures: u32) -> Duration {
        let Some(doublings) = failures.checked_sub(2) else { return Duration::ZERO };
        let base = self.config.retry_backoff.saturating_mul(1 << doublings.min(16));
        let base = base.min(self.config.retry_backoff_max);
        let percent = 80 + u32::try_from(self.link.random.next() % 41).unwrap_or(0);
        base * percent / 100
    }

    /// Sends `request`; the answer or the loss comes back with the id.
    pub(super) fn send(
        &mut self,
        now: Time,
        timeout: Duration,
        request: Request,
        out: &mut Vec<Effect>,
    ) -> RequestId {
        assert!(self.link.versions().is_some(), "a request needs a coordinator");
        self.link.last_request += 1;
        let id = RequestId(self.link.last_request);
        self.link.in_flight.insert(id, now + timeout);
        out.push(Effect::Send { id, request });
        id
    }

    /// Looks the coordinator up, if something waits for it.
    pub(super) fn find_coordinator(&mut self, now: Time, out: &mut Vec<Effect>) {
        if let State::Unknown(not_before) = self.link.state
            && self.needs_coordinator()
            && now >= not_before
        {
            self.link.state = State::Finding;
            out.push(Effect::FindCoordinator);
        }
    }

    fn needs_coordinator(&self) -> bool {
        let waits = self.wish.member() || self.has_commits() || self.has_fetches();
        waits && !matches!(self.phase, Phase::Ended)
    }

    pub(super) fn coordinator_found(&mut self, now: Time, versions: Versions, out: &mut Vec<Effect>) {
        if !matches!(self.link.state, State::Finding) {
            return;
        }
        if self.config.group_instance_id.is_some() && versions.join_group < 5 && self.wish.member() {
            self.fail(FatalError::NoStaticMembership { group_id: self.config.group_id.clone() }, out);
            return;
        }
        self.link.state = State::Found(versions);
        // The lost connection may be all that the coordinator knows of us: show life at once, before it
        // concludes that we are dead.
        self.beat_now(now);
    }

    pub(super) fn coordinator_not_found(&mut self, now: Time, error: ErrorCode, out: &mut Vec<Effect>) {
        if !matches!(self.link.state, State::Finding) {
            return;
        }
        if matches!(error, ErrorCode::GroupAuthorizationFailed | ErrorCode::InvalidGroupId) {
            self.refused("FindCoordinator", error, out);
            return;
        }
        // A lookup that failed is never repeated at once: nothing has changed since.
        self.link.failures = self.link.failures.max(1) + 1;
        let wait = self.backoff(self.link.failures);
        self.link.state = State::Unknown(now + wait.max(Duration::from_millis(1)));
    }

    /// The connection is gone: so is everything in flight.
    pub(super) fn coordinator_lost(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.link.versions().is_none() {
            return;
        }
        self.link.failures += 1;
        let wait = self.backoff(self.link.failures);
        self.link.state = State::Unknown(now + wait);
        self.link.in_flight.clear();
        self.beat_lost();
        self.commits_lost(now, out);
        self.fetches_lost();
        match &mut self.phase {
            Phase::Joining(attempt) | Phase::Syncing(_, attempt) => attempt.unsend(),
            Phase::Closing(waiting) => *waiting = None,
            _ => {}
        }
    }

    /// Gives the coordinator up: it says that it is none (15, 16), or says nothing.
    pub(super) fn drop_coordinator(&mut self, now: Time, out: &mut Vec<Effect>) {
        out.push(Effect::Disconnect);
        self.coordinator_lost(now, out);
    }

    /// A request that is not answered in time takes the connection with it, as in Java's NetworkClient: answers
    /// come in order, so nothing behind it would be answered either.
    pub(super) fn expire_requests(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.link.in_flight.values().any(|deadline| *deadline <= now) {
            self.drop_coordinator(now, out);
        }
    }

    pub(super) fn response(&mut self, now: Time, id: RequestId, response: Response, out: &mut Vec<Effect>) {
        if self.link.in_flight.remove(&id).is_none() {
            return;
        }
        if !says_no_coordinator(&response) {
            self.link.failures = 0;
        }
        match response {
            Response::JoinGroup(response) => self.joined(now, id, response, out),
            Response::SyncGroup(response) => self.synced(now, id, response, out),
            Response::Heartbeat(error) => self.beaten(now, id, error, out),
            Response::LeaveGroup(_) => self.left(id),
            Response::OffsetCommit(response) => self.committed(now, id, &response, out),
            Response::OffsetFetch(response) => self.fetched(now, id, response, out),
        }
    }

    /// Nothing is in flight any more, whatever is still to be answered.
    pub(super) fn forget_requests(&mut self) {
        self.link.in_flight.clear();
    }

    pub(super) fn link_deadline(&self) -> Option<Time> {
        let lookup = match self.link.state {
            State::Unknown(not_before) if self.needs_coordinator() => Some(not_before),
            _ => None,
        };
        self.link.in_flight.values().copied().chain(lookup).min()
    }
}

/// Whether the answer is that the answerer is not the coordinator.
fn says_no_coordinator(response: &Response) -> bool {
    let error = match response {
        Response::JoinGroup(response) => response.error,
        Response::SyncGroup(response) => response.error,
        Response::Heartbeat(error) => *error,
        Response::LeaveGroup(response) => response.error,
        Response::OffsetFetch(response) => response.error,
        Response::OffsetCommit(response) => {
            return response.partitions.iter().any(|(_, error)| no_coordinator(*error));
        }
    };
    no_coordinator(error)
}

/// 15 and 16: look for the coordinator elsewhere.
pub(super) fn no_coordinator(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator)
}
