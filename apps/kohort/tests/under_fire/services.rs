//! A broker, a topic of real trades, and services as processes.

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use market_data::reference::{self, Comparison, Key, Row, compare};
use market_data::{Candle, PairKey};
use market_store::{
    CandleReader, CandleStore, MergedReader, MySqlAddress, MySqlStore, RedisAddress, RedisStore, Scan,
    SqliteStore,
};
use tempfile::TempDir;

const SET: &str = "../../crates/market-data/tests/data/dex_eth_univ3_20240105";
/// The set's trades lie within a day.
const SET_SECONDS: f64 = 86_400.0;
const GROUP: &str = "data-flow-default-group-1888";
const TOPIC: &str = "sol-trades";
const PARTITIONS: &str = "6";
/// A loaded machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(120);

/// A process that ends with its test.
struct Process(Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn kohort() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kohort"));
    let log = std::env::var("KOHORT_FIRE_LOG").unwrap_or_else(|_| "error".to_owned());
    command.args(["--log", &log]).stdin(Stdio::null()).stdout(Stdio::null());
    command
}

/// The trades on their way into the topic.
pub(crate) struct Feed(Process);

impl Feed {
    /// Waits until all are sent.
    pub(crate) fn ends(mut self) {
        assert!(self.0.0.wait().unwrap().success(), "the replay fails");
    }
}

/// A broker with a topic, and what must come of its trades.
pub(crate) struct Cluster {
    folder: TempDir,
    _broker: Process,
    address: String,
    reference: BTreeMap<Key, Row>,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let mut child = kohort()
            .args(["broker", "--listen", "127.0.0.1:0", "--set", "group.initial.rebalance.delay.ms=0"])
            .args(["--set", "group.min.session.timeout.ms=500", "--data"])
            .arg(folder.path().join("broker"))
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let address =
            line.trim().strip_prefix("broker listening on ").expect("the broker says where").to_owned();
        let broker = Process(child);
        let made = kohort()
            .args(["topics", "create", TOPIC, "--partitions", PARTITIONS, "--bootstrap-server", &address])
            .status();
        assert!(made.unwrap().success(), "the topic is made");
        let packed = std::fs::read(manifest(&format!("{SET}.candles.csv.zst"))).unwrap();
        let text = String::from_utf8(zstd::decode_all(&packed[..]).unwrap()).unwrap();
        Cluster { folder, _broker: broker, address, reference: reference::read(&text).unwrap() }
    }

    /// Sends all trades, spread over so long.
    pub(crate) fn replay_within(&self, time: Duration) -> Feed {
        let speed = SET_SECONDS / time.as_secs_f64();
        let child = kohort()
            .arg("replay")
            .arg(manifest(&format!("{SET}.jsonl.zst")))
            .args(["--topic", TOPIC, "--speed", &format!("{speed:.0}"), "--bootstrap-server", &self.address])
            .stderr(Stdio::null())
            .spawn();
        Feed(Process(child.unwrap()))
    }

    /// `kohort dataflow` on a SQLite file.
    pub(crate) fn dataflow(&self, name: &'static str) -> Service {
        self.service("dataflow", name, Store::File(self.folder.path().join(name).join("candles.db")))
    }

    /// `kohort market` on its cache in memory, with the file behind it.
    pub(crate) fn market(&self, name: &'static str) -> Service {
        self.service("market", name, Store::File(self.folder.path().join(name).join("market.db")))
    }

    /// `kohort dataflow` on an empty database.
    pub(crate) fn dataflow_on(&self, name: &'static str, url: &str) -> Service {
        self.service("dataflow", name, Store::MySql(url.to_owned()))
    }

    /// `kohort market` on an empty Redis at `host:port`.
    pub(crate) fn market_on(&self, name: &'static str, host: &str) -> Service {
        self.service("market", name, Store::Redis(host.to_owned()))
    }

    fn service(&self, command: &'static str, name: &'static str, store: Store) -> Service {
        let data = self.folder.path().join(name);
        std::fs::create_dir(&data).unwrap();
        let config = self.folder.path().join(format!("{name}.yaml"));
        Service { name, command, config, data, store, process: None }
    }

    /// Writes the services' files: each names the stores of all.
    pub(crate) fn acquaint(&self, services: &[Service]) {
        let stores: String =
            services.iter().map(|service| format!("  - {}\n", service.store.address())).collect();
        for service in services {
            let own = match &service.store {
                Store::File(_) => String::new(),
                Store::MySql(url) => format!("Mysql:\n  DataSource: {url}\n"),
                Store::Redis(host) => format!("Redis:\n  Host: {host}\n"),
            };
            let text = format!(
                "Name: {}\nBrokers: [{}]\n{own}GroupStores:\n{stores}KqSol:\n  Group: {GROUP}\n  Topic: {TOPIC}\n  Offset: first\n  \
                 Consumers: 2\n  Processors: 2\n  MinBytes: 1\n  CommitInterval: 50ms\n  SessionTimeout: 1s\n",
                service.name, self.address
            );
            std::fs::write(&service.config, text).unwrap();
        }
    }

    fn compared(&self, services: &[Service]) -> Comparison {
        let chains = HashMap::from([("1", "eth")]);
        let mut readers = services.iter().map(Service::reader);
        let mut merged = MergedReader::new(readers.next().unwrap(), readers);
        let mut rows = BTreeMap::new();
        let mut add = |pair: &PairKey, interval, time, candle: &Candle| {
            let key = (chains[pair.chain_id.as_str()].to_owned(), pair.pair.clone(), interval, time);
            rows.insert(key, Row::of(candle).unwrap());
        };
        merged.scan(&Scan::all(GROUP), &mut add).unwrap();
        compare(&self.reference, &rows)
    }

    /// Waits until the merge of the services' stores is the reference.
    pub(crate) fn until_exact(&self, services: &[Service]) {
        let until = Instant::now() + PATIENCE;
        while Instant::now() < until {
            if self.compared(services).differing == 0 {
                return;
            }
            std::thread::sleep(Duration::from_millis(100));
        }
        self.assert_exact(services);
    }

    pub(crate) fn assert_exact(&self, services: &[Service]) {
        let compared = self.compared(services);
        let first = &compared.differences[..compared.differences.len().min(3)];
        assert_eq!(compared.differing, 0, "candles differ: {first:#?}");
    }
}

