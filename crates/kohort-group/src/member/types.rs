//! The words a member and its shell exchange: settings, events in, effects out.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::Time;
use crate::messages::{
    ErrorCode, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse, OffsetToCommit,
    Partition, SyncGroupRequest, SyncGroupResponse, TopicPartition,
};

/// A member's settings, with the Java consumer's defaults ([`Config::new`]).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// `group.id`.
    pub group_id: String,
    /// `group.instance.id`: set, the member is static (KIP-345): it keeps its place over a restart.
    pub group_instance_id: Option<String>,
    /// `client.rack` (KIP-881).
    pub rack_id: Option<String>,
    /// `session.timeout.ms`: 45 s.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`: 3 s.
    pub heartbeat_interval: Duration,
    /// How long a rebalance waits for this member. Kafka takes `max.poll.interval.ms`: 5 minutes.
    pub rebalance_timeout: Duration,
    /// `max.poll.interval.ms`: without an [`Event::Polled`] for this long the member leaves (KIP-62): 5 minutes.
    pub max_poll_interval: Duration,
    /// `partition.assignment.strategy`, by wire name, best first: `range`, `cooperative-sticky`.
    pub assignors: Vec<String>,
    /// `retry.backoff.ms`: 100 ms.
    pub retry_backoff: Duration,
    /// `retry.backoff.max.ms`: 1 s.
    pub retry_backoff_max: Duration,
    /// `request.timeout.ms`: 30 s. JoinGroup waits for the rebalance timeout + 5 s if that is longer.
    pub request_timeout: Duration,
}

impl Config {
    /// The Java consumer's defaults for `group_id`.
    pub fn new(group_id: impl Into<String>) -> Self {
        Self {
            group_id: group_id.into(),
            group_instance_id: None,
            rack_id: None,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(300),
            max_poll_interval: Duration::from_secs(300),
            assignors: vec!["range".to_owned(), "cooperative-sticky".to_owned()],
            retry_backoff: Duration::from_millis(100),
            retry_backoff_max: Duration::from_secs(1),
            request_timeout: Duration::from_secs(30),
        }
    }
}

/// Why a configuration cannot make a member.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// Kafka refuses it with 24 for group members.
    #[error("the group id is empty: a member needs the name of a group")]
    EmptyGroupId,
    /// No protocol to offer.
    #[error("no assignor is named: name at least one, for instance `range`")]
    NoAssignor,
    /// Not one of ours.
    #[error("unknown assignor `{0}`: known are `range`, `roundrobin`, `sticky`, `cooperative-sticky`")]
    UnknownAssignor(String),
    /// One late heartbeat would end the session.
    #[error(
        "the heartbeat interval ({heartbeat_interval:?}) must be shorter than the session timeout ({session_timeout:?})"
    )]
    HeartbeatTooSlow {
        /// `heartbeat.interval.ms`.
        heartbeat_interval: Duration,
        /// `session.timeout.ms`.
        session_timeout: Duration,
    },
}

/// The request versions that this client and the coordinator's broker both speak; the newest of each.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// JoinGroup (11): 0 to 9.
    pub join_group: i16,
    /// SyncGroup (14): 0 to 5.
    pub sync_group: i16,
    /// OffsetCommit (8): 2 to 9.
    pub offset_commit: i16,
}

impl Default for Versions {
    /// The newest that name topics by name.
    fn default() -> Self {
        Self { join_group: 9, sync_group: 5, offset_commit: 9 }
    }
}

/// Names a request in flight, from [`Effect::Send`] to [`Event::Response`]. Never used twice by one member.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId(pub u64);

/// Names a callback, from its effect to [`Event::CallbackDone`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CallbackId(pub u64);

/// Names what the shell asked for (a commit, an offset fetch); chosen by the shell, echoed in the result.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AskId(pub u64);

