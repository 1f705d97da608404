//! A broker, a topic with real trades in it, and the service that reads it, in one process.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use dataflow::{Dataflow, Settings};
use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, ClientConfig, Outgoing};
use kohort_service::ServiceFile;
use market_data::reference::{self, Key, Row};
use market_store::{CandleStore, Positions, Scan, SqliteStore};
use tempfile::TempDir;

pub(crate) const GROUP: &str = "dataflow-test";
pub(crate) const TOPIC: &str = "trades";

/// Everything that a test of the whole road needs; gone when dropped.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) broker: Broker,
    pub(crate) client: Client,
    /// Opened once: the last connection that closes a store writes its log back and syncs it, and a test asks a thousand times.
    watch: Mutex<Option<SqliteStore>>,
}

impl World {
    pub(crate) async fn new(partitions: i32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("broker"));
        // A member that dies before its first heartbeat is missed when its session ends: a short one here.
        for setting in ["group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=100"] {
            config.settings.set_pair(setting).unwrap();
        }
        let broker = Broker::start(config).await.unwrap();
        let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
        let topic = NewTopic::new(TOPIC, partitions).config("max.message.bytes", "10485760");
        let made = client.admin().create_topics(&[topic]).await.unwrap();
        assert!(made[0].1.is_ok(), "{made:?}");
        World { folder, broker, client, watch: Mutex::default() }
    }

    pub(crate) async fn produce<'a>(&self, messages: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> i64 {
        let producer = self.client.producer().max_request_size(11 << 20).build();
        let mut sent = 0;
        for (key, value) in messages {
            producer.enqueue(Outgoing::to(TOPIC).key(key.as_bytes()).value(value)).await.unwrap();
            sent += 1;
        }
        producer.flush().await;
        producer.close(Duration::from_secs(10)).await.unwrap();
        sent
    }

    pub(crate) fn settings(&self, consumers: u32, processors: u32) -> Settings {
        let text = format!(
            "Name: dataflow\nBrokers: [{}]\nKqTest:\n  Group: {GROUP}\n  Topic: {TOPIC}\n  Offset: first\n  \
             Consumers: {consumers}\n  Processors: {processors}\n  CommitInterval: 20ms\n  SessionTimeout: 1500ms\n",
            self.broker.address()
        );
        let file = ServiceFile::parse("dataflow", "test.yaml", &text).unwrap();
        Settings::new(file, self.folder.path())
    }

    pub(crate) fn start(&self, consumers: u32, processors: u32) -> Dataflow {
        dataflow::start(&self.settings(consumers, processors)).unwrap()
    }

    pub(crate) fn store(&self) -> SqliteStore {
        SqliteStore::open(&dataflow::store_file(&self.settings(1, 1))).unwrap()
    }

    /// Moves the store's file away, as an operator does who wants the candles made anew. No service may run.
    pub(crate) async fn remove_store(&self) {
        *self.watch.lock().unwrap() = None;
        let file = dataflow::store_file(&self.settings(1, 1));
        let log = file.with_extension("db-wal");
        // The last connection to close takes the log away: until then the file is in use.
        let closed = async {
            while log.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(60), closed).await.expect("somebody has the store open");
        std::fs::remove_file(file).unwrap();
    }

    /// Records below the store's positions.
    pub(crate) fn stored(&self) -> i64 {
        let mut watch = self.watch.lock().unwrap();
        let store = watch.get_or_insert_with(|| self.store());
        store.positions(GROUP).unwrap().iter().filter_map(|c| c.position).sum()
    }

    /// Waits until the store has so many records.
    pub(crate) async fn until_stored(&self, records: i64) {
        let all = async {
            while self.stored() < records {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let waited = tokio::time::timeout(Duration::from_secs(60), all).await;
        assert!(waited.is_ok(), "{} of {records} records are stored", self.stored());
        assert_eq!(self.stored(), records);
    }

    /// All candles, as rows of a reference.
    pub(crate) fn rows(&self, chains: &HashMap<String, String>) -> BTreeMap<Key, Row> {
        let mut rows = BTreeMap::new();
        let mut reader = self.store().reader().unwrap();
        let add = &mut |pair: &market_data::PairKey, interval, time, candle: &_| {
            let key = (chains[&pair.chain_id].clone(), pair.pair.clone(), interval, time);
            rows.insert(key, Row::of(candle).unwrap());
        };
        reader.scan(&Scan::all(GROUP), add).unwrap();
        rows
    }

    /// Compares all candles with a set's reference.
    pub(crate) fn assert_equal(&self, set: &Set) {
        let result = reference::compare(&set.reference, &self.rows(&set.chains));
        let first = &result.differences[..result.differences.len().min(5)];
        assert_eq!((result.candles, result.differing), (set.reference.len(), 0), "{first:#?}");
    }
}

/// A set of real trades: its messages, keyed as the platform keys them, and its reference.
pub(crate) struct Set {
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    pub(crate) chains: HashMap<String, String>,
    pub(crate) reference: BTreeMap<Key, Row>,
}

impl Set {
    pub(crate) fn read(name: &str) -> Set {
        let mut set = Set { messages: Vec::new(), chains: HashMap::new(), reference: BTreeMap::new() };
        let mut index = HashMap::new();
        for line in text(&format!("{name}.jsonl.zst")).lines() {
            let trade: serde_json::Value = serde_json::from_str(line).unwrap();
            let chain_id = trade["chain_id"].as_str().unwrap();
            set.chains.insert(chain_id.to_owned(), trade["chain"].as_str().unwrap().to_owned());
            let key = ["slot", "block_num", "block_time"].iter().find_map(|f| trade[f].as_i64()).unwrap();
            let at = *index.entry((chain_id.to_owned(), key)).or_insert_with(|| {
                set.messages.push((key.to_string(), Vec::new()));
                set.messages.len() - 1
            });
            let value = &mut set.messages[at].1;
            value.push(if value.is_empty() { b'[' } else { b',' });
            value.extend_from_slice(line.as_bytes());
        }
        set.messages.iter_mut().for_each(|(_, value)| value.push(b']'));
        set.reference = reference::read(&text(&format!("{name}.candles.csv.zst"))).unwrap();
        set
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.messages.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }
}

fn text(file: &str) -> String {
    let path: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/market-data/tests/data").join(file);
    let bytes = std::fs::read(path).unwrap();
    String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap()
}
