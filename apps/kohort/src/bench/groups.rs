//! `kohort bench groups`: how fast a group settles when members come and go, with Kohort's client and a broker of its own.
//!
//! A group is settled when every partition has an owner and every member has a partition. Each member is a client of its own, on
//! threads of its own: ended without a word, its sockets close as those of a killed process do.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use kohort_client::admin::NewTopic;
use kohort_client::{Consumer, ConsumerEvent, TopicPartition};
use kohort_service::Shutdown;
use serde::Serialize;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, watch};

use super::process::Process;
use crate::progress::Progress;
use crate::{Outcome, brokers, output};

/// How fast a group settles when members come and go
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort bench groups
  kohort bench groups --rounds 20 --partitions 120 --json
")]
pub(crate) struct Args {
    /// Partitions of the topic
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(i32).range(3..=10_000))]
    partitions: i32,
    /// How often everything is done
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// The result as one line of JSON
    #[arg(long)]
    json: bool,
}

const TOPIC: &str = "groups";
const SESSION: Duration = Duration::from_secs(6);
const STUCK_AFTER: Duration = Duration::from_secs(60);
const EVENTS: [&str; 5] =
    ["first member joins", "second joins", "third joins", "one leaves", "one is killed"];

#[derive(Debug, Clone, Serialize)]
struct Settled {
    event: &'static str,
    median_ms: f64,
    worst_ms: f64,
}

/// Runs the command.
pub(super) async fn run(args: Args) -> anyhow::Result<Outcome> {
    let folder =
        tempfile::Builder::new().prefix("kohort-bench-").tempdir().context("make a folder for the run")?;
    let shutdown = Shutdown::on_signals().context("listen for signals")?;
    let settled = tokio::select! {
        settled = measure(&args, folder.path()) => settled?,
        () = shutdown.requested() => bail!("stopped before everything was measured"),
    };
    if args.json {
        output::json(&settled)?;
        return Ok(Outcome::Done);
    }
    output::line(format!(
        "{} partitions, session timeout {SESSION:?}, {} rounds",
        args.partitions, args.rounds
    ));
    let row =
        |s: &Settled| vec![s.event.to_owned(), format!("{:.1}", s.median_ms), format!("{:.1}", s.worst_ms)];
    output::table(&["EVENT", "MEDIAN MS", "WORST MS"], &settled.iter().map(row).collect::<Vec<_>>());
    Ok(Outcome::Done)
}

async fn measure(args: &Args, folder: &std::path::Path) -> anyhow::Result<Vec<Settled>> {
    let (_broker, address) = Process::broker(folder).await?;
    let admin = brokers::client(std::slice::from_ref(&address))?.admin();
    for (_, outcome) in admin.create_topics(&[NewTopic::new(TOPIC, args.partitions)]).await? {
        outcome.context("create the topic")?;
    }
    let mut times = vec![Vec::new(); EVENTS.len()];
    let mut progress = Progress::new("rounds", args.rounds.into());
    for round in 0..args.rounds {
        let group = Group { address: address.clone(), name: format!("g-{round}"), owners: Arc::default() };
        let mut members = Vec::new();
        for times in times.iter_mut().take(3) {
            let began = Instant::now();
            members.push(group.join(members.len())?);
            group.settled(members.len(), args.partitions).await?;
            times.push(began.elapsed());
        }
        let began = Instant::now();
        group.leave(0, members.remove(0)).await;
        group.settled(2, args.partitions).await?;
        times[3].push(began.elapsed());
        let began = Instant::now();
        group.kill(1, members.remove(0));
        group.settled(1, args.partitions).await?;
        times[4].push(began.elapsed());
        group.leave(2, members.remove(0)).await;
        progress.advance(1);
    }
    let ms = |time: Duration| (time.as_secs_f64() * 1e4).round() / 10.0;
    let sum_up = |(event, mut times): (&'static str, Vec<Duration>)| {
        times.sort();
        let worst_ms = times.last().copied().map_or(0.0, ms);
        Settled { event, median_ms: times.get(times.len() / 2).copied().map_or(0.0, ms), worst_ms }
    };
    Ok(EVENTS.into_iter().zip(times).map(sum_up).collect())
}

