//! Where the processor time goes, for `kohort bench pipeline`. On the ordinary road nobody watches: then a lane and a sink
//! have `None` here and pay a branch.
//!
//! What a lane does with a batch, and what a flush does, are taken from the clock of the thread that does it, so that waiting and
//! other threads do not count. That clock is a system call, too dear for each message: how a lane's time divides into decoding and
//! aggregating is seen on one message of [`SAMPLED`], by the wall clock, and carried over to all.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Notify;

/// One message of so many is looked at closely.
const SAMPLED: u64 = 32;

/// Gathers what all lanes and sinks of a service spend.
#[derive(Debug)]
pub struct Stages {
    began: Instant,
    /// Nanoseconds since `began`, and one, of the first record; 0 until there was one.
    first: AtomicU64,
    /// Nanoseconds since `began` at which the last flush was stored.
    last: AtomicU64,
    lanes: AtomicU64,
    sampled_decode: AtomicU64,
    sampled_aggregate: AtomicU64,
    merging: AtomicU64,
    storing: AtomicU64,
    trades: AtomicU64,
    candles: AtomicU64,
    flushes: AtomicU64,
    stored: AtomicU64,
    news: Notify,
}

/// What was spent until now.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spent {
    /// From the first record handled to the last candle stored.
    pub wall: Duration,
    /// JSON to trades, and pairs to numbers.
    pub decode: Duration,
    /// Trades to minutes, minutes merged over lanes and rolled up.
    pub aggregate: Duration,
    /// The store's transactions.
    pub store: Duration,
    /// Trades that went into candles.
    pub trades: u64,
    /// Candles written, each time they were.
    pub candles: u64,
    /// Transactions.
    pub flushes: u64,
}

impl Default for Stages {
    fn default() -> Stages {
        Stages {
            began: Instant::now(),
            first: AtomicU64::new(0),
            last: AtomicU64::new(0),
            lanes: AtomicU64::new(0),
            sampled_decode: AtomicU64::new(0),
            sampled_aggregate: AtomicU64::new(0),
            merging: AtomicU64::new(0),
            storing: AtomicU64::new(0),
            trades: AtomicU64::new(0),
            candles: AtomicU64::new(0),
            flushes: AtomicU64::new(0),
            stored: AtomicU64::new(0),
            news: Notify::new(),
        }
    }
}

impl Stages {
    /// Waits until so many records are stored with their positions.
    pub async fn until_stored(&self, records: u64) {
        loop {
            let news = self.news.notified();
            if self.stored() >= records {
                return;
            }
            news.await;
        }
    }

    /// Records that are stored with their positions.
    pub fn stored(&self) -> u64 {
        self.stored.load(Ordering::Acquire)
    }

    /// What was spent until now.
    pub fn spent(&self) -> Spent {
        let read = |counter: &AtomicU64| counter.load(Ordering::Acquire);
        let (decode, aggregate) = (read(&self.sampled_decode), read(&self.sampled_aggregate));
        let share = decode as f64 / (decode + aggregate).max(1) as f64;
        let lanes = Duration::from_nanos(read(&self.lanes));
        let decode = lanes.mul_f64(share);
        Spent {
            wall: Duration::from_nanos(read(&self.last).saturating_sub(read(&self.first))),
            decode,
            aggregate: lanes.saturating_sub(decode) + Duration::from_nanos(read(&self.merging)),
            store: Duration::from_nanos(read(&self.storing)),
            trades: read(&self.trades),
            candles: read(&self.candles),
            flushes: read(&self.flushes),
        }
    }

    fn now(&self) -> u64 {
        nanos(self.began.elapsed())
    }

    /// A sink's part: merges and stores, and then says how many candles and records that were.
    pub(crate) fn merged(&self, since: ThreadClock) {
        self.merging.fetch_add(nanos(since.elapsed()), Ordering::Relaxed);
    }

