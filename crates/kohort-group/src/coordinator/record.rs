//! What survives a restart, with the fields of Kafka's `__consumer_offsets` records.
//!
//! `GroupMetadataKey`/`Value` and `OffsetCommitKey`/`Value`: their bytes are the shell's business. A `None`
//! value is a tombstone.

use core::time::Duration;

use super::TopicId;
use crate::Time;
use crate::messages::{Offset, TopicPartition};

/// One record of `__consumer_offsets`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A classic group as it was when it last became Stable or Empty, or its end.
    GroupMetadata {
        /// The group's id.
        group_id: String,
        /// `None`: the group is no more.
        value: Option<GroupMetadata>,
    },
    /// A committed offset, or its end.
    OffsetCommit {
        /// The group's id.
        group_id: String,
        /// Of which partition.
        partition: TopicPartition,
        /// `None`: nothing is committed any more.
        value: Option<OffsetAndMetadata>,
    },
}

impl Record {
    /// The group that the record is about; its hash chooses the partition.
    #[must_use]
    pub fn group_id(&self) -> &str {
        match self {
            Self::GroupMetadata { group_id, .. } | Self::OffsetCommit { group_id, .. } => group_id,
        }
    }
}

/// `GroupMetadataValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMetadata {
    /// "" if the group never had one.
    pub protocol_type: String,
    /// The generation.
    pub generation: i32,
    /// The chosen assignor; `None` while the group is Empty.
    pub protocol: Option<String>,
    /// The leader's member id; `None` while the group is Empty.
    pub leader: Option<String>,
    /// When the group entered its state; `None` (-1) where a record of an old version does not know.
    pub state_since: Option<Time>,
    /// Its members, by id.
    pub members: Vec<MemberMetadata>,
}

/// `MemberMetadata` of `GroupMetadataValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberMetadata {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// The client id of its first join.
    pub client_id: String,
    /// Its host, as Java writes addresses.
    pub client_host: String,
    /// How long a rebalance waits for it.
    pub rebalance_timeout: Duration,
    /// After this long without a heartbeat it is gone.
    pub session_timeout: Duration,
    /// Its subscription for the chosen protocol.
    pub subscription: Vec<u8>,
    /// What the leader assigned to it.
    pub assignment: Vec<u8>,
}

/// `OffsetCommitValue`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read. Not checked by Kafka: may be negative.
    pub offset: Offset,
    /// -1 where unknown.
    pub leader_epoch: i32,
    /// The client's text.
    pub metadata: String,
    /// The broker's clock at the commit.
    pub commit_timestamp: Time,
    /// A lifetime of its own (OffsetCommit 2 to 4); `None`: the group's retention counts.
    pub expire_timestamp: Option<Time>,
    /// The topic's id, from commits that gave it; else zero.
    pub topic_id: TopicId,
}
