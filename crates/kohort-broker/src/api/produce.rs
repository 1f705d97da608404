//! Produce (0), versions 3 to 13; 0 to 2 are advertised and refused.
//!
//! 3: transactional id. 8: the record that is at fault (KIP-467). 9: flexible. 13: topic ids (KIP-516).
//! Not supported: transactions: a request with a transactional batch is refused as by a Kafka that does not let this client use its
//! transactional id, and nothing of it is written.
//!
//! The batches stay as they came from the socket to the disk: an append is one write under the partition's lock, in the
//! connection's own task.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kohort_protocol::messages::produce_request::TopicProduceData;
use kohort_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kohort_protocol::messages::{ProduceRequest, ProduceResponse, TopicName};
use kohort_protocol::records::{BatchError, Batches, Codec};
use kohort_protocol::{ErrorCode, Uuid};

use super::create_topics::chain;
use super::recompress::recompress;
use super::{Call, NO_TRANSACTIONS, Outcome, text};
use crate::broker::{Shared, now_ms};
use crate::catalog::Topic;
use crate::connection::HangUp;
use crate::log::{AppendError, AppendInfo, AppendOptions, InvalidBatch, Origin};
use crate::partition::LEADER_EPOCH;

/// The first version whose clients know zstd (KIP-110).
const ZSTD_SINCE: i16 = 7;

/// Why a partition's records are refused, and which of them are at fault.
struct Refusal {
    error: ErrorCode,
    why: Option<String>,
    records: Vec<BatchIndexAndErrorMessage>,
    /// Told where the log has looked at the records, else -1.
    log_start: i64,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self { error, why: None, records: Vec::new(), log_start: -1 }
    }
}

impl Refusal {
    fn new(error: ErrorCode, why: &str) -> Self {
        Self { why: Some(why.to_owned()), ..error.into() }
    }
}

/// What holds for all partitions of a request.
#[derive(Clone, Copy)]
struct Terms {
    version: i16,
    acks: i16,
    /// A batch of it is transactional.
    transactional: bool,
}

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    if call.version() < 3 {
        let (key, version) = (call.header.api_key, call.version());
        return Err(kohort_protocol::frame::RequestError::Unsupported { key, version }.into());
    }
    let mut request: ProduceRequest = call.request()?;
    let terms = Terms {
        version: call.version(),
        acks: request.acks,
        transactional: has_transactional_batch(&request.topic_data),
    };
    let mut failed = false;
    let mut responses = Vec::with_capacity(request.topic_data.len());
    // The records are handed on as the only handle to their bytes where they can be.
    for topic in each_once(std::mem::take(&mut request.topic_data)) {
        let (response, bad) = produce(call.shared, terms, topic);
        failed |= bad;
        responses.push(response);
    }
    match (terms.acks, failed) {
        (0, true) => Err(HangUp::UnacknowledgedProduce),
        (0, false) => Ok(Outcome::Silent),
        _ => call.answer(&ProduceResponse::default().with_responses(responses)),
    }
}

/// Whether any partition's first batch is transactional: Kafka asks that before it looks at any of them.
fn has_transactional_batch(topics: &[TopicProduceData]) -> bool {
    let mut records = topics.iter().flat_map(|t| &t.partition_data).filter_map(|p| p.records.as_deref());
    records.any(|r| matches!(Batches::new(r).next(), Some(Ok(b)) if b.header().attributes.is_transactional()))
}

/// Each partition once, as Kafka knows them: what is said last counts. Topics without partitions are none.
fn each_once(topics: Vec<TopicProduceData>) -> Vec<TopicProduceData> {
    let simple = match topics.as_slice() {
        [one] if one.partition_data.len() == 1 => true,
        _ => {
            let mut seen = BTreeSet::new();
            let mut partitions = topics
                .iter()
                .flat_map(|t| t.partition_data.iter().map(move |p| (&t.name, t.topic_id, p.index)));
            topics.iter().all(|t| !t.partition_data.is_empty()) && partitions.all(|p| seen.insert(p))
        }
    };
    if simple {
        return topics;
    }
    let mut merged: Vec<TopicProduceData> = Vec::new();
    let mut places: BTreeMap<(TopicName, Uuid), (usize, BTreeMap<i32, usize>)> = BTreeMap::new();
    for mut topic in topics.into_iter().filter(|t| !t.partition_data.is_empty()) {
        let partitions = std::mem::take(&mut topic.partition_data);
        let (place, indexes) = places.entry((topic.name.clone(), topic.topic_id)).or_insert_with(|| {
            merged.push(topic);
            (merged.len() - 1, BTreeMap::new())
        });
        let known = &mut merged[*place].partition_data;
        for partition in partitions {
            match indexes.get(&partition.index) {
                Some(i) => known[*i] = partition,
                None => {
                    indexes.insert(partition.index, known.len());
                    known.push(partition);
                }
            }
        }
    }
    merged
}

