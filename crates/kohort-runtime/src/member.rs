//! The loop around one consumer: what the group says, what the work says, a stop; and the drain that a rebalance or a stop asks for.
//!
//! One select hears all of them, always: whatever takes long is a task or a time of the [`Work`], never awaited here. What members with
//! workers and members with handlers do differently is their work: [`crate::stored`] and [`crate::handled`].

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kohort_client::{
    Consumer, ConsumerEvent, ConsumerHandle, FetchedBatch, LeaveReason, OffsetAndMetadata, RevokeAck, Start,
    TopicPartition,
};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::group::{GroupConfig, Seat};
use crate::stats::{MemberState, Stats};

/// How long the last commit may take when a stop's patience is at its end.
const COMMIT_GRACE: Duration = Duration::from_millis(300);

/// How a member ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Stopped { drained: bool },
    Failed(String),
}

/// What a member does with its records.
pub(crate) trait Work: Send {
    /// Something that happened to it.
    type Step: Send;

    /// Whether batches are wanted now. Otherwise only what the group says is heard.
    fn reads(&self) -> bool;

    /// Waits until something happens. Cancel safe, and changes nothing.
    fn next(&mut self) -> impl Future<Output = Result<Self::Step, String>> + Send;

    /// Takes note of it. Like all that follows it waits for no store, no broker and no handler.
    fn step(&mut self, step: Self::Step) -> impl Future<Output = Result<(), String>> + Send;

    /// A batch came.
    fn batch(&mut self, batch: FetchedBatch) -> impl Future<Output = Result<(), String>> + Send;

    /// Partitions were added.
    fn assigned(&mut self, added: Vec<TopicPartition>, start: Start);

    /// These are somebody else's: what is in hand of them is dropped.
    fn lost(&mut self, partitions: &[TopicPartition]);

    /// Finishes what is in hand, and begins nothing new until [`Work::let_go`]. Asked again after each event.
    fn drain(&mut self) -> impl Future<Output = Result<Drained, String>> + Send;

    /// What may be committed at the end of a drain.
    fn committable(&mut self, drained: bool) -> Vec<(TopicPartition, OffsetAndMetadata)>;

    /// The end of a drain: these are given up, the others go on.
    fn let_go(&mut self, partitions: &[TopicPartition], drained: bool);
}

/// How far a drain is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Drained {
    /// Something is in hand.
    NotYet,
    /// Everything that was read is done.
    All,
    /// What is in hand cannot be finished any more.
    Never,
}

/// A drain under way.
struct Drain {
    /// Then it is given up.
    until: Instant,
    /// The member ends with it.
    stops: bool,
    revoked: Vec<(Vec<TopicPartition>, RevokeAck)>,
    /// The last commit, and whether all was drained before it.
    committing: Option<(JoinSet<()>, bool)>,
}

/// A member at work.
pub(crate) struct MemberLoop<K> {
    index: usize,
    config: Arc<GroupConfig>,
    consumer: Consumer,
    handle: ConsumerHandle,
    work: K,
    drain: Option<Drain>,
    stats: Arc<Stats>,
    stopping: watch::Receiver<bool>,
}

impl<K: Work> MemberLoop<K> {
    pub(crate) fn new(seat: Seat, consumer: Consumer, work: K) -> Self {
        let Seat { index, config, handle, stats, stopping } = seat;
        Self { index, config, consumer, handle, work, drain: None, stats, stopping }
    }

    pub(crate) async fn run(mut self) -> Ending {
        match self.serve().await {
            Ok(drained) => {
                if !drained {
                    tracing::warn!(
                        "member {} of group `{}` stops before everything in hand is done: it is read again at the next start",
                        self.index,
                        self.config.group
                    );
                }
                // What hangs ends here, and what waits to be started waits no longer.
                drop(self.work);
                self.consumer.close().await;
                Ending::Stopped { drained }
            }
            Err(why) => {
                tracing::error!("member {} of group `{}` cannot go on: {why}", self.index, self.config.group);
                Ending::Failed(why)
            }
        }
    }

    /// Until it is stopped; whether everything that was read is done then.
    async fn serve(&mut self) -> Result<bool, String> {
        let mut stopping = self.stopping.clone();
        loop {
            if let Some(drained) = self.drain_on().await? {
                return Ok(drained);
            }
            let stops = self.drain.as_ref().is_some_and(|drain| drain.stops);
            let until = self.drain.as_ref().map(|drain| drain.until);
            let reads = self.drain.is_none() && self.work.reads();
            tokio::select! {
                biased;
                () = told(&mut stopping), if !stops => self.stop(),
                () = committed(&mut self.drain) => {
                    if let Some(drained) = self.drained() {
                        return Ok(drained);
                    }
                }
                () = at(until), if until.is_some() => {
                    if let Some(drained) = self.patience_ends() {
                        return Ok(drained);
                    }
                }
                step = self.work.next() => self.work.step(step?).await?,
                event = event(&mut self.consumer, reads) => self.event(event).await?,
            }
        }
    }

