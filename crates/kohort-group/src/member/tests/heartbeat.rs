use super::*;

#[test]
fn the_first_heartbeat_leaves_with_the_assignment_and_the_next_an_interval_after_its_sending() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let id = rig.take_heartbeat();
    rig.pass(2_550);
    rig.say(Event::Response(id, Response::Heartbeat(ErrorCode::None)));
    rig.pass(449);
    assert!(rig.sent.is_empty());
    rig.pass(1);
    rig.take_heartbeat();
}

#[test]
fn a_heartbeat_that_is_held_back_is_not_doubled_and_no_failure() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let id = rig.take_heartbeat();
    assert_eq!(rig.pass(10_000), []);
    assert!(rig.sent.is_empty(), "one is in flight");
    rig.say(Event::Response(id, Response::Heartbeat(ErrorCode::None)));
    rig.take_heartbeat();
    assert!(rig.member.is_stable());
}

#[test]
fn news_of_a_rebalance_is_acted_on_at_once() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let effects = rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    assert_eq!(revoked(&effects), Some(set(&[("t", 0)])));
    rig.done(&effects);
    let (_, join) = rig.take_join();
    assert_eq!(join.member_id, "m");
}

#[test]
fn heartbeats_go_on_while_a_callback_takes_its_time() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let open = rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    for _ in 0..5 {
        rig.pass(3_000);
        assert_eq!(rig.answer_heartbeat(ErrorCode::RebalanceInProgress), []);
    }
    assert!(!rig.has_join());
    rig.done(&open);
    assert!(rig.has_join());
}

#[test]
fn an_illegal_generation_keeps_the_member_id_and_an_unknown_member_does_not() {
    for (error, reason, id) in [
        (ErrorCode::IllegalGeneration, LeftReason::IllegalGeneration, "m"),
        (ErrorCode::UnknownMemberId, LeftReason::UnknownMember, ""),
    ] {
        let mut rig = Rig::with("range");
        rig.settled("range", 1, &[("t", 0)]);
        let effects = rig.answer_heartbeat(error);
        assert_eq!(lost(&effects), Some(set(&[("t", 0)])));
        assert!(effects.contains(&Effect::Left(reason)));
        let (_, join) = rig.take_join();
        assert_eq!(join.member_id, id, "joins again at once");
    }
}

#[test]
fn what_an_earlier_generation_is_told_is_no_news() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    let stale = rig.take_heartbeat();
    rig.say(Event::Subscribe(topics(&["t", "u"])));
    rig.answer_join(follower(2, "cooperative-sticky"));
    let effects = rig.answer_sync(assignment(&[("t", 0)]));
    rig.done(&effects);
    let effects = rig.say(Event::Response(stale, Response::Heartbeat(ErrorCode::IllegalGeneration)));
    assert_eq!(effects, []);
    assert!(rig.member.is_stable());
    rig.take_heartbeat();
}

#[test]
fn no_answer_for_a_session_gives_the_coordinator_up_but_not_the_partitions() {
    let mut rig = Rig::new(Config { session_timeout: ms(10_000), ..config("range") });
    rig.settled("range", 1, &[("t", 0)]);
    assert_eq!(rig.pass(9_999), []);
    assert_eq!(rig.pass(1), [Effect::Disconnect, Effect::FindCoordinator]);
    rig.found();
    rig.take_heartbeat();
    assert_eq!(rig.member.owned().count(), 1);
}

#[test]
fn a_lost_connection_is_followed_by_a_heartbeat_on_the_next() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::None);
    assert_eq!(rig.say(Event::CoordinatorLost), [Effect::FindCoordinator]);
    rig.found();
    rig.take_heartbeat();
}

#[test]
fn a_failed_beat_is_repeated_after_a_backoff() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    assert_eq!(rig.answer_heartbeat(ErrorCode::CoordinatorLoadInProgress), []);
    assert!(rig.sent.is_empty());
    rig.pass(120);
    rig.take_heartbeat();
}

#[test]
fn an_application_that_does_not_poll_costs_the_membership_until_it_does() {
    let mut rig = Rig::new(Config { max_poll_interval: ms(5_000), ..config("range") });
    rig.settled("range", 1, &[("t", 0)]);
    let effects = rig.pass(5_000);
    assert_eq!(lost(&effects), Some(set(&[("t", 0)])));
    assert!(effects.contains(&Effect::Left(LeftReason::PollIntervalExceeded)));
    assert!(rig.has_leave());
    rig.done(&effects);
    rig.pass(60_000);
    assert!(!rig.has_join());
    rig.say(Event::Polled);
    if !rig.has_join() {
        rig.found();
    }
    let (_, join) = rig.take_join();
    assert_eq!(join.member_id, "");
}

#[test]
fn a_static_member_that_does_not_poll_goes_silent_and_does_not_leave() {
    let static_member = Config { group_instance_id: Some("i".to_owned()), ..config("range") };
    let mut rig = Rig::new(Config { max_poll_interval: ms(5_000), ..static_member });
    rig.settled("range", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::None);
    rig.pass(3_000);
    rig.answer_heartbeat(ErrorCode::None);
    rig.pass(60_000);
    assert!(rig.sent.is_empty(), "{:?}", rig.sent);
}

#[test]
fn polling_keeps_the_membership() {
    let mut rig = Rig::new(Config { max_poll_interval: ms(5_000), ..config("range") });
    rig.settled("range", 1, &[("t", 0)]);
    for _ in 0..10 {
        rig.pass(3_000);
        rig.say(Event::Polled);
        if !rig.sent.is_empty() {
            rig.answer_heartbeat(ErrorCode::None);
        }
    }
    assert!(rig.member.is_stable());
}
