//! The consumer: group membership in the background, batches and events at [`Consumer::next`].
//!
//! Heartbeats, joins and fetches never depend on the caller: they run in tasks of their own, and `next` only takes what
//! is there. What the caller does decide is bounded: an unacknowledged `Revoking` waits for the rebalance timeout.

mod batch;
mod builder;
mod event;

use std::time::Duration;

pub use batch::{FetchedBatch, OwnedRecord, Records};
pub use builder::{ConsumerBuilder, Isolation, OffsetReset};
pub use event::{ConsumerEvent, FatalError, HaltError, LeaveReason, RevokeAck, Start};
use kohort_group::messages::{Offset, TopicPartition};
pub use kohort_protocol::records::{Headers, Record, RecordError};

/// A consumer. Made by [`ConsumerBuilder::build`]; ended by [`Consumer::close`]. Dropped without `close`, it leaves the group
/// in the background, if the runtime lives on.
///
/// It derefs to its [`ConsumerHandle`], which other tasks can hold: they commit and pause while one task calls `next`.
#[derive(Debug)]
pub struct Consumer {
    handle: ConsumerHandle,
}

/// All of a consumer but its events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConsumerHandle {}

/// An offset to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetAndMetadata {
    /// The next offset to read.
    pub offset: Offset,
    /// The leader epoch of the record before it; -1 where unknown (KIP-320).
    pub leader_epoch: i32,
    /// Any text, of 4096 characters at most on a broker with defaults.
    pub metadata: String,
}

impl From<Offset> for OffsetAndMetadata {
    fn from(offset: Offset) -> Self {
        Self { offset, leader_epoch: -1, metadata: String::new() }
    }
}

/// Where to seek.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SeekTo {
    /// This offset.
    Offset(Offset),
    /// The first record that is there.
    Earliest,
    /// The end.
    Latest,
    /// The first record at or after this many milliseconds since the epoch; the end if there is none.
    Timestamp(i64),
}

/// Why a consumer cannot be made or told what to read.
#[derive(Debug, thiserror::Error)]
pub enum ConsumerConfigError {
    /// There is no such assignor.
    #[error("unknown assignor `{0}`: use `range`, `roundrobin`, `sticky` or `cooperative-sticky`")]
    UnknownAssignor(String),
    /// The list is empty.
    #[error("no assignor: name at least one")]
    NoAssignor,
    /// Sessions must outlast heartbeats.
    #[error("heartbeat interval {heartbeat:?} is not below session timeout {session:?}")]
    HeartbeatTooLong {
        /// `heartbeat.interval.ms`.
        heartbeat: Duration,
        /// `session.timeout.ms`.
        session: Duration,
    },
    /// Subscribing and committing need one.
    #[error("no group: `subscribe` needs `group`; use `assign` to read without one")]
    NoGroup,
    /// A consumer either subscribes or assigns.
    #[error("`subscribe` and `assign` exclude each other: call `unsubscribe` between them")]
    Mixed,
}

/// Why offsets were not committed. Nothing is retried that the group has moved beyond.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommitError {
    /// The consumer has no group.
    #[error("no group to commit to")]
    NoGroup,
    /// A rebalance is under way: the partitions may be kept; commit again after `Assigned`.
    #[error("a rebalance is under way (error 27)")]
    Rebalancing,
    /// The group gave this member's partitions to others: what was handled since may be handled again there.
    #[error("the group moved on: this member is no longer part of its generation")]
    Fenced,
    /// The broker refuses these partitions.
    #[error("`{}`-`{}` refused with error code `{code}`", .partition.topic, .partition.partition)]
    Refused {
        /// The first of them.
        partition: TopicPartition,
        /// Kafka's number.
        code: i16,
    },
    /// The coordinator did not answer within `default.api.timeout.ms`.
    #[error("no answer from the coordinator of group `{group}` within {after:?}")]
    Timeout {
        /// The group.
        group: String,
        /// How long was tried.
        after: Duration,
    },
    /// The consumer was closed meanwhile.
    #[error("the consumer is closed")]
    Closed,
}

