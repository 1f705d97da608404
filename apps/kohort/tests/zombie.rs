//! Three processes of one group on one store; one is killed, one is frozen for longer than its session and wakes up: the zombie must
//! change nothing, and every candle must be right to the last digit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::path::Path;
use std::time::{Duration, Instant};

use market_data::reference::compare;
use market_store::{CandleStore, SqliteStore};
use rig::{Broker, Process, Set, kohort, parts};

const GROUP: &str = "zombies";

fn dataflow(config: &Path, data: &Path) -> Process {
    let command = kohort("warn")
        .args(["dataflow", "--http", "127.0.0.1:0", "-f"])
        .arg(config)
        .arg("--data")
        .arg(data)
        .spawn();
    Process(command.unwrap())
}

fn replay(lines: &[String], folder: &Path, broker: &str) {
    let path = folder.join("part.jsonl");
    std::fs::write(&path, lines.join("\n") + "\n").unwrap();
    let sent = kohort("warn")
        .arg("replay")
        .arg(&path)
        .args(["--topic", "eth-trades", "--bootstrap-server", broker])
        .status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_killed_and_a_frozen_member_change_no_candle() {
    let folder = tempfile::tempdir().unwrap();
    let set = Set::read();
    let [first, second, third] = parts(&set.lines, 3)[..] else { unreachable!("three parts") };

    let broker = Broker::start(&folder.path().join("broker"), &["num.partitions=6"]);
    let address = &broker.address;
    let config = folder.path().join("dataflow.yaml");
    let text = format!(
        "Brokers:\n  - {address}\nKqEth:\n  Group: {GROUP}\n  Topic: eth-trades\n  Offset: first\n  Consumers: 1\n  Processors: 2\n  \
         MinBytes: 1\n  CommitInterval: 50ms\n  SessionTimeout: 1s\n"
    );
    std::fs::write(&config, text).unwrap();
    let data = folder.path().join("data");
    std::fs::create_dir(&data).unwrap();

    replay(&first[..1], folder.path(), address); // the topic is there before its readers
    let mut members: Vec<Process> = (0..3).map(|_| dataflow(&config, &data)).collect();
    replay(&first[1..], folder.path(), address);
    members[2].signal("-STOP");
    drop(members.remove(0));
    replay(second, folder.path(), address);
    // The frozen one is out of the group when the others have everything: its partitions too.
    let file = data.join("candles.db");
    std::thread::sleep(Duration::from_secs(3));
    members[1].signal("-CONT");
    replay(third, folder.path(), address);

    let compared = || {
        let mut reader = SqliteStore::open(&file).unwrap().reader().unwrap();
        compare(&set.reference, &rig::candles(&mut *reader, GROUP))
    };
    let until = Instant::now() + Duration::from_secs(90);
    loop {
        let compared = compared();
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
    assert_eq!(compared().differing, 0);
    assert!(members.iter_mut().all(Process::runs), "both live on");
}
