//! What comes in and what goes out: the coordinator's whole surface towards its shell.

use std::collections::BTreeMap;

use super::{Note, Record};
use crate::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, ErrorCode,
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    ListGroupsRequest, ListGroupsResponse, OffsetCommitRequest, OffsetCommitResponse, OffsetDeleteRequest,
    OffsetDeleteResponse, OffsetFetchRequest, OffsetFetchResponse, SyncGroupRequest, SyncGroupResponse,
};

/// One request that waits for its answer. The shell chooses them; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallId(pub u64);

/// One connection of a client. The shell chooses them; none is used twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ConnectionId(pub u64);

/// Who sent a request: what DescribeGroups shows of a member.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Client {
    /// The request header's client id; null counts as "".
    pub id: String,
    /// The peer's address as Java writes it: `/127.0.0.1`.
    pub host: String,
}

/// A topic's id (KIP-516).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TopicId(pub [u8; 16]);

impl TopicId {
    /// No id: what versions that speak of names carry.
    pub const ZERO: Self = Self([0; 16]);
}

/// The ids of the topics a request names, from the versions that speak of ids; empty from the others.
pub type TopicIds = BTreeMap<String, TopicId>;

/// What happened outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A request arrived.
    Call {
        /// By which its answer goes back.
        call: CallId,
        /// Where it came from.
        connection: ConnectionId,
        /// Who sent it.
        client: Client,
        /// What it asks.
        request: Request,
    },
    /// Another request, of any API, arrived on this connection: the heartbeat that is parked there must not
    /// hold it up any longer. Also after the `Call` of that request is harmless.
    Busy(ConnectionId),
    /// This connection is gone. Answers to its calls go nowhere.
    Closed(ConnectionId),
    /// A client asked where this group's coordinator is (FindCoordinator): one that lost its connection and lives
    /// does so at once, long before its next heartbeat.
    CoordinatorSought {
        /// Who asked.
        client: Client,
        /// For which group.
        group_id: String,
    },
    /// These topics no longer exist: their offsets are forgotten, in every group.
    TopicsDeleted(Vec<String>),
    /// The clock passed the coordinator's deadline. Timers fire in this event and in no other.
    Wakeup,
}

/// The group APIs.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the message it carries")]
pub enum Request {
    Join(JoinGroupRequest),
    Sync(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    Leave(LeaveGroupRequest),
    OffsetCommit(OffsetCommitRequest, TopicIds),
    OffsetFetch(OffsetFetchRequest, TopicIds),
    OffsetDelete(OffsetDeleteRequest),
    DescribeGroups(DescribeGroupsRequest),
    ListGroups(ListGroupsRequest),
    DeleteGroups(DeleteGroupsRequest),
}

impl Request {
    /// Those about groups, from outside of them.
    pub(super) const fn is_of_administrators(&self) -> bool {
        matches!(
            self,
            Self::OffsetDelete(_) | Self::DescribeGroups(_) | Self::ListGroups(_) | Self::DeleteGroups(_)
        )
    }
}

/// The answers, each of the variant of its request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "each is the message it carries")]
pub enum Response {
    Join(JoinGroupResponse),
    Sync(SyncGroupResponse),
    Heartbeat(ErrorCode),
    Leave(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
    OffsetDelete(OffsetDeleteResponse),
    DescribeGroups(DescribeGroupsResponse),
    ListGroups(ListGroupsResponse),
    DeleteGroups(DeleteGroupsResponse),
}

/// What the shell must do, in the order given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Append this to the group's partition of `__consumer_offsets`.
    Append(Record),
    /// Answer a call, once every `Append` ahead of this is durable.
    Reply {
        /// Which call.
        call: CallId,
        /// Its answer.
        response: Response,
    },
    /// Forget a call: it gets no answer, because Kafka sends none (a parked JoinGroup or SyncGroup that its
    /// own member repeated), or because its connection is gone (a parked heartbeat).
    Drop {
        /// Which call.
        call: CallId,
    },
    /// Something happened in a group: for the event log, the console, the lag tools.
    Note(Note),
}
