//! `kohort bench broker` and `kohort bench client`: records through a broker of its own, with Kohort's client, seen from either side.
//!
//! The broker is in a process of its own; the client is in this one, which does nothing else.

use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, Consumer, ConsumerEvent, OffsetReset, Outgoing};
use kohort_service::Shutdown;
use serde::Serialize;

use super::process::{self, Process};
use crate::progress::Progress;
use crate::{Outcome, brokers, output};

/// Which side is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Broker,
    Client,
}

/// Produce and consume records of 100 bytes and of 1 KB
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort bench broker
  kohort bench client --records 5000000 --json
")]
pub(crate) struct Args {
    /// Records of each size
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000_000))]
    records: u64,
    /// Partitions of the topics
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(i32).range(1..=10_000))]
    partitions: i32,
    /// The result as one line of JSON
    #[arg(long)]
    json: bool,
}

const SIZES: [usize; 2] = [100, 1000];
/// New groups that are joined one after another.
const JOINS: usize = 15;
/// Nothing comes for so long: nothing more will.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// One way of one size.
#[derive(Debug, Clone, Serialize)]
struct Cell {
    what: &'static str,
    record_bytes: usize,
    records_per_s: u64,
    mb_per_s: f64,
    broker_cpu_s_per_million: Option<f64>,
    client_cpu_s_per_million: f64,
}

#[derive(Debug, Clone, Serialize)]
struct Measured {
    records: u64,
    partitions: i32,
    /// From the start of the broker's process to the first acknowledged record.
    start_to_ack_ms: f64,
    /// The median time in which a consumer has the partitions of a new group.
    join_ms: f64,
    broker_peak_rss_mib: Option<u64>,
    cells: Vec<Cell>,
}

/// Runs the command.
pub(super) async fn run(side: Side, args: Args) -> anyhow::Result<Outcome> {
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
        show(side, &measured);
    }
    Ok(Outcome::Done)
}

async fn measure(args: &Args, folder: &std::path::Path) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let (broker, address) = Process::broker(folder).await?;
    let client = brokers::client(std::slice::from_ref(&address))?;
    topic(&client, "first", 1).await?;
    let producer = client.producer().build();
    producer
        .send(Outgoing::to("first").value(b"x"))
        .await
        .context("send")?
        .await
        .context("be acknowledged")?;
    let start_to_ack_ms = began.elapsed().as_secs_f64() * 1e3;
    let mut cells = Vec::new();
    for size in SIZES {
        let name = format!("records-{size}");
        topic(&client, &name, args.partitions).await?;
        cells.push(
            cell(&broker, args.records, "produce", size, produce(&client, &name, args.records, size)).await?,
        );
        cells
            .push(cell(&broker, args.records, "consume", size, consume(&client, &name, args.records)).await?);
    }
    let mut joins = Vec::new();
    for number in 0..JOINS {
        joins.push(join(&client, number).await?);
    }
    joins.sort_by(f64::total_cmp);
    Ok(Measured {
        records: args.records,
        partitions: args.partitions,
        start_to_ack_ms: round(start_to_ack_ms),
        join_ms: round(joins[JOINS / 2]),
        broker_peak_rss_mib: broker.peak_memory().map(|bytes| bytes >> 20),
        cells,
    })
}

async fn topic(client: &Client, name: &str, partitions: i32) -> anyhow::Result<()> {
    let made =
        client.admin().create_topics(&[NewTopic::new(name, partitions)]).await.context("create a topic")?;
    for (_, outcome) in made {
        outcome.with_context(|| format!("create topic `{name}`"))?;
    }
    Ok(())
}

/// Runs one way, and says what it cost both processes.
async fn cell(
    broker: &Process,
    records: u64,
    what: &'static str,
    size: usize,
    work: impl Future<Output = anyhow::Result<Duration>>,
) -> anyhow::Result<Cell> {
    let (broker_before, own_before) = (broker.cpu(), process::own_cpu());
    let took = work.await?.as_secs_f64();
    let own = process::own_cpu() - own_before;
    let spent = broker.cpu().zip(broker_before).map(|(after, before)| after - before);
    let per_million = |cpu: Duration| round(cpu.as_secs_f64() * 1e6 / records as f64);
    Ok(Cell {
        what,
        record_bytes: size,
        records_per_s: (records as f64 / took) as u64,
        mb_per_s: round(records as f64 * size as f64 / took / 1e6),
        broker_cpu_s_per_million: spent.map(per_million),
        client_cpu_s_per_million: per_million(own),
    })
}

