//! Committed offsets, read after an assignment.

use super::{AskId, Effect, FetchOffsetsError, Member, Phase, Request, RequestId, link};
use crate::Time;
use crate::messages::{ErrorCode, OffsetFetchRequest, OffsetFetchResponse, TopicPartition};

/// Reads that wait or are in flight, in the order of asking.
#[derive(Debug, Default)]
pub(super) struct Fetches(Vec<Ask>);

#[derive(Debug)]
struct Ask {
    id: AskId,
    partitions: Vec<TopicPartition>,
    give_up: Time,
    not_before: Time,
    failures: u32,
    sent: Option<RequestId>,
}

impl Member {
    pub(super) fn has_fetches(&self) -> bool {
        !self.fetches.0.is_empty()
    }

    pub(super) fn ask_fetch(
        &mut self,
        id: AskId,
        partitions: Vec<TopicPartition>,
        give_up: Time,
        out: &mut Vec<Effect>,
    ) {
        if matches!(self.phase, Phase::Ended) {
            out.push(Effect::OffsetsFetched { id, result: Err(FetchOffsetsError::Closed) });
            return;
        }
        let ask = Ask { id, partitions, give_up, not_before: Time::ZERO, failures: 0, sent: None };
        self.fetches.0.push(ask);
    }

    pub(super) fn send_fetches(&mut self, now: Time, out: &mut Vec<Effect>) {
        self.fetches.0.retain(|ask| {
            let late = ask.sent.is_none() && now >= ask.give_up;
            if late {
                out.push(Effect::OffsetsFetched { id: ask.id, result: Err(FetchOffsetsError::NoAnswer) });
            }
            !late
        });
        if self.link.versions().is_none() {
            return;
        }
        for place in 0..self.fetches.0.len() {
            let ask = &self.fetches.0[place];
            if ask.sent.is_some() || now < ask.not_before {
                continue;
            }
            let request = OffsetFetchRequest {
                group_id: self.config.group_id.clone(),
                member_id: None,
                member_epoch: -1,
                partitions: Some(ask.partitions.clone()),
                require_stable: true,
            };
            let id = self.send(now, self.config.request_timeout, Request::OffsetFetch(request), out);
            self.fetches.0[place].sent = Some(id);
        }
    }

    /// Table 6.4, column OffsetFetch. What is said of single partitions is for the shell, except 88: a transaction
    /// is about to decide, ask again.
    pub(super) fn fetched(
        &mut self,
        now: Time,
        id: RequestId,
        response: OffsetFetchResponse,
        out: &mut Vec<Effect>,
    ) {
        let Some(place) = self.fetches.0.iter().position(|ask| ask.sent == Some(id)) else { return };
        let undecided = |ok: &OffsetFetchResponse| {
            ok.partitions.iter().any(|(_, offset)| offset.error == ErrorCode::UnstableOffsetCommit)
        };
        let again = match response.error {
            ErrorCode::None => undecided(&response),
            error => link::no_coordinator(error) || error == ErrorCode::CoordinatorLoadInProgress,
        };
        if again {
            let wait = self.backoff(self.fetches.0[place].failures + 2);
            let ask = &mut self.fetches.0[place];
            ask.failures += 1;
            ask.sent = None;
            ask.not_before = now + wait;
        } else {
            let ask = self.fetches.0.remove(place);
            let result = match response.error {
                ErrorCode::None => Ok(response),
                error => Err(FetchOffsetsError::Refused(error)),
            };
            out.push(Effect::OffsetsFetched { id: ask.id, result });
            return;
        }
        if link::no_coordinator(response.error) {
            self.drop_coordinator(now, out);
        }
    }

    /// The connection is gone: ask again on the next one.
    pub(super) fn fetches_lost(&mut self) {
        for ask in &mut self.fetches.0 {
            ask.sent = None;
        }
    }

    pub(super) fn forget_fetches(&mut self, out: &mut Vec<Effect>) {
        for ask in self.fetches.0.drain(..) {
            out.push(Effect::OffsetsFetched { id: ask.id, result: Err(FetchOffsetsError::Closed) });
        }
    }

    pub(super) fn fetch_deadline(&self) -> Option<Time> {
        let ready = self.link.versions().is_some();
        let waiting = self.fetches.0.iter().filter(|ask| ask.sent.is_none());
        waiting.map(|ask| if ready { ask.not_before.min(ask.give_up) } else { ask.give_up }).min()
    }
}
