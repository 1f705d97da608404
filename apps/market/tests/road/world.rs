//! A broker, a topic with real trades in it, and the services that read it, in one process.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use candles::Settings;
use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, ClientConfig, Outgoing};
use kohort_service::ServiceFile;
use market_data::PairKey;
use market_data::reference::{self, Key, Row};
use market_store::{CandleReader, Positions, Scan, SqliteStore};
use tempfile::TempDir;

pub(crate) const GROUP: &str = "shared";
pub(crate) const TOPIC: &str = "trades";
/// A busy machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(90);

/// Everything that a test of the whole road needs; gone when dropped.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    broker: Broker,
    client: Client,
}

impl World {
    pub(crate) async fn new(partitions: i32) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path().join("broker"));
        for setting in ["group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=100"] {
            config.settings.set_pair(setting).unwrap();
        }
        let broker = Broker::start(config).await.unwrap();
        let client = Client::new(ClientConfig::new([broker.address().to_string()])).unwrap();
        let topic = NewTopic::new(TOPIC, partitions).config("max.message.bytes", "10485760");
        assert!(client.admin().create_topics(&[topic]).await.unwrap()[0].1.is_ok());
        World { folder, broker, client }
    }

    pub(crate) async fn produce(&self, messages: &[(String, Vec<u8>)]) {
        let producer = self.client.producer().max_request_size(11 << 20).build();
        for (key, value) in messages {
            let record = Outgoing::to(TOPIC).key(key.as_bytes()).value(value.as_slice());
            producer.enqueue(record).await.unwrap();
        }
        producer.flush().await;
        producer.close(Duration::from_secs(10)).await.unwrap();
    }

    /// A service in the group, which claims in the stores of `others` too and reads their parts.
    pub(crate) fn settings(&self, service: &str, others: &[&Path]) -> Settings {
        let others: String = others.iter().map(|path| format!("  - sqlite:{}\n", path.display())).collect();
        let stores = if others.is_empty() { String::new() } else { format!("GroupStores:\n{others}") };
        let text = format!(
            "Name: {service}\nBrokers: [{}]\n{stores}KqTest:\n  Group: {GROUP}\n  Topic: {TOPIC}\n  Offset: first\n  \
             Consumers: 1\n  Processors: 2\n  CommitInterval: 20ms\n  SessionTimeout: 1500ms\n",
            self.broker.address()
        );
        let file = ServiceFile::parse(service, "test.yaml", &text).unwrap();
        Settings::new(file, self.folder.path())
    }

    /// Waits until somebody owns each partition, and not one member all of them.
    pub(crate) async fn until_split(&self) {
        let began = Instant::now();
        loop {
            let group = self.client.admin().describe_group(GROUP).await.unwrap();
            let members = group.members.iter().filter(|member| !member.assignment.is_empty()).count();
            if members == 2 {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "{group:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// How far a file's positions are in the group, together.
pub(crate) fn stored(file: &Path) -> i64 {
    let mut store = SqliteStore::open(file).unwrap();
    store.positions(GROUP).unwrap().iter().filter_map(|claim| claim.position).sum()
}

/// All candles that a reader has of the group, as rows of a reference.
pub(crate) fn rows(reader: &mut dyn CandleReader, chains: &HashMap<String, String>) -> BTreeMap<Key, Row> {
    let mut rows = BTreeMap::new();
    let add = &mut |pair: &PairKey, interval, time, candle: &_| {
        let key = (chains[&pair.chain_id].clone(), pair.pair.clone(), interval, time);
        rows.insert(key, Row::of(candle).unwrap());
    };
    reader.scan(&Scan::all(GROUP), add).unwrap();
    rows
}

/// Waits until what `read` gives is the reference, to the last digit.
pub(crate) async fn until_equal(set: &Set, mut read: impl AsyncFnMut() -> BTreeMap<Key, Row>) {
    let began = Instant::now();
    loop {
        let result = reference::compare(&set.reference, &read().await);
        if (result.candles, result.differing) == (set.reference.len(), 0) {
            return;
        }
        let first = &result.differences[..result.differences.len().min(3)];
        assert!(
            began.elapsed() < PATIENCE,
            "{} candles, {} differ: {first:#?}",
            result.candles,
            result.differing
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
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
}

fn text(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/market-data/tests/data").join(file);
    String::from_utf8(zstd::decode_all(&std::fs::read(path).unwrap()[..]).unwrap()).unwrap()
}
