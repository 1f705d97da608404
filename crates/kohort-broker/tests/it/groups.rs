//! Groups through the broker: what is kept, what is parked, what is told.

use std::collections::BTreeSet;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kohort_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kohort_protocol::messages::offset_commit_request::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic;
use kohort_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    CreatePartitionsRequest, CreatePartitionsResponse, DeleteGroupsRequest, DeleteGroupsResponse,
    DeleteTopicsRequest, DeleteTopicsResponse, FindCoordinatorRequest, FindCoordinatorResponse, GroupId,
    HeartbeatRequest, HeartbeatResponse, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, ListGroupsRequest, ListGroupsResponse, MetadataRequest, MetadataResponse,
    OffsetCommitRequest, OffsetCommitResponse, OffsetFetchRequest, OffsetFetchResponse,
    ShareGroupHeartbeatRequest, ShareGroupHeartbeatResponse, SyncGroupRequest, SyncGroupResponse,
};

use crate::wire::{Conn, Node, text, topic};

const REBALANCE_IN_PROGRESS: i16 = 27;

fn group() -> GroupId {
    GroupId(text("g"))
}

/// A subscription to `t`, in version 0.
const SUBSCRIPTION: &[u8] = b"\0\0\0\0\0\x01\0\x01t\xff\xff\xff\xff";

fn join(member_id: &str) -> JoinGroupRequest {
    let range =
        JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(SUBSCRIPTION.into());
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_session_timeout_ms(6_000)
        .with_rebalance_timeout_ms(6_000)
        .with_member_id(text(member_id))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![range])
}

/// Joins with version 3, which needs no second step.
async fn joined(c: &mut Conn, member_id: &str) -> JoinGroupResponse {
    let answer: JoinGroupResponse = c.call(11, 3, &join(member_id)).await;
    assert_eq!(answer.error_code, 0);
    answer
}

async fn sync(c: &mut Conn, joined: &JoinGroupResponse) {
    let assign = |member: &kohort_protocol::messages::join_group_response::JoinGroupResponseMember| {
        SyncGroupRequestAssignment::default()
            .with_member_id(member.member_id.clone())
            .with_assignment(b"\0\0\0\0\0\x01\0\x01t\0\0\0\x01\0\0\0\0\xff\xff\xff\xff".as_slice().into())
    };
    let request = SyncGroupRequest::default()
        .with_group_id(group())
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(joined.members.iter().map(assign).collect());
    let answer: SyncGroupResponse = c.call(14, 2, &request).await;
    assert_eq!((answer.error_code, answer.assignment.is_empty()), (0, false));
}

/// The only member of a Stable group.
async fn alone(c: &mut Conn) -> JoinGroupResponse {
    let answer = joined(c, "").await;
    sync(c, &answer).await;
    answer
}

fn beat(of: &JoinGroupResponse) -> HeartbeatRequest {
    HeartbeatRequest::default()
        .with_group_id(group())
        .with_generation_id(of.generation_id)
        .with_member_id(of.member_id.clone())
}

async fn commit(c: &mut Conn, of: Option<&JoinGroupResponse>, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topics =
        vec![OffsetCommitRequestTopic::default().with_name(topic("t")).with_partitions(vec![partition])];
    let request = OffsetCommitRequest::default()
        .with_group_id(group())
        .with_generation_id_or_member_epoch(of.map_or(-1, |of| of.generation_id))
        .with_member_id(of.map(|of| of.member_id.clone()).unwrap_or_default())
        .with_topics(topics);
    let answer: OffsetCommitResponse = c.call(8, 8, &request).await;
    answer.topics[0].partitions[0].error_code
}

async fn committed(c: &mut Conn) -> i64 {
    let topics =
        vec![OffsetFetchRequestTopic::default().with_name(topic("t")).with_partition_indexes(vec![0])];
    let request = OffsetFetchRequest::default().with_group_id(group()).with_topics(Some(topics));
    let answer: OffsetFetchResponse = c.call(9, 5, &request).await;
    answer.topics[0].partitions[0].committed_offset
}

#[tokio::test]
async fn members_do_not_notice_that_the_broker_was_killed_or_restarted() {
    let mut node = Node::start(&["kohort.park.heartbeats=false"]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let member = alone(&mut c).await;
    for (round, cleanly) in [true, false, true].into_iter().enumerate() {
        let offset = i64::try_from(round).unwrap();
        assert_eq!(commit(&mut c, Some(&member), offset).await, 0);
        drop(c);
        node.restart(cleanly).await;
        c = node.connect().await;
        let answer: HeartbeatResponse = c.call(12, 2, &beat(&member)).await;
        assert_eq!(answer.error_code, 0, "the generation goes on");
        assert_eq!(committed(&mut c).await, offset);
    }
}

#[tokio::test]
async fn a_deleted_group_stays_deleted() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    assert_eq!(commit(&mut c, None, 5).await, 0);
    let request = DeleteGroupsRequest::default().with_groups_names(vec![group()]);
    let answer: DeleteGroupsResponse = c.call(42, 1, &request).await;
    assert_eq!(answer.results[0].error_code, 0);
    node.restart(false).await;
    let mut c = node.connect().await;
    let answer: ListGroupsResponse = c.call(16, 2, &ListGroupsRequest::default()).await;
    assert!(answer.groups.is_empty(), "{answer:?}");
    assert_eq!(committed(&mut c).await, -1);
}

