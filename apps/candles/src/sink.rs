//! A member's way into the store: claims, and flushes with their positions.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Instant, SystemTime};

use kohort_client::TopicPartition;
use kohort_runtime::{Claim, FlushBatch, Flushed, Progress, Sink};
use kohort_service::health::Part;
use market_data::Deltas;
use market_store::{Advance, CandleStore, Flush, FlushError, GroupClaim, GroupStores, StoreError};
use thiserror::Error;

use crate::counters::Counters;
use crate::hub::Hub;
use crate::lane::LaneDeltas;
use crate::stages::{Stages, ThreadClock};

/// The store that all members of the process write, one at a time.
pub type SharedStore = Arc<Mutex<Box<dyn CandleStore>>>;

/// A member's sink.
pub(crate) struct StoreSink {
    store: SharedStore,
    /// All stores of the group, our own among them. Locked, because a claim whose waiting was given up may still be under way.
    claims: Arc<Mutex<GroupStores>>,
    hub: Hub,
    group: String,
    counters: Counters,
    stages: Option<Arc<Stages>>,
    health: Part,
}

/// Why the store was not reached.
#[derive(Debug, Error)]
pub(crate) enum SinkError {
    /// It said so.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Our own mistake: the thread that asked it panicked.
    #[error("the store's thread ended")]
    Thread(#[source] tokio::task::JoinError),
}

impl StoreSink {
    pub(crate) fn new(
        store: SharedStore,
        claims: GroupStores,
        hub: Hub,
        group: String,
        counters: Counters,
        stages: Option<Arc<Stages>>,
        health: Part,
    ) -> StoreSink {
        StoreSink { store, claims: Arc::new(Mutex::new(claims)), hub, group, counters, stages, health }
    }

    /// Works on a thread that may block, and takes note of how that ended.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, SinkError> {
        let done = tokio::task::spawn_blocking(work).await.map_err(SinkError::Thread)?;
        match &done {
            Ok(_) => self.health.works(),
            Err(error) if !error.is_retriable() => self.health.refused(error),
            Err(_) => {}
        }
        Ok(done?)
    }
}

fn stored(partition: &TopicPartition) -> market_store::TopicPartition {
    market_store::TopicPartition::new(partition.topic.to_string(), partition.partition)
}

impl Sink for StoreSink {
    type Delta = LaneDeltas;
    type Error = SinkError;

    fn may_go_back(&self) -> Option<String> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner).may_go_back()
    }

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, SinkError> {
        let (stores, group) = (Arc::clone(&self.claims), self.group.clone());
        let wanted: Vec<_> = partitions.iter().map(stored).collect();
        let claims = self
            .blocking(move || stores.lock().unwrap_or_else(PoisonError::into_inner).claim(&group, &wanted));
        let claim = |(partition, claim): (&TopicPartition, GroupClaim)| Claim {
            partition: partition.clone(),
            epoch: claim.epoch,
            position: claim.position,
            resume: claim.resume,
        };
        Ok(partitions.iter().zip(claims.await?).map(claim).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<LaneDeltas>>) -> Result<Flushed, SinkError> {
        let (store, hub) = (Arc::clone(&self.store), self.hub.clone());
        let (group, counters, stages) = (self.group.clone(), self.counters.clone(), self.stages.clone());
        self.blocking(move || flush(&store, &hub, &group, &counters, stages.as_deref(), &batch)).await
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, SinkError> {
        let (stores, group, counters) = (Arc::clone(&self.claims), self.group.clone(), self.counters.clone());
        let steps: Vec<Advance> = steps.iter().map(advance).collect();
        self.blocking(move || {
            let went_back = stores.lock().unwrap_or_else(PoisonError::into_inner).go_back(&group, &steps);
            written(went_back, &group, &counters)
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

/// A fence is an answer, not a failure.
fn written(outcome: Result<(), FlushError>, group: &str, counters: &Counters) -> Result<Flushed, StoreError> {
    match outcome {
        Ok(()) => Ok(Flushed::Done),
        Err(error @ FlushError::Fenced { .. }) => {
            counters.fenced.add(1);
            tracing::warn!("group `{group}`: {error}");
            Ok(Flushed::Fenced)
        }
        Err(FlushError::Store(error)) => Err(error),
    }
}

fn flush(
    store: &SharedStore,
    hub: &Hub,
    group: &str,
    counters: &Counters,
    stages: Option<&Stages>,
    batch: &FlushBatch<LaneDeltas>,
) -> Result<Flushed, StoreError> {
    let clock = || stages.map(|stages| (stages, ThreadClock::now()));
    let merging = clock();
    let advances: Vec<Advance> = batch.progress.iter().map(advance).collect();
    let parts = batch.deltas.iter().flat_map(|lane| lane.deltas.iter().cloned());
    let mut deltas = Deltas::merge(parts.collect());
    deltas.roll_up();
    if let Some((stages, since)) = merging {
        stages.merged(since);
    }
    let since = Instant::now();
    let now =
        SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs().cast_signed());
    // Held until the hub knows, so that it hears of commits in their order.
    let mut store = store.lock().unwrap_or_else(PoisonError::into_inner);
    let storing = clock();
    match store.flush(&Flush { group, advances: &advances, deltas: &deltas, now }) {
        Ok(flushed) => {
            counters.flushed(since, &flushed);
            if let Some((stages, since)) = storing {
                stages.flushed(since, flushed.candles.len(), records(&batch.progress));
            }
            let newest = deltas
                .candles
                .iter()
                .filter_map(|d| d.candle.prices())
                .map(|p| p.close_order.block_time)
                .max();
            if let Some(newest) = newest {
                counters.last_trade_at.set(newest.max(counters.last_trade_at.value()));
            }
            batch.deltas.iter().for_each(|lane| lane.stored.store(true, Ordering::Relaxed));
            if let Some(lane) = batch.deltas.first() {
                hub.flushed(lane.member, lane.flush, Arc::new(deltas), flushed.candles);
            }
            Ok(Flushed::Done)
        }
        Err(error) => written(Err(error), group, counters),
    }
}

/// Records by which the partitions move. One that nobody has stored anything of is taken to begin at 0.
fn records(progress: &[Progress]) -> u64 {
    progress.iter().map(|step| (step.to - step.from.unwrap_or(0)).unsigned_abs()).sum()
}
