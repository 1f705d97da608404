//! `kohort bench push`: how long a trade takes from its producer to a chart, over the topic, the service and its WebSocket.
//!
//! Three processes: a broker, `kohort dataflow` as it is, and this one, which sends trades at a steady rate and follows all daily
//! candles. A candle says how many trades are in it, so each trade has arrived with the first push whose count reaches its ordinal: a
//! push that stands for several trades counts for each of them.
//!
//! With `--subscribers` many more listen, each to the daily candle of one pair, and time their trades likewise; with `--slow` some follow
//! all candles of all pairs and never read.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, bail};
use futures_util::{SinkExt, StreamExt};
use kohort_client::{Client, Outgoing, Producer};
use kohort_service::Shutdown;
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::process::Process;
use crate::feed::send;
use crate::{Outcome, brokers, output};

/// From a trade's producer to a chart on the WebSocket
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort bench push
  kohort bench push --rate 10000 --seconds 20 --json
  kohort bench push --pairs 100000 --follow 100 --rate 20000     memory with so many pairs
  kohort bench push --subscribers 2000 --slow 100                a crowd, of whom some never read
")]
pub(crate) struct Args {
    /// Trades a second, one a message
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// How long trades are sent; the first second is not counted
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=3600))]
    seconds: u64,
    /// Pairs that take turns
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    pairs: u32,
    /// Follow so many of the pairs by name, and time their trades alone [default: follow all pairs at once]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    follow: Option<u32>,
    /// So many more listen, each to one of the pairs, and time its trades
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=10_000))]
    subscribers: u32,
    /// And so many follow everything and never read
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=200))]
    slow: u32,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// The result as one line of JSON
    #[arg(long)]
    json: bool,
}

const NAME: &str = "kohort-bench";
/// The first trades meet a group that is just joining and connections that are just made.
const WARM_UP: Duration = Duration::from_secs(1);
/// Trades are sent in steps of this length.
const STEP: Duration = Duration::from_millis(1);
/// Nothing is pushed for so long: nothing more will be.
const STUCK_AFTER: Duration = Duration::from_secs(30);

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Measured {
    trades: u64,
    /// Trades whose way was timed.
    timed: u64,
    rate: u64,
    pairs: u32,
    partitions: i32,
    p50_ms: f64,
    p99_ms: f64,
    p999_ms: f64,
    worst_ms: f64,
    pushes: u64,
    subscribers: u32,
    slow: u32,
    /// Of the subscribers' trades, each timed by each who follows its pair.
    subscribers_p50_ms: Option<f64>,
    subscribers_p99_ms: Option<f64>,
    subscribers_worst_ms: Option<f64>,
    service_peak_rss_mib: Option<u64>,
    service_cpu_s: Option<f64>,
    broker_cpu_s: Option<f64>,
}

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let folder =
        tempfile::Builder::new().prefix("kohort-bench-").tempdir().context("make a folder for the run")?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let measured = tokio::select! {
        measured = measure(&args, folder.path()) => measured?,
        () = shutdown.requested() => bail!("stopped before everything was measured"),
    };
    if args.json {
        output::json(&measured)?;
    } else {
        show(&measured);
    }
    Ok(Outcome::Done)
}

