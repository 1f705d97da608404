//! DescribeTopicPartitions (75), version 0 (KIP-966): topics in the order of their names, so many partitions at a time, and a cursor to
//! go on from.

use std::collections::BTreeSet;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kohort_protocol::messages::{
    BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};

use super::{Call, Outcome, operations, text};
use crate::broker::Shared;
use crate::catalog::{Topic, bad_name, is_internal};
use crate::connection::HangUp;
use crate::partition::LEADER_EPOCH;

/// No answer has more partitions (Kafka's `max.request.partition.size.limit`).
const PARTITIONS_MAX: usize = 2000;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DescribeTopicPartitionsRequest = call.request()?;
    let shared = call.shared;
    let cursor = request.cursor.as_ref().map(|c| (c.topic_name.to_string(), c.partition_index));
    let mut names: BTreeSet<String> = request.topics.iter().map(|t| t.name.to_string()).collect();
    if request.topics.is_empty() {
        names.extend(shared.catalog.all().iter().map(|t| t.name.clone()));
    }
    // A name that cannot be is nobody's: Kafka fails inside on the whole request. A cursor must stand in one of the topics.
    let whole = match &cursor {
        Some((name, partition)) if *partition < 0 || !names.contains(name) => {
            Some(ErrorCode::INVALID_REQUEST)
        }
        _ if names.iter().any(|n| bad_name(n).is_some()) => Some(ErrorCode::UNKNOWN_SERVER_ERROR),
        _ => None,
    };
    if let Some(error) = whole {
        let refused = names.iter().map(|name| missing(name, error)).collect();
        return call.answer(&DescribeTopicPartitionsResponse::default().with_topics(refused));
    }
    let (from, mut first) = cursor.unwrap_or_default();
    let limit = usize::try_from(request.response_partition_limit).unwrap_or(0).clamp(1, PARTITIONS_MAX);
    let mut left = limit;
    let mut topics = Vec::new();
    let mut next = None;
    for name in names.range(from..) {
        let Some(topic) = shared.catalog.topic(name) else {
            topics.push(missing(name, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            continue;
        };
        if left == 0 {
            next = Some(at(name, 0));
            break;
        }
        let skipped = usize::try_from(std::mem::take(&mut first)).unwrap_or(0);
        topics.push(describe(shared, &topic, skipped, left));
        let told = topic.partitions.len().saturating_sub(skipped).min(left);
        left -= told;
        if skipped + told < topic.partitions.len() {
            next = Some(at(name, skipped + told));
            break;
        }
    }
    call.answer(&DescribeTopicPartitionsResponse::default().with_topics(topics).with_next_cursor(next))
}

fn at(name: &str, partition: usize) -> Cursor {
    Cursor::default()
        .with_topic_name(TopicName(text(name)))
        .with_partition_index(i32::try_from(partition).unwrap_or(i32::MAX))
}

fn missing(name: &str, error: ErrorCode) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_is_internal(is_internal(name))
        .with_error_code(error.0)
}

fn describe(
    shared: &Shared,
    topic: &Topic,
    skipped: usize,
    max: usize,
) -> DescribeTopicPartitionsResponseTopic {
    let node = BrokerId(shared.node_id);
    let partitions = topic.partitions.iter().skip(skipped).take(max).map(|partition| {
        DescribeTopicPartitionsResponsePartition::default()
            .with_partition_index(partition.index())
            .with_leader_id(node)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
            .with_eligible_leader_replicas(Some(vec![]))
            .with_last_known_elr(Some(vec![]))
    });
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(partitions.collect())
        .with_topic_authorized_operations(operations::TOPIC)
}
