use super::*;

#[test]
fn a_lookup_that_fails_is_repeated_with_growing_pauses() {
    let mut rig = Rig::with("range");
    rig.say(Event::Subscribe(topics(&["t"])));
    let mut pauses = Vec::new();
    for _ in 0..6 {
        assert_eq!(rig.say(Event::CoordinatorNotFound(ErrorCode::CoordinatorNotAvailable)), []);
        let pause = rig.member.deadline().unwrap().since(rig.time());
        assert_eq!(rig.pass(u64::try_from(pause.as_millis()).unwrap()), [Effect::FindCoordinator]);
        pauses.push(pause);
    }
    assert!(pauses[0] >= ms(80) && pauses[5] >= ms(800) && pauses[5] <= ms(1_200), "{pauses:?}");
}

#[test]
fn a_lookup_without_permission_ends_the_member() {
    let mut rig = Rig::with("range");
    rig.say(Event::Subscribe(topics(&["t"])));
    let effects = rig.say(Event::CoordinatorNotFound(ErrorCode::GroupAuthorizationFailed));
    assert!(matches!(effects[..], [Effect::Fatal(FatalError::Refused { .. })]), "{effects:?}");
}

#[test]
fn a_coordinator_that_moved_is_looked_up_at_once_and_then_with_pauses() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    let not_here = ErrorCode::NotCoordinator;
    assert_eq!(rig.answer_join(refused(not_here, "m")), [Effect::Disconnect, Effect::FindCoordinator]);
    rig.found();
    assert_eq!(rig.answer_join(refused(not_here, "m")), [Effect::Disconnect]);
    rig.pass(120);
    rig.found();
    assert_eq!(rig.take_join().1.member_id, "m");
}

#[test]
fn a_request_without_an_answer_takes_its_connection_with_it() {
    let mut rig = Rig::new(Config { rebalance_timeout: ms(60_000), ..config("range") });
    rig.joining(&["t"]);
    assert_eq!(rig.pass(64_999), [], "JoinGroup waits for the rebalance timeout and five seconds");
    assert_eq!(rig.pass(1), [Effect::Disconnect, Effect::FindCoordinator]);
    rig.found();
    assert_eq!(rig.take_join().1.member_id, "m");
}

#[test]
fn a_connection_lost_while_joining_is_followed_by_the_same_join() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.sent.clear();
    assert_eq!(rig.say(Event::CoordinatorLost), [Effect::FindCoordinator]);
    rig.found();
    assert_eq!(rig.take_join().1.member_id, "m");
}

#[test]
fn answers_to_requests_that_were_given_up_are_ignored() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    let (stale, _) = rig.take_join();
    rig.say(Event::CoordinatorLost);
    rig.found();
    let effects = rig.say(Event::Response(stale, Response::JoinGroup(follower(9, "range"))));
    assert_eq!(effects, []);
    assert_eq!(rig.member.generation(), None);
}

#[test]
fn two_members_of_different_seeds_do_not_return_in_step() {
    let pause = |seed| {
        let mut member = Member::new(config("range"), seed).unwrap();
        let now = Time::from_millis(1);
        let _ = member.handle(now, Event::Subscribe(topics(&["t"])));
        let _ = member.handle(now, Event::CoordinatorNotFound(ErrorCode::CoordinatorNotAvailable));
        member.deadline()
    };
    assert_eq!(pause(1), pause(1));
    assert!((2..10).any(|seed| pause(seed) != pause(1)));
}
