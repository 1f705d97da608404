//! What nobody foresaw: a dead-letter topic that takes too little, a topic that is made anew, a broker that is away at the end.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{
    Client, ClientConfig, ConsumerEvent, FetchedBatch, OffsetReset, Outgoing, OwnedRecord, Record,
    TopicPartition,
};
use kohort_runtime::{
    Claim, FlushBatch, Flushed, Group, GroupConfig, HandleError, Handler, HandlerGroup, Progress, Reject,
    Retries, Sink, Worker,
};

const TOPIC: &str = "t";

struct RejectAll;

impl Worker for RejectAll {
    type Delta = ();

    fn record(&mut self, _: &FetchedBatch, _: &Record<'_>) -> Result<(), Reject> {
        Err(Reject("no".to_owned()))
    }

    fn take(&mut self) {}
}

struct RejectNone;

impl Worker for RejectNone {
    type Delta = ();

    fn record(&mut self, _: &FetchedBatch, _: &Record<'_>) -> Result<(), Reject> {
        Ok(())
    }

    fn take(&mut self) {}
}

/// Keeps the position.
struct Position(Arc<AtomicI64>);

impl Sink for Position {
    type Delta = ();
    type Error = Infallible;

    async fn claim(&mut self, partitions: &[TopicPartition]) -> Result<Vec<Claim>, Infallible> {
        let claim =
            |p: &TopicPartition| Claim { partition: p.clone(), epoch: 1, position: None, resume: None };
        Ok(partitions.iter().map(claim).collect())
    }

    async fn flush(&mut self, batch: Arc<FlushBatch<()>>) -> Result<Flushed, Infallible> {
        batch.progress.iter().for_each(|progress| self.0.store(progress.to, Ordering::Relaxed));
        Ok(Flushed::Done)
    }

    async fn go_back(&mut self, steps: Vec<Progress>) -> Result<Flushed, Infallible> {
        unreachable!("no log is made anew here: {steps:?}")
    }
}

/// Counts.
struct Count(Arc<AtomicI64>);

