//! `kohort smart-money` as a process that is killed and frozen: the log has each trade of a known wallet once, and a receiver hears of
//! each, each time under the same key.
//!
//! `KOHORT_KILLS=50 cargo test -p kohort --test smart_money` kills more often than CI does.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant, SystemTime};

use market_store::Positions;
use market_store::wallets::{SqliteWallets, WalletLog};

const SET: &str = "../../crates/market-data/tests/data/dex_eth_univ3_20240105";
const GROUP: &str = "wallets";
const TOPIC: &str = "eth-trades";
const PARTITIONS: i32 = 3;

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

    fn assert_runs(&mut self) {
        assert!(self.0.try_wait().unwrap().is_none(), "it ended by itself");
    }
}

fn kohort() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kohort"));
    command.args(["--log", "warn"]).stdin(Stdio::null());
    command
}

fn broker(data: &Path) -> (Process, String) {
    let settings =
        ["num.partitions=3", "group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=500"];
    let mut child = kohort()
        .args(["broker", "--listen", "127.0.0.1:0"])
        .args(settings.iter().flat_map(|setting| ["--set", setting]))
        .arg("--data")
        .arg(data)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let address = line.trim().strip_prefix("broker listening on ").expect("the broker says where").to_owned();
    (Process(child), address)
}

/// A receiver of webhooks: how often it took each key.
struct Receiver {
    address: String,
    taken: Arc<Mutex<BTreeMap<String, u32>>>,
}

impl Receiver {
    fn start() -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let taken: Arc<Mutex<BTreeMap<String, u32>>> = Arc::default();
        let keys = Arc::clone(&taken);
        std::thread::spawn(move || {
            for socket in listener.incoming() {
                let (Ok(socket), keys) = (socket, Arc::clone(&keys)) else { return };
                std::thread::spawn(move || {
                    let mut reader = BufReader::new(socket);
                    // A sender that is killed leaves half a request behind: nothing was taken then.
                    while let Some(key) = request(&mut reader) {
                        *keys.lock().unwrap().entry(key).or_default() += 1;
                        let answer = "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n";
                        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
                            return;
                        }
                    }
                });
            }
        });
        Receiver { address, taken }
    }

    fn taken(&self) -> BTreeMap<String, u32> {
        self.taken.lock().unwrap().clone()
    }
}

/// One whole request: its key.
fn request(reader: &mut impl BufRead) -> Option<String> {
    let (mut key, mut length) = (None, 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim();
        if line.is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':') {
            match name.to_ascii_lowercase().as_str() {
                "idempotency-key" => key = Some(value.trim().to_owned()),
                "content-length" => length = value.trim().parse().ok()?,
                _ => {}
            }
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    key
}

/// What a test stands on.
struct World {
    folder: tempfile::TempDir,
    _broker: Process,
    address: String,
    receiver: Receiver,
    lines: Vec<String>,
    /// From wallet to trades.
    expected: BTreeMap<String, u64>,
    log: Mutex<Option<SqliteWallets>>,
}

fn file(ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{SET}.{ending}"))
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let (broker, address) = broker(&folder.path().join("broker"));
        let receiver = Receiver::start();
        let trades = zstd::decode_all(&std::fs::read(file("jsonl.zst")).unwrap()[..]).unwrap();
        let expected: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file("expected.json")).unwrap()).unwrap();
        let expected = expected["per_address"].as_object().unwrap().iter();
        let text = format!(
            "Brokers: [{address}]\nKq:\n  Group: {GROUP}\n  Topic: {TOPIC}\n  Offset: first\n  Consumers: 1\n  Processors: 2\n  \
             CommitInterval: 50ms\n  SessionTimeout: 1s\nAddresses:\n  File: {}\nNotify:\n  - Kind: webhook\n    \
             Url: http://{}/\n    Rules:\n      - Kind: trade\n",
            file("smart_money_addresses.txt").display(),
            receiver.address
        );
        std::fs::write(folder.path().join("smartmoney.yaml"), text).unwrap();
        std::fs::create_dir(folder.path().join("data")).unwrap();
        World {
            _broker: broker,
            address,
            receiver,
            lines: String::from_utf8(trades).unwrap().lines().map(str::to_owned).collect(),
            expected: expected
                .map(|(address, of)| (address.clone(), of["trades"].as_u64().unwrap()))
                .collect(),
            folder,
            log: Mutex::default(),
        }
    }

    fn service(&self) -> Process {
        let command = kohort()
            .args(["smart-money", "--http", "127.0.0.1:0", "-f"])
            .arg(self.folder.path().join("smartmoney.yaml"))
            .arg("--data")
            .arg(self.folder.path().join("data"))
            .stdout(Stdio::null())
            .spawn();
        Process(command.unwrap())
    }

    fn replay(&self, lines: &[String]) {
        let path = self.folder.path().join("part.jsonl");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let sent = kohort()
            .arg("replay")
            .arg(&path)
            .args(["--topic", TOPIC, "--bootstrap-server", &self.address])
            .stdout(Stdio::null())
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
            let told = kohort()
                .args(["groups", "describe", GROUP, "--json", "--bootstrap-server", &self.address])
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
            services.iter_mut().for_each(Process::assert_runs);
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
        assert_eq!(counts, self.expected);
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

/// So many parts, cut where a new block begins, so that a block stays one message.
fn parts(lines: &[String], count: usize) -> Vec<&[String]> {
    let block = |line: &str| {
        line.split("\"block_num\":").nth(1).map(|rest| rest.split(',').next().unwrap().to_owned())
    };
    let mut parts = Vec::new();
    let mut from = 0;
    for part in 1..=count {
        let near = lines.len() * part / count;
        let to =
            (near..lines.len()).find(|i| block(&lines[*i]) != block(&lines[*i - 1])).unwrap_or(lines.len());
        parts.push(&lines[from..to]);
        from = to;
    }
    parts
}

#[test]
fn killed_at_random_moments_the_log_has_each_trade_once_and_each_is_told() {
    let kills: usize = std::env::var("KOHORT_KILLS").map_or(5, |kills| kills.parse().unwrap());
    let world = World::new();
    let mut random = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_nanos();
    let mut service = world.service();
    for (done, part) in parts(&world.lines, kills + 1).into_iter().enumerate() {
        world.replay(part);
        if done == kills {
            break;
        }
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        // Before it has joined, while it reads, while it tells, or when all is done.
        std::thread::sleep(Duration::from_millis(20 + u64::from(random >> 16) % 900));
        service.assert_runs();
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
    let three = parts(&world.lines, 3);
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
