//! What Produce accepts, refuses, and answers.

use bytes::{Bytes, BytesMut};
use kohort_protocol::messages::{
    FindCoordinatorRequest, FindCoordinatorResponse, InitProducerIdRequest, InitProducerIdResponse,
    ProduceResponse,
};
use kohort_protocol::records::{BatchOptions, Codec};
use kohort_protocol::{ErrorCode, Uuid};

use crate::wire::{Node, batch, batch_with, produce_request, text, values};

fn code(response: &kohort_protocol::messages::produce_response::PartitionProduceResponse) -> ErrorCode {
    ErrorCode(response.error_code)
}

#[tokio::test]
async fn every_version_appends_and_answers_the_offset() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    for version in 3..=12 {
        let answer = c.produce_as(version, 1, "t", 0, batch(&["a", "b"])).await;
        assert_eq!((code(&answer), answer.base_offset), (ErrorCode::NONE, i64::from(version - 3) * 2));
    }
    assert_eq!(values(&c.fetch("t", 0, 0).await).len(), 20);
}

#[tokio::test]
async fn version_13_goes_by_topic_id() {
    use kohort_protocol::messages::{MetadataRequest, MetadataResponse};
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let all: MetadataResponse = c.call(3, 12, &MetadataRequest::default().with_topics(None)).await;
    let id = all.topics.iter().find(|t| t.name.as_ref().is_some_and(|n| n.as_str() == "t")).unwrap().topic_id;
    for (id, wanted) in [(id, ErrorCode::NONE), (Uuid::from_u128(7), ErrorCode::UNKNOWN_TOPIC_ID)] {
        let mut request = produce_request(-1, "", 0, batch(&["a"]));
        request.topic_data[0].topic_id = id;
        let answer: ProduceResponse = c.call(0, 13, &request).await;
        assert_eq!(answer.responses[0].topic_id, id);
        assert_eq!(code(&answer.responses[0].partition_responses[0]), wanted);
    }
}

