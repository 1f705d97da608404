//! `kohort consumer`: shows what flows, and can be told to be slow, to fail, to hang.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use consumer::report::HEAD;
use consumer::{Consumer, Report, Settings};
use tokio::sync::watch;

use crate::service::{self, Service};
use crate::{Outcome, output};

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

/// The service, and who shows its reports.
struct Shown {
    service: Consumer,
    reports: watch::Receiver<Arc<Report>>,
    json: bool,
    quiet: bool,
}

impl Service for Shown {
    fn router(&self) -> Router {
        self.service.router()
    }

    async fn ended(&mut self) -> Result<(), String> {
        loop {
            tokio::select! {
                why = self.service.failed() => return Err(why),
                Ok(()) = self.reports.changed(), if !self.quiet => {
                    let report = Arc::clone(&self.reports.borrow_and_update());
                    show(&report, self.json).map_err(|why| format!("a report cannot be shown: {why:#}"))?;
                    // `| head` has seen enough, and partitions should not stay with somebody whom nobody looks at.
                    if output::is_unread() {
                        return Ok(());
                    }
                }
            }
        }
    }

    async fn stop(self) -> bool {
        self.service.stop().await
    }
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let mut settings = Settings::read(&args.file)?;
    settings.every = Duration::from_secs(args.every);
    let file = settings.file.clone();
    let start = move || {
        let service = ::consumer::start(&settings)?;
        let mut reports = service.reports();
        reports.mark_unchanged();
        Ok(Shown { service, reports, json: args.json, quiet: args.quiet })
    };
    service::run(&file, args.http.as_ref(), None, start).await
}

fn show(report: &Report, json: bool) -> anyhow::Result<()> {
    if json {
        return output::json(report);
    }
    output::table(&HEAD, &report.rows());
    output::line("");
    Ok(())
}