    async fn event(&mut self, event: ConsumerEvent) -> Result<(), String> {
        match event {
            ConsumerEvent::Batch(batch) => self.work.batch(batch).await,
            ConsumerEvent::Assigned { added, all, start } => {
                self.assigned(&all);
                self.work.assigned(added, start);
                Ok(())
            }
            ConsumerEvent::Revoking { partitions, ack } => {
                self.begin_drain(self.config.rebalance_timeout.mul_f32(0.8)).revoked.push((partitions, ack));
                Ok(())
            }
            ConsumerEvent::Lost { partitions } => {
                tracing::warn!(
                    "member {} of group `{}` lost {} partitions: what is in hand of them is dropped",
                    self.index,
                    self.config.group,
                    partitions.len()
                );
                self.work.lost(&partitions);
                self.stats.lost(self.index, &partitions);
                Ok(())
            }
            ConsumerEvent::Halted { partition, error } => Err(format!(
                "partition {}-{} cannot be read on: {error}",
                partition.topic, partition.partition
            )),
            ConsumerEvent::Left { reason } => {
                if reason != LeaveReason::Asked {
                    tracing::warn!(
                        "member {} left group `{}`: {reason:?}; it joins again",
                        self.index,
                        self.config.group
                    );
                }
                Ok(())
            }
            ConsumerEvent::Fatal(error) => Err(error.to_string()),
        }
    }

    /// Says what the member has now.
    fn assigned(&self, all: &[TopicPartition]) {
        let (member_id, generation) = self.handle.membership().unwrap_or_default();
        self.stats.set_member(self.index, MemberState { member_id, generation, partitions: all.to_vec() });
        let (group, index) = (&self.config.group, self.index);
        if all.is_empty() {
            tracing::warn!(
                "member {index} of group `{group}` stands idle: the group has more members than partitions"
            );
        } else {
            let names: Vec<String> = all.iter().map(|tp| format!("{}-{}", tp.topic, tp.partition)).collect();
            tracing::info!(
                "member {index} of group `{group}`, generation {generation}, has {}",
                names.join(", ")
            );
        }
    }

    /// Begins a drain, or shortens the one under way.
    fn begin_drain(&mut self, patience: Duration) -> &mut Drain {
        let until = Instant::now() + patience;
        let new = || Drain { until, stops: false, revoked: Vec::new(), committing: None };
        let drain = self.drain.get_or_insert_with(new);
        drain.until = drain.until.min(until);
        drain
    }

    fn stop(&mut self) {
        self.begin_drain(self.config.drain_timeout).stops = true;
    }

    /// Goes on with the drain, if there is one; says how the member ended.
    async fn drain_on(&mut self) -> Result<Option<bool>, String> {
        if self.drain.as_ref().is_none_or(|drain| drain.committing.is_some()) {
            return Ok(None);
        }
        Ok(match self.work.drain().await? {
            Drained::NotYet => None,
            Drained::All => self.commit(true),
            Drained::Never => self.commit(false),
        })
    }

    /// The patience of a drain is at its end.
    fn patience_ends(&mut self) -> Option<bool> {
        match self.drain.as_ref()?.committing {
            Some(_) => {
                let group = &self.config.group;
                tracing::warn!(
                    "group `{group}`: the last offsets are not committed: the coordinator is late"
                );
                self.drained()
            }
            None => self.commit(false),
        }
    }

    /// The last commit of a drain, in a task of its own.
    fn commit(&mut self, drained: bool) -> Option<bool> {
        let offsets = self.work.committable(drained);
        let drain = self.drain.as_mut()?;
        let grace = if drain.stops { COMMIT_GRACE } else { self.config.rebalance_timeout / 10 };
        drain.until = drain.until.max(Instant::now() + grace);
        let mut task = JoinSet::new();
        if !offsets.is_empty() {
            let (handle, group) = (self.handle.clone(), self.config.group.clone());
            task.spawn(async move {
                if let Err(e) = handle.commit(offsets).await {
                    // No loss: a store knows its positions, and a handler's records come again.
                    tracing::warn!("group `{group}`: the last offsets are not committed: {e}");
                }
            });
        }
        let nothing = task.is_empty();
        drain.committing = Some((task, drained));
        if nothing { self.drained() } else { None }
    }

    /// The drain is over: lets go of what was revoked, and says how the member ended if it does.
    fn drained(&mut self) -> Option<bool> {
        let drain = self.drain.take()?;
        let drained = drain.committing.is_some_and(|(_, drained)| drained);
        let mut gone: Vec<TopicPartition> = Vec::new();
        let mut acks = Vec::new();
        for (partitions, ack) in drain.revoked {
            gone.extend(partitions);
            acks.push(ack);
        }
        if !drain.stops {
            self.work.let_go(&gone, drained);
        }
        acks.into_iter().for_each(RevokeAck::done);
        drain.stops.then_some(drained)
    }
}

/// The next event; without batches if there are enough.
async fn event(consumer: &mut Consumer, reads: bool) -> ConsumerEvent {
    if reads { consumer.next().await } else { consumer.next_group_event().await }
}

/// The end of the last commit, if there is one.
async fn committed(drain: &mut Option<Drain>) {
    match drain.as_mut().and_then(|drain| drain.committing.as_mut()) {
        Some((task, _)) => drop(task.join_next().await),
        None => std::future::pending().await,
    }
}

/// The group is told to stop.
pub(crate) async fn told(stopping: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` gives must not live on.
    drop(stopping.wait_for(|stop| *stop).await);
}

/// That time; never, without one.
pub(crate) async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}