/// What happens to a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// The application wants these topics (all of them: it replaces what was wanted before). With a pattern the
    /// shell says this again whenever the set of matching topics changes. Unchanged topics do nothing.
    Subscribe(BTreeSet<String>),
    /// The application wants out of the group; the member can subscribe again.
    Unsubscribe,
    /// The coordinator that [`Effect::FindCoordinator`] asked for is known. Its connection need not be open yet.
    CoordinatorFound(Versions),
    /// The lookup failed. Codes 14, 15 and lost connections are tried again after a backoff, 30 and 24 are fatal.
    CoordinatorNotFound(ErrorCode),
    /// The connection to the coordinator could not be opened or is gone: every request in flight is lost.
    CoordinatorLost,
    /// An answer arrived. Answers to requests that were given up are ignored.
    Response(RequestId, Response),
    /// Partition counts of topics that [`Effect::WatchTopics`] named: the first time and after every change.
    /// Topics not in the map keep what was said of them before.
    Metadata(BTreeMap<String, TopicMetadata>),
    /// The shell has carried out a `Revoke`, `Assign` or `Lose`. One that was overtaken is ignored.
    CallbackDone(CallbackId),
    /// The shell does not wait for the end of this callback any longer. What it revoked counts as handed back, and nothing of it can be
    /// committed until `CallbackDone`, which follows when the caller is done after all.
    CallbackOverdue(CallbackId),
    /// The application made progress (it asked for records, or finished some): resets `max_poll_interval`.
    Polled,
    /// Commit these offsets; answered by exactly one [`Effect::Committed`].
    Commit {
        /// Echoed in the result.
        id: AskId,
        /// What to commit.
        offsets: Vec<(TopicPartition, OffsetToCommit)>,
        /// Retriable failures are retried until then (a synchronous commit); `None`: one attempt.
        retry_until: Option<Time>,
    },
    /// Read committed offsets, as after an assignment; answered by exactly one [`Effect::OffsetsFetched`].
    FetchOffsets {
        /// Echoed in the result.
        id: AskId,
        /// Of which partitions.
        partitions: Vec<TopicPartition>,
        /// Retriable failures are retried until then.
        retry_until: Time,
    },
    /// Leave the group and end. Partitions are handed back first ([`Effect::Revoke`]), then [`Effect::Closed`].
    Close(CloseGroup),
    /// The [`deadline`](super::Member::deadline) has come.
    Wakeup,
}

/// What is known of a topic.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct TopicMetadata {
    /// How many partitions; `None`: there is no such topic (now).
    pub partitions: Option<Partition>,
    /// Per partition the racks of its replicas, in replica order; empty where unknown (KIP-881).
    pub racks: Vec<Vec<String>>,
}

impl TopicMetadata {
    /// A topic with this many partitions and no known racks.
    #[must_use]
    pub fn of(partitions: Partition) -> Self {
        Self { partitions: Some(partitions), racks: Vec::new() }
    }
}

/// What closing does to membership (KIP-1092).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum CloseGroup {
    /// A dynamic member leaves, a static member stays until its session ends.
    #[default]
    Default,
    /// Leave, static or not.
    Leave,
    /// Stay until the session ends.
    Remain,
}

/// A request to the coordinator.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum Request {
    JoinGroup(JoinGroupRequest),
    SyncGroup(SyncGroupRequest),
    Heartbeat(HeartbeatRequest),
    LeaveGroup(LeaveGroupRequest),
    OffsetCommit(OffsetCommitRequest),
    OffsetFetch(OffsetFetchRequest),
}

/// An answer of the coordinator; of the same kind as its request.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are Kafka's own")]
pub enum Response {
    JoinGroup(JoinGroupResponse),
    SyncGroup(SyncGroupResponse),
    /// Only an error code.
    Heartbeat(ErrorCode),
    LeaveGroup(LeaveGroupResponse),
    OffsetCommit(OffsetCommitResponse),
    OffsetFetch(OffsetFetchResponse),
}

/// What the shell does for a member, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Look up the group's coordinator; answered by `CoordinatorFound` or `CoordinatorNotFound`.
    FindCoordinator,
    /// Send to the coordinator, all requests over one connection, in order. The member watches the time itself.
    Send {
        /// Echoed with the answer.
        id: RequestId,
        /// What to send.
        request: Request,
    },
    /// A request was not answered in time: close the coordinator's connection (no `CoordinatorLost` needed).
    Disconnect,
    /// From now on report the partition counts of these topics (all of them, in place of what was watched before),
    /// those not yet reported at once: [`Event::Metadata`].
    WatchTopics(BTreeSet<String>),
    /// Stop fetching these, finish what is in hand, commit (commits still count), then `CallbackDone`.
    /// May be empty: an eager rebalance says so even to a member that owns nothing.
    Revoke {
        /// For `CallbackDone`.
        id: CallbackId,
        /// What goes.
        partitions: BTreeSet<TopicPartition>,
    },
    /// These are the member's partitions now; fetch the added ones, then `CallbackDone`.
    Assign {
        /// For `CallbackDone`.
        id: CallbackId,
        /// What is new; may be empty.
        added: BTreeSet<TopicPartition>,
        /// Everything that is owned now.
        all: BTreeSet<TopicPartition>,
        /// The generation in which it was assigned.
        generation: i32,
    },
    /// These were lost: others may own them already, commits would be refused. Drop the work at once, then
    /// `CallbackDone`. Overtakes an unfinished `Revoke` or `Assign`.
    Lose {
        /// For `CallbackDone`.
        id: CallbackId,
        /// What is gone.
        partitions: BTreeSet<TopicPartition>,
    },
    /// The outcome of an [`Event::Commit`]; outcomes come in the order of the events.
    Committed {
        /// Of the event.
        id: AskId,
        /// The outcome.
        result: Result<(), CommitError>,
    },
    /// The outcome of an [`Event::FetchOffsets`]: a partition never committed has offset -1.
    OffsetsFetched {
        /// Of the event.
        id: AskId,
        /// The outcome.
        result: Result<OffsetFetchResponse, FetchOffsetsError>,
    },
    /// The member has joined a generation and has its assignment: for logs and metrics.
    Joined {
        /// The generation.
        generation: i32,
        /// The member's id, as the broker gave it.
        member_id: String,
        /// The chosen assignor.
        assignor: String,
        /// Whether this member assigns.
        leader: bool,
    },
    /// The member is not in the group any more, and why. Except after `Unsubscribed` it comes back by itself.
    Left(LeftReason),
    /// The member ended for good; its partitions were handed to `Lose`.
    Fatal(FatalError),
    /// [`Event::Close`] is done.
    Closed,
}