#[tokio::test]
async fn old_versions_are_advertised_and_refused() {
    let node = Node::start(&[]).await;
    for version in 0..3i16 {
        let mut c = node.connect().await;
        let mut frame = vec![0, 0, 0, 24, 0, 0];
        frame.extend(version.to_be_bytes());
        frame.extend([0, 0, 0, 1, 0xff, 0xff, 0, 1, 0, 0, 3, 0xe8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        c.raw(&frame).await;
        assert_eq!(c.frame().await, None);
    }
}

#[tokio::test]
async fn what_is_not_there_or_not_allowed_is_refused() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[("max.message.bytes", "200")]).await;
    c.create("safe", 1, &[("min.insync.replicas", "2")]).await;
    let one = || batch(&["x"]);
    let two = Bytes::from([one(), one()].concat());
    let mut damaged = BytesMut::from(&one()[..]);
    *damaged.last_mut().unwrap() ^= 1;
    let zstd = batch_with(&["x"], &BatchOptions { codec: Codec::Zstd, ..BatchOptions::default() });
    let transactional = batch_with(
        &["x"],
        &BatchOptions {
            transactional: true,
            producer_id: 5,
            producer_epoch: 0,
            base_sequence: 0,
            ..Default::default()
        },
    );
    let large = batch(&[&"x".repeat(300)]);
    let cases = [
        (9, -1, "t", 1, one(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (9, -1, "none", 0, one(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        (9, 2, "t", 0, one(), ErrorCode::INVALID_REQUIRED_ACKS),
        (9, -1, "t", 0, two, ErrorCode::INVALID_RECORD),
        (9, -1, "t", 0, Bytes::new(), ErrorCode::INVALID_RECORD),
        (9, -1, "t", 0, damaged.freeze(), ErrorCode::CORRUPT_MESSAGE),
        (6, -1, "t", 0, zstd.clone(), ErrorCode::UNSUPPORTED_COMPRESSION_TYPE),
        (7, -1, "t", 0, zstd, ErrorCode::NONE),
        (9, -1, "t", 0, transactional, ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        (9, -1, "t", 0, large, ErrorCode::MESSAGE_TOO_LARGE),
        // A topic cannot want more replicas in sync than it has.
        (9, -1, "safe", 0, one(), ErrorCode::NONE),
        (9, 1, "safe", 0, one(), ErrorCode::NONE),
        (9, -1, "__consumer_offsets", 0, one(), ErrorCode::INVALID_TOPIC_EXCEPTION),
    ];
    for (i, (version, acks, topic, partition, records, wanted)) in cases.into_iter().enumerate() {
        let answer = c.produce_as(version, acks, topic, partition, records).await;
        assert_eq!(code(&answer), wanted, "case {i}");
        assert_eq!(answer.base_offset == -1, wanted != ErrorCode::NONE, "case {i}");
    }
}

#[tokio::test]
async fn acks_0_has_no_answer_and_a_failure_ends_the_connection() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    c.send(0, 9, &produce_request(0, "t", 0, batch(&["a"]))).await;
    // The next answer belongs to the next request.
    assert_eq!(c.produce("t", 0, batch(&["b"])).await.base_offset, 1);
    c.send(0, 9, &produce_request(0, "t", 9, batch(&["a"]))).await;
    assert_eq!(c.frame().await, None);
}

#[tokio::test]
async fn log_append_time_replaces_the_records_times() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[("message.timestamp.type", "LogAppendTime")]).await;
    let before = crate::wire::now_ms();
    let answer = c.produce("t", 0, batch(&["a"])).await;
    assert!(answer.log_append_time_ms >= before, "{answer:?}");
    // The checksum covers the time: `values` checks it.
    assert_eq!(values(&c.fetch("t", 0, 0).await), [(0, "a".to_owned())]);
}

#[tokio::test]
async fn an_idempotent_producers_repeat_is_not_appended_twice() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let request = InitProducerIdRequest::default()
        .with_transactional_id(None)
        .with_producer_id((-1).into())
        .with_producer_epoch(-1);
    let made: InitProducerIdResponse = c.call(22, 4, &request).await;
    assert_eq!((made.error_code, made.producer_epoch), (0, 0));
    let numbered = |epoch: i16, sequence: i32| {
        let options = BatchOptions {
            producer_id: made.producer_id.0,
            producer_epoch: epoch,
            base_sequence: sequence,
            ..BatchOptions::default()
        };
        batch_with(&["a", "b"], &options)
    };
    for (epoch, sequence, wanted, offset) in [
        (0, 0, ErrorCode::NONE, 0),
        (0, 2, ErrorCode::NONE, 2),
        (0, 0, ErrorCode::NONE, 0),
        (0, 2, ErrorCode::NONE, 2),
        (0, 6, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
        (1, 4, ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER, -1),
        (1, 0, ErrorCode::NONE, 4),
        (0, 4, ErrorCode::INVALID_PRODUCER_EPOCH, -1),
    ] {
        let answer = c.produce("t", 0, numbered(epoch, sequence)).await;
        assert_eq!(
            (code(&answer), answer.base_offset),
            (wanted, offset),
            "epoch {epoch} sequence {sequence}"
        );
    }
    for cleanly in [true, false] {
        node.restart(cleanly).await;
        let mut c = node.connect().await;
        let answer = c.produce("t", 0, numbered(1, 0)).await;
        assert_eq!((code(&answer), answer.base_offset), (ErrorCode::NONE, 4), "known after a restart");
        let again: InitProducerIdResponse = c.call(22, 4, &request).await;
        assert!(again.producer_id > made.producer_id);
    }
}

#[tokio::test]
async fn producer_ids_need_both_or_neither_and_no_transaction() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    let ask = |id: i64, epoch: i16, transactional: Option<&str>| {
        InitProducerIdRequest::default()
            .with_transactional_id(transactional.map(|t| text(t).into()))
            .with_producer_id(id.into())
            .with_producer_epoch(epoch)
    };
    let cases = [
        (ask(5, -1, None), ErrorCode::INVALID_REQUEST),
        (ask(-1, 5, None), ErrorCode::INVALID_REQUEST),
        (ask(-1, -1, Some("")), ErrorCode::INVALID_REQUEST),
        (ask(-1, -1, Some("t")), ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
    ];
    for (request, wanted) in cases {
        let answer: InitProducerIdResponse = c.call(22, 4, &request).await;
        assert_eq!(ErrorCode(answer.error_code), wanted, "{request:?}");
    }
}

/// What ends `init_transactions` of every client at once; 15, for one, is retried for a minute.
#[tokio::test]
async fn the_coordinator_of_a_transaction_is_refused_with_words() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    let find = FindCoordinatorRequest::default().with_key_type(1);
    let one: FindCoordinatorResponse = c.call(10, 3, &find.clone().with_key(text("t"))).await;
    let many: FindCoordinatorResponse = c.call(10, 4, &find.with_coordinator_keys(vec![text("t")])).await;
    let [found] = &many.coordinators[..] else { panic!("{many:?}") };
    for (code, message, host) in [
        (one.error_code, &one.error_message, &one.host),
        (found.error_code, &found.error_message, &found.host),
    ] {
        assert_eq!(ErrorCode(code), ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED);
        assert!(message.as_ref().is_some_and(|m| m.contains("no transactions")), "{message:?}");
        assert!(host.is_empty());
    }
}

#[tokio::test]
async fn requests_that_arrive_together_are_answered_in_order() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    for n in 0..100 {
        c.send(0, 9, &produce_request(-1, "t", 0, batch(&[&n.to_string()]))).await;
    }
    for n in 0..100 {
        let frame = c.frame().await.unwrap();
        let (_, answer) = kohort_protocol::frame::decode_response::<ProduceResponse>(frame, 9).unwrap();
        assert_eq!(answer.responses[0].partition_responses[0].base_offset, n);
    }
}

#[tokio::test]
async fn a_batch_of_many_megabytes_arrives_whole() {
    let node = Node::start(&["message.max.bytes=20000000"]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let large = "x".repeat(15_000_000);
    // Twice: the second is read into buffers that the first left behind.
    for offset in 0..2 {
        assert_eq!(c.produce("t", 0, batch(&[&large])).await.base_offset, offset);
        let data = c.fetch("t", 0, offset).await;
        assert_eq!(values(&data), [(offset, large.clone())]);
    }
}
