use super::*;

const ID: AskId = AskId(7);

impl Rig {
    fn commit(&mut self, partitions: &[(&str, i32, i64)], retry_for: Option<u64>) -> Vec<Effect> {
        let retry_until = retry_for.map(|span| self.time() + ms(span));
        self.say(Event::Commit { id: ID, offsets: offsets(partitions), retry_until })
    }
}

fn committed(result: Result<(), CommitError>) -> Effect {
    Effect::Committed { id: ID, result }
}

#[test]
fn a_member_commits_with_its_generation_and_a_manual_consumer_with_none() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    rig.commit(&[("t", 0, 5)], None);
    let (_, request) = rig.take_commit();
    assert_eq!((request.generation, request.member_id.as_str()), (3, "m"));

    let mut rig = Rig::new(Config { group_instance_id: Some("i".to_owned()), ..config("range") });
    assert_eq!(rig.commit(&[("t", 0, 5)], None), [Effect::FindCoordinator]);
    rig.found();
    let (_, request) = rig.take_commit();
    assert_eq!((request.generation, request.member_id.as_str(), request.group_instance_id), (-1, "", None));
}

#[test]
fn while_partitions_are_handed_back_commits_still_count() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    let open = rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    rig.commit(&[("t", 0, 5)], None);
    assert_eq!(rig.answer_commit(ErrorCode::None), [committed(Ok(()))]);
    rig.done(&open);
    assert_eq!(
        rig.commit(&[("t", 0, 6)], None),
        [committed(Err(CommitError::RebalanceInProgress))],
        "once JoinGroup is sent they do not"
    );
}

#[test]
fn who_is_not_in_the_group_commits_nothing() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    rig.say(Event::CoordinatorLost);
    rig.sent.clear();
    rig.say(Event::Unsubscribe);
    let effects = rig.say(Event::CallbackDone(CallbackId(2)));
    assert!(effects.contains(&Effect::Left(LeftReason::Unsubscribed)), "{effects:?}");
    rig.say(Event::Subscribe(topics(&["t"])));
    let effects = rig.commit(&[("t", 0, 5)], Some(1_000));
    assert_eq!(effects, [committed(Err(CommitError::RebalanceInProgress))]);
}

#[test]
fn a_refused_commit_says_why_and_loses_what_it_must() {
    for (error, outcome, loses) in [
        (ErrorCode::IllegalGeneration, CommitError::NotInGroup, true),
        (ErrorCode::UnknownMemberId, CommitError::NotInGroup, true),
        (ErrorCode::RebalanceInProgress, CommitError::RebalanceInProgress, false),
        (ErrorCode::FencedInstanceId, CommitError::Fenced, true),
        (
            ErrorCode::OffsetMetadataTooLarge,
            CommitError::Refused(vec![(tp("t", 0), ErrorCode::OffsetMetadataTooLarge)]),
            false,
        ),
    ] {
        let mut rig = Rig::with("cooperative-sticky");
        rig.settled("cooperative-sticky", 3, &[("t", 0)]);
        rig.commit(&[("t", 0, 5)], Some(10_000));
        let effects = rig.answer_commit(error);
        assert_eq!(effects[0], committed(Err(outcome)), "{error:?}");
        assert_eq!(lost(&effects).is_some(), loses, "{error:?}");
    }
}

#[test]
fn a_rebalance_that_a_commit_hears_of_is_joined() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 3, &[("t", 0)]);
    rig.commit(&[("t", 0, 5)], None);
    rig.answer_commit(ErrorCode::RebalanceInProgress);
    assert!(rig.has_join());
}

#[test]
fn only_commits_that_ask_for_it_are_retried() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    rig.commit(&[("t", 0, 5)], None);
    let loading = ErrorCode::CoordinatorLoadInProgress;
    let refused = CommitError::Refused(vec![(tp("t", 0), loading)]);
    assert_eq!(rig.answer_commit(loading), [committed(Err(refused))]);

    rig.commit(&[("t", 0, 6)], Some(5_000));
    assert_eq!(rig.answer_commit(loading), []);
    rig.pass(120);
    assert_eq!(rig.answer_commit(ErrorCode::None), [committed(Ok(()))]);
}

#[test]
fn a_partition_that_stays_unknown_is_given_up_long_before_the_time_is_over() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    rig.commit(&[("t", 0, 5)], Some(60_000));
    let unknown = ErrorCode::UnknownTopicOrPartition;
    let (mut ended, mut waited) = (Vec::new(), 0);
    while ended.is_empty() {
        ended = rig.answer_commit(unknown);
        if ended.is_empty() {
            rig.pass(1_200);
            waited += 1_200;
        }
    }
    assert_eq!(ended, [committed(Err(CommitError::Refused(vec![(tp("t", 0), unknown)])))]);
    assert!((1..10_000).contains(&waited), "tried again, and not for a minute: {waited}");
}

#[test]
fn a_retried_commit_is_not_overtaken() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    rig.commit(&[("t", 0, 5)], Some(5_000));
    rig.commit(&[("t", 0, 6)], Some(5_000));
    assert_eq!(rig.answer_commit(ErrorCode::CoordinatorLoadInProgress), []);
    assert!(!rig.sent.iter().any(|(_, it)| matches!(it, Request::OffsetCommit(_))));
    rig.pass(120);
    assert_eq!(rig.take_commit().1.offsets[0].1.offset, 5);
}

