//! The other way to plug work in: an async handler, called for each record, with retries, dead letters and watermark commits.
//!
//! Handlers of different lanes run side by side; within a lane, one after the other. A record that fails is tried again in its place:
//! only its lane waits. What is committed is the [`Watermark`]: never an offset above one that is not done.

use std::future::Future;
use std::sync::Arc;

use kohort_client::{Client, FetchedBatch, Offset, OwnedRecord, TopicPartition};
use tokio::sync::{Notify, mpsc, watch};

use crate::group::{GroupConfig, Running, StartError};
use crate::handled::Handled;
use crate::lane::Lanes;
use crate::letters::{Letter, Letters};
use crate::member::told;
use crate::retry::{Next, Retries};
use crate::stats::Stats;

/// Handles records.
pub trait Handler: Send + Sync + 'static {
    /// Handles one record. May be called again for the same record: after an error, a crash, or a rebalance.
    ///
    /// The future is dropped where it stands when its partition goes to somebody else before it is done (a rebalance waits for it no
    /// longer than its timeout), or when the group stops without it: the record comes again, here or there.
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
        Running::start(client, config, |member| {
            let handler = handler(member.index);
            Handled::new(member, client, &retries, &handler)
        })
    }
}

/// A record is finished, whatever became of it.
pub(crate) struct Done {
    pub(crate) partition: TopicPartition,
    pub(crate) epoch: u64,
    pub(crate) offset: Offset,
}

/// A batch for the lanes: each takes its own records of it.
#[derive(Clone)]
pub(crate) struct Job {
    pub(crate) batch: FetchedBatch,
    pub(crate) epoch: u64,
    /// Closes when the partition is somebody else's.
    pub(crate) ours: watch::Receiver<bool>,
}

/// One lane: handles its records one after the other.
pub(crate) struct Lane<H> {
    pub(crate) index: usize,
    pub(crate) which: Lanes,
    pub(crate) handler: Arc<H>,
    pub(crate) retries: Retries,
    pub(crate) letters: Letters,
    pub(crate) finished: mpsc::UnboundedSender<Done>,
    /// Told when there is room for another batch.
    pub(crate) room: Arc<Notify>,
    pub(crate) stats: Arc<Stats>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl<H: Handler> Lane<H> {
    pub(crate) async fn run(mut self, mut jobs: mpsc::Receiver<Job>) {
        while let Some(mut job) = jobs.recv().await {
            self.room.notify_one();
            let partition = job.batch.topic_partition();
            for record in job.batch.records().map_while(Result::ok) {
                if self.which.of(partition.partition, record.offset, record.key) != self.index {
                    continue;
                }
                let offset = record.offset;
                let record = job.batch.to_owned(&record);
                let handled = tokio::select! {
                    biased;
                    handled = self.handle(record), if job.ours.has_changed().is_ok() => handled,
                    // A handler that hangs must not keep the lane from the partitions that the member still has.
                    () = told(&mut job.ours) => false,
                };
                if !handled {
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

    /// `false`: the group stops: the record is not finished.
    async fn handle(&mut self, record: OwnedRecord) -> bool {
        let mut attempt = 1;
        loop {
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
