//! The group's requests and answers, between the member's words and Kafka's messages.

use bytes::Bytes;
use kohort_group::member::{Request, Response};
use kohort_group::messages::{
    ErrorCode, FetchedOffset, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, JoinedMember,
    LeaveGroupRequest, LeaveGroupResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest,
    OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse, TopicPartition,
};

use crate::net::wire::messages::join_group_request::JoinGroupRequestProtocol;
use crate::net::wire::messages::leave_group_request::MemberIdentity;
use crate::net::wire::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use crate::net::wire::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use crate::net::wire::messages::sync_group_request::SyncGroupRequestAssignment;
use crate::net::wire::messages::{self as wire};
use crate::net::wire::{AskError, GroupId, Link, StrBytes, millis, text, topic_name};

/// The first version of OffsetFetch that asks for groups instead of one.
const OFFSET_FETCH_GROUPS: i16 = 8;
/// The first version of LeaveGroup with a list of members.
const LEAVE_GROUP_LIST: i16 = 3;

/// A request as a frame, and which answer it gets.
pub(crate) struct Framed {
    pub(crate) frame: bytes::BytesMut,
    pub(crate) kind: Kind,
    pub(crate) version: i16,
}

/// The kind of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    JoinGroup,
    SyncGroup,
    Heartbeat,
    LeaveGroup,
    OffsetCommit,
    OffsetFetch,
}

fn some(value: &Option<String>) -> Option<StrBytes> {
    value.as_deref().map(text)
}

fn owned(value: &StrBytes) -> String {
    value.as_str().to_owned()
}

fn group(id: &str) -> GroupId {
    GroupId(text(id))
}

/// The codes that the core knows.
const CODES: [ErrorCode; 30] = {
    use ErrorCode as E;
    [
        E::UnknownServerError,
        E::None,
        E::UnknownTopicOrPartition,
        E::OffsetMetadataTooLarge,
        E::CoordinatorLoadInProgress,
        E::CoordinatorNotAvailable,
        E::NotCoordinator,
        E::IllegalGeneration,
        E::InconsistentGroupProtocol,
        E::InvalidGroupId,
        E::UnknownMemberId,
        E::InvalidSessionTimeout,
        E::RebalanceInProgress,
        E::TopicAuthorizationFailed,
        E::GroupAuthorizationFailed,
        E::UnsupportedVersion,
        E::InvalidRequest,
        E::NonEmptyGroup,
        E::GroupIdNotFound,
        E::MemberIdRequired,
        E::GroupMaxSizeReached,
        E::FencedInstanceId,
        E::GroupSubscribedToTopic,
        E::UnstableOffsetCommit,
        E::UnknownTopicId,
        E::FencedMemberEpoch,
        E::UnreleasedInstanceId,
        E::UnsupportedAssignor,
        E::StaleMemberEpoch,
        E::InvalidRegularExpression,
    ]
};

/// Kafka's number as the core's word; one that the core does not know is a server error to it.
pub(crate) fn error(code: i16) -> ErrorCode {
    CODES.into_iter().find(|known| known.code() == code).unwrap_or(ErrorCode::UnknownServerError)
}

/// The frame of a member's request.
pub(crate) fn frame(link: &Link, request: &Request) -> Result<Framed, AskError> {
    match request {
        Request::JoinGroup(join) => framed(link, Kind::JoinGroup, |version| join_message(join, version)),
        Request::SyncGroup(sync) => framed(link, Kind::SyncGroup, |version| sync_message(sync, version)),
        Request::Heartbeat(beat) => framed(link, Kind::Heartbeat, |version| beat_message(beat, version)),
        Request::LeaveGroup(leave) => framed(link, Kind::LeaveGroup, |version| leave_message(leave, version)),
        Request::OffsetCommit(commit) => {
            framed(link, Kind::OffsetCommit, |version| commit_message(commit, version))
        }
        Request::OffsetFetch(fetch) => {
            framed(link, Kind::OffsetFetch, |version| fetch_message(fetch, version))
        }
    }
}

fn framed<R: crate::net::wire::Request>(
    link: &Link,
    kind: Kind,
    message: impl FnOnce(i16) -> R,
) -> Result<Framed, AskError> {
    let version = link.version::<R>()?;
    Ok(Framed { frame: link.frame(&message(version), version)?, kind, version })
}

