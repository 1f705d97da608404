//! How long an assignment takes, over the grid of Kafka's own benchmarks (ClientSideAssignorBenchmark and
//! ServerSideAssignorBenchmark): `cargo run --release -p kohort-group --example assignor_times`.
//!
//! Partitions of a topic = members x ratio / topics. `equal`: everybody wants everything; `buckets`: five disjoint
//! buckets of members and topics. `full`: nobody owns anything; `join`: all but one own what a full assignment gave them,
//! and one joins. With `racks` members and replicas are on three racks, one rack a partition.
#![expect(clippy::disallowed_types, reason = "it measures time")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kohort_group::assignor::{self, Subscriber, Topic, Topics, server};
use kohort_group::consumer_protocol::Subscription;

struct Shape {
    members: usize,
    ratio: usize,
    topics: usize,
    buckets: usize,
    racks: bool,
}

impl Shape {
    fn partitions(&self) -> i32 {
        i32::try_from(self.members * self.ratio / self.topics).expect("few partitions")
    }

    fn names(&self, of: usize) -> BTreeSet<String> {
        let mine = (0..self.topics).filter(|topic| topic % self.buckets == of);
        mine.map(|topic| format!("topic-{topic:04}")).collect()
    }

    fn topics(&self) -> Topics {
        let mut topics = Topics::new();
        for topic in 0..self.topics {
            let racks = (0..self.partitions()).map(|partition| vec![format!("rack-{}", partition % 3)]);
            let racks = if self.racks { racks.collect() } else { Vec::new() };
            topics.insert(format!("topic-{topic:04}"), Topic { partitions: self.partitions(), racks });
        }
        topics
    }

    fn members(&self) -> Vec<Subscriber> {
        let wants: Vec<_> = (0..self.buckets).map(|bucket| Arc::new(self.names(bucket))).collect();
        let member = |number: usize| Subscriber {
            id: format!("member-{number:05}"),
            instance_id: None,
            subscription: Subscription {
                topics: Arc::clone(&wants[number % self.buckets]),
                rack: self.racks.then(|| format!("rack-{}", number % 3)),
                ..Subscription::default()
            },
        };
        (0..self.members).map(member).collect()
    }
}

/// The least and the median time, for a second or three runs.
fn time(mut run: impl FnMut()) -> (Duration, Duration) {
    run();
    let mut times = Vec::new();
    let began = Instant::now();
    while times.len() < 3 || began.elapsed() < Duration::from_secs(1) {
        let one = Instant::now();
        run();
        times.push(one.elapsed());
    }
    times.sort();
    (times[0], times[times.len() / 2])
}

fn client(name: &str, shape: &Shape, join: bool) {
    let assignor = assignor::by_name(name).expect("an assignor of ours");
    let topics = shape.topics();
    let mut members = shape.members();
    if join {
        let last = members.pop().expect("a member");
        let owned = assignor.assign(&topics, &members);
        for member in &mut members {
            member.subscription.owned.clone_from(&owned[&member.id]);
            let claim = assignor::Sticky::encode_claim(&owned[&member.id], Some(1));
            member.subscription.user_data = Some(claim);
            member.subscription.generation = Some(1);
        }
        members.push(last);
    }
    let (least, median) = time(|| drop(assignor.assign(&topics, &members)));
    say(name, shape, join, least, median);
}

fn broker(name: &str, shape: &Shape, join: bool) {
    let id = |name: &String| -> u128 {
        let mix = |hash: u128, byte| {
            (hash ^ u128::from(byte)).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835)
        };
        name.bytes().fold(7, mix)
    };
    let topics: BTreeMap<u128, i32> =
        shape.topics().keys().map(|name| (id(name), shape.partitions())).collect();
    let wants: Vec<Arc<BTreeSet<u128>>> =
        (0..shape.buckets).map(|bucket| Arc::new(shape.names(bucket).iter().map(id).collect())).collect();
    let member = |number: usize| server::Member {
        id: format!("member-{number:05}"),
        instance_id: None,
        subscribed: Arc::clone(&wants[number % shape.buckets]),
        target: Arc::new(Vec::new()),
    };
    let mut members: Vec<server::Member<u128>> = (0..shape.members).map(member).collect();
    let kind = server::SubscriptionType::of(&members);
    let assign = |members: &[server::Member<u128>]| match name {
        server::RANGE => server::range(&topics, members),
        _ => server::uniform(&topics, members, kind),
    };
    if join {
        let last = members.pop().expect("a member");
        let targets = assign(&members).expect("topics that exist");
        for (member, target) in members.iter_mut().zip(targets) {
            member.target = target;
        }
        members.push(last);
    }
    let (least, median) = time(|| drop(assign(&members)));
    say(&format!("broker {name}"), shape, join, least, median);
}

fn say(name: &str, shape: &Shape, join: bool, least: Duration, median: Duration) {
    println!(
        "{name:<20} {:>6} members x {:>2}, {:>4} topics, {:<7} {:<4} {:<5}: {:>9.3} / {:>9.3} ms",
        shape.members,
        shape.ratio,
        shape.topics,
        if shape.buckets == 1 { "equal" } else { "buckets" },
        if join { "join" } else { "full" },
        if shape.racks { "racks" } else { "" },
        least.as_secs_f64() * 1e3,
        median.as_secs_f64() * 1e3,
    );
}

fn main() {
    let shape = |members, ratio, topics, buckets, racks| Shape { members, ratio, topics, buckets, racks };
    for (members, ratio, topics) in
        [(100, 10, 100), (500, 10, 100), (1000, 10, 100), (1000, 50, 100), (10_000, 10, 1000)]
    {
        for buckets in [1, 5] {
            let shape = shape(members, ratio, topics, buckets, false);
            client("range", &shape, false);
            client("roundrobin", &shape, false);
            for join in [false, true] {
                client("sticky", &shape, join);
                client("cooperative-sticky", &shape, join);
            }
        }
    }
    for name in ["range", "cooperative-sticky"] {
        for join in [false, true] {
            client(name, &shape(1000, 10, 100, 1, true), join);
        }
    }
    for (members, ratio, topics) in [(100, 10, 100), (1000, 10, 100), (1000, 50, 1000), (10_000, 10, 1000)] {
        for buckets in [1, 5] {
            let shape = shape(members, ratio, topics, buckets, false);
            for join in [false, true] {
                broker(server::RANGE, &shape, join);
                broker(server::UNIFORM, &shape, join);
            }
        }
    }
}
