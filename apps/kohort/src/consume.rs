//! `kohort consume`: the records of topics of any Kafka-protocol broker to stdout, alone or as a member of a group.

use std::collections::BTreeMap;
use std::io::{self, BufWriter, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kohort_client::{
    Client, Consumer, ConsumerEvent, FetchedBatch, Offset, OffsetReset, Record, SeekTo, TopicPartition,
};
use kohort_service::{Complaint, Shutdown};

use crate::Outcome;
use crate::brokers::Brokers;
use crate::record;

/// Write the records of topics to stdout, alone or as a member of a group
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort consume eth-trades                         what comes from now on, until Ctrl-C
  kohort consume eth-trades --offset first --exit   all that is there, and ends
  kohort consume eth-trades --group g --keys        as a member of the group `g`; commits
  kohort consume eth-trades --json --max 1          with key, headers, offset and time
")]
pub(crate) struct Args {
    /// The topics
    #[arg(required = true, value_name = "TOPIC")]
    topics: Vec<String>,
    #[command(flatten)]
    brokers: Brokers,
    /// Read as a member of this group, and commit; without it all partitions are read
    #[arg(long)]
    group: Option<String>,
    /// Only these partitions, several times
    #[arg(long, value_name = "N", conflicts_with = "group", value_parser = clap::value_parser!(i32).range(0..))]
    partition: Vec<i32>,
    /// Where to begin: `first`, `last`, or an offset; in a group: where nothing is committed
    #[arg(long, default_value = "last", value_name = "first|last|N")]
    offset: Begin,
    /// End after so many records
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    max: Option<u64>,
    /// End when all that is there has been read
    #[arg(long)]
    exit: bool,
    /// One JSON object a line, with all that a record has
    #[arg(long)]
    json: bool,
    /// Write the key and a tab before each value
    #[arg(long, conflicts_with = "json")]
    keys: bool,
}

/// Where to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Begin {
    First,
    Last,
    At(Offset),
}

impl std::str::FromStr for Begin {
    type Err = String;

    fn from_str(text: &str) -> Result<Begin, String> {
        match text {
            "first" | "earliest" => Ok(Begin::First),
            "last" | "latest" => Ok(Begin::Last),
            number => match number.parse() {
                Ok(offset) if offset >= 0 => Ok(Begin::At(offset)),
                _ => Err("write `first`, `last` or an offset from 0".to_owned()),
            },
        }
    }
}

/// How often a member commits what it wrote out.
const COMMIT_INTERVAL: Duration = Duration::from_secs(1);
/// How often the ends are compared while nothing comes.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// Runs the command.
pub(crate) async fn run(args: Args) -> anyhow::Result<Outcome> {
    if args.group.is_some() && matches!(args.offset, Begin::At(_)) {
        return Err(Complaint::new("a group begins at what it committed, not at a number")
            .at("--offset")
            .hint("write `first` or `last`, or move the group with `kohort groups reset`")
            .into());
    }
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let client = args.brokers.client()?;
    let ends = ends(&client, &args).await?;
    let mut consumer = consumer(&client, &args)?;
    begin(&consumer, &args, &client, &ends).await?;
    let mut printer = Printer::new(&args);
    let outcome = read(&mut consumer, &args, &ends, &mut printer, &shutdown).await;
    if args.group.is_some() && !printer.next.is_empty() {
        consumer.commit(printer.next).await.context("commit the offsets")?;
    }
    consumer.close().await;
    outcome.map(|()| Outcome::Done)
}

/// The partitions that may be read, and their ends now. Says which topic or partition is not there.
async fn ends(client: &Client, args: &Args) -> anyhow::Result<BTreeMap<TopicPartition, Offset>> {
    let admin = client.admin();
    let mut wanted = Vec::new();
    for topic in &args.topics {
        let found = admin.describe_topic(topic).await?;
        for asked in &args.partition {
            if !found.partitions.iter().any(|partition| partition.partition == *asked) {
                return Err(Complaint::new(format!("topic `{topic}` has no partition {asked}"))
                    .at(format!("--partition {asked}"))
                    .hint(format!("it has {}, from 0", found.partitions.len()))
                    .into());
            }
        }
        let all = found.partitions.iter().map(|partition| partition.partition);
        let read = all.filter(|number| args.partition.is_empty() || args.partition.contains(number));
        wanted.extend(read.map(|number| TopicPartition::new(topic.as_str(), number)));
    }
    Ok(admin.list_offsets(&wanted, SeekTo::Latest).await?.into_iter().collect())
}

fn consumer(client: &Client, args: &Args) -> anyhow::Result<Consumer> {
    let reset = match args.offset {
        Begin::Last => OffsetReset::Latest,
        Begin::First | Begin::At(_) => OffsetReset::Earliest,
    };
    let mut builder = client.consumer().offset_reset(reset);
    if let Some(group) = &args.group {
        builder = builder.group(group);
    }
    builder.build().context("make a consumer")
}

