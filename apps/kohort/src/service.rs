//! A service as a command of its own: as its file says, against the brokers that the file names, until the end is asked for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use candles::Settings;
use dataflow::Dataflow;
use kohort_service::{ServiceFile, Shutdown};
use market::Market;

use crate::Outcome;
use crate::http::{self, Server};

/// What the command of a service takes that keeps something.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The service's file
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub(crate) file: PathBuf,
    /// The folder that holds what it keeps
    #[arg(long, default_value = "kohort-data", value_name = "DIR")]
    pub(crate) data: PathBuf,
    /// Where the API is; port 0 is any free one. Without it: the file's `Host` and `Port`, else no API
    #[arg(long, value_name = "HOST:PORT")]
    pub(crate) http: Option<String>,
}

/// Trades to candles to the SQL store, pushed on a WebSocket
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort dataflow -f apps/dataflow/etc/dataflow.yaml
  kohort dataflow -f dataflow.yaml --data /var/lib/kohort --http 127.0.0.1:8081
")]
pub(crate) struct DataflowArgs {
    #[command(flatten)]
    args: Args,
}

/// Trades to candles to the cache, and questions about them answered
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort market -f apps/market/etc/market.yaml --http 127.0.0.1:8082
  kohort market -f market.yaml --data /var/lib/kohort --http 127.0.0.1:8082
")]
pub(crate) struct MarketArgs {
    #[command(flatten)]
    args: Args,
}

/// How long a service may take to drain. With the rest it stays under three seconds.
const STOP_GRACE: Duration = Duration::from_millis(2600);

/// A service that runs.
pub(crate) trait Service {
    /// Everything that it serves.
    fn router(&self) -> Router;
    /// Completes when it cannot go on, with the reason, or when there is nothing left for it to do.
    async fn ended(&mut self) -> Result<(), String>;
    /// Ends it: `true` if nothing is left to be read again.
    async fn stop(self) -> bool;
}

impl Service for Dataflow {
    fn router(&self) -> Router {
        Dataflow::router(self)
    }
    async fn ended(&mut self) -> Result<(), String> {
        Err(Dataflow::failed(self).await)
    }
    async fn stop(self) -> bool {
        Dataflow::stop(self).await
    }
}

impl Service for Market {
    fn router(&self) -> Router {
        Market::router(self)
    }
    async fn ended(&mut self) -> Result<(), String> {
        Err(Market::failed(self).await)
    }
    async fn stop(self) -> bool {
        Market::stop(self).await
    }
}

/// Runs `kohort dataflow`.
pub(crate) async fn dataflow(DataflowArgs { args }: DataflowArgs) -> anyhow::Result<Outcome> {
    road("dataflow", args, dataflow::start).await
}

/// Runs `kohort market`.
pub(crate) async fn market(MarketArgs { args }: MarketArgs) -> anyhow::Result<Outcome> {
    road("market", args, market::start).await
}

async fn road<S: Service + Send + 'static>(
    name: &str,
    args: Args,
    start: fn(&Settings) -> anyhow::Result<S>,
) -> anyhow::Result<Outcome> {
    let file = ServiceFile::read(name, &args.file)?;
    let settings = Settings::new(file.clone(), &args.data);
    run(&file, args.http.as_ref(), Some(&args.data), move || start(&settings)).await
}

/// Starts a service, serves its interface at `http` or where its file says, and runs it until the end is asked for.
///
/// # Errors
/// What stops the start (nothing was consumed by then), and why the service could not go on.
pub(crate) async fn run<S: Service + Send + 'static>(
    file: &ServiceFile,
    http: Option<&String>,
    data: Option<&Path>,
    start: impl FnOnce() -> anyhow::Result<S> + Send + 'static,
) -> anyhow::Result<Outcome> {
    for warning in &file.warnings {
        tracing::warn!("{warning}");
    }
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let listener = match http.or(file.http.as_ref()) {
        Some(address) => Some(http::bind(address).await?),
        None => None,
    };
    if let Some(data) = data {
        std::fs::create_dir_all(data).map_err(|source| http::folder_complaint(data, &source))?;
    }
    // On a thread that may block: a store's server that takes a connection and says nothing must not hold up the end.
    let starting = tokio::task::spawn_blocking(start);
    let mut service = tokio::select! {
        () = shutdown.requested() => return Ok(Outcome::Done),
        started = starting => started.context("start the service")??,
    };
    let server = listener.map(|listener| Server::start(listener, service.router(), &shutdown)).transpose()?;
    let outcome = tokio::select! {
        () = shutdown.requested() => Ok(Outcome::Done),
        ended = service.ended() => ended.map(|()| Outcome::Done).map_err(|why| anyhow::anyhow!("{why}")),
    };
    shutdown.request();
    if tokio::time::timeout(shutdown.left_of(STOP_GRACE), service.stop()).await != Ok(true) {
        tracing::warn!("what was in hand is read again at the next start");
    }
    if let Some(server) = server {
        server.stop().await;
    }
    outcome
}
