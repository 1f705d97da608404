//! A broker, a topic with real trades in it, and the service that reads it, in one process.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;
use std::sync::Mutex;
use std::time::Duration;

use dataflow::{Dataflow, Settings};
use kohort_service::ServiceFile;
use market_data::reference::{self, Key, Row};
use market_store::{CandleStore, Positions, SqliteStore};
pub(crate) use test_world::Set;

pub(crate) const GROUP: &str = "dataflow-test";
pub(crate) const TOPIC: &str = "trades";

/// Everything that a test of the whole road needs; gone when dropped.
pub(crate) struct World {
    base: test_world::World,
    /// Opened once: the last connection that closes a store writes its log back and syncs it, and a test asks a thousand times.
    watch: Mutex<Option<SqliteStore>>,
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

    pub(crate) fn settings(&self, consumers: u32, processors: u32) -> Settings {
        let text = self.yaml(GROUP, consumers, processors, "");
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
        test_world::rows(&mut *self.store().reader().unwrap(), GROUP, chains)
    }

    /// Compares all candles with a set's reference.
    pub(crate) fn assert_equal(&self, set: &Set) {
        let result = reference::compare(&set.reference, &self.rows(&set.chains));
        let first = &result.differences[..result.differences.len().min(5)];
        assert_eq!((result.candles, result.differing), (set.reference.len(), 0), "{first:#?}");
    }
}
