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
use kohort_service::{Complaint, Shutdown};
use market_store::{Positions, SqliteStore};

use self::child::{Dataflow, Random};
use crate::feed::{Keying, files, messages::Message, send};
use crate::progress::Progress;
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
    /// Another store than a SQLite file of its own: `sqlite:PATH` of a file that is not there yet
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
    let store_file = store_file(&args, folder.path())?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let road = Road::build(&args, folder.path(), &store_file).await?;
    let driven = tokio::select! {
        driven = road.drive(&args, &messages, &store_file) => driven,
        () = shutdown.requested() => bail!("stopped before the candles were compared"),
    };
    road.close().await;
    driven?;
    let mut store = SqliteStore::open(&store_file).context("open the store")?;
    let got = compare::stored(&mut store, &road_group(folder.path()), &chains)?;
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

fn store_file(args: &Args, folder: &Path) -> anyhow::Result<PathBuf> {
    let Some(url) = &args.store else { return Ok(folder.join(dataflow::service::STORE_FILE)) };
    let complaint = |what: String| Complaint::new(what).at(format!("--store {url}"));
    let Some(path) = url.strip_prefix("sqlite:").map(|p| p.trim_start_matches("//")) else {
        return Err(complaint("only SQLite stores can be verified yet".to_owned())
            .hint("write `--store sqlite:PATH`")
            .into());
    };
    let path = PathBuf::from(path);
    if path.file_name().is_none_or(|name| name != dataflow::service::STORE_FILE) {
        let hint = format!(
            "end the path with `{}`: that is how the service names its file",
            dataflow::service::STORE_FILE
        );
        return Err(complaint("the service would use another file".to_owned()).hint(hint).into());
    }
    if path.exists() {
        return Err(complaint("this store is there already".to_owned())
            .why("candles that it has would count as too many")
            .hint("name a file that is not there yet")
            .into());
    }
    Ok(path)
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
    async fn build(args: &Args, folder: &Path, store_file: &Path) -> anyhow::Result<Self> {
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
        if let Some(parent) = store_file.parent() {
            std::fs::create_dir_all(parent).with_context(|| format!("make `{}`", parent.display()))?;
        }
        let config = folder.join("dataflow.yaml");
        let text = child::config_file(&servers, &group, &topic, args.consumers, args.processors);
        std::fs::write(&config, text).with_context(|| format!("write `{}`", config.display()))?;
        Ok(Self { broker, servers, client, topic, group, config })
    }

    /// Sends the trades while the service runs and dies, until the store has everything.
    async fn drive(&self, args: &Args, messages: &[Message], store_file: &Path) -> anyhow::Result<()> {
        let data = store_file.parent().context("a store's file is in a folder")?;
        let mut service = Dataflow::start(&self.config, data)?;
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
                service = Dataflow::start(&self.config, data)?;
            }
        }
        send::finish(&producer).await?;
        drop(progress);
        self.until_stored(args, store_file, &mut service).await?;
        service.stop().await
    }

    /// Waits until the store's positions are the ends of the partitions.
    async fn until_stored(
        &self,
        args: &Args,
        store_file: &Path,
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
        let mut store = SqliteStore::open(store_file).context("open the store")?;
        let mut progress = Progress::new("storing candles", wanted.unsigned_abs());
        let (mut best, mut moved) = (-1, Instant::now());
        loop {
            let positions = store.positions(&self.group).context("read the positions")?;
            let at: i64 = positions.iter().filter_map(|claim| claim.position).sum();
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
