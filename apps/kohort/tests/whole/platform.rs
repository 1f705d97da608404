//! A broker, stores, the three services, and who is killed.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::feed::{Feed, Pace, Watch, What};
use crate::peers::Peer;
use crate::rig::{self, Broker, Process, Random, Receiver, Set, file, free_port};

pub(crate) const TOPIC: &str = "eth-trades";
pub(crate) const PARTITIONS: i32 = 6;

/// Where the services keep what they read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stores {
    /// SQLite; Market's cache in memory in front of a file.
    Embedded,
    /// Dataflow and Smart Money on MariaDB, Market on Redis.
    Servers,
}

/// Where the trades are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Log {
    Ours,
    Kafka,
}

/// Who can be killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Victim {
    Dataflow,
    Market,
    SmartMoney,
    Broker,
    MariaDb,
    Redis,
}

impl Victim {
    pub(crate) const EMBEDDED: [Victim; 4] =
        [Victim::Dataflow, Victim::Market, Victim::SmartMoney, Victim::Broker];
    pub(crate) const ALL: [Victim; 6] = [
        Victim::Dataflow,
        Victim::Market,
        Victim::SmartMoney,
        Victim::Broker,
        Victim::MariaDb,
        Victim::Redis,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Victim::Dataflow => "dataflow",
            Victim::Market => "market",
            Victim::SmartMoney => "smart-money",
            Victim::Broker => "broker",
            Victim::MariaDb => "mariadb",
            Victim::Redis => "redis",
        }
    }
}

/// A service; each has a group of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Which {
    Dataflow,
    Market,
    SmartMoney,
}

impl Which {
    pub(crate) const ALL: [Which; 3] = [Which::Dataflow, Which::Market, Which::SmartMoney];

    /// Its command.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Which::Dataflow => "dataflow",
            Which::Market => "market",
            Which::SmartMoney => "smart-money",
        }
    }

    pub(crate) fn group(self) -> &'static str {
        match self {
            Which::Dataflow => "whole-dataflow",
            Which::Market => "whole-market",
            Which::SmartMoney => "whole-wallets",
        }
    }
}

enum Running {
    Ours(Broker),
    Kafka(Peer),
}

impl Running {
    fn address(&self) -> String {
        match self {
            Running::Ours(broker) => broker.address.clone(),
            Running::Kafka(peer) => peer.address(),
        }
    }
}

/// MariaDB with a database of this test, and Redis.
pub(crate) struct Servers {
    mariadb: Peer,
    pub(crate) database: String,
    pub(crate) redis: Peer,
}

/// Everything. Services end before what they stand on.
pub(crate) struct Platform {
    pub(crate) services: [Service; 3],
    guests: u32,
    pub(crate) watch: Watch,
    broker: Running,
    pub(crate) servers: Option<Servers>,
    pub(crate) receiver: Receiver,
    pub(crate) set: Set,
    /// The pools' real addresses.
    pub(crate) pools: Vec<String>,
    /// What happens here, and how to make it happen again.
    pub(crate) says: String,
    /// How the candles of each service differed when they were last compared.
    pub(crate) differences: [Vec<String>; 3],
    folder: TempDir,
}

impl Platform {
    pub(crate) fn start(stores: Stores, log: Log, says: String) -> Platform {
        let says = format!("{stores:?} stores, {log:?} broker, {says}");
        println!("{says}");
        let folder = tempfile::tempdir().unwrap();
        let broker = match log {
            Log::Ours => {
                let address = format!("127.0.0.1:{}", free_port());
                Running::Ours(Broker::at(&address, &folder.path().join("broker"), &[]))
            }
            Log::Kafka => Running::Kafka(Peer::kafka(folder.path().join("kafka"))),
        };
        let servers = (stores == Stores::Servers).then(|| {
            let mariadb = Peer::mariadb();
            let database = mariadb.new_database();
            Servers { mariadb, database, redis: Peer::redis(folder.path().join("redis")) }
        });
        let made = rig::kohort("error")
            .args(["topics", "create", TOPIC, "--partitions", &PARTITIONS.to_string()])
            .args(["--bootstrap-server", &broker.address()])
            .status();
        assert!(made.unwrap().success(), "the topic is made");
        let (set, receiver) = (Set::read(), Receiver::start());
        let mut pools: Vec<String> = set.reference.keys().map(|(_, pair, _, _)| pair.clone()).collect();
        pools.dedup();
        let watch = Watch::new(&broker.address());
        let services = Which::ALL.map(|which| {
            let (data, config) =
                (folder.path().join(which.name()), folder.path().join(format!("{}.yaml", which.name())));
            std::fs::create_dir(&data).unwrap();
            let text = written(which, &broker.address(), servers.as_ref(), &receiver);
            std::fs::write(&config, text).unwrap();
            let mut service = Service { which, config, data, process: None, http: Arc::default() };
            service.start();
            service
        });
        Platform {
            services,
            guests: 0,
            watch,
            broker,
            servers,
            receiver,
            set,
            pools,
            says,
            differences: Default::default(),
            folder,
        }
    }

    pub(crate) fn feed(&self, pace: Pace, days: u32) -> Feed {
        let what = What {
            bootstrap: self.broker.address(),
            topic: TOPIC,
            lines: self.set.lines.clone(),
            pools: self.pools.clone(),
            groups: Which::ALL.map(Which::group).to_vec(),
        };
        Feed::start(what, pace, days)
    }

    /// How many messages each group has read.
    pub(crate) fn read(&self) -> [Option<i64>; 3] {
        Which::ALL.map(|which| self.watch.read(which.group()))
    }