impl Handler for Count {
    async fn handle(&self, _: &OwnedRecord) -> Result<(), HandleError> {
        self.0.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

async fn broker(folder: &tempfile::TempDir) -> (Broker, Client) {
    let mut config = Config::new(folder.path());
    config.settings.set_pair("group.initial.rebalance.delay.ms=0").unwrap();
    let broker = Broker::start(config).await.unwrap();
    let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
    client.admin().create_topics(&[NewTopic::new(TOPIC, 1)]).await.unwrap();
    (broker, client)
}

async fn produce(client: &Client, values: &[&[u8]]) {
    let producer = client.producer().build();
    for value in values {
        producer.send(Outgoing::to(TOPIC).value(value)).await.unwrap().await.unwrap();
    }
}

fn config() -> GroupConfig {
    let mut config = GroupConfig::new("g", TOPIC);
    config.offset_reset = OffsetReset::Earliest;
    config.flush_interval = Duration::from_millis(20);
    config
}

async fn until(wanted: i64, number: &AtomicI64) {
    let reached = async {
        while number.load(Ordering::Relaxed) < wanted {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let waited = tokio::time::timeout(Duration::from_secs(30), reached).await;
    assert!(waited.is_ok(), "{} of {wanted}", number.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_too_large_for_the_dead_letters_leaves_its_place_there_and_blocks_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(&folder).await;
    let letters = NewTopic::new("dead", 1).config("max.message.bytes", "2000");
    client.admin().create_topics(&[letters]).await.unwrap();
    produce(&client, &[b"small", &[b'x'; 5000], b"last"]).await;
    let mut config = config();
    config.dead_letter_topic = Some("dead".to_owned());
    let position = Arc::new(AtomicI64::new(0));
    let running = Group::start(&client, config, |_, _| RejectAll, |_| Position(position.clone())).unwrap();
    until(3, &position).await;
    assert!(running.stop().await.drained);
    let mut reader = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    reader.assign([(TopicPartition::new("dead", 0), Some(0))]).unwrap();
    let mut kept: Vec<OwnedRecord> = Vec::new();
    while kept.len() < 3 {
        let event = tokio::time::timeout(Duration::from_secs(20), reader.next()).await.unwrap();
        if let ConsumerEvent::Batch(batch) = event {
            kept.extend(batch.records().map(|record| batch.to_owned(&record.unwrap())));
        }
    }
    let header = |record: &OwnedRecord, name: &str| record.headers.iter().any(|(of, _)| of == name);
    let offset = |record: &OwnedRecord| {
        let found = record.headers.iter().find(|(name, _)| name == "kohort.dlq.offset").unwrap();
        String::from_utf8(found.1.clone().unwrap().to_vec()).unwrap()
    };
    kept.sort_by_key(offset);
    assert_eq!(kept.iter().map(offset).collect::<Vec<_>>(), ["0", "1", "2"]);
    assert_eq!(
        kept.iter().map(|r| r.value.as_deref().map(<[u8]>::len)).collect::<Vec<_>>(),
        [Some(5), None, Some(4)]
    );
    assert_eq!(
        kept.iter().map(|r| header(r, "kohort.dlq.left.out")).collect::<Vec<_>>(),
        [false, true, false]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_is_handled_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(&folder).await;
    produce(&client, &[b"1", b"2", b"3", b"4", b"5"]).await;
    let done = Arc::new(AtomicI64::new(0));
    let handler = Arc::new(Count(Arc::clone(&done)));
    let running = HandlerGroup::start(&client, config(), Retries::default(), handler).unwrap();
    until(5, &done).await;
    client.admin().delete_topics(&[TOPIC]).await.unwrap();
    client.admin().create_topics(&[NewTopic::new(TOPIC, 1)]).await.unwrap();
    produce(&client, &[b"1", b"2", b"3"]).await;
    until(8, &done).await;
    assert!(running.stop().await.drained);
    assert_eq!(done.load(Ordering::Relaxed), 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_ends_soon_although_its_broker_is_away() {
    let folder = tempfile::tempdir().unwrap();
    let (broker, client) = broker(&folder).await;
    produce(&client, &[b"1", b"2", b"3"]).await;
    let done = Arc::new(AtomicI64::new(0));
    let mut config = config();
    // Nothing is committed before the end.
    config.flush_interval = Duration::from_secs(600);
    config.drain_timeout = Duration::from_millis(500);
    let handler = Arc::new(Count(Arc::clone(&done)));
    let running = HandlerGroup::start(&client, config, Retries::default(), handler).unwrap();
    until(3, &done).await;
    broker.shutdown().await;
    let ended = tokio::time::timeout(Duration::from_secs(20), running.stop()).await;
    assert!(ended.is_ok(), "the last commit is waited for");
}

/// Fails the first record, and counts the others.
struct Stuck {
    tries: Arc<AtomicI64>,
    others: Arc<AtomicI64>,
}

impl Handler for Stuck {
    async fn handle(&self, record: &OwnedRecord) -> Result<(), HandleError> {
        if record.offset == 0 {
            self.tries.fetch_add(1, Ordering::Relaxed);
            return Err(HandleError::Again("not yet".to_owned()));
        }
        self.others.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn at_the_end_nothing_overtakes_a_record_that_waits_to_be_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let (_broker, client) = broker(&folder).await;
    produce(&client, &[b"1", b"2", b"3"]).await;
    let (tries, others) = (Arc::new(AtomicI64::new(0)), Arc::new(AtomicI64::new(0)));
    let mut config = config();
    config.drain_timeout = Duration::from_millis(500);
    let retries = Retries { give_up: false, ..Retries::default() };
    let handler = Arc::new(Stuck { tries: Arc::clone(&tries), others: Arc::clone(&others) });
    let running = HandlerGroup::start(&client, config, retries, handler).unwrap();
    until(2, &tries).await;
    assert!(!running.stop().await.drained);
    assert_eq!(others.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_deleted_holds_up_no_other_topic_of_its_group() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = Config::new(folder.path());
    for setting in ["group.initial.rebalance.delay.ms=0", "auto.create.topics.enable=false"] {
        config.settings.set_pair(setting).unwrap();
    }
    let broker = Broker::start(config).await.unwrap();
    let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
    let topics = [TOPIC, "other"].map(|topic| NewTopic::new(topic, 1));
    client.admin().create_topics(&topics).await.unwrap();
    let producer = client.producer().build();
    for value in ["a", "b", "c"] {
        producer.enqueue(Outgoing::to(TOPIC).value(value.as_bytes())).await.unwrap();
    }
    producer.flush().await;
    let position = Arc::new(AtomicI64::new(0));
    let mut group = GroupConfig::new("g", TOPIC);
    group.topics.push("other".to_owned());
    group.offset_reset = OffsetReset::Earliest;
    group.flush_interval = Duration::from_millis(10);
    let sink = Arc::clone(&position);
    let running =
        Group::start(&client, group, |_, _| RejectNone, move |_| Position(Arc::clone(&sink))).unwrap();
    let reaches = async |to: i64| {
        let reached = async {
            while position.load(Ordering::Relaxed) != to {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        // The drain of a rebalance has the patience of 48 seconds.
        tokio::time::timeout(Duration::from_secs(30), reached).await.unwrap();
    };
    reaches(3).await;
    client.admin().delete_topics(&[TOPIC]).await.unwrap();
    // Until the member has heard of it, the other topic is read as before.
    let gone = async {
        while running.stats().members()[0].partitions.len() != 1 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    producer.enqueue(Outgoing::to("other").value(b"d")).await.unwrap();
    producer.flush().await;
    reaches(1).await;
    running.stop().await;
    producer.close(Duration::from_secs(10)).await.unwrap();
}
