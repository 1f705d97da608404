//! The other way to plug work in: an async handler, called for each record, with retries, dead letters and watermark commits.
//!
//! Handlers of different lanes run side by side; within a lane, one after the other. A record that fails is tried again in its place:
//! only its lane waits. What is committed is the [`Watermark`]: never an offset above one that is not done.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use kohort_client::{
    Client, Consumer, ConsumerEvent, ConsumerHandle, FetchedBatch, Offset, OwnedRecord, TopicPartition,
};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::group::{GroupConfig, Running, StartError};
use crate::lane::Lanes;
use crate::letters::{Letter, Letters};
use crate::member::{Ending, told};
use crate::retry::{Next, Retries};
use crate::stats::{MemberState, Stats};
use crate::watermark::Watermark;

/// Batches that wait before a lane.
const QUEUED_BATCHES: usize = 4;

/// Handles records.
pub trait Handler: Send + Sync + 'static {
    /// Handles one record. May be called again for the same record: after an error, a crash, or a rebalance.
    fn handle(&self, record: &OwnedRecord) -> impl Future<Output = Result<(), HandleError>> + Send;
}

/// Why a record was not handled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HandleError {
    /// It may work another time.
    #[error("{0}")]
    Again(String),
    /// It never will.
    #[error("{0}")]
    Never(String),
}

/// Starts groups of handlers.
#[derive(Debug)]
pub struct HandlerGroup;

impl HandlerGroup {
    /// Starts the members. Needs a tokio runtime. `config.flush_interval` is the commit interval.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn start<H: Handler>(
        client: &Client,
        config: GroupConfig,
        retries: Retries,
        handler: Arc<H>,
    ) -> Result<Running, StartError> {
        Self::start_each(client, config, retries, |_| Arc::clone(&handler))
    }

    /// As [`HandlerGroup::start`], with a handler for each member, by its number.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn start_each<H: Handler>(
        client: &Client,
        config: GroupConfig,
        retries: Retries,
        mut handler: impl FnMut(usize) -> Arc<H>,
    ) -> Result<Running, StartError> {
        let (stop, stopping) = watch::channel(false);
        let stats = Arc::new(Stats::with_members(config.consumers));
        let config = Arc::new(config);
        let mut members = JoinSet::new();
        for index in 0..config.consumers.max(1) {
            let consumer = config.subscribed(client, index)?;
            let member = HandlerMember::new(
                index,
                &config,
                client,
                consumer,
                &retries,
                &handler(index),
                &stats,
                stopping.clone(),
            );
            members.spawn(member.run());
        }
        Ok(Running::new(stop, members, stats))
    }
}

/// A record is finished, whatever became of it.
struct Done {
    partition: TopicPartition,
    epoch: u64,
    offset: Offset,
}

/// A batch for the lanes: each takes its own records of it.
#[derive(Clone)]
struct Job {
    batch: FetchedBatch,
    epoch: u64,
    /// Falls when the partition is somebody else's.
    ours: Arc<AtomicBool>,
}

struct Owned {
    epoch: u64,
    ours: Arc<AtomicBool>,
    watermark: Option<Watermark>,
    committed: Offset,
}

struct HandlerMember {
    index: usize,
    config: Arc<GroupConfig>,
    consumer: Consumer,
    handle: ConsumerHandle,
    lanes: Vec<mpsc::Sender<Job>>,
    _tasks: JoinSet<()>,
    done: mpsc::UnboundedReceiver<Done>,
    owned: BTreeMap<TopicPartition, Owned>,
    next_epoch: u64,
    /// A lane is full, and the consumer was told.
    paused: bool,
    stats: Arc<Stats>,
    stopping: watch::Receiver<bool>,
}

impl HandlerMember {
    #[expect(clippy::too_many_arguments, reason = "called at one place, which has them all")]
    fn new<H: Handler>(
        index: usize,
        config: &Arc<GroupConfig>,
        client: &Client,
        consumer: Consumer,
        retries: &Retries,
        handler: &Arc<H>,
        stats: &Arc<Stats>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let (finished, done) = mpsc::unbounded_channel();
        let which = Lanes::new(config.order, config.processors);
        let mut tasks = JoinSet::new();
        let lanes = (0..which.count())
            .map(|lane| {
                let (queue, jobs) = mpsc::channel(QUEUED_BATCHES);
                tasks.spawn(
                    Lane {
                        index: lane,
                        which,
                        handler: Arc::clone(handler),
                        retries: retries.clone(),
                        letters: Letters::new(client.clone(), config.dead_letters(), config.group.clone()),
                        finished: finished.clone(),
                        stats: Arc::clone(stats),
                        stopping: stopping.clone(),
                    }
                    .run(jobs),
                );
                queue
            })
            .collect();
        Self {
            index,
            config: Arc::clone(config),
            handle: consumer.handle(),
            consumer,
            lanes,
            _tasks: tasks,
            done,
            owned: BTreeMap::new(),
            next_epoch: 1,
            paused: false,
            stats: Arc::clone(stats),
            stopping,
        }
    }

