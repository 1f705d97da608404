//! JoinGroup: scenarios 1 to 13, 19 to 23, 34 and 35 of the conformance list.

use kohort_group::coordinator::{RebalanceCause, State};
use kohort_group::messages::{ErrorCode, JoinGroupRequest};

use crate::fake::*;

#[test]
fn s01_join_needs_member_id() {
    let mut fake = Fake::new();
    let answer = fake.join_now(join());
    assert_eq!(answer.error, ErrorCode::MemberIdRequired);
    assert!(answer.member_id.starts_with("app-") && answer.member_id.len() == 40, "{}", answer.member_id);
    assert_eq!((answer.generation, answer.leader.as_str()), (-1, ""));
    assert_eq!(fake.state(), State::Empty);
    assert_eq!(fake.log.len(), 1, "the group is kept, although nobody has joined");
    // The id is pending: it may join.
    let call = fake.join(rejoin(&answer.member_id));
    assert!(fake.waits(call));
}

#[test]
fn s02_join_old_version_immediate() {
    for version in 0..4 {
        let mut fake = Fake::new();
        let call = fake.join(JoinGroupRequest { api_version: version, ..join() });
        assert!(fake.waits(call));
        fake.pass(3_000);
        let answer = fake.joined(call);
        assert_eq!((answer.error, answer.generation), (ErrorCode::None, 1));
        assert_eq!(answer.leader, answer.member_id);
    }
}

#[test]
fn s03_join_known_id_missing_group() {
    let mut fake = Fake::new();
    let answer = fake.join_now(rejoin("m"));
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::UnknownMemberId, "m"));
    assert!(fake.core.group(GROUP).is_none());
}

#[test]
fn s04_join_unknown_id_existing_group() {
    let mut fake = Fake::new();
    fake.stable(1);
    let answer = fake.join_now(rejoin("ghost"));
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::UnknownMemberId, "ghost"));
    assert_eq!((answer.protocol_type, answer.protocol_name), (None, None));
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn s05_join_session_timeout_bounds() {
    let outcomes = [
        (5_999, ErrorCode::InvalidSessionTimeout),
        (6_000, ErrorCode::MemberIdRequired),
        (1_800_000, ErrorCode::MemberIdRequired),
        (1_800_001, ErrorCode::InvalidSessionTimeout),
    ];
    for (session, expected) in outcomes {
        let answer = Fake::new().join_now(JoinGroupRequest { session_timeout: ms(session), ..join() });
        assert_eq!(answer.error, expected, "{session}");
    }
}

#[test]
fn s06_join_empty_group_id() {
    let request = JoinGroupRequest { group_id: String::new(), session_timeout: ms(1), ..rejoin("m") };
    let answer = Fake::new().join_now(request);
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::InvalidGroupId, "m"));
}

#[test]
fn s07_join_type_mismatch() {
    let mut fake = Fake::new();
    fake.stable(1);
    let answer = fake.join_now(JoinGroupRequest { protocol_type: "connect".to_owned(), ..join() });
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::InconsistentGroupProtocol, ""));
}

#[test]
fn s08_join_no_protocols() {
    let nothing = [
        JoinGroupRequest { protocol_type: String::new(), ..join() },
        JoinGroupRequest { protocols: Vec::new(), ..join() },
    ];
    for request in nothing {
        let mut fake = Fake::new();
        assert_eq!(fake.join_now(request).error, ErrorCode::InconsistentGroupProtocol);
        assert_eq!(fake.state(), State::Empty, "the group is visible, although the join failed");
    }
}

#[test]
fn s09_join_no_common_protocol() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    let sticky = protocols(&["sticky"]);
    let stranger = fake.join_now(JoinGroupRequest { protocols: sticky.clone(), ..join() });
    assert_eq!((stranger.error, stranger.member_id.as_str()), (ErrorCode::InconsistentGroupProtocol, ""));
    let member = fake.join_now(JoinGroupRequest { protocols: sticky, ..rejoin(&ids[0]) });
    assert_eq!((member.error, &member.member_id), (ErrorCode::InconsistentGroupProtocol, &ids[0]));
}

fn chosen(offers: &[&[&str]]) -> Option<String> {
    let mut fake = Fake::new();
    let joins: Vec<_> = offers
        .iter()
        .map(|names| fake.enter(JoinGroupRequest { protocols: protocols(names), ..join() }).1)
        .collect();
    fake.pass(6_000);
    let names: Vec<_> = joins.into_iter().map(|call| fake.joined(call).protocol_name).collect();
    assert!(names.iter().all(|name| *name == names[0]));
    names[0].clone()
}

