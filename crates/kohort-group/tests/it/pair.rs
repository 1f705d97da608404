//! The conversation, piece by piece.

use std::time::Duration;

use kohort_group::coordinator::{Config as CoordinatorConfig, Happened, LeaveCause};
use kohort_group::member::{CommitError, Config, Event, LeftReason};

use crate::wire::{Pair, set, tp};

fn group(assignor: &str) -> Config {
    Config {
        assignors: vec![assignor.to_owned()],
        session_timeout: Duration::from_secs(10),
        heartbeat_interval: Duration::from_secs(3),
        ..Config::new("g")
    }
}

fn fixed(assignor: &str, instance: &str) -> Config {
    Config { group_instance_id: Some(instance.to_owned()), ..group(assignor) }
}

#[test]
fn a_first_member_has_everything_without_a_moment_passing() {
    let mut pair = Pair::new(&[("t", 3)]);
    let a = pair.join(group("range"), &["t"]);
    // A delay of zero still goes through the timer: the answer leaves with the next tick.
    pair.pass(0);
    pair.assert_settled(&[a], "t");
}

#[test]
fn members_that_join_share_and_take_over_from_those_that_leave() {
    for assignor in ["range", "roundrobin", "sticky", "cooperative-sticky"] {
        let mut pair = Pair::new(&[("t", 6)]);
        let a = pair.join(group(assignor), &["t"]);
        pair.pass(0);
        let b = pair.join(group(assignor), &["t"]);
        let c = pair.join(group(assignor), &["t"]);
        // Parked heartbeats bring the news: nobody waits for his next one.
        pair.pass(0);
        pair.assert_settled(&[a, b, c], "t");
        assert!(pair.consumers.iter().all(|it| it.held.len() == 2), "{assignor}");
        pair.close(b);
        pair.pass(0);
        assert!(pair.consumers[b].closed);
        assert_eq!(pair.consumers[b].left, [LeftReason::Closed]);
        pair.assert_settled(&[a, c], "t");
    }
}

#[test]
fn without_parking_news_come_with_the_next_heartbeat() {
    let config = CoordinatorConfig {
        initial_rebalance_delay: Duration::ZERO,
        park_heartbeats: false,
        ..Default::default()
    };
    let mut pair = Pair::with(config, &[("t", 2)]);
    let a = pair.join(group("range"), &["t"]);
    pair.pass(100);
    let b = pair.join(group("range"), &["t"]);
    pair.pass(2_800);
    assert_eq!(pair.consumers[b].held.len(), 0);
    pair.pass(200);
    pair.assert_settled(&[a, b], "t");
}

#[test]
fn a_cooperative_rebalance_touches_only_what_moves() {
    let mut pair = Pair::new(&[("t", 4)]);
    let a = pair.join(group("cooperative-sticky"), &["t"]);
    pair.pass(0);
    let b = pair.join(group("cooperative-sticky"), &["t"]);
    pair.pass(0);
    pair.assert_settled(&[a, b], "t");
    assert_eq!(pair.consumers[a].revoked, [set(&[("t", 2), ("t", 3)])]);
    assert!(pair.consumers[a].lost.is_empty());
}

#[test]
fn a_cooperative_handover_waits_for_the_owner_to_finish() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(group("cooperative-sticky"), &["t"]);
    pair.pass(0);
    pair.consumers[a].slow = true;
    let b = pair.join(group("cooperative-sticky"), &["t"]);
    pair.work(20_000);
    assert_eq!(pair.consumers[a].held.len(), 2, "it is not done with what it hands over");
    assert_eq!(pair.consumers[b].held.len(), 0);
    pair.end_callbacks(a);
    pair.pass(0);
    pair.assert_settled(&[a, b], "t");
}

