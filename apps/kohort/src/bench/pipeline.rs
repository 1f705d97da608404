//! `kohort bench pipeline`: trades per second through the whole road, and where the processor time goes.
//!
//! A broker in a process of its own; the topic is filled (or both are there already); then the service starts in a third process, and is watched. The broker's
//! and the service's processor time is the operating system's word. The service's stages are taken from the clocks of the threads that
//! do them (`candles::stages`); what is left of its process is the client: sockets, batches, checksums, membership and the runtime.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::ValueEnum;
use kohort_client::{Client, Compression, Producer, SeekTo, TopicPartition};
use kohort_service::{Complaint, Shutdown};
use serde::Serialize;

use super::process::{Pid, Process};
use super::service::{Kind, Report};
use crate::feed::messages::Message;
use crate::feed::{Keying, files, send};
use crate::progress::Progress;
use crate::store_url::RunStore;
use crate::{Outcome, brokers, output};

/// Trades per second from a topic to stored candles, and where the processor time goes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort bench pipeline
  kohort bench pipeline --trades trades.jsonl.zst --count 5000000 --partitions 4
  kohort bench pipeline --count 100000 --json
  kohort bench pipeline --service market --store redis://127.0.0.1:6379 --pids redis=4711
  kohort bench pipeline --bootstrap-server 127.0.0.1:9092 --topic trades --count 1000000

