//! Appending: check, number, write once, remember.

use std::io;

use bytes::Bytes;
use kohort_protocol::records::{Batch, BatchError, BatchHeader, BatchMut, Batches};
use thiserror::Error;

use super::Log;
use super::producers::SequenceError;
use super::segment::Active;
use super::validate::{self, InvalidBatch};

/// Why nothing was appended. The log is as it was before.
#[derive(Debug, Error)]
pub enum AppendError {
    /// The bytes are not whole, sound batches: CORRUPT_MESSAGE (2), for an older magic or wrong counts INVALID_RECORD (87).
    #[error("cannot append a damaged batch")]
    Batch(#[from] BatchError),
    /// INVALID_RECORD (87) or INVALID_TIMESTAMP (32).
    #[error("cannot append an invalid batch")]
    Invalid(#[from] InvalidBatch),
    /// MESSAGE_TOO_LARGE (10).
    #[error("batch of {bytes} bytes is larger than `max.message.bytes`, {max}")]
    TooLarge {
        /// Bytes of the batch.
        bytes: usize,
        /// The limit.
        max: usize,
    },
    /// RECORD_LIST_TOO_LARGE (18).
    #[error("{bytes} bytes do not fit a segment of `segment.bytes`, {max}")]
    LargerThanSegment {
        /// Bytes of the append.
        bytes: usize,
        /// The limit.
        max: u64,
    },
    /// OUT_OF_ORDER_SEQUENCE_NUMBER (45) or INVALID_PRODUCER_EPOCH (47).
    #[error("cannot append a batch that is not the producer's next")]
    Sequence(#[from] SequenceError),
    /// KAFKA_STORAGE_ERROR (56): the disk refused; a full one is the usual reason.
    #[error("cannot write the log; is the disk full")]
    Io(#[from] io::Error),
    /// KAFKA_STORAGE_ERROR (56): an earlier failure could not be undone. Opening the log again mends it.
    #[error("the log failed earlier and takes nothing until it is opened again")]
    Broken,
}

impl AppendError {
    /// Kafka's error code for it.
    #[must_use]
    pub const fn code(&self) -> i16 {
        match self {
            Self::Batch(BatchError::Magic(0 | 1) | BatchError::Counts { .. } | BatchError::Torn { .. }) => 87,
            Self::Batch(_) => 2,
            Self::Invalid(InvalidBatch::Timestamp { .. }) => 32,
            // Kafka fails inside on these.
            Self::Invalid(InvalidBatch::Codec(_) | InvalidBatch::Compressed) => -1,
            Self::Invalid(_) => 87,
            Self::TooLarge { .. } => 10,
            Self::LargerThanSegment { .. } => 18,
            Self::Sequence(SequenceError::OutOfOrder { .. }) => 45,
            Self::Sequence(SequenceError::Fenced { .. }) => 47,
            Self::Io(_) | Self::Broken => 56,
        }
    }
}

/// Who appends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Produce request: one batch, checked in every respect.
    Client,
    /// The broker itself (group state and offsets): any number of batches, trusted but for their checksums.
    Coordinator,
}

/// What an append needs to know beside the batches.
#[derive(Clone, Copy, Debug)]
pub struct AppendOptions {
    /// Who appends.
    pub origin: Origin,
    /// Written into the batches.
    pub leader_epoch: i32,
}

/// What was appended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AppendInfo {
    /// Offset of the first record.
    pub base_offset: i64,
    /// Offset of the last record.
    pub last_offset: i64,
    /// The time that all records got, with log-append time.
    pub log_append_time_ms: Option<i64>,
    /// As Produce answers it.
    pub log_start_offset: i64,
    /// An idempotent producer's repeat: nothing was written, the offsets are those of the first time.
    pub duplicate: bool,
}

impl Log {
    /// Appends whole batches. `now_ms` is the broker's time in milliseconds since the epoch.
    ///
    /// If `batches` is the only handle to its bytes they are completed in place, else copied; either way they stay in
    /// memory a while for readers at the tail. One write; durable as `flush.messages` and `flush.ms` say (by default: as
    /// soon as the system writes its cache out, so the end of the process loses nothing).
    pub fn append(
        &mut self,
        batches: Bytes,
        now_ms: i64,
        options: &AppendOptions,
    ) -> Result<AppendInfo, AppendError> {
        if self.broken {
            return Err(AppendError::Broken);
        }
        if let Some(duplicate) = self.check(&batches, now_ms, options.origin)? {
            return Ok(duplicate);
        }
        let max = self.config.segment_bytes;
        if batches.len() as u64 > max {
            return Err(AppendError::LargerThanSegment { bytes: batches.len(), max });
        }
        let mut own = self.recent.own(batches);
        let base_offset = self.end_offset;
        let (next_offset, max_timestamp) = self.number(&mut own, now_ms, options.leader_epoch)?;
        if self.must_roll(own.len() as u64, next_offset, max_timestamp, now_ms) {
            self.roll(now_ms)?;
        }
        self.write(&own)?;
        self.remember(&own, now_ms);
        self.end_offset = next_offset;
        self.epochs.note(options.leader_epoch, base_offset);
        self.recent.push(base_offset, next_offset, own.freeze(), now_ms);
        self.unflushed_records += (next_offset - base_offset) as u64;
        if self.config.flush_messages.is_some_and(|max| self.unflushed_records >= max) {
            self.flush_now(now_ms)?;
        }
        if let Some(hook) = &self.hook {
            hook(self.end_offset);
        }
        Ok(AppendInfo {
            base_offset,
            last_offset: next_offset - 1,
            log_append_time_ms: self.config.log_append_time.then_some(now_ms),
            log_start_offset: self.start_offset,
            duplicate: false,
        })
    }

    /// Everything that may be refused, before anything changes.
    fn check(
        &mut self,
        batches: &[u8],
        now_ms: i64,
        origin: Origin,
    ) -> Result<Option<AppendInfo>, AppendError> {
        let mut count = 0;
        for batch in Batches::new(batches) {
            let batch = batch?;
            count += 1;
            if origin == Origin::Client {
                let (bytes, max) = (batch.bytes().len(), self.config.max_message_bytes);
                if count > 1 {
                    return Err(InvalidBatch::NotOne.into());
                }
                if bytes > max {
                    return Err(AppendError::TooLarge { bytes, max });
                }
            }
            batch.check_crc()?;
            if origin == Origin::Client {
                let decompressor = self.decompressor.get_or_insert_default();
                validate::client_batch(&batch, &self.config, now_ms, decompressor)?;
                if let Some(duplicate) = self.producers.check(batch.header())? {
                    return Ok(Some(AppendInfo {
                        base_offset: duplicate.base_offset,
                        last_offset: duplicate.last_offset,
                        // The time of the first time, whosever it was, as in Kafka.
                        log_append_time_ms: Some(duplicate.timestamp),
                        log_start_offset: self.start_offset,
                        duplicate: true,
                    }));
                }
            }
        }
        if count == 0 { Err(InvalidBatch::NotOne.into()) } else { Ok(None) }
    }

    /// Gives the batches their offsets, epoch and time. Returns the offset after them and their largest timestamp.
    fn number(&self, batches: &mut [u8], now_ms: i64, epoch: i32) -> Result<(i64, i64), BatchError> {
        let (mut at, mut next, mut newest) = (0, self.end_offset, i64::MIN);
        while at < batches.len() {
            let mut batch = BatchMut::parse(&mut batches[at..])?;
            batch.set_base_offset(next);
            batch.set_leader_epoch(epoch);
            if self.config.log_append_time {
                batch.set_log_append_time(now_ms);
            }
            let header = BatchHeader::parse(&batches[at..])?;
            (at, next) = (at + header.size(), header.next_offset());
            newest = newest.max(header.max_timestamp);
        }
        Ok((next, newest))
    }

    /// Writes, and takes back what was written of it if it fails.
    fn write(&mut self, bytes: &[u8]) -> Result<(), AppendError> {
        let Err(error) = self.active.out.write(bytes) else { return Ok(()) };
        // Part of it may be in the file. The next append must begin where this one did.
        if self.active.out.file.set_len(self.active.size).is_err() {
            self.broken = true;
        }
        Err(error.into())
    }

    fn remember(&mut self, batches: &[u8], now_ms: i64) {
        for header in Batches::new(batches).map_while(Result::ok).map(|batch: Batch<'_>| *batch.header()) {
            self.active.note(&header, self.config.index_interval_bytes);
            self.producers.appended(&header, now_ms);
        }
    }

    /// Kafka's `LogSegment.shouldRoll`.
    fn must_roll(&self, bytes: u64, next_offset: i64, max_timestamp: i64, now_ms: i64) -> bool {
        let active = &self.active;
        if active.size == 0 {
            return false;
        }
        let age = match active.first_timestamp {
            Some(first) if first >= 0 && max_timestamp >= 0 => max_timestamp.saturating_sub(first),
            _ => now_ms.saturating_sub(active.created_ms),
        };
        // Only closed segments are compacted, so one must not stay open longer than compaction may wait.
        let lag_ms = self.config.max_compaction_lag_ms.filter(|_| self.config.cleanup.compact);
        let segment_ms = self.config.segment_ms.min(lag_ms.unwrap_or(i64::MAX));
        active.size + bytes > self.config.segment_bytes.min(i32::MAX as u64)
            || age > segment_ms
            || active.index.bytes() >= self.config.segment_index_bytes
            || next_offset - active.base_offset > i64::from(i32::MAX)
    }

    /// Closes the active segment and begins the next. If that fails, nothing happened.
    pub(super) fn roll(&mut self, now_ms: i64) -> io::Result<()> {
        let base = self.end_offset;
        self.active.write_indexes(&self.dir)?;
        self.write_states(base)?;
        let next = Active::open(&self.dir, base, now_ms)?;
        #[cfg(test)]
        let next = {
            let mut next = next;
            next.out.room = self.active.out.room;
            next
        };
        let full = std::mem::replace(&mut self.active, next);
        let interval = self.config.index_interval_bytes;
        self.sealed.push_back(std::sync::Arc::new(full.seal(&self.dir, base, interval, now_ms)));
        self.remove_old_snapshots()
    }
}