#[test]
fn an_eager_rebalance_waits_for_a_member_that_takes_its_time() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(group("range"), &["t"]);
    pair.pass(0);
    pair.consumers[a].slow = true;
    let b = pair.join(group("range"), &["t"]);
    pair.work(30_000);
    assert_eq!(pair.consumers[b].held.len(), 0);
    assert_eq!(pair.consumers[a].member.generation(), Some(1), "heartbeats keep it in");
    pair.end_callbacks(a);
    pair.pass(0);
    pair.assert_settled(&[a, b], "t");
}

#[test]
fn a_member_too_slow_for_the_rebalance_is_left_behind_and_comes_back() {
    let short = Config { rebalance_timeout: Duration::from_secs(5), ..group("range") };
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(short.clone(), &["t"]);
    pair.pass(0);
    pair.consumers[a].slow = true;
    let b = pair.join(short, &["t"]);
    pair.work(5_500);
    assert_eq!(pair.consumers[b].held.len(), 2, "the others do not wait longer");
    pair.commit(a, tp("t", 0), 5);
    assert_eq!(pair.consumers[a].commits, [Err(CommitError::NotInGroup)]);
    assert_eq!(pair.committed(&tp("t", 0)), None);
    assert_eq!(pair.consumers[a].lost, [set(&[("t", 0), ("t", 1)])]);
    assert_eq!(pair.consumers[a].left, [LeftReason::UnknownMember]);
    // It came back at once; what it was still handing back is lost, not handed back.
    pair.work(1_000);
    pair.assert_settled(&[a, b], "t");
}

#[test]
fn a_killed_member_is_known_by_its_connection() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(group("range"), &["t"]);
    pair.pass(0);
    let b = pair.join(group("range"), &["t"]);
    pair.work(5_000);
    pair.kill(b);
    pair.pass(500);
    pair.assert_settled(&[a], "t");
    let lost = |happened: &Happened| {
        matches!(happened, Happened::MemberLeft { cause: LeaveCause::ConnectionLost, .. })
    };
    assert!(pair.notes.iter().any(|note| lost(&note.what)));
}

#[test]
fn a_connection_that_comes_back_in_time_costs_nothing() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(group("range"), &["t"]);
    pair.pass(0);
    let b = pair.join(group("range"), &["t"]);
    pair.work(5_000);
    let before = pair.rebalances();
    pair.reset(b);
    pair.work(20_000);
    pair.assert_settled(&[a, b], "t");
    assert_eq!(pair.rebalances(), before);
}

#[test]
fn a_static_member_that_restarts_in_time_causes_no_rebalance() {
    let mut pair = Pair::new(&[("t", 4)]);
    let a = pair.join(fixed("range", "one"), &["t"]);
    let b = pair.join(fixed("range", "two"), &["t"]);
    pair.work(1_000);
    let before = (pair.rebalances(), pair.consumers[b].held.clone());
    for restarted in [b, a] {
        pair.kill(restarted);
        pair.work(4_000);
        let instance = if restarted == a { "one" } else { "two" };
        let again = pair.join(fixed("range", instance), &["t"]);
        pair.pass(0);
        assert!(pair.consumers[again].member.is_stable(), "{instance}");
        assert_eq!(pair.consumers[again].held.len(), 2);
    }
    assert_eq!(pair.rebalances(), before.0);
    assert_eq!(pair.consumers[2].held, before.1);
}

#[test]
fn a_static_leader_that_restarts_still_sees_topics_grow() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(fixed("range", "one"), &["t"]);
    pair.work(1_000);
    pair.kill(a);
    pair.grow("t", 3);
    let again = pair.join(fixed("range", "one"), &["t"]);
    pair.work(1_000);
    pair.assert_settled(&[again], "t");
}

#[test]
fn a_second_process_with_the_same_instance_id_fences_the_first() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(fixed("range", "one"), &["t"]);
    pair.work(1_000);
    let b = pair.join(fixed("range", "one"), &["t"]);
    pair.work(4_000);
    assert!(pair.consumers[a].fatal.is_some());
    assert_eq!(pair.consumers[a].lost.len(), 1);
    pair.assert_settled(&[b], "t");
}