#[tokio::test]
async fn the_topic_of_the_groups_is_neither_deleted_nor_grown() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    assert_eq!(commit(&mut c, None, 5).await, 0);
    let name = topic("__consumer_offsets");
    let request = DeleteTopicsRequest::default().with_topic_names(vec![name.clone()]).with_timeout_ms(1000);
    let answer: DeleteTopicsResponse = c.call(20, 5, &request).await;
    assert_eq!(ErrorCode(answer.responses[0].error_code), ErrorCode::INVALID_TOPIC_EXCEPTION);
    let more = CreatePartitionsTopic::default().with_name(name).with_count(5).with_assignments(None);
    let request = CreatePartitionsRequest::default().with_topics(vec![more]).with_timeout_ms(1000);
    let answer: CreatePartitionsResponse = c.call(37, 3, &request).await;
    assert_eq!(ErrorCode(answer.results[0].error_code), ErrorCode::INVALID_TOPIC_EXCEPTION);
    // Offsets go on where they are, whatever was tried, and the newest is the one that counts.
    for offset in [6, 7] {
        assert_eq!(commit(&mut c, None, offset).await, 0);
        node.restart(false).await;
        c = node.connect().await;
        assert_eq!(committed(&mut c).await, offset);
    }
}

#[tokio::test]
async fn a_topic_whose_deletion_was_cut_short_leaves_no_offsets() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    c.create("u", 1, &[]).await;
    assert_eq!(commit(&mut c, None, 5).await, 0);
    node.broker.take().unwrap().shutdown().await;
    // The topic was gone, its offsets were not yet.
    let file = node.folder.path().join("topics.json");
    let mut topics: Vec<serde_json::Value> = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    topics.retain(|topic| topic["name"] != "t");
    std::fs::write(&file, serde_json::to_vec(&topics).unwrap()).unwrap();
    node.begin().await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    assert_eq!(committed(&mut c).await, -1, "another topic, another beginning");
    node.restart(false).await;
    assert_eq!(committed(&mut node.connect().await).await, -1);
}

#[tokio::test]
async fn a_parked_heartbeat_brings_news_and_holds_up_no_other_request() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    let member = alone(&mut c).await;

    // Two requests at once: the heartbeat has no news, but something waits behind it.
    c.send(12, 2, &beat(&member)).await;
    let begin = std::time::Instant::now();
    let none = MetadataRequest::default().with_topics(Some(vec![])).with_allow_auto_topic_creation(true);
    c.send(3, 4, &none).await;
    let heartbeat = c.frame().await.expect("an answer");
    assert_eq!(heartbeat[8..10], [0, 0]);
    c.receive::<MetadataResponse>(4).await;
    assert!(begin.elapsed().as_millis() < 1_000, "{:?}", begin.elapsed());

    c.send(12, 2, &beat(&member)).await;
    let mut other = node.connect().await;
    other.send(11, 3, &join("")).await;
    let answer: HeartbeatResponse = c.receive(2).await;
    assert_eq!(answer.error_code, REBALANCE_IN_PROGRESS);
    let (one, two) = (joined(&mut c, &member.member_id).await, other.receive::<JoinGroupResponse>(3).await);
    assert_eq!((one.generation_id, two.generation_id), (member.generation_id + 1, member.generation_id + 1));
}

/// Two members of one Stable group, each on its connection, the leader first.
async fn two(node: &Node) -> [(Conn, JoinGroupResponse); 2] {
    let mut one = node.connect().await;
    let first = alone(&mut one).await;
    let mut two = node.connect().await;
    two.send(11, 3, &join("")).await;
    // The broker knows the newcomer when the first one is told.
    let mut told = 0;
    while told != REBALANCE_IN_PROGRESS {
        told = one.call::<_, HeartbeatResponse>(12, 2, &beat(&first)).await.error_code;
    }
    let first = joined(&mut one, &first.member_id).await;
    let second: JoinGroupResponse = two.receive(3).await;
    sync(&mut one, &first).await;
    sync(&mut two, &second).await;
    [(one, first), (two, second)]
}

