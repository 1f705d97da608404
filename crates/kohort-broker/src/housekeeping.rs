//! What the logs need now and then: timed flushes, rest, retention, compaction. Never on a thread that answers requests.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;

use crate::broker::{Shared, now_ms};
use crate::catalog::Topic;
use crate::log::CompactionStats;
use crate::partition::Partition;

/// How often `flush.ms` is looked at.
const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// How often a log gives back what nobody used lately: more often than it deletes, so that an idle broker is a small one.
const REST_EVERY: Duration = Duration::from_mins(1);
/// How soon a rest heeds that its length has changed.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// No interval is shorter, whatever the settings say.
const EVERY_MIN: Duration = Duration::from_millis(100);

/// Something that is due again and again.
struct Every {
    interval: Duration,
    next: Instant,
}

impl Every {
    fn new(interval: Duration) -> Self {
        let interval = interval.max(EVERY_MIN);
        Self { interval, next: Instant::now() + interval }
    }

    /// Whether it is due; if so, when it will be next.
    fn due(&mut self, now: Instant) -> bool {
        let due = now >= self.next;
        if due {
            self.next = now + self.interval;
        }
        due
    }
}

/// Flushes, rests and deletes what is due, until the node stops.
pub(crate) async fn tidy(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut rest = Every::new(REST_EVERY);
    let mut retention = Every::new(shared.settings.millis("log.retention.check.interval.ms"));
    let tick = FLUSH_EVERY.min(retention.interval);
    loop {
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(tick) => {}
        }
        let instant = Instant::now();
        let (rest, retention) = (rest.due(instant), retention.due(instant));
        let shared = Arc::clone(&shared);
        let _ = tokio::task::spawn_blocking(move || {
            let now = now_ms();
            each(&shared, |topic, partition| {
                if rest {
                    partition.with(|log| log.rest(now));
                }
                let kept = if retention { partition.with(|log| log.retention(now)) } else { None };
                if let Err(e) = partition.flush(now).and(kept.transpose()) {
                    tracing::error!("cannot tidy the log of `{}-{}`: {e}", topic.name, partition.index());
                }
            });
        })
        .await;
    }
}

/// Compacts what is due, one log after the other, until the node stops.
pub(crate) async fn compact(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let mut rested = Instant::now();
    loop {
        // It may change while the round rests: Kafka begins with the new one at once.
        let every = shared.dynamic.now().settings.millis("log.cleaner.backoff.ms").max(EVERY_MIN);
        tokio::select! {
            _ = stopped.changed() => return,
            () = tokio::time::sleep(every.saturating_sub(rested.elapsed()).min(LOOK_EVERY)) => {}
        }
        if rested.elapsed() < every {
            continue;
        }
        let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
        let _ = tokio::task::spawn_blocking(move || {
            each(&shared, |topic, partition| {
                if *stopped.borrow() {
                    return;
                }
                let name = || format!("{}-{}", topic.name, partition.index());
                match partition.compact(now_ms()) {
                    Ok(None) => {}
                    Ok(Some(CompactionStats { bytes_before, bytes_after })) => {
                        tracing::debug!("compacted `{}` from {bytes_before} to {bytes_after} bytes", name());
                    }
                    Err(e) => tracing::error!("cannot compact the log of `{}`: {e}", name()),
                }
            });
        })
        .await;
        rested = Instant::now();
    }
}

fn each(shared: &Shared, mut what: impl FnMut(&Topic, &Partition)) {
    for topic in shared.catalog.all() {
        for partition in &topic.partitions {
            what(&topic, partition);
        }
    }
}
