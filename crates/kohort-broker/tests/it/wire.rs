//! A broker of its own for each test, and a connection that says exactly what it is told to.

use std::collections::BTreeMap;

use bytes::{Bytes, BytesMut};
use kohort_broker::{Broker, Config};
use kohort_protocol::frame::{decode_response, encode_request};
use kohort_protocol::messages::create_topics_request::CreatableTopic;
use kohort_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kohort_protocol::messages::fetch_response::PartitionData;
use kohort_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kohort_protocol::messages::produce_response::PartitionProduceResponse;
use kohort_protocol::messages::{
    CreateTopicsRequest, CreateTopicsResponse, FetchRequest, FetchResponse, ProduceRequest, ProduceResponse,
    TopicName,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, Batches, Compressor, Decompressor};
use kohort_protocol::{Decodable, Encodable, HeaderVersion, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A broker on a folder that goes with it.
pub(crate) struct Node {
    pub(crate) broker: Option<Broker>,
    pub(crate) folder: tempfile::TempDir,
    settings: Vec<String>,
}

impl Node {
    pub(crate) async fn start(settings: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let mut node =
            Self { broker: None, folder, settings: settings.iter().map(|s| (*s).to_owned()).collect() };
        node.begin().await;
        node
    }

    /// Starts it; it does not run.
    pub(crate) async fn begin(&mut self) {
        let mut config = Config::new(self.folder.path());
        // Fifty partitions for the offsets are slow to make and of no use here.
        config.settings.set_pair("offsets.topic.num.partitions=2").expect("a setting");
        config.settings.set_pair("group.initial.rebalance.delay.ms=0").expect("a setting");
        for pair in &self.settings {
            config.settings.set_pair(pair).expect("a setting");
        }
        self.broker = Some(Broker::start(config).await.expect("the broker starts"));
    }

    /// Ends it as `kill -9` would, or cleanly, and starts it again.
    pub(crate) async fn restart(&mut self, cleanly: bool) {
        let broker = self.broker.take().expect("it runs");
        if cleanly {
            broker.shutdown().await;
        } else {
            drop(broker);
            // The tasks end at their next step; the lock is free when the last of them lets go.
            tokio::task::yield_now().await;
        }
        self.begin().await;
    }

    pub(crate) async fn connect(&self) -> Conn {
        let address = self.broker.as_ref().expect("it runs").address();
        Conn { socket: TcpStream::connect(address).await.expect("it listens"), correlation: 0 }
    }
}

/// A connection.
pub(crate) struct Conn {
    pub(crate) socket: TcpStream,
    correlation: i32,
}

impl Conn {
    pub(crate) async fn raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).await.expect("the socket takes it");
    }

    /// The next frame without its length; `None` when the other side closed.
    pub(crate) async fn frame(&mut self) -> Option<Bytes> {
        let n = self.socket.read_i32().await.ok()?;
        let mut frame = vec![0; usize::try_from(n).expect("a length")];
        self.socket.read_exact(&mut frame).await.ok()?;
        Some(frame.into())
    }

    pub(crate) async fn send<T: Encodable + HeaderVersion>(&mut self, key: i16, version: i16, message: &T) {
        self.correlation += 1;
        let mut out = BytesMut::new();
        let client = StrBytes::from_static_str("test");
        encode_request(&mut out, key, version, self.correlation, &client, message)
            .expect("it can be written");
        self.raw(&out).await;
    }

    pub(crate) async fn receive<T: Decodable + HeaderVersion>(&mut self, version: i16) -> T {
        let frame = self.frame().await.expect("an answer");
        let (correlation, message) = decode_response(frame, version).expect("it can be read");
        assert_eq!(correlation, self.correlation);
        message
    }

    pub(crate) async fn call<Q, A>(&mut self, key: i16, version: i16, message: &Q) -> A
    where
        Q: Encodable + HeaderVersion,
        A: Decodable + HeaderVersion,
    {
        self.send(key, version, message).await;
        self.receive(version).await
    }

    /// Makes a topic with one setting each, such as `("segment.bytes", "1048576")`.
    pub(crate) async fn create(&mut self, name: &str, partitions: i32, configs: &[(&str, &str)]) {
        use kohort_protocol::messages::create_topics_request::CreatableTopicConfig;
        let configs = configs
            .iter()
            .map(|(k, v)| CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v))))
            .collect();
        let topic = CreatableTopic::default()
            .with_name(topic(name))
            .with_num_partitions(partitions)
            .with_replication_factor(1)
            .with_configs(configs);
        let request = CreateTopicsRequest::default().with_topics(vec![topic]).with_timeout_ms(1000);
        let answer: CreateTopicsResponse = self.call(19, 7, &request).await;
        assert_eq!(answer.topics[0].error_code, 0, "{:?}", answer.topics[0].error_message);
    }

    /// Produces a batch as it is, acks=all.
    pub(crate) async fn produce(
        &mut self,
        name: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        self.produce_as(9, -1, name, partition, batch).await
    }

    pub(crate) async fn produce_as(
        &mut self,
        version: i16,
        acks: i16,
        name: &str,
        partition: i32,
        batch: Bytes,
    ) -> PartitionProduceResponse {
        let request = produce_request(acks, name, partition, batch);
        let answer: ProduceResponse = self.call(0, version, &request).await;
        answer.responses[0].partition_responses[0].clone()
    }

    /// Fetches one partition without a session.
    pub(crate) async fn fetch(&mut self, name: &str, partition: i32, offset: i64) -> PartitionData {
        let request = fetch_request(&[(name, partition, offset)]).with_session_epoch(-1);
        let answer: FetchResponse = self.call(1, 12, &request).await;
        assert_eq!(answer.error_code, 0);
        answer.responses[0].partitions[0].clone()
    }
}

