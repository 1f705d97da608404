//! `kohort produce`: lines of stdin or files into a topic of any Kafka-protocol broker.

use std::fs::File;
use std::io::{BufRead, BufReader, IsTerminal, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context, bail};
use kohort_client::admin::NewTopic;
use kohort_client::{Compression, Outgoing, Producer};
use kohort_service::{Complaint, Shutdown};
use tokio::sync::mpsc;

use crate::brokers::{Brokers, PATIENCE};
use crate::feed::send;
use crate::progress::Progress;
use crate::record::{PlainRecord, WrongLine};
use crate::{Outcome, output};

/// Send lines of stdin, or of files, to a topic
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  echo hello | kohort produce greetings
  kohort produce orders --key-separator : < orders.txt
  kohort produce orders --file a.txt --file b.txt --compression zstd
  kohort consume a --exit --json | kohort produce b --json
")]
pub(crate) struct Args {
    /// The topic; made if it is not there
    topic: String,
    #[command(flatten)]
    brokers: Brokers,
    /// Files to read instead of stdin
    #[arg(long = "file", value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What divides key and value in a line; without it lines are values
    #[arg(long, value_name = "TEXT", conflicts_with = "json")]
    key_separator: Option<String>,
    /// Lines are JSON objects as `kohort consume --json` writes them
    #[arg(long)]
    json: bool,
    /// The partition of all records; without it the key decides
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Option<i32>,
    /// A header of all records, several times
    #[arg(long = "header", value_name = "KEY=VALUE", value_parser = crate::topics::key_value)]
    headers: Vec<(String, String)>,
    /// How batches are compressed
    #[arg(long, value_enum, default_value_t)]
    compression: Codec,
}

/// The codecs of Kafka.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum Codec {
    None,
    Gzip,
    Snappy,
    #[default]
    Lz4,
    Zstd,
}

impl From<Codec> for Compression {
    fn from(codec: Codec) -> Compression {
        match codec {
            Codec::None => Compression::None,
            Codec::Gzip => Compression::Gzip,
            Codec::Snappy => Compression::Snappy,
            Codec::Lz4 => Compression::Lz4,
            Codec::Zstd => Compression::Zstd,
        }
    }
}

/// Lines that wait to be sent: enough that reading never stands still.
const LINES_AHEAD: usize = 1024;

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    // Opened before anything is sent: a file that is missing must not leave half of the others behind.
    let mut inputs: Vec<(String, Box<dyn Read + Send>)> = Vec::new();
    for path in &args.files {
        inputs.push((path.display().to_string(), Box::new(open(path)?)));
    }
    if inputs.is_empty() {
        inputs.push(("stdin".to_owned(), Box::new(std::io::stdin())));
    }
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let client = args.brokers.client()?;
    send::ensure_topic(&client, NewTopic::new(&args.topic, -1)).await?;
    let failure: Arc<std::sync::Mutex<Option<String>>> = Arc::default();
    let refused = Arc::clone(&failure);
    let sent = Arc::new(AtomicU64::new(0));
    let producer = client
        .producer()
        .idempotence(true)
        .compression(args.compression.into())
        .max_request_size(send::MESSAGE_BYTES_MAX + 4096)
        .max_block(PATIENCE)
        .on_delivery(move |delivery| {
            if let Err(error) = &delivery.result {
                let mut first = refused.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
                first.get_or_insert_with(|| error.to_string());
            }
        })
        .build();
    let outcome = tokio::select! {
        outcome = send_all(&args, &producer, lines(inputs), &sent) => outcome,
        () = shutdown.requested() => Ok(()),
    };
    producer.flush().await;
    // What was taken before a wrong line is sent: it is said, so that nobody sends it twice.
    let delivered = producer.delivered();
    output::line(format!("{} records sent to `{}`", delivered.acked, args.topic));
    outcome?;
    if delivered.failed > 0 {
        let why = failure.lock().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        bail!("{} records were not taken by the broker: {}", delivered.failed, why.unwrap_or_default());
    }
    Ok(Outcome::Done)
}

fn open(path: &Path) -> Result<File, Complaint> {
    let found = File::open(path).and_then(|file| match file.metadata()?.is_dir() {
        true => Err(std::io::ErrorKind::IsADirectory.into()),
        false => Ok(file),
    });
    found.map_err(|error| {
        Complaint::new(format!("the file cannot be read: {error}"))
            .at(path.display().to_string())
            .hint("name an existing file with `--file`, or write to stdin")
    })
}

/// A line and its place.
struct Line {
    from: Arc<str>,
    number: usize,
    bytes: Vec<u8>,
}

/// Reads on a thread of its own: a terminal that nobody types on must not hold up the end of the process.
fn lines(inputs: Vec<(String, Box<dyn Read + Send>)>) -> mpsc::Receiver<std::io::Result<Line>> {
    let (sender, receiver) = mpsc::channel(LINES_AHEAD);
    std::thread::spawn(move || {
        for (from, input) in inputs {
            let from: Arc<str> = from.into();
            for (index, line) in BufReader::with_capacity(1 << 16, input).split(b'\n').enumerate() {
                let line = line.map(|mut bytes| {
                    if bytes.last() == Some(&b'\r') {
                        bytes.pop();
                    }
                    Line { from: Arc::clone(&from), number: index + 1, bytes }
                });
                // Nobody takes them any more: the command ends.
                if sender.blocking_send(line).is_err() {
                    return;
                }
            }
        }
    });
    receiver
}

async fn send_all(
    args: &Args,
    producer: &Producer,
    mut lines: mpsc::Receiver<std::io::Result<Line>>,
    sent: &AtomicU64,
) -> anyhow::Result<()> {
    // On a terminal the lines that are typed show how far it is.
    let mut progress = (!std::io::stdin().is_terminal()).then(|| Progress::counter("sending"));
    while let Some(line) = lines.recv().await {
        let line = line.context("read the input")?;
        let record = record(args, &line.bytes).map_err(|why| {
            Complaint::new(why.to_string()).at(format!("{}:{}", line.from, line.number)).hint(
                match args.json {
                    true => "write one object a line, such as {\"key\":\"k\",\"value\":\"v\"}",
                    false => "write the key, the separator and the value in each line",
                },
            )
        })?;
        let fixed = args.headers.iter().map(|(name, value)| (name.as_str(), Some(value.as_bytes())));
        let own = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_deref()));
        let headers: Vec<_> = own.chain(fixed).collect();
        let outgoing = Outgoing {
            partition: args.partition.or(record.partition),
            key: record.key.as_deref(),
            value: record.value.as_deref(),
            headers: &headers,
            timestamp: record.timestamp,
            ..Outgoing::to(&args.topic)
        };
        producer
            .enqueue(outgoing)
            .await
            .with_context(|| format!("send line {} of {} to `{}`", line.number, line.from, args.topic))?;
        sent.fetch_add(1, Ordering::Relaxed);
        if let Some(progress) = &mut progress {
            progress.advance(1);
        }
    }
    Ok(())
}

fn record(args: &Args, line: &[u8]) -> Result<PlainRecord, WrongLine> {
    if args.json {
        return PlainRecord::from_json(line);
    }
    match &args.key_separator {
        Some(separator) => PlainRecord::divided(line, separator.as_bytes()),
        None => Ok(PlainRecord { value: Some(line.to_vec()), ..PlainRecord::default() }),
    }
}
