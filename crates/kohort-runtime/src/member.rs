//! The loop around one consumer: read, hand to the lanes, flush with the positions, commit; and what a rebalance asks for.
//!
//! Who owns what: the sink is either here or in the task of the one flush that is under way. While it is under way the lanes go on
//! with the next records; their deltas wait in the lanes for the next flush.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kohort_client::{
    Client, Consumer, ConsumerEvent, ConsumerHandle, FetchedBatch, LeaveReason, Offset, SeekTo, Start,
    TopicPartition,
};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::group::GroupConfig;
use crate::lane::Lanes;
use crate::lanes::{LaneGone, Pool};
use crate::letters::{Letter, Letters};
use crate::stats::{MemberState, Stats};
use crate::worker::{FlushBatch, Flushed, Progress, Sink, Worker};

const BACKOFF: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// How a member ended.
#[derive(Debug)]
pub(crate) enum Ending {
    Stopped { drained: bool },
    Failed(String),
}

/// A partition that this member claimed.
#[derive(Debug)]
struct Owned {
    epoch: i64,
    /// What the sink's own store has.
    stored: Option<Offset>,
    /// Where reading began: the largest of all stores' positions and the group's offset, unless the log had nothing there.
    began: Option<Offset>,
    /// One past what was handed to the lanes.
    read: Option<Offset>,
}

impl Owned {
    /// Where the next owner has to begin if nothing more is flushed. Not the store's position alone: what lies between it and
    /// where reading began was passed over on purpose, by an operator or because another store of the group has it.
    fn resume(&self) -> Option<Offset> {
        self.stored.max(self.began)
    }
}

/// A flush that is under way.
struct Flushing<S> {
    task: JoinHandle<(S, Letters, Outcome)>,
    progress: Vec<Progress>,
    bytes: usize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    Fenced,
    /// The group stops and the store cannot be reached.
    GivenUp,
}

pub(crate) struct MemberLoop<W: Worker, S: Sink<Delta = W::Delta>> {
    index: usize,
    config: Arc<GroupConfig>,
    consumer: Consumer,
    handle: ConsumerHandle,
    pool: Pool<W>,
    /// `None` while a flush has them.
    writers: Option<(S, Letters)>,
    flushing: Option<Flushing<S>>,
    owned: BTreeMap<TopicPartition, Owned>,
    /// Assigned and not yet claimed, with the consumer's permission to start them.
    unclaimed: Vec<TopicPartition>,
    starts: Vec<Start>,
    claim_at: Instant,
    claim_backoff: Duration,
    /// What the lanes have cannot be written any more: it is dropped and read again.
    spoilt: bool,
    unflushed_bytes: usize,
    /// No batch is wanted for now, and the consumer was told.
    paused: bool,
    flush_at: Option<Instant>,
    stats: Arc<Stats>,
    stopping: watch::Receiver<bool>,
}

impl<W: Worker, S: Sink<Delta = W::Delta>> MemberLoop<W, S> {
    #[expect(clippy::too_many_arguments, reason = "called at one place, which has them all")]
    pub(crate) fn new(
        index: usize,
        config: Arc<GroupConfig>,
        client: Client,
        consumer: Consumer,
        worker: impl FnMut(usize) -> W,
        sink: S,
        stats: Arc<Stats>,
        stopping: watch::Receiver<bool>,
    ) -> Self {
        let pool = Pool::new(Lanes::new(config.order, config.processors), &stats, worker);
        let letters = Letters::new(client, config.dead_letters(), config.group.clone());
        Self {
            index,
            handle: consumer.handle(),
            consumer,
            pool,
            writers: Some((sink, letters)),
            flushing: None,
            owned: BTreeMap::new(),
            unclaimed: Vec::new(),
            starts: Vec::new(),
            claim_at: Instant::now(),
            claim_backoff: BACKOFF,
            spoilt: false,
            unflushed_bytes: 0,
            paused: false,
            flush_at: None,
            stats,
            stopping,
            config,
        }
    }