#[test]
fn a_commit_lost_with_its_connection_is_unknown_or_repeated() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    rig.commit(&[("t", 0, 5)], None);
    let effects = rig.say(Event::CoordinatorLost);
    assert_eq!(effects[0], committed(Err(CommitError::NoAnswer)));
    rig.sent.clear();
    rig.commit(&[("t", 0, 5)], Some(5_000));
    rig.found();
    rig.take_commit();
    rig.say(Event::CoordinatorLost);
    rig.sent.clear();
    rig.pass(200);
    rig.found();
    assert_eq!(rig.take_commit().1.offsets[0].1.offset, 5);
}

#[test]
fn a_commit_that_waited_counts_only_for_partitions_owned_all_the_while() {
    for (still, expected) in [(("t", 0), true), (("t", 1), false)] {
        let mut rig = Rig::with("cooperative-sticky");
        rig.settled("cooperative-sticky", 3, &[("t", 0), ("t", 1)]);
        // Its first try meets a coordinator that is loading, and then a rebalance takes `t-1` away.
        rig.commit(&[(still.0, still.1, 5)], Some(60_000));
        rig.answer_commit(ErrorCode::CoordinatorLoadInProgress);
        rig.member.identity.generation = 4;
        rig.member.owned.remove(&tp("t", 1));
        rig.member.owned.insert(tp("t", 1), 4);
        let effects = rig.pass(200);
        let failed = effects.contains(&committed(Err(CommitError::NotInGroup)));
        assert_eq!(failed, !expected, "{still:?}: {effects:?}");
    }
}

#[test]
fn what_was_lost_is_committed_in_no_later_generation_before_the_caller_knows() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0), ("t", 1)]);
    rig.pass(3_000);
    let losing = rig.answer_heartbeat(ErrorCode::UnknownMemberId);
    rig.joining_again();
    rig.answer_join(follower(5, "range"));
    rig.answer_sync(assignment(&[("t", 0)]));
    assert_eq!(rig.commit(&[("t", 1, 5)], Some(1_000)), [committed(Err(CommitError::NotInGroup))]);
    assert_eq!(rig.commit(&[("t", 0, 5)], Some(1_000)), [committed(Err(CommitError::NotInGroup))]);
    let assigning = rig.done(&losing);
    rig.done(&assigning);
    rig.commit(&[("t", 0, 6)], None);
    assert_eq!(rig.take_commit().1.generation, 5);
}

#[test]
fn what_is_handed_back_too_late_is_committed_by_nobody_meanwhile() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    let revoking = rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    let Some(Effect::Revoke { id, .. }) = revoking.first() else { panic!("{revoking:?}") };
    rig.say(Event::CallbackOverdue(*id));
    assert!(rig.has_join(), "the group waits no longer");
    rig.settled("range", 4, &[("t", 1)]);
    assert_eq!(rig.commit(&[("t", 0, 5)], Some(1_000)), [committed(Err(CommitError::NotInGroup))]);
    rig.commit(&[("t", 1, 5)], None);
    assert_eq!(rig.answer_commit(ErrorCode::None), [committed(Ok(()))]);
    rig.done(&revoking);
    rig.commit(&[("t", 0, 5)], None);
    assert_eq!(rig.take_commit().1.generation, 4, "the caller knows: it means what it says, as in Kafka");
}

#[test]
fn a_commit_waits_for_a_coordinator_no_longer_than_it_was_asked_to() {
    let mut rig = Rig::with("range");
    rig.commit(&[("t", 0, 5)], Some(2_000));
    assert_eq!(rig.pass(1_999), []);
    assert_eq!(rig.pass(1), [committed(Err(CommitError::NoAnswer))]);
}

#[test]
fn committed_offsets_are_fetched_with_retries() {
    let mut rig = Rig::with("range");
    rig.settled("range", 3, &[("t", 0)]);
    let retry_until = rig.time() + ms(5_000);
    rig.say(Event::FetchOffsets { id: ID, partitions: vec![tp("t", 0)], retry_until });
    let answer = |rig: &mut Rig, error| {
        let (id, request) =
            rig.take(|it| if let Request::OffsetFetch(it) = it { Some(it.clone()) } else { None });
        assert!(request.require_stable);
        let response = crate::messages::OffsetFetchResponse { error, partitions: vec![] };
        rig.say(Event::Response(id, Response::OffsetFetch(response)))
    };
    assert_eq!(answer(&mut rig, ErrorCode::CoordinatorLoadInProgress), []);
    rig.pass(120);
    let effects = answer(&mut rig, ErrorCode::None);
    assert!(matches!(effects[..], [Effect::OffsetsFetched { id: ID, result: Ok(_) }]), "{effects:?}");
    rig.say(Event::FetchOffsets { id: ID, partitions: vec![tp("t", 0)], retry_until });
    let effects = answer(&mut rig, ErrorCode::GroupAuthorizationFailed);
    let refused = FetchOffsetsError::Refused(ErrorCode::GroupAuthorizationFailed);
    assert_eq!(effects, [Effect::OffsetsFetched { id: ID, result: Err(refused) }]);
}
