//! The group event log: what happened in a group, when, and why. Nothing in it is guessed.

use core::time::Duration;

use crate::Time;
use crate::messages::{ErrorCode, TopicPartition};

/// One thing that happened in a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Note {
    /// When.
    pub at: Time,
    /// In which group.
    pub group_id: String,
    /// The group's generation after it happened.
    pub generation: i32,
    /// What.
    pub what: Happened,
}

/// What happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Happened {
    /// A group of this name exists now.
    Created,
    /// A member is in the group; it owns nothing yet.
    MemberJoined(Who),
    /// A static member returned (KIP-345): its instance has a new member id, its partitions stayed.
    MemberReplaced {
        /// The member, by its new id.
        who: Who,
        /// The id that is fenced from now on.
        old_member_id: String,
    },
    /// A member is no longer in the group.
    MemberLeft {
        /// The member.
        who: Who,
        /// Why.
        cause: LeaveCause,
    },
    /// The group stopped being Stable, or a rebalance had to begin anew.
    RebalanceBegan {
        /// Why.
        cause: RebalanceCause,
    },
    /// The join phase is over: a new generation, its members wait for the leader's assignment.
    GenerationBegan {
        /// The chosen assignor.
        protocol: String,
        /// The leader's member id.
        leader: String,
        /// How many members it has.
        members: usize,
    },
    /// The group is Stable again.
    RebalanceEnded {
        /// Since the rebalance began, its restarts included.
        took: Duration,
        /// Everybody, and what each owns now.
        members: Vec<Owner>,
    },
    /// The last member is gone.
    Emptied,
    /// The group is no more.
    Deleted {
        /// Why.
        cause: DeleteCause,
    },
    /// Committed offsets were forgotten, because their time had come or somebody deleted them or their topic.
    OffsetsDropped {
        /// Whose.
        partitions: Vec<TopicPartition>,
        /// Why.
        cause: DeleteCause,
    },
    /// A member of another generation, or one that was replaced, was refused.
    Fenced {
        /// As it called itself.
        member_id: String,
        /// What it was told.
        error: ErrorCode,
    },
    /// The coordinator took the group from its records.
    Loaded {
        /// How many members it has.
        members: usize,
    },
}

/// A member, as a person recognises it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Who {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub group_instance_id: Option<String>,
    /// Its client id.
    pub client_id: String,
    /// Its host, as Java writes addresses.
    pub client_host: String,
}

/// A member and what it owns.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The member.
    pub who: Who,
    /// What the leader assigned to it, sorted; `None` if those bytes are not a consumer's assignment.
    pub partitions: Option<Vec<TopicPartition>>,
}

/// Why a member is no longer in its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaveCause {
    /// It said so, perhaps with a reason (KIP-800).
    Left {
        /// In its own words.
        reason: Option<String>,
    },
    /// An administrator removed the instance.
    Removed {
        /// In the administrator's words.
        reason: Option<String>,
    },
    /// No heartbeat within its session timeout.
    SessionExpired,
    /// Its connection closed under a parked heartbeat, and it did not return in time.
    ConnectionLost,
    /// It did not join again within the group's rebalance timeout.
    RebalanceTimedOut,
    /// It joined, but did not sync within the group's rebalance timeout.
    SyncTimedOut,
    /// It was new, and its first rebalance took longer than a new member may wait.
    NewMemberTimedOut,
    /// The group is over `group.max.size`.
    GroupFull,
}

/// Why a rebalance began; the member is the one whose doing it was.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "one field, the member's id")]
pub enum RebalanceCause {
    /// A new member.
    MemberJoined { member_id: String },
    /// A member offers other protocols, or another subscription.
    SubscriptionChanged { member_id: String },
    /// The leader joined again: it saw other topics or partitions.
    LeaderRejoined { member_id: String },
    /// A static member returned at a moment, or with a vote, that the assignment does not survive.
    MemberReplaced { member_id: String },
    /// A member left, or was removed.
    MemberLeft { member_id: String },
    /// A member's session ended.
    SessionExpired { member_id: String },
    /// A member's connection closed, and it did not return.
    ConnectionLost { member_id: String },
    /// Members joined and never synced.
    SyncTimedOut { member_ids: Vec<String> },
    /// The group was loaded, and is over `group.max.size`.
    GroupFull,
}

/// Why a group, or an offset, is no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DeleteCause {
    /// Somebody asked for it.
    Requested,
    /// Its retention passed.
    Expired,
    /// The topic was deleted.
    TopicDeleted,
}