async fn measure(args: &Args, folder: &Path) -> anyhow::Result<Measured> {
    let (broker, address) = Process::broker(&folder.join("broker")).await?;
    let client = brokers::client(std::slice::from_ref(&address))?;
    send::ensure_topic(&client, send::trade_topic(NAME, args.partitions)).await?;
    let file = folder.join("dataflow.yaml");
    let text = format!(
        "Name: bench\nBrokers:\n  - {address}\nKqBench:\n  Group: {NAME}\n  Topic: {NAME}\n  Offset: first\n  \
         Consumers: 1\n  Processors: 1\n"
    );
    std::fs::write(&file, text).with_context(|| format!("write `{}`", file.display()))?;
    let (file, data) = (file.to_string_lossy(), folder.join("service"));
    let data = data.to_string_lossy();
    let mut service =
        Process::start("service", &["dataflow", "-f", &file, "--data", &data, "--http", "127.0.0.1:0"])?;
    let line = service.line().await?;
    let http = line
        .strip_prefix("http listening on http://")
        .with_context(|| format!("the service said `{line}`"))?;
    let followed = args.follow.map(|follow| follow.min(args.pairs));
    let socket = follow(http, followed).await?;
    let cpu = |process: &Process| process.cpu().unwrap_or_default();
    let before = (cpu(&broker), cpu(&service));
    let sent = Sent::default();
    let followed = followed.unwrap_or(args.pairs);
    let whole_turns = args.rate * args.seconds / u64::from(args.pairs);
    let last_turn = args.rate * args.seconds % u64::from(args.pairs);
    let wanted = whole_turns * u64::from(followed) + last_turn.min(followed.into());
    let crowd =
        Crowd::join(args, http, &sent, |pair| whole_turns + u64::from(u64::from(pair) < last_turn)).await?;
    let sender = tokio::spawn(send(client, args.rate, args.seconds, args.pairs, sent.clone()));
    let (mut latencies, pushes) = watch(socket, sent, wanted).await?;
    let of_crowd = crowd.timed().await?;
    sender.await.context("send trades")??;
    latencies.sort_unstable();
    let share = |of| share_of(&latencies, of).unwrap_or(0.0);
    let seconds = |after: Duration, before: Duration| (after - before).as_secs_f64();
    Ok(Measured {
        trades: args.rate * args.seconds,
        timed: latencies.len() as u64,
        rate: args.rate,
        pairs: args.pairs,
        partitions: args.partitions,
        p50_ms: share(0.5),
        p99_ms: share(0.99),
        p999_ms: share(0.999),
        worst_ms: share(1.0),
        pushes,
        subscribers: args.subscribers,
        slow: args.slow,
        subscribers_p50_ms: share_of(&of_crowd, 0.5),
        subscribers_p99_ms: share_of(&of_crowd, 0.99),
        subscribers_worst_ms: share_of(&of_crowd, 1.0),
        service_peak_rss_mib: service.peak_memory().map(|bytes| bytes >> 20),
        service_cpu_s: service.cpu().map(|after| seconds(after, before.1)),
        broker_cpu_s: broker.cpu().map(|after| seconds(after, before.0)),
    })
}

/// The latency that this share of them does not exceed, in milliseconds.
fn share_of(latencies: &[Duration], of: f64) -> Option<f64> {
    let at = ((latencies.len() as f64 * of) as usize).min(latencies.len().saturating_sub(1));
    latencies.get(at).map(|latency| (latency.as_secs_f64() * 1e5).round() / 100.0)
}

/// Those who listen beside the one whose way is told first.
struct Crowd {
    readers: JoinSet<anyhow::Result<(Vec<Duration>, u64)>>,
    /// They never read.
    _slow: Vec<Socket>,
}

