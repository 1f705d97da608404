//! ListOffsets (2), versions 1 to 11. 2: isolation level. 4: leader epochs. 7: the largest timestamp (KIP-734). 8, 9 and 11: local,
//! tiered and not yet tiered offsets: there is no tier, so -4 is the log start offset, and -5 and -6 are not there. 10: a timeout,
//! not needed here.

use std::collections::BTreeMap;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kohort_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kohort_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse, TopicName};

use super::{Call, Outcome};
use crate::connection::HangUp;
use crate::log::TimestampOffset;
use crate::partition::{LEADER_EPOCH, Partition, check_leader_epoch};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: ListOffsetsRequest = call.request()?;
    let version = call.version();
    // Kafka knows each partition once, and a topic only through its partitions.
    let mut asked: BTreeMap<&TopicName, BTreeMap<i32, Vec<&ListOffsetsPartition>>> = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let of_topic = asked.entry(&topic.name).or_default();
            of_topic.entry(partition.partition_index).or_default().push(partition);
        }
    }
    // Only the two levels that there are; Kafka fails inside on others.
    let level_is_known = version < 2 || matches!(request.isolation_level, 0 | 1);
    let topics = asked.into_iter().map(|(name, partitions)| {
        let known = call.shared.catalog.topic(name);
        let partitions = partitions.into_iter().map(|(index, asked)| {
            let partition = known.as_ref().and_then(|t| t.partition(index));
            let outcome = match (partition, asked.as_slice()) {
                _ if !level_is_known => Err(ErrorCode::UNKNOWN_SERVER_ERROR),
                (Some(partition), [asked]) => find(version, asked, partition),
                (None, [_]) => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                _ => Err(ErrorCode::INVALID_REQUEST),
            };
            answer(version, index, outcome)
        });
        ListOffsetsTopicResponse::default().with_name(name.clone()).with_partitions(partitions.collect())
    });
    let response = ListOffsetsResponse::default().with_topics(topics.collect());
    // 11 looks like 10.
    call.answer_as(version.min(10), &response)
}

fn answer(version: i16, index: i32, outcome: Result<Found, ErrorCode>) -> ListOffsetsPartitionResponse {
    let response = ListOffsetsPartitionResponse::default().with_partition_index(index);
    match outcome {
        Ok((offset, timestamp, epoch)) => response
            .with_offset(offset)
            .with_timestamp(timestamp)
            .with_leader_epoch(if version >= 4 { epoch } else { -1 }),
        Err(error) => response.with_error_code(error.0).with_offset(-1).with_timestamp(-1),
    }
}

/// Offset, timestamp, leader epoch.
type Found = (i64, i64, i32);

fn find(version: i16, asked: &ListOffsetsPartition, partition: &Partition) -> Result<Found, ErrorCode> {
    check_leader_epoch(asked.current_leader_epoch)?;
    let by_time = |found: Option<std::io::Result<Option<TimestampOffset>>>| match found.unwrap_or(Ok(None)) {
        Ok(Some(at)) => Ok((at.offset, at.timestamp, LEADER_EPOCH)),
        Ok(None) => Ok((-1, -1, -1)),
        Err(e) => {
            tracing::error!("cannot look an offset up by its time: {e}");
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
    };
    match asked.timestamp {
        LATEST => Ok((partition.end_offset(), -1, LEADER_EPOCH)),
        EARLIEST => Ok((partition.start_offset(), -1, LEADER_EPOCH)),
        MAX_TIMESTAMP if version >= 7 => by_time(partition.with(|log| log.max_timestamp())),
        EARLIEST_LOCAL if version >= 8 => Ok((partition.start_offset(), -1, LEADER_EPOCH)),
        LATEST_TIERED if version >= 9 => Ok((-1, -1, -1)),
        EARLIEST_PENDING_UPLOAD if version >= 11 => Ok((-1, -1, -1)),
        at if at >= 0 => by_time(partition.with(|log| log.offset_for_timestamp(at))),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}
