use super::*;

#[test]
fn a_rebalance_that_begins_again_is_joined_again_with_the_claims_of_before() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    rig.answer_join(follower(2, "cooperative-sticky"));
    assert_eq!(rig.answer_sync(unsynced(ErrorCode::RebalanceInProgress)), []);
    let (_, join) = rig.take_join();
    let claims = Subscription::decode(&join.protocols[0].1).unwrap();
    assert_eq!((claims.owned, claims.generation), (vec![tp("t", 0)], Some(2)));
}

#[test]
fn a_sync_of_another_generation_loses_the_partitions_but_not_the_member_id() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    rig.answer_join(follower(2, "cooperative-sticky"));
    let effects = rig.answer_sync(unsynced(ErrorCode::IllegalGeneration));
    assert_eq!(lost(&effects), Some(set(&[("t", 0)])));
    let (_, join) = rig.take_join();
    assert_eq!(join.member_id, "m");
    assert_eq!(Subscription::decode(&join.protocols[0].1).unwrap().generation, None);
}

#[test]
fn a_sync_lost_with_its_connection_is_sent_again_on_the_next() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.answer_join(follower(1, "range"));
    rig.take_sync();
    rig.sent.clear();
    assert_eq!(rig.say(Event::CoordinatorLost), [Effect::FindCoordinator]);
    rig.found();
    let effects = rig.answer_sync(assignment(&[("t", 0)]));
    assert!(assigned(&effects).is_some());
    assert!(!rig.has_join(), "no rebalance for a lost connection");
}

#[test]
fn a_coordinator_that_crashed_between_join_and_sync_takes_no_partition_away() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    rig.answer_join(follower(2, "cooperative-sticky"));
    rig.sent.clear();
    rig.say(Event::CoordinatorLost);
    rig.found();
    let effects = rig.answer_sync(unsynced(ErrorCode::IllegalGeneration));
    assert_eq!(lost(&effects), None);
    let (_, join) = rig.take_join();
    assert_eq!(Subscription::decode(&join.protocols[0].1).unwrap().owned, [tp("t", 0)]);
}

#[test]
fn zero_bytes_are_nothing_assigned_and_other_nonsense_ends_the_member() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.answer_join(follower(1, "range"));
    let effects = rig.answer_sync(unsynced(ErrorCode::None));
    assert_eq!(assigned(&effects), Some((set(&[]), set(&[]))));

    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.answer_join(follower(1, "range"));
    let effects =
        rig.answer_sync(SyncGroupResponse { assignment: vec![0, 0, 9], ..unsynced(ErrorCode::None) });
    assert!(matches!(effects[..], [Effect::Fatal(FatalError::Unreadable { .. })]), "{effects:?}");
}

#[test]
fn an_assignment_by_an_old_subscription_is_not_taken() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.answer_join(follower(1, "range"));
    rig.say(Event::Subscribe(topics(&["u"])));
    let effects = rig.answer_sync(assignment(&[("t", 0)]));
    assert_eq!(assigned(&effects), None);
    assert_eq!(revoked(&effects), Some(set(&[])));
    rig.done(&effects);
    let (_, join) = rig.take_join();
    assert_eq!(*Subscription::decode(&join.protocols[0].1).unwrap().topics, topics(&["u"]));
}

#[test]
fn a_member_taken_over_by_another_process_ends() {
    let mut rig = Rig::new(Config { group_instance_id: Some("i".to_owned()), ..config("range") });
    rig.settled("range", 1, &[("t", 0)]);
    let effects = rig.answer_heartbeat(ErrorCode::FencedInstanceId);
    assert_eq!(lost(&effects), Some(set(&[("t", 0)])));
    let fatal = FatalError::Fenced { group_id: "g".to_owned(), instance_id: "i".to_owned() };
    assert_eq!(effects.last(), Some(&Effect::Fatal(fatal)));
}

#[test]
fn a_static_member_that_slept_through_a_generation_lets_go_of_what_it_worked_on() {
    for (generation, slept) in [(2, false), (3, true)] {
        let fixed = Config { group_instance_id: Some("i".to_owned()), ..config("cooperative-sticky") };
        let mut rig = Rig::new(fixed);
        rig.settled("cooperative-sticky", 1, &[("t", 0)]);
        rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
        let effects = rig.answer_join(follower(generation, "cooperative-sticky"));
        assert_eq!(lost(&effects).is_some(), slept);
        assert_eq!(rig.member.owned().count(), usize::from(!slept));
    }
}

#[test]
fn what_was_claimed_and_lost_since_is_offered_to_the_others_as_well() {
    let fixed = Config { group_instance_id: Some("i".to_owned()), ..config("cooperative-sticky") };
    let mut rig = Rig::new(fixed);
    rig.settled("cooperative-sticky", 1, &[("t", 0), ("t", 1)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    let losing = rig.answer_join(follower(3, "cooperative-sticky"));
    rig.done(&losing);
    // The leader still believed in the claim of `t-1`, and holds it back until we hand it over.
    let effects = rig.answer_sync(assignment(&[("t", 0)]));
    rig.done(&effects);
    assert!(rig.has_join(), "nobody else would ever offer it");
}

#[test]
fn sync_and_heartbeat_may_both_hear_that_the_generation_was_forgotten() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    rig.answer_join(follower(2, "cooperative-sticky"));
    rig.sent.clear();
    rig.say(Event::CoordinatorLost);
    rig.found();
    let beat = rig.take_heartbeat();
    rig.answer_sync(unsynced(ErrorCode::IllegalGeneration));
    assert!(rig.has_join());
    let effects = rig.say(Event::Response(beat, Response::Heartbeat(ErrorCode::IllegalGeneration)));
    assert_eq!(effects, []);
}
