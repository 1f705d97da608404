//! A broker, a topic of real trades, and services as processes.

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use market_data::reference::{Comparison, compare};
use market_store::{
    CandleReader, CandleStore, MergedReader, MySqlAddress, MySqlStore, RedisAddress, RedisStore, Scan,
    SqliteStore,
};
use tempfile::TempDir;

use crate::rig::{self, Broker, Process, Set, file};

/// The set's trades lie within a day.
const SET_SECONDS: f64 = 86_400.0;
const GROUP: &str = "data-flow-default-group-1888";
const TOPIC: &str = "sol-trades";
const PARTITIONS: &str = "6";
/// A loaded machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(120);

fn kohort() -> Command {
    rig::kohort(&std::env::var("KOHORT_FIRE_LOG").unwrap_or_else(|_| "error".to_owned()))
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
    broker: Broker,
    set: Set,
}

impl Cluster {
    pub(crate) fn start() -> Cluster {
        let folder = tempfile::tempdir().unwrap();
        let broker = Broker::start(&folder.path().join("broker"), &[]);
        let address = &broker.address;
        let made = kohort()
            .args(["topics", "create", TOPIC, "--partitions", PARTITIONS, "--bootstrap-server", address])
            .status();
        assert!(made.unwrap().success(), "the topic is made");
        Cluster { folder, broker, set: Set::read() }
    }

    /// Sends all trades, spread over so long.
    pub(crate) fn replay_within(&self, time: Duration) -> Feed {
        let speed = SET_SECONDS / time.as_secs_f64();
        let child = kohort()
            .arg("replay")
            .arg(file("jsonl.zst"))
            .args([
                "--topic",
                TOPIC,
                "--speed",
                &format!("{speed:.0}"),
                "--bootstrap-server",
                &self.broker.address,
            ])
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
                service.name, self.broker.address
            );
            std::fs::write(&service.config, text).unwrap();
        }
    }

    fn compared(&self, services: &[Service]) -> Comparison {
        let mut readers = services.iter().map(Service::reader);
        let mut merged = MergedReader::new(readers.next().unwrap(), readers);
        compare(&self.set.reference, &rig::candles(&mut merged, GROUP))
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
        let Some(process) = self.process.take() else { return };
        assert!(process.stop(), "`{}` ends badly", self.name);
    }

    pub(crate) fn signal(&self, name: &str) {
        self.process.as_ref().expect("it runs").signal(name);
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