    pub(crate) async fn run(mut self) -> Ending {
        match self.serve().await {
            Ok(()) => {
                let drained = self.drain(self.config.drain_timeout).await;
                if !drained {
                    tracing::warn!(
                        "member {} of group `{}` stops before everything is flushed: it is read again at the next start",
                        self.index,
                        self.config.group
                    );
                }
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
        loop {
            let idle = self.writers.is_some();
            let reading = self.unflushed_bytes < self.config.unflushed_bytes_max && !self.spoilt;
            if reading && std::mem::take(&mut self.paused) {
                self.handle.resume(&self.handle.assignment());
            }
            let flush_at = self.flush_at.filter(|_| idle && !self.spoilt);
            let claim = idle && !self.spoilt && !self.unclaimed.is_empty();
            tokio::select! {
                biased;
                () = told(&mut stopping) => return Ok(()),
                settled = flush_ended(&mut self.flushing) => self.settle(settled?).await,
                () = at(Some(self.claim_at)), if self.spoilt && idle => self.rewind().await.map_err(gone)?,
                () = at(Some(self.claim_at)), if claim => self.claim().await,
                () = at(flush_at), if flush_at.is_some() => self.begin_flush().await.map_err(gone)?,
                event = self.consumer.next(), if reading => self.event(event).await?,
                // Too much is unflushed, or what is read is to be dropped: only the group's own events are wanted. Batches that come
                // with them are put off by pausing.
                () = tokio::time::sleep(Duration::from_millis(20)), if !reading => self.only_group_events().await?,
            }
        }
    }

    /// Takes what the group says while no batch is wanted.
    async fn only_group_events(&mut self) -> Result<(), String> {
        let all: Vec<TopicPartition> = self.handle.assignment();
        // Whatever ends this (a flush, a rewind), the loop sees it and resumes.
        self.paused = true;
        self.handle.pause(&all);
        while let Some(event) = self.consumer.try_next() {
            self.event(event).await?;
        }
        Ok(())
    }

    async fn event(&mut self, event: ConsumerEvent) -> Result<(), String> {
        match event {
            ConsumerEvent::Batch(batch) => self.batch(batch).await.map_err(gone),
            ConsumerEvent::Assigned { added, all, start } => {
                self.assigned(added, &all, start);
                Ok(())
            }
            ConsumerEvent::Revoking { partitions, ack } => {
                self.let_go(&partitions).await;
                ack.done();
                Ok(())
            }
            ConsumerEvent::Lost { partitions } => {
                tracing::warn!(
                    "member {} of group `{}` lost {} partitions: what was not flushed of them is dropped",
                    self.index,
                    self.config.group,
                    partitions.len()
                );
                self.forget(&partitions);
                // The lanes' deltas hold parts of what is lost: none of them may be written.
                self.spoil();
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

    async fn batch(&mut self, batch: FetchedBatch) -> Result<(), LaneGone> {
        let partition = batch.topic_partition();
        let Some(owned) = self.owned.get_mut(&partition) else { return Ok(()) };
        // Below where it should have begun only if the log was cut or made anew.
        owned.began = Some(owned.began.map_or(batch.first_offset(), |began| began.min(batch.first_offset())));
        if self.spoilt {
            // Read again after the rewind, which goes back to where reading began at the latest.
            return Ok(());
        }
        owned.read = Some(batch.next_offset());
        self.unflushed_bytes += batch.size();
        Stats::count(&self.stats.bytes, batch.size() as u64);
        let flush_at = self.flush_at.get_or_insert_with(|| Instant::now() + self.config.flush_interval);
        if self.unflushed_bytes >= self.config.unflushed_bytes_max / 2 {
            // Ahead of the interval, so that reading goes on while this half is written.
            *flush_at = Instant::now();
        }
        self.pool.batch(batch).await
    }

    fn assigned(&mut self, added: Vec<TopicPartition>, all: &[TopicPartition], start: Start) {
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
        if !added.is_empty() {
            self.unclaimed.extend(added);
            self.starts.push(start);
            self.claim_at = Instant::now();
        }
    }

    /// Claims what was assigned and starts it at the largest of the stores' positions and the group's committed offset.
    async fn claim(&mut self) {
        let Some((sink, _)) = &mut self.writers else { return };
        let positions = async {
            let claims = sink.claim(&self.unclaimed).await.map_err(|e| chain(&e))?;
            let committed = self.handle.committed(&self.unclaimed).await.map_err(|e| chain(&e))?;
            Ok::<_, String>((claims, committed))
        };
        let (claims, committed) = match positions.await {
            Ok(found) => found,
            Err(why) => {
                tracing::error!(
                    "group `{}` cannot claim its partitions, trying again in {:?}: {why}",
                    self.config.group,
                    self.claim_backoff
                );
                self.claim_at = Instant::now() + self.claim_backoff;
                self.claim_backoff = (self.claim_backoff * 2).min(BACKOFF_MAX);
                return;
            }
        };
        self.claim_backoff = BACKOFF;
        let committed: BTreeMap<TopicPartition, Offset> =
            committed.into_iter().filter_map(|(tp, o)| Some((tp, o?.offset))).collect();
        for claim in claims {
            let committed = committed.get(&claim.partition).copied();
            let began = claim.position.max(claim.resume).max(committed);
            if let Some(began) = began {
                // Each start knows what it is for, and passes the others over.
                for start in &mut self.starts {
                    start.at(claim.partition.clone(), began);
                }
            }
            self.owned.insert(
                claim.partition,
                Owned { epoch: claim.epoch, stored: claim.position, began, read: None },
            );
        }
        self.unclaimed.clear();
        self.starts.drain(..).for_each(Start::go);
    }

    /// Finishes, flushes and commits what is in hand of partitions that go to somebody else.
    async fn let_go(&mut self, partitions: &[TopicPartition]) {
        let patience = self.config.rebalance_timeout.mul_f32(0.8);
        if !self.owned.is_empty() && !self.drain(patience).await {
            tracing::error!(
                "group `{}`: what was read of the partitions that are revoked could not be flushed in time; their next owner reads it again",
                self.config.group
            );
            self.spoil();
        }
        self.forget(partitions);
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.owned.remove(partition);
        }
        self.unclaimed.retain(|tp| !partitions.contains(tp));
        if self.unclaimed.is_empty() {
            self.starts.clear();
        }
    }

    /// What the lanes have may not be written any more.
    fn spoil(&mut self) {
        self.spoilt = true;
        self.claim_at = Instant::now();
        self.claim_backoff = BACKOFF;
    }

    /// Drops what the lanes have, and claims and reads again what is still ours: only if the group says that it is.
    async fn rewind(&mut self) -> Result<(), LaneGone> {
        drop(self.pool.take().await?);
        self.unflushed_bytes = 0;
        self.flush_at = None;
        if !self.owned.is_empty() {
            // A commit in our generation is the coordinator's word that the partitions are ours. What it says is no news: the store has
            // it already, or reading began there. A zombie is refused here, and never claims what another has claimed.
            let known: Vec<(TopicPartition, Offset)> =
                self.owned.iter().filter_map(|(tp, o)| Some((tp.clone(), o.resume()?))).collect();
            if let Err(e) = self.handle.commit(known).await {
                tracing::warn!(
                    "group `{}` does not confirm this member's partitions yet: {e}",
                    self.config.group
                );
                self.claim_at = Instant::now() + self.claim_backoff;
                self.claim_backoff = (self.claim_backoff * 2).min(BACKOFF_MAX);
                return Ok(());
            }
        }
        let partitions: Vec<TopicPartition> = self.owned.keys().cloned().collect();
        let Some((sink, _)) = &mut self.writers else { return Ok(()) };
        match sink.claim(&partitions).await {
            Err(e) => {
                tracing::error!(
                    "group `{}` cannot claim its partitions again: {}",
                    self.config.group,
                    chain(&e)
                );
                self.claim_at = Instant::now() + self.claim_backoff;
                self.claim_backoff = (self.claim_backoff * 2).min(BACKOFF_MAX);
            }
            Ok(claims) => {
                for claim in claims {
                    let Some(owned) = self.owned.get_mut(&claim.partition) else { continue };
                    (owned.epoch, owned.stored, owned.read) = (claim.epoch, claim.position, None);
                    // Whoever had it meanwhile may have written into another store of the group.
                    owned.began = owned.began.max(claim.resume);
                    if let Some(from) = owned.resume() {
                        self.handle.seek(&claim.partition, SeekTo::Offset(from));
                    }
                }
                self.spoilt = false;
            }
        }
        Ok(())
    }

    /// Starts a flush of everything that the lanes have, if there is something and none is under way.
    async fn begin_flush(&mut self) -> Result<(), LaneGone> {
        self.flush_at = None;
        let taken = self.pool.take().await?;
        let Some((sink, letters)) = self.writers.take() else { return Ok(()) };
        let progress: Vec<Progress> = self
            .owned
            .iter()
            .filter_map(|(tp, o)| {
                let to = o.read.filter(|read| Some(*read) != o.stored)?;
                Some(Progress { partition: tp.clone(), epoch: o.epoch, from: o.stored, to })
            })
            .collect();
        if progress.is_empty() {
            self.writers = Some((sink, letters));
            return Ok(());
        }
        let mut dead = Vec::new();
        let deltas = taken
            .into_iter()
            .map(|t| {
                dead.extend(t.letters);
                t.delta
            })
            .collect();
        Stats::count(&self.stats.dead_letters, dead.len() as u64);
        let batch = Arc::new(FlushBatch { deltas, progress: progress.clone() });
        let bytes = std::mem::take(&mut self.unflushed_bytes);
        let task =
            tokio::spawn(write(sink, letters, batch, dead, self.stopping.clone(), self.config.group.clone()));
        self.flushing = Some(Flushing { task, progress, bytes });
        // What is under way still counts against the limit.
        self.unflushed_bytes = bytes;
        Ok(())
    }

    /// Takes note of how a flush ended.
    async fn settle(&mut self, (sink, letters, outcome): (S, Letters, Outcome)) {
        self.writers = Some((sink, letters));
        let Some(flushing) = self.flushing.take() else { return };
        self.unflushed_bytes = self.unflushed_bytes.saturating_sub(flushing.bytes);
        match outcome {
            Outcome::Done => {
                Stats::count(&self.stats.flushes, 1);
                let mut offsets = Vec::with_capacity(flushing.progress.len());
                for p in flushing.progress {
                    if let Some(owned) = self.owned.get_mut(&p.partition).filter(|o| o.epoch == p.epoch) {
                        owned.stored = Some(p.to);
                        offsets.push((p.partition, p.to));
                    }
                }
                if !offsets.is_empty() {
                    // The store's position is the truth; the group's offset follows it, for lag and for tools.
                    self.handle.commit_async(offsets);
                }
            }
            Outcome::Fenced => {
                Stats::count(&self.stats.fenced, 1);
                tracing::warn!(
                    "group `{}`: a flush was fenced, somebody else claimed a partition of member {}",
                    self.config.group,
                    self.index
                );
                self.spoil();
            }
            Outcome::GivenUp => self.spoil(),
        }
    }

    /// Finishes everything: `true` if all that was read is flushed and committed.
    async fn drain(&mut self, patience: Duration) -> bool {
        let all = async {
            loop {
                if self.flushing.is_some() {
                    let Ok(settled) = flush_ended(&mut self.flushing).await else { return false };
                    self.settle(settled).await;
                }
                if self.spoilt {
                    return false;
                }
                if self.begin_flush().await.is_err() {
                    return false;
                }
                if self.flushing.is_none() {
                    break;
                }
            }
            // Where nothing came yet, the place at which the consumer waits: a group that began at the end must go on there, or
            // what is written until its next owner comes would be before *its* end.
            let place = |tp: &TopicPartition, o: &Owned| o.resume().or_else(|| self.handle.position(tp));
            let done: Vec<(TopicPartition, Offset)> =
                self.owned.iter().filter_map(|(tp, o)| Some((tp.clone(), place(tp, o)?))).collect();
            if !done.is_empty()
                && let Err(e) = self.handle.commit(done).await
            {
                // No loss: the store knows its positions.
                tracing::warn!("group `{}`: the last offsets are not committed: {e}", self.config.group);
            }
            true
        };
        tokio::time::timeout(patience, all).await.unwrap_or(false)
    }
}

fn gone(e: LaneGone) -> String {
    e.to_string()
}

/// The group is told to stop.
pub(crate) async fn told(stopping: &mut watch::Receiver<bool>) {
    // The guard that `wait_for` gives must not live on.
    drop(stopping.wait_for(|stop| *stop).await);
}

async fn at(when: Option<Instant>) {
    match when {
        Some(when) => tokio::time::sleep_until(when).await,
        None => std::future::pending().await,
    }
}

/// The end of the flush that is under way, if there is one. Cancel safe: the task stays where it is.
async fn flush_ended<S>(flushing: &mut Option<Flushing<S>>) -> Result<(S, Letters, Outcome), String> {
    match flushing {
        Some(flushing) => (&mut flushing.task).await.map_err(|e| format!("the task of a flush ended: {e}")),
        None => std::future::pending().await,
    }
}

/// Dead letters first, then the store: trying for ever, unless the group stops.
async fn write<S: Sink>(
    mut sink: S,
    mut letters: Letters,
    batch: Arc<FlushBatch<S::Delta>>,
    dead: Vec<Letter>,
    mut stopping: watch::Receiver<bool>,
    group: String,
) -> (S, Letters, Outcome) {
    if !letters.send(&dead, &mut stopping).await {
        return (sink, letters, Outcome::GivenUp);
    }
    let (mut backoff, mut away) = (BACKOFF, false);
    loop {
        match sink.flush(Arc::clone(&batch)).await {
            Ok(Flushed::Done) => {
                if away {
                    tracing::info!("group `{group}`: the store is back");
                }
                return (sink, letters, Outcome::Done);
            }
            Ok(Flushed::Fenced) => return (sink, letters, Outcome::Fenced),
            Err(e) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::error!(
                        "group `{group}`: the store cannot be written; positions hold and nothing is lost: {}",
                        chain(&e)
                    );
                }
            }
        }
        if *stopping.borrow() && backoff >= BACKOFF * 8 {
            return (sink, letters, Outcome::GivenUp);
        }
        tokio::time::sleep(backoff).await;
        backoff = (backoff * 2).min(BACKOFF_MAX);
    }
}

/// An error and its causes in one line.
fn chain(e: &dyn std::error::Error) -> String {
    let mut line = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        line.push_str(": ");
        line.push_str(&c.to_string());
        cause = c.source();
    }
    line
}
