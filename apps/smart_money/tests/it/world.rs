//! A broker, a topic with real trades in it, and the service that reads it, in one process.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, ClientConfig, Outgoing};
use market_store::Positions;
use market_store::wallets::{SqliteWallets, WalletLog};
use smart_money::config::Own;
use smart_money::{Settings, SmartMoney};
use tempfile::TempDir;

pub(crate) const GROUP: &str = "smart-money-test";
pub(crate) const TOPIC: &str = "trades";

/// Everything that a test of the whole road needs; gone when dropped.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) broker: Broker,
    pub(crate) client: Client,
    /// Opened once: the last connection that closes a store writes its log back and syncs it, and a test asks a thousand times.
    watch: Mutex<Option<SqliteWallets>>,
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

    /// The file of addresses that the service reads, if there is one.
    pub(crate) fn addresses(&self) -> PathBuf {
        self.folder.path().join("wallets.txt")
    }

    pub(crate) fn settings_of(&self, group: &str, consumers: u32, processors: u32) -> Settings {
        self.settings_with(group, consumers, processors, "")
    }

    /// The log in a database, by its `DataSource`.
    pub(crate) fn settings_on(&self, source: &str) -> Settings {
        self.settings_with(GROUP, 1, 1, &format!("Mysql:\n  DataSource: '{source}'\n"))
    }

    fn settings_with(&self, group: &str, consumers: u32, processors: u32, more: &str) -> Settings {
        let mut text = format!(
            "Brokers: [{}]\nKq:\n  Group: {group}\n  Topic: {TOPIC}\n  Offset: first\n  Consumers: {consumers}\n  \
             Processors: {processors}\n  CommitInterval: 20ms\n  SessionTimeout: 1500ms\n{more}",
            self.broker.address()
        );
        if self.addresses().exists() {
            text += &format!("Addresses:\n  File: {}\n", self.addresses().display());
        }
        Settings::new(Own::parse("test.yaml", &text).unwrap(), self.folder.path())
    }

    pub(crate) fn start(&self, consumers: u32, processors: u32) -> SmartMoney {
        smart_money::start(&self.settings_of(GROUP, consumers, processors)).unwrap()
    }

    pub(crate) fn log(&self) -> SqliteWallets {
        SqliteWallets::open(&self.settings_of(GROUP, 1, 1).log_file()).unwrap()
    }

    fn watch<T>(&self, look: impl FnOnce(&mut SqliteWallets) -> T) -> T {
        look(self.watch.lock().unwrap().get_or_insert_with(|| self.log()))
    }

    /// Records below a group's positions.
    pub(crate) fn stored(&self, group: &str) -> i64 {
        self.watch(|log| log.positions(group).unwrap().iter().filter_map(|claim| claim.position).sum())
    }

    /// Waits until a group has read so many records.
    pub(crate) async fn until_stored(&self, group: &str, records: i64) {
        let stored = async {
            while self.stored(group) < records {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let limit = Duration::from_secs(120);
        assert!(
            tokio::time::timeout(limit, stored).await.is_ok(),
            "only {} of {records} are read",
            self.stored(group)
        );
        assert_eq!(self.stored(group), records);
    }

    /// How many trades of each wallet are in the log; each of them once, whatever the log's own index says.
    pub(crate) fn logged(&self) -> BTreeMap<String, u64> {
        let all = self.watch(|log| log.logged(None, None, usize::MAX).unwrap());
        let ids: BTreeSet<String> = all.iter().map(|logged| logged.trade.id.to_string()).collect();
        assert_eq!(ids.len(), all.len(), "each trade is in the log once");
        let places: BTreeSet<_> = all
            .iter()
            .map(|logged| (logged.trade.place.partition, logged.trade.place.offset, logged.trade.index))
            .collect();
        assert_eq!(places.len(), all.len(), "each trade was read at one place");
        let mut counts = BTreeMap::new();
        all.iter().for_each(|logged| *counts.entry(logged.trade.maker.to_string()).or_default() += 1);
        counts
    }
}

/// A set of real trades: its messages, keyed as the platform keys them, who is known in it, and how many trades each has.
pub(crate) struct Set {
    pub(crate) messages: Vec<(String, Vec<u8>)>,
    pub(crate) addresses: String,
    pub(crate) expected: BTreeMap<String, u64>,
}

impl Set {
    pub(crate) fn read(name: &str) -> Set {
        let expected: serde_json::Value =
            serde_json::from_slice(&bytes(&format!("{name}.expected.json"))).unwrap();
        let per_address = expected["per_address"].as_object().unwrap();
        let mut set = Set {
            messages: Vec::new(),
            addresses: String::from_utf8(bytes(&format!("{name}.smart_money_addresses.txt"))).unwrap(),
            expected: per_address
                .iter()
                .map(|(address, of)| (address.clone(), of["trades"].as_u64().unwrap()))
                .collect(),
        };
        assert_eq!(set.expected.values().sum::<u64>(), expected["matching_trades"].as_u64().unwrap());
        let trades = zstd::decode_all(&bytes(&format!("{name}.jsonl.zst"))[..]).unwrap();
        let mut index = HashMap::new();
        for line in String::from_utf8(trades).unwrap().lines() {
            let trade: serde_json::Value = serde_json::from_str(line).unwrap();
            let chain_id = trade["chain_id"].as_str().unwrap();
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
        set
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.messages.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }
}

fn bytes(file: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/market-data/tests/data").join(file);
    std::fs::read(path).unwrap()
}
