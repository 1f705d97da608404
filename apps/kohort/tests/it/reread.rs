//! A topic that is read from the start again, with the commands that an operator has: `docs/exactness.md`.

use std::collections::BTreeMap;
use std::path::Path;

use market_data::reference::{self, Row, compare};
use market_store::{CandleStore, Scan, SqliteStore};
use serde_json::Value;

use crate::process::{Server, said, text, told};

const PARTITIONS: usize = 3;
const SET: &str = "../../crates/market-data/tests/data/dex_eth_univ3_20240105";

/// What an operator has before him.
struct World {
    broker: Server,
    folder: tempfile::TempDir,
}

impl World {
    /// Runs Dataflow until nothing is left to be read, and says how many records this process read.
    fn dataflow(&self) -> u64 {
        let (file, data) = (self.folder.path().join("d.yaml"), self.folder.path().join("data"));
        let service = Server::dataflow(&["-f", text(&file), "--data", text(&data), "--http", "127.0.0.1:0"]);
        let describe = ["groups", "describe", "g", "--json", "--bootstrap-server", &self.broker.broker];
        // Committed is what is stored: lag says both. Where a partition has nothing committed yet, the group's lag leaves it out.
        let stored = |told: Value| {
            let partitions = told["partitions"].as_array().expect("partitions");
            partitions.len() == PARTITIONS && partitions.iter().all(|partition| partition["lag"] == 0)
        };
        service.until("/api/input", |_| stored(told(&describe)));
        let read = service.ask("/api/input")[0]["messages"].as_u64().expect("a number");
        assert_eq!(service.end("-INT").0, Some(0));
        read
    }

    fn reset(&self) -> String {
        let to_the_start = ["groups", "reset", "g", "--topic", "eth-trades", "--to", "first", "--execute"];
        said(&[&to_the_start[..], &["--bootstrap-server", &self.broker.broker]].concat(), "")
    }

    fn assert_equal(&self) {
        let reference = reference::read(&unpacked("candles.csv.zst")).expect("a reference");
        let store = SqliteStore::open(&self.folder.path().join("data/candles.db")).expect("the store");
        let mut rows = BTreeMap::new();
        let mut reader = store.reader().expect("a reader");
        let add = &mut |pair: &market_data::PairKey, interval, time, candle: &_| {
            rows.insert(
                ("eth".to_owned(), pair.pair.clone(), interval, time),
                Row::of(candle).expect("prices"),
            );
        };
        reader.scan(&Scan::all("g"), add).expect("all candles");
        let compared = compare(&reference, &rows);
        assert_eq!((compared.candles, compared.differing), (reference.len(), 0));
    }
}

fn unpacked(ending: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{SET}.{ending}"));
    let bytes = std::fs::read(path).expect("the set");
    String::from_utf8(zstd::decode_all(&bytes[..]).expect("zstd")).expect("text")
}

#[test]
fn a_group_moved_to_the_start_reads_nothing_twice_and_everything_with_a_new_store() {
    let folder = tempfile::tempdir().expect("a folder");
    let partitions = format!("num.partitions={PARTITIONS}");
    let settings = ["--set", &partitions, "--set", "group.initial.rebalance.delay.ms=0"];
    let world = World { broker: Server::broker(&folder.path().join("broker"), &settings), folder };
    let block = format!(
        "Brokers: [{}]\nKqEth:\n  Group: g\n  Topic: eth-trades\n  Offset: first\n  Consumers: 2\n  Processors: 2\n  CommitInterval: 50ms\n",
        world.broker.broker
    );
    std::fs::write(world.folder.path().join("d.yaml"), block).expect("write a file");
    let trades = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{SET}.jsonl.zst"));
    let replay =
        ["replay", text(&trades), "--topic", "eth-trades", "--bootstrap-server", &world.broker.broker];
    said(&replay, "");

    let records = world.dataflow();
    assert!(records > 1000, "{records}");
    world.assert_equal();

    let moved = world.reset();
    assert!(moved.ends_with("group `g` moved\n"), "{moved}");
    assert_eq!(world.dataflow(), 0, "the store has everything");
    world.assert_equal();

    let data = world.folder.path().join("data");
    std::fs::rename(data.join("candles.db"), data.join("candles.db.old")).expect("move the store away");
    world.reset();
    assert_eq!(world.dataflow(), records);
    world.assert_equal();
}