#[test]
fn s10_protocol_vote() {
    let offers: [&[&str]; 3] = [&["range", "roundrobin"], &["roundrobin", "range"], &["roundrobin", "range"]];
    assert_eq!(chosen(&offers).as_deref(), Some("roundrobin"));
}

#[test]
fn s11_protocol_only_common() {
    assert_eq!(chosen(&[&["range", "roundrobin"], &["roundrobin", "foo"]]).as_deref(), Some("roundrobin"));
}

#[test]
fn s12_initial_delay_single() {
    let mut fake = Fake::new();
    let (_, call) = fake.enter(join());
    fake.pass(2_999);
    assert!(fake.waits(call));
    fake.pass(1);
    assert_eq!(fake.joined(call).generation, 1);
}

#[test]
fn an_initial_delay_of_zero_ends_at_the_next_wakeup() {
    let mut fake = Fake::with(|config| config.initial_rebalance_delay = ms(0));
    let (_, call) = fake.enter(join());
    assert!(fake.waits(call), "not inside the request");
    fake.pass(0);
    assert_eq!(fake.joined(call).generation, 1);
}

#[test]
fn the_initial_delay_is_extended_while_members_come_up_to_the_rebalance_timeout() {
    let mut fake = Fake::new();
    let request = || JoinGroupRequest { rebalance_timeout: ms(7_000), ..join() };
    let (_, first) = fake.enter(request());
    fake.pass(2_000);
    fake.enter(request());
    fake.pass(1_000);
    assert!(fake.waits(first), "3 s: a member was added, 3 of the remaining 4 s are waited");
    fake.pass(1_000);
    fake.enter(request());
    fake.pass(2_000);
    assert!(fake.waits(first), "6 s: another one was added, and 1 s remains");
    fake.pass(999);
    assert!(fake.waits(first));
    fake.pass(1);
    assert_eq!(fake.joined(first).members.len(), 3);
}

#[test]
fn a_flag_left_from_the_last_initial_delay_extends_the_next_one() {
    // KIP-134 as Kafka has it: the flag is cleared only by an extension.
    let mut fake = Fake::new();
    let request = || JoinGroupRequest { rebalance_timeout: ms(3_000), ..join() };
    let joins = vec![fake.enter(request()), fake.enter(request())];
    fake.pass(3_000);
    let ids = fake.settle(joins);
    fake.leave(&[(&ids[0], None), (&ids[1], None)]);
    assert_eq!(fake.state(), State::Empty);
    let (_, call) = fake.enter(join());
    fake.pass(3_000);
    assert!(fake.waits(call), "one member, but the flag was still up");
    fake.pass(3_000);
    assert_eq!(fake.joined(call).error, ErrorCode::None);
}

#[test]
fn s13_leader_gets_members() {
    let mut fake = Fake::new();
    let joins: Vec<_> = (0..3).map(|_| fake.enter(join())).collect();
    fake.pass(6_000);
    let leader = fake.group().leader.unwrap().to_owned();
    assert_eq!(leader, joins[0].0, "the first member leads");
    for (id, call) in joins {
        let answer = fake.joined(call);
        assert_eq!((answer.generation, &answer.leader), (1, &leader));
        assert_eq!(answer.members.len(), if id == leader { 3 } else { 0 });
        assert!(!answer.skip_assignment);
    }
}

#[test]
fn s19_stable_follower_rejoin_noop() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    let answer = fake.join_now(rejoin(&ids[1]));
    assert_eq!((answer.error, answer.generation, answer.members.len()), (ErrorCode::None, 1, 0));
    assert_eq!((answer.leader, fake.state()), (ids[0].clone(), State::Stable));
}

#[test]
fn s20_stable_leader_rejoin() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    let leader = fake.join(rejoin(&ids[0]));
    assert_eq!(fake.state(), State::PreparingRebalance);
    let follower = fake.join(rejoin(&ids[1]));
    assert_eq!((fake.joined(leader).generation, fake.joined(follower).generation), (2, 2));
}

#[test]
fn s21_stable_member_new_metadata() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    fake.news();
    let mut request = rejoin(&ids[1]);
    request.protocols[0].1.push(0);
    let call = fake.join(request);
    assert!(fake.waits(call));
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::RebalanceInProgress);
    let cause = RebalanceCause::SubscriptionChanged { member_id: ids[1].clone() };
    assert!(fake.news().iter().any(
        |what| matches!(what, kohort_group::coordinator::Happened::RebalanceBegan { cause: c } if *c == cause)
    ));
}

