//! `kohort consumer`: shows what flows, and can be told to be slow, to fail, to hang.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use consumer::report::HEAD;
use consumer::{Report, Settings};
use kohort_service::Shutdown;

use crate::Outcome;
use crate::http::{self, Server};
use crate::output;

/// Show what flows: rates, sizes, trades, errors, lag; and be slow, fail or hang when told
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort consumer -f apps/consumer/etc/consumer.yaml
  kohort consumer -f consumer.yaml --json --every 5
  kohort consumer -f consumer.yaml --quiet --http 127.0.0.1:8084

While it runs, where it has an address:
  curl 127.0.0.1:8084/api/flow
  curl 127.0.0.1:8084/api/behave -H 'Content-Type: application/json' -d '{\"topic\": \"eth-trades\", \"member\": 1, \"hang\": true}'
  curl 127.0.0.1:8084/api/behave -H 'Content-Type: application/json' -d '{}'      as if never told

Each row is a partition and the member that owns it. MIN to MAX are bytes of values; ERRORS are elements and records that could not
be understood; LAG is what is not committed yet.
")]
pub(crate) struct Args {
    /// The service's file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// Not used: this service keeps nothing
    #[arg(long, value_name = "DIR", hide = true)]
    data: Option<PathBuf>,
    /// Where the API is; port 0 is any free one. Without it: the file's `Host` and `Port`, else no API
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
    /// Seconds between two reports
    #[arg(long, default_value_t = 1, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=3600))]
    every: u64,
    /// A report is one JSON object on one line
    #[arg(long)]
    json: bool,
    /// Write no reports: `/api/flow` has them
    #[arg(long, conflicts_with = "json")]
    quiet: bool,
}

/// How long the service may take to drain. With the rest it stays under three seconds.
const STOP_GRACE: Duration = Duration::from_millis(2600);

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut settings = Settings::read(&args.file)?;
    settings.every = Duration::from_secs(args.every);
    for warning in &settings.file.warnings {
        tracing::warn!("{warning}");
    }
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let listener = match args.http.as_ref().or(settings.file.http.as_ref()) {
        Some(address) => Some(http::bind(address).await?),
        None => None,
    };
    let mut consumer = ::consumer::start(&settings)?;
    let server =
        listener.map(|listener| Server::start(listener, consumer.router(), &shutdown)).transpose()?;
    let mut reports = consumer.reports();
    reports.mark_unchanged();
    let mut asked = Box::pin(shutdown.requested());
    let outcome = loop {
        tokio::select! {
            () = &mut asked => break Ok(Outcome::Done),
            why = consumer.failed() => break Err(anyhow::anyhow!("{why}")),
            Ok(()) = reports.changed(), if !args.quiet => {
                let report = std::sync::Arc::clone(&reports.borrow_and_update());
                show(&report, args.json)?;
            }
        }
    };
    shutdown.request();
    if tokio::time::timeout(shutdown.left_of(STOP_GRACE), consumer.stop()).await != Ok(true) {
        tracing::warn!("what was in hand is read again at the next start");
    }
    if let Some(server) = server {
        server.stop().await;
    }
    outcome
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(report);
    }
    output::table(&HEAD, &report.rows());
    output::line("");
    Ok(())
}
