//! Where reading begins, and what may be committed, when the store and the group know different positions.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{
    Client, ClientConfig, FetchedBatch, Offset, OffsetReset, Outgoing, Record, TopicPartition,
};
use kohort_runtime::{Claim, FlushBatch, Flushed, Group, GroupConfig, Progress, Reject, Sink, Worker};

const TOPIC: &str = "t";
const GROUP: &str = "g";
const RECORDS: Offset = 10;

/// Gathers the offsets that it sees.
#[derive(Default)]
struct Offsets(Vec<Offset>);

impl Worker for Offsets {
    type Delta = Vec<Offset>;

    fn record(&mut self, _: &FetchedBatch, record: &Record<'_>) -> Result<(), Reject> {
        self.0.push(record.offset);
        Ok(())
    }

    fn take(&mut self) -> Vec<Offset> {
        std::mem::take(&mut self.0)
    }
}

/// A store with a fence, for one partition.
#[derive(Default)]
struct Kept {
    claims: u64,
    position: Option<Offset>,
    /// The position of another store of the group.
    elsewhere: Option<Offset>,
    /// What `elsewhere` is once a flush was fenced: whoever fenced it wrote there.
    elsewhere_after_fence: Option<Offset>,
    records: Vec<Offset>,
    /// So many flushes are refused, as if somebody else had claimed.
    fences: u32,
    away: bool,
    away_for_one_step_back: bool,
}

#[derive(Clone, Default)]
struct Store(Arc<Mutex<Kept>>);

#[derive(Debug, thiserror::Error)]
#[error("away")]
struct Away;

impl Sink for Store {
    type Delta = Vec<Offset>;
    type Error = Away;

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, Away> {
        let mut kept = self.0.lock().unwrap();
        if kept.away {
            return Err(Away);
        }
        kept.claims += 1;
        let (epoch, position) = (i64::try_from(kept.claims).unwrap(), kept.position);
        let resume = position.max(kept.elsewhere);
        Ok(partitions.iter().map(|p| Claim { partition: p.clone(), epoch, position, resume }).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<Vec<Offset>>>) -> Result<Flushed, Away> {
        let mut kept = self.0.lock().unwrap();
        if kept.fences > 0 {
            kept.fences -= 1;
            kept.elsewhere = kept.elsewhere.max(kept.elsewhere_after_fence);
            return Ok(Flushed::Fenced);
        }
        for progress in &batch.progress {
            if (progress.epoch, progress.from) != (i64::try_from(kept.claims).unwrap(), kept.position) {
                return Ok(Flushed::Fenced);
            }
            kept.position = Some(progress.to);
        }
        kept.records.extend(batch.deltas.iter().flatten());
        Ok(Flushed::Done)
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, Away> {
        let mut kept = self.0.lock().unwrap();
        if std::mem::take(&mut kept.away_for_one_step_back) {
            return Err(Away);
        }
        for step in &steps {
            if (step.epoch, step.from) != (i64::try_from(kept.claims).unwrap(), kept.position) {
                return Ok(Flushed::Fenced);
            }
            kept.position = kept.position.map(|position| position.min(step.to));
            kept.elsewhere = kept.elsewhere.map(|position| position.min(step.to));
        }
        Ok(Flushed::Done)
    }
}

struct World {
    _folder: tempfile::TempDir,
    _broker: Broker,
    client: Client,
    partition: TopicPartition,
}

impl World {
    async fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        config.settings.set_pair("group.initial.rebalance.delay.ms=0").unwrap();
        let broker = Broker::start(config).await.unwrap();
        let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
        client.admin().create_topics(&[NewTopic::new(TOPIC, 1)]).await.unwrap();
        let partition = TopicPartition::new(TOPIC, 0);
        let world = World { _folder: folder, _broker: broker, client, partition };
        world.produce(RECORDS).await;
        world
    }

    async fn produce(&self, records: Offset) {
        let producer = self.client.producer().build();
        for _ in 0..records {
            producer.enqueue(Outgoing::to(TOPIC).value(b"x")).await.unwrap();
        }
        producer.flush().await;
    }

    /// The topic is made anew, with fewer records.
    async fn make_anew(&self, records: Offset) {
        self.client.admin().delete_topics(&[TOPIC]).await.unwrap();
        self.client.admin().create_topics(&[NewTopic::new(TOPIC, 1)]).await.unwrap();
        self.produce(records).await;
    }

    async fn commit(&self, offset: Offset) {
        self.client.admin().alter_group_offsets(GROUP, &[(self.partition.clone(), offset)]).await.unwrap();
    }

    async fn committed(&self) -> Option<Offset> {
        let all: BTreeMap<_, _> =
            self.client.admin().group_offsets(GROUP).await.unwrap().into_iter().collect();
        all.get(&self.partition).copied()
    }
}

fn config() -> GroupConfig {
    let mut config = GroupConfig::new(GROUP, TOPIC);
    config.offset_reset = OffsetReset::Earliest;
    config.flush_interval = Duration::from_millis(20);
    config
}

async fn until(what: &str, store: &Store, done: impl Fn(&Kept) -> bool) {
    let wait = async {
        while !done(&store.0.lock().unwrap()) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), wait).await.is_ok(), "{what}");
}

