//! Static members (KIP-345, KIP-814): scenarios 32 and 33.

use kohort_group::coordinator::{ConnectionId, Request, State};
use kohort_group::messages::{
    ErrorCode, HeartbeatRequest, JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};

use crate::fake::*;

/// Two static members, `i1` the leader, Stable in generation 1.
fn two(fake: &mut Fake) -> (String, String) {
    let calls = ["i1", "i2"].map(|instance| fake.join(join_static(instance)));
    fake.pass(6_000);
    let answers = calls.map(|call| fake.joined(call));
    let leader = answers[0].leader.clone();
    assert_eq!(leader, answers[0].member_id);
    let follower = answers[1].member_id.clone();
    assert!(leader.starts_with("i1-") && follower.starts_with("i2-"), "ids begin with the instance");
    let assignments = [&leader, &follower].map(|id| (id.clone(), bytes_for(id))).to_vec();
    fake.sync_now(SyncGroupRequest { assignments, ..sync(&leader, 1) });
    fake.sync_now(sync(&follower, 1));
    (leader, follower)
}

fn beat_static(instance: &str, member_id: &str, generation: i32) -> Request {
    Request::Heartbeat(HeartbeatRequest {
        group_instance_id: Some(instance.to_owned()),
        ..beat(member_id, generation)
    })
}

#[test]
fn s32_static_wrong_member_id() {
    let mut fake = Fake::new();
    let (_, follower) = two(&mut fake);
    let instance = Some("i1".to_owned());
    let join = JoinGroupRequest { group_instance_id: instance.clone(), ..rejoin(&follower) };
    let answer = fake.join_now(join);
    assert_eq!((answer.error, &answer.member_id), (ErrorCode::FencedInstanceId, &follower));
    let sync = SyncGroupRequest { group_instance_id: instance.clone(), ..sync("mX", 1) };
    assert_eq!(fake.sync_now(sync).error, ErrorCode::FencedInstanceId);
    let call = fake.call(beat_static("i1", "mX", 1));
    assert_eq!(fake.beaten(call), ErrorCode::FencedInstanceId);
    assert_eq!(fake.leave(&[("mX", Some("i1"))]).members[0].2, ErrorCode::FencedInstanceId);
    let commit = OffsetCommitRequest { group_instance_id: instance, ..commit("mX", 1) };
    assert_eq!(fake.commit(commit), ErrorCode::FencedInstanceId);
    let call = fake.call(beat_static("nobody", &follower, 1));
    assert_eq!(fake.beaten(call), ErrorCode::UnknownMemberId, "an unknown instance");
}

#[test]
fn s33_static_follower_restart() {
    let mut fake = Fake::new();
    let (leader, follower) = two(&mut fake);
    let records = fake.log.len();
    let answer = fake.join_now(join_static("i2"));
    assert_eq!((answer.error, answer.generation, answer.members.len()), (ErrorCode::None, 1, 0));
    assert_ne!(answer.member_id, follower);
    assert_eq!((answer.leader, answer.skip_assignment), (leader.clone(), false));
    assert_eq!((fake.state(), fake.log.len()), (State::Stable, records + 1), "the new id is kept");
    let again = fake.sync_now(sync(&answer.member_id, 1));
    assert_eq!(again.assignment, bytes_for(&follower), "what the instance had");
    let call = fake.call(beat_static("i2", &follower, 1));
    assert_eq!(fake.beaten(call), ErrorCode::FencedInstanceId);
    assert_eq!(fake.beat(&follower, 1), ErrorCode::UnknownMemberId, "without its instance");
    assert_eq!(fake.beat(&leader, 1), ErrorCode::None, "nobody else notices");
}

#[test]
fn a_subscription_that_changed_with_the_restart_disturbs_nobody() {
    let mut fake = Fake::new();
    two(&mut fake);
    let other = vec![("range".to_owned(), subscription(&["u"]))];
    let answer = fake.join_now(JoinGroupRequest { protocols: other, ..join_static("i2") });
    assert_eq!((answer.error, fake.state()), (ErrorCode::None, State::Stable));
}

#[test]
fn a_returning_leader_of_version_9_leads_but_does_not_assign() {
    let mut fake = Fake::new();
    two(&mut fake);
    let answer = fake.join_now(join_static("i1"));
    assert_eq!(answer.leader, answer.member_id);
    assert!(answer.skip_assignment);
    assert_eq!((answer.members.len(), answer.generation), (2, 1));
}

#[test]
fn a_returning_leader_of_version_8_does_not_believe_that_it_leads() {
    let mut fake = Fake::new();
    let (leader, _) = two(&mut fake);
    let answer = fake.join_now(JoinGroupRequest { api_version: 8, ..join_static("i1") });
    assert_eq!(answer.leader, leader, "the id from before");
    assert!(!answer.skip_assignment && answer.members.is_empty());
    assert_eq!(fake.group().leader, Some(answer.member_id.as_str()), "it does lead");
}

