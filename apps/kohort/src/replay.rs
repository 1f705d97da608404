//! `kohort replay`: trade files into a topic, as the chain parsers would have sent them.

use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Context, bail};
use kohort_service::Shutdown;

use crate::brokers::Brokers;
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
    #[command(flatten)]
    brokers: Brokers,
    /// How many times as fast as it happened, or `max`
    #[arg(long, default_value = "max", value_name = "X|max")]
    speed: Speed,
    /// What the key of a message is
    #[arg(long, value_enum, default_value_t)]
    key: Keying,
}

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let client = args.brokers.client()?;
    let mut messages = Vec::new();
    for path in &args.files {
        messages.extend(files::read(path, args.key)?);
    }
    send::ensure_topic(&client, send::trade_topic(&args.topic, -1)).await?;
    let producer = send::producer(&client);
    let began = Instant::now();
    let mut progress = Progress::new("sending", messages.len() as u64);
    let first_ms = messages.iter().map(|message| message.time_ms).min().unwrap_or_default();
    let play = match args.speed {
        Speed::Times(times) => Some(Play { first_ms, start_ms: send::now_ms(), times }),
        Speed::Max => None,
    };
    let sending = async {
        for message in &messages {
            if let Some(play) = &play {
                send::wait_until(play.due_ms(message.time_ms)).await;
            }
            send::enqueue(&producer, &args.topic, message, &message.value).await?;
            progress.advance(1);
        }
        Ok::<(), anyhow::Error>(())
    };
    let stopped = tokio::select! {
        sent = sending => { sent?; false }
        () = shutdown.requested() => true,
    };
    send::finish(&producer).await?;
    drop(progress);
    if stopped {
        let sent = producer.delivered().acked;
        bail!("stopped: {sent} of {} messages are in `{}`", messages.len(), args.topic);
    }
    let trades: u64 = messages.iter().map(|message| u64::from(message.trades)).sum();
    output::line(format!("{} messages, {trades} trades sent to `{}`", messages.len(), args.topic));
    tracing::info!("replay took {:.2?}", began.elapsed());
    Ok(Outcome::Done)
}
