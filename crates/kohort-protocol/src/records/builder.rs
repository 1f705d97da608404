//! Making a batch: records are written once, into the buffer that leaves.

use bytes::{Bytes, BytesMut};
use thiserror::Error;

use super::compress::{CompressError, Compressor};
use super::header::{Attributes, BatchHeader, Codec, HEADER_BYTES, LENGTH_OVERHEAD, seal};
use super::{NO_PRODUCER_EPOCH, NO_PRODUCER_ID, NO_SEQUENCE, varint};

/// The buffer that a builder starts with: Kafka's default `batch.size`.
const CAPACITY_BYTES: usize = 16 * 1024;

/// A record header: key and value; the value may be null.
pub type Header<'a> = (&'a str, Option<&'a [u8]>);

/// Why a record cannot be added. The batch is as it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum AppendError {
    /// Sizes in a batch are 32 bits.
    #[error("record of {bytes} bytes does not fit a batch: its sizes have 32 bits")]
    TooLarge {
        /// Bytes of the record.
        bytes: usize,
    },
    /// Offsets in a batch must rise.
    #[error("offset delta `{delta}` does not follow `{last}`")]
    Offset {
        /// What was asked for.
        delta: i32,
        /// The last one in the batch.
        last: i32,
    },
}

/// Why a batch cannot be closed. It stays open.
#[derive(Debug, Error)]
pub enum FinishError {
    /// A batch without records is not something a client may write.
    #[error("batch has no records")]
    Empty,
    /// The codec failed.
    #[error("cannot compress the records")]
    Compress(#[from] CompressError),
}

/// What the header of a batch says beside what the records say.
#[derive(Clone, Copy, Debug)]
pub struct BatchOptions {
    /// How to compress.
    pub codec: Codec,
    /// The idempotent producer, or [`NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// Its epoch.
    pub producer_epoch: i16,
    /// The sequence number of the first record.
    pub base_sequence: i32,
    /// Whether the batch is part of a transaction.
    pub transactional: bool,
    /// Whether it holds a control record.
    pub control: bool,
    /// Offset of the first record: 0 for a producer, whose broker sets it.
    pub base_offset: i64,
    /// -1 for a producer, whose broker sets it.
    pub leader_epoch: i32,
    /// Relative offset of the last record where it is not the last one here (compaction took it out).
    pub last_offset_delta: Option<i32>,
    /// All records get this time instead of their own, as with `message.timestamp.type=LogAppendTime`.
    pub log_append_time: Option<i64>,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self {
            codec: Codec::None,
            producer_id: NO_PRODUCER_ID,
            producer_epoch: NO_PRODUCER_EPOCH,
            base_sequence: NO_SEQUENCE,
            transactional: false,
            control: false,
            base_offset: 0,
            leader_epoch: -1,
            last_offset_delta: None,
            log_append_time: None,
        }
    }
}

/// Collects records into one batch; used again and again.
///
/// The finished batch is a slice of the builder's own buffer: once it is dropped everywhere, the buffer is used for
/// a later batch. Nothing is allocated per record.
#[derive(Debug)]
pub struct BatchBuilder {
    /// The header's place, then the records; empty between batches.
    buf: BytesMut,
    /// Where a compressed batch is made; the records stay in `buf`, whose room is then used at once for the next.
    packed: BytesMut,
    capacity: usize,
    count: i32,
    last_offset_delta: i32,
    base_timestamp: i64,
    max_timestamp: i64,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty builder with room for a batch of Kafka's default size; it grows as needed.
    #[must_use]
    pub fn new() -> Self {
        Self::with_capacity(CAPACITY_BYTES)
    }

    /// An empty builder that allocates its buffers in steps of at least `bytes`.
    #[must_use]
    pub fn with_capacity(bytes: usize) -> Self {
        Self {
            buf: BytesMut::new(),
            packed: BytesMut::new(),
            capacity: bytes.max(HEADER_BYTES),
            count: 0,
            last_offset_delta: -1,
            base_timestamp: super::NO_TIMESTAMP,
            max_timestamp: super::NO_TIMESTAMP,
        }
    }

    /// How many records are in.
    #[must_use]
    pub const fn count(&self) -> i32 {
        self.count
    }