The set is repeated with shifted times until so many trades are sent. The clock starts at the first record handled and stops at the
last candle stored.
")]
pub(crate) struct Args {
    /// The service that is measured
    #[arg(long, value_enum, default_value_t = Kind::Dataflow)]
    service: Kind,
    /// Trades, `.jsonl` or `.jsonl.zst`, one a line [default: the shipped day of Uniswap, in the repository]
    #[arg(long, value_name = "FILE")]
    trades: Option<PathBuf>,
    /// Trades to send, or that `--topic` has
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    count: u64,
    /// Partitions of the topic
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// Members of the group
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    consumers: u32,
    /// Lanes of each member
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    processors: u32,
    /// How the messages are compressed in the topic
    #[arg(long, value_enum, default_value_t = Squeeze::None)]
    compression: Squeeze,
    /// Seconds between two rounds of the set [default: what it spans, in whole minutes, or in whole days if that is over half a day]
    #[arg(long, value_name = "SECONDS", value_parser = clap::value_parser!(i64).range(0..=100_000_000))]
    shift: Option<i64>,
    /// Another store than a SQLite file in a folder of its own: `sqlite:PATH` of a file that is not there yet, `mysql://...` or
    /// `user:password@tcp(host:port)/database` of an empty database. Market's cache: `redis://...` of an empty Redis, or `memory:`
    /// for a memory without its file
    #[arg(long, value_name = "URL")]
    store: Option<String>,
    /// Market drops old candles, as it does in service (one minute's after three days, longer ones after seven, in the market's
    /// time); then the days that it keeps are counted. Otherwise it keeps everything, and every trade is
    #[arg(long)]
    retention: bool,
    /// Brokers that are there already, instead of one of its own
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT", requires = "topic")]
    bootstrap_server: Vec<String>,
    /// A topic that is there already, with `--count` trades, instead of one that is filled
    #[arg(long, value_name = "TOPIC", requires = "bootstrap_server", conflicts_with_all = ["trades", "shift", "compression", "partitions"])]
    topic: Option<String>,
    /// Servers whose processor time is to be told, such as `redis=4711,kafka=4712`
    #[arg(long, value_delimiter = ',', value_name = "NAME=PID")]
    pids: Vec<Pid>,
    /// The result as one line of JSON
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Squeeze {
    None,
    Lz4,
    Zstd,
    Snappy,
    Gzip,
}

impl Squeeze {
    fn codec(self) -> Compression {
        match self {
            Squeeze::None => Compression::None,
            Squeeze::Lz4 => Compression::Lz4,
            Squeeze::Zstd => Compression::Zstd,
            Squeeze::Snappy => Compression::Snappy,
            Squeeze::Gzip => Compression::Gzip,
        }
    }
}

/// Where the shipped set is, from the root of the repository.
const SHIPPED: &str = "crates/market-data/tests/data/dex_eth_univ3_20240105.jsonl.zst";
const NAME: &str = "kohort-bench";
const DAY_S: i64 = 86_400;
/// The service is asked what it spent; it reads its whole store for that.
const REPORT_MAX: Duration = Duration::from_secs(3600);

/// What was sent.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
struct Sent {
    trades: u64,
    messages: u64,
    /// Of the messages' values; `None` where they were there already.
    bytes: Option<u64>,
}

/// Processor seconds per million trades.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Stages {
    broker: Option<f64>,
    client: f64,
    decode: f64,
    aggregate: f64,
    store: f64,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Cost {
    cpu_s_per_million: Option<f64>,
    peak_rss_mib: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
struct Processes {
    /// Without figures if it is not our own.
    broker: Cost,
    service: Cost,
}

/// The result.
#[derive(Debug, Clone, PartialEq, Serialize)]
struct Measured {
    service: &'static str,
    trades: u64,
    messages: u64,
    bytes: Option<u64>,
    partitions: i32,
    consumers: u32,
    processors: u32,
    seconds: f64,
    trades_per_s: u64,
    /// Of the service's process.
    trades_per_cpu_s: u64,
    cpu_s_per_million: Stages,
    processes: Processes,
    /// Processor seconds per million trades of the servers that were named.
    servers_cpu_s_per_million: BTreeMap<String, f64>,
    candles_stored: u64,
    candles_written: u64,
    flushes: u64,
    /// Trades that the stored days ought to count: all, or those of the days that a cache keeps.
    trades_kept: u64,
    /// Trades that the stored days count more or less than that.
    count_off_by: i64,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    if args.retention && args.service != Kind::Market {
        return Err(Complaint::new("`--retention` is Market's")
            .why("Dataflow's database keeps everything")
            .hint("add `--service market`, or leave `--retention` out")
            .into());
    }
    let messages = match &args.topic {
        Some(_) => Vec::new(),
        None => files::read(&trades_file(args.trades.as_deref())?, Keying::Slot)?,
    };
    if args.topic.is_none() && messages.is_empty() {
        return Err(Complaint::new("the trade file holds no trades")
            .hint("name another with `--trades FILE`")
            .into());
    }
    let folder =
        tempfile::Builder::new().prefix("kohort-bench-").tempdir().context("make a folder for the run")?;
    let place = folder.path().join("service");
    let store = match args.service {
        Kind::Dataflow => RunStore::choose(args.store.as_deref(), &place)?,
        Kind::Market => RunStore::cache(args.store.as_deref(), &place)?,
    };
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let measured = tokio::select! {
        measured = measure(&args, &messages, folder.path(), &store) => measured?,
        () = shutdown.requested() => bail!("stopped before everything was measured"),
    };
    if args.json {
        output::json(&measured)?;
    } else {
        show(&measured);
    }
    // A measurement of a road that loses trades is a finding.
    Ok(if measured.count_off_by == 0 { Outcome::Done } else { Outcome::Finding })
}

fn trades_file(asked: Option<&Path>) -> Result<PathBuf, Complaint> {
    if let Some(path) = asked {
        return Ok(path.to_owned());
    }
    let here = Path::new(SHIPPED);
    // From any folder of the repository, and for a binary in its `target`.
    let here = std::env::current_dir()
        .ok()
        .and_then(|at| at.ancestors().map(|up| up.join(here)).find(|p| p.exists()));
    here.ok_or_else(|| {
        Complaint::new("there is no trade file to measure with")
            .at(SHIPPED)
            .why("the set that is measured by default is in the repository, and this is not run from there")
            .hint("name one: `--trades FILE`, `.jsonl` or `.jsonl.zst`, one trade a line")
    })
}

async fn measure(
    args: &Args,
    messages: &[Message],
    folder: &Path,
    store: &RunStore,
) -> anyhow::Result<Measured> {
    let (broker, servers) = if args.bootstrap_server.is_empty() {
        let (broker, address) = Process::broker(&folder.join("broker")).await?;
        (Some(broker), vec![address])
    } else {
        (None, args.bootstrap_server.clone())
    };
    let client = brokers::client(&servers)?;
    let topic = args.topic.as_deref().unwrap_or(NAME);
    let (sent, partitions) = if args.topic.is_none() {
        send::ensure_topic(&client, send::trade_topic(topic, args.partitions)).await?;
        (fill(args, messages, &client).await?, args.partitions)
    } else {
        there(args.count, topic, &client).await?
    };
    std::fs::create_dir_all(&store.data).with_context(|| format!("make `{}`", store.data.display()))?;
    let file = folder.join("service.yaml");
    // The group is of this run alone, also on brokers that others use.
    let group = folder.file_name().map_or_else(|| NAME.into(), |name| name.to_string_lossy());
    let brokers: String = servers.iter().map(|server| format!("  - {server}\n")).collect();
    let text = format!(
        "Name: bench\nBrokers:\n{brokers}KqBench:\n  Group: {group}\n  Topic: '{topic}'\n  Offset: first\n  Consumers: {}\n  \
         Processors: {}\n{}",
        args.consumers, args.processors, store.in_file
    );
    std::fs::write(&file, text).with_context(|| format!("write `{}`", file.display()))?;
    let before = broker.as_ref().and_then(Process::cpu);
    let (records, data) = (sent.messages.to_string(), store.data.to_string_lossy());
    let file = file.to_string_lossy();
    let mut command = vec!["bench", "service", "--service", args.service.name()];
    command.extend(["--file", &*file, "--data", &*data, "--records", &*records]);
    if args.retention {
        command.push("--retention");
    }
    if store.url == "memory:" {
        command.push("--memory-alone");
    }
    let pids: Vec<String> = args.pids.iter().map(|pid| format!("--pids={pid}")).collect();
    command.extend(pids.iter().map(String::as_str));
    let mut service = Process::start("service", &command)?;
    let line =
        tokio::time::timeout(REPORT_MAX, service.line()).await.context("the service says nothing")??;
    let report: Report = serde_json::from_str(&line).with_context(|| format!("the service said `{line}`"))?;
    if report.trades > sent.trades {
        return Err(Complaint::new(format!(
            "topic `{topic}` has {} trades, not {}",
            report.trades, sent.trades
        ))
        .hint(format!("say `--count {}`", report.trades))
        .into());
    }
    let after = broker.as_ref().and_then(Process::cpu);
    let spent = after.zip(before).map(|(after, before)| (after - before).as_secs_f64());
    let peak = broker.as_ref().and_then(Process::peak_memory);
    Ok(sum_up(args, partitions, sent, report, spent, peak))
}

/// What a topic holds that is there already, and its partitions.
async fn there(trades: u64, topic: &str, client: &Client) -> anyhow::Result<(Sent, i32)> {
    let admin = client.admin();
    let described = admin.describe_topic(topic).await?;
    let partitions: Vec<TopicPartition> =
        described.partitions.iter().map(|found| TopicPartition::new(topic, found.partition)).collect();
    let mut ends = [0, 0];
    for (sum, at) in ends.iter_mut().zip([SeekTo::Earliest, SeekTo::Latest]) {
        let offsets = admin.list_offsets(&partitions, at).await.context("read the ends of the topic")?;
        *sum = offsets.iter().map(|(_, offset)| offset).sum::<i64>();
    }
    if ends[0] != 0 {
        return Err(Complaint::new(format!("topic `{topic}` has lost its first records"))
            .why("records are counted from offset 0 on")
            .hint("fill a new topic")
            .into());
    }
    let count = i32::try_from(partitions.len()).context("too many partitions")?;
    Ok((Sent { trades, messages: ends[1].unsigned_abs(), bytes: None }, count))
}

/// Sends the set, shifted further each time, until there are so many trades.
async fn fill(args: &Args, messages: &[Message], client: &Client) -> anyhow::Result<Sent> {
    let shift_ms = args.shift.unwrap_or_else(|| shift(messages)) * 1000;
    let producer: Producer = client
        .producer()
        .compression(args.compression.codec())
        .batch_size(1 << 20)
        .linger(Duration::from_millis(5))
        .max_request_size(send::MESSAGE_BYTES_MAX + 4096)
        .build();
    let began = Instant::now();
    let mut progress = Progress::new("filling the topic", args.count);
    let (mut sent, mut bytes, mut value) = (Sent::default(), 0, Vec::new());
    'rounds: for round in 0.. {
        for message in messages {
            if sent.trades >= args.count {
                break 'rounds;
            }
            message.write_at(&mut value, |ms| ms + round * shift_ms);
            send::enqueue(&producer, NAME, message, &value).await?;
            sent.trades += u64::from(message.trades);
            sent.messages += 1;
            bytes += value.len() as u64;
            progress.advance(message.trades.into());
        }
    }
    send::finish(&producer).await?;
    sent.bytes = Some(bytes);
    tracing::info!("{} trades in {} messages sent in {:.1?}", sent.trades, sent.messages, began.elapsed());
    Ok(sent)
}

/// Seconds between two rounds: no trade of one falls into a candle of a minute of the other, nor, for a set of a day, into a candle
/// of a day.
fn shift(messages: &[Message]) -> i64 {
    let times = || messages.iter().map(|message| message.time_ms.div_euclid(1000));
    let (first, last) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
    let grain = if last - first > DAY_S / 2 { DAY_S } else { 60 };
    ((last - first) / grain + 1) * grain
}

fn sum_up(
    args: &Args,
    partitions: i32,
    sent: Sent,
    report: Report,
    broker_s: Option<f64>,
    broker_peak: Option<u64>,
) -> Measured {
    let per_million = |seconds: f64| round(seconds * 1e6 / sent.trades as f64);
    let mib = |bytes: Option<u64>| bytes.map(|bytes| bytes >> 20);
    let stages = report.decode_s + report.aggregate_s + report.store_s;
    let trades_kept = report.wanted.unwrap_or(report.trades);
    Measured {
        service: args.service.name(),
        trades: sent.trades,
        messages: sent.messages,
        bytes: sent.bytes,
        partitions,
        consumers: args.consumers,
        processors: args.processors,
        seconds: round(report.seconds),
        trades_per_s: rate(sent.trades, report.seconds),
        trades_per_cpu_s: rate(sent.trades, report.cpu_s),
        cpu_s_per_million: Stages {
            broker: broker_s.map(per_million),
            client: per_million((report.cpu_s - stages).max(0.0)),
            decode: per_million(report.decode_s),
            aggregate: per_million(report.aggregate_s),
            store: per_million(report.store_s),
        },
        processes: Processes {
            broker: Cost { cpu_s_per_million: broker_s.map(per_million), peak_rss_mib: mib(broker_peak) },
            service: Cost {
                cpu_s_per_million: Some(per_million(report.cpu_s)),
                peak_rss_mib: mib(report.peak_memory),
            },
        },
        candles_stored: report.candles_stored,
        candles_written: report.candles_written,
        flushes: report.flushes,
        servers_cpu_s_per_million: report
            .servers
            .into_iter()
            .map(|(name, spent)| (name, per_million(spent)))
            .collect(),
        trades_kept,
        count_off_by: report.counted.cast_signed() - trades_kept.cast_signed(),
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn rate(trades: u64, seconds: f64) -> u64 {
    // A run that is too short to be measured has no rate.
    if seconds > 0.0 { (trades as f64 / seconds) as u64 } else { 0 }
}

fn show(measured: &Measured) {
    let Measured { cpu_s_per_million: stages, processes, .. } = measured;
    let bytes = measured.bytes.map(|bytes| format!(", {:.1} MB", bytes as f64 / 1e6));
    output::line(format!(
        "{} trades in {} messages{}; {} partitions, {} members with {} lanes",
        measured.trades,
        measured.messages,
        bytes.unwrap_or_default(),
        measured.partitions,
        measured.consumers,
        measured.processors
    ));
    output::line(format!(
        "{} trades/s ({:.2} s), {} trades per processor second of the service",
        measured.trades_per_s, measured.seconds, measured.trades_per_cpu_s
    ));
    output::line(format!(
        "{} candles stored in {} flushes, {} writes; the days count {} trades off",
        measured.candles_stored, measured.flushes, measured.candles_written, measured.count_off_by
    ));
    output::line("");
    let own = stages.client + stages.decode + stages.aggregate + stages.store;
    let row = |process: &str, stage: &str, spent: Option<f64>, of_own: bool| {
        let share = spent.filter(|_| of_own && own > 0.0).map(|spent| format!("{:.0}", spent * 100.0 / own));
        vec![
            process.to_owned(),
            stage.to_owned(),
            spent.map_or_else(|| "-".to_owned(), |spent| format!("{spent:.3}")),
            share.unwrap_or_else(|| "-".to_owned()),
        ]
    };
    output::table(
        &["PROCESS", "STAGE", "CPU S PER MILLION", "% OF PROCESS"],
        &[
            row("broker", "broker", stages.broker, false),
            row("service", "client", Some(stages.client), true),
            row("service", "decode", Some(stages.decode), true),
            row("service", "aggregate", Some(stages.aggregate), true),
            row("service", "store", Some(stages.store), true),
        ],
    );
    output::line("");
    let cell = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let mib = |value: Option<u64>| value.map_or_else(|| "-".to_owned(), |value| value.to_string());
    let row =
        |name: &str, cost: &Cost| vec![name.to_owned(), cell(cost.cpu_s_per_million), mib(cost.peak_rss_mib)];
    let mut rows = vec![row("broker", &processes.broker), row("service", &processes.service)];
    rows.extend(
        measured
            .servers_cpu_s_per_million
            .iter()
            .map(|(name, spent)| row(name, &Cost { cpu_s_per_million: Some(*spent), peak_rss_mib: None })),
    );
    output::table(&["PROCESS", "CPU S PER MILLION", "PEAK RSS MIB"], &rows);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(times: &[i64]) -> Vec<Message> {
        let line = |time: &i64| {
            format!(r#"{{"chain_id":"1","pair_addr":"a","token_price_usd":1,"block_time":{time}}}"#)
        };
        let text: Vec<String> = times.iter().map(line).collect();
        files::from_reader(text.join("\n").as_bytes(), false, Keying::Slot).unwrap()
    }

    #[test]
    fn rounds_of_a_set_share_no_candle() {
        assert_eq!(shift(&messages(&[60, 61, 119])), 60);
        assert_eq!(shift(&messages(&[60, 120])), 120);
        assert_eq!(shift(&messages(&[0, DAY_S - 1])), DAY_S);
        assert_eq!(shift(&messages(&[0, DAY_S])), 2 * DAY_S);
    }
}
