//! SyncGroup: scenarios 14 to 18.

use kohort_group::coordinator::{Happened, State};
use kohort_group::messages::{ErrorCode, SyncGroupRequest};

use crate::fake::*;

/// A leader and a follower in generation 1, who have not synced.
fn completing(fake: &mut Fake) -> (String, String) {
    let joins: Vec<_> = (0..2).map(|_| fake.enter(join())).collect();
    fake.pass(6_000);
    assert_eq!(fake.state(), State::CompletingRebalance);
    (joins[0].0.clone(), joins[1].0.clone())
}

fn lead(leader: &str, follower: &str) -> SyncGroupRequest {
    let assignments = [leader, follower, "ghost"].map(|id| (id.to_owned(), bytes_for(id))).to_vec();
    SyncGroupRequest { assignments, ..sync(leader, 1) }
}

#[test]
fn s14_sync_follower_waits() {
    let mut fake = Fake::new();
    let (leader, follower) = completing(&mut fake);
    let waiting = fake.sync(sync(&follower, 1));
    assert!(fake.waits(waiting));
    let own = fake.sync_now(lead(&leader, &follower));
    let theirs = fake.synced(waiting);
    assert_eq!((own.error, own.assignment), (ErrorCode::None, bytes_for(&leader)));
    assert_eq!((theirs.error, theirs.assignment), (ErrorCode::None, bytes_for(&follower)));
    assert_eq!(
        (theirs.protocol_type.as_deref(), theirs.protocol_name.as_deref()),
        (Some("consumer"), Some("range"))
    );
    assert_eq!(fake.state(), State::Stable);
}

#[test]
fn s15_sync_after_leader() {
    let mut fake = Fake::new();
    let (leader, follower) = completing(&mut fake);
    fake.sync_now(lead(&leader, &follower));
    assert_eq!(fake.sync_now(sync(&follower, 1)).assignment, bytes_for(&follower));
    // What the leader assigns now is ignored.
    let late = SyncGroupRequest { assignments: vec![(leader.clone(), b"new".to_vec())], ..sync(&leader, 1) };
    assert_eq!(fake.sync_now(late).assignment, bytes_for(&leader));
}

#[test]
fn s16_sync_missing_assignment() {
    let mut fake = Fake::new();
    let (leader, follower) = completing(&mut fake);
    fake.sync_now(SyncGroupRequest {
        assignments: vec![(leader.clone(), b"all".to_vec())],
        ..sync(&leader, 1)
    });
    let answer = fake.sync_now(sync(&follower, 1));
    assert_eq!((answer.error, answer.assignment), (ErrorCode::None, Vec::new()));
}

#[test]
fn s17_sync_during_preparing() {
    let mut fake = Fake::new();
    let ids = fake.stable(2);
    fake.join(rejoin(&ids[0]));
    let answer = fake.sync_now(sync(&ids[1], 1));
    assert_eq!(answer.error, ErrorCode::RebalanceInProgress);
    assert_eq!((answer.protocol_type, answer.protocol_name, answer.assignment), (None, None, Vec::new()));
}

#[test]
fn s18_sync_validation() {
    let mut fake = Fake::new();
    let (leader, _) = completing(&mut fake);
    let wrong = [
        (sync(&leader, 2), ErrorCode::IllegalGeneration),
        (sync("ghost", 1), ErrorCode::UnknownMemberId),
        (SyncGroupRequest { group_id: "other".to_owned(), ..sync(&leader, 1) }, ErrorCode::UnknownMemberId),
        (SyncGroupRequest { group_id: String::new(), ..sync(&leader, 1) }, ErrorCode::InvalidGroupId),
        (
            SyncGroupRequest { protocol_name: Some("sticky".to_owned()), ..sync(&leader, 1) },
            ErrorCode::InconsistentGroupProtocol,
        ),
        (
            SyncGroupRequest { protocol_type: Some("connect".to_owned()), ..sync(&leader, 1) },
            ErrorCode::InconsistentGroupProtocol,
        ),
        (SyncGroupRequest { protocol_name: None, ..sync("ghost", 1) }, ErrorCode::InconsistentGroupProtocol),
        (SyncGroupRequest { protocol_type: None, ..sync("ghost", 1) }, ErrorCode::InconsistentGroupProtocol),
    ];
    for (request, expected) in wrong {
        assert_eq!(fake.sync_now(request.clone()).error, expected, "{request:?}");
    }
    let old =
        SyncGroupRequest { api_version: 4, protocol_type: None, protocol_name: None, ..sync(&leader, 1) };
    assert_eq!(fake.sync_now(old).error, ErrorCode::None, "before version 5 there is no name");
}

#[test]
fn a_sync_to_a_group_that_emptied_is_from_an_unknown_member() {
    let mut fake = Fake::new();
    let ids = fake.stable(1);
    fake.leave(&[(&ids[0], None)]);
    assert_eq!(fake.sync_now(sync(&ids[0], 1)).error, ErrorCode::UnknownMemberId);
}

#[test]
fn a_second_sync_of_a_parked_member_takes_the_place_of_the_first() {
    let mut fake = Fake::new();
    let (leader, follower) = completing(&mut fake);
    let first = fake.sync(sync(&follower, 1));
    let second = fake.sync(sync(&follower, 1));
    assert!(fake.dropped.contains(&first), "Kafka never answers it");
    fake.sync_now(lead(&leader, &follower));
    assert_eq!(fake.synced(second).error, ErrorCode::None);
}

#[test]
fn a_member_that_leaves_takes_its_parked_sync_with_it() {
    let mut fake = Fake::new();
    let (leader, follower) = completing(&mut fake);
    let parked = fake.sync(sync(&follower, 1));
    fake.leave(&[(&follower, None)]);
    assert_eq!(fake.synced(parked).error, ErrorCode::UnknownMemberId);
    assert_eq!(fake.beat(&leader, 1), ErrorCode::RebalanceInProgress);
}

#[test]
fn the_event_log_tells_how_long_a_rebalance_took_and_who_owns_what() {
    let mut fake = Fake::new();
    let (id, call) = fake.enter(join());
    fake.pass(3_000);
    fake.joined(call);
    fake.news();
    fake.pass(250);
    let bytes = b"\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\x05\xff\xff\xff\xff".to_vec();
    fake.sync_now(SyncGroupRequest { assignments: vec![(id.clone(), bytes)], ..sync(&id, 1) });
    let news = fake.news();
    let [Happened::RebalanceEnded { took, members }] = &news[..] else { panic!("{news:?}") };
    assert_eq!(*took, ms(3_250));
    let partitions = members[0].partitions.as_ref().unwrap();
    assert_eq!((members[0].who.member_id.as_str(), partitions[0].partition), (id.as_str(), 5));
}