    /// Whether no record is in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch as it stands, uncompressed, header included.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.buf.len().max(HEADER_BYTES)
    }

    /// Bytes of the batch if this record were added.
    #[must_use]
    pub fn bytes_with(
        &self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> usize {
        let base = if self.count == 0 { timestamp } else { self.base_timestamp };
        self.bytes()
            + record_size(timestamp.wrapping_sub(base), self.last_offset_delta + 1, key, value, headers)
    }

    /// Adds a record at the next offset. `timestamp` is in milliseconds since the epoch. Returns the bytes it took.
    #[inline]
    pub fn append(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<usize, AppendError> {
        let delta = self.last_offset_delta.checked_add(1).ok_or(AppendError::TooLarge { bytes: 0 })?;
        self.append_at(delta, timestamp, key, value, headers)
    }

    /// Adds a record at an offset of its own, relative to the batch's: compaction leaves gaps.
    pub fn append_at(
        &mut self,
        offset_delta: i32,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> Result<usize, AppendError> {
        if offset_delta <= self.last_offset_delta {
            return Err(AppendError::Offset { delta: offset_delta, last: self.last_offset_delta });
        }
        let base_timestamp = if self.count == 0 { timestamp } else { self.base_timestamp };
        let timestamp_delta = timestamp.wrapping_sub(base_timestamp);
        let body = body_size(timestamp_delta, offset_delta, key, value, headers);
        let size = varint::size(body as i64) + body;
        let from = self.bytes();
        if from + size > i32::MAX as usize {
            return Err(AppendError::TooLarge { bytes: size });
        }
        if self.buf.capacity() < from + size {
            // At least a whole batch at once. If every slice of the last buffer is gone, `reserve` takes it up again.
            let more = (from + size).max(self.capacity) - self.buf.len();
            self.buf.reserve(more);
        }
        self.buf.resize(from + size, 0);
        let out = &mut self.buf[from..];
        let mut at = varint::write(body as i64, out, 0);
        out[at] = 0; // Attributes: unused.
        at = varint::write(timestamp_delta, out, at + 1);
        at = varint::write(i64::from(offset_delta), out, at);
        at = put(key, out, at);
        at = put(value, out, at);
        at = varint::write(headers.len() as i64, out, at);
        for (key, value) in headers {
            at = put(Some(key.as_bytes()), out, at);
            at = put(*value, out, at);
        }
        debug_assert_eq!(at, size, "the size was computed from the same fields");
        self.base_timestamp = base_timestamp;
        self.max_timestamp = if self.count == 0 { timestamp } else { self.max_timestamp.max(timestamp) };
        self.last_offset_delta = offset_delta;
        self.count += 1;
        Ok(size)
    }

    /// Closes the batch: compresses, writes header and checksum. The builder is empty again.
    pub fn finish(
        &mut self,
        options: &BatchOptions,
        compressor: &mut Compressor,
    ) -> Result<Bytes, FinishError> {
        if self.count == 0 {
            return Err(FinishError::Empty);
        }
        let mut batch = match options.codec {
            Codec::None => self.buf.split(),
            codec => {
                self.packed.clear();
                self.packed.resize(HEADER_BYTES, 0);
                compressor.compress(codec, &self.buf[HEADER_BYTES..], &mut self.packed)?;
                self.buf.clear();
                self.packed.split()
            }
        };
        let header = self.header(options, batch.len());
        if let Some(place) = batch.first_chunk_mut::<HEADER_BYTES>() {
            header.write(place);
        }
        seal(&mut batch);
        self.clear();
        Ok(batch.freeze())
    }

    /// Forgets the records; keeps the buffer.
    pub fn clear(&mut self) {
        self.buf.clear();
        self.count = 0;
        self.last_offset_delta = -1;
        self.base_timestamp = super::NO_TIMESTAMP;
        self.max_timestamp = super::NO_TIMESTAMP;
    }

    fn header(&self, options: &BatchOptions, size: usize) -> BatchHeader {
        let mut attributes = options.codec.id();
        for (set, bit) in [
            (options.log_append_time.is_some(), Attributes::LOG_APPEND_TIME),
            (options.transactional, Attributes::TRANSACTIONAL),
            (options.control, Attributes::CONTROL),
        ] {
            if set {
                attributes |= bit;
            }
        }
        BatchHeader {
            base_offset: options.base_offset,
            // A compressor may make incompressible bytes longer; two GiB of them do not get here.
            length: i32::try_from(size - LENGTH_OVERHEAD).unwrap_or(i32::MAX),
            leader_epoch: options.leader_epoch,
            crc: 0,
            attributes: Attributes(attributes),
            last_offset_delta: options.last_offset_delta.unwrap_or(self.last_offset_delta),
            base_timestamp: self.base_timestamp,
            max_timestamp: options.log_append_time.unwrap_or(self.max_timestamp),
            producer_id: options.producer_id,
            producer_epoch: options.producer_epoch,
            base_sequence: options.base_sequence,
            record_count: self.count,
        }
    }
}

/// Bytes of a record in a batch, its length field included.
#[must_use]
pub fn record_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) -> usize {
    let body = body_size(timestamp_delta, offset_delta, key, value, headers);
    varint::size(body as i64) + body
}

#[inline]
fn body_size(
    timestamp_delta: i64,
    offset_delta: i32,
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: &[Header<'_>],
) -> usize {
    let mut size = 1 + varint::size(timestamp_delta) + varint::size(i64::from(offset_delta));
    size += slice_size(key) + slice_size(value) + varint::size(headers.len() as i64);
    for (key, value) in headers {
        size += slice_size(Some(key.as_bytes())) + slice_size(*value);
    }
    size
}

#[inline]
fn slice_size(slice: Option<&[u8]>) -> usize {
    slice.map_or(1, |bytes| varint::size(bytes.len() as i64) + bytes.len())
}

/// Writes a length and the bytes, or the length -1 for null.
#[inline]
fn put(slice: Option<&[u8]>, out: &mut [u8], at: usize) -> usize {
    let Some(bytes) = slice else { return varint::write(-1, out, at) };
    let at = varint::write(bytes.len() as i64, out, at);
    out[at..at + bytes.len()].copy_from_slice(bytes);
    at + bytes.len()
}
