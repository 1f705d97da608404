//! LeaveGroup: scenarios 28 to 31.

use kohort_group::coordinator::State;
use kohort_group::messages::ErrorCode;

use crate::fake::*;

#[test]
fn s28_leave_last_member() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    assert_eq!(fake.leave(&[(&ids[0], None)]).members[0].2, ErrorCode::None);
    assert_eq!((fake.state(), fake.generation()), (State::Empty, 2));
    let kept = fake.core.kept().group(GROUP).unwrap();
    assert_eq!((kept.generation, kept.protocol_type.as_str(), kept.members.len()), (2, "consumer", 0));
}

#[test]
fn s29_leave_batch_mixed() {
    let mut fake = Fake::new();
    let call = fake.join(join_static("i1"));
    fake.pass(3_000);
    let id = fake.joined(call).member_id;
    let answer = fake.leave(&[("", Some("i1")), ("ghost", None), (&format!("{id}-wrong"), Some("i1"))]);
    let errors: Vec<_> = answer.members.iter().map(|(_, _, error)| *error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::UnknownMemberId, ErrorCode::UnknownMemberId]);
    assert_eq!((answer.members[0].0.as_str(), answer.members[0].1.as_deref()), ("", Some("i1")), "echoed");
}

#[test]
fn s30_leave_unknown_group() {
    let answer = Fake::new().leave(&[("m", None)]);
    assert_eq!((answer.error, answer.members[0].2), (ErrorCode::None, ErrorCode::UnknownMemberId));
}

#[test]
fn s31_leave_pending() {
    let mut fake = Fake::new();
    let id = fake.join_now(join()).member_id;
    assert_eq!(fake.leave(&[(&id, Some("not checked"))]).members[0].2, ErrorCode::None);
    assert_eq!(fake.join_now(rejoin(&id)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn an_administrator_must_name_an_instance_that_is_there() {
    let mut fake = Fake::new();
    fake.stable(1);
    let answer = fake.leave(&[("", None), ("", Some("nobody"))]);
    assert!(answer.members.iter().all(|(_, _, error)| *error == ErrorCode::UnknownMemberId));
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn many_leave_in_one_rebalance() {
    let mut fake = Fake::new();
    let ids = fake.stable(3);
    fake.leave(&[(&ids[0], None), (&ids[1], None)]);
    assert_eq!((fake.state(), fake.generation()), (State::PreparingRebalance, 1));
    let call = fake.join(rejoin(&ids[2]));
    let answer = fake.joined(call);
    assert_eq!((answer.generation, answer.leader), (2, ids[2].clone()));
}

#[test]
fn a_leave_ends_the_join_phase_if_everyone_is_in_then() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    let call = fake.join(rejoin(&ids[0]));
    assert!(fake.waits(call));
    fake.leave(&[(&ids[1], None)]);
    assert_eq!(fake.joined(call).generation, 2);
}
