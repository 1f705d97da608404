//! The whole platform as processes of `kohort`: Dataflow, Market and Smart Money, each in a group of its own, read one topic of real
//! trades. On the embedded stores or on MariaDB and Redis, from our broker or from Apache Kafka, undisturbed, under `kill -9` of anything,
//! and in a storm of members that come and go, the outcome is the same: every candle of Dataflow and of Market equals the reference
//! to the last digit, the log has each trade of a known wallet once, and a receiver was told of each.
//!
//! | variable | |
//! |---|---|
//! | `KOHORT_WHOLE_MARIADB` | a folder that `tests/peers/mariadb install` made, or `tests/peers/mysql install`: MySQL is in MariaDB's place then |
//! | `KOHORT_WHOLE_MARIADB_OPTIONS` | options of the server |
//! | `KOHORT_WHOLE_KAFKA` | a folder that `tests/peers/kafka install` made |
//! | `KOHORT_WHOLE_REDIS` | how Redis keeps what it has: `always` (default), `everysec`, `snapshots` (Redis's own default) |
//! | `KOHORT_WHOLE_KILL` | whom `killed` kills: `dataflow`, `market`, `smart-money`, `broker`, `mariadb`, `redis`, several of them with commas, `any` (default) |
//! | `KOHORT_WHOLE_ROUNDS` | how often |
//! | `KOHORT_WHOLE_SEED` | replays a run's choices |
//! | `KOHORT_WHOLE_LOG` | what the services log, `error` by default |
//! | `KOHORT_BIN` | another `kohort` than the one of this build |
//!
//! The trades are a day of three real pools. Where more are needed, the day is sent again under other addresses of the pools, or as it is:
//! then every sum and count is a multiple of the reference's, and the log has nothing new.
//!
//! To see it fail: `KOHORT_WHOLE_MARIADB_OPTIONS=--innodb-flush-log-at-trx-commit=0 KOHORT_WHOLE_KILL=dataflow,mariadb`. MariaDB then
//! takes back what it had answered, and an owner who is gone at the same time cannot read it again.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

mod feed;
mod outcome;
mod peers;
mod platform;
#[path = "../rig/mod.rs"]
mod rig;

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use feed::Pace;
use platform::{Log, Platform, Stores, Victim};
use rig::{Random, setting};

/// What needs servers takes turns: they are the same servers.
static TURN: Mutex<()> = Mutex::new(());

fn seed() -> u64 {
    let now = || u64::from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().subsec_micros());
    std::env::var("KOHORT_WHOLE_SEED").map_or_else(|_| now(), |text| text.parse().expect("a number"))
}

/// Trades flow, nothing happens.
fn undisturbed(stores: Stores, log: Log) {
    let seed = seed();
    let platform = Platform::start(stores, log, format!("KOHORT_WHOLE_SEED={seed}, undisturbed"));
    let feed = platform.feed(Pace::Day(Duration::from_secs(3)), 1);
    let sent = feed.ends();
    platform.drained(&sent, &mut Random(seed));
}

/// Trades flow, and one after another is killed and started again.
fn killed(stores: Stores, log: Log, victims: &[Victim], rounds: u64, day: Duration) {
    let seed = seed();
    let names: Vec<&str> = victims.iter().map(|victim| victim.name()).collect();
    let says =
        format!("KOHORT_WHOLE_SEED={seed} KOHORT_WHOLE_ROUNDS={rounds}, kills of {}", names.join(", "));
    let mut random = Random(seed);
    let mut platform = Platform::start(stores, log, says);
    let feed = platform.feed(Pace::Day(day), u32::MAX);
    let (mut next, mut before) = (Vec::new(), 0);
    for round in 0..rounds {
        // Mostly all is well when it strikes; now and then nobody has got over what was before.
        if random.below(4) > 0 {
            before = platform.flowing(before);
        }
        random.pause(0, 2_000);
        // Each as often as the others; now and then two at once, as a machine takes a store with its service when it goes.
        let (count, mut struck) = (1 + usize::from(victims.len() > 1 && random.below(3) == 0), Vec::new());
        while struck.len() < count {
            if next.is_empty() {
                next = victims.to_vec();
            }
            let victim = next.swap_remove(usize::try_from(random.below(next.len() as u64)).unwrap());
            if !struck.contains(&victim) {
                struck.push(victim);
            }
        }
        let (read, sent) = (platform.read(), feed.sent());
        platform.assert_run();
        struck.iter().for_each(|victim| platform.kill(*victim));
        for victim in &struck {
            random.pause(20, 1_500);
            platform.again(*victim);
        }
        let names: Vec<&str> = struck.iter().map(|victim| victim.name()).collect();
        println!("round {round}: killed {} when {read:?} of {sent} messages were read", names.join(" and "));
        assert!(feed.flows(), "no trades flow any more");
    }
    let sent = feed.ends();
    platform.drained(&sent, &mut random);
}

