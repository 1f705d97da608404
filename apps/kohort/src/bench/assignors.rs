//! `kohort bench assignors`: how long an assignment takes. Plain functions, on this thread.
//!
//! `full`: nobody owns anything. `join`: all but one own what a full assignment gave them, and one joins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use kohort_group::assignor::{self, Subscriber, Topic, Topics};
use kohort_group::consumer_protocol::Subscription;
use serde::Serialize;

use crate::{Outcome, output};

/// How long an assignment takes
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  kohort bench assignors
  kohort bench assignors --members 1000 --partitions 50000 --json
")]
pub(crate) struct Args {
    /// Members, all of which want everything [default: 100 and 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100_000))]
    members: Option<u32>,
    /// Partitions of all topics together [default: ten for each member]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
    partitions: Option<u32>,
    /// Topics
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    topics: u32,
    /// The result as one line of JSON
    #[arg(long)]
    json: bool,
}

const NAMES: [&str; 4] = ["range", "roundrobin", "sticky", "cooperative-sticky"];
/// Each is measured so long, and three times at least.
const LONG_ENOUGH: Duration = Duration::from_millis(300);

#[derive(Debug, Clone, Serialize)]
struct Measured {
    assignor: &'static str,
    what: &'static str,
    members: u32,
    partitions: u32,
    topics: u32,
    best_ms: f64,
    median_ms: f64,
}

/// Runs the command.
pub(super) fn run(args: &Args) -> anyhow::Result<Outcome> {
    let members = args.members.map_or_else(|| vec![100, 1000], |members| vec![members]);
    let mut all = Vec::new();
    for members in members {
        // The same number for each topic, so perhaps a little less than was asked for.
        let each = (args.partitions.unwrap_or(members * 10) / args.topics).max(1);
        for assignor in NAMES {
            for what in ["full", "join"] {
                let (best, median) = measure(assignor, what == "join", members, each, args.topics)?;
                let ms = |time: Duration| (time.as_secs_f64() * 1e6).round() / 1e3;
                let partitions = each * args.topics;
                let (best_ms, median_ms) = (ms(best), ms(median));
                all.push(Measured {
                    assignor,
                    what,
                    members,
                    partitions,
                    topics: args.topics,
                    best_ms,
                    median_ms,
                });
            }
        }
    }
    if args.json {
        output::json(&all)?;
        return Ok(Outcome::Done);
    }
    let row = |m: &Measured| {
        let number = |n: u32| n.to_string();
        let (best, median) = (format!("{:.3}", m.best_ms), format!("{:.3}", m.median_ms));
        vec![
            m.assignor.into(),
            m.what.into(),
            number(m.members),
            number(m.partitions),
            number(m.topics),
            best,
            median,
        ]
    };
    let head = ["ASSIGNOR", "WHAT", "MEMBERS", "PARTITIONS", "TOPICS", "BEST MS", "MEDIAN MS"];
    output::table(&head, &all.iter().map(row).collect::<Vec<_>>());
    Ok(Outcome::Done)
}

fn measure(
    name: &str,
    join: bool,
    count: u32,
    each: u32,
    topics: u32,
) -> anyhow::Result<(Duration, Duration)> {
    let assignor = assignor::by_name(name).with_context(|| format!("find assignor `{name}`"))?;
    let partitions = i32::try_from(each).context("so many partitions")?;
    let topics: Topics = (0..topics)
        .map(|topic| (format!("topic-{topic:05}"), Topic { partitions, racks: Vec::new() }))
        .collect();
    let wanted: Arc<BTreeSet<String>> = Arc::new(topics.keys().cloned().collect());
    let member = |number: u32| Subscriber {
        id: format!("member-{number:05}"),
        instance_id: None,
        subscription: Subscription { topics: Arc::clone(&wanted), ..Subscription::default() },
    };
    let mut members: Vec<Subscriber> = (0..count).map(member).collect();
    if join && let Some(last) = members.pop() {
        let owned = assignor.assign(&topics, &members);
        for member in &mut members {
            member.subscription.owned.clone_from(&owned[&member.id]);
            member.subscription.user_data = Some(assignor::Sticky::encode_claim(&owned[&member.id], Some(1)));
            member.subscription.generation = Some(1);
        }
        members.push(last);
    }
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 3 || began.elapsed() < LONG_ENOUGH {
        let one = Instant::now();
        std::hint::black_box(assignor.assign(&topics, &members));
        times.push(one.elapsed());
    }
    times.sort();
    Ok((times[0], times[times.len() / 2]))
}
