//! `NoCommitFromThePast`: a committed offset never moves backward (nobody resets one here), a fenced member commits
//! nothing, and what was acknowledged survives a crash.

use std::collections::BTreeMap;

use kohort_group::coordinator::{ConnectionId, GroupView, Record};
use kohort_group::invariants::{self, Commit};
use kohort_group::member::{Request, RequestId, Response};
use kohort_group::messages::{ErrorCode, Offset, OffsetCommitRequest, TopicPartition};

use super::{Violation, broken, replay::Replay};

const NAME: &str = "NoCommitFromThePast";

type Place = (String, TopicPartition);

/// What is committed, and what was promised.
#[derive(Debug, Default)]
pub(crate) struct Commits {
    stored: BTreeMap<Place, Offset>,
    /// What members were told is stored.
    acknowledged: BTreeMap<Place, Offset>,
    /// Commits on their way through the broker.
    under_way: BTreeMap<(ConnectionId, RequestId), OffsetCommitRequest>,
    /// The commit that the coordinator is handling, as it stood when it arrived.
    handled: Option<Handled>,
}

/// A commit, beside the group that it reached.
#[derive(Debug)]
struct Handled {
    member_id: String,
    generation: i32,
    current: i32,
    is_member: bool,
}

impl Commits {
    pub(crate) fn arrives(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        request: &Request,
        group: Option<&GroupView<'_>>,
    ) {
        self.handled = None;
        let Request::OffsetCommit(request) = request else { return };
        self.under_way.insert((connection, id), request.clone());
        self.handled = group.map(|group| Handled {
            member_id: request.member_id.clone(),
            generation: request.generation,
            current: group.generation,
            is_member: group.members.iter().any(|it| it.member_id == request.member_id),
        });
    }

    pub(crate) fn appended(&mut self, record: &Record) -> Result<(), Violation> {
        let Record::OffsetCommit { group_id, partition, value: Some(value) } = record else { return Ok(()) };
        let before = self.stored.insert((group_id.clone(), partition.clone()), value.offset);
        let Some(handled) = &self.handled else {
            return Err(broken(
                NAME,
                format!("an offset of group `{group_id}` is stored and nobody asked for it"),
            ));
        };
        invariants::no_commit_from_the_past(&Commit {
            partition: partition.clone(),
            member_id: handled.member_id.clone(),
            generation: handled.generation,
            current: handled.current,
            is_member: handled.is_member,
            before,
            offset: value.offset,
            outcome: ErrorCode::None,
            reset: false,
        })
    }

    pub(crate) fn stepped(&mut self) {
        self.handled = None;
    }

    pub(crate) fn answered(&mut self, connection: ConnectionId, id: RequestId, response: &Response) {
        let Response::OffsetCommit(response) = response else { return };
        let Some(request) = self.under_way.remove(&(connection, id)) else { return };
        for ((partition, offset), (_, error)) in request.offsets.into_iter().zip(&response.partitions) {
            if *error == ErrorCode::None {
                self.acknowledged.insert((request.group_id.clone(), partition), offset.offset);
            }
        }
    }

    /// The broker crashed: unanswered commits are gone, and so is what was not durable.
    pub(crate) fn rebuild(&mut self, log: &Replay) {
        self.under_way.clear();
        self.handled = None;
        self.stored = log.offsets();
    }

    /// Nothing that was acknowledged may be missing.
    pub(crate) fn recovered(&self) -> Result<(), Violation> {
        for (place, promised) in &self.acknowledged {
            let stored = self.stored.get(place).copied();
            if stored.is_none_or(|stored| stored < *promised) {
                let (group, partition) = place;
                let what = format!(
                    "group `{group}`, `{}-{}`: {promised} was acknowledged, and {stored:?} is left after a crash",
                    partition.topic, partition.partition,
                );
                return Err(broken(NAME, what));
            }
        }
        Ok(())
    }
}
