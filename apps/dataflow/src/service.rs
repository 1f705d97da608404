//! The service: its groups, its store, its hub, its interface.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use anyhow::Context;
use axum::Router;
use axum::routing::get;
use kohort_client::{Client, ClientConfig, OffsetReset, Sasl, Security};
use kohort_runtime::{Group, GroupConfig, Running, Stats};
use kohort_service::metrics::Registry;
use kohort_service::{Complaint, Kq, ServiceFile, StartOffset};
use market_store::{CandleStore, SqliteStore};

use crate::api::{Api, Readers, Source};
use crate::counters::Counters;
use crate::hub::Hub;
use crate::lane::Lane;
use crate::sink::{SharedStore, StoreSink};
use crate::stages::{LaneWatch, Stages};

/// Where the broker is when the file names none.
pub const DEFAULT_BROKER: &str = "127.0.0.1:9092";
/// The name of the store's file in the data folder.
pub const STORE_FILE: &str = "candles.db";

/// What the service starts with.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The service's file, read.
    pub file: ServiceFile,
    /// The folder that holds everything.
    pub data: PathBuf,
    /// The brokers of the blocks that name none.
    pub default_brokers: Vec<String>,
    /// The brokers of all blocks, whatever they name: `up` has its own.
    pub brokers: Option<Vec<String>>,
    /// Where the service counts.
    pub registry: Registry,
    /// Who watches where the processor time goes; usually nobody.
    pub stages: Option<Arc<Stages>>,
}

impl Settings {
    /// The service as its file says.
    pub fn new(file: ServiceFile, data: impl Into<PathBuf>) -> Settings {
        let default_brokers = vec![DEFAULT_BROKER.to_owned()];
        Settings {
            file,
            data: data.into(),
            default_brokers,
            brokers: None,
            registry: Registry::default(),
            stages: None,
        }
    }

    /// The file that the embedded store is kept in.
    pub fn store_file(&self) -> PathBuf {
        self.data.join(STORE_FILE)
    }
}

/// The service, running. [`Dataflow::stop`] drains it; dropped, it ends as a crash would, and loses nothing either.
#[derive(Debug)]
pub struct Dataflow {
    groups: Vec<(String, Running)>,
    router: Router,
    registry: Registry,
}

/// Opens the store, starts the hub and all groups. Waits for no broker: one that is away is asked again for ever.
///
/// # Errors
/// A [`Complaint`] where the file asks for what cannot be, and a store that cannot be opened. Needs a tokio runtime.
pub fn start(settings: &Settings) -> anyhow::Result<Dataflow> {
    if settings.file.kqs.is_empty() {
        return Err(Complaint::new("`dataflow` has nothing to consume")
            .at(settings.file.path.clone())
            .hint("add a block such as `KqEth:` with `Group: ...` and `Topic: eth-trades`")
            .into());
    }
    let store = open_store(settings)?;
    let mut names: Vec<String> = settings.file.kqs.iter().map(|kq| kq.group.clone()).collect();
    names.sort();
    names.dedup();
    let reader = store.reader().context("open a reader of the store")?;
    let hub = Hub::start(reader, names.clone()).context("start the thread of the hub")?;
    let store: SharedStore = Arc::new(Mutex::new(store));
    let mut groups = Vec::new();
    let mut sources = Vec::new();
    let mut first_member = 0;
    for kq in &settings.file.kqs {
        let source = Source {
            group: kq.group.clone(),
            topic: kq.topic.clone(),
            dead_letter_topic: kq.dlq_topic.clone(),
            counters: Counters::new(&settings.registry, &kq.group, &kq.topic),
        };
        let running = start_group(settings, kq, first_member, &source.counters, &store, &hub)
            .with_context(|| format!("start `{}` of {}", kq.name, kq.at))?;
        first_member += kq.consumers;
        groups.push((kq.name.clone(), running));
        sources.push(source);
    }
    let router = Api::new(Readers::of(store), hub, names).with_sources(sources).router();
    Ok(Dataflow { groups, router, registry: settings.registry.clone() })
}

fn open_store(settings: &Settings) -> anyhow::Result<Box<dyn CandleStore>> {
    if let Some(mysql) = &settings.file.mysql {
        return Err(Complaint::new("`Mysql` is not available yet")
            .at(mysql.at.clone())
            .why("candles would silently go to another store than the file names")
            .hint("remove `Mysql`: candles are then kept in SQLite in the data folder")
            .into());
    }
    let file: &Path = &settings.store_file();
    let store = SqliteStore::open(file).with_context(|| format!("open the store `{}`", file.display()))?;
    Ok(Box::new(store))
}

