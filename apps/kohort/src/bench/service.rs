//! The process under test of `bench pipeline`: the service as it is, watched, until it has stored everything.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use candles::Settings;
use candles::stages::{Spent, Stages};
use clap::ValueEnum;
use kohort_service::{ServiceFile, Shutdown};
use market_store::{CandleReader, Retention};
use serde::{Deserialize, Serialize};

use super::cache::{self, Counted, Held};
use super::process::{self, Pid};
use crate::progress::Progress;
use crate::{Outcome, output};

/// One service for `bench pipeline`
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service's file
    #[arg(long)]
    file: PathBuf,
    /// The folder of the store
    #[arg(long)]
    data: PathBuf,
    /// Records to store
    #[arg(long)]
    records: u64,
    /// Which service
    #[arg(long, value_enum)]
    service: Kind,
    /// Market's cache is in memory alone
    #[arg(long)]
    memory_alone: bool,
    /// Market's cache drops old candles
    #[arg(long)]
    retention: bool,
    /// Servers whose processor time is asked for
    #[arg(long, value_delimiter = ',')]
    pids: Vec<Pid>,
}

/// A service that makes candles of trades.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(super) enum Kind {
    /// Into a database: SQLite, or MySQL or MariaDB
    Dataflow,
    /// Into a cache: memory in front of a file, memory alone, or Redis
    Market,
}

impl Kind {
    /// What it is called on the command line, in its file and in a report.
    pub(super) fn name(self) -> &'static str {
        match self {
            Kind::Dataflow => "dataflow",
            Kind::Market => "market",
        }
    }
}

/// What the process says when it is done.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Report {
    /// From the first record handled to the last candle stored.
    pub(super) seconds: f64,
    /// Of the whole process, from its start to the last candle stored.
    pub(super) cpu_s: f64,
    pub(super) decode_s: f64,
    pub(super) aggregate_s: f64,
    pub(super) store_s: f64,
    pub(super) peak_memory: Option<u64>,
    /// Trades that went into candles.
    pub(super) trades: u64,
    /// Trades that the stored candles of a day count.
    pub(super) counted: u64,
    /// Trades that they ought to count, where a cache dropped days.
    pub(super) wanted: Option<u64>,
    /// Processor seconds of servers, by their names, from before the service's start to the last candle stored.
    pub(super) servers: BTreeMap<String, f64>,
    pub(super) candles_written: u64,
    pub(super) candles_stored: u64,
    pub(super) flushes: u64,
}

/// Nothing is stored for so long: nothing more will be.
const STUCK_AFTER: Duration = Duration::from_secs(60);
/// How often the bar moves.
const TICK: Duration = Duration::from_millis(200);

/// Runs the process under test.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let file = ServiceFile::read(args.service.name(), &args.file)?;
    let group = file.kqs.first().map(|kq| kq.group.clone()).context("the file has no block")?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let stages = Arc::new(Stages::default());
    let mut settings = Settings::new(file, &args.data);
    settings.stages = Some(Arc::clone(&stages));
    let before = servers(&args.pids)?;
    let (mut service, check) = Service::start(&args, &settings)?;
    tokio::select! {
        stored = until_stored(&stages, args.records) => stored?,
        why = service.failed() => bail!("{why}"),
        () = shutdown.requested() => bail!("stopped before everything was stored"),
    }
    let cpu = process::own_cpu();
    let spent_by_servers = servers(&args.pids)?
        .into_iter()
        .zip(&before)
        .map(|((name, after), (_, before))| (name, after.saturating_sub(*before).as_secs_f64()))
        .collect();
    let peak_memory = process::own_peak_memory();
    let spent = stages.spent();
    if !service.stop().await {
        bail!("the service could not finish what it had in hand");
    }
    let Held { counted, wanted, candles } = check.held(&settings, &group)?;
    let report = report(spent, cpu, peak_memory);
    output::json(&Report { counted, wanted, candles_stored: candles, servers: spent_by_servers, ..report })?;
    Ok(Outcome::Done)
}

fn servers(pids: &[Pid]) -> anyhow::Result<Vec<(String, Duration)>> {
    let cpu = |server: &Pid| {
        let cpu = process::cpu(server.pid);
        Ok((server.name.clone(), cpu.with_context(|| format!("read the processor time of {server}"))?))
    };
    pids.iter().map(cpu).collect()
}

/// The service under test.
enum Service {
    Dataflow(dataflow::Dataflow),
    Market(market::Market),
}

/// What is needed to see what the service has stored.
enum Check {
    /// The database, opened anew.
    Database,
    /// The cache, which may be gone with its service.
    Cache(Box<dyn CandleReader>, Option<Arc<std::sync::Mutex<cache::Days>>>),
}

impl Service {
    fn start(args: &Args, settings: &Settings) -> anyhow::Result<(Service, Check)> {
        if args.service == Kind::Dataflow {
            return Ok((Service::Dataflow(dataflow::start(settings)?), Check::Database));
        }
        let retention = if args.retention { Retention::ORIGINAL } else { Retention::OFF };
        let mut store = cache::open(settings, args.memory_alone, retention)?;
        let reader = store.reader().context("open a reader")?;
        let mut days = None;
        if args.retention {
            let (counted, counts) = Counted::new(store);
            (store, days) = (Box::new(counted), Some(counts));
        }
        Ok((Service::Market(market::start_on(settings, "bench", store)?), Check::Cache(reader, days)))
    }

    async fn failed(&mut self) -> String {
        match self {
            Service::Dataflow(service) => service.failed().await,
            Service::Market(service) => service.failed().await,
        }
    }

    async fn stop(self) -> bool {
        match self {
            Service::Dataflow(service) => service.stop().await,
            Service::Market(service) => service.stop().await,
        }
    }
}

impl Check {
    fn held(self, settings: &Settings, group: &str) -> anyhow::Result<Held> {
        let held = match self {
            Check::Database => {
                let store = dataflow::open_store(settings)?;
                cache::held(&mut *store.reader().context("open a reader")?, group, None)
            }
            Check::Cache(mut reader, None) => cache::held(&mut *reader, group, None),
            Check::Cache(mut reader, Some(days)) => {
                let days = days.lock().unwrap_or_else(PoisonError::into_inner);
                cache::held(&mut *reader, group, Some(&days))
            }
        };
        held.context("read the candles")
    }
}

fn report(spent: Spent, cpu: Duration, peak_memory: Option<u64>) -> Report {
    Report {
        seconds: spent.wall.as_secs_f64(),
        cpu_s: cpu.as_secs_f64(),
        decode_s: spent.decode.as_secs_f64(),
        aggregate_s: spent.aggregate.as_secs_f64(),
        store_s: spent.store.as_secs_f64(),
        peak_memory,
        trades: spent.trades,
        counted: 0,
        wanted: None,
        servers: BTreeMap::new(),
        candles_written: spent.candles,
        candles_stored: 0,
        flushes: spent.flushes,
    }
}

async fn until_stored(stages: &Stages, records: u64) -> anyhow::Result<()> {
    let mut progress = Progress::new("trades to candles", records);
    let (mut seen, mut still) = (0, Duration::ZERO);
    while tokio::time::timeout(TICK, stages.until_stored(records)).await.is_err() {
        let stored = stages.stored();
        still = if stored == seen { still + TICK } else { Duration::ZERO };
        progress.advance(stored - seen);
        seen = stored;
        if still > STUCK_AFTER {
            bail!("nothing was stored for {STUCK_AFTER:?}: {stored} of {records} records are");
        }
    }
    Ok(())
}
