//! Commits: strictly one after the other, and never in the name of a generation that was not meant.

use std::collections::VecDeque;

use super::{AskId, CommitError, Effect, Identity, LeftReason, Member, Phase, Request, RequestId};
use crate::Time;
use crate::messages::{ErrorCode, OffsetCommitRequest, OffsetCommitResponse, OffsetToCommit, TopicPartition};

/// Commits that wait; the first may be in flight.
///
/// One at a time, so that a retried commit can never overtake a newer one and turn an offset back.
#[derive(Debug, Default)]
pub(super) struct Commits {
    queue: VecDeque<Ask>,
    in_flight: Option<RequestId>,
    /// Who sent it.
    sender: Option<Identity>,
}

#[derive(Debug)]
struct Ask {
    id: AskId,
    /// What is still to be stored.
    offsets: Vec<(TopicPartition, OffsetToCommit)>,
    /// The generation at the time of asking; -1 for a commit without membership.
    generation: i32,
    retries: bool,
    give_up: Time,
    not_before: Time,
    failures: u32,
    refused: Vec<(TopicPartition, ErrorCode)>,
}

/// After so many tries a partition that the coordinator does not know is taken to be deleted: a new one is known to it long before. Tried on
/// until the end, the commit of a revocation would hold the whole group up for as long as it has patience.
const UNKNOWN_TRIES: u32 = 5;

/// Whether the commit at the head may be sent.
enum Leave {
    /// Yes, as a member or without membership.
    Now,
    /// Not yet.
    Later,
    /// Never.
    Never(CommitError),
}

impl Member {
    pub(super) fn has_commits(&self) -> bool {
        !self.commits.queue.is_empty()
    }

    pub(super) fn ask_commit(
        &mut self,
        now: Time,
        id: AskId,
        offsets: Vec<(TopicPartition, OffsetToCommit)>,
        retry_until: Option<Time>,
        out: &mut Vec<Effect>,
    ) {
        if matches!(self.phase, Phase::Ended | Phase::Closing(_)) {
            out.push(Effect::Committed { id, result: Err(CommitError::Closed) });
            return;
        }
        self.commits.queue.push_back(Ask {
            id,
            offsets,
            generation: self.identity.generation,
            retries: retry_until.is_some(),
            give_up: retry_until.unwrap_or(now + self.config.request_timeout),
            not_before: now,
            failures: 0,
            refused: Vec::new(),
        });
    }

    /// Sends the next commit, if nothing is in the way.
    pub(super) fn send_commits(&mut self, now: Time, out: &mut Vec<Effect>) {
        while self.commits.in_flight.is_none() {
            let Some(ask) = self.commits.queue.front() else { return };
            if ask.offsets.is_empty() {
                self.finish_commit(Ok(()), out);
                continue;
            }
            match self.may_leave(ask, now) {
                Leave::Now => self.send_commit(now, out),
                Leave::Later => return,
                Leave::Never(error) => self.finish_commit(Err(error), out),
            }
        }
    }

    /// The rule of 6.7, with one addition. A commit that waited, for the coordinator or for a retry, may find another
    /// generation than the one it was asked in: it counts only if every partition of it was owned all the
    /// while. Else the offset could be that of an owner before the present one.
    fn may_leave(&self, ask: &Ask, now: Time) -> Leave {
        let without_membership = self.wish.topics.is_none() && self.identity.generation < 0;
        match self.phase {
            Phase::Ended | Phase::Closing(_) => return Leave::Never(CommitError::Closed),
            Phase::Joining(_) | Phase::Assigning(_) | Phase::Syncing(..) => {
                return Leave::Never(CommitError::RebalanceInProgress);
            }
            Phase::Unjoined if !without_membership || ask.generation >= 0 => {
                return Leave::Never(CommitError::NotInGroup);
            }
            _ => {}
        }
        let kept = |tp: &TopicPartition| self.owned.get(tp).is_some_and(|since| *since <= ask.generation);
        if ask.generation != self.identity.generation && !ask.offsets.iter().all(|(tp, _)| kept(tp)) {
            return Leave::Never(CommitError::NotInGroup);
        }
        // Whoever commits does not know yet that it is another's. Java's consumer cannot come to this: nothing joins while its
        // caller is busy.
        if ask.offsets.iter().any(|(tp, _)| self.is_stray(tp)) {
            return Leave::Never(CommitError::NotInGroup);
        }
        if now >= ask.give_up {
            return Leave::Never(CommitError::NoAnswer);
        }
        if self.link.versions().is_none() || now < ask.not_before {
            return Leave::Later;
        }
        Leave::Now
    }

    fn send_commit(&mut self, now: Time, out: &mut Vec<Effect>) {
        let versions = self.link.versions();
        let (Some(ask), Some(versions)) = (self.commits.queue.front(), versions) else { return };
        // Without membership the instance id stays out too: an active group would fence it.
        let member = self.identity.generation >= 0;
        let request = OffsetCommitRequest {
            api_version: versions.offset_commit,
            group_id: self.config.group_id.clone(),
            generation: self.identity.generation,
            member_id: if member { self.identity.member_id.clone() } else { String::new() },
            group_instance_id: self.config.group_instance_id.clone().filter(|_| member),
            retention: None,
            offsets: ask.offsets.clone(),
        };
        let id = self.send(now, self.config.request_timeout, Request::OffsetCommit(request), out);
        self.commits.in_flight = Some(id);
        self.commits.sender = Some(self.identity.clone());
    }

