//! `kohort up`: everything in one process: broker, topics, services, feed, page and API. Loopback unless told otherwise.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::smart_money::SmartMoney;
use anyhow::Context;
use axum::Router;
use candles::{OtherStore, Settings, groups_of};
use console::{Console, History};
use dataflow::Dataflow;
use kohort_broker::Broker;
use kohort_broker::groups::GroupEvent;
use kohort_broker::settings::Settings as BrokerSettings;
use kohort_client::{Client, ClientConfig};
use kohort_service::metrics::Registry;
use kohort_service::{ServiceFile, Shutdown};
use market::Market;
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::feed::{live, sets};
use crate::http::{self, Server};
use crate::{Outcome, broker, feed};

/// The services' files, as they ship: the groups and topics of the original.
const DATAFLOW_FILE: &str = include_str!("../../dataflow/etc/dataflow.yaml");
const MARKET_FILE: &str = include_str!("../../market/etc/market.yaml");
/// Partitions of the topics that `up` makes: enough for members to share, few enough to be seen at a glance.
const PARTITIONS: i32 = 6;
/// Members of one process join together; Kafka's three seconds would be three seconds without a chart.
const REBALANCE_DELAY: (&str, &str) = ("group.initial.rebalance.delay.ms", "50");
/// How long the services may take to drain, from the moment the end was asked for. With the rest it stays under three seconds.
const STOP_GRACE: Duration = Duration::from_millis(1800);
/// More events than the log keeps in memory.
const EVENTS_MAX: usize = 100_000;

/// Everything in one process: broker, topics, services, feed, page and API
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort up                                     the page is on http://127.0.0.1:8080
  kohort up --broker 127.0.0.1:0 --http 127.0.0.1:0
  kohort up --feed trades.jsonl.zst --speed 10  your trades, ten times as fast
  kohort up --no-feed                           and then `kohort replay`
