//! Committed offsets: scenarios 36 to 43 and 45.

use kohort_group::coordinator::{Event, Request, Response, State, TopicId, TopicIds};
use kohort_group::messages::{
    ErrorCode, JoinGroupRequest, OffsetCommitRequest, OffsetDeleteRequest, OffsetDeleteResponse,
    OffsetFetchRequest, OffsetToCommit, TopicPartition,
};

use crate::fake::*;

const DAY: u64 = 24 * 60 * 60 * 1_000;

fn on(topic: &str, value: i64) -> (TopicPartition, OffsetToCommit) {
    (TopicPartition::new(topic, 0), offset(value))
}

fn delete(fake: &mut Fake, group: &str, topics: &[&str]) -> OffsetDeleteResponse {
    let partitions = topics.iter().map(|topic| TopicPartition::new(*topic, 0)).collect();
    let call =
        fake.call(Request::OffsetDelete(OffsetDeleteRequest { group_id: group.to_owned(), partitions }));
    match fake.reply(call) {
        Response::OffsetDelete(response) => response,
        other => panic!("{other:?}"),
    }
}

#[test]
fn s36_simple_commit_creates_group() {
    let mut fake = Fake::new();
    assert_eq!(fake.commit(commit("", -1)), ErrorCode::None);
    assert_eq!((fake.state(), fake.group().protocol_type), (State::Empty, None));
    assert_eq!(fake.fetch(GROUP, Some(&[("t", 0)]))[0].1.offset, 7);
    fake.stable(1);
    assert_eq!(fake.commit(commit("", -1)), ErrorCode::UnknownMemberId, "the group is in use");
}

#[test]
fn s37_commit_unknown_group_versions() {
    let mut fake = Fake::new();
    assert_eq!(fake.commit(commit("m", 5)), ErrorCode::IllegalGeneration);
    let newer = OffsetCommitRequest { api_version: 9, ..commit("m", 5) };
    assert_eq!(fake.commit(newer), ErrorCode::GroupIdNotFound);
    assert!(fake.core.group(GROUP).is_none());
}

#[test]
fn s38_commit_checks() {
    let mut fake = Fake::new();
    let calls = [fake.join(join_static("i1")), fake.join(JoinGroupRequest { api_version: 3, ..join() })];
    fake.pass(6_000);
    let ids = calls.map(|call| fake.joined(call).member_id);
    fake.sync_now(sync(&ids[0], 1));
    let with = |id: &str, instance: &str| OffsetCommitRequest {
        group_instance_id: Some(instance.to_owned()),
        ..commit(id, 1)
    };
    assert_eq!(fake.commit(commit(&ids[1], 0)), ErrorCode::IllegalGeneration);
    assert_eq!(fake.commit(commit(&ids[1], 2)), ErrorCode::IllegalGeneration);
    assert_eq!(fake.commit(commit("ghost", 1)), ErrorCode::UnknownMemberId);
    assert_eq!(fake.commit(with(&ids[0], "nobody")), ErrorCode::UnknownMemberId);
    assert_eq!(fake.commit(with(&ids[1], "i1")), ErrorCode::FencedInstanceId);
    assert_eq!(fake.commit(with(&ids[0], "i1")), ErrorCode::None);
    assert_eq!(
        fake.commit(commit(&ids[1], -1)),
        ErrorCode::IllegalGeneration,
        "a member without a generation"
    );
    let log = fake.news();
    assert!(log.iter().any(|what| matches!(what, kohort_group::coordinator::Happened::Fenced { .. })));
}

#[test]
fn a_commit_while_the_assignment_is_awaited_must_wait() {
    let mut fake = Fake::new();
    let (id, call) = fake.enter(join());
    fake.pass(3_000);
    fake.joined(call);
    assert_eq!(fake.commit(commit(&id, 1)), ErrorCode::RebalanceInProgress);
}

#[test]
fn s39_commit_in_preparing_ok() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    fake.join(rejoin(&ids[0]));
    fake.pass(SESSION - 1);
    assert_eq!(fake.commit(commit(&ids[1], 1)), ErrorCode::None);
    fake.pass(SESSION - 1);
    assert_eq!(fake.beat(&ids[1], 1), ErrorCode::RebalanceInProgress, "the commit was a sign of life");
}

#[test]
fn s40_commit_keeps_session() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    for _ in 0..6 {
        fake.pass(SESSION / 2);
        assert_eq!(fake.commit(commit(&ids[0], 1)), ErrorCode::None);
    }
    assert_eq!(fake.beat(&ids[0], 1), ErrorCode::None);
    fake.pass(SESSION);
    assert_eq!(fake.commit(commit(&ids[0], 1)), ErrorCode::UnknownMemberId);
}

