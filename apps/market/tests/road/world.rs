//! A broker, a topic with real trades in it, and the services that read it, in one process.

use std::collections::BTreeMap;
use std::ops::Deref;
use std::path::Path;
use std::time::{Duration, Instant};

use candles::Settings;
use kohort_service::ServiceFile;
use market_data::reference::{self, Key, Row};
use market_store::{Positions, SqliteStore};
pub(crate) use test_world::Set;

pub(crate) const GROUP: &str = "shared";
pub(crate) const TOPIC: &str = "trades";
/// A busy machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(90);

/// Everything that a test of the whole road needs; gone when dropped.
pub(crate) struct World(test_world::World);

impl Deref for World {
    type Target = test_world::World;
    fn deref(&self) -> &test_world::World {
        &self.0
    }
}

impl World {
    pub(crate) async fn new(partitions: i32) -> World {
        World(test_world::World::new(TOPIC, partitions).await)
    }

    /// A service in the group, which claims in the stores of `others` too and reads their parts.
    pub(crate) fn settings(&self, service: &str, others: &[&Path]) -> Settings {
        let others: String = others.iter().map(|path| format!("  - sqlite:{}\n", path.display())).collect();
        let stores = if others.is_empty() { String::new() } else { format!("GroupStores:\n{others}") };
        let text = self.yaml(GROUP, 1, 2, &stores);
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