    fn finish_commit(&mut self, result: Result<(), CommitError>, out: &mut Vec<Effect>) {
        if let Some(ask) = self.commits.queue.pop_front() {
            out.push(Effect::Committed { id: ask.id, result });
        }
    }

    /// Table 6.4, column OffsetCommit.
    pub(super) fn committed(
        &mut self,
        now: Time,
        id: RequestId,
        response: &OffsetCommitResponse,
        out: &mut Vec<Effect>,
    ) {
        if self.commits.in_flight.take_if(|sent| *sent == id).is_none() {
            return;
        }
        let current = self.commits.sender.as_ref() == Some(&self.identity);
        let group_wide =
            response.partitions.iter().map(|(_, error)| *error).find(|error| concerns_group(*error));
        match group_wide {
            None => self.sort_out(now, response, out),
            Some(ErrorCode::FencedInstanceId) => {
                self.finish_commit(Err(CommitError::Fenced), out);
                if current {
                    self.fenced(out);
                }
            }
            Some(ErrorCode::RebalanceInProgress) => {
                self.finish_commit(Err(CommitError::RebalanceInProgress), out);
                if current && matches!(self.phase, Phase::Stable) {
                    self.rejoin_because("the group rebalances");
                }
            }
            Some(error) => {
                self.finish_commit(Err(CommitError::NotInGroup), out);
                match error {
                    ErrorCode::IllegalGeneration if current => self.generation_refused(now, out),
                    ErrorCode::UnknownMemberId if current => {
                        self.lose_membership(false, LeftReason::UnknownMember, out);
                    }
                    _ => {}
                }
            }
        }
    }

    /// No answer concerns membership: some partitions are stored, some refused, some to be tried again.
    fn sort_out(&mut self, now: Time, response: &OffsetCommitResponse, out: &mut Vec<Effect>) {
        let Some(mut ask) = self.commits.queue.pop_front() else { return };
        let mut again = Vec::new();
        let mut elsewhere = false;
        for (partition, error) in &response.partitions {
            elsewhere |= super::link::no_coordinator(*error);
            match error {
                ErrorCode::None => {}
                ErrorCode::UnknownTopicOrPartition if ask.failures >= UNKNOWN_TRIES => {
                    ask.refused.push((partition.clone(), *error));
                }
                error if retriable(*error) => again.push((partition.clone(), *error)),
                error => ask.refused.push((partition.clone(), *error)),
            }
        }
        ask.failures += 1;
        ask.not_before = now + self.backoff(ask.failures + 1);
        let id = ask.id;
        if again.is_empty() || !ask.retries || ask.not_before >= ask.give_up {
            ask.refused.append(&mut again);
            let result = if ask.refused.is_empty() { Ok(()) } else { Err(CommitError::Refused(ask.refused)) };
            out.push(Effect::Committed { id, result });
        } else {
            ask.offsets.retain(|(partition, _)| again.iter().any(|(failed, _)| failed == partition));
            self.commits.queue.push_front(ask);
        }
        if elsewhere {
            self.drop_coordinator(now, out);
        }
    }

    /// The connection is gone. The commit in flight may be stored or not.
    pub(super) fn commits_lost(&mut self, now: Time, out: &mut Vec<Effect>) {
        if self.commits.in_flight.take().is_none() {
            return;
        }
        if let Some(ask) = self.commits.queue.front_mut()
            && ask.retries
            && now < ask.give_up
        {
            ask.not_before = now;
        } else {
            self.finish_commit(Err(CommitError::NoAnswer), out);
        }
    }

    pub(super) fn forget_commits(&mut self, out: &mut Vec<Effect>) {
        self.commits.in_flight = None;
        while self.has_commits() {
            self.finish_commit(Err(CommitError::Closed), out);
        }
    }

    pub(super) fn commit_deadline(&self) -> Option<Time> {
        if self.commits.in_flight.is_some() {
            return None;
        }
        let ask = self.commits.queue.front()?;
        let ready = self.link.versions().is_some();
        Some(if ready { ask.not_before.min(ask.give_up) } else { ask.give_up })
    }
}

/// Errors that speak of the committer, not of a partition. 69: version 9 and later say so of a group that is gone.
fn concerns_group(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::IllegalGeneration
            | ErrorCode::UnknownMemberId
            | ErrorCode::RebalanceInProgress
            | ErrorCode::FencedInstanceId
            | ErrorCode::GroupIdNotFound
    )
}

fn retriable(error: ErrorCode) -> bool {
    matches!(
        error,
        ErrorCode::CoordinatorLoadInProgress
            | ErrorCode::CoordinatorNotAvailable
            | ErrorCode::NotCoordinator
            | ErrorCode::UnknownTopicOrPartition
    )
}
