//! Topics: made, described, configured, grown, deleted, looked into.

use kohort_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kohort_protocol::messages::create_topics_request::{CreatableReplicaAssignment, CreatableTopic};
use kohort_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kohort_protocol::messages::delete_topics_request::DeleteTopicState;
use kohort_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kohort_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kohort_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kohort_protocol::messages::metadata_request::MetadataRequestTopic;
use kohort_protocol::messages::*;
use kohort_protocol::{ErrorCode, Uuid};

use crate::wire::{Conn, Node, batch, text, topic, values};

pub(crate) async fn id_of(c: &mut Conn, name: &str) -> Uuid {
    metadata(c, 12, &[name], false).await.topics[0].topic_id
}

async fn metadata(c: &mut Conn, version: i16, names: &[&str], create: bool) -> MetadataResponse {
    let topics = names.iter().map(|n| MetadataRequestTopic::default().with_name(Some(topic(n)))).collect();
    let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(create);
    c.call(3, version, &request).await
}

fn made(name: &str, partitions: i32, replicas: i16) -> CreatableTopic {
    CreatableTopic::default()
        .with_name(topic(name))
        .with_num_partitions(partitions)
        .with_replication_factor(replicas)
}

async fn create(c: &mut Conn, version: i16, topics: Vec<CreatableTopic>) -> Vec<(String, ErrorCode)> {
    let request = CreateTopicsRequest::default().with_topics(topics).with_timeout_ms(1000);
    let answer: CreateTopicsResponse = c.call(19, version, &request).await;
    answer.topics.iter().map(|t| (t.name.to_string(), ErrorCode(t.error_code))).collect()
}

#[tokio::test]
async fn all_or_none_differ_by_version() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 3, &[]).await;
    for version in 0..=13 {
        let none = MetadataRequest::default().with_topics(Some(vec![]));
        let answer: MetadataResponse = c.call(3, version, &none).await;
        assert_eq!(answer.topics.len(), if version == 0 { 2 } else { 0 }, "version {version}, an empty list");
        assert_eq!(answer.brokers.len(), 1);
        if version >= 1 {
            let all: MetadataResponse =
                c.call(3, version, &MetadataRequest::default().with_topics(None)).await;
            let names: Vec<_> = all.topics.iter().map(|t| t.name.as_ref().unwrap().to_string()).collect();
            assert_eq!(names, ["__consumer_offsets", "t"], "version {version}, null");
            assert!(all.topics[0].is_internal && !all.topics[1].is_internal);
            assert_eq!(all.topics[1].partitions.len(), 3);
            assert_eq!(all.controller_id.0, 1);
        }
    }
}

