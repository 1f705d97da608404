use super::*;

/// A cooperative assignor that waits for everybody to hand over.
#[derive(Debug)]
struct Withholding;

impl Assignor for Withholding {
    fn name(&self) -> &'static str {
        "cooperative-sticky"
    }

    fn rebalance_protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative]
    }

    fn assign(&self, _: &Topics, members: &[Subscriber]) -> Assignments {
        members.iter().map(|it| (it.id.clone(), Vec::new())).collect()
    }
}

#[test]
fn an_eager_member_hands_everything_back_before_it_joins_even_if_it_is_nothing() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[]);
    let effects = rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    assert_eq!(revoked(&effects), Some(set(&[])));
}

#[test]
fn a_cooperative_member_keeps_working_and_claims_what_it_owns() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0), ("t", 1)]);
    assert_eq!(rig.answer_heartbeat(ErrorCode::RebalanceInProgress), []);
    let (_, join) = rig.take_join();
    let claims = Subscription::decode(&join.protocols[0].1).unwrap();
    assert_eq!(claims.owned, [tp("t", 0), tp("t", 1)]);
    assert_eq!(claims.generation, Some(1));
}

#[test]
fn a_cooperative_member_hands_back_first_is_assigned_then_and_joins_again() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.settled("cooperative-sticky", 1, &[("t", 0), ("t", 1)]);
    rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    rig.answer_join(follower(2, "cooperative-sticky"));
    let first = rig.answer_sync(assignment(&[("t", 1), ("t", 2)]));
    assert_eq!(revoked(&first), Some(set(&[("t", 0)])));
    assert_eq!(assigned(&first), None, "what comes waits for what goes");
    let second = rig.done(&first);
    assert_eq!(assigned(&second), Some((set(&[("t", 2)]), set(&[("t", 1), ("t", 2)]))));
    assert!(!rig.has_join());
    rig.done(&second);
    let (_, join) = rig.take_join();
    let claims = Subscription::decode(&join.protocols[0].1).unwrap();
    assert_eq!(claims.owned, [tp("t", 1), tp("t", 2)]);
}

#[test]
fn a_cooperative_member_hands_back_what_it_does_not_subscribe_to_any_more() {
    let mut rig = Rig::with("cooperative-sticky");
    rig.joining(&["t", "u"]);
    rig.settled("cooperative-sticky", 1, &[("t", 0), ("u", 0)]);
    let effects = rig.say(Event::Subscribe(topics(&["t"])));
    assert_eq!(revoked(&effects), Some(set(&[("u", 0)])));
    rig.done(&effects);
    let (_, join) = rig.take_join();
    assert_eq!(Subscription::decode(&join.protocols[0].1).unwrap().owned, [tp("t", 0)]);
}

#[test]
fn losing_overtakes_a_revocation_whose_end_then_means_nothing() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    let revoking = rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    rig.pass(3_000);
    let losing = rig.answer_heartbeat(ErrorCode::UnknownMemberId);
    assert_eq!(lost(&losing), Some(set(&[("t", 0)])));
    rig.joining_again();
    rig.answer_join(follower(5, "range"));
    assert_eq!(assigned(&rig.done(&revoking)), None);
    assert_eq!(
        assigned(&rig.answer_sync(assignment(&[("t", 0)]))),
        None,
        "not while the loss is carried out"
    );
    let effects = rig.done(&losing);
    assert_eq!(assigned(&effects), Some((set(&[("t", 0)]), set(&[("t", 0)]))));
}

#[test]
fn one_eager_assignor_among_them_makes_the_member_eager() {
    let both = vec!["range".to_owned(), "cooperative-sticky".to_owned()];
    let mut rig = Rig::new(Config { assignors: both, ..Config::new("g") });
    rig.settled("cooperative-sticky", 1, &[("t", 0)]);
    let effects = rig.answer_heartbeat(ErrorCode::RebalanceInProgress);
    assert_eq!(revoked(&effects), Some(set(&[("t", 0)])));
}

#[test]
fn without_a_coordinator_nothing_is_handed_back() {
    let mut rig = Rig::with("range");
    rig.settled("range", 1, &[("t", 0)]);
    rig.sent.clear();
    rig.say(Event::CoordinatorLost);
    assert_eq!(rig.say(Event::Subscribe(topics(&["t", "u"]))), []);
    let effects = rig.found();
    assert_eq!(revoked(&effects), Some(set(&[("t", 0)])));
}

/// A group of a static leader and `n`, in which `n` must hand `t-0` over. Gives what the leader sent.
fn holding_back(rig: &mut Rig) -> SyncGroupRequest {
    rig.joining(&["t"]);
    rig.say(counts(&[("t", 1)]));
    let mut response = leader(4, "cooperative-sticky", &[("m", &["t"]), ("n", &["t"])]);
    let claims = Subscription { owned: vec![tp("t", 0)], ..Subscription::new(["t"]) };
    response.members[1].metadata = claims.encode();
    rig.answer_join(response);
    rig.take_sync().1
}

#[test]
fn a_leader_sees_to_it_that_what_it_held_back_gets_an_owner() {
    let mut rig = Rig::withholding();
    let sync = holding_back(&mut rig);
    // Normally `n` hands over and joins. Here it restarts, as a static member does, without a rebalance.
    let id = RequestId(3);
    let response =
        SyncGroupResponse { assignment: sync.assignments[0].1.clone(), ..unsynced(ErrorCode::None) };
    let effects = rig.say(Event::Response(id, Response::SyncGroup(response)));
    rig.done(&effects);
    assert!(rig.member.is_stable());
    for _ in 0..100 {
        rig.answer_heartbeat(ErrorCode::None);
        rig.pass(3_000);
        rig.say(Event::Polled);
    }
    assert!(rig.has_join(), "after the rebalance timeout");
}

#[test]
fn a_leader_that_restarts_remembers_that_something_was_held_back() {
    let sync = holding_back(&mut Rig::withholding());
    let mut rig = Rig::withholding();
    rig.say(Event::Subscribe(topics(&["t"])));
    rig.found();
    let members: &[(&str, &[&str])] = &[("m", &["t"]), ("n", &["t"])];
    rig.answer_join(JoinGroupResponse { skip_assignment: true, ..leader(4, "cooperative-sticky", members) });
    let response =
        SyncGroupResponse { assignment: sync.assignments[0].1.clone(), ..unsynced(ErrorCode::None) };
    let effects = rig.answer_sync(response);
    rig.done(&effects);
    assert!(rig.has_join());
}

impl Rig {
    /// A static member whose assignor gives nothing away.
    fn withholding() -> Self {
        let config = Config { group_instance_id: Some("i".to_owned()), ..config("cooperative-sticky") };
        let member = Member::with_assignors(config, vec![Box::new(Withholding)], 1).unwrap();
        Self { member, now: 1_000_000, sent: Vec::new() }
    }
}
