//! `kohort broker`: the broker alone, for any Kafka client.

use std::path::{Path, PathBuf};

use anyhow::Context;
use kohort_broker::settings::{SettingError, Settings};
use kohort_broker::{Broker, Config, StartError};
use kohort_service::{Complaint, Shutdown};

use crate::http::folder_complaint;
use crate::{Outcome, output};

/// The broker alone, for any Kafka client
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort broker
  kohort broker --data /var/lib/kohort --listen 127.0.0.1:0
  kohort broker --set num.partitions=12 --set group.initial.rebalance.delay.ms=0

Settings have Kafka's names and defaults; ours beside them begin with `kohort.`.
")]
pub(crate) struct Args {
    /// The folder that holds everything
    #[arg(long, default_value = "kohort-data", value_name = "DIR")]
    data: PathBuf,
    /// Where to listen; port 0 is any free one
    #[arg(long, default_value = "127.0.0.1:9092", value_name = "HOST:PORT")]
    listen: String,
    /// A setting in Kafka's words, several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let settings = settings(&args.settings)?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let broker = start(&args.data, &args.listen, settings, "--listen").await?;
    shutdown.requested().await;
    broker.shutdown().await;
    tracing::info!("broker stopped");
    Ok(Outcome::Done)
}

/// The settings that `--set` names, over Kafka's defaults.
///
/// # Errors
/// A name or a value that is not understood.
pub(crate) fn settings(pairs: &[String]) -> Result<Settings, Complaint> {
    let mut settings = Settings::default();
    for pair in pairs {
        settings.set_pair(pair).map_err(|error| match error {
            SettingError::Unknown { name, hint } => {
                let complaint = Complaint::new(format!("unknown setting `{name}`"))
                    .at(format!("--set {pair}"))
                    .why("a misspelt name would silently leave a default in force");
                match hint {
                    Some(hint) => complaint.hint(format!("did you mean `{hint}`?")),
                    None => complaint.hint("settings have Kafka's names, such as `num.partitions`"),
                }
            }
            SettingError::Value { name, value, wanted, .. } => {
                Complaint::new(format!("`{name}` cannot be `{value}`"))
                    .at(format!("--set {pair}"))
                    .hint(wanted)
            }
            SettingError::Form(text) => Complaint::new(format!("`{text}` is no setting"))
                .at(format!("--set {pair}"))
                .hint("write `--set KEY=VALUE`"),
        })?;
    }
    Ok(settings)
}

/// Starts the broker of the data folder `data` and says so on stdout. `flag` is the one that named the address.
///
/// # Errors
/// An address, a folder or a log that cannot be used: a [`Complaint`] where a person can mend it.
pub(crate) async fn start(
    data: &Path,
    listen: &str,
    settings: Settings,
    flag: &str,
) -> anyhow::Result<Broker> {
    let config = Config { data: data.join("broker"), listen: listen.to_owned(), settings };
    let broker = Broker::start(config).await.map_err(|error| complain(error, flag))?;
    output::line(format!("broker listening on {}", broker.address()));
    Ok(broker)
}

fn complain(error: StartError, flag: &str) -> anyhow::Error {
    match error {
        StartError::Listen { address, source } => listen_complaint(&address, &source, flag).into(),
        StartError::Folder { path, source } => folder_complaint(&path, &source).into(),
        StartError::InUse { path, pid } => {
            Complaint::new(format!("another broker, process {pid}, uses the data folder"))
                .at(path.display().to_string())
                .why("two brokers on one log would overwrite each other")
                .hint("stop it, or name another folder with `--data DIR`")
                .into()
        }
        error => error.into(),
    }
}

/// An address on which nobody can listen.
pub(crate) fn listen_complaint(address: &str, source: &std::io::Error, flag: &str) -> Complaint {
    let hint = match source.kind() {
        std::io::ErrorKind::AddrInUse => {
            format!("stop what listens there, or write `{flag} 127.0.0.1:0` for any free port")
        }
        _ => format!("write an address of this machine, such as `{flag} 127.0.0.1:0`"),
    };
    Complaint::new(format!("cannot listen on {address}: {source}")).at(format!("{flag} {address}")).hint(hint)
}
