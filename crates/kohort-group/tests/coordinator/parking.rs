//! Parked heartbeats and lost connections: ours, not Kafka's; off means exactly Kafka's timing.

use kohort_group::coordinator::{CallId, Client, ConnectionId, Event, Happened, LeaveCause, Request, State};
use kohort_group::messages::ErrorCode;

use crate::fake::*;

const ONE: ConnectionId = ConnectionId(1);
const TWO: ConnectionId = ConnectionId(2);

fn parking() -> Fake {
    Fake::with(|config| {
        config.park_heartbeats = true;
        config.lost_connection_grace = ms(500);
    })
}

fn park(fake: &mut Fake, connection: ConnectionId, member_id: &str) -> CallId {
    let call = fake.call_on(connection, Request::Heartbeat(beat(member_id, 1)));
    assert!(fake.waits(call));
    call
}

#[test]
fn a_parked_heartbeat_brings_the_news_of_a_join() {
    let mut fake = parking();
    let ids = fake.stable(1);
    let parked = park(&mut fake, ONE, &ids[0]);
    fake.pass(500);
    assert!(fake.waits(parked));
    fake.enter(join());
    assert_eq!(fake.beaten(parked), ErrorCode::RebalanceInProgress, "in the same step");
}

#[test]
fn a_parked_heartbeat_brings_the_news_of_a_leave() {
    let mut fake = parking();
    let ids = fake.stable(2);
    let parked = [park(&mut fake, ONE, &ids[0]), park(&mut fake, TWO, &ids[1])];
    fake.leave(&[(&ids[1], None)]);
    assert_eq!(fake.beaten(parked[0]), ErrorCode::RebalanceInProgress);
    assert_eq!(fake.beaten(parked[1]), ErrorCode::UnknownMemberId, "it left on another connection");
}

#[test]
fn a_hold_ends_before_the_next_beat_is_due() {
    let mut fake = parking();
    let ids = fake.stable(1);
    // The usual interval is 3 s, and a third of this session is longer: 85 % of it.
    let parked = park(&mut fake, ONE, &ids[0]);
    fake.pass(2_549);
    assert!(fake.waits(parked));
    fake.pass(1);
    assert_eq!(fake.beaten(parked), ErrorCode::None);
}

#[test]
fn the_hold_follows_the_members_own_rhythm() {
    let mut fake = parking();
    let ids = fake.stable(1);
    let first = park(&mut fake, ONE, &ids[0]);
    fake.pass(1_000);
    fake.event(Event::Busy(ONE));
    assert_eq!(fake.beaten(first), ErrorCode::None);
    let second = park(&mut fake, ONE, &ids[0]);
    fake.pass(849);
    assert!(fake.waits(second));
    fake.pass(1);
    assert_eq!(fake.beaten(second), ErrorCode::None);
}

#[test]
fn another_request_on_the_connection_frees_it() {
    let mut fake = parking();
    let ids = fake.stable(1);
    let parked = park(&mut fake, ONE, &ids[0]);
    fake.event(Event::Busy(TWO));
    assert!(fake.waits(parked), "that was another connection");
    fake.event(Event::Busy(ONE));
    assert_eq!(fake.beaten(parked), ErrorCode::None);
    fake.event(Event::Busy(ONE));
}