#[tokio::test]
async fn an_unknown_topic_is_made_only_where_both_sides_agree() {
    let node = Node::start(&["num.partitions=4"]).await;
    let mut c = node.connect().await;
    for (version, create, name, wanted) in [
        (4, false, "a", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (4, true, "b/c", ErrorCode::INVALID_TOPIC_EXCEPTION),
        (3, true, "old", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (3, true, "old", ErrorCode::NONE),
        (4, true, "b", ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (4, true, "b", ErrorCode::NONE),
    ] {
        let answer = metadata(&mut c, version, &[name], create).await;
        assert_eq!(ErrorCode(answer.topics[0].error_code), wanted, "{name} by version {version}");
        assert_eq!(answer.topics[0].partitions.len(), if wanted.is_ok() { 4 } else { 0 });
    }
    let strict = Node::start(&["auto.create.topics.enable=false"]).await;
    let answer = metadata(&mut strict.connect().await, 4, &["b"], true).await;
    assert_eq!(ErrorCode(answer.topics[0].error_code), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
}

#[tokio::test]
async fn topics_are_asked_for_by_id_from_version_12() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let id = id_of(&mut c, "t").await;
    let by_id = |id| {
        MetadataRequest::default()
            .with_topics(Some(vec![MetadataRequestTopic::default().with_name(None).with_topic_id(id)]))
    };
    let known: MetadataResponse = c.call(3, 12, &by_id(id)).await;
    assert_eq!(known.topics[0].name, Some(topic("t")));
    let unknown: MetadataResponse = c.call(3, 12, &by_id(Uuid::from_u128(5))).await;
    assert_eq!(
        (ErrorCode(unknown.topics[0].error_code), &unknown.topics[0].name),
        (ErrorCode::UNKNOWN_TOPIC_ID, &None)
    );
    let early: MetadataResponse = c.call(3, 10, &by_id(id)).await;
    assert_eq!(ErrorCode(early.topics[0].error_code), ErrorCode::INVALID_REQUEST);
}

#[tokio::test]
async fn topics_are_made_by_kafkas_rules() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    for version in 2..=7 {
        let name = format!("v{version}");
        assert_eq!(create(&mut c, version, vec![made(&name, 2, 1)]).await, [(name, ErrorCode::NONE)]);
    }
    c.create("a.b", 1, &[]).await;
    let long = "x".repeat(249);
    let placed = |broker: i32, index| {
        let at = CreatableReplicaAssignment::default()
            .with_partition_index(index)
            .with_broker_ids(vec![broker.into()]);
        made("placed", -1, -1).with_assignments(vec![at])
    };
    let with = |k: &str, v: &str| {
        use kohort_protocol::messages::create_topics_request::CreatableTopicConfig;
        let config = CreatableTopicConfig::default().with_name(text(k)).with_value(Some(text(v)));
        made("conf", 1, 1).with_configs(vec![config])
    };
    for (asked, wanted) in [
        (made("v2", 1, 1), ErrorCode::TOPIC_ALREADY_EXISTS),
        (made("a_b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (made("", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (made("..", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (made("a/b", 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (made(&"x".repeat(250), 1, 1), ErrorCode::INVALID_TOPIC_EXCEPTION),
        (made(&long, 2, 1), ErrorCode::NONE),
        (made("p", 0, 1), ErrorCode::INVALID_PARTITIONS),
        (made("p", -2, 1), ErrorCode::INVALID_PARTITIONS),
        (made("p", 1, 0), ErrorCode::INVALID_REPLICATION_FACTOR),
        (made("p", 1, 2), ErrorCode::INVALID_REPLICATION_FACTOR),
        (placed(1, 0).with_num_partitions(1), ErrorCode::INVALID_REQUEST),
        (placed(7, 0), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (placed(1, 1), ErrorCode::INVALID_REPLICA_ASSIGNMENT),
        (placed(1, 0), ErrorCode::NONE),
        (with("retention.ms", "soon"), ErrorCode::INVALID_CONFIG),
        (with("no.such", "1"), ErrorCode::INVALID_CONFIG),
        (with("segment.bytes", "1000"), ErrorCode::INVALID_CONFIG),
        (with("retention.ms", "1000"), ErrorCode::NONE),
    ] {
        let name = asked.name.to_string();
        assert_eq!(create(&mut c, 5, vec![asked]).await, [(name, wanted)]);
    }
    let twice = create(&mut c, 5, vec![made("d", 1, 1), made("e", 1, 1), made("d", 1, 1)]).await;
    assert_eq!(twice, [("e".to_owned(), ErrorCode::NONE), ("d".to_owned(), ErrorCode::INVALID_REQUEST)]);
    assert_eq!(c.produce(&long, 1, batch(&["a"])).await.error_code, 0, "a long name has a folder");
    assert_eq!(delete(&mut c, &[&long]).await, [ErrorCode::NONE], "and the folder goes");
}

async fn delete(c: &mut Conn, names: &[&str]) -> Vec<ErrorCode> {
    let request = DeleteTopicsRequest::default()
        .with_topic_names(names.iter().map(|n| topic(n)).collect())
        .with_timeout_ms(1000);
    let answer: DeleteTopicsResponse = c.call(20, 5, &request).await;
    answer.responses.iter().map(|r| ErrorCode(r.error_code)).collect()
}

#[tokio::test]
async fn a_deleted_topic_is_gone_and_made_anew_it_is_empty() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    c.produce("t", 0, batch(&["old"])).await;
    let old = id_of(&mut c, "t").await;
    assert_eq!(
        delete(&mut c, &["t", "none", "u", "u"]).await,
        [ErrorCode::INVALID_REQUEST, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, ErrorCode::NONE]
    );
    c.create("t", 1, &[]).await;
    assert_ne!(id_of(&mut c, "t").await, old);
    assert_eq!(values(&c.fetch("t", 0, 0).await), []);
    let state =
        |name: Option<&str>, id| DeleteTopicState::default().with_name(name.map(topic)).with_topic_id(id);
    let both = DeleteTopicsRequest::default().with_timeout_ms(1000).with_topics(vec![
        state(None, old),
        state(Some("t"), Uuid::from_u128(1)),
        state(None, id_of(&mut c, "t").await),
    ]);
    let answer: DeleteTopicsResponse = c.call(20, 6, &both).await;
    let mut codes: Vec<i16> = answer.responses.iter().map(|r| r.error_code).collect();
    codes.sort_unstable();
    assert_eq!(codes, [0, ErrorCode::INVALID_REQUEST.0, ErrorCode::UNKNOWN_TOPIC_ID.0]);
    node.restart(false).await;
    let left = std::fs::read_dir(node.folder.path().join("logs")).unwrap().count();
    assert_eq!(left, 2, "only the folders of the offsets' topic are left");
}

#[tokio::test]
async fn deletion_can_be_switched_off() {
    let node = Node::start(&["delete.topic.enable=false"]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    assert_eq!(delete(&mut c, &["t"]).await, [ErrorCode::TOPIC_DELETION_DISABLED]);
}

#[tokio::test]
async fn partitions_only_grow() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 2, &[]).await;
    c.produce("t", 1, batch(&["kept"])).await;
    for (version, count, wanted) in [
        (0, 2, ErrorCode::INVALID_PARTITIONS),
        (1, 1, ErrorCode::INVALID_PARTITIONS),
        (2, 4, ErrorCode::NONE),
        (3, 5, ErrorCode::NONE),
    ] {
        let asked =
            CreatePartitionsTopic::default().with_name(topic("t")).with_count(count).with_assignments(None);
        let request = CreatePartitionsRequest::default().with_topics(vec![asked]).with_timeout_ms(1000);
        let answer: CreatePartitionsResponse = c.call(37, version, &request).await;
        assert_eq!(ErrorCode(answer.results[0].error_code), wanted, "to {count}");
    }
    assert_eq!(c.produce("t", 4, batch(&["new"])).await.base_offset, 0);
    node.restart(false).await;
    let mut c = node.connect().await;
    assert_eq!(metadata(&mut c, 12, &["t"], false).await.topics[0].partitions.len(), 5);
    assert_eq!(values(&c.fetch("t", 1, 0).await), [(0, "kept".to_owned())]);
    assert_eq!(values(&c.fetch("t", 4, 0).await), [(0, "new".to_owned())]);
}

#[tokio::test]
async fn configurations_are_set_shown_and_kept() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[("retention.ms", "1000")]).await;
    let change = |key: &str, operation: i8, value: Option<&str>| {
        let config = AlterableConfig::default()
            .with_name(text(key))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text("t"))
            .with_configs(vec![config]);
        IncrementalAlterConfigsRequest::default().with_resources(vec![resource])
    };
    for (request, wanted) in [
        (change("max.message.bytes", 0, Some("500")), ErrorCode::NONE),
        (change("cleanup.policy", 2, Some("compact")), ErrorCode::NONE),
        (change("retention.ms", 1, None), ErrorCode::NONE),
        (change("retention.ms", 0, Some("x")), ErrorCode::INVALID_CONFIG),
        (change("retention.ms", 2, Some("5")), ErrorCode::INVALID_CONFIG),
        (change("no.such", 0, Some("5")), ErrorCode::INVALID_CONFIG),
    ] {
        let answer: IncrementalAlterConfigsResponse = c.call(44, 1, &request).await;
        assert_eq!(ErrorCode(answer.responses[0].error_code), wanted, "{request:?}");
    }
    for cleanly in [true, false] {
        for version in 1..=4 {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(2)
                .with_resource_name(text("t"))
                .with_configuration_keys(Some(
                    ["max.message.bytes", "cleanup.policy", "retention.ms"].map(text).to_vec(),
                ));
            let request = DescribeConfigsRequest::default().with_resources(vec![resource]);
            let answer: DescribeConfigsResponse = c.call(32, version, &request).await;
            let shown: Vec<_> = answer.results[0]
                .configs
                .iter()
                .map(|e| (e.name.to_string(), e.value.as_ref().unwrap().to_string(), e.config_source))
                .collect();
            let wanted = [
                ("cleanup.policy", "delete,compact", 1),
                ("max.message.bytes", "500", 1),
                ("retention.ms", "604800000", 5),
            ];
            assert_eq!(shown, wanted.map(|(k, v, s)| (k.to_owned(), v.to_owned(), s)));
        }
        let large = batch(&[&"x".repeat(600)]);
        assert_eq!(
            ErrorCode(c.produce("t", 0, large).await.error_code),
            ErrorCode::MESSAGE_TOO_LARGE,
            "it is in force"
        );
        node.restart(cleanly).await;
        c = node.connect().await;
    }
}