#[test]
fn s41_fetch_missing() {
    let found = Fake::new().fetch("nobody", Some(&[("t", 0), ("t", 1)]));
    assert_eq!(found.len(), 2);
    for (_, offset) in found {
        assert_eq!((offset.error, offset.offset, offset.leader_epoch), (ErrorCode::None, -1, -1));
        assert_eq!(offset.metadata, "");
    }
}

#[test]
fn s42_fetch_all_and_multi() {
    let mut fake = Fake::new();
    for (group, value) in [("a", 1), ("b", 2)] {
        let offsets = vec![on("t", value), on("u", value)];
        fake.commit(OffsetCommitRequest { group_id: group.to_owned(), offsets, ..commit("", -1) });
    }
    for (group, value) in [("a", 1), ("b", 2)] {
        let all: Vec<_> =
            fake.fetch(group, None).into_iter().map(|(at, found)| (at.topic, found.offset)).collect();
        assert_eq!(all, [("t".to_owned(), value), ("u".to_owned(), value)]);
    }
    assert!(fake.fetch("nobody", None).is_empty());
}

#[test]
fn what_is_committed_is_kept_as_it_is_given() {
    let mut fake = Fake::new();
    let given = OffsetToCommit { offset: -5, leader_epoch: 3, metadata: Some("note".to_owned()) };
    let offsets = vec![(TopicPartition::new("t", 0), given)];
    assert_eq!(fake.commit(OffsetCommitRequest { offsets, ..commit("", -1) }), ErrorCode::None);
    let found = fake.fetch(GROUP, Some(&[("t", 0)])).remove(0).1;
    assert_eq!((found.offset, found.leader_epoch, found.metadata.as_str()), (-5, 3, "note"));
}

#[test]
fn metadata_is_measured_in_utf_16_units_and_refused_alone() {
    let mut fake = Fake::new();
    let with = |metadata: String| OffsetToCommit { metadata: Some(metadata), ..offset(1) };
    let fits = with("é".repeat(4_096));
    let too_long = with("𝄞".repeat(2_049));
    let offsets = vec![(TopicPartition::new("t", 0), fits), (TopicPartition::new("t", 1), too_long)];
    let request = OffsetCommitRequest { offsets, ..commit("", -1) };
    let call = fake.call(Request::OffsetCommit(request, TopicIds::new()));
    let Response::OffsetCommit(answer) = fake.reply(call) else { panic!() };
    let errors: Vec<_> = answer.partitions.iter().map(|(_, error)| *error).collect();
    assert_eq!(errors, [ErrorCode::None, ErrorCode::OffsetMetadataTooLarge]);
}