    /// A flush was stored that began to be at `since`.
    pub(crate) fn flushed(&self, since: ThreadClock, candles: usize, records: u64) {
        self.storing.fetch_add(nanos(since.elapsed()), Ordering::Relaxed);
        self.candles.fetch_add(candles as u64, Ordering::Relaxed);
        self.flushes.fetch_add(1, Ordering::Relaxed);
        self.last.fetch_max(self.now(), Ordering::Relaxed);
        self.stored.fetch_add(records, Ordering::Release);
        self.news.notify_waiters();
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The processor time of the thread that made it; read it on the same thread.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ThreadClock(Duration);

impl ThreadClock {
    pub(crate) fn now() -> ThreadClock {
        let time = clock_gettime(ClockId::ThreadCPUTime);
        ThreadClock(Duration::new(
            u64::try_from(time.tv_sec).unwrap_or(0),
            u32::try_from(time.tv_nsec).unwrap_or(0),
        ))
    }

    pub(crate) fn elapsed(self) -> Duration {
        ThreadClock::now().0.saturating_sub(self.0)
    }
}

/// A lane's own part of the watch.
#[derive(Debug)]
pub(crate) struct LaneWatch {
    stages: Arc<Stages>,
    batch: Option<ThreadClock>,
    messages: u64,
    trades: u64,
}

impl LaneWatch {
    pub(crate) fn new(stages: Arc<Stages>) -> LaneWatch {
        LaneWatch { stages, batch: None, messages: 0, trades: 0 }
    }

    /// A message is about to be handled; `Some` if it is one of those that are looked at closely.
    #[inline]
    pub(crate) fn message(&mut self) -> Option<Instant> {
        if self.batch.is_none() {
            self.batch = Some(ThreadClock::now());
            let first = self.stages.now().max(1);
            // Only the first of all lanes counts.
            let _ = self.stages.first.compare_exchange(0, first, Ordering::Relaxed, Ordering::Relaxed);
        }
        self.messages += 1;
        self.messages.is_multiple_of(SAMPLED).then(Instant::now)
    }

    /// So many trades of a message are in candles.
    pub(crate) fn trades(&mut self, trades: u64) {
        self.trades += trades;
    }

    /// A message that was looked at: begun, decoded, and aggregated just now.
    pub(crate) fn sampled(&self, begun: Instant, decoded: Instant) {
        let (decode, aggregate) = (decoded.duration_since(begun), decoded.elapsed());
        self.stages.sampled_decode.fetch_add(nanos(decode), Ordering::Relaxed);
        self.stages.sampled_aggregate.fetch_add(nanos(aggregate), Ordering::Relaxed);
    }

    /// The batch is over.
    pub(crate) fn batch_done(&mut self) {
        if let Some(since) = self.batch.take() {
            self.stages.lanes.fetch_add(nanos(since.elapsed()), Ordering::Relaxed);
            self.stages.trades.fetch_add(std::mem::take(&mut self.trades), Ordering::Relaxed);
        }
    }

    /// A hand-over for a flush that began at `since`.
    pub(crate) fn taken(&self, since: ThreadClock) {
        self.stages.merged(since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lanes_time_is_divided_as_its_samples_are() {
        let stages = Arc::new(Stages::default());
        let mut watch = LaneWatch::new(Arc::clone(&stages));
        let mut samples = 0;
        for _ in 0..3 * SAMPLED {
            samples += u64::from(watch.message().is_some());
        }
        assert_eq!(samples, 3);
        watch.batch_done();
        stages.lanes.store(1_000, Ordering::Relaxed);
        stages.sampled_decode.store(3, Ordering::Relaxed);
        stages.sampled_aggregate.store(1, Ordering::Relaxed);
        let spent = stages.spent();
        assert_eq!((spent.decode.as_nanos(), spent.aggregate.as_nanos()), (750, 250));
    }

    #[tokio::test]
    async fn who_waits_for_records_hears_of_the_flush_that_stored_them() {
        let stages = Arc::new(Stages::default());
        let waiting = tokio::spawn({
            let stages = Arc::clone(&stages);
            async move { stages.until_stored(10).await }
        });
        stages.flushed(ThreadClock::now(), 3, 4);
        tokio::task::yield_now().await;
        stages.flushed(ThreadClock::now(), 3, 6);
        waiting.await.unwrap();
        assert_eq!((stages.spent().candles, stages.spent().flushes, stages.stored()), (6, 2, 10));
    }
}