fn start_group(
    settings: &Settings,
    kq: &Kq,
    first_member: u32,
    counters: &Counters,
    store: &SharedStore,
    hub: &Hub,
) -> anyhow::Result<Running> {
    let brokers = match &settings.brokers {
        Some(brokers) => brokers,
        None if kq.brokers.is_empty() => &settings.default_brokers,
        None => &kq.brokers,
    };
    let mut config = ClientConfig::new(brokers).client_id(format!("{}-{}", settings.file.name, kq.name));
    if let (Some(username), Some(password)) = (&kq.username, &kq.password) {
        config = config
            .security(Security::Sasl(Sasl::Plain { username: username.clone(), password: password.clone() }));
    }
    let client = Client::new(config).context("make a client")?;
    let worker = |member: usize, _lane: usize| {
        let watch = settings.stages.clone().map(LaneWatch::new);
        Lane::new(number(first_member, member), hub.clone(), counters.clone(), watch)
    };
    let sink = |_member: usize| {
        let stages = settings.stages.clone();
        StoreSink::new(Arc::clone(store), hub.clone(), kq.group.clone(), counters.clone(), stages)
    };
    Group::start(&client, group_config(kq), worker, sink).context("start its members")
}

/// The number of a member in the process, by which the hub tells them apart.
fn number(first: u32, member: usize) -> u32 {
    first + u32::try_from(member).unwrap_or(u32::MAX)
}

/// A `Kq` block in the runtime's words.
fn group_config(kq: &Kq) -> GroupConfig {
    let mut config = GroupConfig::new(&kq.group, &kq.topic);
    config.consumers = kq.consumers as usize;
    config.processors = kq.processors as usize;
    config.order = match kq.order {
        kohort_service::Order::Key => kohort_runtime::Order::Key,
        kohort_service::Order::Partition => kohort_runtime::Order::Partition,
        kohort_service::Order::None => kohort_runtime::Order::None,
    };
    config.offset_reset = match kq.offset {
        StartOffset::First => OffsetReset::Earliest,
        StartOffset::Last => OffsetReset::Latest,
    };
    config.flush_interval = kq.commit_interval;
    config.drain_timeout = kq.drain_timeout.min(DRAIN_MAX);
    if let Some(timeout) = kq.session_timeout {
        config.session_timeout = timeout;
        // Kafka's advice: three heartbeats in a session.
        config.heartbeat_interval = config.heartbeat_interval.min(timeout / 3);
    }
    config.instance_id.clone_from(&kq.instance_id);
    config.assignors.clone_from(&kq.assignors);
    config.fetch_max_bytes = i32::try_from(kq.max_bytes).unwrap_or(i32::MAX);
    config.dead_letter_topic = Some(kq.dlq_topic.clone());
    config
}

/// Ctrl-C ends everything within three seconds; what is not flushed by then is read again at the next start.
const DRAIN_MAX: std::time::Duration = std::time::Duration::from_millis(2500);

impl Dataflow {
    /// `/api/pairs`, `/api/candles`, `/api/input` and `/ws`, to be merged with other routes.
    pub fn api(&self) -> Router {
        self.router.clone()
    }

    /// [`Dataflow::api`] with `/metrics` and `/healthz`: everything that the service alone serves.
    pub fn router(&self) -> Router {
        let registry = self.registry.clone();
        let metrics = move || std::future::ready(registry.render());
        self.api().route("/metrics", get(metrics)).route("/healthz", get(|| std::future::ready("ok")))
    }

    /// The numbers of each block's members, by the block's name.
    pub fn stats(&self) -> Vec<(String, Arc<Stats>)> {
        self.groups.iter().map(|(name, running)| (name.clone(), running.stats())).collect()
    }

    /// Completes when a member can do nothing more, with the reason in words.
    pub async fn failed(&mut self) -> String {
        let mut ended: Vec<_> =
            self.groups.iter_mut().map(|(name, running)| (name, Box::pin(running.failed()))).collect();
        std::future::poll_fn(|context| {
            for (name, failed) in &mut ended {
                if let std::task::Poll::Ready(why) = failed.as_mut().poll(context) {
                    return std::task::Poll::Ready(format!("`{name}` cannot go on: {why}"));
                }
            }
            std::task::Poll::Pending
        })
        .await
    }

    /// Finishes what is in hand, flushes, commits and leaves the groups: `true` if nothing is left to be read again.
    pub async fn stop(self) -> bool {
        let mut stops = tokio::task::JoinSet::new();
        for (_, running) in self.groups {
            stops.spawn(running.stop());
        }
        let mut drained = true;
        while let Some(stopped) = stops.join_next().await {
            drained &= stopped.is_ok_and(|stopped| stopped.drained);
        }
        drained
    }
}
