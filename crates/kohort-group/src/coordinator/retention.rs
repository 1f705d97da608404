//! The end of offsets: their retention passed (KIP-211), their topic is gone, or somebody deletes them (KIP-496).

use core::time::Duration;

use super::classic::{CONSUMER, ClassicGroup, State};
use super::context::{Caller, Context};
use super::timers::Timer;
use super::{Coordinator, DeleteCause, Happened, OffsetAndMetadata, Record, Response};
use crate::Time;
use crate::messages::{ErrorCode, OffsetDeleteRequest, OffsetDeleteResponse, TopicPartition};

impl Coordinator {
    /// Looks through all groups for offsets, and then for groups, whose time has come.
    pub(super) fn drop_expired(&mut self, now: Time) {
        let interval = self.config.offsets_retention_check_interval;
        self.timers.set(Timer::Retention, now + interval);
        let ids: Vec<_> = self.groups.keys().cloned().collect();
        for id in ids {
            let (groups, mut cx) = self.split(now);
            let Some(group) = groups.get_mut(&id) else { continue };
            let expired = group.expired_offsets(&cx);
            drop_offsets(&mut cx, group, expired, DeleteCause::Expired);
            if group.state == State::Empty && cx.kept.offsets(&id).is_none() {
                delete_group(&mut cx, group, DeleteCause::Expired);
                groups.remove(&id);
            }
        }
    }

    /// Topics are gone: so are their offsets, in every group, whatever the retention.
    pub(super) fn topics_deleted(&mut self, now: Time, topics: &[String]) {
        let (groups, mut cx) = self.split(now);
        let mut gone = Vec::new();
        for (id, offsets) in cx.kept.all_offsets() {
            let of: Vec<_> = offsets.keys().filter(|at| topics.contains(&at.topic)).cloned().collect();
            if !of.is_empty() {
                gone.push((id.to_owned(), of));
            }
        }
        for (id, partitions) in gone {
            if let Some(group) = groups.get(&id) {
                drop_offsets(&mut cx, group, partitions, DeleteCause::TopicDeleted);
            }
        }
    }

    pub(super) fn offset_delete(&mut self, now: Time, caller: &Caller, request: OffsetDeleteRequest) {
        let (groups, mut cx) = self.split(now);
        let response = match groups.get(&request.group_id) {
            None => refused(ErrorCode::GroupIdNotFound),
            Some(_) if request.group_id.is_empty() => refused(ErrorCode::InvalidGroupId),
            // Only consumers tell what they subscribe to: of other members nothing may be taken away.
            Some(group)
                if group.state != State::Empty && group.protocol_type.as_deref() != Some(CONSUMER) =>
            {
                refused(ErrorCode::NonEmptyGroup)
            }
            Some(group) => {
                let outcome = |at: &TopicPartition| match group.subscribes(&at.topic) {
                    true => ErrorCode::GroupSubscribedToTopic,
                    false => ErrorCode::None,
                };
                let partitions: Vec<_> =
                    request.partitions.iter().map(|at| (at.clone(), outcome(at))).collect();
                let stored = cx.kept.offsets(&request.group_id);
                let mut gone: Vec<_> = partitions
                    .iter()
                    .filter(|(at, error)| {
                        *error == ErrorCode::None && stored.is_some_and(|offsets| offsets.contains_key(at))
                    })
                    .map(|(at, _)| at.clone())
                    .collect();
                gone.sort_unstable();
                gone.dedup();
                drop_offsets(&mut cx, group, gone, DeleteCause::Requested);
                OffsetDeleteResponse { error: ErrorCode::None, partitions }
            }
        };
        cx.reply(caller.call, Response::OffsetDelete(response));
    }
}

const fn refused(error: ErrorCode) -> OffsetDeleteResponse {
    OffsetDeleteResponse { error, partitions: Vec::new() }
}

impl ClassicGroup {
    /// KIP-211: which of the group's offsets are past their time.
    fn expired_offsets(&self, cx: &Context<'_>) -> Vec<TopicPartition> {
        let retention = cx.config.offsets_retention;
        let past = |base: Time, span: Duration| cx.now.since(base) >= span && cx.now >= base;
        let simple = self.protocol_type.is_none();
        let empty = self.state == State::Empty;
        let readable = self.state == State::Stable && self.subscription_known();
        if !(simple || empty || readable) {
            return Vec::new();
        }
        let expired = |at: &TopicPartition, kept: &OffsetAndMetadata| {
            if !simple && !empty && self.subscribes(&at.topic) {
                return false;
            }
            if let Some(expires) = kept.expire_timestamp {
                return cx.now >= expires;
            }
            let base = if !simple && empty {
                self.since().unwrap_or(kept.commit_timestamp)
            } else {
                kept.commit_timestamp
            };
            past(base, retention)
        };
        let offsets = cx.kept.offsets(&self.id).into_iter().flatten();
        offsets.filter(|(at, kept)| expired(at, kept)).map(|(at, _)| at.clone()).collect()
    }
}

/// Forgets offsets, and says so.
pub(super) fn drop_offsets(
    cx: &mut Context<'_>,
    group: &ClassicGroup,
    partitions: Vec<TopicPartition>,
    cause: DeleteCause,
) {
    if partitions.is_empty() {
        return;
    }
    for partition in &partitions {
        let partition = partition.clone();
        cx.keep(Record::OffsetCommit { group_id: group.id.clone(), partition, value: None });
    }
    cx.note(&group.id, group.generation, Happened::OffsetsDropped { partitions, cause });
}

/// Ends a group: no timer, no call, no record of it stays. The caller takes it from the map.
pub(super) fn delete_group(cx: &mut Context<'_>, group: &mut ClassicGroup, cause: DeleteCause) {
    group.end(cx, ErrorCode::CoordinatorNotAvailable);
    if cx.kept.group(&group.id).is_some() {
        cx.keep(Record::GroupMetadata { group_id: group.id.clone(), value: None });
    }
    cx.note(&group.id, group.generation, Happened::Deleted { cause });
}
