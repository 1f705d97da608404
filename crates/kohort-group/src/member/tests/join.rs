use super::*;

#[test]
fn a_new_member_joins_without_waiting_for_anything_but_answers() {
    let mut rig = Rig::with("range");
    assert_eq!(rig.say(Event::Subscribe(topics(&["t"]))), [Effect::FindCoordinator]);
    rig.found();
    let (id, first) = rig.take_join();
    assert_eq!(first.member_id, "");
    rig.say(Event::Response(id, Response::JoinGroup(refused(ErrorCode::MemberIdRequired, "m"))));
    let (id, second) = rig.take_join();
    assert_eq!(second.member_id, "m");
    rig.say(counts(&[("t", 2)]));
    rig.say(Event::Response(id, Response::JoinGroup(leader(1, "range", &[("m", &["t"])]))));
    let (id, sync) = rig.take_sync();
    assert_eq!((sync.generation, sync.member_id.as_str()), (1, "m"));
    let effects = rig.say(Event::Response(id, Response::SyncGroup(assignment(&[("t", 0), ("t", 1)]))));
    let both = set(&[("t", 0), ("t", 1)]);
    assert_eq!(assigned(&effects), Some((both.clone(), both)));
    assert_eq!(rig.member.generation(), Some(1));
}

#[test]
fn the_leader_waits_for_the_partition_counts_of_everybodys_topics() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.say(counts(&[("t", 1)]));
    rig.answer_join(leader(1, "range", &[("m", &["t"]), ("n", &["u"])]));
    assert!(rig.sent.is_empty(), "`u` is not known yet");
    rig.say(counts(&[("u", 1)]));
    let (_, sync) = rig.take_sync();
    let of_n = sync.assignments.iter().find(|(id, _)| id == "n").unwrap();
    assert_eq!(Assignment::decode(&of_n.1).unwrap().partitions, [tp("u", 0)]);
}

#[test]
fn a_leader_whose_metadata_never_comes_assigns_what_it_knows() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.answer_join(leader(1, "range", &[("m", &["t"])]));
    assert!(rig.sent.is_empty());
    for _ in 0..10 {
        rig.pass(3_000);
        if !rig.sent.is_empty() && rig.sent.iter().any(|(_, it)| matches!(it, Request::Heartbeat(_))) {
            rig.answer_heartbeat(ErrorCode::None);
        }
    }
    rig.take_sync();
}

#[test]
fn a_leader_that_must_not_assign_sends_an_empty_list_and_still_watches_its_topics() {
    let mut rig = Rig::new(Config { group_instance_id: Some("i".to_owned()), ..config("range") });
    rig.say(Event::Subscribe(topics(&["t"])));
    rig.found();
    rig.say(counts(&[("t", 1)]));
    rig.answer_join(JoinGroupResponse { skip_assignment: true, ..leader(4, "range", &[("m", &["t"])]) });
    let (id, sync) = rig.take_sync();
    assert!(sync.assignments.is_empty());
    let effects = rig.say(Event::Response(id, Response::SyncGroup(assignment(&[("t", 0)]))));
    rig.done(&effects);
    assert!(rig.member.is_stable());
    rig.say(counts(&[("t", 2)]));
    assert!(!rig.member.is_stable(), "it leads, so the new partition is its business");
}

#[test]
fn a_leader_that_returns_sees_what_grew_while_it_was_away() {
    let fixed = || Rig::new(Config { group_instance_id: Some("i".to_owned()), ..config("range") });
    let mut before = fixed();
    before.joining(&["t"]);
    before.say(counts(&[("t", 1)]));
    before.answer_join(leader(4, "range", &[("m", &["t"])]));
    let (_, sync) = before.take_sync();
    let kept = SyncGroupResponse { assignment: sync.assignments[0].1.clone(), ..unsynced(ErrorCode::None) };

    for (count, grown) in [(1, false), (2, true)] {
        let mut after = fixed();
        after.say(Event::Subscribe(topics(&["t"])));
        after.found();
        after
            .answer_join(JoinGroupResponse { skip_assignment: true, ..leader(4, "range", &[("m", &["t"])]) });
        let effects = after.answer_sync(kept.clone());
        after.done(&effects);
        after.say(counts(&[("t", count)]));
        assert_eq!(after.member.is_stable(), !grown);
    }
}