impl Crowd {
    /// `trades_of` says how many trades a pair will have.
    async fn join(
        args: &Args,
        http: &str,
        sent: &Sent,
        trades_of: impl Fn(u32) -> u64,
    ) -> anyhow::Result<Crowd> {
        let mut slow = Vec::new();
        for _ in 0..args.slow {
            slow.push(connect(http, &[r#"{"op":"subscribe"}"#.to_owned()]).await?);
        }
        let mut readers = JoinSet::new();
        for number in 0..args.subscribers {
            let pair = number % args.pairs;
            let socket = connect(http, &[of_pair(pair)]).await?;
            readers.spawn(watch(socket, sent.clone(), trades_of(pair)));
        }
        Ok(Crowd { readers, _slow: slow })
    }

    /// How long each trade took to each of those who follow its pair, shortest first.
    async fn timed(mut self) -> anyhow::Result<Vec<Duration>> {
        let mut all = Vec::new();
        while let Some(done) = self.readers.join_next().await {
            all.extend(done.context("read as a subscriber")?.context("a subscriber")?.0);
        }
        all.sort_unstable();
        Ok(all)
    }
}

/// Follows the daily candles of the first pairs, or of all.
async fn follow(http: &str, pairs: Option<u32>) -> anyhow::Result<Socket> {
    let wishes = match pairs {
        None => vec![r#"{"op":"subscribe","interval":"1d"}"#.to_owned()],
        Some(pairs) => (0..pairs).map(of_pair).collect(),
    };
    connect(http, &wishes).await
}

/// The wish for a pair's daily candle.
fn of_pair(pair: u32) -> String {
    format!(r#"{{"op":"subscribe","chain":1,"pair":"{pair}","interval":"1d"}}"#)
}

/// A listener with these wishes.
async fn connect(http: &str, wishes: &[String]) -> anyhow::Result<Socket> {
    let (mut socket, _) = tokio_tungstenite::connect_async(format!("ws://{http}/ws"))
        .await
        .context("connect to the service's WebSocket")?;
    for wish in wishes {
        socket.send(Message::text(wish)).await.context("subscribe")?;
        let answer = socket.next().await.context("the service closed the WebSocket")?.context("subscribe")?;
        let answer = answer.to_text().unwrap_or_default();
        if !answer.contains(r#""subscribed""#) {
            bail!("the service answered `{answer}`");
        }
    }
    Ok(socket)
}

/// When the trades of each pair left, in their order, and whether they are counted. Clones share it.
#[derive(Debug, Clone, Default)]
struct Sent(Arc<Mutex<SentOfPairs>>);

type SentOfPairs = HashMap<u32, Vec<(Instant, bool)>>;

impl Sent {
    fn lock(&self) -> MutexGuard<'_, SentOfPairs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Sends trades at a steady rate, and says when each of them left.
async fn send(client: Client, rate: u64, seconds: u64, pairs: u32, sent: Sent) -> anyhow::Result<()> {
    let producer: Producer = client.producer().linger(Duration::ZERO).build();
    let begun = Instant::now();
    // One day for all: a candle that begins anew at midnight would begin to count anew.
    let day = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_secs() / 86_400 * 86_400;
    let mut steps = tokio::time::interval(STEP);
    let mut number = 0;
    while number < rate * seconds {
        steps.tick().await;
        let elapsed = begun.elapsed();
        let due = (elapsed.as_secs_f64() * rate as f64) as u64;
        while number < due.min(rate * seconds) {
            let pair = u32::try_from(number % u64::from(pairs)).unwrap_or(0);
            let value = format!(
                r#"[{{"chain_id":"1","pair_addr":"{pair}","tx_hash":"0x{number:064x}","maker":"0x{number:040x}","type":"buy","base_token_amount":12.5,"token_amount":{},"total_usd":12.5,"token_price_usd":{}.25,"block_num":{number},"block_time":{},"transaction_index":1,"log_index":1}}]"#,
                1 + number % 7,
                1 + number % 1000,
                day + number / rate,
            );
            sent.lock().entry(pair).or_default().push((Instant::now(), elapsed >= WARM_UP));
            let key = number.to_string();
            producer
                .enqueue(Outgoing::to(NAME).key(key.as_bytes()).value(value.as_bytes()))
                .await
                .context("send")?;
            number += 1;
        }
    }
    producer.flush().await;
    match producer.delivered().failed {
        0 => Ok(()),
        failed => bail!("{failed} trades were not taken by the broker"),
    }
}

#[derive(Debug, Deserialize)]
struct Update {
    pair_address: String,
    count: usize,
}

/// Reads pushes until all trades have arrived; how long each counted one took, and how many pushes there were.
async fn watch(mut socket: Socket, sent: Sent, wanted: u64) -> anyhow::Result<(Vec<Duration>, u64)> {
    let (mut latencies, mut pushes, mut arrived) = (Vec::new(), 0, 0);
    // How many trades of each pair have arrived.
    let mut pairs: HashMap<u32, usize> = HashMap::new();
    while arrived < wanted {
        let heard = tokio::time::timeout(STUCK_AFTER, socket.next()).await;
        let heard =
            heard.with_context(|| format!("{arrived} of {wanted} trades were pushed, and no more"))?;
        let message = heard.context("the service closed the WebSocket")?.context("read a push")?;
        let Message::Text(text) = message else { continue };
        let now = Instant::now();
        pushes += 1;
        let updates: Vec<Update> =
            serde_json::from_str(&text).with_context(|| format!("read the push `{text}`"))?;
        for update in updates {
            let number: u32 = update.pair_address.parse().context("a push of a pair that nobody sent")?;
            let pair = pairs.entry(number).or_default();
            let sent = sent.lock();
            let Some(new) = sent.get(&number).and_then(|sent| sent.get(*pair..update.count)) else {
                continue;
            };
            latencies.extend(new.iter().filter(|(_, counts)| *counts).map(|(at, _)| now - *at));
            arrived += new.len() as u64;
            *pair = update.count;
        }
    }
    Ok((latencies, pushes))
}

fn show(measured: &Measured) {
    output::line(format!(
        "{} trades, {} a second, {} pairs, {} partitions: from the producer to the WebSocket",
        measured.trades, measured.rate, measured.pairs, measured.partitions
    ));
    let ms = |value: f64| format!("{value:.2}");
    if let (Some(p50), Some(p99)) = (measured.subscribers_p50_ms, measured.subscribers_p99_ms) {
        output::line(format!(
            "{} subscribers of one pair each: p50 {p50:.2} ms, p99 {p99:.2} ms; beside them {} that never read",
            measured.subscribers, measured.slow
        ));
    }
    output::table(
        &["P50 MS", "P99 MS", "P99.9 MS", "WORST MS", "PUSHES", "SERVICE PEAK RSS MIB"],
        &[vec![
            ms(measured.p50_ms),
            ms(measured.p99_ms),
            ms(measured.p999_ms),
            ms(measured.worst_ms),
            measured.pushes.to_string(),
            measured.service_peak_rss_mib.map_or_else(|| "-".to_owned(), |mib| mib.to_string()),
        ]],
    );
}
