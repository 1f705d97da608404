//! A broker, a topic, the service, and its interface over real HTTP.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use consumer::{Consumer, Settings};
use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, ClientConfig, ConsumerEvent, OffsetReset, Outgoing, TopicPartition};
use serde_json::Value;
use tempfile::TempDir;

pub(crate) const GROUP: &str = "looking";
pub(crate) const TOPIC: &str = "eth-trades";
/// A busy machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) const TRADES: &str = r#"[{"chain_id":"1","pair_addr":"p","type":"buy","token_price_usd":1.5,"total_usd":3,"token_amount":2,"block_time":1704412823},
 {"chain_id":"1","pair_addr":"p","type":"sell","token_price_usd":1.5,"total_usd":3,"token_amount":2,"block_time":1704412823},
 {"chain_id":"1","pair_addr":"p","type":"add_position","block_time":1704412823}]"#;

pub(crate) struct World {
    _folder: TempDir,
    pub(crate) broker: Broker,
    pub(crate) client: Client,
}

impl World {
    pub(crate) async fn new(partitions: i32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        for setting in ["group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=100"] {
            config.settings.set_pair(setting).unwrap();
        }
        let broker = Broker::start(config).await.unwrap();
        let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
        for (_, made) in client.admin().create_topics(&[NewTopic::new(TOPIC, partitions)]).await.unwrap() {
            made.unwrap();
        }
        World { _folder: folder, broker, client }
    }

    pub(crate) async fn produce(&self, partition: i32, values: &[&[u8]]) {
        let producer = self.client.producer().build();
        for value in values {
            let record = Outgoing::to(TOPIC).partition(partition).key(b"18937382").value(value);
            producer.send(record).await.unwrap().await.unwrap();
        }
    }

    /// The service with so many members, and more keys of the block or of the file.
    pub(crate) fn start(&self, consumers: usize, of_block: &str, of_file: &str) -> Served {
        self.start_reporting(Duration::from_millis(50), consumers, of_block, of_file)
    }

    /// As [`World::start`], with a report so often.
    pub(crate) fn start_reporting(
        &self,
        every: Duration,
        consumers: usize,
        of_block: &str,
        of_file: &str,
    ) -> Served {
        let text = format!(
            "Name: consumer\nBrokers: [{}]\nKqEthTrades:\n  Group: {GROUP}\n  Topic: {TOPIC}\n  Offset: first\n  Consumers: {consumers}\n  \
             Processors: 1\n  CommitInterval: 20ms\n{of_block}{of_file}",
            self.broker.address()
        );
        let mut settings = Settings::parse("consumer.yaml", &text).unwrap();
        settings.every = every;
        let consumer = consumer::start(&settings).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        listener.set_nonblocking(true).unwrap();
        let listener = tokio::net::TcpListener::from_std(listener).unwrap();
        let router = consumer.router();
        tokio::spawn(async move { axum::serve(listener, router).await });
        Served { consumer, address }
    }

    pub(crate) async fn committed(&self, partition: i32) -> Option<i64> {
        let offsets = self.client.admin().group_offsets(GROUP).await.unwrap();
        let wanted = TopicPartition::new(TOPIC, partition);
        offsets.into_iter().find(|(name, _)| *name == wanted).map(|(_, offset)| offset)
    }

    /// The first `count` dead letters: offset and reason.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<(String, String)> {
        let mut reader = self.client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
        let topic = format!("{TOPIC}.{GROUP}.dlq");
        reader.assign([(TopicPartition::new(topic.as_str(), 0), Some(0))]).unwrap();
        let mut letters = Vec::new();
        while letters.len() < count {
            let event = tokio::time::timeout(PATIENCE, reader.next()).await.unwrap();
            let ConsumerEvent::Batch(batch) = event else { continue };
            for record in batch.records() {
                let record = batch.to_owned(&record.unwrap());
                let header = |name: &str| {
                    let (_, value) = record.headers.iter().find(|(of, _)| of == name).unwrap();
                    String::from_utf8(value.clone().unwrap().to_vec()).unwrap()
                };
                letters.push((header("kohort.dlq.offset"), header("kohort.dlq.reason")));
            }
        }
        letters
    }
}

/// The service, served.
pub(crate) struct Served {
    pub(crate) consumer: Consumer,
    address: String,
}

impl Served {
    /// Status and body of an answer.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> (u16, String) {
        let address = self.address.clone();
        let request = format!(
            "{method} {path} HTTP/1.0\r\nHost: {address}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        let answer = tokio::task::spawn_blocking(move || {
            let mut stream = TcpStream::connect(address).unwrap();
            stream.write_all(request.as_bytes()).unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).unwrap();
            answer
        })
        .await
        .unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) async fn block(&self) -> Value {
        let (status, body) = self.ask("GET", "/api/flow", "").await;
        assert_eq!(status, 200, "{body}");
        let report: Value = serde_json::from_str(&body).unwrap();
        report["blocks"][0].clone()
    }

    /// Tells; the answer must be a success.
    pub(crate) async fn tell(&self, what: &str) {
        let (status, body) = self.ask("POST", "/api/behave", what).await;
        assert_eq!(status, 200, "{body}");
    }

    /// Asks until the first block is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = std::time::Instant::now();
        loop {
            let block = self.block().await;
            if wanted(&block) {
                return block;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: still {block:#}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The sum of a number over all flows.
pub(crate) fn sum(block: &Value, field: &str) -> u64 {
    block["flows"].as_array().unwrap().iter().map(|flow| flow[field].as_u64().unwrap()).sum()
}

/// The flow of a partition that its member owns.
pub(crate) fn owned(block: &Value, partition: i64) -> Option<&Value> {
    let flows = block["flows"].as_array().unwrap();
    flows.iter().find(|flow| flow["partition"] == partition && flow["owned"] == true)
}
