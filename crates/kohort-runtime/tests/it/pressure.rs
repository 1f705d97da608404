//! Back-pressure: reading stops while too much is in hand, and goes on afterwards.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{
    Client, ClientConfig, FetchedBatch, OffsetReset, Outgoing, OwnedRecord, Record, TopicPartition,
};
use kohort_runtime::{
    Claim, FlushBatch, Flushed, Group, GroupConfig, HandleError, Handler, HandlerGroup, Progress, Reject,
    Retries, Sink, Worker,
};

const TOPIC: &str = "t";
const RECORDS: u64 = 400;
const VALUE: usize = 10_000;
const PATIENCE: Duration = Duration::from_secs(30);

struct Count(u64);

impl Worker for Count {
    type Delta = u64;

    fn record(&mut self, _: &FetchedBatch, _: &Record<'_>) -> Result<(), Reject> {
        self.0 += 1;
        Ok(())
    }

    fn take(&mut self) -> u64 {
        std::mem::take(&mut self.0)
    }
}

/// A store that takes its time.
struct Slow(Arc<AtomicU64>);

impl Sink for Slow {
    type Delta = u64;
    type Error = Infallible;

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, Infallible> {
        let claim =
            |p: &TopicPartition| Claim { partition: p.clone(), epoch: 1, position: None, resume: None };
        Ok(partitions.iter().map(claim).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<u64>>) -> Result<Flushed, Infallible> {
        tokio::time::sleep(Duration::from_millis(60)).await;
        self.0.fetch_add(batch.deltas.iter().sum(), Ordering::Relaxed);
        Ok(Flushed::Done)
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, Infallible> {
        unreachable!("no log is made anew here: {steps:?}")
    }
}

struct Slowly(Arc<AtomicU64>);

impl Handler for Slowly {
    async fn handle(&self, _: &OwnedRecord) -> Result<(), HandleError> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

/// A store that takes its time until it is told: how many flushes began, how many records they had, and whether to go on.
#[derive(Clone)]
struct Gate {
    begun: Arc<AtomicU64>,
    records: Arc<AtomicU64>,
    open: Arc<tokio::sync::Semaphore>,
}

impl Gate {
    fn shut() -> Gate {
        Gate {
            begun: Arc::default(),
            records: Arc::default(),
            open: Arc::new(tokio::sync::Semaphore::new(0)),
        }
    }
}

impl Sink for Gate {
    type Delta = u64;
    type Error = Infallible;

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, Infallible> {
        let claim =
            |p: &TopicPartition| Claim { partition: p.clone(), epoch: 1, position: None, resume: None };
        Ok(partitions.iter().map(claim).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<u64>>) -> Result<Flushed, Infallible> {
        self.begun.fetch_add(1, Ordering::Relaxed);
        self.open.acquire().await.unwrap().forget();
        self.records.fetch_add(batch.deltas.iter().sum(), Ordering::Relaxed);
        Ok(Flushed::Done)
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, Infallible> {
        unreachable!("no log is made anew here: {steps:?}")
    }
}

/// A broker with a topic of many small batches.
async fn filled(folder: &tempfile::TempDir) -> (Broker, Client) {
    let mut config = Config::new(folder.path());
    config.settings.set_pair("group.initial.rebalance.delay.ms=0").unwrap();
    let broker = Broker::start(config).await.unwrap();
    let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
    client.admin().create_topics(&[NewTopic::new(TOPIC, 2)]).await.unwrap();
    let producer = client.producer().batch_size(VALUE + 100).build();
    for key in 0..RECORDS {
        let value = [b'x'; VALUE];
        producer.enqueue(Outgoing::to(TOPIC).key(&key.to_be_bytes()).value(&value)).await.unwrap();
    }
    producer.flush().await;
    assert_eq!(producer.delivered().acked, RECORDS);
    (broker, client)
}

fn config(processors: usize) -> GroupConfig {
    let mut config = GroupConfig::new("g", TOPIC);
    config.offset_reset = OffsetReset::Earliest;
    config.flush_interval = Duration::from_millis(20);
    config.processors = processors;
    config
}

async fn until(done: &AtomicU64) {
    let all = async {
        while done.load(Ordering::Relaxed) < RECORDS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(PATIENCE, all).await;
    assert!(waited.is_ok(), "{} of {RECORDS} records are done", done.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_after_a_slow_store_has_taken_what_waited() {
    for processors in [1, 3] {
        let folder = tempfile::tempdir().unwrap();
        let (_broker, client) = filled(&folder).await;
        let mut config = config(processors);
        // A flush takes longer than it takes to read so much, so the limit is met again and again.
        config.unflushed_bytes_max = 40 * VALUE;
        let done = Arc::new(AtomicU64::new(0));
        let running = Group::start(&client, config, |_, _| Count(0), |_| Slow(Arc::clone(&done))).unwrap();
        until(&done).await;
        assert!(running.stop().await.drained);
        assert_eq!(done.load(Ordering::Relaxed), RECORDS);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn reading_goes_on_after_a_slow_handler_has_caught_up() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = filled(&folder).await;
    let done = Arc::new(AtomicU64::new(0));
    let handler = Arc::new(Slowly(Arc::clone(&done)));
    let running = HandlerGroup::start(&client, config(2), Retries::default(), handler).unwrap();
    until(&done).await;
    assert!(running.stop().await.drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_under_way_calls_for_no_small_one_behind_it() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = filled(&folder).await;
    let mut config = config(1);
    // Nothing is flushed for its age, and half of the limit is almost all that is there.
    config.flush_interval = Duration::from_secs(600);
    config.unflushed_bytes_max = 2 * VALUE * usize::try_from(RECORDS).unwrap();
    let gate = Gate::shut();
    let running = Group::start(&client, config, |_, _| Count(0), |_| gate.clone()).unwrap();
    let reached = async |what: &str, number: &AtomicU64, least: u64| {
        let wait = async {
            while number.load(Ordering::Relaxed) < least {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
    };
    reached("half of the limit is flushed", &gate.begun, 1).await;
    // One more record comes while that goes on.
    let producer = client.producer().build();
    producer.send(Outgoing::to(TOPIC).value(b"late")).await.unwrap().await.unwrap();
    let stats = running.stats();
    reached("the late one is read", &stats.records, RECORDS + 1).await;
    gate.open.add_permits(1);
    reached("the flush is written", &stats.flushes, 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(gate.begun.load(Ordering::Relaxed), 1, "a flush of what came meanwhile");
    gate.open.add_permits(9);
    assert!(running.stop().await.drained);
    assert_eq!(gate.records.load(Ordering::Relaxed), RECORDS + 1);
}
