//! Two services share a group and keep what they read in different stores. Either of them is killed, frozen past its session and woken, or
//! stopped, at random moments, and partitions go back and forth: the merge over both stores must be the reference to the last digit.
//!
//! `KOHORT_FIRE_SEED` replays a run, `KOHORT_FIRE_ROUNDS` makes it longer.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "../rig/mod.rs"]
mod rig;
mod services;

use std::time::Duration;

use rig::{Random, setting};
use services::{Cluster, Service};

/// What the services take for a session; a freeze lasts longer.
const SESSION: Duration = Duration::from_secs(1);
/// A round's length, about.
const ROUND: Duration = Duration::from_secs(4);

/// One thing that happens to a service.
fn strike(service: &mut Service, random: &mut Random) -> &'static str {
    match random.below(5) {
        0 | 1 => {
            service.kill();
            random.pause(50, 1_500);
            service.start();
            "killed"
        }
        2 | 3 => {
            service.signal("-STOP");
            std::thread::sleep(SESSION);
            random.pause(200, 1_500);
            service.signal("-CONT");
            "frozen and woken"
        }
        _ => {
            service.stop();
            random.pause(50, 1_000);
            service.start();
            "stopped"
        }
    }
}

fn under_fire(cluster: Cluster, mut services: [Service; 2]) {
    let (seed, rounds) = (setting("KOHORT_FIRE_SEED", 1), setting("KOHORT_FIRE_ROUNDS", 5));
    println!("KOHORT_FIRE_SEED={seed} KOHORT_FIRE_ROUNDS={rounds}");
    let mut random = Random(seed);
    cluster.acquaint(&services);
    for service in &mut services {
        service.start();
    }
    let feed = cluster.replay_within(ROUND * u32::try_from(rounds).unwrap());
    for round in 0..rounds {
        random.pause(0, 1_000);
        let victim = usize::try_from(random.below(2)).unwrap();
        let what = strike(&mut services[victim], &mut random);
        println!("round {round}: {} {what}", services[victim].name());
        // Now and then the other one has not got over it yet.
        random.pause(0, 1_500);
    }
    feed.ends();
    cluster.until_exact(&services);
    // Whatever a zombie still has in hand would come now.
    std::thread::sleep(2 * SESSION);
    cluster.assert_exact(&services);
    let shares = services.each_ref().map(Service::candles);
    println!("candles with a part in each store: {shares:?}");
    assert!(shares.iter().all(|share| *share > 0), "both had a part of the work: {shares:?}");
    services.iter_mut().for_each(Service::stop);
    cluster.assert_exact(&services);
}

#[test]
fn dataflow_and_market_with_a_store_each_count_each_trade_once() {
    let cluster = Cluster::start();
    let services = [cluster.dataflow("dataflow"), cluster.market("market")];
    under_fire(cluster, services);
}

/// `KOHORT_FIRE_MYSQL=mysql://user:password@host:port/database` names an empty database, `KOHORT_FIRE_REDIS=host:port` an empty Redis
/// (`tests/peers/mariadb` and `tests/peers/redis` start servers).
#[test]
#[ignore = "needs KOHORT_FIRE_MYSQL and KOHORT_FIRE_REDIS"]
fn dataflow_on_mariadb_and_market_on_redis_count_each_trade_once() {
    let named = |name| std::env::var(name).unwrap_or_else(|_| panic!("{name} names an empty store"));
    let cluster = Cluster::start();
    let services = [
        cluster.dataflow_on("dataflow", &named("KOHORT_FIRE_MYSQL")),
        cluster.market_on("market", &named("KOHORT_FIRE_REDIS")),
    ];
    under_fire(cluster, services);
}

/// Members that come and go every second while trades flow at full speed.
#[test]
fn a_storm_of_rebalances_changes_no_candle() {
    let rounds = setting("KOHORT_FIRE_ROUNDS", 5);
    let cluster = Cluster::start();
    let mut services = [cluster.dataflow("dataflow"), cluster.market("market")];
    cluster.acquaint(&services);
    services[0].start();
    let feed = cluster.replay_within(Duration::from_secs(2) * u32::try_from(rounds).unwrap());
    for _ in 0..rounds {
        services[1].start();
        std::thread::sleep(Duration::from_secs(1));
        services[1].stop();
        std::thread::sleep(Duration::from_secs(1));
    }
    feed.ends();
    cluster.until_exact(&services);
}