#[test]
fn an_offset_of_a_topic_that_was_made_anew_is_not_found() {
    let mut fake = Fake::new();
    let id = |byte| TopicIds::from([("t".to_owned(), TopicId([byte; 16]))]);
    let call = fake.call(Request::OffsetCommit(commit("", -1), id(1)));
    fake.reply(call);
    let mut fetch = |ids| {
        let request = OffsetFetchRequest {
            group_id: GROUP.to_owned(),
            member_id: None,
            member_epoch: -1,
            partitions: Some(vec![TopicPartition::new("t", 0)]),
            require_stable: false,
        };
        let call = fake.call(Request::OffsetFetch(request, ids));
        match fake.reply(call) {
            Response::OffsetFetch(answer) => answer.partitions[0].1.offset,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(fetch(id(1)), 7);
    assert_eq!(fetch(id(2)), -1);
    assert_eq!(fetch(TopicIds::new()), 7, "who names no id asks for the name");
}

#[test]
fn s43_offset_delete_rules() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    let offsets = vec![on("t", 1), on("u", 2)];
    fake.commit(OffsetCommitRequest { offsets, ..commit(&ids[0], 1) });
    let answer = delete(&mut fake, GROUP, &["t", "u", "never"]);
    let errors: Vec<_> = answer.partitions.iter().map(|(_, error)| *error).collect();
    assert_eq!(errors, [ErrorCode::GroupSubscribedToTopic, ErrorCode::None, ErrorCode::None]);
    assert_eq!(fake.fetch(GROUP, None).len(), 1);
    assert_eq!(delete(&mut fake, "nobody", &["t"]).error, ErrorCode::GroupIdNotFound);

    let mut fake = Fake::new();
    let connect = || JoinGroupRequest { protocol_type: "connect".to_owned(), ..join() };
    let (_, call) = fake.enter(connect());
    assert_eq!(delete(&mut fake, GROUP, &["t"]).error, ErrorCode::NonEmptyGroup);
    fake.pass(3_000);
    fake.joined(call);
    assert_eq!(delete(&mut fake, GROUP, &["t"]).error, ErrorCode::NonEmptyGroup);
}

#[test]
fn of_consumers_whose_subscription_cannot_be_read_no_offset_can_be_deleted() {
    let mut fake = Fake::new();
    let garbage = vec![("range".to_owned(), b"\0".to_vec())];
    let (id, call) = fake.enter(JoinGroupRequest { protocols: garbage, ..join() });
    fake.pass(3_000);
    fake.joined(call);
    fake.sync_now(sync(&id, 1));
    let answer = delete(&mut fake, GROUP, &["t"]);
    assert_eq!(answer.partitions[0].1, ErrorCode::GroupSubscribedToTopic);
}

#[test]
fn s45_expiry_empty_group() {
    let mut fake = Fake::with(|config| {
        config.offsets_retention = ms(2_000);
        config.offsets_retention_check_interval = ms(1);
    });
    let ids = fake.stable(1);
    fake.commit(commit(&ids[0], 1));
    fake.pass(5_000);
    fake.leave(&[(&ids[0], None)]);
    fake.pass(1_999);
    assert_eq!(fake.fetch(GROUP, None).len(), 1, "the time counts from when the group emptied");
    fake.pass(1);
    assert!(fake.fetch(GROUP, None).is_empty());
    assert!(fake.core.group(GROUP).is_none());
}

#[test]
fn a_simple_group_expires_by_the_time_of_its_commits() {
    let mut fake = Fake::with(|config| config.offsets_retention_check_interval = ms(DAY));
    fake.commit(OffsetCommitRequest { offsets: vec![on("t", 1)], ..commit("", -1) });
    fake.pass(DAY);
    fake.commit(OffsetCommitRequest { offsets: vec![on("u", 1)], ..commit("", -1) });
    fake.pass(6 * DAY);
    assert_eq!(fake.fetch(GROUP, None).len(), 1);
    fake.pass(DAY);
    assert!(fake.core.group(GROUP).is_none());
}

#[test]
fn a_stable_group_keeps_what_it_reads_and_loses_what_it_does_not() {
    let mut fake = Fake::with(|config| {
        config.offsets_retention = ms(60_000);
        config.offsets_retention_check_interval = ms(1_000);
    });
    let ids = fake.stable(1);
    fake.commit(OffsetCommitRequest { offsets: vec![on("t", 1), on("u", 1)], ..commit(&ids[0], 1) });
    let beat_through = |fake: &mut Fake, until: u64| {
        for _ in 0..until / 5_000 {
            fake.pass(5_000);
            assert_eq!(fake.beat(&ids[0], 1), ErrorCode::None);
        }
    };
    beat_through(&mut fake, 55_000);
    assert_eq!(fake.fetch(GROUP, None).len(), 2);
    beat_through(&mut fake, 10_000);
    let left = fake.fetch(GROUP, None);
    assert_eq!((left.len(), left[0].0.topic.as_str()), (1, "t"));
}

#[test]
fn a_lifetime_of_its_own_overrides_the_retention() {
    let mut fake = Fake::with(|config| config.offsets_retention_check_interval = ms(1));
    let request = OffsetCommitRequest { api_version: 4, retention: Some(ms(100)), ..commit("", -1) };
    fake.commit(request);
    fake.pass(99);
    assert_eq!(fake.fetch(GROUP, None).len(), 1);
    fake.pass(1);
    assert!(fake.core.group(GROUP).is_none());
}

#[test]
fn a_group_that_never_had_offsets_goes_with_the_next_look() {
    let mut fake = Fake::new();
    let id = fake.join_now(join()).member_id;
    fake.pass(600_000);
    assert!(fake.core.group(GROUP).is_none());
    assert_eq!(fake.join_now(rejoin(&id)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_deleted_topic_takes_its_offsets_along_in_every_group() {
    let mut fake = Fake::new();
    for group in ["a", "b"] {
        let offsets = vec![on("t", 1), on("u", 1)];
        fake.commit(OffsetCommitRequest { group_id: group.to_owned(), offsets, ..commit("", -1) });
    }
    fake.event(Event::TopicsDeleted(vec!["t".to_owned()]));
    for group in ["a", "b"] {
        let left = fake.fetch(group, None);
        assert_eq!((left.len(), left[0].0.topic.as_str()), (1, "u"));
    }
}