/// Who has what, as the members themselves say.
#[derive(Debug, Default)]
struct Owners {
    of: Mutex<Vec<BTreeSet<TopicPartition>>>,
    news: Notify,
}

impl Owners {
    fn change(&self, member: usize, change: impl FnOnce(&mut BTreeSet<TopicPartition>)) {
        let mut of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        if of.len() <= member {
            of.resize(member + 1, BTreeSet::new());
        }
        change(&mut of[member]);
        drop(of);
        self.news.notify_waiters();
    }

    fn is_settled(&self, members: usize, partitions: i32) -> bool {
        let of = self.of.lock().unwrap_or_else(PoisonError::into_inner);
        let with_some = of.iter().filter(|owned| !owned.is_empty()).count();
        let owned: usize = of.iter().map(BTreeSet::len).sum();
        with_some == members && i32::try_from(owned) == Ok(partitions)
    }
}

struct Group {
    address: String,
    name: String,
    owners: Arc<Owners>,
}

/// A member, on threads of its own. Dropped, it is killed.
struct Member {
    threads: Option<Runtime>,
    stop: watch::Sender<bool>,
}

impl Drop for Member {
    fn drop(&mut self) {
        if let Some(threads) = self.threads.take() {
            threads.shutdown_background();
        }
    }
}

impl Group {
    fn join(&self, number: usize) -> anyhow::Result<Member> {
        let threads = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .context("start threads")?;
        let (stop, stopping) = watch::channel(false);
        let entered = threads.enter();
        let client = brokers::client(std::slice::from_ref(&self.address))?;
        let consumer = client.consumer().group(&self.name).session_timeout(SESSION).build()?;
        consumer.handle().subscribe([TOPIC])?;
        drop(entered);
        threads.spawn(member(consumer, number, Arc::clone(&self.owners), stopping));
        Ok(Member { threads: Some(threads), stop })
    }

    async fn leave(&self, number: usize, member: Member) {
        let _ = member.stop.send(true);
        self.owners.change(number, BTreeSet::clear);
        // Closed when the member has gone: it says goodbye first.
        member.stop.closed().await;
    }

    fn kill(&self, number: usize, member: Member) {
        drop(member);
        self.owners.change(number, BTreeSet::clear);
    }

    async fn settled(&self, members: usize, partitions: i32) -> anyhow::Result<()> {
        let all = async {
            loop {
                let news = self.owners.news.notified();
                if self.owners.is_settled(members, partitions) {
                    return;
                }
                // What was changed between the question and the waiting is seen a little later.
                let _ = tokio::time::timeout(Duration::from_millis(1), news).await;
            }
        };
        tokio::time::timeout(STUCK_AFTER, all)
            .await
            .with_context(|| format!("the group does not settle: {:?}", self.owners))
    }
}

async fn member(
    mut consumer: Consumer,
    number: usize,
    owners: Arc<Owners>,
    mut stopping: watch::Receiver<bool>,
) {
    loop {
        let event = tokio::select! {
            event = consumer.next() => event,
            _ = stopping.wait_for(|stop| *stop) => break,
        };
        match event {
            ConsumerEvent::Assigned { all, start, .. } => {
                owners.change(number, |owned| *owned = all.into_iter().collect());
                start.go();
            }
            ConsumerEvent::Revoking { partitions, ack } => {
                owners.change(number, |owned| owned.retain(|tp| !partitions.contains(tp)));
                ack.done();
            }
            ConsumerEvent::Lost { partitions } => {
                owners.change(number, |owned| owned.retain(|tp| !partitions.contains(tp)));
            }
            _ => {}
        }
    }
    consumer.close().await;
}