#[test]
fn a_restart_with_another_vote_rebalances() {
    let mut fake = Fake::new();
    let both = protocols(&["range", "sticky"]);
    let joins: Vec<_> = ["i1", "i2"]
        .map(|instance| JoinGroupRequest { protocols: both.clone(), ..join_static(instance) })
        .map(|request| fake.join(request))
        .to_vec();
    fake.pass(6_000);
    let ids: Vec<_> = joins.into_iter().map(|call| fake.joined(call).member_id).collect();
    fake.sync_now(sync(&ids[0], 1));
    let call = fake.join(JoinGroupRequest { protocols: protocols(&["sticky"]), ..join_static("i2") });
    assert!(fake.waits(call));
    assert_eq!(fake.state(), State::PreparingRebalance);
}

#[test]
fn a_restart_during_the_join_phase_fences_the_parked_join() {
    let mut fake = Fake::new();
    let old = fake.join(join_static("i"));
    let new = fake.join(join_static("i"));
    let fenced = fake.joined(old);
    assert_eq!(
        (fenced.error, fenced.generation, fenced.leader.as_str()),
        (ErrorCode::FencedInstanceId, -1, "")
    );
    assert!(fenced.member_id.starts_with("i-"));
    fake.pass(6_000);
    let answer = fake.joined(new);
    assert_eq!((answer.error, answer.generation), (ErrorCode::None, 1));
    assert_ne!(answer.member_id, fenced.member_id);
}

#[test]
fn a_restart_during_the_sync_phase_fences_the_parked_sync_and_rebalances() {
    let mut fake = Fake::new();
    let calls = ["i1", "i2"].map(|instance| fake.join(join_static(instance)));
    fake.pass(6_000);
    let ids = calls.map(|call| fake.joined(call).member_id);
    let parked = fake.sync(sync(&ids[1], 1));
    let new = fake.join(join_static("i2"));
    assert_eq!(fake.synced(parked).error, ErrorCode::FencedInstanceId);
    assert!(fake.waits(new));
    assert_eq!(fake.state(), State::PreparingRebalance);
}

#[test]
fn a_silent_static_member_keeps_its_place_in_a_new_generation() {
    let mut fake = Fake::with(|config| config.min_session_timeout = ms(1));
    let long = |request: JoinGroupRequest| JoinGroupRequest { session_timeout: ms(1_000_000), ..request };
    let calls = ["i1", "i2"].map(|instance| fake.join(long(join_static(instance))));
    fake.pass(6_000);
    let ids = calls.map(|call| fake.joined(call).member_id);
    fake.sync_now(sync(&ids[0], 1));
    fake.sync_now(sync(&ids[1], 1));
    let leader =
        fake.join(long(JoinGroupRequest { group_instance_id: Some("i1".to_owned()), ..rejoin(&ids[0]) }));
    fake.pass(REBALANCE - 1);
    assert!(fake.waits(leader));
    fake.pass(1);
    let answer = fake.joined(leader);
    assert_eq!((answer.generation, answer.members.len()), (2, 2), "the silent one is in the list");
}

#[test]
fn silent_static_members_alone_extend_the_join_phase() {
    let mut fake = Fake::new();
    let long = |request: JoinGroupRequest| JoinGroupRequest { session_timeout: ms(1_000_000), ..request };
    let call = fake.join(long(join_static("i1")));
    fake.pass(3_000);
    let id = fake.joined(call).member_id;
    fake.sync_now(sync(&id, 1));
    let (newcomer, call) = fake.enter(join());
    // The newcomer goes again; nobody has joined when the time is over.
    assert_eq!(fake.leave(&[(&newcomer, None)]).members[0].2, ErrorCode::None);
    assert_eq!(fake.joined(call).error, ErrorCode::UnknownMemberId);
    fake.pass(REBALANCE);
    assert_eq!((fake.state(), fake.generation()), (State::PreparingRebalance, 1));
    let back = fake.join(long(JoinGroupRequest { group_instance_id: Some("i1".to_owned()), ..rejoin(&id) }));
    assert_eq!(fake.joined(back).generation, 2);
}

#[test]
fn a_static_member_whose_connection_is_lost_keeps_its_session() {
    let mut fake = Fake::with(|config| {
        config.park_heartbeats = true;
        config.lost_connection_grace = ms(500);
    });
    let (leader, follower) = two(&mut fake);
    let connection = ConnectionId(1);
    let parked = fake.call_on(connection, beat_static("i2", &follower, 1));
    assert!(fake.waits(parked));
    fake.event(kohort_group::coordinator::Event::Closed(connection));
    fake.pass(5_000);
    assert_eq!(fake.state(), State::Stable);
    let call = fake.call(beat_static("i1", &leader, 1));
    assert!(fake.waits(call));
}

#[test]
fn an_old_id_that_is_replaced_learns_it_from_its_parked_heartbeat() {
    let mut fake = Fake::with(|config| config.park_heartbeats = true);
    let (_, follower) = two(&mut fake);
    let parked = fake.call(beat_static("i2", &follower, 1));
    assert!(fake.waits(parked));
    fake.join_now(join_static("i2"));
    assert_eq!(fake.beaten(parked), ErrorCode::FencedInstanceId);
}
