//! Describe, list, delete: scenario 44 and the classic half of 59.

use kohort_group::coordinator::{Request, Response};
use kohort_group::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, DescribedGroup, ErrorCode, ListGroupsRequest,
    OffsetCommitRequest,
};

use crate::fake::*;

fn describe(fake: &mut Fake, group: &str, api_version: i16) -> DescribedGroup {
    let request = DescribeGroupsRequest { api_version, groups: vec![group.to_owned()] };
    let call = fake.call(Request::DescribeGroups(request));
    match fake.reply(call) {
        Response::DescribeGroups(mut response) => response.groups.remove(0),
        other => panic!("{other:?}"),
    }
}

fn list(fake: &mut Fake, states: &[&str], types: &[&str]) -> Vec<String> {
    let own = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
    let request = ListGroupsRequest { states: own(states), types: own(types) };
    let call = fake.call(Request::ListGroups(request));
    match fake.reply(call) {
        Response::ListGroups(response) => response.groups.into_iter().map(|group| group.group_id).collect(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_stable_group_is_described_with_metadata_another_one_without() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    let stable = describe(&mut fake, GROUP, 6);
    assert_eq!((stable.error, stable.state.as_str()), (ErrorCode::None, "Stable"));
    assert_eq!((stable.protocol_type.as_str(), stable.protocol_data.as_str()), ("consumer", "range"));
    let member = &stable.members[0];
    assert_eq!((member.client_id.as_str(), member.client_host.as_str()), ("app", "/127.0.0.1"));
    assert_eq!(
        (&member.metadata, &member.assignment),
        (&subscription(&["t"]), &bytes_for(&member.member_id))
    );

    fake.join(rejoin(&ids[0]));
    let preparing = describe(&mut fake, GROUP, 6);
    assert_eq!((preparing.state.as_str(), preparing.protocol_data.as_str()), ("PreparingRebalance", ""));
    let member = &preparing.members[0];
    assert_eq!((member.metadata.len(), &member.assignment), (0, &bytes_for(&member.member_id)));
}

#[test]
fn an_unknown_group_is_dead_and_since_version_6_an_error() {
    let mut fake = Fake::new();
    let old = describe(&mut fake, "nobody", 5);
    assert_eq!((old.error, old.state.as_str(), old.error_message), (ErrorCode::None, "Dead", None));
    let new = describe(&mut fake, "nobody", 6);
    assert_eq!((new.error, new.state.as_str()), (ErrorCode::GroupIdNotFound, "Dead"));
    assert!(new.error_message.is_some());
}

#[test]
fn s59_list_filters() {
    let mut fake = Fake::new();
    fake.stable(1);
    fake.commit(OffsetCommitRequest { group_id: "simple".to_owned(), ..commit("", -1) });
    assert_eq!(list(&mut fake, &[], &[]), ["g", "simple"]);
    assert_eq!(list(&mut fake, &[" stable "], &[]), ["g"]);
    assert_eq!(list(&mut fake, &["EMPTY", "bogus"], &[]), ["simple"]);
    assert_eq!(list(&mut fake, &[], &["CLASSIC"]).len(), 2);
    assert!(list(&mut fake, &[], &["CONSUMER"]).is_empty());
    assert!(list(&mut fake, &[], &["bogus"]).is_empty());
    assert!(list(&mut fake, &["bogus"], &[]).is_empty());
}

#[test]
fn s44_delete_groups_rules() {
    let mut fake = Fake::new();
    fake.stable(1);
    fake.commit(OffsetCommitRequest { group_id: "simple".to_owned(), ..commit("", -1) });
    let groups = ["simple", "g", "nobody", "simple"].map(str::to_owned).to_vec();
    let call = fake.call(Request::DeleteGroups(DeleteGroupsRequest { groups }));
    let Response::DeleteGroups(answer) = fake.reply(call) else { panic!() };
    let expected = [
        ("simple".to_owned(), ErrorCode::None),
        ("g".to_owned(), ErrorCode::NonEmptyGroup),
        ("nobody".to_owned(), ErrorCode::GroupIdNotFound),
    ];
    assert_eq!(answer.groups, expected, "a group that is named twice is answered once");
    assert!(fake.fetch("simple", None).is_empty());
    assert!(fake.core.kept().group("simple").is_none());
}

#[test]
fn a_deleted_group_takes_the_ids_it_handed_out_along() {
    let mut fake = Fake::new();
    let id = fake.join_now(join()).member_id;
    let call = fake.call(Request::DeleteGroups(DeleteGroupsRequest { groups: vec![GROUP.to_owned()] }));
    assert!(matches!(fake.reply(call), Response::DeleteGroups(_)));
    fake.pass(SESSION);
    assert_eq!(fake.join_now(rejoin(&id)).error, ErrorCode::UnknownMemberId);
    assert!(fake.core.kept().group(GROUP).is_none());
}

/// A static member does not say that it leaves: who waits for its session's end, to the millisecond, and then deletes its
/// group (librdkafka's tests do), is not to lose a race against our wake-up.
#[test]
fn a_session_that_is_over_is_over_for_administrators_before_the_wake_up() {
    let mut fake = Fake::new();
    fake.stable(1);
    fake.now = fake.now + ms(SESSION - 1);
    assert_eq!(describe(&mut fake, GROUP, 6).state, "Stable");
    fake.now = fake.now + ms(1);
    assert_eq!(list(&mut fake, &["Empty"], &[]), [GROUP]);
    let call = fake.call(Request::DeleteGroups(DeleteGroupsRequest { groups: vec![GROUP.to_owned()] }));
    let Response::DeleteGroups(answer) = fake.reply(call) else { panic!() };
    assert_eq!(answer.groups, [(GROUP.to_owned(), ErrorCode::None)]);
}