/// Where a service keeps what it reads.
enum Store {
    File(PathBuf),
    /// The address of a database.
    MySql(String),
    /// `host:port`.
    Redis(String),
}

impl Store {
    fn address(&self) -> String {
        match self {
            Store::File(file) => format!("sqlite:{}", file.display()),
            Store::MySql(url) => url.clone(),
            Store::Redis(host) => format!("redis://{host}"),
        }
    }
}

/// A service that is started, and struck.
pub(crate) struct Service {
    name: &'static str,
    command: &'static str,
    config: PathBuf,
    data: PathBuf,
    store: Store,
    process: Option<Process>,
}

impl Service {
    pub(crate) fn name(&self) -> &str {
        self.name
    }

    pub(crate) fn start(&mut self) {
        let child =
            kohort().args([self.command, "-f"]).arg(&self.config).arg("--data").arg(&self.data).spawn();
        self.process = Some(Process(child.unwrap()));
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it as a person would, and waits for its end.
    pub(crate) fn stop(&mut self) {
        let Some(mut process) = self.process.take() else { return };
        signal(&process, "-TERM");
        assert!(process.0.wait().unwrap().success(), "`{}` ends badly", self.name);
    }

    pub(crate) fn signal(&self, name: &str) {
        signal(self.process.as_ref().expect("it runs"), name);
    }

    /// How many candles have a part in its store.
    pub(crate) fn candles(&self) -> usize {
        let mut candles = 0;
        self.reader().scan(&Scan::all(GROUP), &mut |_, _, _, _| candles += 1).unwrap();
        candles
    }

    fn reader(&self) -> Box<dyn CandleReader> {
        match &self.store {
            Store::File(file) => SqliteStore::open(file).unwrap().reader().unwrap(),
            Store::MySql(url) => MySqlStore::new(MySqlAddress::parse(url).unwrap()).reader().unwrap(),
            Store::Redis(host) => RedisStore::new(RedisAddress::new(host.as_str())).reader().unwrap(),
        }
    }
}

fn signal(process: &Process, name: &str) {
    let told = Command::new("kill").args([name, &process.0.id().to_string()]).status().unwrap();
    assert!(told.success(), "kill {name}");
}

fn manifest(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}