/// Why a member is out of its group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeftReason {
    /// [`Event::Unsubscribe`].
    Unsubscribed,
    /// [`Event::Close`].
    Closed,
    /// No [`Event::Polled`] for `max_poll_interval`; the next one joins again.
    PollIntervalExceeded,
    /// The coordinator does not know this member (25): its session ended, or it was removed. It joins again.
    UnknownMember,
    /// The generation went on without this member (22). It joins again.
    IllegalGeneration,
}

/// Why a member ended.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FatalError {
    /// 82: another process runs with the same `group.instance.id`.
    #[error("fenced: another consumer of group `{group_id}` has taken over the instance id `{instance_id}`")]
    Fenced {
        /// The group.
        group_id: String,
        /// `group.instance.id`.
        instance_id: String,
    },
    /// The coordinator refuses for good.
    #[error("the coordinator of group `{group_id}` refuses {request} with {error:?} ({}){}", error.code(), mend(*error))]
    Refused {
        /// The group.
        group_id: String,
        /// The request's name.
        request: &'static str,
        /// Its answer.
        error: ErrorCode,
    },
    /// The broker is too old for static membership (JoinGroup below version 5).
    #[error(
        "the coordinator of group `{group_id}` is too old for static membership: it needs JoinGroup 5 or newer; remove `group.instance.id`"
    )]
    NoStaticMembership {
        /// The group.
        group_id: String,
    },
    /// The leader cannot read what a member subscribes to, or this member what it was assigned.
    #[error("cannot read the {what} of group `{group_id}`: {reason}")]
    Unreadable {
        /// The group.
        group_id: String,
        /// `subscription of ...` or `assignment`.
        what: String,
        /// What the decoder says.
        reason: String,
    },
}

/// What a person can do about a refusal.
fn mend(error: ErrorCode) -> &'static str {
    match error {
        ErrorCode::InconsistentGroupProtocol => {
            ": the group's other members use other assignors (or it is no consumer group); name a common one"
        }
        ErrorCode::InvalidSessionTimeout => {
            ": `session.timeout.ms` is outside the broker's group.min/max.session.timeout.ms"
        }
        ErrorCode::GroupMaxSizeReached => ": the group is full (group.max.size)",
        ErrorCode::GroupAuthorizationFailed => ": no permission to read with this group",
        ErrorCode::InvalidGroupId => ": the group id is not valid",
        _ => "",
    }
}

/// Why a commit failed. Nothing of it is stored, except where said otherwise.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CommitError {
    /// A rebalance is under way: what stays owned may be committed after it (Kafka's RebalanceInProgress).
    #[error("a rebalance is under way: commit again once it is over")]
    RebalanceInProgress,
    /// Not in the group any more: others may own the partitions (Kafka's CommitFailedException).
    #[error("not a member of the group any more: the partitions may have another owner")]
    NotInGroup,
    /// Another process runs with the same instance id.
    #[error("fenced: another consumer has taken over the instance id")]
    Fenced,
    /// These partitions were refused; the others are stored.
    #[error("refused for {} partitions, the first `{}-{}` with {:?}", .0.len(), .0[0].0.topic, .0[0].0.partition, .0[0].1)]
    Refused(Vec<(TopicPartition, ErrorCode)>),
    /// No answer came, or no coordinator was found, in time: it may be stored or not.
    #[error("no answer from the coordinator: the offsets may be stored or not")]
    NoAnswer,
    /// The member was closed before the commit was sent.
    #[error("the member is closed")]
    Closed,
}

/// Why committed offsets could not be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum FetchOffsetsError {
    /// The coordinator refuses.
    #[error("the coordinator refuses with {0:?}")]
    Refused(ErrorCode),
    /// No answer came, or no coordinator was found, in time.
    #[error("no answer from the coordinator")]
    NoAnswer,
    /// The member was closed.
    #[error("the member is closed")]
    Closed,
}
