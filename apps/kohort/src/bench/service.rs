//! The process under test of `bench pipeline`: the service as it is, watched, until it has stored everything.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use candles::stages::{Spent, Stages};
use kohort_service::{ServiceFile, Shutdown};
use market_data::Interval;
use market_store::Scan;
use serde::{Deserialize, Serialize};

use super::process;
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
    let file = ServiceFile::read("dataflow", &args.file)?;
    let group = file.kqs.first().map(|kq| kq.group.clone()).context("the file has no block")?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let stages = Arc::new(Stages::default());
    let mut settings = dataflow::Settings::new(file, &args.data);
    settings.stages = Some(Arc::clone(&stages));
    let mut service = dataflow::start(&settings)?;
    tokio::select! {
        stored = until_stored(&stages, args.records) => stored?,
        why = service.failed() => bail!("{why}"),
        () = shutdown.requested() => bail!("stopped before everything was stored"),
    }
    let cpu = process::own_cpu();
    let peak_memory = process::own_peak_memory();
    let spent = stages.spent();
    if !service.stop().await {
        bail!("the service could not finish what it had in hand");
    }
    let (counted, candles_stored) = stored(&settings, &group)?;
    output::json(&Report { counted, candles_stored, ..report(spent, cpu, peak_memory) })?;
    Ok(Outcome::Done)
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

/// Trades that the stored days count, and candles that are stored.
fn stored(settings: &dataflow::Settings, group: &str) -> anyhow::Result<(u64, u64)> {
    let store = dataflow::open_store(settings)?;
    let (mut counted, mut candles) = (0, 0);
    let mut each = |_: &market_data::PairKey, interval, _, candle: &market_data::Candle| {
        candles += 1;
        if interval == Interval::D1 {
            counted += candle.count;
        }
    };
    store
        .reader()
        .context("open a reader")?
        .scan(&Scan::all(group), &mut each)
        .context("read the candles")?;
    Ok((counted, candles))
}