async fn produce(client: &Client, topic: &str, records: u64, size: usize) -> anyhow::Result<Duration> {
    let producer = client.producer().linger(Duration::from_millis(5)).build();
    let value: Vec<u8> = (0..size).map(|at| b'a' + (at % 26) as u8).collect();
    let mut progress = Progress::new("producing", records);
    let began = Instant::now();
    for number in 0..records {
        producer.enqueue(Outgoing::to(topic).value(&value)).await.context("send")?;
        if number.is_multiple_of(1024) {
            progress.at(number);
        }
    }
    producer.flush().await;
    let failed = producer.delivered().failed;
    if failed > 0 {
        bail!("{failed} of {records} records were not taken by the broker");
    }
    Ok(began.elapsed())
}

async fn consume(client: &Client, topic: &str, records: u64) -> anyhow::Result<Duration> {
    let mut consumer = client.consumer().group(topic).offset_reset(OffsetReset::Earliest).build()?;
    consumer.handle().subscribe([topic])?;
    let mut progress = Progress::new("consuming", records);
    let (mut seen, mut began) = (0, None);
    while seen < records {
        let event = tokio::time::timeout(STUCK_AFTER, consumer.next());
        match event.await.with_context(|| format!("{seen} of {records} records came, and no more"))? {
            ConsumerEvent::Batch(batch) => {
                began.get_or_insert_with(Instant::now);
                for record in batch.records() {
                    std::hint::black_box(record.context("read a record")?.value);
                    seen += 1;
                }
                progress.at(seen);
            }
            ConsumerEvent::Fatal(error) => return Err(error).context("consume"),
            _ => {}
        }
    }
    let took = began.map_or(Duration::ZERO, |began| began.elapsed());
    tokio::spawn(consumer.close());
    Ok(took)
}

/// Joins a new group; milliseconds until the partition is there.
async fn join(client: &Client, number: usize) -> anyhow::Result<f64> {
    let began = Instant::now();
    let mut consumer: Consumer = client.consumer().group(format!("join-{number}")).build()?;
    consumer.handle().subscribe(["first"])?;
    loop {
        let event = tokio::time::timeout(STUCK_AFTER, consumer.next());
        if let ConsumerEvent::Assigned { .. } = event.await.context("a new group is not joined")? {
            let took = began.elapsed().as_secs_f64() * 1e3;
            // Its goodbye is not what is measured.
            tokio::spawn(consumer.close());
            return Ok(took);
        }
    }
}

fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

fn show(side: Side, measured: &Measured) {
    match side {
        Side::Broker => output::line(format!(
            "{:.1} ms from the start of the process to the first acknowledged record; peak RSS {} MiB",
            measured.start_to_ack_ms,
            measured.broker_peak_rss_mib.map_or_else(|| "-".to_owned(), |mib| mib.to_string())
        )),
        Side::Client => {
            output::line(format!("{:.1} ms to join a new group (median of {JOINS})", measured.join_ms))
        }
    }
    output::line(format!("{} records of each size, {} partitions", measured.records, measured.partitions));
    output::line("");
    let row = |cell: &Cell| {
        let spent = match side {
            Side::Broker => cell.broker_cpu_s_per_million,
            Side::Client => Some(cell.client_cpu_s_per_million),
        };
        vec![
            cell.what.to_owned(),
            cell.record_bytes.to_string(),
            cell.records_per_s.to_string(),
            format!("{:.1}", cell.mb_per_s),
            spent.map_or_else(|| "-".to_owned(), |spent| format!("{spent:.3}")),
        ]
    };
    let head = match side {
        Side::Broker => "BROKER CPU S PER MILLION",
        Side::Client => "CLIENT CPU S PER MILLION",
    };
    let rows: Vec<_> = measured.cells.iter().map(row).collect();
    output::table(&["WAY", "BYTES", "RECORDS/S", "MB/S", head], &rows);
}