#[tokio::test]
async fn a_member_whose_process_died_is_gone_at_once() {
    let node = Node::start(&["kohort.lost.connection.grace.ms=100"]).await;
    let [(mut one, first), (mut two, second)] = two(&node).await;
    one.send(12, 2, &beat(&first)).await;
    two.send(12, 2, &beat(&second)).await;
    // The second heartbeat is parked when a look at the groups, which goes through the same lock, was answered.
    let mut admin = node.connect().await;
    admin.call::<_, ListGroupsResponse>(16, 2, &ListGroupsRequest::default()).await;
    let begin = std::time::Instant::now();
    drop(two);
    let answer: HeartbeatResponse = one.receive(2).await;
    assert_eq!(answer.error_code, REBALANCE_IN_PROGRESS);
    assert!(begin.elapsed().as_millis() < 1_500, "{:?}", begin.elapsed());
}

#[tokio::test]
async fn a_member_whose_client_looks_for_the_coordinator_is_not() {
    let node = Node::start(&["kohort.lost.connection.grace.ms=400"]).await;
    let [(mut one, first), (mut two, second)] = two(&node).await;
    two.send(12, 2, &beat(&second)).await;
    let mut again = node.connect().await;
    again.call::<_, ListGroupsResponse>(16, 2, &ListGroupsRequest::default()).await;
    drop(two);
    one.send(12, 2, &beat(&first)).await;
    // As often as it takes: the broker may see the end of the one connection after the question on the other.
    let asks = async {
        let find = FindCoordinatorRequest::default().with_key(text("g"));
        let mut beat = tokio::time::interval(std::time::Duration::from_millis(50));
        loop {
            beat.tick().await;
            again.call::<_, FindCoordinatorResponse>(10, 1, &find).await;
        }
    };
    // Held until the member's next one is due, three times the grace.
    let answer: HeartbeatResponse = tokio::select! {
        answer = one.receive(2) => answer,
        () = asks => unreachable!("it never ends"),
    };
    assert_eq!(answer.error_code, 0, "nobody has left");
}

/// sarama closes a consumer when its last heartbeat is answered.
#[tokio::test]
async fn the_heartbeats_of_a_client_that_waits_for_them_are_not_held() {
    let node = Node::start(&[]).await;
    let [(mut one, first), (mut two, second)] = two(&node).await;
    let name = ApiVersionsRequest::default()
        .with_client_software_name(text("sarama"))
        .with_client_software_version(text("1.0"));
    two.call::<_, ApiVersionsResponse>(18, 3, &name).await;
    one.send(12, 2, &beat(&first)).await;
    // Were the other's held, too, the first would be answered before the second of them.
    for _ in 0..2 {
        two.send(12, 2, &beat(&second)).await;
        let answer: HeartbeatResponse = tokio::select! {
            biased;
            answer = two.receive(2) => answer,
            _ = one.receive::<HeartbeatResponse>(2) => panic!("both are held"),
        };
        assert_eq!(answer.error_code, 0);
    }
}

#[tokio::test]
async fn what_happened_in_a_group_is_told_after_a_restart() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    let member = alone(&mut c).await;
    let leave = LeaveGroupRequest::default().with_group_id(group()).with_member_id(member.member_id.clone());
    let answer: LeaveGroupResponse = c.call(13, 1, &leave).await;
    assert_eq!(answer.error_code, 0);
    node.restart(true).await;
    let broker = node.broker.as_ref().unwrap();
    let events = broker.groups().events().after(0, 100);
    let kinds: Vec<_> = events.iter().map(|event| event.kind.as_str()).collect();
    let story = [
        "created",
        "joined",
        "rebalance-began",
        "generation-began",
        "rebalance-ended",
        "left",
        "rebalance-began",
        "emptied",
        "loaded",
    ];
    assert_eq!(kinds, story);
    let owners = &events[4].owners;
    assert_eq!((owners[0].0.as_str(), owners[0].1[0].as_str()), (&*member.member_id, "t-0"));
    let ids: BTreeSet<_> = events.iter().map(|event| event.id).collect();
    assert_eq!(ids.len(), events.len(), "every event has an id of its own");
}

/// What librdkafka needs to see to give up: without the API in the list it looks for another coordinator for ever.
#[tokio::test]
async fn members_of_other_group_protocols_are_refused_with_words() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    for version in 0..=1 {
        let beat = ConsumerGroupHeartbeatRequest::default().with_group_id(group()).with_member_id(text("m"));
        let answer: ConsumerGroupHeartbeatResponse = c.call(68, version, &beat).await;
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::UNSUPPORTED_VERSION);
        assert!(answer.error_message.is_some_and(|m| m.contains("group.protocol=classic")));
    }
    let beat = ShareGroupHeartbeatRequest::default().with_group_id(group()).with_member_id(text("m"));
    let answer: ShareGroupHeartbeatResponse = c.call(76, 1, &beat).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::UNSUPPORTED_VERSION);
    // Nobody has joined.
    let groups: ListGroupsResponse = c.call(16, 4, &ListGroupsRequest::default()).await;
    assert!(groups.groups.is_empty(), "{groups:?}");
}