/// Why committed offsets cannot be told.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CommittedError {
    /// The consumer has no group.
    #[error("no group whose offsets could be read")]
    NoGroup,
    /// The coordinator did not answer within `default.api.timeout.ms`.
    #[error("no answer from the coordinator of group `{group}` within {after:?}")]
    Timeout {
        /// The group.
        group: String,
        /// How long was tried.
        after: Duration,
    },
    /// The broker refuses.
    #[error("reading the offsets of group `{group}` failed with error code `{code}`")]
    Refused {
        /// The group.
        group: String,
        /// Kafka's number.
        code: i16,
    },
}

impl ConsumerBuilder {
    /// Makes the consumer; nothing is sent before `subscribe` or `assign`. Needs to be called within a tokio runtime.
    pub fn build(self) -> Result<Consumer, ConsumerConfigError> {
        unimplemented!()
    }
}

impl std::ops::Deref for Consumer {
    type Target = ConsumerHandle;

    fn deref(&self) -> &ConsumerHandle {
        &self.handle
    }
}

impl Consumer {
    /// The next event. Cancel safe: a call that is dropped loses nothing.
    pub async fn next(&mut self) -> ConsumerEvent {
        unimplemented!()
    }

    /// A handle for other tasks.
    #[must_use]
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// Leaves the group (a dynamic member; a static one keeps its place) and ends all tasks. Commit before. Events that were not taken are dropped.
    pub async fn close(self) {
        unimplemented!()
    }
}

impl ConsumerHandle {
    /// Joins the group for these topics, or changes the topics of a member.
    pub fn subscribe(
        &self,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), ConsumerConfigError> {
        let _topics: Vec<String> = topics.into_iter().map(Into::into).collect();
        unimplemented!()
    }

    /// Gives up the subscription (with a `Revoking` and a `Left` event) or the manual assignment.
    pub fn unsubscribe(&self) {
        unimplemented!()
    }

    /// Reads these partitions, without membership. Replaces an earlier list: partitions in both keep their positions. Without an offset, a
    /// partition starts at the group's committed one, or as `auto.offset.reset` says.
    pub fn assign(
        &self,
        partitions: impl IntoIterator<Item = (TopicPartition, Option<Offset>)>,
    ) -> Result<(), ConsumerConfigError> {
        let _partitions: Vec<_> = partitions.into_iter().collect();
        unimplemented!()
    }

    /// Returns no more batches of these partitions until `resume`, and soon fetches none. What is buffered is kept. Unassigned ones are passed over.
    pub fn pause(&self, _partitions: &[TopicPartition]) {
        unimplemented!()
    }

    /// Undoes `pause`.
    pub fn resume(&self, _partitions: &[TopicPartition]) {
        unimplemented!()
    }

    /// Reads on from there; `false` if the partition is not assigned. No batch from before is returned afterwards.
    pub fn seek(&self, _partition: &TopicPartition, _to: SeekTo) -> bool {
        unimplemented!()
    }

    /// The offset after the last batch that `next` returned; `None` before it is known.
    #[must_use]
    pub fn position(&self, _partition: &TopicPartition) -> Option<Offset> {
        unimplemented!()
    }

    /// Records between `position` and the high watermark of the last answer.
    #[must_use]
    pub fn lag(&self, _partition: &TopicPartition) -> Option<i64> {
        unimplemented!()
    }

    /// What is assigned now, sorted.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        unimplemented!()
    }

    /// The member id and generation; `None` while the member is in no generation.
    #[must_use]
    pub fn membership(&self) -> Option<(String, i32)> {
        unimplemented!()
    }

    /// Commits, and waits for the answer; what can be retried is, until `default.api.timeout.ms`. Works within `Revoking`.
    pub async fn commit(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, impl Into<OffsetAndMetadata>)>,
    ) -> Result<(), CommitError> {
        let _offsets: Vec<(TopicPartition, OffsetAndMetadata)> =
            offsets.into_iter().map(|(partition, offset)| (partition, offset.into())).collect();
        unimplemented!()
    }

    /// Commits once, without waiting; a failure is logged and not retried. Commits of one consumer reach the broker in the order of their calls.
    pub fn commit_async(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, impl Into<OffsetAndMetadata>)>,
    ) {
        let _offsets: Vec<(TopicPartition, OffsetAndMetadata)> =
            offsets.into_iter().map(|(partition, offset)| (partition, offset.into())).collect();
        unimplemented!()
    }

    /// The group's committed offsets; `None` where nothing is committed. Waits for open transactions.
    pub async fn committed(
        &self,
        _partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndMetadata>)>, CommittedError> {
        unimplemented!()
    }
}
