//! The consumer: group membership in the background, batches and events at [`Consumer::next`].
//!
//! Heartbeats, joins and fetches never depend on the caller: they run in tasks of their own, and `next` only takes what
//! is there. What the caller does decide is bounded: an unacknowledged `Revoking` waits for the rebalance timeout.

mod batch;
mod builder;
pub(crate) mod core;
pub(crate) mod driver;
mod event;
mod fetch;
pub(crate) mod group;
pub(crate) mod group_wire;
mod partitions;
mod session;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

pub use batch::{FetchedBatch, OwnedRecord, Records};
pub use builder::{ConsumerBuilder, Isolation, OffsetReset};
pub use event::{ConsumerEvent, FatalError, HaltError, LeaveReason, RevokeAck, Start};
pub use kohort_group::member::{CommitError, ConfigError, FetchOffsetsError};
use kohort_group::messages::{ErrorCode, Offset, OffsetToCommit, TopicPartition};
use kohort_protocol::records::{Codec, Decompressor, HEADER_BYTES};
pub use kohort_protocol::records::{Headers, Record, RecordError};
use tokio::sync::{mpsc, oneshot};

use self::core::{Core, Mode};
use self::fetch::Lanes;
use self::group::{Command, Host};
use self::partitions::{Phase, RawBatch};

/// A consumer. Made by [`ConsumerBuilder::build`]; ended by [`Consumer::close`]. Dropped without `close`, it leaves the group
/// in the background, if the runtime lives on.
///
/// It derefs to its [`ConsumerHandle`], which other tasks can hold: they commit and pause while one task calls `next`.
#[derive(Debug)]
pub struct Consumer {
    handle: ConsumerHandle,
    decompressor: Decompressor,
}

/// All of a consumer but its events. Cheap to clone.
#[derive(Clone, Debug)]
pub struct ConsumerHandle {
    core: Arc<Core>,
}

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

/// Why a consumer cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The group's settings contradict each other.
    #[error(transparent)]
    Group(#[from] ConfigError),
    /// It was not called within a tokio runtime.
    #[error("no tokio runtime: build consumers within one")]
    NoRuntime,
}

/// Why a consumer cannot be told what to read.
#[derive(Debug, thiserror::Error)]
pub enum SubscribeError {
    /// Subscribing needs one.
    #[error("no group: `subscribe` needs `group`; use `assign` to read without one")]
    NoGroup,
    /// A consumer either subscribes or assigns.
    #[error("`subscribe` and `assign` exclude each other: make another consumer")]
    Mixed,
    /// The consumer was closed.
    #[error("the consumer is closed")]
    Closed,
}

impl ConsumerBuilder {
    /// Makes the consumer; nothing is sent before `subscribe` or `assign`. Needs to be called within a tokio runtime.
    ///
    /// # Errors
    /// When the settings contradict each other.
    pub fn build(self) -> Result<Consumer, BuildError> {
        if tokio::runtime::Handle::try_current().is_err() {
            return Err(BuildError::NoRuntime);
        }
        self.client.cluster.start();
        let (sender, commands) = mpsc::unbounded_channel();
        let config = self.group.as_deref().map(|group| group::config(&self, group));
        let itself = sender.downgrade();
        let core = Core::new(self, config.is_some().then_some(sender));
        if let Some(config) = config {
            tokio::spawn(Host::new(core.clone(), config, itself, commands)?.run());
        }
        tokio::spawn(driver::drive(core.clone()));
        Ok(Consumer { handle: ConsumerHandle { core }, decompressor: Decompressor::new() })
    }
}

impl std::ops::Deref for Consumer {
    type Target = ConsumerHandle;

    fn deref(&self) -> &ConsumerHandle {
        &self.handle
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        let core = &self.handle.core;
        let unheard = {
            let mut state = core.lock();
            state.abandon()
        };
        drop(unheard);
        let (done, _) = oneshot::channel();
        if !core.command(Command::Close(done)) {
            core.shut();
        }
    }
}

impl Consumer {
    /// The next event. Cancel safe: a call that is dropped loses nothing.
    pub async fn next(&mut self) -> ConsumerEvent {
        self.handle.core.poll();
        loop {
            if let Some(event) = self.take() {
                return event;
            }
            self.handle.core.news.notified().await;
            self.handle.core.poll();
        }
    }