fn join_message(join: &JoinGroupRequest, version: i16) -> wire::JoinGroupRequest {
    let protocols = join.protocols.iter().map(|(name, metadata)| {
        JoinGroupRequestProtocol::default()
            .with_name(text(name))
            .with_metadata(Bytes::copy_from_slice(metadata))
    });
    let mut message = wire::JoinGroupRequest::default()
        .with_group_id(group(&join.group_id))
        .with_session_timeout_ms(millis(join.session_timeout))
        .with_member_id(text(&join.member_id))
        .with_protocol_type(text(&join.protocol_type))
        .with_protocols(protocols.collect());
    if version >= 1 {
        message = message.with_rebalance_timeout_ms(millis(join.rebalance_timeout));
    }
    if version >= 5 {
        message = message.with_group_instance_id(some(&join.group_instance_id));
    }
    if version >= 8 {
        message = message.with_reason(some(&join.reason));
    }
    message
}

fn sync_message(sync: &SyncGroupRequest, version: i16) -> wire::SyncGroupRequest {
    let assignments = sync.assignments.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(Bytes::copy_from_slice(assignment))
    });
    let mut message = wire::SyncGroupRequest::default()
        .with_group_id(group(&sync.group_id))
        .with_generation_id(sync.generation)
        .with_member_id(text(&sync.member_id))
        .with_assignments(assignments.collect());
    if version >= 3 {
        message = message.with_group_instance_id(some(&sync.group_instance_id));
    }
    if version >= 5 {
        message = message
            .with_protocol_type(some(&sync.protocol_type))
            .with_protocol_name(some(&sync.protocol_name));
    }
    message
}

fn beat_message(beat: &HeartbeatRequest, version: i16) -> wire::HeartbeatRequest {
    let message = wire::HeartbeatRequest::default()
        .with_group_id(group(&beat.group_id))
        .with_generation_id(beat.generation)
        .with_member_id(text(&beat.member_id));
    if version >= 3 { message.with_group_instance_id(some(&beat.group_instance_id)) } else { message }
}

fn leave_message(leave: &LeaveGroupRequest, version: i16) -> wire::LeaveGroupRequest {
    let message = wire::LeaveGroupRequest::default().with_group_id(group(&leave.group_id));
    if version < LEAVE_GROUP_LIST {
        let member = leave.members.first().map_or("", |member| &member.member_id);
        return message.with_member_id(text(member));
    }
    let members = leave.members.iter().map(|member| {
        let identity = MemberIdentity::default()
            .with_member_id(text(&member.member_id))
            .with_group_instance_id(some(&member.group_instance_id));
        if version >= 5 { identity.with_reason(some(&member.reason)) } else { identity }
    });
    message.with_members(members.collect())
}

/// Partitions by topic, in their order.
fn by_topic<'a, T>(entries: impl Iterator<Item = (&'a TopicPartition, T)>) -> Vec<(&'a str, Vec<(i32, T)>)> {
    let mut topics: Vec<(&str, Vec<(i32, T)>)> = Vec::new();
    for (name, value) in entries {
        match topics.iter_mut().find(|(topic, _)| *topic == name.topic) {
            Some((_, partitions)) => partitions.push((name.partition, value)),
            None => topics.push((&name.topic, vec![(name.partition, value)])),
        }
    }
    topics
}

pub(crate) fn commit_message(commit: &OffsetCommitRequest, version: i16) -> wire::OffsetCommitRequest {
    let topics = by_topic(commit.offsets.iter().map(|(name, offset)| (name, offset)));
    let topics = topics.into_iter().map(|(topic, partitions)| {
        let partitions = partitions.into_iter().map(|(partition, offset)| {
            let entry = OffsetCommitRequestPartition::default()
                .with_partition_index(partition)
                .with_committed_offset(offset.offset)
                .with_committed_metadata(some(&offset.metadata));
            if version >= 6 { entry.with_committed_leader_epoch(offset.leader_epoch) } else { entry }
        });
        OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions.collect())
    });
    let mut message = wire::OffsetCommitRequest::default()
        .with_group_id(group(&commit.group_id))
        .with_generation_id_or_member_epoch(commit.generation)
        .with_member_id(text(&commit.member_id))
        .with_topics(topics.collect());
    if version >= 7 {
        message = message.with_group_instance_id(some(&commit.group_instance_id));
    }
    message
}

pub(crate) fn fetch_message(fetch: &OffsetFetchRequest, version: i16) -> wire::OffsetFetchRequest {
    let topics = fetch.partitions.as_ref().map(|names| by_topic(names.iter().map(|name| (name, ()))));
    let indexes = |partitions: Vec<(i32, ())>| partitions.into_iter().map(|(index, ())| index).collect();
    if version >= OFFSET_FETCH_GROUPS {
        let topics = topics.map(|topics| {
            let entry = |(topic, partitions)| {
                OffsetFetchRequestTopics::default()
                    .with_name(topic_name(topic))
                    .with_partition_indexes(indexes(partitions))
            };
            topics.into_iter().map(entry).collect()
        });
        let group =
            OffsetFetchRequestGroup::default().with_group_id(group(&fetch.group_id)).with_topics(topics);
        return wire::OffsetFetchRequest::default()
            .with_groups(vec![group])
            .with_require_stable(fetch.require_stable);
    }
    let topics = topics.map(|topics| {
        let entry = |(topic, partitions)| {
            OffsetFetchRequestTopic::default()
                .with_name(topic_name(topic))
                .with_partition_indexes(indexes(partitions))
        };
        topics.into_iter().map(entry).collect()
    });
    let message =
        wire::OffsetFetchRequest::default().with_group_id(group(&fetch.group_id)).with_topics(topics);
    if version >= 7 { message.with_require_stable(fetch.require_stable) } else { message }
}

