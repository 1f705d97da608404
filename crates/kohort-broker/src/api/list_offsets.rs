//! ListOffsets (2), versions 1 to 10. 2: isolation level. 4: leader epochs. 7: the largest timestamp (KIP-734). 8 and 9: local and
//! tiered offsets: there is no tier, so -4 is the log start offset and -5 is not there. 10: a timeout, not needed here.

use std::collections::BTreeSet;

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kohort_protocol::messages::list_offsets_response::{
    ListOffsetsPartitionResponse, ListOffsetsTopicResponse,
};
use kohort_protocol::messages::{ListOffsetsRequest, ListOffsetsResponse};

use super::{Call, Outcome};
use crate::connection::HangUp;
use crate::log::TimestampOffset;
use crate::partition::{LEADER_EPOCH, Partition, check_leader_epoch};

const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: ListOffsetsRequest = call.request()?;
    let version = call.version();
    let (mut seen, mut twice) = (BTreeSet::new(), BTreeSet::new());
    for topic in &request.topics {
        for partition in &topic.partitions {
            let place = (topic.name.as_str(), partition.partition_index);
            if !seen.insert(place) {
                twice.insert(place);
            }
        }
    }
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let known = call.shared.catalog.topic(&topic.name);
            let partitions = topic.partitions.iter().map(|asked| {
                let outcome = if twice.contains(&(topic.name.as_str(), asked.partition_index)) {
                    Err(ErrorCode::INVALID_REQUEST)
                } else {
                    known
                        .as_ref()
                        .and_then(|t| t.partition(asked.partition_index))
                        .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
                        .and_then(|partition| find(version, asked, partition))
                };
                let response =
                    ListOffsetsPartitionResponse::default().with_partition_index(asked.partition_index);
                match outcome {
                    Ok((offset, timestamp, epoch)) => response
                        .with_offset(offset)
                        .with_timestamp(timestamp)
                        .with_leader_epoch(if version >= 4 { epoch } else { -1 }),
                    Err(error) => response.with_error_code(error.0).with_offset(-1).with_timestamp(-1),
                }
            });
            ListOffsetsTopicResponse::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        })
        .collect();
    call.answer(&ListOffsetsResponse::default().with_topics(topics))
}

/// Offset, timestamp, leader epoch.
fn find(
    version: i16,
    asked: &ListOffsetsPartition,
    partition: &Partition,
) -> Result<(i64, i64, i32), ErrorCode> {
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
        at if at >= 0 => by_time(partition.with(|log| log.offset_for_timestamp(at))),
        _ => Err(ErrorCode::UNSUPPORTED_VERSION),
    }
}
