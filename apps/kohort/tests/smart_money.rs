//! `kohort smart-money` as a process that is killed and frozen: the log has each trade of a known wallet once, and a receiver hears of
//! each, each time under the same key.
//!
//! `KOHORT_KILLS=50 cargo test -p kohort --test smart_money` kills more often than CI does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod rig;

use std::collections::BTreeMap;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant, SystemTime};

use market_store::Positions;
use market_store::wallets::{SqliteWallets, WalletLog};
use rig::{Broker, Process, Receiver, Set, file, kohort, parts};

const GROUP: &str = "wallets";
const TOPIC: &str = "eth-trades";
const PARTITIONS: i32 = 3;

fn assert_runs(service: &mut Process) {
    assert!(service.runs(), "it ended by itself");
}

/// What a test stands on.
struct World {
    folder: tempfile::TempDir,
    broker: Broker,
    receiver: Receiver,
    set: Set,
    log: Mutex<Option<SqliteWallets>>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(&folder.path().join("broker"), &[&format!("num.partitions={PARTITIONS}")]);
        let receiver = Receiver::start();
        let text = format!(
            "Brokers: [{}]\nKq:\n  Group: {GROUP}\n  Topic: {TOPIC}\n  Offset: first\n  Consumers: 1\n  Processors: 2\n  \
             CommitInterval: 50ms\n  SessionTimeout: 1s\nAddresses:\n  File: {}\nNotify:\n  - Kind: webhook\n    \
             Url: http://{}/\n    Rules:\n      - Kind: trade\n",
            broker.address,
            file("smart_money_addresses.txt").display(),
            receiver.address
        );
        std::fs::write(folder.path().join("smartmoney.yaml"), text).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        World { broker, receiver, set: Set::read(), folder, log: Mutex::default() }
    }

    fn service(&self) -> Process {
        let command = kohort("warn")
            .args(["smart-money", "--http", "127.0.0.1:0", "-f"])
            .arg(self.folder.path().join("smartmoney.yaml"))
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .spawn();
        Process(command.unwrap())
    }

    fn replay(&self, lines: &[String]) {
        let path = self.folder.path().join("part.jsonl");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let sent = kohort("warn")
            .arg("replay")
            .arg(&path)
            .args(["--topic", TOPIC, "--bootstrap-server", &self.broker.address])
            .status();
        assert!(sent.unwrap().success());
    }

    fn log<T>(&self, look: impl FnOnce(&mut SqliteWallets) -> T) -> T {
        let open = || SqliteWallets::open(&self.folder.path().join("data/smart_money.db")).unwrap();
        look(self.log.lock().unwrap().get_or_insert_with(open))
    }

    /// Waits until the group has read all that is in the topic.
    fn until_read(&self, services: &mut [Process]) {
        let until = Instant::now() + Duration::from_secs(120);
        let end = || {
            let told = kohort("warn")
                .args(["groups", "describe", GROUP, "--json", "--bootstrap-server", &self.broker.address])
                .stdout(Stdio::piped())
                .output()
                .unwrap();
            let group: serde_json::Value = serde_json::from_slice(&told.stdout).ok()?;
            let partitions = group["partitions"].as_array()?;
            let whole = partitions.len() == PARTITIONS as usize;
            whole.then(|| partitions.iter().filter_map(|one| one["end"].as_i64()).sum::<i64>())
        };
        loop {
            let read: i64 =
                self.log(|log| log.positions(GROUP).unwrap().iter().filter_map(|claim| claim.position).sum());
            if Some(read) == end() {
                return;
            }
            assert!(Instant::now() < until, "{read} of {:?} messages are read", end());
            services.iter_mut().for_each(assert_runs);
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// The log has what it must have, each trade once; the receiver was told of each.
    fn assert_exact(&self) {
        let all = self.log(|log| log.logged(None, None, usize::MAX).unwrap());
        let mut keys: Vec<String> = all.iter().map(|logged| format!("trade|{}", logged.trade.id)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all.len(), "each trade is in the log once");
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        all.iter().for_each(|logged| *counts.entry(logged.trade.maker.to_string()).or_default() += 1);
        assert_eq!(counts, self.set.wallets);
        // A dispatcher that was killed with rows in hand is replaced when its lease ends, after 45 s.
        let until = Instant::now() + Duration::from_secs(240);
        loop {
            let taken = self.receiver.taken();
            if taken.len() >= keys.len() {
                assert!(taken.keys().eq(&keys), "each trade is told, and nothing else");
                let again: u32 = taken.values().map(|times| times - 1).sum();
                println!("{} trades, {} told, {again} of them twice under one key", keys.len(), taken.len());
                return;
            }
            assert!(Instant::now() < until, "{} of {} trades are told", taken.len(), keys.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn killed_at_random_moments_the_log_has_each_trade_once_and_each_is_told() {
    let kills: usize = std::env::var("KOHORT_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let world = World::new();
    let mut random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut service = world.service();
    for (done, part) in parts(&world.set.lines, kills + 1).into_iter().enumerate() {
        world.replay(part);
        if done == kills {
            break;
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Before it has joined, while it reads, while it tells, or when all is done.
        std::thread::sleep(Duration::from_millis(20 + u64::from(random >> 16) % 900));
        assert_runs(&mut service);
        drop(service);
        service = world.service();
    }
    let mut services = [service];
    world.until_read(&mut services);
    world.assert_exact();
}

#[test]
fn a_frozen_owner_that_wakes_up_adds_nothing_to_the_log() {
    let world = World::new();
    let three = parts(&world.set.lines, 3);
    world.replay(&three[0][..1]); // the topic is there before its readers
    let mut services = [world.service(), world.service()];
    world.replay(&three[0][1..]);
    services[0].signal("-STOP");
    world.replay(three[1]);
    // Its session ends, and the other has its partitions.
    std::thread::sleep(Duration::from_secs(3));
    services[0].signal("-CONT");
    world.replay(three[2]);
    world.until_read(&mut services);
    // Whatever the zombie still has in hand would come now.
    std::thread::sleep(Duration::from_secs(2));
    world.assert_exact();
}
