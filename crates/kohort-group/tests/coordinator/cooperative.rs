//! Cooperative rebalances, where a newcomer's join is answered when there is something to do for it (`late.rs`).

use kohort_group::consumer_protocol::{Assignment, Subscription};
use kohort_group::coordinator::{CallId, Config, State};
use kohort_group::messages::{ErrorCode, JoinGroupRequest, SyncGroupRequest, TopicPartition};

use crate::fake::*;

const COOPERATIVE: &str = "cooperative-sticky";

fn partitions(of: &[i32]) -> Vec<TopicPartition> {
    of.iter().map(|p| TopicPartition::new("t", *p)).collect()
}

/// A join of somebody who owns these partitions.
fn owning(member_id: &str, owned: &[i32]) -> JoinGroupRequest {
    let subscription = Subscription { owned: partitions(owned), ..Subscription::new(["t"]) };
    let protocols = vec![(COOPERATIVE.to_owned(), subscription.encode())];
    JoinGroupRequest { protocols, ..rejoin(member_id) }
}

fn syncing(member_id: &str, generation: i32) -> SyncGroupRequest {
    SyncGroupRequest { protocol_name: Some(COOPERATIVE.to_owned()), ..sync(member_id, generation) }
}

fn assigning(member_id: &str, generation: i32, to: &[(&str, &[i32])]) -> SyncGroupRequest {
    let assignments =
        to.iter().map(|(id, of)| ((*id).to_owned(), Assignment::new(partitions(of)).encode())).collect();
    SyncGroupRequest { assignments, ..syncing(member_id, generation) }
}

/// One member, which owns 0 and 1, and a second one that has just joined beside it: generation 2.
struct Two {
    fake: Fake,
    one: String,
    two: String,
    newcomer: CallId,
}

fn one_owns_all_and_another_joins(change: impl FnOnce(&mut Config)) -> Two {
    let mut fake = Fake::with(|config| {
        config.initial_rebalance_delay = ms(0);
        config.park_heartbeats = true;
        change(config);
    });
    let (one, call) = fake.enter(owning("", &[]));
    fake.pass(0);
    assert_eq!(fake.joined(call).generation, 1);
    assert_eq!(fake.sync_now(assigning(&one, 1, &[(&one, &[0, 1])])).error, ErrorCode::None);
    let (two, newcomer) = fake.enter(owning("", &[]));
    let leader = fake.join_now(owning(&one, &[0, 1]));
    assert_eq!((leader.generation, leader.members.len()), (2, 2), "the leader is told of both");
    Two { fake, one, two, newcomer }
}

#[test]
fn a_newcomer_is_called_once_for_both_generations_of_a_cooperative_rebalance() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    assert!(fake.waits(newcomer), "its answer waits for the assignment");
    fake.sync_now(assigning(&one, 2, &[(&one, &[0]), (&two, &[])]));
    assert_eq!(fake.state(), State::Stable);
    assert!(fake.waits(newcomer), "nothing is given to it, and another generation follows");
    let leader = fake.join_now(owning(&one, &[0]));
    assert_eq!(leader.generation, 3, "in the same step: nobody is waited for");
    fake.sync_now(assigning(&one, 3, &[(&one, &[0]), (&two, &[1])]));
    let answer = fake.joined(newcomer);
    assert_eq!((answer.error, answer.generation, answer.members.len()), (ErrorCode::None, 3, 0));
    let given = fake.sync_now(syncing(&two, 3));
    assert_eq!(given.assignment, Assignment::new(partitions(&[1])).encode());
}

#[test]
fn a_newcomer_that_is_given_something_at_once_is_answered_at_once() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.sync_now(assigning(&one, 2, &[(&one, &[0, 1]), (&two, &[2])]));
    assert_eq!(fake.joined(newcomer).generation, 2);
    assert_eq!(fake.sync_now(syncing(&two, 2)).assignment, Assignment::new(partitions(&[2])).encode());
}

#[test]
fn a_newcomer_for_whom_there_is_nothing_is_answered_with_the_assignment() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.sync_now(assigning(&one, 2, &[(&one, &[0, 1]), (&two, &[])]));
    assert_eq!(fake.joined(newcomer).generation, 2, "nobody gives anything up: no generation follows");
    assert_eq!(fake.sync_now(syncing(&two, 2)).error, ErrorCode::None);
}