    /// The next event that is no batch: for a caller who has enough records in hand, and must hear of the group all the same. What is
    /// fetched ahead is bounded, and waits for [`Consumer::next`]. Cancel safe.
    pub async fn next_group_event(&mut self) -> ConsumerEvent {
        self.handle.core.poll();
        loop {
            let event = {
                let mut state = self.handle.core.lock();
                state.next_event().or_else(|| state.fatal.clone().map(ConsumerEvent::Fatal))
            };
            if let Some(event) = event {
                return event;
            }
            self.handle.core.news.notified().await;
            self.handle.core.poll();
        }
    }

    /// The next event that is there already.
    pub fn try_next(&mut self) -> Option<ConsumerEvent> {
        self.handle.core.poll();
        self.take()
    }

    fn take(&mut self) -> Option<ConsumerEvent> {
        loop {
            let (raw, drained) = {
                let mut state = self.handle.core.lock();
                if let Some(event) = state.next_event() {
                    return Some(event);
                }
                if let Some(error) = &state.fatal {
                    return Some(ConsumerEvent::Fatal(error.clone()));
                }
                let raw = state.parts.pop();
                (raw, !state.parts.is_ready())
            };
            if drained {
                // Nothing else is there: what may be fetched must not wait behind a long poll.
                self.handle.core.fetch(Lanes::Urgent);
            } else if raw.as_ref().is_some_and(|raw| raw.chunk_ended) {
                self.handle.core.fetch(Lanes::Usual);
            }
            if let Some(batch) = self.open(raw?) {
                return Some(ConsumerEvent::Batch(batch));
            }
        }
    }

    /// Checks and decompresses a batch; one that cannot be read halts its partition.
    fn open(&mut self, raw: RawBatch) -> Option<FetchedBatch> {
        let core = &self.handle.core;
        let opened = unpack(&raw, core.settings.check_crcs, &mut self.decompressor, core);
        match opened {
            Ok(body) => Some(FetchedBatch {
                topic: raw.topic,
                partition: raw.partition,
                high_watermark: raw.high_watermark,
                header: raw.header,
                body,
                from: raw.from,
            }),
            Err(source) => {
                let mut state = core.lock();
                if let Some(part) = state.parts.same(raw.part, raw.incarnation) {
                    part.position = raw.from;
                    let offset = raw.from.max(raw.header.base_offset);
                    state.halt(raw.part, HaltError::Corrupt { offset, source });
                }
                None
            }
        }
    }

    /// A handle for other tasks.
    #[must_use]
    pub fn handle(&self) -> ConsumerHandle {
        self.handle.clone()
    }

    /// Leaves the group (a dynamic member; a static one keeps its place) and ends all tasks. Commit before: partitions are let
    /// go without asking. Events that were not taken are dropped. Waits for the coordinator's answer for 3 s at most.
    pub async fn close(self) {
        let core = self.handle.core.clone();
        // Unanswered callbacks would hold the leave up.
        let drain = async {
            let mut this = self;
            loop {
                if let ConsumerEvent::Fatal(_) = this.next().await {
                    return;
                }
            }
        };
        tokio::select! {
            () = group::close(&core) => {}
            () = drain => {}
        }
        core.shut();
    }
}

/// The records of a batch, checked and decompressed.
fn unpack(
    raw: &RawBatch,
    check: bool,
    decompressor: &mut Decompressor,
    core: &Core,
) -> Result<bytes::Bytes, Arc<dyn std::error::Error + Send + Sync>> {
    use kohort_protocol::records::{Batch, RecordsError};
    if check {
        Batch::parse(&raw.bytes).and_then(|batch| batch.check_crc()).map_err(shared)?;
    }
    let payload = raw.bytes.slice(HEADER_BYTES..);
    match raw.header.attributes.codec().map_err(|id| shared(RecordsError::Codec(id)))? {
        Codec::None => Ok(payload),
        codec => {
            let records = decompressor.decompress(codec, &payload).map_err(shared)?;
            let mut buffer = core.cluster.pool.take(records.len());
            buffer.bytes.extend_from_slice(records);
            Ok(buffer.share())
        }
    }
}

