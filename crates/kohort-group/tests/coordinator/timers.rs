//! Heartbeats, sessions and phases that run out: scenarios 24 to 27, and both edges of each timer.

use kohort_group::coordinator::{Happened, LeaveCause, State};
use kohort_group::messages::{ErrorCode, JoinGroupRequest};

use crate::fake::*;

#[test]
fn s24_heartbeat_by_state() {
    let mut fake = Fake::new();
    let (id, call) = fake.enter(join());
    assert_eq!(fake.beat(&id, 0), ErrorCode::RebalanceInProgress, "in the initial rebalance: generation 0");
    fake.pass(3_000);
    fake.joined(call);
    assert_eq!(fake.beat(&id, 1), ErrorCode::None, "CompletingRebalance");
    fake.sync_now(sync(&id, 1));
    assert_eq!(fake.beat(&id, 1), ErrorCode::None, "Stable");
    assert_eq!(fake.beat("ghost", 1), ErrorCode::UnknownMemberId);
    assert_eq!(fake.beat(&id, 0), ErrorCode::IllegalGeneration);
    fake.leave(&[(&id, None)]);
    assert_eq!(fake.beat(&id, 2), ErrorCode::UnknownMemberId, "Empty");
    let mut other = beat(&id, 1);
    other.group_id = "other".to_owned();
    let call = fake.call(kohort_group::coordinator::Request::Heartbeat(other));
    assert_eq!(fake.beaten(call), ErrorCode::UnknownMemberId);
}

#[test]
fn s25_session_expiry() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    fake.news();
    fake.pass(SESSION - 1);
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::None, "one lives, and the other has 1 ms");
    fake.pass(1);
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    assert_eq!(fake.beat(&ids[1], 1), ErrorCode::UnknownMemberId);
    let left = |what: &Happened| matches!(what, Happened::MemberLeft { who, cause: LeaveCause::SessionExpired } if who.member_id == ids[1]);
    assert!(fake.news().iter().any(left));
}

#[test]
fn s26_slow_rejoiner_dropped() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    let leader = fake.join(rejoin(&ids[0]));
    for _ in 0..11 {
        fake.pass(5_000);
        assert_eq!(fake.beat(&ids[1], 1), ErrorCode::RebalanceInProgress);
    }
    fake.pass(4_999);
    assert!(fake.waits(leader));
    fake.pass(1);
    let answer = fake.joined(leader);
    assert_eq!((answer.generation, answer.members.len()), (2, 1));
    assert_eq!(fake.beat(&ids[1], 2), ErrorCode::UnknownMemberId);
}

