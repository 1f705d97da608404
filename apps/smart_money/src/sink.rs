//! A member's way into the log: claims, and flushes with their positions.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Instant, SystemTime};

use kohort_client::TopicPartition;
use kohort_runtime::{Claim, FlushBatch, Flushed, Progress, Sink};
use kohort_service::health::Part;
use market_data::wallets::WalletTrade;
use market_store::wallets::{LogFlush, Rules, WalletStore};
use market_store::{Advance, FlushError, StoreError};
use thiserror::Error;

use crate::book::{KeepError, Keeper};
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
    pub(crate) keeper: Keeper,
    pub(crate) health: Part,
}

/// Why the log was not reached.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    /// It said so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It is not known yet whose trades belong there.
    #[error(transparent)]
    Book(#[from] KeepError),
    /// Our own mistake: the thread that asked it panicked.
    #[error("the log's thread ended")]
    Thread(#[source] tokio::task::JoinError),
}

impl SinkError {
    fn is_retriable(&self) -> bool {
        match self {
            SinkError::Store(error) => error.is_retriable(),
            SinkError::Book(error) => error.is_retriable(),
            SinkError::Thread(_) => true,
        }
    }
}

fn stored(partition: &TopicPartition) -> market_store::TopicPartition {
    market_store::TopicPartition::new(partition.topic.to_string(), partition.partition)
}

impl Sink for LogSink {
    type Delta = Vec<WalletTrade>;
    type Error = SinkError;

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, SinkError> {
        let wanted: Vec<_> = partitions.iter().map(stored).collect();
        let claims = self.blocking(move |sink| {
            // No record is read before its partition is claimed: so none is judged before it is known who is known.
            sink.keeper.load()?;
            Ok(sink.log().claim(&sink.group, &wanted)?)
        });
        let claim = |(partition, claim): (&TopicPartition, market_store::Claim)| Claim {
            partition: partition.clone(),
            epoch: claim.epoch,
            position: claim.position,
            resume: claim.position,
        };
        Ok(partitions.iter().zip(claims.await?).map(claim).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<Vec<WalletTrade>>>) -> Result<Flushed, SinkError> {
        self.blocking(move |sink| Ok(sink.write(&batch)?)).await
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, SinkError> {
        let steps: Vec<Advance> = steps.iter().map(advance).collect();
        self.blocking(move |sink| {
            let went_back = sink.log().advance(&sink.group, &steps);
            Ok(sink.written(went_back)?)
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
    /// Works on a thread that may block, and takes note of how that ended.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&LogSink) -> Result<T, SinkError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let sink = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&sink))
            .await
            .unwrap_or_else(|error| Err(SinkError::Thread(error)));
        match &done {
            Ok(_) => self.health.works(),
            Err(error) if !error.is_retriable() => self.health.refused(error),
            Err(_) => {}
        }
        done
    }

    fn log(&self) -> MutexGuard<'_, Box<dyn WalletStore>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self, batch: &FlushBatch<Vec<WalletTrade>>) -> Result<Flushed, StoreError> {
        let advances: Vec<Advance> = batch.progress.iter().map(advance).collect();
        let trades = batch.deltas.concat();
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs().cast_signed());
        let flush =
            LogFlush { group: &self.group, advances: &advances, trades: &trades, now, rules: &self.rules };
        let since = Instant::now();
        let written = self.log().log(&flush);
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
