//! DeleteRecords (21), versions 0 to 2 (KIP-107). Offset -1 is the high watermark; answers with the new low watermark.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::delete_records_response::{
    DeleteRecordsPartitionResult, DeleteRecordsTopicResult,
};
use kohort_protocol::messages::{DeleteRecordsRequest, DeleteRecordsResponse};

use super::{Call, Outcome};
use crate::connection::HangUp;
use crate::log::DeleteRecordsError;
use crate::partition::Partition;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DeleteRecordsRequest = call.request()?;
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let known = call.shared.catalog.topic(&topic.name);
            let partitions = topic.partitions.iter().map(|asked| {
                let outcome = match known.as_ref().and_then(|t| t.partition(asked.partition_index)) {
                    None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
                    Some(_) if known.as_ref().is_some_and(|t| t.is_internal()) => {
                        Err(ErrorCode::INVALID_TOPIC_EXCEPTION)
                    }
                    // Only where age or size may take records away anyway (KAFKA-13313).
                    Some(partition)
                        if partition.with(|log| !log.config().cleanup.delete).unwrap_or_default() =>
                    {
                        Err(ErrorCode::POLICY_VIOLATION)
                    }
                    Some(partition) => delete(partition, asked.offset),
                };
                let (low, error) = match outcome {
                    Ok(low) => (low, ErrorCode::NONE),
                    Err(error) => (-1, error),
                };
                DeleteRecordsPartitionResult::default()
                    .with_partition_index(asked.partition_index)
                    .with_low_watermark(low)
                    .with_error_code(error.0)
            });
            DeleteRecordsTopicResult::default()
                .with_name(topic.name.clone())
                .with_partitions(partitions.collect())
        })
        .collect();
    call.answer(&DeleteRecordsResponse::default().with_topics(topics))
}

fn delete(partition: &Partition, offset: i64) -> Result<i64, ErrorCode> {
    let deleted = partition.with(|log| log.delete_records_before(offset));
    match deleted.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)? {
        Ok(low_watermark) => Ok(low_watermark),
        Err(DeleteRecordsError::OffsetOutOfRange { .. }) => Err(ErrorCode::OFFSET_OUT_OF_RANGE),
        Err(e) => {
            tracing::error!("cannot delete records: {e}");
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
    }
}
