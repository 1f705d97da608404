//! `kohort up`: everything in one process: broker, topics, dataflow, smart money, feed, page and API. Loopback unless told otherwise.

use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use ::dataflow::Dataflow;
use ::smart_money::SmartMoney;
use anyhow::Context;
use console::{Console, History};
use kohort_broker::Broker;
use kohort_broker::groups::GroupEvent;
use kohort_broker::settings::Settings;
use kohort_client::{Client, ClientConfig};
use kohort_service::metrics::Registry;
use kohort_service::{ServiceFile, Shutdown};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

use crate::feed::{live, sets};
use crate::http::{self, Server};
use crate::{Outcome, broker, feed, smart_money};

/// The services' file, as it ships: the groups and topics of the original.
const DATAFLOW_FILE: &str = include_str!("../../dataflow/etc/dataflow.yaml");
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
    let mut settings: Settings = broker::settings(&args.settings)?;
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
    let mut file = ServiceFile::parse("dataflow", "apps/dataflow/etc/dataflow.yaml", DATAFLOW_FILE)?;
    let mut wallets = smart_money::for_up(&args.data)?;
    for kq in file.kqs.iter_mut().chain(&mut wallets.file.kqs) {
        if shutdown.is_requested() {
            return Ok(());
        }
        feed::send::ensure_topic(&client, feed::send::trade_topic(&kq.topic, PARTITIONS)).await?;
        // Static members: whoever was killed with the last process is replaced at once. Dynamic ones would be waited for
        // until their session ends, because the broker that could have seen them go went with them.
        kq.instance_id.get_or_insert_with(|| format!("up-{}", kq.name));
    }
    let mut settings = ::dataflow::Settings::new(file, &args.data);
    settings.brokers = Some(brokers.clone());
    settings.registry = registry.clone();
    let mut dataflow = ::dataflow::start(&settings).context("start dataflow")?;
    (wallets.brokers, wallets.registry) = (Some(brokers), registry.clone());
    let mut wallets = ::smart_money::start(&wallets).context("start smart money")?;
    let history: Arc<dyn History> = Arc::new(EventLog(Arc::downgrade(broker)));
    let console = Console::new(client.clone(), Some(history), registry.clone());
    let input = candles::api::input::router(dataflow.road().sources().to_vec());
    let api = dataflow.api().merge(input).merge(wallets.api());
    let server = Server::start(listener, api.merge(console.router()), shutdown)?;
    let mut feeds = start_feed(&client, sets, &registry, shutdown).await?;
    let outcome = tokio::select! {
        () = shutdown.requested() => Ok(()),
        why = dataflow.failed() => Err(anyhow::anyhow!("dataflow: {why}")),
        why = wallets.failed() => Err(anyhow::anyhow!("smart money: {why}")),
        Some(ended) = feeds.join_next() => ended.context("run the feed").flatten(),
    };
    shutdown.request();
    let services = stop_services(dataflow, wallets, shutdown.left_of(STOP_GRACE));
    tokio::join!(async { while feeds.join_next().await.is_some() {} }, services, server.stop());
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

/// Ends the services side by side.
async fn stop_services(dataflow: Dataflow, wallets: SmartMoney, grace: Duration) {
    let ended = |name: &str, drained: bool| match drained {
        true => tracing::info!("{name} stopped, everything is stored and committed"),
        false => tracing::warn!("{name} stopped; what was in hand is read again at the next start"),
    };
    tokio::join!(
        async { ended("dataflow", tokio::time::timeout(grace, dataflow.stop()).await == Ok(true)) },
        async { ended("smart money", tokio::time::timeout(grace, wallets.stop()).await == Ok(true)) },
    );
}

/// The broker's event log, for as long as there is a broker.
struct EventLog(Weak<Broker>);

impl History for EventLog {
    fn after(&self, id: u64) -> Vec<GroupEvent> {
        self.0.upgrade().map(|broker| broker.groups().events().after(id, EVENTS_MAX)).unwrap_or_default()
    }
}