async fn begin(
    consumer: &Consumer,
    args: &Args,
    client: &Client,
    ends: &BTreeMap<TopicPartition, Offset>,
) -> anyhow::Result<()> {
    if args.group.is_some() {
        return consumer.subscribe(args.topics.iter().cloned()).context("join the group");
    }
    let partitions: Vec<TopicPartition> = ends.keys().cloned().collect();
    let begins = match args.offset {
        Begin::First => client.admin().list_offsets(&partitions, SeekTo::Earliest).await?,
        // From what the end was when the command began: nothing that came since is passed over.
        Begin::Last => ends.iter().map(|(name, end)| (name.clone(), *end)).collect(),
        Begin::At(offset) => partitions.into_iter().map(|name| (name, offset)).collect(),
    };
    let begins = begins.into_iter().map(|(name, offset)| (name, Some(offset)));
    consumer.assign(begins).context("read the partitions")
}

/// Reads until the end that was asked for, or until nobody listens.
async fn read(
    consumer: &mut Consumer,
    args: &Args,
    ends: &BTreeMap<TopicPartition, Offset>,
    printer: &mut Printer,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let (mut committed_at, mut committed) = (Instant::now(), BTreeMap::new());
    let asked = shutdown.requested();
    tokio::pin!(asked);
    loop {
        if args.exit && at_the_end(consumer, ends) {
            return Ok(());
        }
        let uncommitted = args.group.is_some() && printer.next != committed;
        if uncommitted && committed_at.elapsed() > COMMIT_INTERVAL {
            committed_at = Instant::now();
            committed.clone_from(&printer.next);
            consumer.commit_async(committed.clone());
        }
        let event = tokio::select! {
            () = &mut asked => return Ok(()),
            event = consumer.next() => event,
            () = tokio::time::sleep(LOOK_INTERVAL), if args.exit || uncommitted => continue,
        };
        match event {
            ConsumerEvent::Batch(batch) => match printer.print(&batch) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // `| head` has seen enough.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => return Ok(()),
                Err(error) => return Err(error).context("write to stdout"),
            },
            ConsumerEvent::Revoking { partitions, ack } => {
                let next: Vec<_> =
                    partitions.iter().filter_map(|name| printer.next.remove_entry(name)).collect();
                if !next.is_empty() {
                    consumer.commit(next).await.context("commit the offsets")?;
                }
                drop(ack);
            }
            ConsumerEvent::Lost { partitions } => {
                printer.next.retain(|name, _| !partitions.contains(name));
            }
            ConsumerEvent::Halted { partition, error } => {
                bail!("{}-{} cannot be read: {error}", partition.topic, partition.partition);
            }
            ConsumerEvent::Fatal(error) => return Err(error).context("read as a member of the group"),
            ConsumerEvent::Assigned { .. } | ConsumerEvent::Left { .. } => {}
        }
    }
}

/// Whether everything that was there when the command began is read: of all partitions, or of those that this member owns.
fn at_the_end(consumer: &Consumer, ends: &BTreeMap<TopicPartition, Offset>) -> bool {
    let owned = consumer.assignment();
    let read = |name: &TopicPartition| match (consumer.position(name), ends.get(name)) {
        (Some(position), Some(end)) => position >= *end,
        (None, Some(_)) => false,
        // A partition that was added since.
        (_, None) => true,
    };
    !owned.is_empty() && owned.iter().all(read)
}

/// Writes records, and knows how far.
struct Printer {
    out: BufWriter<io::Stdout>,
    json: bool,
    keys: bool,
    left: u64,
    /// The next offset of each partition: what may be committed.
    next: BTreeMap<TopicPartition, Offset>,
}

impl Printer {
    fn new(args: &Args) -> Printer {
        Printer {
            out: BufWriter::new(io::stdout()),
            json: args.json,
            keys: args.keys,
            left: args.max.unwrap_or(u64::MAX),
            next: BTreeMap::new(),
        }
    }

    /// Writes a batch; `false` when there have been as many records as were asked for.
    fn print(&mut self, batch: &FetchedBatch) -> io::Result<bool> {
        // A batch may end in offsets without records: they are read too.
        let mut next = batch.next_offset();
        for record in batch.records() {
            let record = record.map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
            self.write(batch, &record)?;
            self.left -= 1;
            if self.left == 0 {
                next = record.offset + 1;
                break;
            }
        }
        // What is still in the buffer may never get out of it: a full disk, a reader that went away.
        self.out.flush()?;
        self.next.insert(batch.topic_partition(), next);
        Ok(self.left > 0)
    }

    fn write(&mut self, batch: &FetchedBatch, record: &Record<'_>) -> io::Result<()> {
        if self.json {
            return writeln!(self.out, "{}", record::to_json(batch.topic(), batch.partition(), record));
        }
        if self.keys {
            self.out.write_all(record.key.unwrap_or(b"null"))?;
            self.out.write_all(b"\t")?;
        }
        self.out.write_all(record.value.unwrap_or(b"null"))?;
        self.out.write_all(b"\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_a_word_or_a_number() {
        assert_eq!(
            ["first", "last", "7"].map(str::parse),
            [Ok(Begin::First), Ok(Begin::Last), Ok(Begin::At(7))]
        );
        assert!("-1".parse::<Begin>().is_err() && "soon".parse::<Begin>().is_err());
    }
}
