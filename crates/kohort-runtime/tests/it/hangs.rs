//! A store that hangs: the member hears all the same that it is to stop, that its partitions are lost, or that another wants them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{
    Client, ClientConfig, FetchedBatch, Offset, OffsetReset, Outgoing, OwnedRecord, Record, TopicPartition,
};
use kohort_runtime::{
    Claim, FlushBatch, Flushed, Group, GroupConfig, HandleError, Handler, HandlerGroup, Progress, Reject,
    Retries, Running, Sink, Worker,
};

const TOPIC: &str = "t";
const GROUP: &str = "g";
const PARTITIONS: i32 = 2;
/// Of each partition.
const RECORDS: Offset = 10;
/// What a loaded machine may take beyond any limit.
const SLACK: Duration = Duration::from_secs(2);
const PATIENCE: Duration = Duration::from_secs(30);

/// Gathers the places that it sees.
#[derive(Default)]
struct Places(Vec<(i32, Offset)>);

impl Worker for Places {
    type Delta = Vec<(i32, Offset)>;

    fn record(&mut self, batch: &FetchedBatch, record: &Record<'_>) -> Result<(), Reject> {
        self.0.push((batch.partition(), record.offset));
        Ok(())
    }

    fn take(&mut self) -> Vec<(i32, Offset)> {
        std::mem::take(&mut self.0)
    }
}

#[derive(Default)]
struct Kept {
    /// Epoch and position of each partition.
    positions: BTreeMap<i32, (i64, Option<Offset>)>,
    places: Vec<(i32, Offset)>,
    claims_hang: bool,
    flushes_hang: bool,
    away: bool,
    /// Calls that began to hang, and those of them that were dropped.
    hanging: u32,
    dropped: u32,
}

/// One store with a fence; each clone a member's sink.
#[derive(Clone, Default)]
struct Store(Arc<Mutex<Kept>>);

#[derive(Debug, thiserror::Error)]
#[error("away")]
struct Away;

/// Hangs until it is dropped.
struct Hanging(Store);

impl Hanging {
    async fn for_ever(store: &Store) {
        store.0.lock().unwrap().hanging += 1;
        let _hanging = Hanging(store.clone());
        std::future::pending().await
    }
}

impl Drop for Hanging {
    fn drop(&mut self) {
        self.0.0.lock().unwrap().dropped += 1;
    }
}