#[test]
fn s27_pending_blocks_then_expires() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    let pending = fake.join_now(join());
    assert_eq!((pending.error, fake.state()), (ErrorCode::MemberIdRequired, State::Stable));
    let leader = fake.join(rejoin(&ids[0]));
    fake.pass(SESSION - 1);
    assert!(fake.waits(leader), "an id that was handed out is awaited");
    fake.pass(1);
    assert_eq!(fake.joined(leader).generation, 2);
    assert_eq!(fake.join_now(rejoin(&pending.member_id)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_parked_member_never_loses_its_session() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    let call = fake.join(rejoin(&ids[1]));
    // The second one's metadata is unchanged; the leader's join is what begins the rebalance.
    assert_eq!(fake.joined(call).generation, 1);
    let leader = fake.join(rejoin(&ids[0]));
    fake.pass(1_000);
    fake.beat(&ids[1], 1);
    fake.pass(SESSION - 1);
    assert!(fake.waits(leader), "it was silent for longer than its session, but it is parked");
    fake.pass(1);
    assert_eq!(fake.joined(leader).members.len(), 1, "the other one was not, and that ends the phase");
}

#[test]
fn a_new_member_may_wait_five_minutes_for_its_first_generation() {
    let mut fake = Fake::with(|config| config.new_member_join_timeout = ms(50_000));
    let ids = fake.stable(1);
    let (newcomer, call) = fake.enter(join());
    for _ in 0..9 {
        fake.pass(5_000);
        fake.beat(&ids[0], 1);
    }
    fake.pass(4_999);
    assert!(fake.waits(call));
    fake.pass(1);
    let answer = fake.joined(call);
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::UnknownMemberId, ""));
    assert_eq!(fake.join_now(rejoin(&newcomer)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn an_expiry_ends_the_initial_delay_if_everyone_is_in_then() {
    // A join and a leave do not; Kafka's way.
    let mut fake = Fake::with(|config| config.initial_rebalance_delay = ms(30_000));
    let pending = fake.join_now(join());
    assert_eq!(pending.error, ErrorCode::MemberIdRequired);
    fake.pass(1_000);
    let (_, call) = fake.enter(join());
    fake.pass(SESSION - 1_001);
    assert!(fake.waits(call));
    fake.pass(1);
    assert_eq!(fake.joined(call).generation, 1);
}

#[test]
fn a_leave_does_not_end_the_initial_delay() {
    let mut fake = Fake::new();
    let (leaving, gone) = fake.enter(join());
    let (_, call) = fake.enter(join());
    fake.leave(&[(&leaving, None)]);
    assert_eq!(fake.joined(gone).error, ErrorCode::UnknownMemberId);
    assert!(fake.waits(call));
    fake.pass(6_000);
    let answer = fake.joined(call);
    assert_eq!((answer.generation, answer.members.len()), (1, 1), "it leads now");
}

/// Two members joined, with a rebalance timeout of 8 s; nobody has synced.
fn joined(fake: &mut Fake) -> Vec<String> {
    let request = || JoinGroupRequest { rebalance_timeout: ms(8_000), ..join() };
    let joins: Vec<_> = (0..2).map(|_| fake.enter(request())).collect();
    fake.pass(6_000);
    joins.into_iter().map(|(id, call)| (id, fake.joined(call)).0).collect()
}

#[test]
fn members_who_do_not_sync_in_time_are_out_while_completing() {
    let mut fake = Fake::new();
    let ids = joined(&mut fake);
    let follower = fake.sync(sync(&ids[1], 1));
    fake.pass(7_999);
    assert_eq!(fake.state(), State::CompletingRebalance);
    fake.pass(1);
    assert_eq!(fake.synced(follower).error, ErrorCode::RebalanceInProgress);
    assert_eq!(fake.state(), State::PreparingRebalance);
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::UnknownMemberId, "the leader never synced");
}

#[test]
fn members_who_do_not_sync_in_time_are_out_even_if_the_group_is_stable() {
    let mut fake = Fake::new();
    let ids = joined(&mut fake);
    fake.sync_now(sync(&ids[0], 1));
    assert_eq!(fake.state(), State::Stable);
    fake.beat(&ids[1], 1);
    fake.pass(7_999);
    assert_eq!(fake.beat(&ids[1], 1), ErrorCode::None, "it beats, but that is not enough");
    fake.pass(1);
    assert_eq!(fake.state(), State::PreparingRebalance);
    assert_eq!(fake.beat(&ids[1], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn nobody_is_removed_by_the_sync_timer_when_all_have_synced() {
    let mut fake = Fake::new();
    let ids = joined(&mut fake);
    fake.sync_now(sync(&ids[0], 1));
    fake.sync_now(sync(&ids[1], 1));
    fake.pass(5_000);
    assert!(ids.iter().all(|id| fake.beat(id, 1) == ErrorCode::None));
    fake.pass(5_000);
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn a_rebalance_timeout_of_zero_expels_at_once() {
    let mut fake = Fake::with(|config| config.initial_rebalance_delay = ms(0));
    let (id, call) = fake.enter(JoinGroupRequest { rebalance_timeout: ms(0), ..join() });
    fake.pass(0);
    assert_eq!(fake.joined(call).generation, 1);
    fake.pass(0);
    assert_eq!(fake.sync_now(sync(&id, 1)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_session_that_ends_while_completing_fails_the_parked_syncs() {
    let mut fake = Fake::new();
    let joins: Vec<_> = (0..2).map(|_| fake.enter(join())).collect();
    fake.pass(6_000);
    let parked = fake.sync(sync(&joins[1].0, 1));
    fake.pass(SESSION);
    assert_eq!(fake.synced(parked).error, ErrorCode::RebalanceInProgress);
    assert_eq!(fake.group().members.len(), 1, "the leader is gone, who waited is not");
}
