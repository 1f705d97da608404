//! `kohort verify`: the whole road, from trades to candles, held against a reference to the last digit.
//!
//! A broker, a topic, the trades, and the service under test in a process of its own, which is killed in the middle of its work as
//! often as asked. When the store has everything that the topic has, every candle of all seven intervals is compared.

mod child;
mod compare;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kohort_broker::Broker;
use kohort_client::{Client, SeekTo, TopicPartition};
use kohort_service::Shutdown;

use self::child::{Dataflow, Random};
use crate::feed::{Keying, files, messages::Message, send};
use crate::progress::Progress;
use crate::store_url::RunStore;
use crate::{Outcome, broker, brokers, output};

/// Check every candle of the whole road against a reference
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort verify trades.jsonl.zst --candles candles.csv.zst
  kohort verify trades.jsonl.zst --candles candles.csv.zst --partitions 12 --consumers 3 --processors 4 --kill 20
  kohort verify trades.jsonl --candles candles.csv --bootstrap-server 127.0.0.1:9092

The last line is `N candles compared, D differ`; exit 1 if any differs, is missing or too many.
")]
pub(crate) struct Args {
    /// Trades, `.jsonl` or `.jsonl.zst`, one a line
    #[arg(value_name = "TRADES")]
    trades: PathBuf,
    /// The reference, `.csv` or `.csv.zst`
    #[arg(long, value_name = "REFERENCE")]
    candles: PathBuf,
    /// Partitions of the topic
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Members of the group
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    consumers: u32,
    /// Lanes of each member
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    processors: u32,
    /// How often the process under test is killed (kill -9) at a random moment
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(..=10_000))]
    kill: u32,
    /// Another broker than one of its own
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT")]
    bootstrap_server: Vec<String>,
    /// Another store than a SQLite file of its own: `sqlite:PATH` of a file that is not there yet, `mysql://...` or
    /// `user:password@tcp(host:port)/database` of an empty database
    #[arg(long, value_name = "URL")]
    store: Option<String>,
}

/// Nothing moves for so long: it will not move any more.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// Differences that are shown.
const SHOWN_MAX: usize = 20;

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let reference = compare::read_reference(&args.candles)?;
    let messages = files::read(&args.trades, Keying::Slot)?;
    let chains = compare::chain_names(&args.trades)?;
    let folder =
        tempfile::Builder::new().prefix("kohort-verify-").tempdir().context("make a folder for the run")?;
    let store = RunStore::choose(args.store.as_deref(), folder.path())?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let road = Road::build(&args, folder.path(), &store).await?;
    let driven = tokio::select! {
        driven = road.drive(&args, &messages, &store) => driven,
        () = shutdown.requested() => bail!("stopped before the candles were compared"),
    };
    road.close().await;
    driven?;
    let store = market_store::open(&store.url).context("open the store")?;
    let since = Instant::now();
    let got = loop {
        match compare::stored(&*store, &road_group(folder.path()), &chains) {
            // The store's server may be on its way back.
            Err(error) if error.is_retriable() && since.elapsed() < STUCK_AFTER => {
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            read => break read.context("read the candles")?,
        }
    };
    let compared = market_data::reference::compare(&reference, &got);
    for d in compared.differences.iter().take(SHOWN_MAX) {
        let (chain, pair, interval, time) = &d.key;
        output::line(format!(
            "{chain} {pair} {interval} {time} {}: wanted {}, got {}",
            d.column, d.wanted, d.got
        ));
    }
    output::line(format!("{} candles compared, {} differ", compared.candles, compared.differing));
    Ok(if compared.differing == 0 { Outcome::Done } else { Outcome::Finding })
}

/// The group's name: of this run alone, also on a broker that others use.
fn road_group(folder: &Path) -> String {
    folder.file_name().map_or_else(|| "kohort-verify".to_owned(), |name| name.to_string_lossy().into_owned())
}

/// Everything that a run stands on.
struct Road {
    broker: Option<Broker>,
    servers: Vec<String>,
    client: Client,
    topic: String,
    group: String,
    config: PathBuf,
}