impl Sink for Store {
    type Delta = Vec<(i32, Offset)>;
    type Error = Away;

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, Away> {
        if self.0.lock().unwrap().claims_hang {
            Hanging::for_ever(self).await;
        }
        let mut kept = self.0.lock().unwrap();
        let claim = |tp: &TopicPartition| {
            let (epoch, position) = kept.positions.entry(tp.partition).or_default();
            *epoch += 1;
            Claim { partition: tp.clone(), epoch: *epoch, position: *position, resume: *position }
        };
        Ok(partitions.iter().map(claim).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<Self::Delta>>) -> Result<Flushed, Away> {
        if self.0.lock().unwrap().flushes_hang {
            Hanging::for_ever(self).await;
        }
        let mut kept = self.0.lock().unwrap();
        if kept.away {
            return Err(Away);
        }
        for step in &batch.progress {
            if kept.positions.get(&step.partition.partition) != Some(&(step.epoch, step.from)) {
                return Ok(Flushed::Fenced);
            }
        }
        for step in &batch.progress {
            kept.positions.insert(step.partition.partition, (step.epoch, Some(step.to)));
        }
        kept.places.extend(batch.deltas.iter().flatten());
        Ok(Flushed::Done)
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, Away> {
        unreachable!("no log is made anew here: {steps:?}")
    }
}

impl Store {
    fn set(&self, change: impl Fn(&mut Kept)) {
        change(&mut self.0.lock().unwrap());
    }

    async fn until(&self, what: &str, done: impl Fn(&Kept) -> bool) {
        wait_for(what, || done(&self.0.lock().unwrap())).await;
    }

    /// Every record is there once.
    async fn until_whole(&self) {
        self.until("all is stored", |kept| {
            let all = |partition| kept.positions.get(&partition).is_some_and(|p| p.1 == Some(RECORDS));
            (0..PARTITIONS).all(all)
        })
        .await;
        let mut places = self.0.lock().unwrap().places.clone();
        places.sort_unstable();
        let all = (0..PARTITIONS).flat_map(|partition| (0..RECORDS).map(move |offset| (partition, offset)));
        assert_eq!(places, all.collect::<Vec<_>>());
    }
}

async fn wait_for(what: &str, done: impl Fn() -> bool) {
    let wait = async {
        while !done() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

async fn broker(folder: &std::path::Path, listen: Option<String>) -> (Broker, Client) {
    let mut config = Config::new(folder);
    config.settings.set_pair("group.initial.rebalance.delay.ms=0").unwrap();
    // A member that finds this broker in the place of another must not make the topic first, with one partition.
    config.settings.set_pair("auto.create.topics.enable=false").unwrap();
    if let Some(listen) = listen {
        config.listen = listen;
    }
    let broker = Broker::start(config).await.unwrap();
    let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
    let made = client.admin().create_topics(&[NewTopic::new(TOPIC, PARTITIONS)]).await.unwrap();
    assert!(made.iter().all(|(_, result)| result.is_ok()), "{made:?}");
    let producer = client.producer().build();
    for _ in 0..RECORDS {
        for partition in 0..PARTITIONS {
            producer.enqueue(Outgoing::to(TOPIC).partition(partition).value(b"x")).await.unwrap();
        }
    }
    producer.flush().await;
    (broker, client)
}

fn config() -> GroupConfig {
    let mut config = GroupConfig::new(GROUP, TOPIC);
    config.offset_reset = OffsetReset::Earliest;
    config.flush_interval = Duration::from_millis(20);
    config.drain_timeout = Duration::from_millis(500);
    config.heartbeat_interval = Duration::from_millis(300);
    config.session_timeout = Duration::from_secs(20);
    config
}

fn start(client: &Client, config: GroupConfig, store: &Store) -> Running {
    Group::start(client, config, |_, _| Places::default(), |_| store.clone()).unwrap()
}

fn partitions(running: &Running) -> usize {
    running.stats().members()[0].partitions.len()
}

async fn stops_soon(running: Running) -> bool {
    let began = Instant::now();
    let stopped = running.stop().await;
    assert!(began.elapsed() < Duration::from_millis(500) + SLACK, "{:?}", began.elapsed());
    stopped.drained
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_claim_that_hangs() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(folder.path(), None).await;
    let store = Store::default();
    store.set(|kept| kept.claims_hang = true);
    let running = start(&client, config(), &store);
    store.until("a claim hangs", |kept| kept.hanging > 0).await;
    assert!(stops_soon(running).await, "nothing was in hand");
    assert_eq!(store.0.lock().unwrap().dropped, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_for_a_flush_that_hangs_longer_than_its_patience() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(folder.path(), None).await;
    let store = Store::default();
    store.set(|kept| kept.flushes_hang = true);
    let running = start(&client, config(), &store);
    store.until("a flush hangs", |kept| kept.hanging > 0).await;
    assert!(!stops_soon(running).await, "what was in hand is not stored");
    store.set(|kept| kept.flushes_hang = false);
    let running = start(&client, config(), &store);
    store.until_whole().await;
    assert!(running.stop().await.drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_does_not_wait_out_the_pause_before_the_next_try() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(folder.path(), None).await;
    let store = Store::default();
    store.set(|kept| kept.away = true);
    let mut config = config();
    config.drain_timeout = Duration::from_secs(2);
    let running = start(&client, config, &store);
    wait_for("both are read", || {
        running.stats().records.load(std::sync::atomic::Ordering::Relaxed) >= 2 * RECORDS.unsigned_abs()
    })
    .await;
    // The pauses have grown to several seconds.
    tokio::time::sleep(Duration::from_secs(5)).await;
    store.set(|kept| kept.away = false);
    assert!(running.stop().await.drained);
    store.until_whole().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_claim_that_hangs_holds_no_rebalance_up() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(folder.path(), None).await;
    let store = Store::default();
    store.set(|kept| kept.claims_hang = true);
    let mut config = config();
    config.rebalance_timeout = Duration::from_secs(600);
    let first = start(&client, config.clone(), &store);
    store.until("a claim hangs", |kept| kept.hanging > 0).await;
    store.set(|kept| kept.claims_hang = false);
    let second = start(&client, config, &store);
    // The first claims what it keeps anew, because its claim was for what it has no more.
    wait_for("each has one", || partitions(&first) == 1 && partitions(&second) == 1).await;
    store.until_whole().await;
    assert_eq!(store.0.lock().unwrap().dropped, 1);
    assert!(first.stop().await.drained && second.stop().await.drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_flush_that_hangs_holds_a_rebalance_up_for_its_timeout_at_most() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(folder.path(), None).await;
    let store = Store::default();
    store.set(|kept| kept.flushes_hang = true);
    let mut config = config();
    config.rebalance_timeout = Duration::from_secs(10);
    let first = start(&client, config.clone(), &store);
    store.until("a flush hangs", |kept| kept.hanging > 0).await;
    store.set(|kept| kept.flushes_hang = false);
    let member = first.stats().members()[0].member_id.clone();
    let second = start(&client, config, &store);
    wait_for("each has one", || partitions(&first) == 1 && partitions(&second) == 1).await;
    assert_eq!(first.stats().members()[0].member_id, member, "it was in time, and stayed in the group");
    store.until_whole().await;
    assert!(first.stop().await.drained && second.stop().await.drained);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_lost_while_its_claim_hangs_is_claimed_anew_when_it_comes_back() {
    let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (former, client) = broker(one.path(), None).await;
    let address = former.address();
    let store = Store::default();
    store.set(|kept| kept.claims_hang = true);
    let running = start(&client, config(), &store);
    store.until("a claim hangs", |kept| kept.hanging > 0).await;
    store.set(|kept| kept.claims_hang = false);
    // A broker in its place that knows of no such group: whatever the member has is lost.
    former.shutdown().await;
    let (_broker, _) = broker(two.path(), Some(address.to_string())).await;
    store.until("the claim is dropped", |kept| kept.dropped > 0).await;
    store.until_whole().await;
    assert!(running.stop().await.drained);
}

/// Hangs at each record.
struct Stuck(Arc<Mutex<Vec<i32>>>);

/// A call that hangs; gone when it is dropped.
struct Call(Arc<Mutex<Vec<i32>>>, i32);

impl Drop for Call {
    fn drop(&mut self) {
        let mut hanging = self.0.lock().unwrap();
        let call = hanging.iter().position(|p| *p == self.1).unwrap();
        hanging.swap_remove(call);
    }
}

impl Handler for Stuck {
    async fn handle(&self, record: &OwnedRecord) -> Result<(), HandleError> {
        self.0.lock().unwrap().push(record.partition);
        let _call = Call(Arc::clone(&self.0), record.partition);
        std::future::pending().await
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_that_hangs_holds_up_a_rebalance_for_its_timeout_and_a_stop_for_its_patience() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(folder.path(), None).await;
    let mut config = config();
    config.rebalance_timeout = Duration::from_secs(10);
    // The partitions of the records at which each member hangs.
    let hanging = [(); 2].map(|()| Arc::new(Mutex::new(Vec::new())));
    let group = |config: GroupConfig, member: usize| {
        let handler = Arc::new(Stuck(Arc::clone(&hanging[member])));
        HandlerGroup::start(&client, config, Retries::default(), handler).unwrap()
    };
    let at = |member: usize| hanging[member].lock().unwrap().clone();
    let first = group(config.clone(), 0);
    wait_for("a record hangs", || at(0).len() == 1).await;
    let member = first.stats().members()[0].member_id.clone();
    let second = group(config, 1);
    // The first has one lane: whichever partition it hung at, it now hangs at the one that it kept.
    let each_hangs_at_its_own = || {
        let has = |running: &Running| -> Vec<i32> {
            running.stats().members()[0].partitions.iter().map(|tp| tp.partition).collect()
        };
        has(&first).len() == 1 && at(0) == has(&first) && has(&second).len() == 1 && at(1) == has(&second)
    };
    wait_for("each hangs at a record of its own", each_hangs_at_its_own).await;
    assert_eq!(first.stats().members()[0].member_id, member, "it was in time, and stayed in the group");
    assert!(!stops_soon(first).await);
    assert!(!stops_soon(second).await);
    wait_for("what hung is dropped", || at(0).is_empty() && at(1).is_empty()).await;
}