/// The answer to a request of this kind.
pub(crate) fn response(link: &Link, kind: Kind, version: i16, answer: Bytes) -> Result<Response, AskError> {
    Ok(match kind {
        Kind::JoinGroup => {
            let join = link.read::<wire::JoinGroupRequest>(answer, version)?;
            Response::JoinGroup(JoinGroupResponse {
                error: error(join.error_code),
                generation: join.generation_id,
                protocol_type: join.protocol_type.as_ref().map(owned),
                protocol_name: join.protocol_name.as_ref().map(owned),
                leader: owned(&join.leader),
                skip_assignment: join.skip_assignment,
                member_id: owned(&join.member_id),
                members: join
                    .members
                    .iter()
                    .map(|member| JoinedMember {
                        member_id: owned(&member.member_id),
                        group_instance_id: member.group_instance_id.as_ref().map(owned),
                        metadata: member.metadata.to_vec(),
                    })
                    .collect(),
            })
        }
        Kind::SyncGroup => {
            let sync = link.read::<wire::SyncGroupRequest>(answer, version)?;
            Response::SyncGroup(SyncGroupResponse {
                error: error(sync.error_code),
                protocol_type: sync.protocol_type.as_ref().map(owned),
                protocol_name: sync.protocol_name.as_ref().map(owned),
                assignment: sync.assignment.to_vec(),
            })
        }
        Kind::Heartbeat => {
            Response::Heartbeat(error(link.read::<wire::HeartbeatRequest>(answer, version)?.error_code))
        }
        Kind::LeaveGroup => {
            let leave = link.read::<wire::LeaveGroupRequest>(answer, version)?;
            let members = leave.members.iter().map(|member| {
                let instance = member.group_instance_id.as_ref().map(owned);
                (owned(&member.member_id), instance, error(member.error_code))
            });
            Response::LeaveGroup(LeaveGroupResponse {
                error: error(leave.error_code),
                members: members.collect(),
            })
        }
        Kind::OffsetCommit => {
            let commit = link.read::<wire::OffsetCommitRequest>(answer, version)?;
            Response::OffsetCommit(committed(&commit))
        }
        Kind::OffsetFetch => {
            Response::OffsetFetch(fetched(link.read::<wire::OffsetFetchRequest>(answer, version)?, version))
        }
    })
}

pub(crate) fn committed(commit: &wire::OffsetCommitResponse) -> OffsetCommitResponse {
    let partitions = commit.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|partition| {
            let name = TopicPartition::new(topic.name.0.as_str(), partition.partition_index);
            (name, error(partition.error_code))
        })
    });
    OffsetCommitResponse { partitions: partitions.collect() }
}

pub(crate) fn fetched(fetch: wire::OffsetFetchResponse, version: i16) -> OffsetFetchResponse {
    let entry = |topic: &str, index, code, offset, leader_epoch, metadata: Option<&StrBytes>| {
        let metadata = metadata.map(owned).unwrap_or_default();
        let fetched = FetchedOffset { error: error(code), offset, leader_epoch, metadata };
        (TopicPartition::new(topic, index), fetched)
    };
    if version >= OFFSET_FETCH_GROUPS {
        let Some(group) = fetch.groups.first() else {
            return OffsetFetchResponse { error: ErrorCode::UnknownServerError, partitions: vec![] };
        };
        let partitions = group.topics.iter().flat_map(|topic| {
            topic.partitions.iter().map(|p| {
                let epoch = p.committed_leader_epoch;
                entry(
                    topic.name.0.as_str(),
                    p.partition_index,
                    p.error_code,
                    p.committed_offset,
                    epoch,
                    p.metadata.as_ref(),
                )
            })
        });
        return OffsetFetchResponse { error: error(group.error_code), partitions: partitions.collect() };
    }
    let partitions = fetch.topics.iter().flat_map(|topic| {
        topic.partitions.iter().map(|p| {
            let epoch = p.committed_leader_epoch;
            entry(
                topic.name.0.as_str(),
                p.partition_index,
                p.error_code,
                p.committed_offset,
                epoch,
                p.metadata.as_ref(),
            )
        })
    });
    OffsetFetchResponse { error: error(fetch.error_code), partitions: partitions.collect() }
}
