//! A member's lanes at work: in the member's own task if there is one, else a task each behind a bounded queue.

use std::sync::Arc;

use bytes::Bytes;
use kohort_client::{FetchedBatch, OwnedRecord, Record};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::lane::Lanes;
use crate::letters::Letter;
use crate::stats::Stats;
use crate::worker::{Reject, Worker};

/// Batches that wait before a lane: enough to keep it busy, few enough that a slow lane stops the reading soon.
const QUEUED_BATCHES: usize = 4;

/// What a lane hands over at a flush.
pub(crate) struct Taken<D> {
    pub(crate) delta: D,
    pub(crate) letters: Vec<Letter>,
}

/// One lane: its worker, and what it rejected since the last flush.
struct Lane<W> {
    worker: W,
    index: usize,
    lanes: Lanes,
    letters: Vec<Letter>,
    stats: Arc<Stats>,
}

impl<W: Worker> Lane<W> {
    /// Handles those records of a batch that belong to this lane.
    fn batch(&mut self, batch: &FetchedBatch) {
        let mut handled = 0;
        for record in batch.records() {
            let record = match record {
                Ok(record) => record,
                Err(e) => {
                    // Behind a valid checksum: nobody will ever read the rest of this batch. One lane says so.
                    if self.index == 0 {
                        let reason = format!(
                            "the rest of the batch at offset {} cannot be read: {e}",
                            batch.first_offset()
                        );
                        self.letters.push(Letter { record: unreadable(batch), reason });
                    }
                    break;
                }
            };
            if self.lanes.of(batch.partition(), record.offset, record.key) != self.index {
                continue;
            }
            handled += 1;
            if let Err(reject) = self.worker.record(batch, &record) {
                self.reject(batch, &record, reject);
            }
        }
        Stats::count(&self.stats.records, handled);
        self.worker.batch_done();
    }

    #[cold]
    fn reject(&mut self, batch: &FetchedBatch, record: &Record<'_>, reject: Reject) {
        tracing::warn!(
            "record {} of {}-{} goes to the dead letters: {}",
            record.offset,
            batch.topic(),
            batch.partition(),
            reject.0
        );
        self.letters.push(Letter { record: batch.to_owned(record), reason: reject.0 });
    }

    fn take(&mut self) -> Taken<W::Delta> {
        Taken { delta: self.worker.take(), letters: std::mem::take(&mut self.letters) }
    }
}

fn unreadable(batch: &FetchedBatch) -> OwnedRecord {
    OwnedRecord {
        topic: batch.topic_shared(),
        partition: batch.partition(),
        offset: batch.first_offset(),
        timestamp: batch.header().max_timestamp,
        key: None,
        value: None::<Bytes>,
        headers: Vec::new(),
    }
}

enum Work<D> {
    Batch(FetchedBatch),
    Take(oneshot::Sender<Taken<D>>),
}

/// All lanes of a member.
pub(crate) struct Pool<W: Worker> {
    kind: Kind<W>,
}

enum Kind<W: Worker> {
    Inline(Box<Lane<W>>),
    Tasks { queues: Vec<mpsc::Sender<Work<W::Delta>>>, _tasks: JoinSet<()> },
}

/// A lane's task is gone: its worker panicked.
#[derive(Debug, thiserror::Error)]
#[error("a lane has ended: its worker panicked")]
pub(crate) struct LaneGone;

impl<W: Worker> Pool<W> {
    pub(crate) fn new(lanes: Lanes, stats: &Arc<Stats>, mut worker: impl FnMut(usize) -> W) -> Self {
        let mut lane = |index| Lane {
            worker: worker(index),
            index,
            lanes,
            letters: Vec::new(),
            stats: Arc::clone(stats),
        };
        if lanes.count() == 1 {
            return Self { kind: Kind::Inline(Box::new(lane(0))) };
        }
        let mut tasks = JoinSet::new();
        let queues = (0..lanes.count())
            .map(|index| {
                let (queue, mut work) = mpsc::channel(QUEUED_BATCHES);
                let mut lane = lane(index);
                tasks.spawn(async move {
                    while let Some(work) = work.recv().await {
                        match work {
                            Work::Batch(batch) => lane.batch(&batch),
                            // Whoever asked may have been stopped.
                            Work::Take(to) => drop(to.send(lane.take())),
                        }
                    }
                });
                queue
            })
            .collect();
        Self { kind: Kind::Tasks { queues, _tasks: tasks } }
    }

    /// Hands a batch to the lanes; waits while a lane's queue is full.
    pub(crate) async fn batch(&mut self, batch: FetchedBatch) -> Result<(), LaneGone> {
        match &mut self.kind {
            Kind::Inline(lane) => lane.batch(&batch),
            Kind::Tasks { queues, .. } => {
                for queue in queues {
                    queue.send(Work::Batch(batch.clone())).await.map_err(|_| LaneGone)?;
                }
            }
        }
        Ok(())
    }

    /// Waits until all that was handed out is handled, and takes what it came to.
    pub(crate) async fn take(&mut self) -> Result<Vec<Taken<W::Delta>>, LaneGone> {
        match &mut self.kind {
            Kind::Inline(lane) => Ok(vec![lane.take()]),
            Kind::Tasks { queues, .. } => {
                let mut answers = Vec::with_capacity(queues.len());
                for queue in queues {
                    let (to, answer) = oneshot::channel();
                    queue.send(Work::Take(to)).await.map_err(|_| LaneGone)?;
                    answers.push(answer);
                }
                let mut all = Vec::with_capacity(answers.len());
                for answer in answers {
                    all.push(answer.await.map_err(|_| LaneGone)?);
                }
                Ok(all)
            }
        }
    }
}
