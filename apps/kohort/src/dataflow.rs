//! `kohort dataflow`: the Dataflow service as its file says.

use std::path::PathBuf;

use anyhow::{Context, bail};
use kohort_service::{ServiceFile, Shutdown};

use crate::{Outcome, http};

/// Dataflow: trades become candles of seven intervals, kept in SQL and pushed on a WebSocket
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort dataflow -f apps/dataflow/etc/dataflow.yaml
  kohort dataflow -f dataflow.yaml --data /var/lib/kohort --http 127.0.0.1:8081
")]
pub(crate) struct Args {
    /// The service's file
    #[arg(short, long, value_name = "FILE")]
    file: PathBuf,
    /// The folder that holds everything
    #[arg(long, default_value = "kohort-data", value_name = "DIR")]
    data: PathBuf,
    /// Where to serve the API and the WebSocket; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:8080", value_name = "ADDR")]
    http: String,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let file = ServiceFile::read("dataflow", &args.file)?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let listener = http::bind(&args.http).await?;
    std::fs::create_dir_all(&args.data)
        .with_context(|| format!("make the data folder `{}`", args.data.display()))?;
    let mut service = dataflow::start(&dataflow::Settings::new(file, &args.data))?;
    let server = http::Server::start(listener, service.router(), &shutdown)?;
    let failed = tokio::select! {
        () = shutdown.requested() => None,
        why = service.failed() => Some(why),
    };
    shutdown.request();
    service.stop().await;
    server.stop().await;
    match failed {
        None => Ok(Outcome::Done),
        Some(why) => bail!("dataflow cannot go on: {why}"),
    }
}