#[test]
fn a_newcomer_does_not_wait_for_a_leader_that_takes_its_time() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.pass(299);
    assert!(fake.waits(newcomer));
    fake.pass(1);
    assert_eq!(fake.joined(newcomer).generation, 2);
    let synced = fake.sync(syncing(&two, 2));
    fake.sync_now(assigning(&one, 2, &[(&one, &[0]), (&two, &[1])]));
    assert_eq!(fake.synced(synced).assignment, Assignment::new(partitions(&[1])).encode());
}

#[test]
fn a_newcomer_does_not_wait_for_an_owner_that_takes_its_time() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.sync_now(assigning(&one, 2, &[(&one, &[0]), (&two, &[])]));
    fake.pass(2_549);
    assert!(fake.waits(newcomer));
    fake.pass(1);
    assert_eq!(fake.joined(newcomer).generation, 2);
    assert_eq!(fake.sync_now(syncing(&two, 2)).error, ErrorCode::None);
    // Then it is a member like any other.
    let parked = fake.call(kohort_group::coordinator::Request::Heartbeat(beat(&two, 2)));
    assert!(fake.waits(parked));
    let rejoined = fake.join(owning(&one, &[0]));
    assert_eq!(fake.beaten(parked), ErrorCode::RebalanceInProgress);
    fake.join(owning(&two, &[]));
    assert_eq!(fake.joined(rejoined).generation, 3);
}

#[test]
fn a_newcomer_that_was_answered_late_and_never_syncs_is_out_after_the_rebalance_timeout() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.sync_now(assigning(&one, 2, &[(&one, &[0]), (&two, &[])]));
    fake.pass(2_550);
    fake.joined(newcomer);
    fake.pass(SESSION - 1);
    assert_eq!(fake.group().members.len(), 1, "the owner, which was silent for longer, is gone before it");
    fake.pass(1);
    assert_eq!(fake.state(), State::Empty, "and its own session has begun with the answer");
}

#[test]
fn a_newcomer_that_asks_again_is_answered_at_once_and_its_first_call_never() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.sync_now(assigning(&one, 2, &[(&one, &[0]), (&two, &[])]));
    assert_eq!(fake.join_now(owning(&two, &[])).generation, 2);
    assert!(fake.dropped.contains(&newcomer));
    assert_eq!(fake.sync_now(syncing(&two, 2)).error, ErrorCode::None);
}

#[test]
fn a_newcomer_outlives_a_leader_that_never_assigns() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.leave(&[(&one, None)]);
    let answer = fake.joined(newcomer);
    assert_eq!(
        (answer.generation, answer.leader.as_str()),
        (3, two.as_str()),
        "it has joined already, and leads"
    );
}

#[test]
fn a_newcomer_that_leaves_while_it_waits_is_gone() {
    let Two { mut fake, one, two, newcomer } = one_owns_all_and_another_joins(|_| {});
    fake.sync_now(assigning(&one, 2, &[(&one, &[0]), (&two, &[])]));
    fake.leave(&[(&two, None)]);
    assert_eq!(fake.joined(newcomer).error, ErrorCode::UnknownMemberId);
    assert_eq!(fake.join_now(owning(&one, &[0])).generation, 3);
    fake.sync_now(assigning(&one, 3, &[(&one, &[0, 1])]));
    fake.pass(3_000);
    assert_eq!(fake.group().members.len(), 1);
}

#[test]
fn without_parking_a_newcomer_is_answered_as_in_kafka() {
    let Two { mut fake, newcomer, .. } =
        one_owns_all_and_another_joins(|config| config.park_heartbeats = false);
    assert_eq!(fake.joined(newcomer).generation, 2);
}

#[test]
fn in_an_eager_group_nobody_is_answered_late() {
    let mut fake = Fake::with(|config| {
        config.initial_rebalance_delay = ms(0);
        config.park_heartbeats = true;
    });
    let ids = fake.stable(1);
    let (_, newcomer) = fake.enter(join());
    fake.join_now(rejoin(&ids[0]));
    assert_eq!(fake.joined(newcomer).generation, 2);
}