fn shared(error: impl std::error::Error + Send + Sync + 'static) -> Arc<dyn std::error::Error + Send + Sync> {
    Arc::new(error)
}

impl Core {
    /// The caller lives.
    fn poll(&self) {
        self.polled.store(true, Ordering::Relaxed);
        if self.awaits_poll.load(Ordering::Acquire) && self.awaits_poll.swap(false, Ordering::AcqRel) {
            self.command(Command::Polled);
        }
    }
}

impl ConsumerHandle {
    /// Joins the group for these topics, or changes the topics of a member.
    ///
    /// # Errors
    /// Without a group, or after `assign`.
    pub fn subscribe(
        &self,
        topics: impl IntoIterator<Item = impl Into<String>>,
    ) -> Result<(), SubscribeError> {
        let topics: BTreeSet<String> = topics.into_iter().map(Into::into).collect();
        if self.core.group.is_none() {
            return Err(SubscribeError::NoGroup);
        }
        self.enter(Mode::Subscribed)?;
        if self.core.command(Command::Subscribe(topics)) { Ok(()) } else { Err(SubscribeError::Closed) }
    }

    fn enter(&self, mode: Mode) -> Result<(), SubscribeError> {
        let mut state = self.core.lock();
        if state.closed {
            return Err(SubscribeError::Closed);
        }
        if state.mode != Mode::Idle && state.mode != mode {
            return Err(SubscribeError::Mixed);
        }
        state.mode = mode;
        Ok(())
    }

    /// Gives up the subscription (with a `Revoking` and a `Left` event) or the manual assignment.
    pub fn unsubscribe(&self) {
        let mode = self.core.lock().mode;
        match mode {
            Mode::Subscribed => drop(self.core.command(Command::Unsubscribe)),
            Mode::Assigned => drop(self.assign(std::iter::empty())),
            Mode::Idle => {}
        }
    }

    /// Reads these partitions, without membership. Replaces an earlier list: partitions in both keep their positions. Without
    /// an offset, a partition starts at the group's committed one, or as `auto.offset.reset` says.
    ///
    /// # Errors
    /// After `subscribe`.
    pub fn assign(
        &self,
        partitions: impl IntoIterator<Item = (TopicPartition, Option<Offset>)>,
    ) -> Result<(), SubscribeError> {
        self.enter(Mode::Assigned)?;
        let partitions: Vec<_> = partitions.into_iter().collect();
        let cluster = &self.core.cluster;
        {
            let mut state = self.core.lock();
            let topics: BTreeSet<&str> = partitions.iter().map(|(name, _)| name.topic.as_str()).collect();
            let before = state.wanted.replace(cluster.want(topics.into_iter().map(Arc::from)));
            let metadata = cluster.metadata();
            for name in state.parts.names() {
                if !partitions.iter().any(|(kept, _)| *kept == name) {
                    state.parts.remove(&name);
                }
            }
            for (name, offset) in &partitions {
                if state.parts.id(name).is_none() {
                    let id = state.parts.add(name, Phase::Committed, &metadata);
                    if let Some(offset) = offset {
                        state.parts.start_at(id, *offset);
                    }
                }
            }
            drop(before);
        }
        self.core.work.notify_one();
        Ok(())
    }

    /// Returns no more batches of these partitions until `resume`, and soon fetches none. What is buffered is kept.
    /// Unassigned ones are passed over.
    pub fn pause(&self, partitions: &[TopicPartition]) {
        let mut state = self.core.lock();
        for name in partitions {
            if let Some(id) = state.parts.id(name) {
                state.parts.pause(id);
            }
        }
    }

    /// Undoes `pause`.
    pub fn resume(&self, partitions: &[TopicPartition]) {
        {
            let mut state = self.core.lock();
            for name in partitions {
                if let Some(id) = state.parts.id(name) {
                    state.parts.resume(id);
                }
            }
        }
        self.core.news.notify_one();
        self.core.fetch(Lanes::Urgent);
    }