async fn offset_at(c: &mut Conn, version: i16, timestamp: i64) -> (ErrorCode, i64) {
    let partition = ListOffsetsPartition::default()
        .with_partition_index(0)
        .with_timestamp(timestamp)
        .with_current_leader_epoch(-1);
    let asked = ListOffsetsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![asked]);
    let answer: ListOffsetsResponse = c.call(2, version, &request).await;
    let found = &answer.topics[0].partitions[0];
    (ErrorCode(found.error_code), found.offset)
}

#[tokio::test]
async fn offsets_are_found_by_time_and_by_name() {
    use kohort_protocol::records::{BatchBuilder, BatchOptions, Compressor};
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    assert_eq!(offset_at(&mut c, 7, -3).await, (ErrorCode::NONE, -1), "an empty log has no largest time");
    let times = [[100, 110, 105], [200, 190, 195], [300, 310, 310]];
    for each in times {
        let mut builder = BatchBuilder::new();
        for at in each {
            builder.append(at, None, Some(b"x"), &[]).unwrap();
        }
        let batch = builder.finish(&BatchOptions::default(), &mut Compressor::new()).unwrap();
        c.produce("t", 0, batch).await;
    }
    for version in 1..=10 {
        for (timestamp, wanted) in
            [(-1, 9), (-2, 0), (0, 0), (106, 1), (111, 3), (196, 3), (201, 6), (305, 7), (311, -1)]
        {
            assert_eq!(
                offset_at(&mut c, version, timestamp).await,
                (ErrorCode::NONE, wanted),
                "{timestamp} by {version}"
            );
        }
        for (timestamp, since, offset) in [(-3, 7, 7), (-4, 8, 0), (-5, 9, -1)] {
            let wanted = if version >= since {
                (ErrorCode::NONE, offset)
            } else {
                (ErrorCode::UNSUPPORTED_VERSION, -1)
            };
            assert_eq!(offset_at(&mut c, version, timestamp).await, wanted, "{timestamp} by {version}");
        }
        assert_eq!(offset_at(&mut c, version, -9).await.0, ErrorCode::UNSUPPORTED_VERSION);
    }
}

#[tokio::test]
async fn records_are_deleted_up_to_an_offset() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    for _ in 0..5 {
        c.produce("t", 0, batch(&["a", "b"])).await;
    }
    for (offset, wanted, low) in
        [(3, ErrorCode::NONE, 3), (11, ErrorCode::OFFSET_OUT_OF_RANGE, -1), (-1, ErrorCode::NONE, 10)]
    {
        let partition = DeleteRecordsPartition::default().with_partition_index(0).with_offset(offset);
        let asked = DeleteRecordsTopic::default().with_name(topic("t")).with_partitions(vec![partition]);
        let request = DeleteRecordsRequest::default().with_topics(vec![asked]).with_timeout_ms(1000);
        let answer: DeleteRecordsResponse = c.call(21, 2, &request).await;
        let found = &answer.topics[0].partitions[0];
        assert_eq!((ErrorCode(found.error_code), found.low_watermark), (wanted, low), "up to {offset}");
        assert_eq!(offset_at(&mut c, 5, -2).await.1, if wanted.is_ok() { low } else { 3 });
    }
    node.restart(false).await;
    assert_eq!(offset_at(&mut node.connect().await, 5, -2).await, (ErrorCode::NONE, 10), "kept over a crash");
}
