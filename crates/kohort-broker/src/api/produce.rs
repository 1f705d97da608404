//! Produce (0), versions 3 to 13; 0 to 2 are advertised and refused.
//!
//! 3: transactional id. 8: the record that is at fault (KIP-467). 9: flexible. 13: topic ids (KIP-516).
//! Not supported: transactions: a transactional id, or a transactional batch, gets INVALID_TXN_STATE.
//!
//! The batches stay as they came from the socket to the disk: an append is one write under the partition's lock, in the
//! connection's own task.

use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::produce_request::TopicProduceData;
use kohort_protocol::messages::produce_response::{PartitionProduceResponse, TopicProduceResponse};
use kohort_protocol::messages::{ProduceRequest, ProduceResponse};
use kohort_protocol::records::{Batches, Codec};

use super::{Call, Outcome, text};
use crate::broker::Shared;
use crate::catalog::Topic;
use crate::connection::HangUp;
use crate::log::{AppendInfo, AppendOptions, Origin};
use crate::partition::LEADER_EPOCH;

/// The first version whose clients know zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;

type Refusal = (ErrorCode, Option<String>);

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    if call.version() < 3 {
        let (key, version) = (call.header.api_key, call.version());
        return Err(kohort_protocol::frame::RequestError::Unsupported { key, version }.into());
    }
    let mut request: ProduceRequest = call.request()?;
    let acks = request.acks;
    let refused: Option<Refusal> = if request.transactional_id.is_some() {
        Some((ErrorCode::INVALID_TXN_STATE, Some("transactions are not supported".to_owned())))
    } else if !matches!(acks, -1..=1) {
        Some((ErrorCode::INVALID_REQUIRED_ACKS, None))
    } else {
        None
    };
    let mut failed = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    // The records are handed on as the only handle to their bytes where they can be.
    let version = call.version();
    for topic in std::mem::take(&mut request.topic_data) {
        let (response, bad) = produce(call.shared, version, topic, refused.as_ref());
        failed |= bad;
        responses.push(response);
    }
    match (acks, failed) {
        (0, true) => Err(HangUp::UnacknowledgedProduce),
        (0, false) => Ok(Outcome::Silent),
        _ => call.answer(&ProduceResponse::default().with_responses(responses)),
    }
}

fn produce(
    shared: &Shared,
    version: i16,
    data: TopicProduceData,
    refused: Option<&Refusal>,
) -> (TopicProduceResponse, bool) {
    let (topic, missing) = if version >= 13 {
        (shared.catalog.topic_by_id(data.topic_id), ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        (shared.catalog.topic(&data.name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    };
    let mut failed = false;
    let partitions = data
        .partition_data
        .into_iter()
        .map(|p| {
            let outcome = match (&topic, refused) {
                (_, Some(refusal)) => Err(refusal.clone()),
                (None, _) => Err((missing, None)),
                (Some(topic), None) => append(shared, version, topic, p.index, p.records),
            };
            failed |= outcome.is_err();
            answer(p.index, outcome)
        })
        .collect();
    let response = TopicProduceResponse::default().with_name(data.name).with_topic_id(data.topic_id);
    (response.with_partition_responses(partitions), failed)
}

fn append(
    shared: &Shared,
    version: i16,
    topic: &Topic,
    index: i32,
    records: Option<Bytes>,
) -> Result<AppendInfo, Refusal> {
    let partition = topic.partition(index).ok_or((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None))?;
    if topic.is_internal() {
        return Err((
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            Some("an internal topic is not written by clients".to_owned()),
        ));
    }
    let records = records.unwrap_or_default();
    check(version, &records)?;
    let options = AppendOptions { origin: Origin::Client, leader_epoch: LEADER_EPOCH };
    partition.append(records, shared.now_ms(), &options).map_err(|e| {
        let code = ErrorCode(e.code());
        if code == ErrorCode::KAFKA_STORAGE_ERROR {
            tracing::error!("cannot append to `{}-{index}`: {e}", topic.name);
        }
        (code, Some(e.to_string()))
    })
}

/// What Kafka's `ProduceRequest.validateRecords` refuses before the log is asked.
fn check(version: i16, records: &[u8]) -> Result<(), Refusal> {
    let mut batches = Batches::new(records);
    let invalid = |why: &str| (ErrorCode::INVALID_RECORD, Some(why.to_owned()));
    match batches.next() {
        None => {
            return Err(invalid(
                "Produce requests must have exactly one record batch per partition, this one has none",
            ));
        }
        // A damaged one is the log's to judge.
        Some(Err(_)) => return Ok(()),
        Some(Ok(batch)) => {
            let attributes = batch.header().attributes;
            if version < ZSTD_SINCE && attributes.codec().is_ok_and(|c| c == Codec::Zstd) {
                return Err((ErrorCode::UNSUPPORTED_COMPRESSION_TYPE, None));
            }
            if attributes.is_transactional() {
                return Err((
                    ErrorCode::INVALID_TXN_STATE,
                    Some("transactions are not supported".to_owned()),
                ));
            }
        }
    }
    match batches.next() {
        None => Ok(()),
        Some(_) => Err(invalid("Produce requests must have exactly one record batch per partition")),
    }
}

fn answer(index: i32, outcome: Result<AppendInfo, Refusal>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match outcome {
        Ok(info) => response
            .with_base_offset(info.base_offset)
            .with_log_append_time_ms(info.log_append_time_ms.unwrap_or(-1))
            .with_log_start_offset(info.log_start_offset),
        Err((error, why)) => response
            .with_error_code(error.0)
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(-1)
            .with_error_message(why.map(text)),
    }
}