/// Trades flow as fast as they are read, and members come and go every second.
fn storm(stores: Stores, log: Log, rounds: u64) {
    let seed = seed();
    let says = format!("KOHORT_WHOLE_SEED={seed} KOHORT_WHOLE_ROUNDS={rounds}, a storm");
    let mut random = Random(seed);
    let mut platform = Platform::start(stores, log, says);
    let feed = platform.feed(Pace::Full, u32::MAX);
    let mut guests = Vec::new();
    let began = Instant::now();
    for round in 0..rounds {
        let before = feed.sent();
        let who = platform.shareable(&mut random);
        guests.push(platform.guest(who));
        random.pause(300, 900);
        let mut left = "nobody left";
        if guests.len() > 2 || random.below(2) == 0 {
            let mut guest = guests.swap_remove(usize::try_from(random.below(guests.len() as u64)).unwrap());
            left = if random.below(2) == 0 { "one was killed" } else { "one was stopped" };
            if left == "one was killed" { guest.kill() } else { guest.stop() }
        }
        println!("round {round}: {} joined, {left}; {} messages", who.name(), feed.sent() - before);
        random.pause(100, 500);
    }
    let (messages, seconds) = (feed.sent(), began.elapsed().as_secs_f64());
    println!("{messages} messages in {seconds:.1} s of storm: {:.0} a second", messages as f64 / seconds);
    guests.iter_mut().for_each(platform::Service::stop);
    let sent = feed.ends();
    platform.drained(&sent, &mut random);
}

/// Whom to kill, of those that there are.
fn victims(there: &[Victim]) -> Vec<Victim> {
    let wanted = std::env::var("KOHORT_WHOLE_KILL").unwrap_or_else(|_| "any".to_owned());
    let of = |name: &str| there.iter().copied().find(|victim| victim.name() == name);
    if wanted == "any" {
        return there.to_vec();
    }
    let named = |name| of(name).unwrap_or_else(|| panic!("KOHORT_WHOLE_KILL: there is no `{name}` here"));
    wanted.split(',').map(named).collect()
}

fn turn() -> std::sync::MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[test]
fn embedded_stores_our_broker() {
    undisturbed(Stores::Embedded, Log::Ours);
}

#[test]
fn embedded_stores_our_broker_killed() {
    let rounds = setting("KOHORT_WHOLE_ROUNDS", 4);
    let day = if rounds > 4 { DAY } else { Duration::from_secs(6) };
    killed(Stores::Embedded, Log::Ours, &victims(&Victim::EMBEDDED), rounds, day);
}

#[test]
fn embedded_stores_our_broker_storm() {
    storm(Stores::Embedded, Log::Ours, setting("KOHORT_WHOLE_ROUNDS", 4));
}

#[test]
#[ignore = "needs KOHORT_WHOLE_KAFKA"]
fn embedded_stores_kafka() {
    let _turn = turn();
    undisturbed(Stores::Embedded, Log::Kafka);
}

#[test]
#[ignore = "needs KOHORT_WHOLE_MARIADB and a redis-server"]
fn servers_our_broker() {
    let _turn = turn();
    undisturbed(Stores::Servers, Log::Ours);
}

#[test]
#[ignore = "needs KOHORT_WHOLE_MARIADB, KOHORT_WHOLE_KAFKA and a redis-server"]
fn servers_kafka() {
    let _turn = turn();
    undisturbed(Stores::Servers, Log::Kafka);
}

/// Between two rounds lies about the time of a restart; 20 s for the trades of a day are some 200 messages a second.
const DAY: Duration = Duration::from_secs(20);

#[test]
#[ignore = "needs KOHORT_WHOLE_MARIADB and a redis-server"]
fn servers_our_broker_killed() {
    let _turn = turn();
    let rounds = setting("KOHORT_WHOLE_ROUNDS", 6);
    killed(Stores::Servers, Log::Ours, &victims(&Victim::ALL), rounds, DAY);
}

#[test]
#[ignore = "needs KOHORT_WHOLE_MARIADB, KOHORT_WHOLE_KAFKA and a redis-server"]
fn servers_kafka_killed() {
    let _turn = turn();
    let rounds = setting("KOHORT_WHOLE_ROUNDS", 6);
    killed(Stores::Servers, Log::Kafka, &victims(&Victim::ALL), rounds, DAY);
}

#[test]
#[ignore = "needs KOHORT_WHOLE_MARIADB and a redis-server"]
fn servers_our_broker_storm() {
    let _turn = turn();
    storm(Stores::Servers, Log::Ours, setting("KOHORT_WHOLE_ROUNDS", 6));
}
