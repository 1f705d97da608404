//! `kohort smart-money`: the service as its file says, against the brokers that the file names.

use std::path::Path;

use anyhow::Context;
use axum::Router;
use smart_money::book::Keeper;
use smart_money::config::Own;
use smart_money::{Settings, SmartMoney};
use tokio::task::JoinHandle;

use crate::Outcome;
use crate::service::{self, Service};

/// The service's file, as it ships: the group and topic of the original.
const FILE: &str = include_str!("../../smart_money/etc/smartmoney.yaml");
/// What `up` reads beside it: the set with the most known wallets is Ethereum's.
const ETH_TOO: &str = "
KqEth:
  Group: smart-money-eth
  Topic: eth-trades
  Offset: first
  Consumers: 1
  Processors: 1
";
/// The address files that ship: of the wallets that are worth looking at in the sets that `up` plays.
const SHIPPED: &[&str] = &[
    include_str!("../../../crates/market-data/tests/data/dex_eth_univ3_20240105.smart_money_addresses.txt"),
    include_str!("../../../crates/market-data/tests/data/dex_sol_slot_254170887.smart_money_addresses.txt"),
];

/// The service as `up` starts it: who is known is known from the start.
///
/// # Errors
/// A file that ships and is wrong: our own mistake.
pub(crate) fn for_up(data: &Path) -> anyhow::Result<Settings> {
    let read = Own::parse("apps/smart_money/etc/smartmoney.yaml", &format!("{FILE}{ETH_TOO}"))?;
    let mut settings = Settings::new(read, data);
    settings.known = SHIPPED;
    Ok(settings)
}

/// Trades of known wallets to the SQL log, and notifications
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort smart-money -f apps/smart_money/etc/smartmoney.yaml
  kohort smart-money -f smartmoney.yaml --data /var/lib/kohort --http 127.0.0.1:8083

While it runs, where it has an address:
  curl 127.0.0.1:8083/api/smart-money/trades
  curl 127.0.0.1:8083/api/wallets -H 'Content-Type: application/json' -d '{\"address\": \"0x5050…\", \"label\": \"a whale\"}'
  curl 127.0.0.1:8083/api/wallets/0x5050… -X DELETE

The file of addresses (`Addresses: File:`) is read anew on SIGHUP, or by `POST /api/wallets/reload`.
")]
pub(crate) struct SmartMoneyArgs {
    #[command(flatten)]
    args: service::Args,
}

/// The service, and who reads its file anew.
struct Reloading {
    service: SmartMoney,
    reloads: JoinHandle<()>,
}

impl Service for Reloading {
    fn router(&self) -> Router {
        self.service.router()
    }
    async fn ended(&mut self) -> Result<(), String> {
        Err(self.service.failed().await)
    }
    async fn stop(self) -> bool {
        self.reloads.abort();
        self.service.stop().await
    }
}

/// Runs the command.
pub(crate) async fn run(SmartMoneyArgs { args }: SmartMoneyArgs) -> anyhow::Result<Outcome> {
    let (file, own) = Own::read(&args.file)?;
    let settings = Settings::new((file.clone(), own), &args.data);
    let start = move || {
        let service = smart_money::start(&settings)?;
        let reloads = reload_on_hangup(service.keeper().clone())?;
        Ok(Reloading { service, reloads })
    };
    service::run(&file, args.http.as_ref(), Some(&args.data), start).await
}

/// Reads the file of addresses anew with each SIGHUP, as servers do.
#[cfg(unix)]
fn reload_on_hangup(keeper: Keeper) -> anyhow::Result<JoinHandle<()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut hangups = signal(SignalKind::hangup()).context("listen for SIGHUP")?;
    Ok(tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let again = keeper.clone();
            match tokio::task::spawn_blocking(move || again.reload()).await {
                Ok(Ok(known)) => tracing::info!("the file of addresses is read anew: {known} are known"),
                Ok(Err(error)) => {
                    let error = anyhow::Error::new(error);
                    tracing::error!("{error:#}; all are known as before");
                }
                Err(error) => tracing::error!("the file of addresses was not read: {error}"),
            }
        }
    }))
}

#[cfg(not(unix))]
fn reload_on_hangup(_: Keeper) -> anyhow::Result<JoinHandle<()>> {
    Ok(tokio::spawn(std::future::pending()))
}