    async fn run(mut self) -> Ending {
        match self.serve().await {
            Ok(()) => {
                let drained = self.drain(self.config.drain_timeout).await;
                // A coordinator that is away must not hold the end up; what is not committed is handled again.
                let _ = tokio::time::timeout(self.config.drain_timeout, self.commit()).await;
                self.consumer.close().await;
                Ending::Stopped { drained }
            }
            Err(why) => {
                tracing::error!("member {} of group `{}` cannot go on: {why}", self.index, self.config.group);
                Ending::Failed(why)
            }
        }
    }

    async fn serve(&mut self) -> Result<(), String> {
        let mut stopping = self.stopping.clone();
        let mut commit_at = Instant::now() + self.config.flush_interval;
        loop {
            // A full lane stops the reading; each finished record wakes this loop, which then looks again.
            let room = self.lanes.iter().all(|lane| lane.capacity() > 0);
            if room && std::mem::take(&mut self.paused) {
                self.handle.resume(&self.handle.assignment());
            }
            tokio::select! {
                () = told(&mut stopping) => return Ok(()),
                Some(done) = self.done.recv() => self.finish(&done),
                () = tokio::time::sleep_until(commit_at) => {
                    self.commit_async();
                    commit_at = Instant::now() + self.config.flush_interval;
                }
                event = self.consumer.next(), if room => self.event(event).await?,
                () = tokio::time::sleep(Duration::from_millis(20)), if !room => {
                    self.paused = true;
                    self.handle.pause(&self.handle.assignment());
                    while let Some(event) = self.consumer.try_next() {
                        self.event(event).await?;
                    }
                }
            }
        }
    }

    async fn event(&mut self, event: ConsumerEvent) -> Result<(), String> {
        match event {
            ConsumerEvent::Batch(batch) => self.batch(batch).await,
            ConsumerEvent::Assigned { added, all, start } => {
                let (member_id, generation) = self.handle.membership().unwrap_or_default();
                self.stats
                    .set_member(self.index, MemberState { member_id, generation, partitions: all.clone() });
                if all.is_empty() {
                    let (index, group) = (self.index, &self.config.group);
                    tracing::warn!(
                        "member {index} of group `{group}` stands idle: the group has more members than partitions"
                    );
                }
                for partition in added {
                    let epoch = self.next_epoch;
                    self.next_epoch += 1;
                    let ours = Arc::new(AtomicBool::new(true));
                    self.owned.insert(partition, Owned { epoch, ours, watermark: None, committed: -1 });
                }
                start.go();
                Ok(())
            }
            ConsumerEvent::Revoking { partitions, ack } => {
                if !self.drain(self.config.rebalance_timeout.mul_f32(0.8)).await {
                    tracing::warn!(
                        "group `{}`: handlers did not finish within the rebalance timeout; what they had goes to the next owner",
                        self.config.group
                    );
                }
                self.commit().await;
                self.forget(&partitions);
                ack.done();
                Ok(())
            }
            ConsumerEvent::Lost { partitions } => {
                self.forget(&partitions);
                Ok(())
            }
            ConsumerEvent::Halted { partition, error } => Err(format!(
                "partition {}-{} cannot be read on: {error}",
                partition.topic, partition.partition
            )),
            ConsumerEvent::Left { .. } => Ok(()),
            ConsumerEvent::Fatal(error) => Err(error.to_string()),
        }
    }

    async fn batch(&mut self, batch: FetchedBatch) -> Result<(), String> {
        let Some(owned) = self.owned.get_mut(&batch.topic_partition()) else { return Ok(()) };
        if owned.watermark.as_ref().is_some_and(|w| batch.first_offset() < w.handed_out()) {
            // The log was cut, or the topic made anew: these are other records under numbers that were handed out before. What is in
            // hand is finished, and says nothing of them.
            (owned.epoch, owned.watermark) = (self.next_epoch, None);
            self.next_epoch += 1;
        }
        let watermark = owned.watermark.get_or_insert_with(|| Watermark::new(batch.first_offset()));
        for record in batch.records().map_while(Result::ok) {
            watermark.hand_out(record.offset, record.offset + 1);
        }
        // Offsets at the end of the batch that compaction took are done at once.
        watermark.hand_out(batch.next_offset(), batch.next_offset());
        Stats::count(&self.stats.bytes, batch.size() as u64);
        let job = Job { batch, epoch: owned.epoch, ours: Arc::clone(&owned.ours) };
        for lane in &self.lanes {
            // At the end a lane goes ahead of this loop.
            if lane.send(job.clone()).await.is_err() && !*self.stopping.borrow() {
                return Err("a lane has ended: its handler panicked".to_owned());
            }
        }
        Ok(())
    }

