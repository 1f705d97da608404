//! What administrators and tools ask about groups: describe, list, delete, and the deletion of offsets.

use super::{ErrorCode, TopicPartition};

/// DescribeGroups (15), after authorization.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsRequest {
    /// 0 to 6: from 6 an unknown group is an error (KIP-1043), before it a group that is `Dead`.
    pub api_version: i16,
    /// The groups, in the order of the answer.
    pub groups: Vec<String>,
}

/// DescribeGroups' answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribeGroupsResponse {
    /// One entry a group asked for, in the request's order.
    pub groups: Vec<DescribedGroup>,
}

/// One group of DescribeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedGroup {
    /// The outcome for this group.
    pub error: ErrorCode,
    /// Since version 6: what is wrong.
    pub error_message: Option<String>,
    /// The group's id.
    pub group_id: String,
    /// `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Stable` or `Dead`.
    pub state: String,
    /// `consumer` for consumers, "" for a simple group.
    pub protocol_type: String,
    /// The chosen assignor; only while `Stable`, else "".
    pub protocol_data: String,
    /// Its members.
    pub members: Vec<DescribedMember>,
}

/// One member of DescribeGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedMember {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// The client id of its first join.
    pub client_id: String,
    /// Its host, as Java writes addresses: `/127.0.0.1`.
    pub client_host: String,
    /// Its subscription for the chosen protocol; only while the group is `Stable`.
    pub metadata: Vec<u8>,
    /// What it was assigned.
    pub assignment: Vec<u8>,
}

/// ListGroups (16).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListGroupsRequest {
    /// Only groups in one of these states (KIP-518), case-insensitive, trimmed; empty: all.
    pub states: Vec<String>,
    /// Only groups of one of these types, case-insensitive; empty: all.
    pub types: Vec<String>,
}

/// ListGroups' answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListGroupsResponse {
    /// The outcome.
    pub error: ErrorCode,
    /// The groups, by id.
    pub groups: Vec<ListedGroup>,
}

/// One group of ListGroups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListedGroup {
    /// Its id.
    pub group_id: String,
    /// `consumer` for consumers, "" for a simple group.
    pub protocol_type: String,
    /// Its state, with Kafka's spelling.
    pub state: String,
    /// `classic` or `consumer`.
    pub group_type: String,
}

/// DeleteGroups (42).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroupsRequest {
    /// The groups; one named twice is deleted, and answered, once.
    pub groups: Vec<String>,
}

/// DeleteGroups' answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeleteGroupsResponse {
    /// Each group and its outcome, in the request's order.
    pub groups: Vec<(String, ErrorCode)>,
}

/// OffsetDelete (47, KIP-496), after the shell has answered partitions that do not exist.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteRequest {
    /// The group's id.
    pub group_id: String,
    /// Whose offsets to forget.
    pub partitions: Vec<TopicPartition>,
}

/// OffsetDelete's answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetDeleteResponse {
    /// The group-level outcome; if it is an error, it stands for every partition.
    pub error: ErrorCode,
    /// The outcomes, in the request's order; empty on a group-level error.
    pub partitions: Vec<(TopicPartition, ErrorCode)>,
}
