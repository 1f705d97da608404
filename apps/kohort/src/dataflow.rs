//! `kohort dataflow`: the service as its file says, against the brokers that the file names.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context;
use kohort_service::{ServiceFile, Shutdown};

use crate::Outcome;
use crate::http::{self, Server};

/// Trades to candles to the SQL store, pushed on a WebSocket
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort dataflow -f apps/dataflow/etc/dataflow.yaml
  kohort dataflow -f dataflow.yaml --data /var/lib/kohort --http 127.0.0.1:8081
")]
pub(crate) struct Args {
    /// The service's file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    file: PathBuf,
    /// The folder that holds what it keeps
    #[arg(long, default_value = "kohort-data", value_name = "DIR")]
    data: PathBuf,
    /// Where the API is; port 0 is any free one. Without it: the file's `Host` and `Port`, else no API
    #[arg(long, value_name = "HOST:PORT")]
    http: Option<String>,
}

/// How long the service may take to drain. With the rest it stays under three seconds.
const STOP_GRACE: Duration = Duration::from_millis(2600);

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let file = ServiceFile::read("dataflow", &args.file)?;
    for warning in &file.warnings {
        tracing::warn!("{warning}");
    }
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let listener = match args.http.as_ref().or(file.http.as_ref()) {
        Some(address) => Some(http::bind(address).await?),
        None => None,
    };
    std::fs::create_dir_all(&args.data).map_err(|source| http::folder_complaint(&args.data, &source))?;
    let mut dataflow = ::dataflow::start(&::dataflow::Settings::new(file, &args.data))?;
    let server =
        listener.map(|listener| Server::start(listener, dataflow.router(), &shutdown)).transpose()?;
    let outcome = tokio::select! {
        () = shutdown.requested() => Ok(Outcome::Done),
        why = dataflow.failed() => Err(anyhow::anyhow!("{why}")),
    };
    shutdown.request();
    if tokio::time::timeout(shutdown.left_of(STOP_GRACE), dataflow.stop()).await != Ok(true) {
        tracing::warn!("what was in hand is read again at the next start");
    }
    if let Some(server) = server {
        server.stop().await;
    }
    outcome
}