#[test]
fn a_leader_that_dies_before_it_assigns_is_replaced() {
    let mut pair = Pair::new(&[("t", 2)]);
    // Its metadata never comes: it leads, and does not assign.
    let a = pair.join(group("range"), &["t"]);
    pair.freeze(a);
    pair.pass(0);
    let b = pair.join(group("range"), &["t"]);
    pair.work(40_000);
    pair.assert_settled(&[b], "t");
    pair.thaw(a);
    pair.work(4_000);
    pair.assert_settled(&[a, b], "t");
}

#[test]
fn a_zombie_that_wakes_up_changes_nothing() {
    for assignor in ["range", "cooperative-sticky"] {
        let mut pair = Pair::new(&[("t", 2)]);
        let a = pair.join(group(assignor), &["t"]);
        pair.pass(0);
        let b = pair.join(group(assignor), &["t"]);
        pair.work(4_000);
        let stale = pair.consumers[a].held.first().cloned().expect("one partition each");
        pair.freeze(a);
        pair.work(20_000);
        pair.assert_settled(&[b], "t");
        pair.commit(b, stale.clone(), 100);
        // What the zombie meant to commit before it froze comes first, then all that waited for it.
        pair.consumers[a].frozen = false;
        pair.commit(a, stale.clone(), 7);
        pair.thaw(a);
        pair.pass(0);
        assert_eq!(pair.committed(&stale), Some(100), "{assignor}");
        assert!(pair.consumers[a].commits.iter().all(Result::is_err), "{:?}", pair.consumers[a].commits);
        assert_eq!(pair.consumers[a].lost.len(), 1);
        pair.work(4_000);
        pair.assert_settled(&[a, b], "t");
    }
}

#[test]
fn commits_count_while_partitions_are_handed_back_and_not_between() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(group("range"), &["t"]);
    pair.pass(0);
    pair.consumers[a].slow = true;
    pair.join(group("range"), &["t"]);
    pair.commit(a, tp("t", 0), 5);
    assert_eq!(pair.consumers[a].commits, [Ok(())]);
    assert_eq!(pair.committed(&tp("t", 0)), Some(5));
    // A third member that has its id and does not come back holds the join phase open.
    let c = pair.join_halfway(group("range"), &["t"]);
    pair.end_callbacks(a);
    pair.commit(a, tp("t", 0), 6);
    assert_eq!(pair.consumers[a].commits.last(), Some(&Err(CommitError::RebalanceInProgress)));
    pair.thaw(c);
    pair.work(1_000);
    assert_eq!(pair.committed(&tp("t", 0)), Some(5));
}

#[test]
fn a_topic_that_grows_is_shared_anew() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(group("cooperative-sticky"), &["t"]);
    pair.pass(0);
    let b = pair.join(group("cooperative-sticky"), &["t"]);
    pair.work(1_000);
    pair.grow("t", 6);
    pair.work(1_000);
    pair.assert_settled(&[a, b], "t");
    assert_eq!(pair.consumers[a].held.len(), 3);
}

#[test]
fn a_changed_subscription_rebalances_at_once() {
    let mut pair = Pair::new(&[("t", 2), ("u", 2)]);
    let a = pair.join(group("range"), &["t"]);
    pair.pass(0);
    pair.subscribe(a, &["t", "u"]);
    pair.pass(0);
    pair.assert_settled(&[a], "u");
    pair.assert_settled(&[a], "t");
}

#[test]
fn different_subscriptions_get_what_they_ask_for() {
    let mut pair = Pair::new(&[("t", 2), ("u", 2)]);
    let a = pair.join(group("roundrobin"), &["t"]);
    let b = pair.join(group("roundrobin"), &["u"]);
    pair.work(1_000);
    assert_eq!(pair.consumers[a].held, set(&[("t", 0), ("t", 1)]));
    assert_eq!(pair.consumers[b].held, set(&[("u", 0), ("u", 1)]));
}