#[test]
fn a_second_heartbeat_answers_the_parked_one() {
    let mut fake = parking();
    let ids = fake.stable(1);
    let first = park(&mut fake, ONE, &ids[0]);
    fake.pass(1_000);
    let second = park(&mut fake, TWO, &ids[0]);
    assert_eq!(fake.beaten(first), ErrorCode::None);
    fake.event(Event::Closed(ONE));
    fake.pass(600);
    assert!(fake.waits(second), "the connection that closed was not waiting");
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn heartbeats_in_the_middle_of_a_rebalance_are_answered_at_once() {
    let mut fake = parking();
    let (id, call) = fake.enter(join());
    assert_eq!(fake.beat(&id, 0), ErrorCode::RebalanceInProgress);
    fake.pass(3_000);
    fake.joined(call);
    assert_eq!(fake.beat(&id, 1), ErrorCode::None);
}

#[test]
fn a_member_whose_connection_is_lost_is_gone_after_the_grace() {
    let mut fake = parking();
    let ids = fake.stable(2);
    let parked = [park(&mut fake, ONE, &ids[0]), park(&mut fake, TWO, &ids[1])];
    fake.event(Event::Closed(TWO));
    assert!(fake.dropped.contains(&parked[1]));
    fake.pass(499);
    assert!(fake.waits(parked[0]));
    fake.news();
    fake.pass(1);
    assert_eq!(fake.beaten(parked[0]), ErrorCode::RebalanceInProgress);
    let lost = |what: &Happened| matches!(what, Happened::MemberLeft { who, cause: LeaveCause::ConnectionLost } if who.member_id == ids[1]);
    assert!(fake.news().iter().any(lost));
    assert_eq!(fake.beat(&ids[1], 1), ErrorCode::UnknownMemberId);
}

#[test]
fn a_member_that_returns_on_another_connection_stays() {
    let returns: [fn(&mut Fake, &str); 3] = [
        |fake, id| {
            fake.call_on(ConnectionId(3), Request::Heartbeat(beat(id, 1)));
        },
        |fake, id| assert_eq!(fake.commit(commit(id, 1)), ErrorCode::None),
        |fake, id| assert_eq!(fake.sync_now(sync(id, 1)).error, ErrorCode::None),
    ];
    for come_back in returns {
        let mut fake = parking();
        let ids = fake.stable(2);
        park(&mut fake, TWO, &ids[1]);
        fake.event(Event::Closed(TWO));
        fake.pass(499);
        come_back(&mut fake, &ids[1]);
        fake.pass(3_000);
        assert_eq!(fake.state(), State::Stable);
    }
}

#[test]
fn a_member_that_dies_before_its_rhythm_is_known_is_missed_after_a_third_of_its_session() {
    let mut fake = parking();
    let ids = fake.stable(1);
    let parked = park(&mut fake, ONE, &ids[0]);
    fake.pass(2_550);
    assert_eq!(fake.beaten(parked), ErrorCode::None);
    fake.event(Event::Closed(ONE));
    fake.pass(SESSION / 3 - 2_550 + 499);
    assert_eq!(fake.state(), State::Stable);
    fake.pass(1);
    assert_eq!(fake.state(), State::Empty);
}

/// A member whose rhythm is known, 3 s, and whose heartbeat another request has just freed.
fn between_two_beats() -> (Fake, Vec<String>) {
    let mut fake = parking();
    let ids = fake.stable(2);
    park(&mut fake, TWO, &ids[1]);
    fake.pass(3_000);
    let parked = park(&mut fake, TWO, &ids[1]);
    fake.event(Event::Busy(TWO));
    assert_eq!(fake.beaten(parked), ErrorCode::None);
    fake.pass(1_000);
    (fake, ids)
}

#[test]
fn a_member_that_dies_between_two_beats_is_missed_when_the_next_is_due() {
    let (mut fake, ids) = between_two_beats();
    fake.event(Event::Closed(TWO));
    fake.beat_on(ONE, &ids[0]);
    fake.pass(2_499);
    assert_eq!(fake.state(), State::Stable);
    fake.news();
    fake.pass(1);
    let lost = |what: &Happened| matches!(what, Happened::MemberLeft { who, cause: LeaveCause::ConnectionLost } if who.member_id == ids[1]);
    assert!(fake.news().iter().any(lost));
}

#[test]
fn a_member_that_beats_on_another_connection_when_it_is_due_is_not_missed() {
    let (mut fake, ids) = between_two_beats();
    fake.event(Event::Closed(TWO));
    fake.beat_on(ONE, &ids[0]);
    fake.pass(2_499);
    fake.beat_on(ConnectionId(3), &ids[1]);
    // Where it beat before is nobody's any more.
    fake.event(Event::Closed(TWO));
    fake.pass(1_000);
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn a_static_member_is_not_missed_before_its_session_ends() {
    let mut fake = parking();
    let call = fake.join(join_static("i"));
    fake.pass(3_000);
    let id = fake.joined(call).member_id;
    fake.sync_now(sync(&id, 1));
    for _ in 0..3 {
        fake.beat_on(ONE, &id);
        fake.pass(3_000);
    }
    fake.event(Event::Closed(ONE));
    fake.pass(SESSION - 3_001);
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn a_lost_connection_without_a_grace_costs_the_session_as_in_kafka() {
    let mut fake = Fake::with(|config| config.park_heartbeats = true);
    let ids = fake.stable(1);
    park(&mut fake, ONE, &ids[0]);
    fake.event(Event::Closed(ONE));
    fake.pass(SESSION - 1);
    assert_eq!(fake.state(), State::Stable);
    fake.pass(1);
    assert_eq!(fake.state(), State::Empty);
}

#[test]
fn a_parked_heartbeat_does_not_lengthen_the_session() {
    let mut fake = parking();
    let ids = fake.stable(1);
    let parked = park(&mut fake, ONE, &ids[0]);
    fake.pass(SESSION - 1);
    fake.beaten(parked);
    assert_eq!(fake.state(), State::Stable);
    fake.pass(1);
    assert_eq!(fake.state(), State::Empty);
}

#[test]
fn with_parking_off_every_heartbeat_is_answered_at_once() {
    let mut fake = Fake::with(|config| config.lost_connection_grace = ms(500));
    let ids = fake.stable(1);
    for _ in 0..3 {
        assert_eq!(fake.beat(&ids[0], 1), ErrorCode::None);
        fake.pass(3_000);
    }
    fake.event(Event::Closed(ONE));
    fake.pass(2_000);
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn a_join_while_a_heartbeat_is_parked_elsewhere_forgets_the_lost_connection() {
    let mut fake = parking();
    let ids = fake.stable(2);
    park(&mut fake, TWO, &ids[1]);
    fake.event(Event::Closed(TWO));
    fake.pass(100);
    assert_eq!(fake.join_now(rejoin(&ids[1])).error, ErrorCode::None);
    fake.pass(1_000);
    assert_eq!(fake.state(), State::Stable);
}

fn seek(fake: &mut Fake, client_id: &str) {
    let client = Client { id: client_id.to_owned(), host: "/127.0.0.1".to_owned() };
    fake.event(Event::CoordinatorSought { client, group_id: GROUP.to_owned() });
}

#[test]
fn a_member_whose_client_looks_for_the_coordinator_lives() {
    let mut fake = parking();
    let ids = fake.stable(1);
    park(&mut fake, ONE, &ids[0]);
    fake.event(Event::Closed(ONE));
    fake.pass(499);
    seek(&mut fake, "app");
    fake.pass(SESSION / 3);
    park(&mut fake, TWO, &ids[0]);
    fake.pass(SESSION - 1);
    assert_eq!(fake.state(), State::Stable, "its session is what counts again");
    fake.pass(1);
    assert_eq!(fake.state(), State::Empty);
}

#[test]
fn a_member_whose_client_looked_for_the_coordinator_and_that_misses_two_beats_is_dead() {
    let mut fake = parking();
    let ids = fake.stable(1);
    park(&mut fake, ONE, &ids[0]);
    fake.event(Event::Closed(ONE));
    fake.pass(499);
    // Perhaps a tool of the same name, which will ask again and again.
    for _ in 0..3 {
        seek(&mut fake, "app");
    }
    fake.pass(2 * (SESSION / 3) - 500);
    assert_eq!(fake.state(), State::Stable);
    seek(&mut fake, "app");
    fake.pass(502);
    assert_eq!(fake.state(), State::Empty);
}

#[test]
fn the_question_of_another_client_is_no_sign_of_life() {
    let mut fake = parking();
    let ids = fake.stable(1);
    park(&mut fake, ONE, &ids[0]);
    fake.event(Event::Closed(ONE));
    seek(&mut fake, "another");
    fake.pass(500);
    assert_eq!(fake.state(), State::Empty);
}

#[test]
fn a_process_that_is_started_in_the_place_of_a_dead_one_does_not_wait_for_it() {
    let mut fake = parking();
    let ids = fake.stable(2);
    let other = park(&mut fake, ONE, &ids[0]);
    park(&mut fake, TWO, &ids[1]);
    fake.event(Event::Closed(TWO));
    fake.pass(20);
    seek(&mut fake, "app");
    let (newcomer, joining) = fake.enter(join());
    fake.pass(0);
    assert_eq!(fake.beaten(other), ErrorCode::RebalanceInProgress);
    let staying = fake.join(rejoin(&ids[0]));
    let answer = fake.joined(staying);
    assert_eq!((answer.generation, answer.members.len()), (2, 2), "the dead one is out");
    assert_eq!(fake.joined(joining).member_id, newcomer);
}