    /// Reads on from there; `false` if the partition is not assigned. No batch from before is returned afterwards.
    pub fn seek(&self, partition: &TopicPartition, to: SeekTo) -> bool {
        {
            let mut state = self.core.lock();
            let Some(id) = state.parts.id(partition) else { return false };
            match to {
                SeekTo::Offset(offset) => state.parts.start_at(id, offset),
                to => state.parts.restart(id, Phase::Reset(to)),
            }
        }
        self.core.work.notify_one();
        true
    }

    /// The offset after the last batch that `next` returned; `None` before it is known.
    #[must_use]
    pub fn position(&self, partition: &TopicPartition) -> Option<Offset> {
        let state = self.core.lock();
        let part = state.parts.get(state.parts.id(partition)?)?;
        (part.position >= 0).then_some(part.position)
    }

    /// Records between `position` and the high watermark of the last answer.
    #[must_use]
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let state = self.core.lock();
        let part = state.parts.get(state.parts.id(partition)?)?;
        (part.position >= 0 && part.high_watermark >= 0).then(|| (part.high_watermark - part.position).max(0))
    }

    /// What is assigned now, sorted.
    #[must_use]
    pub fn assignment(&self) -> Vec<TopicPartition> {
        self.core.lock().parts.names()
    }

    /// The member id and generation; `None` while the member is in no generation.
    #[must_use]
    pub fn membership(&self) -> Option<(String, i32)> {
        self.core.lock().membership.clone()
    }

    /// Commits, and waits for the answer; what can be retried is, until `default.api.timeout.ms`. Works within `Revoking`.
    ///
    /// # Errors
    /// See [`CommitError`]; without a group, `NotInGroup`.
    pub async fn commit(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, impl Into<OffsetAndMetadata>)>,
    ) -> Result<(), CommitError> {
        let offsets = to_commit(offsets);
        let Some(group) = &self.core.settings.group else { return Err(CommitError::NotInGroup) };
        if self.core.lock().mode != Mode::Subscribed {
            return self.core.commit_alone(group, offsets).await;
        }
        let (reply, told) = oneshot::channel();
        let retry = Some(self.core.cluster.config.api_timeout);
        if !self.core.command(Command::Commit { offsets, retry, reply: Some(reply) }) {
            return Err(CommitError::Closed);
        }
        told.await.unwrap_or(Err(CommitError::Closed))
    }

    /// Commits once, without waiting; a failure is logged and not retried. Commits of one consumer reach the broker in the
    /// order of their calls. Only for members.
    pub fn commit_async(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, impl Into<OffsetAndMetadata>)>,
    ) {
        let offsets = to_commit(offsets);
        if !self.core.command(Command::Commit { offsets, retry: None, reply: None }) {
            tracing::warn!("offsets were not committed: there is no group, or the consumer is closed");
        }
    }

    /// The group's committed offsets; `None` where nothing is committed. Waits for open transactions.
    ///
    /// # Errors
    /// See [`FetchOffsetsError`].
    pub async fn committed(
        &self,
        partitions: &[TopicPartition],
    ) -> Result<Vec<(TopicPartition, Option<OffsetAndMetadata>)>, FetchOffsetsError> {
        let answer = self.core.fetch_offsets(partitions.to_vec()).await?;
        // One that is not known is not one that is not there.
        let failed =
            answer.partitions.iter().map(|(_, told)| told.error).find(|error| *error != ErrorCode::None);
        if let Some(error) = failed {
            return Err(FetchOffsetsError::Refused(error));
        }
        let told = answer.partitions.into_iter().map(|(name, told)| {
            let (offset, leader_epoch, metadata) = (told.offset, told.leader_epoch, told.metadata);
            (name, (offset >= 0).then_some(OffsetAndMetadata { offset, leader_epoch, metadata }))
        });
        Ok(told.collect())
    }
}

fn to_commit(
    offsets: impl IntoIterator<Item = (TopicPartition, impl Into<OffsetAndMetadata>)>,
) -> Vec<(TopicPartition, OffsetToCommit)> {
    offsets
        .into_iter()
        .map(|(name, offset)| {
            let OffsetAndMetadata { offset, leader_epoch, metadata } = offset.into();
            (name, OffsetToCommit { offset, leader_epoch, metadata: Some(metadata) })
        })
        .collect()
}
