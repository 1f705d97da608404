//! Three processes of one group on one store; one is killed, one is frozen for longer than its session and wakes up: the zombie must
//! change nothing, and every candle must be right to the last digit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use market_data::reference::{self, Key, Row, compare};
use market_store::{CandleStore, Scan, SqliteStore};

const SET: &str = "../../crates/market-data/tests/data/dex_eth_univ3_20240105";
const GROUP: &str = "zombies";

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Process {
    fn signal(&self, name: &str) {
        let told = Command::new("kill").args([name, &self.0.id().to_string()]).status().unwrap();
        assert!(told.success(), "kill {name}");
    }
}

fn kohort() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kohort"));
    command.args(["--log", "warn"]).stdin(Stdio::null());
    command
}

fn broker(data: &Path) -> (Process, String) {
    let mut child = kohort()
        .args([
            "broker",
            "--listen",
            "127.0.0.1:0",
            "--set",
            "num.partitions=6",
            "--set",
            "group.initial.rebalance.delay.ms=0",
        ])
        .args(["--set", "group.min.session.timeout.ms=500", "--data"])
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("broker listening on ").expect("the broker says where").to_owned();
    (Process(child), address)
}

fn dataflow(config: &Path, data: &Path) -> Process {
    let command = kohort()
        .args(["dataflow", "--http", "127.0.0.1:0", "-f"])
        .arg(config)
        .arg("--data")
        .arg(data)
        .stdout(Stdio::null())
        .spawn();
    Process(command.unwrap())
}

fn unpacked(path: &str) -> String {
    let bytes = std::fs::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
    String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap()
}

fn replay(lines: &[&str], folder: &Path, broker: &str) {
    let path = folder.join("part.jsonl");
    let mut file = std::fs::File::create(&path).unwrap();
    lines.iter().for_each(|line| writeln!(file, "{line}").unwrap());
    let sent = kohort()
        .arg("replay")
        .arg(&path)
        .args(["--topic", "eth-trades", "--bootstrap-server", broker])
        .stdout(Stdio::null())
        .status();
    assert!(sent.unwrap().success());
}

fn candles(file: &Path) -> BTreeMap<Key, Row> {
    let chains = HashMap::from([("1", "eth")]);
    let mut rows = BTreeMap::new();
    let store = SqliteStore::open(file).unwrap();
    let mut reader = store.reader().unwrap();
    reader
        .scan(&Scan::all(GROUP), &mut |pair, interval, time, candle| {
            let chain = chains[pair.chain_id.as_str()].to_owned();
            rows.insert((chain, pair.pair.clone(), interval, time), Row::of(candle).unwrap());
        })
        .unwrap();
    rows
}

#[test]
fn a_killed_and_a_frozen_member_change_no_candle() {
    let folder = tempfile::tempdir().unwrap();
    let reference = reference::read(&unpacked(&format!("{SET}.candles.csv.zst"))).unwrap();
    let trades = unpacked(&format!("{SET}.jsonl.zst"));
    // Cut where a new block begins, so that a block stays one message.
    let lines: Vec<&str> = trades.lines().collect();
    let block = |line: &str| {
        line.split("\"block_num\":").nth(1).map(|rest| rest.split(',').next().unwrap().to_owned())
    };
    let cut = |near: usize| (near..lines.len()).find(|i| block(lines[*i]) != block(lines[*i - 1])).unwrap();
    let (a, b) = (cut(lines.len() / 3), cut(lines.len() * 2 / 3));

    let (_broker, address) = broker(&folder.path().join("broker"));
    let config = folder.path().join("dataflow.yaml");
    let text = format!(
        "Brokers:\n  - {address}\nKqEth:\n  Group: {GROUP}\n  Topic: eth-trades\n  Offset: first\n  Consumers: 1\n  Processors: 2\n  \
         MinBytes: 1\n  CommitInterval: 50ms\n  SessionTimeout: 1s\n"
    );
    std::fs::write(&config, text).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();

    replay(&lines[..1], folder.path(), &address); // the topic is there before its readers
    let mut members: Vec<Process> = (0..3).map(|_| dataflow(&config, &data)).collect();
    replay(&lines[1..a], folder.path(), &address);
    members[2].signal("-STOP");
    drop(members.remove(0));
    replay(&lines[a..b], folder.path(), &address);
    // The frozen one is out of the group when the others have everything: its partitions too.
    let file = data.join("candles.db");
    std::thread::sleep(Duration::from_secs(3));
    members[1].signal("-CONT");
    replay(&lines[b..], folder.path(), &address);

    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let compared = compare(&reference, &candles(&file));
        if compared.differing == 0 {
            break;
        }
        assert!(
            Instant::now() < until,
            "{} candles differ: {:?}",
            compared.differing,
            compared.differences.first()
        );
        std::thread::sleep(Duration::from_millis(50));
    }
    // Whatever the zombie still has in hand would come now.
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!(compare(&reference, &candles(&file)).differing, 0);
    assert!(members.iter_mut().all(|m| m.0.try_wait().unwrap().is_none()), "both live on");
}
