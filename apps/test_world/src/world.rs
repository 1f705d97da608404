//! A broker in the test's process.

use std::time::Duration;

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, ClientConfig, ConsumerEvent, OffsetReset, Outgoing, TopicPartition};
use tempfile::TempDir;

/// A busy machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(90);

/// A folder, a broker that keeps its log there, a topic, and a client. Gone when dropped.
#[derive(Debug)]
pub struct World {
    /// For what the service keeps.
    pub folder: TempDir,
    /// The broker.
    pub broker: Broker,
    /// A client of it.
    pub client: Client,
    topic: &'static str,
}

impl World {
    /// A world with a topic that takes the largest messages that the platform has.
    pub async fn new(topic: &'static str, partitions: i32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("broker"));
        // A member that dies before its first heartbeat is missed when its session ends: a short one here.
        for setting in ["group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=100"] {
            config.settings.set_pair(setting).unwrap();
        }
        let broker = Broker::start(config).await.unwrap();
        let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
        let new = NewTopic::new(topic, partitions).config("max.message.bytes", "10485760");
        let made = client.admin().create_topics(&[new]).await.unwrap();
        assert!(made[0].1.is_ok(), "{made:?}");
        World { folder, broker, client, topic }
    }

    /// Sends messages, all of which are acknowledged then: how many.
    pub async fn produce<'a>(&self, messages: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> i64 {
        let producer = self.client.producer().max_request_size(11 << 20).build();
        let mut sent = 0;
        for (key, value) in messages {
            producer.enqueue(Outgoing::to(self.topic).key(key.as_bytes()).value(value)).await.unwrap();
            sent += 1;
        }
        producer.flush().await;
        producer.close(Duration::from_secs(10)).await.unwrap();
        sent
    }

    /// A service's file that names the broker, with one block that reads the topic as `group`; `more` stands behind the block's keys.
    pub fn yaml(&self, group: &str, consumers: u32, processors: u32, more: &str) -> String {
        format!(
            "Brokers: [{}]\nKq:\n  Group: {group}\n  Topic: {}\n  Offset: first\n  Consumers: {consumers}\n  Processors: {processors}\n  \
             CommitInterval: 20ms\n  SessionTimeout: 1500ms\n{more}",
            self.broker.address(),
            self.topic
        )
    }

    /// The first `count` dead letters of a group: value, and the reason in its headers.
    pub async fn dead_letters(&self, group: &str, count: usize) -> Vec<(String, String)> {
        let mut reader = self.client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
        let topic = format!("{}.{group}.dlq", self.topic);
        reader.assign([(TopicPartition::new(topic.as_str(), 0), Some(0))]).unwrap();
        let mut letters = Vec::new();
        while letters.len() < count {
            let event = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap();
            let ConsumerEvent::Batch(batch) = event else { continue };
            for record in batch.records() {
                let record = batch.to_owned(&record.unwrap());
                let (_, reason) =
                    record.headers.iter().find(|(name, _)| name == "kohort.dlq.reason").unwrap();
                let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
                letters.push((text(&record.value.unwrap()), text(reason.as_ref().unwrap())));
            }
        }
        letters
    }
}