impl Road {
    async fn build(args: &Args, folder: &Path, store: &RunStore) -> anyhow::Result<Self> {
        let group = road_group(folder);
        let topic = group.clone();
        let (broker, servers) = if args.bootstrap_server.is_empty() {
            let settings = broker::settings(&["group.initial.rebalance.delay.ms=0".to_owned()])?;
            let config =
                kohort_broker::Config { settings, ..kohort_broker::Config::new(folder.join("broker")) };
            let broker = Broker::start(config).await.context("start a broker")?;
            let address = broker.address().to_string();
            (Some(broker), vec![address])
        } else {
            (None, args.bootstrap_server.clone())
        };
        let client = brokers::client(&servers)?;
        send::ensure_topic(&client, send::trade_topic(&topic, args.partitions)).await?;
        std::fs::create_dir_all(&store.data).with_context(|| format!("make `{}`", store.data.display()))?;
        let config = folder.join("dataflow.yaml");
        let text =
            child::config_file(&servers, &group, &topic, args.consumers, args.processors, &store.in_file);
        std::fs::write(&config, text).with_context(|| format!("write `{}`", config.display()))?;
        Ok(Self { broker, servers, client, topic, group, config })
    }

    /// Sends the trades while the service runs and dies, until the store has everything.
    async fn drive(&self, args: &Args, messages: &[Message], store: &RunStore) -> anyhow::Result<()> {
        let mut service = Dataflow::start(&self.config, &store.data)?;
        let mut random = Random::new();
        let mut progress = Progress::new("sending trades", messages.len() as u64);
        let producer = send::producer(&self.client);
        // The trades are sent in as many parts as there are kills, so that each kill meets work.
        let part = messages.len().div_ceil(args.kill as usize + 1).max(1);
        let mut parts = messages.chunks(part);
        for kill in 0..=args.kill {
            for message in parts.next().unwrap_or_default() {
                send::enqueue(&producer, &self.topic, message, &message.value).await?;
                progress.advance(1);
            }
            if kill < args.kill {
                tokio::time::sleep(random.between(Duration::from_millis(20), Duration::from_millis(600)))
                    .await;
                service.kill()?;
                service = Dataflow::start(&self.config, &store.data)?;
            }
        }
        send::finish(&producer).await?;
        drop(progress);
        self.until_stored(args, store, &mut service).await?;
        service.stop().await
    }

    /// Waits until the store's positions are the ends of the partitions.
    async fn until_stored(
        &self,
        args: &Args,
        store: &RunStore,
        service: &mut Dataflow,
    ) -> anyhow::Result<()> {
        let partitions: Vec<TopicPartition> =
            (0..args.partitions).map(|p| TopicPartition::new(&*self.topic, p)).collect();
        let ends = self
            .client
            .admin()
            .list_offsets(&partitions, SeekTo::Latest)
            .await
            .context("read the ends of the topic")?;
        let wanted: i64 = ends.iter().map(|(_, end)| end).sum();
        let mut store = market_store::open(&store.url).context("open the store")?;
        let mut progress = Progress::new("storing candles", wanted.unsigned_abs());
        let (mut best, mut moved) = (-1, Instant::now());
        loop {
            let at: i64 = match store.positions(&self.group) {
                Ok(positions) => positions.iter().filter_map(|claim| claim.position).sum(),
                // The store's server may be killed as well: it counts as nothing moving.
                Err(error) if error.is_retriable() => best,
                Err(error) => return Err(error).context("read the positions"),
            };
            if at >= wanted {
                return Ok(());
            }
            if at > best {
                (best, moved) = (at, Instant::now());
                progress.at(at.unsigned_abs());
            }
            service.must_run()?;
            if moved.elapsed() > STUCK_AFTER {
                bail!("nothing was stored for {STUCK_AFTER:?}: {at} of {wanted} messages are in the store");
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    async fn close(self) {
        if let Some(broker) = self.broker {
            broker.shutdown().await;
            return;
        }
        // A broker that others use is left as it was found.
        if let Err(e) = self.client.admin().delete_topics(&[self.topic.as_str()]).await {
            tracing::warn!("topic `{}` stays on {}: {e}", self.topic, self.servers.join(","));
        }
    }
}