fn produce(shared: &Shared, terms: Terms, data: TopicProduceData) -> (TopicProduceResponse, bool) {
    let (topic, missing) = if terms.version >= 13 {
        (shared.catalog.topic_by_id(data.topic_id), ErrorCode::UNKNOWN_TOPIC_ID)
    } else {
        (shared.catalog.topic(&data.name), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
    };
    let mut failed = false;
    let partitions = data
        .partition_data
        .into_iter()
        .map(|p| {
            let outcome = match &topic {
                _ if terms.transactional => {
                    Err(Refusal::new(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, NO_TRANSACTIONS))
                }
                None => Err(missing.into()),
                Some(topic) => append(shared, terms, topic, p.index, p.records),
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
    terms: Terms,
    topic: &Topic,
    index: i32,
    records: Option<Bytes>,
) -> Result<AppendInfo, Refusal> {
    let partition = topic.partition(index).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
    let mut records = records.unwrap_or_default();
    records.truncate(check(terms, &records)?);
    if !matches!(terms.acks, -1..=1) {
        return Err(ErrorCode::INVALID_REQUIRED_ACKS.into());
    }
    if topic.is_internal() {
        let why = "an internal topic is not written by clients";
        return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, why));
    }
    let records = recompress(shared, topic, records);
    let options = AppendOptions { origin: Origin::Client, leader_epoch: LEADER_EPOCH };
    let appended = partition.append(records, now_ms(), &options);
    if appended.is_ok() && partition.note_refusing(false) {
        tracing::info!("`{}-{index}` is written again", topic.name);
    }
    appended.map_err(|e| {
        let error = ErrorCode(e.code());
        if error == ErrorCode::KAFKA_STORAGE_ERROR && partition.note_refusing(true) {
            tracing::error!(
                "cannot append to `{}-{index}`, refusing records until it works: {}",
                topic.name,
                chain(&e)
            );
        }
        let (why, records) = match &e {
            AppendError::Invalid(InvalidBatch::NoKey { indexes }) => {
                let why = format!(
                    "Compacted topic cannot accept message without key in topic partition {}-{index}",
                    topic.name
                );
                (chain(&e), at_fault(indexes, &why))
            }
            AppendError::Invalid(InvalidBatch::Timestamp { indexes, .. }) => {
                let why = "One or more records have been rejected due to invalid timestamp".to_owned();
                (why, at_fault(indexes, &e.to_string()))
            }
            _ => (chain(&e), Vec::new()),
        };
        // Kafka does not look into what is damaged or too large, and so does not know where the log begins.
        let looked = match &e {
            AppendError::Batch(batch) => matches!(batch, BatchError::Counts { .. }),
            AppendError::Invalid(why) => !matches!(why, InvalidBatch::Codec(_)),
            AppendError::Sequence(_) => true,
            _ => false,
        };
        let log_start = if looked { partition.start_offset() } else { -1 };
        Refusal { error, why: Some(why), records, log_start }
    })
}

/// What Kafka's `ProduceRequest.validateRecords` refuses before the log is asked. Returns the length of the batch: bytes
/// behind it that are no whole batch are passed over, as Kafka does.
fn check(terms: Terms, records: &[u8]) -> Result<usize, Refusal> {
    let mut batches = Batches::new(records);
    let not_one = || {
        let why = "Produce requests must have exactly one record batch per partition";
        Refusal::new(ErrorCode::INVALID_RECORD, why)
    };
    let size = match batches.next() {
        None | Some(Err(BatchError::Torn { .. })) => return Err(not_one()),
        // A damaged one is the log's to judge.
        Some(Err(_)) => return Ok(records.len()),
        Some(Ok(batch)) => {
            let attributes = batch.header().attributes;
            if terms.version < ZSTD_SINCE && attributes.codec().is_ok_and(|c| c == Codec::Zstd) {
                return Err(ErrorCode::UNSUPPORTED_COMPRESSION_TYPE.into());
            }
            batch.bytes().len()
        }
    };
    match batches.next() {
        None | Some(Err(BatchError::Torn { .. })) => Ok(size),
        Some(Ok(_)) => Err(not_one()),
        Some(Err(_)) => Err(ErrorCode::CORRUPT_MESSAGE.into()),
    }
}

fn answer(index: i32, outcome: Result<AppendInfo, Refusal>) -> PartitionProduceResponse {
    let response = PartitionProduceResponse::default().with_index(index);
    match outcome {
        Ok(info) => response
            .with_base_offset(info.base_offset)
            .with_log_append_time_ms(info.log_append_time_ms.unwrap_or(-1))
            .with_log_start_offset(info.log_start_offset),
        Err(Refusal { error, why, records, log_start }) => response
            .with_record_errors(records)
            .with_error_code(error.0)
            .with_base_offset(-1)
            .with_log_append_time_ms(-1)
            .with_log_start_offset(log_start)
            .with_error_message(why.map(text)),
    }
}

/// The records of a batch that are at fault, and why.
fn at_fault(indexes: &[usize], why: &str) -> Vec<BatchIndexAndErrorMessage> {
    let record = |index: &usize| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(i32::try_from(*index).unwrap_or(i32::MAX))
            .with_batch_index_error_message(Some(text(why)))
    };
    indexes.iter().map(record).collect()
}
