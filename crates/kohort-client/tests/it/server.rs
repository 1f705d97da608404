//! The server that a test runs against, and what tests do over and over.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{
    Acks, Client, ClientConfig, Consumer, ConsumerEvent, Outgoing, OwnedRecord, Producer, TopicPartition,
};
use tempfile::TempDir;

/// Longer than anything takes that works: Apache Kafka that was killed is back after 10 s, on a busy machine after 30.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Kafka somewhere, or a broker of ours right here.
pub(crate) struct Server {
    pub(crate) bootstrap: String,
    own: Option<(Broker, TempDir)>,
}

fn config(folder: &TempDir, listen: &str) -> Config {
    let mut config = Config::new(folder.path());
    config.listen = listen.to_owned();
    config.settings.set("group.initial.rebalance.delay.ms", "0").unwrap();
    config
}

impl Server {
    pub(crate) async fn start() -> Self {
        let _ = tracing_subscriber::fmt()
            .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
            .with_test_writer()
            .try_init();
        if let Ok(bootstrap) = std::env::var("KOHORT_TEST_BOOTSTRAP") {
            return Self { bootstrap, own: None };
        }
        Self::own().await
    }

    /// A server that can be restarted: one of ours, or the external one if `KOHORT_TEST_RESTART` is a command that kills it
    /// and starts it again. Other tests would not like that: run these alone (`cargo test --test it restarts -- --test-threads 1`).
    pub(crate) async fn restartable() -> Self {
        if std::env::var_os("KOHORT_TEST_RESTART").is_some() {
            Self::start().await
        } else {
            Self::own().await
        }
    }

    async fn own() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(config(&folder, "127.0.0.1:0")).await.unwrap();
        Self { bootstrap: broker.address().to_string(), own: Some((broker, folder)) }
    }

    /// Stops the broker, and starts another on its folder and port once `meanwhile` is over.
    pub(crate) async fn restart(&mut self, meanwhile: impl Future<Output = ()>) {
        let Some((broker, folder)) = self.own.take() else {
            let command = std::env::var("KOHORT_TEST_RESTART").unwrap();
            let restarted = tokio::task::spawn_blocking(|| {
                std::process::Command::new("sh").arg("-c").arg(command).status()
            });
            meanwhile.await;
            assert!(restarted.await.unwrap().unwrap().success());
            return;
        };
        broker.shutdown().await;
        meanwhile.await;
        let broker = Broker::start(config(&folder, &self.bootstrap)).await.unwrap();
        self.own = Some((broker, folder));
    }

    /// Whether it is a broker of ours.
    pub(crate) fn is_own(&self) -> bool {
        self.own.is_some()
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(ClientConfig::new([&*self.bootstrap]).client_id("it")).unwrap()
    }

    /// Makes a topic with a name of its own.
    pub(crate) async fn topic(&self, client: &Client, partitions: i32) -> String {
        let name = unique("topic");
        let results = client.admin().create_topics(&[NewTopic::new(&name, partitions)]).await.unwrap();
        for (_, result) in results {
            result.unwrap();
        }
        name
    }
}

/// A name that no other test uses, in this run or another.
pub(crate) fn unique(what: &str) -> String {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{what}-{}-{}-{}", std::process::id(), now.as_millis(), NUMBER.fetch_add(1, Ordering::Relaxed))
}

/// Waits, but not for ever.
pub(crate) async fn soon<T>(what: &str, future: impl Future<Output = T>) -> T {
    match tokio::time::timeout(PATIENCE, future).await {
        Ok(value) => value,
        Err(_) => panic!("{what}: not within {PATIENCE:?}"),
    }
}

pub(crate) fn tp(topic: &str, partition: i32) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

/// Produces `values` to one partition, each acknowledged, and returns their offsets.
pub(crate) async fn produce(client: &Client, topic: &str, partition: i32, values: &[&str]) -> Vec<i64> {
    let producer = client.producer().acks(Acks::All).build();
    let offsets = produce_with(&producer, topic, partition, values).await;
    producer.close(PATIENCE).await.unwrap();
    offsets
}

pub(crate) async fn produce_with(
    producer: &Producer,
    topic: &str,
    partition: i32,
    values: &[&str],
) -> Vec<i64> {
    let mut acks = vec![];
    for value in values {
        let record = Outgoing::to(topic).partition(partition).value(value.as_bytes());
        acks.push(producer.send(record).await.unwrap());
    }
    let mut offsets = vec![];
    for ack in acks {
        offsets.push(soon("ack", ack).await.unwrap().offset);
    }
    offsets
}

/// The next records, `count` of them at least; events of the group are acknowledged on the way.
pub(crate) async fn read(consumer: &mut Consumer, count: usize) -> Vec<OwnedRecord> {
    let mut records = vec![];
    let reading = async {
        while records.len() < count {
            match consumer.next().await {
                ConsumerEvent::Batch(batch) => {
                    for record in batch.records() {
                        records.push(batch.to_owned(&record.unwrap()));
                    }
                }
                ConsumerEvent::Fatal(error) => panic!("{error}"),
                ConsumerEvent::Halted { partition, error } => panic!("{partition:?}: {error}"),
                _ => {}
            }
        }
    };
    if tokio::time::timeout(PATIENCE, reading).await.is_err() {
        panic!("{} of {count} records within {PATIENCE:?}", records.len());
    }
    records
}

/// The values of records, by partition.
pub(crate) fn values(records: &[OwnedRecord]) -> BTreeMap<i32, Vec<String>> {
    let mut by_partition: BTreeMap<i32, Vec<String>> = BTreeMap::new();
    for record in records {
        let value = String::from_utf8_lossy(record.value.as_deref().unwrap_or_default()).into_owned();
        by_partition.entry(record.partition).or_default().push(value);
    }
    by_partition
}

/// The next event of the group that is no batch.
pub(crate) async fn event(consumer: &mut Consumer) -> ConsumerEvent {
    soon("an event", async {
        loop {
            match consumer.next().await {
                ConsumerEvent::Batch(_) => {}
                other => return other,
            }
        }
    })
    .await
}
