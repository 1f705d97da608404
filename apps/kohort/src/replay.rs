//! `kohort replay`: trade files into a topic, as the chain parsers would have sent them.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use kohort_client::{Admin, Client, ClientConfig};
use kohort_service::Complaint;

use crate::feed::pace::{Play, Speed};
use crate::feed::{Keying, files, send};
use crate::progress::Progress;
use crate::{Outcome, output};

/// Send trade files into a topic: JSON arrays, one message per slot or block (or per second)
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort replay trades.jsonl.zst --topic eth-trades
  kohort replay a.jsonl b.jsonl --topic sol-trades --speed 10 --key pair
")]
pub(crate) struct Args {
    /// Trade files, `.jsonl` or `.jsonl.zst`, one trade a line
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// The topic; made if it is not there
    #[arg(long)]
    topic: String,
    /// Brokers, `host:port`, several divided by commas
    #[arg(long, default_value = "127.0.0.1:9092", value_delimiter = ',', value_name = "HOST:PORT")]
    bootstrap_server: Vec<String>,
    /// How many times as fast as it happened, or `max`
    #[arg(long, default_value = "max", value_name = "X|max")]
    speed: Speed,
    /// What the key of a message is
    #[arg(long, value_enum, default_value_t)]
    key: Keying,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let client = connect(&args.bootstrap_server)?;
    let mut messages = Vec::new();
    for path in &args.files {
        messages.extend(files::read(path, args.key)?);
    }
    send::ensure_topic(&client, &args.topic, -1).await?;
    let producer = send::producer(&client);
    let began = Instant::now();
    let mut progress = Progress::new("sending", messages.len() as u64);
    let first_ms = messages.iter().map(|message| message.time_ms).min().unwrap_or_default();
    let play = match args.speed {
        Speed::Times(times) => Some(Play { first_ms, start_ms: send::now_ms(), times }),
        Speed::Max => None,
    };
    for message in &messages {
        if let Some(play) = &play {
            send::wait_until(play.due_ms(message.time_ms)).await;
        }
        send::enqueue(&producer, &args.topic, message, &message.value).await?;
        progress.advance(1);
    }
    send::finish(&producer).await?;
    progress.finish();
    let trades: u64 = messages.iter().map(|message| u64::from(message.trades)).sum();
    output::line(format!("{} messages, {trades} trades sent to `{}`", messages.len(), args.topic));
    tracing::info!("replay took {:.2?}", began.elapsed());
    Ok(Outcome::Done)
}

/// A client of these brokers.
///
/// # Errors
/// An address that is none.
pub(crate) fn connect(servers: &[String]) -> Result<Client, Complaint> {
    client(ClientConfig::new(servers.iter().cloned()))
}

/// The admin of these brokers, for a person who waits: brokers that are not there are said after some seconds.
///
/// # Errors
/// An address that is none.
pub(crate) fn admin(servers: &[String]) -> Result<Admin, Complaint> {
    const PATIENCE: Duration = Duration::from_secs(10);
    client(ClientConfig::new(servers.iter().cloned()).api_timeout(PATIENCE)).map(|client| client.admin())
}

fn client(config: ClientConfig) -> Result<Client, Complaint> {
    Client::new(config)
        .map_err(|error| Complaint::new(error.to_string()).hint("write `--bootstrap-server 127.0.0.1:9092`"))
}
