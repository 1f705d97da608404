//! What a member with handlers does: records to the lanes, and commits of what the watermark has passed.

use std::collections::BTreeMap;
use std::sync::Arc;

use kohort_client::{Client, ConsumerHandle, FetchedBatch, Offset, OffsetAndMetadata, Start, TopicPartition};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::group::{GroupConfig, Seat};
use crate::handler::{Done, Handler, Job, Lane};
use crate::lane::Lanes;
use crate::letters::Letters;
use crate::member::{Drained, Work};
use crate::retry::Retries;
use crate::stats::Stats;
use crate::watermark::Watermark;

/// Batches that wait before a lane.
const QUEUED_BATCHES: usize = 4;

struct Owned {
    epoch: u64,
    /// Dropped with the partition: the lanes that have records of it see that.
    ours: watch::Sender<bool>,
    watermark: Option<Watermark>,
    committed: Offset,
}

/// The records that a member's handlers have in hand.
pub(crate) struct Handled {
    config: Arc<GroupConfig>,
    handle: ConsumerHandle,
    lanes: Vec<mpsc::Sender<Job>>,
    tasks: JoinSet<()>,
    done: mpsc::UnboundedReceiver<Done>,
    room: Arc<Notify>,
    owned: BTreeMap<TopicPartition, Owned>,
    next_epoch: u64,
    commit_at: Instant,
    stats: Arc<Stats>,
    stopping: watch::Receiver<bool>,
}

/// What there is to do.
pub(crate) enum Step {
    Done(Done),
    /// A lane has room again.
    Room,
    Commit,
}

impl Handled {
    pub(crate) fn new<H: Handler>(seat: &Seat, client: &Client, retries: &Retries, handler: &Arc<H>) -> Self {
        let Seat { config, handle, stats, stopping, .. } = seat;
        let (finished, done) = mpsc::unbounded_channel();
        let room = Arc::new(Notify::new());
        let which = Lanes::new(config.order, config.processors);
        let mut tasks = JoinSet::new();
        let lanes = (0..which.count())
            .map(|lane| {
                let (queue, jobs) = mpsc::channel(QUEUED_BATCHES);
                let lane = Lane {
                    index: lane,
                    which,
                    handler: Arc::clone(handler),
                    retries: retries.clone(),
                    letters: Letters::new(client.clone(), config.dead_letters(), config.group.clone()),
                    finished: finished.clone(),
                    room: Arc::clone(&room),
                    stats: Arc::clone(stats),
                    stopping: stopping.clone(),
                };
                tasks.spawn(lane.run(jobs));
                queue
            })
            .collect();
        Self {
            config: Arc::clone(config),
            handle: handle.clone(),
            lanes,
            tasks,
            done,
            room,
            owned: BTreeMap::new(),
            next_epoch: 1,
            commit_at: Instant::now() + config.flush_interval,
            stats: Arc::clone(stats),
            stopping: stopping.clone(),
        }
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
            self.owned.remove(partition);
        }
    }

    /// What has moved since the last commit.
    fn moved(&mut self) -> Vec<(TopicPartition, Offset)> {
        let moved = self.owned.iter_mut().filter_map(|(partition, owned)| {
            let offset = owned.watermark.as_ref()?.committable();
            (std::mem::replace(&mut owned.committed, offset) != offset).then(|| (partition.clone(), offset))
        });
        moved.collect()
    }
}

/// Said of a lane that ends before it is told to.
const GONE: &str = "a lane has ended: its handler panicked";

impl Work for Handled {
    type Step = Step;

    /// A full lane stops the reading.
    fn reads(&self) -> bool {
        self.lanes.iter().all(|lane| lane.capacity() > 0)
    }

    async fn next(&mut self) -> Result<Step, String> {
        let stops = *self.stopping.borrow();
        tokio::select! {
            Some(done) = self.done.recv() => Ok(Step::Done(done)),
            () = self.room.notified() => Ok(Step::Room),
            // At the end a lane goes ahead of the member.
            Some(_) = self.tasks.join_next(), if !stops => match *self.stopping.borrow() {
                true => Ok(Step::Room),
                false => Err(GONE.to_owned()),
            },
            () = tokio::time::sleep_until(self.commit_at) => Ok(Step::Commit),
        }
    }

    async fn step(&mut self, step: Step) -> Result<(), String> {
        match step {
            Step::Done(done) => {
                self.finish(&done);
                while let Ok(done) = self.done.try_recv() {
                    self.finish(&done);
                }
            }
            Step::Room => {}
            Step::Commit => {
                let offsets = self.moved();
                if !offsets.is_empty() {
                    self.handle.commit_async(offsets);
                }
                self.commit_at = Instant::now() + self.config.flush_interval;
            }
        }
        Ok(())
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
        let job = Job { batch, epoch: owned.epoch, ours: owned.ours.subscribe() };
        for lane in &self.lanes {
            // There is room: batches are read only then. At the end a lane goes ahead of the member.
            if lane.send(job.clone()).await.is_err() && !*self.stopping.borrow() {
                return Err(GONE.to_owned());
            }
        }
        Ok(())
    }

    fn assigned(&mut self, added: Vec<TopicPartition>, start: Start) {
        for partition in added {
            let epoch = self.next_epoch;
            self.next_epoch += 1;
            let ours = watch::Sender::new(false);
            self.owned.insert(partition, Owned { epoch, ours, watermark: None, committed: -1 });
        }
        start.go();
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.forget(partitions);
    }

    async fn drain(&mut self) -> Result<Drained, String> {
        let busy = self.owned.values().any(|o| o.watermark.as_ref().is_some_and(|w| !w.is_drained()));
        Ok(if busy { Drained::NotYet } else { Drained::All })
    }

    fn committable(&mut self, _: bool) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        for owned in self.owned.values_mut() {
            owned.committed = -1;
        }
        self.moved().into_iter().map(|(partition, offset)| (partition, offset.into())).collect()
    }

    fn let_go(&mut self, partitions: &[TopicPartition], drained: bool) {
        if !drained {
            tracing::warn!(
                "group `{}`: handlers did not finish within the rebalance timeout; what they had goes to the next owner",
                self.config.group
            );
        }
        self.forget(partitions);
    }
}