pub(crate) fn text(s: &str) -> StrBytes {
    StrBytes::from_string(s.to_owned())
}

pub(crate) fn topic(s: &str) -> TopicName {
    TopicName(text(s))
}

pub(crate) fn produce_request(acks: i16, name: &str, partition: i32, batch: Bytes) -> ProduceRequest {
    let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
    let data = TopicProduceData::default().with_name(topic(name)).with_partition_data(vec![data]);
    ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![data])
}

/// Of (topic, partition, offset); at once, up to a megabyte a partition.
pub(crate) fn fetch_request(of: &[(&str, i32, i64)]) -> FetchRequest {
    let mut topics: BTreeMap<&str, Vec<FetchPartition>> = BTreeMap::new();
    for (name, partition, offset) in of {
        let partition = FetchPartition::default()
            .with_partition(*partition)
            .with_current_leader_epoch(-1)
            .with_fetch_offset(*offset)
            .with_log_start_offset(-1)
            .with_partition_max_bytes(1 << 20);
        topics.entry(name).or_default().push(partition);
    }
    let topics = topics
        .into_iter()
        .map(|(name, partitions)| FetchTopic::default().with_topic(topic(name)).with_partitions(partitions));
    FetchRequest::default()
        .with_replica_id((-1).into())
        .with_session_epoch(0)
        .with_min_bytes(1)
        .with_max_bytes(50 << 20)
        .with_topics(topics.collect())
}

/// A batch with these values.
pub(crate) fn batch(values: &[&str]) -> Bytes {
    batch_with(values, &BatchOptions::default())
}

pub(crate) fn batch_with(values: &[&str], options: &BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new();
    for value in values {
        builder.append(now_ms(), None, Some(value.as_bytes()), &[]).expect("room");
    }
    builder.finish(options, &mut Compressor::new()).expect("a batch")
}

pub(crate) fn now_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a clock");
    i64::try_from(now.as_millis()).expect("a time")
}

/// Offset and value of every record.
pub(crate) fn values(data: &PartitionData) -> Vec<(i64, String)> {
    let bytes = data.records.clone().unwrap_or_default();
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    for batch in Batches::new(&bytes) {
        let batch = batch.expect("a batch");
        batch.check_crc().expect("sound");
        for record in batch.records(&mut decompressor).expect("records") {
            let record = record.expect("a record");
            let value = String::from_utf8_lossy(record.value.unwrap_or_default()).into_owned();
            out.push((record.offset, value));
        }
    }
    out
}
