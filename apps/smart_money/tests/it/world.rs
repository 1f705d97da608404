//! A broker, a topic with real trades in it, and the service that reads it, in one process.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Mutex;
use std::time::Duration;

use market_store::Positions;
use market_store::wallets::{SqliteWallets, WalletLog};
use smart_money::config::Own;
use smart_money::{Settings, SmartMoney};

pub(crate) const GROUP: &str = "smart-money-test";
pub(crate) const TOPIC: &str = "trades";

/// Everything that a test of the whole road needs; gone when dropped.
pub(crate) struct World {
    base: test_world::World,
    /// Opened once: the last connection that closes a store writes its log back and syncs it, and a test asks a thousand times.
    watch: Mutex<Option<SqliteWallets>>,
}

impl Deref for World {
    type Target = test_world::World;
    fn deref(&self) -> &test_world::World {
        &self.base
    }
}

impl World {
    pub(crate) async fn new(partitions: i32) -> World {
        World { base: test_world::World::new(TOPIC, partitions).await, watch: Mutex::default() }
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
        let mut text = self.yaml(group, consumers, processors, more);
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
            serde_json::from_slice(&test_world::file(&format!("{name}.expected.json"))).unwrap();
        let per_address = expected["per_address"].as_object().unwrap();
        let set = Set {
            messages: test_world::messages(name).0,
            addresses: String::from_utf8(test_world::file(&format!("{name}.smart_money_addresses.txt")))
                .unwrap(),
            expected: per_address
                .iter()
                .map(|(address, of)| (address.clone(), of["trades"].as_u64().unwrap()))
                .collect(),
        };
        assert_eq!(set.expected.values().sum::<u64>(), expected["matching_trades"].as_u64().unwrap());
        set
    }

    pub(crate) fn messages(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.messages.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }
}
