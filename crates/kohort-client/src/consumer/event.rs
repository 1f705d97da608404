//! What a consumer hears: batches, and what happens to its membership.

use std::sync::Arc;

use kohort_group::messages::{Offset, TopicPartition};
use tokio::sync::oneshot;

use super::FetchedBatch;

/// What [`Consumer::next`](super::Consumer::next) returns.
///
/// Order: an event of the group comes before any batch that is already buffered. After `Revoking` or `Lost`, no batch of
/// those partitions is returned; before `Assigned`, none of the added.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Records of one partition, in order.
    Batch(FetchedBatch),
    /// Partitions were added (after a rebalance even if `added` is empty). Nothing of `added` is fetched before `start` is
    /// dropped or [`Start::go`] is called: the time to read positions elsewhere and give them.
    Assigned {
        /// What is new, sorted.
        added: Vec<TopicPartition>,
        /// All that is assigned now, sorted.
        all: Vec<TopicPartition>,
        /// Where to start; dropped, each partition starts at its committed offset, or as `auto.offset.reset` says.
        start: Start,
    },
    /// These partitions go to somebody else once `ack` is dropped or the rebalance timeout has passed: finish what is in
    /// hand and commit. In an eager rebalance it is all of them, and may be none. Between the timeout and the end of `ack` nothing of
    /// them can be committed.
    Revoking {
        /// What is to be given up, sorted.
        partitions: Vec<TopicPartition>,
        /// Lets them go.
        ack: RevokeAck,
    },
    /// These partitions are somebody else's already: drop the work, commit nothing. What is committed of them before
    /// `next` has returned this is refused, whatever generation the member is in by then.
    Lost {
        /// What is lost, sorted.
        partitions: Vec<TopicPartition>,
    },
    /// This partition is not fetched until [`seek`](super::ConsumerHandle::seek) says where to go on; the others are.
    Halted {
        /// Which one.
        partition: TopicPartition,
        /// Why.
        error: HaltError,
    },
    /// The member is not in the group. It joins again at the next call of `next` after `PollTimeout`, and by itself after `Removed`.
    Left {
        /// Why.
        reason: LeaveReason,
    },
    /// The consumer can do nothing more; every further call returns this again.
    Fatal(FatalError),
}

/// Why a member left its group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LeaveReason {
    /// `max.poll.interval.ms` passed without a call of `next` (KIP-62).
    PollTimeout,
    /// The coordinator removed this member: its session ended, or the group went on without it. It joins again by itself.
    Removed,
    /// [`unsubscribe`](super::ConsumerHandle::unsubscribe) or [`close`](super::Consumer::close).
    Asked,
}

/// Why a partition is not fetched any further.
#[derive(Clone, Debug, thiserror::Error)]
pub enum HaltError {
    /// `auto.offset.reset` is `none`, and there is no committed offset, or it is out of range.
    #[error(
        "no offset to read at: none is committed, or it is out of range, and `auto.offset.reset` is `none`"
    )]
    NoOffset,
    /// The broker forbids it.
    #[error("not authorized to read topic `{topic}`")]
    Unauthorized {
        /// The topic.
        topic: Arc<str>,
    },
    /// A batch cannot be read; `seek` beyond it to go on without it.
    #[error("the batch at offset `{offset}` cannot be read")]
    Corrupt {
        /// Where it begins.
        offset: Offset,
        /// What is wrong.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
    /// The log was cut below the offset (KIP-320) and `auto.offset.reset` is `none`.
    #[error(
        "the log was truncated to `{log_end}`, below the offset `{offset}`, and `auto.offset.reset` is `none`"
    )]
    Truncated {
        /// Where reading was.
        offset: Offset,
        /// Where the log that was read ends.
        log_end: Offset,
    },
    /// The broker's answer is none that Kafka gives here.
    #[error("fetching at offset `{offset}` failed with error code `{code}`")]
    Refused {
        /// Where.
        offset: Offset,
        /// Kafka's number.
        code: i16,
    },
}

/// Why a consumer cannot go on at all.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FatalError {
    /// The group refuses this member for good, or another one with its instance id has taken its place.
    #[error(transparent)]
    Group(#[from] kohort_group::member::FatalError),
    /// The consumer was closed.
    #[error("the consumer is closed")]
    Closed,
}

/// Where the partitions of an `Assigned` event start. Dropping it starts them.
#[derive(Debug)]
pub struct Start {
    pub(crate) positions: Vec<(TopicPartition, Offset)>,
    pub(crate) done: Option<oneshot::Sender<Vec<(TopicPartition, Offset)>>>,
    pub(crate) detached: Option<oneshot::Sender<()>>,
}

impl Start {
    /// Starts `partition` at `offset` instead of its committed offset.
    pub fn at(&mut self, partition: TopicPartition, offset: Offset) -> &mut Self {
        self.positions.push((partition, offset));
        self
    }

    /// It will take a while to know where: the group goes on meanwhile, as if this had started. The partitions may be revoked or lost
    /// before it does; then it starts nothing.
    pub fn detach(&mut self) {
        if let Some(detached) = self.detached.take() {
            let _ = detached.send(());
        }
    }

    /// Starts fetching; the same as dropping it.
    pub fn go(self) {}
}

impl Drop for Start {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            // Nobody listens any more if the partitions were taken away meanwhile.
            let _ = done.send(std::mem::take(&mut self.positions));
        }
    }
}

/// Lets revoked partitions go when it is dropped.
#[derive(Debug)]
pub struct RevokeAck {
    pub(crate) done: Option<oneshot::Sender<()>>,
}

impl RevokeAck {
    /// Lets them go; the same as dropping it.
    pub fn done(self) {}
}

impl Drop for RevokeAck {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let _ = done.send(());
        }
    }
}