    /// Waits until each group has read more messages than `before`, and says how many.
    pub(crate) fn flowing(&mut self, before: i64) -> i64 {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            self.assert_run();
            let read = self.read();
            if let [Some(a), Some(b), Some(c)] = read
                && a.min(b).min(c) > before
            {
                return a.max(b).max(c);
            }
            assert!(Instant::now() < until, "no more than {read:?} messages are read: {}", self.says);
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    pub(crate) fn kill(&mut self, victim: Victim) {
        match victim {
            Victim::Dataflow => self.services[0].kill(),
            Victim::Market => self.services[1].kill(),
            Victim::SmartMoney => self.services[2].kill(),
            Victim::Broker => match &mut self.broker {
                Running::Ours(broker) => broker.kill(),
                Running::Kafka(peer) => peer.kill(),
            },
            Victim::MariaDb => self.servers.as_ref().expect("there are servers").mariadb.kill(),
            Victim::Redis => self.servers.as_ref().expect("there are servers").redis.kill(),
        }
    }

    /// Starts again what was killed.
    pub(crate) fn again(&mut self, victim: Victim) {
        match victim {
            Victim::Dataflow => self.services[0].start(),
            Victim::Market => self.services[1].start(),
            Victim::SmartMoney => self.services[2].start(),
            Victim::Broker => match &mut self.broker {
                Running::Ours(broker) => broker.again(),
                Running::Kafka(peer) => peer.again(),
            },
            Victim::MariaDb => self.servers.as_ref().expect("there are servers").mariadb.again(),
            Victim::Redis => self.servers.as_ref().expect("there are servers").redis.again(),
        }
    }

    /// A service of which several processes may use one store.
    pub(crate) fn shareable(&self, random: &mut Random) -> Which {
        match self.servers {
            // Market's cache in memory belongs to one process.
            None => random.of(&[Which::Dataflow, Which::SmartMoney]),
            Some(_) => random.of(&Which::ALL),
        }
    }

    /// Starts one more process of a service: more members of its group, on the same store.
    pub(crate) fn guest(&mut self, which: Which) -> Service {
        let host = self.services.iter().find(|service| service.which == which).expect("all run");
        let data = match self.servers {
            None => host.data.clone(),
            Some(_) => self.folder.path().join(format!("guest-{}", self.guests)),
        };
        self.guests += 1;
        let config = host.config.clone();
        let mut guest = Service { which, config, data, process: None, http: Arc::default() };
        guest.start();
        guest
    }

    pub(crate) fn assert_run(&mut self) {
        for service in &mut self.services {
            let runs = service.process.as_mut().is_some_and(Process::runs);
            assert!(runs, "`{}` ended by itself: {}", service.which.name(), self.says);
        }
    }
}

/// A service's file.
fn written(which: Which, broker: &str, servers: Option<&Servers>, receiver: &Receiver) -> String {
    let store = match (servers, which) {
        (None, _) => String::new(),
        (Some(servers), Which::Market) => format!("Redis:\n  Host: {}\n", servers.redis.address()),
        (Some(servers), _) => format!("Mysql:\n  DataSource: {}\n", servers.database),
    };
    let own = match which {
        Which::SmartMoney => format!(
            "Addresses:\n  File: {}\nNotify:\n  - Kind: webhook\n    Url: http://{}/\n    RatePerSecond: 1000\n    Rules:\n      - Kind: trade\n",
            file("smart_money_addresses.txt").display(),
            receiver.address
        ),
        Which::Dataflow | Which::Market => String::new(),
    };
    let group = which.group();
    format!(
        "Name: {}\nBrokers: [{broker}]\n{store}Kq:\n  Group: {group}\n  Topic: {TOPIC}\n  Offset: first\n  Consumers: 2\n  Processors: 2\n  \
         MinBytes: 1\n  CommitInterval: 50ms\n  SessionTimeout: 1s\n{own}",
        which.name()
    )
}

/// A service that is started, killed and stopped.
pub(crate) struct Service {
    pub(crate) which: Which,
    config: PathBuf,
    pub(crate) data: PathBuf,
    process: Option<Process>,
    /// Where its interface is, once it has said so.
    http: Arc<Mutex<Option<String>>>,
}

impl Service {
    pub(crate) fn start(&mut self) {
        let log = std::env::var("KOHORT_WHOLE_LOG").unwrap_or_else(|_| "error".to_owned());
        let mut child = rig::kohort(&log)
            .args([self.which.name(), "--http", "127.0.0.1:0", "-f"])
            .arg(&self.config)
            .arg("--data")
            .arg(&self.data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (stdout, http) = (child.stdout.take().unwrap(), Arc::<Mutex<Option<String>>>::default());
        self.http = Arc::clone(&http);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                if let Some(address) = line.strip_prefix("http listening on http://") {
                    *http.lock().unwrap() = Some(address.to_owned());
                }
            }
        });
        self.process = Some(Process(child));
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    /// Stops it as a person would, and waits for its end.
    pub(crate) fn stop(&mut self) {
        let Some(process) = self.process.take() else { return };
        assert!(process.stop(), "`{}` ends badly", self.which.name());
    }

    /// `host:port` of its interface.
    pub(crate) fn http(&self) -> String {
        let until = Instant::now() + Duration::from_secs(120);
        loop {
            if let Some(address) = self.http.lock().unwrap().clone() {
                return address;
            }
            assert!(Instant::now() < until, "`{}` does not say where it listens", self.which.name());
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}