fn store(kept: Kept) -> Store {
    Store(Arc::new(Mutex::new(kept)))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_committed_above_the_store_is_not_taken_back_by_a_stop() {
    let (world, store) = (World::new().await, store(Kept { position: Some(2), ..Kept::default() }));
    world.commit(RECORDS).await;
    let running =
        Group::start(&world.client, config(), |_, _| Offsets::default(), |_| store.clone()).unwrap();
    until("the partition is claimed", &store, |kept| kept.claims > 0).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(running.stop().await.drained);
    assert_eq!(world.committed().await, Some(RECORDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fenced_member_goes_back_to_where_it_began_and_not_below() {
    let (world, store) =
        (World::new().await, store(Kept { position: Some(2), fences: 1, ..Kept::default() }));
    world.commit(6).await;
    let running =
        Group::start(&world.client, config(), |_, _| Offsets::default(), |_| store.clone()).unwrap();
    until("all is stored", &store, |kept| kept.position == Some(RECORDS)).await;
    assert!(running.stop().await.drained);
    assert_eq!(store.0.lock().unwrap().records, (6..RECORDS).collect::<Vec<_>>());
    assert_eq!(world.committed().await, Some(RECORDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_store_of_the_group_has_is_not_read_again() {
    let kept = Kept { position: Some(2), elsewhere: Some(7), ..Kept::default() };
    let (world, store) = (World::new().await, store(kept));
    world.commit(4).await;
    let running =
        Group::start(&world.client, config(), |_, _| Offsets::default(), |_| store.clone()).unwrap();
    // The fake store refuses a flush that does not state its own position, 2.
    until("all is stored", &store, |kept| kept.position == Some(RECORDS)).await;
    assert!(running.stop().await.drained);
    assert_eq!(store.0.lock().unwrap().records, (7..RECORDS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_fence_reading_goes_on_above_what_another_store_has_got_meanwhile() {
    let kept = Kept {
        position: Some(2),
        elsewhere: Some(3),
        elsewhere_after_fence: Some(6),
        fences: 1,
        ..Kept::default()
    };
    let (world, store) = (World::new().await, store(kept));
    let running =
        Group::start(&world.client, config(), |_, _| Offsets::default(), |_| store.clone()).unwrap();
    until("all is stored", &store, |kept| kept.position == Some(RECORDS)).await;
    assert!(running.stop().await.drained);
    assert_eq!(store.0.lock().unwrap().records, (6..RECORDS).collect::<Vec<_>>());
    assert_eq!(world.committed().await, Some(RECORDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_store_has_is_not_taken_back_by_a_stop() {
    let kept = Kept { position: Some(2), elsewhere: Some(RECORDS), ..Kept::default() };
    let (world, store) = (World::new().await, store(kept));
    let running =
        Group::start(&world.client, config(), |_, _| Offsets::default(), |_| store.clone()).unwrap();
    until("the partition is claimed", &store, |kept| kept.claims > 0).await;
    // A stop right behind the claim may come before the partition is started.
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(running.stop().await.drained);
    assert_eq!(world.committed().await, Some(RECORDS));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_was_away_for_longer_than_a_rebalance_may_take_is_read_into_once_it_is_back() {
    let (world, store) = (World::new().await, store(Kept { away: true, ..Kept::default() }));
    let mut config = config();
    config.rebalance_timeout = Duration::from_millis(300);
    let running = Group::start(&world.client, config, |_, _| Offsets::default(), |_| store.clone()).unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    store.0.lock().unwrap().away = false;
    until("all is stored", &store, |kept| kept.position == Some(RECORDS)).await;
    assert!(running.stop().await.drained);
    assert_eq!(store.0.lock().unwrap().records, (0..RECORDS).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_began_at_the_end_goes_on_there_although_nothing_came() {
    let (world, store) = (World::new().await, Store::default());
    let mut config = config();
    config.offset_reset = OffsetReset::Latest;
    // A busy machine may need longer than one round to find the end.
    for round in 1..=20 {
        let running =
            Group::start(&world.client, config.clone(), |_, _| Offsets::default(), |_| store.clone())
                .unwrap();
        tokio::time::sleep(Duration::from_millis(100 * round)).await;
        assert!(running.stop().await.drained);
        if let Some(committed) = world.committed().await {
            assert_eq!(committed, RECORDS);
            return;
        }
    }
    panic!("where the group began was never committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_lowers_every_store_before_anything_of_it_is_stored() {
    // Our store has less than the new log will have, another one more: taken for a position of the new log, 2 would pass records over.
    let kept = Kept { position: Some(2), elsewhere: Some(8), ..Kept::default() };
    let (world, store) = (World::new().await, store(kept));
    world.make_anew(4).await;
    let start =
        || Group::start(&world.client, config(), |_, _| Offsets::default(), |_| store.clone()).unwrap();
    let running = start();
    until("the new log is stored", &store, |kept| kept.position == Some(4)).await;
    assert!(running.stop().await.drained);
    {
        let kept = store.0.lock().unwrap();
        assert_eq!((&kept.records[..], kept.elsewhere), (&[0, 1, 2, 3][..], Some(0)));
    }
    assert_eq!(world.committed().await, Some(4));
    // The next owner goes on there.
    let running = start();
    world.produce(3).await;
    until("the rest is stored", &store, |kept| kept.position == Some(7)).await;
    assert!(running.stop().await.drained);
    assert_eq!(store.0.lock().unwrap().records, (0..7).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_under_a_running_member_is_read_from_its_beginning() {
    let (world, store) = (World::new().await, store(Kept { elsewhere: Some(3), ..Kept::default() }));
    let running =
        Group::start(&world.client, config(), |_, _| Offsets::default(), |_| store.clone()).unwrap();
    until("the old log is stored", &store, |kept| kept.position == Some(RECORDS)).await;
    store.0.lock().unwrap().away_for_one_step_back = true;
    world.make_anew(4).await;
    until("the new log is stored", &store, |kept| kept.position == Some(4)).await;
    assert!(running.stop().await.drained);
    let expected: Vec<Offset> = (3..RECORDS).chain(0..4).collect();
    let kept = store.0.lock().unwrap();
    assert_eq!((&kept.records, kept.elsewhere), (&expected, Some(0)));
}
