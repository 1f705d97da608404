//! The group APIs' requests and responses as both halves of the core speak them.
//!
//! They are Kafka's messages without their wire form: the broker's and the client's shells translate from and
//! to `kohort-protocol`. A field that only some versions have is an `Option` or carries Kafka's default; where a
//! rule depends on the version itself, the request says so by a field of its own (`api_version`).

use core::time::Duration;

mod admin;

pub use admin::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
    DescribedMember, ListGroupsRequest, ListGroupsResponse, ListedGroup, OffsetDeleteRequest,
    OffsetDeleteResponse,
};

/// An offset in a partition. Kafka does not check what is committed: it may be negative.
pub type Offset = i64;

/// A number of a partition in its topic.
pub type Partition = i32;

/// A topic and a partition, in Kafka's sorting order.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's number.
    pub partition: Partition,
}

impl TopicPartition {
    /// The partition `partition` of `topic`.
    pub fn new(topic: impl Into<String>, partition: Partition) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// The error codes of the group APIs, with Kafka's names and numbers (`Errors.java`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i16)]
#[expect(missing_docs, reason = "the names are Kafka's own and documented there")]
pub enum ErrorCode {
    UnknownServerError = -1,
    None = 0,
    UnknownTopicOrPartition = 3,
    OffsetMetadataTooLarge = 12,
    CoordinatorLoadInProgress = 14,
    CoordinatorNotAvailable = 15,
    NotCoordinator = 16,
    IllegalGeneration = 22,
    InconsistentGroupProtocol = 23,
    InvalidGroupId = 24,
    UnknownMemberId = 25,
    InvalidSessionTimeout = 26,
    RebalanceInProgress = 27,
    TopicAuthorizationFailed = 29,
    GroupAuthorizationFailed = 30,
    UnsupportedVersion = 35,
    InvalidRequest = 42,
    NonEmptyGroup = 68,
    GroupIdNotFound = 69,
    MemberIdRequired = 79,
    GroupMaxSizeReached = 81,
    FencedInstanceId = 82,
    GroupSubscribedToTopic = 86,
    UnstableOffsetCommit = 88,
    UnknownTopicId = 100,
    FencedMemberEpoch = 110,
    UnreleasedInstanceId = 111,
    UnsupportedAssignor = 112,
    StaleMemberEpoch = 113,
    InvalidRegularExpression = 128,
}

impl ErrorCode {
    /// The number on the wire.
    #[must_use]
    pub const fn code(self) -> i16 {
        self as i16
    }
}

/// JoinGroup (11).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupRequest {
    /// 0 to 9: from 4 the member id must be known (KIP-394), from 9 a returning leader skips (KIP-814).
    pub api_version: i16,
    /// The group's id.
    pub group_id: String,
    /// After this long without a heartbeat the member is gone.
    pub session_timeout: Duration,
    /// How long a rebalance waits for this member; version 0 has none and takes the session timeout.
    pub rebalance_timeout: Duration,
    /// Empty at the first join.
    pub member_id: String,
    /// Static membership (KIP-345).
    pub group_instance_id: Option<String>,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// What the member offers, in its order: assignor name and subscription bytes.
    pub protocols: Vec<(String, Vec<u8>)>,
    /// Why it joins (KIP-800); only logged.
    pub reason: Option<String>,
}

/// JoinGroup's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinGroupResponse {
    /// The outcome.
    pub error: ErrorCode,
    /// -1 on error.
    pub generation: i32,
    /// Since version 7.
    pub protocol_type: Option<String>,
    /// The chosen assignor.
    pub protocol_name: Option<String>,
    /// The leader's member id.
    pub leader: String,
    /// The leader must not assign (KIP-814).
    pub skip_assignment: bool,
    /// The member's own id.
    pub member_id: String,
    /// For the leader: everybody.
    pub members: Vec<JoinedMember>,
}

/// What the leader learns of one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinedMember {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// Its subscription for the chosen protocol.
    pub metadata: Vec<u8>,
}

/// SyncGroup (14).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupRequest {
    /// 0 to 5.
    pub api_version: i16,
    /// The group's id.
    pub group_id: String,
    /// The generation that was joined.
    pub generation: i32,
    /// The member.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// From version 5 both are required (KIP-559).
    pub protocol_type: Option<String>,
    /// The protocol that the join named.
    pub protocol_name: Option<String>,
    /// From the leader: assignment bytes by member id.
    pub assignments: Vec<(String, Vec<u8>)>,
}

/// SyncGroup's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SyncGroupResponse {
    /// The outcome.
    pub error: ErrorCode,
    /// Null on error.
    pub protocol_type: Option<String>,
    /// Null on error.
    pub protocol_name: Option<String>,
    /// Empty on error, and for a member that the leader left out.
    pub assignment: Vec<u8>,
}

/// Heartbeat (12).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HeartbeatRequest {
    /// The group's id.
    pub group_id: String,
    /// The generation the member believes in.
    pub generation: i32,
    /// The member.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
}

/// LeaveGroup (13). Versions below 3 name one member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupRequest {
    /// The group's id.
    pub group_id: String,
    /// Who leaves.
    pub members: Vec<LeavingMember>,
}

/// One entry of LeaveGroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeavingMember {
    /// Empty for an administrator's removal by instance id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// Why (KIP-800); only logged.
    pub reason: Option<String>,
}

/// LeaveGroup's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaveGroupResponse {
    /// The group-level outcome.
    pub error: ErrorCode,
    /// Each entry: member id, instance id, outcome, in the request's order.
    pub members: Vec<(String, Option<String>, ErrorCode)>,
}

/// OffsetCommit (8), after the shell has answered partitions that do not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitRequest {
    /// 2 to 10.
    pub api_version: i16,
    /// The group's id.
    pub group_id: String,
    /// -1 for a simple commit; a member epoch in KIP-848.
    pub generation: i32,
    /// Empty for a simple commit.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// Versions 2 to 4 may give offsets a lifetime of their own.
    pub retention: Option<Duration>,
    /// What to keep.
    pub offsets: Vec<(TopicPartition, OffsetToCommit)>,
}

/// One offset of a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetToCommit {
    /// The next offset to read.
    pub offset: Offset,
    /// -1 where unknown.
    pub leader_epoch: i32,
    /// The client's text.
    pub metadata: Option<String>,
}

/// OffsetCommit's answer: one outcome a partition, in the request's order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetCommitResponse {
    /// The outcomes.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}

/// OffsetFetch (9) of one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchRequest {
    /// The group's id.
    pub group_id: String,
    /// KIP-848: who asks (version 9).
    pub member_id: Option<String>,
    /// KIP-848: its epoch; -1 otherwise.
    pub member_epoch: i32,
    /// `None`: all that are committed.
    pub partitions: Option<Vec<TopicPartition>>,
    /// Refuse partitions with an open transactional commit (KIP-447).
    pub require_stable: bool,
}

/// OffsetFetch's answer for one group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetFetchResponse {
    /// The group-level outcome.
    pub error: ErrorCode,
    /// The offsets; -1, -1 and "" where nothing is committed.
    pub partitions: Vec<(TopicPartition, FetchedOffset)>,
}

/// One offset of OffsetFetch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedOffset {
    /// The outcome.
    pub error: ErrorCode,
    /// -1 where nothing is committed.
    pub offset: Offset,
    /// -1 where unknown.
    pub leader_epoch: i32,
    /// The client's text.
    pub metadata: String,
}
