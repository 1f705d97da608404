//! Committed offsets: who may commit, what is stored, what is found.

use super::classic::{ClassicGroup, State};
use super::context::{Caller, Context};
use super::{Coordinator, Happened, OffsetAndMetadata, Record, Response, TopicId, TopicIds};
use crate::Time;
use crate::messages::{
    ErrorCode, FetchedOffset, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, OffsetToCommit, TopicPartition,
};

impl Coordinator {
    pub(super) fn offset_commit(
        &mut self,
        now: Time,
        caller: &Caller,
        request: OffsetCommitRequest,
        ids: &TopicIds,
    ) {
        let (groups, mut cx) = self.split(now);
        let error = match groups.get_mut(&request.group_id) {
            Some(group) => group.accept_commit(&mut cx, &request).err(),
            None if request.generation < 0 => {
                // A simple group: somebody who assigns partitions by hand and only keeps offsets here.
                cx.note(&request.group_id, 0, Happened::Created);
                groups.insert(request.group_id.clone(), ClassicGroup::new(&request.group_id, None));
                None
            }
            None if request.api_version >= 9 => Some(ErrorCode::GroupIdNotFound),
            None => Some(ErrorCode::IllegalGeneration),
        };
        let expires = request.retention.filter(|_| request.api_version < 5).map(|retention| now + retention);
        let mut partitions = Vec::with_capacity(request.offsets.len());
        for (partition, offset) in request.offsets {
            let outcome = error
                .unwrap_or_else(|| commit_one(&mut cx, &request.group_id, &partition, offset, expires, ids));
            partitions.push((partition, outcome));
        }
        cx.reply(caller.call, Response::OffsetCommit(OffsetCommitResponse { partitions }));
    }

    pub(super) fn offset_fetch(
        &mut self,
        now: Time,
        caller: &Caller,
        request: OffsetFetchRequest,
        ids: &TopicIds,
    ) {
        let (_, mut cx) = self.split(now);
        let committed = cx.kept.offsets(&request.group_id);
        let partitions = match request.partitions {
            None => committed.into_iter().flatten().map(|(at, kept)| (at.clone(), found(kept))).collect(),
            Some(partitions) => partitions
                .into_iter()
                .map(|at| {
                    let asked = ids.get(&at.topic).copied().unwrap_or(TopicId::ZERO);
                    let kept = committed.and_then(|offsets| offsets.get(&at));
                    let offset =
                        kept.filter(|kept| same_topic(kept.topic_id, asked)).map_or_else(nothing, found);
                    (at, offset)
                })
                .collect(),
        };
        let response = OffsetFetchResponse { error: ErrorCode::None, partitions };
        cx.reply(caller.call, Response::OffsetFetch(response));
    }
}

impl ClassicGroup {
    /// Who may commit: Kafka's `validateOffsetCommit`, in its order. A commit by a member is a sign of life.
    fn accept_commit(
        &mut self,
        cx: &mut Context<'_>,
        request: &OffsetCommitRequest,
    ) -> Result<(), ErrorCode> {
        if let Err(error) = self.may_commit(request) {
            if matches!(error, ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId) {
                self.note_fenced(cx, &request.member_id, error);
            }
            return Err(error);
        }
        if matches!(self.state, State::Stable | State::PreparingRebalance) {
            self.touch(cx, &request.member_id);
        }
        Ok(())
    }

    fn may_commit(&self, request: &OffsetCommitRequest) -> Result<(), ErrorCode> {
        if request.generation < 0 && self.state == State::Empty {
            return Ok(());
        }
        let instance = request.group_instance_id.as_deref();
        if request.generation >= 0 || !request.member_id.is_empty() || instance.is_some() {
            self.validate(&request.member_id, instance)?;
            if request.generation != self.generation {
                return Err(ErrorCode::IllegalGeneration);
            }
        } else {
            // No member, no generation, and the group is not Empty: what a consumer with a manual assignment
            // sees on a group that others use.
            return Err(ErrorCode::UnknownMemberId);
        }
        if self.state == State::CompletingRebalance {
            return Err(ErrorCode::RebalanceInProgress);
        }
        Ok(())
    }
}

fn commit_one(
    cx: &mut Context<'_>,
    group_id: &str,
    partition: &TopicPartition,
    offset: OffsetToCommit,
    expires: Option<Time>,
    ids: &TopicIds,
) -> ErrorCode {
    let metadata = offset.metadata.unwrap_or_default();
    // The setting says bytes; Kafka compares with the length of a Java string.
    if metadata.encode_utf16().count() > cx.config.offset_metadata_max {
        return ErrorCode::OffsetMetadataTooLarge;
    }
    let value = OffsetAndMetadata {
        offset: offset.offset,
        leader_epoch: offset.leader_epoch,
        metadata,
        commit_timestamp: cx.now,
        expire_timestamp: expires,
        topic_id: ids.get(&partition.topic).copied().unwrap_or(TopicId::ZERO),
    };
    cx.keep(Record::OffsetCommit {
        group_id: group_id.to_owned(),
        partition: partition.clone(),
        value: Some(value),
    });
    ErrorCode::None
}

/// A topic that was deleted and made anew is another one, if both sides say which they mean.
fn same_topic(stored: TopicId, asked: TopicId) -> bool {
    stored == asked || stored == TopicId::ZERO || asked == TopicId::ZERO
}

fn found(kept: &OffsetAndMetadata) -> FetchedOffset {
    FetchedOffset {
        error: ErrorCode::None,
        offset: kept.offset,
        leader_epoch: kept.leader_epoch,
        metadata: kept.metadata.clone(),
    }
}

const fn nothing() -> FetchedOffset {
    FetchedOffset { error: ErrorCode::None, offset: -1, leader_epoch: -1, metadata: String::new() }
}