#[test]
fn an_unknown_member_joins_again_without_an_id_and_from_the_second_time_on_with_a_pause() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.answer_join(refused(ErrorCode::UnknownMemberId, ""));
    let (id, again) = rig.take_join();
    assert_eq!(again.member_id, "", "at once");
    rig.say(Event::Response(id, Response::JoinGroup(refused(ErrorCode::UnknownMemberId, ""))));
    assert!(!rig.has_join());
    rig.pass(150);
    assert!(rig.has_join());
}

#[test]
fn a_coordinator_that_loads_its_groups_is_asked_again_with_a_growing_pause() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    let mut pauses = Vec::new();
    for _ in 0..6 {
        rig.answer_join(refused(ErrorCode::CoordinatorLoadInProgress, "m"));
        assert!(!rig.has_join());
        let at = rig.member.deadline().unwrap();
        let pause = at.since(rig.time());
        rig.pass(u64::try_from(pause.as_millis()).unwrap());
        pauses.push(pause);
    }
    assert!(pauses[0] >= ms(80) && pauses[0] <= ms(120), "{pauses:?}");
    assert!(pauses[5] >= ms(800) && pauses[5] <= ms(1_200), "{pauses:?}");
}

#[test]
fn what_the_coordinator_refuses_for_good_ends_the_member() {
    for error in [
        ErrorCode::InconsistentGroupProtocol,
        ErrorCode::InvalidGroupId,
        ErrorCode::InvalidSessionTimeout,
        ErrorCode::GroupMaxSizeReached,
        ErrorCode::GroupAuthorizationFailed,
    ] {
        let mut rig = Rig::with("range");
        rig.joining(&["t"]);
        let effects = rig.answer_join(refused(error, "m"));
        let fatal = FatalError::Refused { group_id: "g".to_owned(), request: "JoinGroup", error };
        assert_eq!(effects, [Effect::Fatal(fatal)]);
        assert_eq!(rig.member.deadline(), None);
    }
}

#[test]
fn an_id_that_comes_too_late_is_given_back() {
    let mut rig = Rig::with("range");
    rig.say(Event::Subscribe(topics(&["t"])));
    rig.found();
    rig.say(Event::Unsubscribe);
    rig.answer_join(refused(ErrorCode::MemberIdRequired, "m"));
    let (_, leave) = rig.take(|it| if let Request::LeaveGroup(it) = it { Some(it.clone()) } else { None });
    assert_eq!(leave.members[0].member_id, "m", "or the next rebalance would wait for it");
}

#[test]
fn reasons_are_told_and_cut() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    let effects = rig.pass(0);
    assert!(effects.is_empty());
    rig.say(Event::CallbackDone(CallbackId(2)));
    let (_, join) = rig.take_join();
    assert_eq!(join.reason.as_deref(), Some("the group rebalances"));
}

#[test]
fn a_broker_too_old_for_static_members_ends_one() {
    let mut rig = Rig::new(Config { group_instance_id: Some("i".to_owned()), ..config("range") });
    rig.say(Event::Subscribe(topics(&["t"])));
    let old = Versions { join_group: 4, ..Versions::default() };
    let effects = rig.say(Event::CoordinatorFound(old));
    assert!(matches!(effects[..], [Effect::Fatal(FatalError::NoStaticMembership { .. })]), "{effects:?}");
}

#[test]
fn a_group_that_chose_an_assignor_we_did_not_offer_is_refused() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    let effects = rig.answer_join(follower(1, "sticky"));
    assert!(matches!(effects[..], [Effect::Fatal(FatalError::Refused { .. })]), "{effects:?}");
}

#[test]
fn configurations_that_contradict_themselves_make_no_member() {
    let error = |config| Member::new(config, 0).unwrap_err();
    assert_eq!(error(Config::new("")), ConfigError::EmptyGroupId);
    assert_eq!(error(Config { assignors: vec![], ..Config::new("g") }), ConfigError::NoAssignor);
    assert_eq!(error(config("fair")), ConfigError::UnknownAssignor("fair".to_owned()));
    let slow = Config { heartbeat_interval: ms(45_000), ..config("range") };
    assert!(matches!(error(slow), ConfigError::HeartbeatTooSlow { .. }));
}