")]
pub(crate) struct Args {
    /// The folder that holds everything
    #[arg(long, default_value = "kohort-data", value_name = "DIR")]
    data: PathBuf,
    /// Where the broker listens; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    broker: String,
    /// Where the page and the API are; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "HOST:PORT")]
    http: String,
    /// Send no trades
    #[arg(long, conflicts_with_all = ["feed", "speed"])]
    no_feed: bool,
    /// Trade files to play instead of the shipped ones, `.jsonl` or `.jsonl.zst`
    #[arg(long, value_name = "FILE")]
    feed: Vec<PathBuf>,
    /// How many times as fast the feed plays
    #[arg(long, default_value_t = 1.0, value_name = "X", value_parser = speed)]
    speed: f64,
    /// A setting of the broker in Kafka's words, several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

fn speed(text: &str) -> Result<f64, String> {
    match text.parse::<feed::pace::Speed>()? {
        feed::pace::Speed::Times(times) => Ok(times),
        feed::pace::Speed::Max => {
            Err("a feed that never ends needs a pace: write a number above 0".to_owned())
        }
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut settings: BrokerSettings = broker::settings(&args.settings)?;
    if !settings.is_set(REBALANCE_DELAY.0) {
        settings.set(REBALANCE_DELAY.0, REBALANCE_DELAY.1).context("set the rebalance delay")?;
    }
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    // Before anything is written: a busy port or a file that cannot be read must leave nothing behind.
    let listener = http::bind(&args.http).await?;
    let sets = tokio::select! {
        sets = load_feed(&args) => sets?,
        () = shutdown.requested() => return Ok(Outcome::Done),
    };
    let broker = Arc::new(broker::start(&args.data, &args.broker, settings, "--broker").await?);
    let outcome = serve(&args, &broker, listener, sets, &shutdown).await;
    if let Some(broker) = Arc::into_inner(broker) {
        broker.shutdown().await;
    }
    outcome.map(|()| Outcome::Done)
}

/// Unpacks the feed on a thread that may wait.
async fn load_feed(args: &Args) -> anyhow::Result<Vec<live::Set>> {
    if args.no_feed {
        return Ok(Vec::new());
    }
    let (files, speed) = (args.feed.clone(), args.speed);
    tokio::task::spawn_blocking(move || sets::load(&files, speed)).await.context("load the feed")?
}

/// Starts what stands on the broker, waits for the end, and stops it.
async fn serve(
    args: &Args,
    broker: &Arc<Broker>,
    listener: TcpListener,
    sets: Vec<live::Set>,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let registry = Registry::default();
    let brokers = vec![broker.address().to_string()];
    let client = Client::new(ClientConfig::new(brokers.clone()).client_id("up")).context("make a client")?;
    let dataflow_file = ServiceFile::parse("dataflow", "apps/dataflow/etc/dataflow.yaml", DATAFLOW_FILE)?;
    let market_file = ServiceFile::parse("market", "apps/market/etc/market.yaml", MARKET_FILE)?;
    let mut wallets = crate::smart_money::for_up(&args.data)?;
    let files = [&dataflow_file, &market_file, &wallets.file];
    let topics: BTreeSet<&str> =
        files.iter().flat_map(|file| &file.kqs).map(|kq| kq.topic.as_str()).collect();
    for topic in topics {
        if shutdown.is_requested() {
            return Ok(());
        }
        feed::send::ensure_topic(&client, feed::send::trade_topic(topic, PARTITIONS)).await?;
    }
    let settings = |file| settings_of(file, args, &brokers, &registry);
    make_static(&mut wallets.file);
    (wallets.brokers, wallets.registry) = (Some(brokers.clone()), registry.clone());
    let mut services = Services::start(settings(dataflow_file), settings(market_file), &wallets)?;
    let history: Arc<dyn History> = Arc::new(EventLog(Arc::downgrade(broker)));
    let console = Console::new(client.clone(), Some(history), registry.clone());
    let server = Server::start(listener, services.api().merge(console.router()), shutdown)?;
    let mut feeds = start_feed(&client, sets, &registry, shutdown).await?;
    let outcome = tokio::select! {
        () = shutdown.requested() => Ok(()),
        why = services.failed() => Err(anyhow::anyhow!("{why}")),
        Some(ended) = feeds.join_next() => ended.context("run the feed").flatten(),
    };
    shutdown.request();
    stop(feeds, services, server, shutdown.left_of(STOP_GRACE)).await;
    outcome
}

async fn start_feed(
    client: &Client,
    sets: Vec<live::Set>,
    registry: &Registry,
    shutdown: &Shutdown,
) -> anyhow::Result<JoinSet<anyhow::Result<()>>> {
    let mut feeds = JoinSet::new();
    // Asked before the first set begins: sets may share a topic.
    let mut empty = Vec::new();
    for topic in sets.iter().flat_map(live::Set::topics) {
        if !empty.contains(&topic) && live::is_empty(client, topic).await? {
            empty.push(topic);
        }
    }
    for set in sets {
        let sent =
            registry.counter("kohort_feed_trades_total", "Trades that the feed sent.", &[("set", &set.name)]);
        let with_past = set.topics().iter().all(|topic| empty.contains(topic));
        feeds.spawn(live::run(client.clone(), set, with_past, sent, shutdown.clone()));
    }
    Ok(feeds)
}

/// Ends everything that stands on the broker, side by side.
async fn stop(mut feeds: JoinSet<anyhow::Result<()>>, services: Services, server: Server, grace: Duration) {
    tokio::join!(async { while feeds.join_next().await.is_some() {} }, services.stop(grace), server.stop());
}

/// Makes the members of a service static ones: whoever was killed with the last process is replaced at once. Dynamic ones would be
/// waited for until their session ends, because the broker that could have seen them go went with them.
fn make_static(file: &mut ServiceFile) {
    for kq in &mut file.kqs {
        kq.instance_id.get_or_insert_with(|| format!("up-{}-{}", file.name, kq.name));
    }
}

/// What a service of candles starts with.
fn settings_of(mut file: ServiceFile, args: &Args, brokers: &[String], registry: &Registry) -> Settings {
    make_static(&mut file);
    let mut settings = Settings::new(file, &args.data);
    settings.brokers = Some(brokers.to_vec());
    settings.registry = registry.clone();
    settings
}

/// The services on the broker.
struct Services {
    dataflow: Dataflow,
    market: Market,
    wallets: SmartMoney,
}

impl Services {
    /// Dataflow and Market know each other's store: they share a group, so each store has a part of its candles.
    fn start(
        mut dataflow: Settings,
        mut market: Settings,
        wallets: &::smart_money::Settings,
    ) -> anyhow::Result<Services> {
        let store = |file: PathBuf, settings: &Settings| {
            Ok::<_, anyhow::Error>(OtherStore::open_file(&file)?.of_groups(groups_of(&settings.file)))
        };
        dataflow.others = vec![store(market::store_file(&market), &market)?];
        market.others = vec![store(dataflow::store_file(&dataflow), &dataflow)?];
        let dataflow = dataflow::start(&dataflow).context("start dataflow")?;
        let market = market::start(&market).context("start market")?;
        let wallets = ::smart_money::start(wallets).context("start smart money")?;
        Ok(Services { dataflow, market, wallets })
    }

    fn api(&self) -> Router {
        let sources = [self.dataflow.road().sources(), self.market.road().sources()].concat();
        let input = candles::api::input::router(sources);
        self.dataflow.api().merge(self.market.api()).merge(self.wallets.api()).merge(input)
    }

    async fn failed(&mut self) -> String {
        tokio::select! {
            why = self.dataflow.failed() => format!("dataflow: {why}"),
            why = self.market.failed() => format!("market: {why}"),
            why = self.wallets.failed() => format!("smart money: {why}"),
        }
    }

    async fn stop(self, grace: Duration) {
        tokio::join!(
            ended("dataflow", grace, self.dataflow.stop()),
            ended("market", grace, self.market.stop()),
            ended("smart money", grace, self.wallets.stop()),
        );
    }
}

/// Waits for the end of a service, and says how it was.
async fn ended(name: &str, grace: Duration, stop: impl Future<Output = bool>) {
    match tokio::time::timeout(grace, stop).await {
        Ok(true) => tracing::info!("{name} stopped, everything is stored and committed"),
        Ok(false) | Err(_) => {
            tracing::warn!("{name} stopped; what was in hand is read again at the next start");
        }
    }
}

/// The broker's event log, for as long as there is a broker.
struct EventLog(Weak<Broker>);

impl History for EventLog {
    fn after(&self, id: u64) -> Vec<GroupEvent> {
        self.0.upgrade().map(|broker| broker.groups().events().after(id, EVENTS_MAX)).unwrap_or_default()
    }
}