    fn finish(&mut self, done: &Done) {
        if let Some(owned) = self.owned.get_mut(&done.partition).filter(|o| o.epoch == done.epoch)
            && let Some(watermark) = &mut owned.watermark
        {
            watermark.finish(done.offset, done.offset + 1);
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            if let Some(owned) = self.owned.remove(partition) {
                owned.ours.store(false, Ordering::Release);
            }
        }
    }

    /// Waits until every record that was handed out is finished.
    async fn drain(&mut self, patience: Duration) -> bool {
        let all = async {
            while self.owned.values().any(|o| o.watermark.as_ref().is_some_and(|w| !w.is_drained())) {
                match self.done.recv().await {
                    Some(done) => self.finish(&done),
                    None => return false,
                }
            }
            true
        };
        tokio::time::timeout(patience, all).await.unwrap_or(false)
    }

    /// What has moved since the last commit.
    fn committable(&mut self) -> Vec<(TopicPartition, Offset)> {
        let moved = self.owned.iter_mut().filter_map(|(partition, owned)| {
            let offset = owned.watermark.as_ref()?.committable();
            (std::mem::replace(&mut owned.committed, offset) != offset).then(|| (partition.clone(), offset))
        });
        moved.collect()
    }

    fn commit_async(&mut self) {
        let offsets = self.committable();
        if !offsets.is_empty() {
            self.handle.commit_async(offsets);
        }
    }

    async fn commit(&mut self) {
        for owned in self.owned.values_mut() {
            owned.committed = -1;
        }
        let offsets = self.committable();
        if !offsets.is_empty()
            && let Err(e) = self.handle.commit(offsets).await
        {
            tracing::warn!(
                "group `{}`: the last offsets are not committed, their records come again: {e}",
                self.config.group
            );
        }
    }
}

struct Lane<H> {
    index: usize,
    which: Lanes,
    handler: Arc<H>,
    retries: Retries,
    letters: Letters,
    finished: mpsc::UnboundedSender<Done>,
    stats: Arc<Stats>,
    stopping: watch::Receiver<bool>,
}

impl<H: Handler> Lane<H> {
    async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(job) = jobs.recv().await {
            let partition = job.batch.topic_partition();
            for record in job.batch.records().map_while(Result::ok) {
                if self.which.of(partition.partition, record.offset, record.key) != self.index {
                    continue;
                }
                let offset = record.offset;
                let record = job.batch.to_owned(&record);
                if !self.handle(record, &job.ours).await {
                    if *self.stopping.borrow() {
                        // What follows with its key must not overtake it.
                        return;
                    }
                    break;
                }
                Stats::count(&self.stats.records, 1);
                let _ = self.finished.send(Done { partition: partition.clone(), epoch: job.epoch, offset });
            }
        }
    }

    /// `false`: the partition is somebody else's, or the group stops: the record is not finished.
    async fn handle(&mut self, record: OwnedRecord, ours: &AtomicBool) -> bool {
        let mut attempt = 1;
        loop {
            if !ours.load(Ordering::Acquire) {
                return false;
            }
            let reason = match self.handler.handle(&record).await {
                Ok(()) => return true,
                Err(HandleError::Never(reason)) => reason,
                Err(HandleError::Again(reason)) => match self.retries.after(attempt) {
                    Next::DeadLetter => format!("{reason} (after {attempt} tries)"),
                    Next::Again(backoff) => {
                        attempt += 1;
                        Stats::count(&self.stats.retries, 1);
                        tokio::select! {
                            () = tokio::time::sleep(backoff) => continue,
                            () = told(&mut self.stopping) => return false,
                        }
                    }
                },
            };
            tracing::warn!(
                "record {} of {}-{} goes to the dead letters: {reason}",
                record.offset,
                record.topic,
                record.partition
            );
            Stats::count(&self.stats.dead_letters, 1);
            return self.letters.send(&[Letter { record, reason }], &mut self.stopping).await;
        }
    }
}
