//! A member's way into the log: claims, and flushes with their positions.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use kohort_client::TopicPartition;
use kohort_runtime::{Claim, FlushBatch, Flushed, Progress, Sink};
use market_data::wallets::WalletTrade;
use market_store::wallets::{LogFlush, Rules, WalletStore};
use market_store::{Advance, FlushError, StoreError};
use thiserror::Error;

use crate::counters::Counters;
use crate::notify::Wake;

/// The log that all members of the process write, one at a time.
pub(crate) type SharedLog = Arc<Mutex<Box<dyn WalletStore>>>;

/// A member's sink.
#[derive(Clone)]
pub(crate) struct LogSink {
    pub(crate) log: SharedLog,
    pub(crate) group: String,
    pub(crate) rules: Arc<Rules>,
    pub(crate) counters: Counters,
    pub(crate) wake: Wake,
}

/// Why the log was not reached.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    /// It said so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own mistake: the thread that asked it panicked.
    #[error("the log's thread ended")]
    Thread(#[source] tokio::task::JoinError),
}

/// Runs on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, SinkError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => Ok(result?),
        Err(error) => Err(SinkError::Thread(error)),
    }
}

fn stored(partition: &TopicPartition) -> market_store::TopicPartition {
    market_store::TopicPartition::new(partition.topic.to_string(), partition.partition)
}

impl Sink for LogSink {
    type Delta = Vec<WalletTrade>;
    type Error = SinkError;

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, SinkError> {
        let (log, group) = (Arc::clone(&self.log), self.group.clone());
        let wanted: Vec<_> = partitions.iter().map(stored).collect();
        let claims =
            blocking(move || log.lock().unwrap_or_else(PoisonError::into_inner).claim(&group, &wanted));
        let claim = |(partition, claim): (&TopicPartition, market_store::Claim)| Claim {
            partition: partition.clone(),
            epoch: claim.epoch,
            position: claim.position,
            resume: claim.position,
        };
        Ok(partitions.iter().zip(claims.await?).map(claim).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<Vec<WalletTrade>>>) -> Result<Flushed, SinkError> {
        let sink = self.clone();
        blocking(move || sink.write(&batch)).await
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, SinkError> {
        let sink = self.clone();
        let steps: Vec<Advance> = steps.iter().map(advance).collect();
        blocking(move || {
            let went_back =
                sink.log.lock().unwrap_or_else(PoisonError::into_inner).advance(&sink.group, &steps);
            sink.written(went_back)
        })
        .await
    }
}

fn advance(progress: &Progress) -> Advance {
    Advance {
        partition: stored(&progress.partition),
        epoch: progress.epoch,
        from: progress.from,
        to: progress.to,
    }
}

impl LogSink {
    fn write(&self, batch: &FlushBatch<Vec<WalletTrade>>) -> Result<Flushed, StoreError> {
        let advances: Vec<Advance> = batch.progress.iter().map(advance).collect();
        let trades = batch.deltas.concat();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().cast_signed());
        let flush =
            LogFlush { group: &self.group, advances: &advances, trades: &trades, now, rules: &self.rules };
        let since = Instant::now();
        let written = self.log.lock().unwrap_or_else(PoisonError::into_inner).log(&flush);
        match written {
            Ok(logged) => {
                self.counters.flushed(since, trades.len(), &logged);
                if logged.notifications > 0 {
                    self.wake.wake();
                }
                Ok(Flushed::Done)
            }
            Err(error) => self.written(Err(error)),
        }
    }

    /// A fence is an answer, not a failure.
    fn written(&self, outcome: Result<(), FlushError>) -> Result<Flushed, StoreError> {
        match outcome {
            Ok(()) => Ok(Flushed::Done),
            Err(error @ FlushError::Fenced { .. }) => {
                self.counters.fenced.add(1);
                tracing::warn!("group `{}`: {error}", self.group);
                Ok(Flushed::Fenced)
            }
            Err(FlushError::Store(error)) => Err(error),
        }
    }
}
