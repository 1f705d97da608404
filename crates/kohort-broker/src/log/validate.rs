//! What a client may append: plain checks of a batch, before anything is changed.
//!
//! Source: Kafka's `LogValidator` and `UnifiedLog.analyzeAndValidateRecords`.

use kohort_protocol::records::{Batch, Codec, Decompressor, RecordError, Records};
use thiserror::Error;

use super::config::LogConfig;

/// Why a batch is not one that a client may append.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum InvalidBatch {
    /// INVALID_RECORD (87): Produce carries exactly one batch a partition.
    #[error("there must be exactly one batch")]
    NotOne,
    /// INVALID_RECORD (87): only the broker knows offsets.
    #[error("base offset of a batch to append must be 0, it is `{0}`")]
    BaseOffset(i64),
    /// INVALID_RECORD (87): count and offsets must agree, and there must be a record.
    #[error("batch states `{count}` records and `{last_offset_delta}` as the offset delta of the last")]
    Count {
        /// The record count of the header.
        count: i32,
        /// Its last offset delta.
        last_offset_delta: i32,
    },
    /// INVALID_RECORD (87): control batches are the broker's.
    #[error("clients may not append control batches")]
    Control,
    /// INVALID_RECORD (87): an idempotent producer numbers its batches.
    #[error("batch of producer `{producer_id}` has sequence `{sequence}`")]
    Sequence {
        /// Who.
        producer_id: i64,
        /// Its negative sequence.
        sequence: i32,
    },
    /// UNKNOWN_SERVER_ERROR (-1): a codec id that does not exist.
    #[error("unknown compression codec `{0}`")]
    Codec(i16),
    /// INVALID_RECORD (87): the records are not records.
    #[error("records are malformed: {0}")]
    Records(RecordError),
    /// UNKNOWN_SERVER_ERROR (-1): a compressed body that does not open.
    #[error("records do not decompress")]
    Compressed,
    /// INVALID_RECORD (87): a compacted topic keeps the latest record of each key.
    #[error("{} records have no key, and the topic is compacted", indexes.len())]
    NoKey {
        /// Which records of the batch.
        indexes: Vec<usize>,
    },
    /// INVALID_TIMESTAMP (32).
    #[error(
        "timestamp `{timestamp}` is too far from the broker's time `{now_ms}`: the topic allows `{max_ms}` ms"
    )]
    Timestamp {
        /// Which records of the batch.
        indexes: Vec<usize>,
        /// The batch's.
        timestamp: i64,
        /// The broker's.
        now_ms: i64,
        /// `message.timestamp.before.max.ms` or `message.timestamp.after.max.ms`.
        max_ms: i64,
    },
}

/// Checks a client's batch. The framing of the records is walked (a few nanoseconds each, and the bytes are warm from the
/// checksum); compressed ones are opened for it: a body that does not open would stop every reader for ever.
pub(super) fn client_batch(
    batch: &Batch<'_>,
    config: &LogConfig,
    now_ms: i64,
    decompressor: &mut Decompressor,
) -> Result<(), InvalidBatch> {
    let header = batch.header();
    let (count, last_offset_delta) = (header.record_count, header.last_offset_delta);
    if header.base_offset != 0 {
        return Err(InvalidBatch::BaseOffset(header.base_offset));
    }
    if count <= 0 || last_offset_delta != count - 1 {
        return Err(InvalidBatch::Count { count, last_offset_delta });
    }
    if header.attributes.is_control() {
        return Err(InvalidBatch::Control);
    }
    if header.has_producer_id() && header.base_sequence < 0 {
        let (producer_id, sequence) = (header.producer_id, header.base_sequence);
        return Err(InvalidBatch::Sequence { producer_id, sequence });
    }
    let compact = config.cleanup.compact;
    match header.attributes.codec().map_err(InvalidBatch::Codec)? {
        Codec::None => records(Records::new(header, batch.payload()), compact)?,
        _ => records(batch.records(decompressor).map_err(|_| InvalidBatch::Compressed)?, compact)?,
    }
    if config.log_append_time { Ok(()) } else { timestamps(batch, config, now_ms, decompressor) }
}

fn records(records: Records<'_>, keys_needed: bool) -> Result<(), InvalidBatch> {
    let mut indexes = Vec::new();
    for (index, record) in records.enumerate() {
        let record = record.map_err(InvalidBatch::Records)?;
        if keys_needed && record.key.is_none() {
            indexes.push(index);
        }
    }
    if indexes.is_empty() { Ok(()) } else { Err(InvalidBatch::NoKey { indexes }) }
}

fn timestamps(
    batch: &Batch<'_>,
    config: &LogConfig,
    now_ms: i64,
    decompressor: &mut Decompressor,
) -> Result<(), InvalidBatch> {
    let header = batch.header();
    let first = header.base_timestamp.min(header.max_timestamp);
    // A record without a time (-1) passes, as in Kafka.
    let early =
        |t: i64| config.timestamp_before_max_ms.is_some_and(|max| t >= 0 && now_ms.saturating_sub(t) > max);
    let late =
        |t: i64| config.timestamp_after_max_ms.is_some_and(|max| t >= 0 && t.saturating_sub(now_ms) > max);
    let (timestamp, limit) = if early(first) {
        (first, config.timestamp_before_max_ms)
    } else if late(header.max_timestamp) {
        (header.max_timestamp, config.timestamp_after_max_ms)
    } else {
        return Ok(());
    };
    // Only now is it worth a look which records are at fault.
    let indexes = batch.records(decompressor).map_or_else(
        |_| Vec::new(),
        |records| {
            let timed = records.map_while(Result::ok).enumerate();
            timed.filter(|(_, r)| early(r.timestamp) || late(r.timestamp)).map(|(i, _)| i).collect()
        },
    );
    Err(InvalidBatch::Timestamp { indexes, timestamp, now_ms, max_ms: limit.unwrap_or_default() })
}