#[test]
fn a_broker_that_restarts_keeps_the_group_as_it_was() {
    let mut pair = Pair::new(&[("t", 4)]);
    let a = pair.join(group("sticky"), &["t"]);
    pair.pass(0);
    let b = pair.join(group("sticky"), &["t"]);
    pair.work(2_000);
    pair.commit(a, tp("t", 0), 3);
    let before = (pair.consumers[a].held.clone(), pair.consumers[a].member.generation(), pair.rebalances());
    pair.crash_broker();
    pair.work(30_000);
    pair.assert_settled(&[a, b], "t");
    let after = (pair.consumers[a].held.clone(), pair.consumers[a].member.generation(), pair.rebalances());
    assert_eq!(after, before);
    assert_eq!(pair.committed(&tp("t", 0)), Some(3));
}

#[test]
fn a_broker_that_crashes_in_a_rebalance_loses_no_cooperative_partition() {
    let mut pair = Pair::new(&[("t", 4)]);
    let a = pair.join(group("cooperative-sticky"), &["t"]);
    pair.pass(0);
    pair.consumers[a].slow = true;
    let b = pair.join(group("cooperative-sticky"), &["t"]);
    pair.crash_broker();
    pair.end_callbacks(a);
    pair.work(5_000);
    pair.end_callbacks(a);
    pair.work(1_000);
    pair.assert_settled(&[a, b], "t");
    assert!(pair.consumers[a].lost.is_empty());
}

#[test]
fn an_application_that_stops_polling_leaves_and_returns_with_its_next_poll() {
    let busy = Config { max_poll_interval: Duration::from_secs(8), ..group("range") };
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(busy.clone(), &["t"]);
    pair.pass(0);
    let b = pair.join(Config { max_poll_interval: Duration::from_secs(300), ..busy }, &["t"]);
    pair.pass(9_000);
    assert_eq!(pair.consumers[a].left, [LeftReason::PollIntervalExceeded]);
    pair.assert_settled(&[b], "t");
    pair.say(a, Event::Polled);
    pair.pass(100);
    pair.assert_settled(&[a, b], "t");
}

#[test]
fn unsubscribing_frees_the_partitions_and_subscribing_brings_the_member_back() {
    let mut pair = Pair::new(&[("t", 2)]);
    let a = pair.join(group("range"), &["t"]);
    pair.pass(0);
    let b = pair.join(group("range"), &["t"]);
    pair.pass(0);
    pair.say(a, Event::Unsubscribe);
    pair.pass(0);
    pair.assert_settled(&[b], "t");
    pair.subscribe(a, &["t"]);
    pair.pass(0);
    pair.assert_settled(&[a, b], "t");
}

#[test]
fn groups_that_change_their_assignor_roll_over_one_by_one() {
    let old = Config { assignors: vec!["range".to_owned()], ..group("range") };
    let both =
        Config { assignors: vec!["cooperative-sticky".to_owned(), "range".to_owned()], ..group("range") };
    let new = group("cooperative-sticky");
    let mut pair = Pair::new(&[("t", 4)]);
    let mut running = vec![pair.join(old.clone(), &["t"]), pair.join(old, &["t"])];
    pair.work(1_000);
    for config in [both, new] {
        for place in 0..running.len() {
            pair.close(running[place]);
            running[place] = pair.join(config.clone(), &["t"]);
            pair.work(4_000);
            pair.assert_settled(&running, "t");
        }
    }
}

#[test]
fn a_hundred_members_settle_within_a_heartbeat() {
    let mut pair = Pair::new(&[("t", 250)]);
    let all: Vec<_> = (0..100).map(|_| pair.join(group("cooperative-sticky"), &["t"])).collect();
    pair.work(3_000);
    pair.assert_settled(&all, "t");
    assert!(pair.consumers.iter().all(|it| (2..=3).contains(&it.held.len())));
}
