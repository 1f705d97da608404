use super::*;

impl Rig {
    fn answer_leave(&mut self) -> Vec<Effect> {
        let (id, _) = self.take(|it| matches!(it, Request::LeaveGroup(_)).then_some(()));
        let response = crate::messages::LeaveGroupResponse { error: ErrorCode::None, members: vec![] };
        self.say(Event::Response(id, Response::LeaveGroup(response)))
    }
}

#[test]
fn closing_hands_back_commits_leaves_and_says_when_it_is_done() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let effects = rig.say(Event::Close(CloseGroup::Default));
    assert_eq!(revoked(&effects), Some(set(&[("t", 0)])));
    rig.say(Event::Commit { id: AskId(1), offsets: offsets(&[("t", 0, 9)]), retry_until: None });
    rig.done(&effects);
    assert!(!rig.has_leave(), "not before the last commit is answered");
    let effects = rig.answer_commit(ErrorCode::None);
    let committed = Effect::Committed { id: AskId(1), result: Ok(()) };
    assert_eq!(effects, [committed, Effect::Left(LeftReason::Closed)]);
    assert_eq!(rig.answer_leave(), [Effect::Closed]);
    assert_eq!(rig.member.deadline(), None);
}

#[test]
fn a_member_that_never_joined_closes_at_once() {
    let mut rig = Rig::with("range");
    assert_eq!(rig.say(Event::Close(CloseGroup::Default)), [Effect::Closed]);
}

#[test]
fn a_static_member_closes_without_leaving_unless_told_to() {
    for (how, leaves) in
        [(CloseGroup::Default, false), (CloseGroup::Leave, true), (CloseGroup::Remain, false)]
    {
        let mut rig = Rig::new(Config { group_instance_id: Some("i".to_owned()), ..config("range") });
        rig.settled("range", 1, &[("t", 0)]);
        let effects = rig.say(Event::Close(how));
        rig.done(&effects);
        assert_eq!(rig.has_leave(), leaves, "{how:?}");
    }
}

#[test]
fn closing_in_the_middle_of_a_rebalance_loses_what_is_owned() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    let effects = rig.say(Event::Close(CloseGroup::Default));
    assert_eq!(lost(&effects), Some(set(&[("t", 0)])));
    assert!(rig.has_leave());
    assert_eq!(rig.answer_leave(), [], "the loss is still carried out");
    assert_eq!(rig.done(&effects), [Effect::Closed]);
}

#[test]
fn a_lost_goodbye_is_not_repeated() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[]);
    rig.say(Event::Close(CloseGroup::Default));
    assert!(rig.has_leave());
    assert_eq!(rig.say(Event::CoordinatorLost), [Effect::Closed]);
}

#[test]
fn unsubscribing_leaves_the_group_and_subscribing_joins_it_anew() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let effects = rig.say(Event::Unsubscribe);
    assert_eq!(revoked(&effects), Some(set(&[("t", 0)])));
    assert_eq!(rig.done(&effects), [Effect::Left(LeftReason::Unsubscribed)]);
    assert!(rig.has_leave());
    rig.say(Event::Subscribe(topics(&["t"])));
    let (_, join) = rig.take_join();
    assert_eq!(join.member_id, "");
}

#[test]
fn who_subscribes_again_while_handing_back_stays_and_is_assigned_anew() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    let effects = rig.say(Event::Unsubscribe);
    rig.say(Event::Subscribe(topics(&["t"])));
    rig.done(&effects);
    assert!(!rig.has_leave());
    let (_, join) = rig.take_join();
    assert_eq!(join.member_id, "m");
    assert!(Subscription::decode(&join.protocols[0].1).unwrap().owned.is_empty());
}

#[test]
fn a_subscription_to_nothing_is_none() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let effects = rig.say(Event::Subscribe(topics(&[])));
    assert_eq!(revoked(&effects), Some(set(&[("t", 0)])));
}

#[test]
fn after_the_end_everything_is_refused() {
    let mut rig = Rig::with("range");
    rig.say(Event::Close(CloseGroup::Default));
    let effects = rig.say(Event::Commit { id: AskId(1), offsets: vec![], retry_until: None });
    assert_eq!(effects, [Effect::Committed { id: AskId(1), result: Err(CommitError::Closed) }]);
    let until = rig.time();
    let effects = rig.say(Event::FetchOffsets { id: AskId(2), partitions: vec![], retry_until: until });
    assert_eq!(effects, [Effect::OffsetsFetched { id: AskId(2), result: Err(FetchOffsetsError::Closed) }]);
    assert_eq!(rig.say(Event::Subscribe(topics(&["t"]))), []);
}

#[test]
fn a_failed_member_can_be_closed() {
    let mut rig = Rig::with("range");
    rig.joining(&["t"]);
    rig.answer_join(refused(ErrorCode::GroupMaxSizeReached, ""));
    assert_eq!(rig.say(Event::Close(CloseGroup::Default)), [Effect::Closed]);
}