#[test]
fn the_order_of_protocols_is_part_of_the_metadata() {
    let mut fake = Fake::new();
    let both = |id: &str, names: &[&str]| JoinGroupRequest { protocols: protocols(names), ..rejoin(id) };
    let joins = (0..2).map(|_| fake.enter(both("", &["range", "sticky"]))).collect();
    fake.pass(6_000);
    let ids = fake.settle(joins);
    let call = fake.join(both(&ids[1], &["sticky", "range"]));
    assert!(fake.waits(call));
    assert_eq!(fake.state(), State::PreparingRebalance);
}

#[test]
fn s22_completing_retry_join() {
    let mut fake = Fake::new();
    let joins: Vec<_> = (0..2).map(|_| fake.enter(join())).collect();
    fake.pass(6_000);
    for (id, call) in joins {
        let first = fake.joined(call);
        let again = fake.join_now(rejoin(&id));
        assert_eq!(again, first, "the answer that was lost, once more");
    }
    assert_eq!(fake.state(), State::CompletingRebalance);
}

#[test]
fn s23_join_during_completing_cancels_sync() {
    let mut fake = Fake::new();
    let joins: Vec<_> = (0..2).map(|_| fake.enter(join())).collect();
    fake.pass(6_000);
    let follower = joins[1].0.clone();
    let parked = fake.sync(sync(&follower, 1));
    let (_, newcomer) = fake.enter(join());
    assert_eq!(fake.synced(parked).error, ErrorCode::RebalanceInProgress);
    assert!(fake.waits(newcomer));
    assert_eq!(fake.state(), State::PreparingRebalance);
}

#[test]
fn s34_static_new_instance() {
    let mut fake = Fake::new();
    fake.stable(1);
    let call = fake.join(JoinGroupRequest { api_version: 5, ..join_static("i") });
    assert!(fake.waits(call), "never sent away with an id");
    assert_eq!(fake.state(), State::PreparingRebalance);
}

#[test]
fn s35_group_full() {
    let mut fake = Fake::with(|config| config.max_size = 10);
    for _ in 0..10 {
        fake.join(JoinGroupRequest { api_version: 3, ..join() });
    }
    let answer = fake.join_now(JoinGroupRequest { api_version: 3, ..join() });
    assert_eq!((answer.error, answer.member_id.as_str()), (ErrorCode::GroupMaxSizeReached, ""));
}

#[test]
fn ids_are_handed_out_beyond_the_limit_while_the_group_is_empty_but_not_all_come_in() {
    let mut fake = Fake::with(|config| config.max_size = 1);
    let ids: Vec<_> = (0..3).map(|_| fake.join_now(join()).member_id).collect();
    let first = fake.join(rejoin(&ids[0]));
    assert!(fake.waits(first));
    let second = fake.join_now(rejoin(&ids[1]));
    assert_eq!((second.error, second.member_id.as_str()), (ErrorCode::GroupMaxSizeReached, ""));
    // The refused id is forgotten, and holds nobody up.
    assert_eq!(fake.join_now(rejoin(&ids[1])).error, ErrorCode::GroupMaxSizeReached);
    assert_eq!(fake.leave(&[(&ids[1], None)]).members[0].2, ErrorCode::UnknownMemberId);
}

#[test]
fn a_full_stable_group_lets_its_own_members_join_again() {
    let mut fake = Fake::with(|config| config.max_size = 1);
    let ids = fake.stable(1);
    assert_eq!(fake.join_now(join()).error, ErrorCode::GroupMaxSizeReached);
    let own = fake.join_now(rejoin(&ids[0]));
    assert_eq!((own.error, own.generation), (ErrorCode::None, 2));
}

#[test]
fn a_second_join_of_a_parked_member_takes_the_place_of_the_first() {
    let mut fake = Fake::new();
    let (id, first) = fake.enter(join());
    let second = fake.join(rejoin(&id));
    assert!(fake.dropped.contains(&first), "Kafka never answers it");
    fake.pass(3_000);
    assert_eq!(fake.joined(second).generation, 1);
}

#[test]
fn an_instance_id_on_a_pending_id_is_an_internal_error() {
    let mut fake = Fake::new();
    let id = fake.join_now(join()).member_id;
    let answer = fake.join_now(JoinGroupRequest { group_instance_id: Some("i".to_owned()), ..rejoin(&id) });
    assert_eq!(answer.error, ErrorCode::UnknownServerError);
}

#[test]
fn the_generation_goes_on_when_an_emptied_group_is_joined_again() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    fake.leave(&[(&ids[0], None)]);
    assert_eq!(fake.generation(), 2);
    let (_, call) = fake.enter(join());
    fake.pass(2_999);
    assert!(fake.waits(call), "the initial delay counts again");
    fake.pass(1);
    assert_eq!(fake.joined(call).generation, 3);
}
