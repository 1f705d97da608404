//! The 61 bytes ahead of the records: read, checked, and the few fields that a broker rewrites in place.

use thiserror::Error;

/// The only batch format there is today.
pub const MAGIC: i8 = 2;
/// Bytes of a batch header, base offset and length included.
pub const HEADER_BYTES: usize = 61;
/// Bytes of a batch that its `length` field does not count: the base offset and the length itself.
pub const LENGTH_OVERHEAD: usize = 12;

const AT_LENGTH: usize = 8;
const AT_LEADER_EPOCH: usize = 12;
const AT_MAGIC: usize = 16;
const AT_CRC: usize = 17;
const AT_ATTRIBUTES: usize = 21;
const AT_LAST_OFFSET_DELTA: usize = 23;
const AT_BASE_TIMESTAMP: usize = 27;
const AT_MAX_TIMESTAMP: usize = 35;
const AT_PRODUCER_ID: usize = 43;
const AT_PRODUCER_EPOCH: usize = 51;
const AT_BASE_SEQUENCE: usize = 53;
const AT_RECORD_COUNT: usize = 57;

/// Why bytes are not a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BatchError {
    /// The batch goes on beyond the buffer: the torn tail of a file, or a fetch cut at its size limit.
    #[error("batch is cut: {have} of {need} bytes are here")]
    Torn {
        /// Bytes that are here.
        have: usize,
        /// Bytes that the batch has; [`HEADER_BYTES`] if not even its length is here.
        need: usize,
    },
    /// Another format, or no batch at all.
    #[error("batch has magic `{0}`; only `2` is supported")]
    Magic(i8),
    /// A length that leaves no room for the header.
    #[error("batch length `{0}` is shorter than a batch header")]
    Length(i32),
    /// The checksum does not match the bytes.
    #[error(
        "batch at offset `{base_offset}` is corrupt: its CRC-32C is `{stored:#010x}`, its bytes give `{computed:#010x}`"
    )]
    Crc {
        /// The base offset that the batch states.
        base_offset: i64,
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
    /// Counts that no writer makes: a negative number of records or a negative last offset delta.
    #[error("batch states `{record_count}` records and last offset delta `{last_offset_delta}`")]
    Counts {
        /// The record count of the header.
        record_count: i32,
        /// The last offset delta of the header.
        last_offset_delta: i32,
    },
}

/// How the records of a batch are compressed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Codec {
    /// As they are.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, written in the framing of Java's `SnappyOutputStream`, read with and without it.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// RFC 8878; needs Produce v7 and Fetch v10 (KIP-110).
    Zstd,
}

impl Codec {
    /// All codecs, in the order of their ids.
    pub const ALL: [Self; 5] = [Self::None, Self::Gzip, Self::Snappy, Self::Lz4, Self::Zstd];

    /// The id in a batch's attributes.
    #[must_use]
    pub const fn id(self) -> i16 {
        self as i16
    }

    /// The name as `compression.type` spells it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Gzip => "gzip",
            Self::Snappy => "snappy",
            Self::Lz4 => "lz4",
            Self::Zstd => "zstd",
        }
    }

    /// The codec that `compression.type` calls `name`.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|codec| codec.name() == name)
    }
}

/// The attribute bits of a batch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Attributes(pub i16);

impl Attributes {
    pub(super) const CODEC: i16 = 0b111;
    pub(super) const LOG_APPEND_TIME: i16 = 1 << 3;
    pub(super) const TRANSACTIONAL: i16 = 1 << 4;
    pub(super) const CONTROL: i16 = 1 << 5;
    pub(super) const DELETE_HORIZON: i16 = 1 << 6;

    /// The codec; `Err` has the id of one that does not exist.
    pub const fn codec(self) -> Result<Codec, i16> {
        match self.0 & Self::CODEC {
            0 => Ok(Codec::None),
            1 => Ok(Codec::Gzip),
            2 => Ok(Codec::Snappy),
            3 => Ok(Codec::Lz4),
            4 => Ok(Codec::Zstd),
            id => Err(id),
        }
    }

    /// Whether every record's timestamp is the batch's max timestamp, set by the broker when it appended.
    #[must_use]
    pub const fn is_log_append_time(self) -> bool {
        self.0 & Self::LOG_APPEND_TIME != 0
    }

    /// Whether the batch is part of a transaction.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Self::TRANSACTIONAL != 0
    }

    /// Whether the batch holds a control record (a transaction marker), which consumers skip.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Self::CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon: when compaction may drop the tombstones (KIP-534).
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Self::DELETE_HORIZON != 0
    }
}

/// The fields of a batch header. Field for field Kafka's `DefaultRecordBatch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record (before compaction removed any).
    pub base_offset: i64,
    /// Bytes after this field; the whole batch has [`LENGTH_OVERHEAD`] more.
    pub length: i32,
    /// The leader epoch in which the batch was appended.
    pub leader_epoch: i32,
    /// CRC-32C of everything from the attributes to the end.
    pub crc: u32,
    /// Codec and flags.
    pub attributes: Attributes,
    /// Offset of the last record, relative to the base offset; compaction keeps it.
    pub last_offset_delta: i32,
    /// Timestamp of the first record (milliseconds since the epoch), which the others' deltas count from.
    pub base_timestamp: i64,
    /// The largest timestamp of the batch, or when it was appended.
    pub max_timestamp: i64,
    /// Who produced it, or [`super::NO_PRODUCER_ID`].
    pub producer_id: i64,
    /// The producer's epoch.
    pub producer_epoch: i16,
    /// Sequence number of the first record.
    pub base_sequence: i32,
    /// How many records follow.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads the header at the front of `bytes`. Of the batch behind it nothing needs to be there.
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        let (Some(magic), Some(length)) = (bytes.get(AT_MAGIC), bytes.get(AT_LENGTH..AT_LENGTH + 4)) else {
            return Err(BatchError::Torn { have: bytes.len(), need: HEADER_BYTES });
        };
        let length = i32::from_be_bytes(array(length));
        if *magic as i8 != MAGIC {
            return Err(BatchError::Magic(*magic as i8));
        }
        let size = usize::try_from(length).unwrap_or(0) + LENGTH_OVERHEAD;
        if size < HEADER_BYTES {
            return Err(BatchError::Length(length));
        }
        let Some(bytes) = bytes.first_chunk::<HEADER_BYTES>() else {
            return Err(BatchError::Torn { have: bytes.len(), need: size });
        };
        let header = Self::from_bytes(bytes);
        if header.record_count < 0 || header.last_offset_delta < 0 {
            let (record_count, last_offset_delta) = (header.record_count, header.last_offset_delta);
            return Err(BatchError::Counts { record_count, last_offset_delta });
        }
        Ok(header)
    }

    fn from_bytes(b: &[u8; HEADER_BYTES]) -> Self {
        Self {
            base_offset: i64::from_be_bytes(array(&b[..8])),
            length: i32::from_be_bytes(array(&b[AT_LENGTH..][..4])),
            leader_epoch: i32::from_be_bytes(array(&b[AT_LEADER_EPOCH..][..4])),
            crc: u32::from_be_bytes(array(&b[AT_CRC..][..4])),
            attributes: Attributes(i16::from_be_bytes(array(&b[AT_ATTRIBUTES..][..2]))),
            last_offset_delta: i32::from_be_bytes(array(&b[AT_LAST_OFFSET_DELTA..][..4])),
            base_timestamp: i64::from_be_bytes(array(&b[AT_BASE_TIMESTAMP..][..8])),
            max_timestamp: i64::from_be_bytes(array(&b[AT_MAX_TIMESTAMP..][..8])),
            producer_id: i64::from_be_bytes(array(&b[AT_PRODUCER_ID..][..8])),
            producer_epoch: i16::from_be_bytes(array(&b[AT_PRODUCER_EPOCH..][..2])),
            base_sequence: i32::from_be_bytes(array(&b[AT_BASE_SEQUENCE..][..4])),
            record_count: i32::from_be_bytes(array(&b[AT_RECORD_COUNT..][..4])),
        }
    }

    /// Writes every field as it is, the checksum too.
    pub(super) fn write(&self, b: &mut [u8; HEADER_BYTES]) {
        b[..8].copy_from_slice(&self.base_offset.to_be_bytes());
        b[AT_LENGTH..][..4].copy_from_slice(&self.length.to_be_bytes());
        b[AT_LEADER_EPOCH..][..4].copy_from_slice(&self.leader_epoch.to_be_bytes());
        b[AT_MAGIC] = MAGIC as u8;
        b[AT_CRC..][..4].copy_from_slice(&self.crc.to_be_bytes());
        b[AT_ATTRIBUTES..][..2].copy_from_slice(&self.attributes.0.to_be_bytes());
        b[AT_LAST_OFFSET_DELTA..][..4].copy_from_slice(&self.last_offset_delta.to_be_bytes());
        b[AT_BASE_TIMESTAMP..][..8].copy_from_slice(&self.base_timestamp.to_be_bytes());
        b[AT_MAX_TIMESTAMP..][..8].copy_from_slice(&self.max_timestamp.to_be_bytes());
        b[AT_PRODUCER_ID..][..8].copy_from_slice(&self.producer_id.to_be_bytes());
        b[AT_PRODUCER_EPOCH..][..2].copy_from_slice(&self.producer_epoch.to_be_bytes());
        b[AT_BASE_SEQUENCE..][..4].copy_from_slice(&self.base_sequence.to_be_bytes());
        b[AT_RECORD_COUNT..][..4].copy_from_slice(&self.record_count.to_be_bytes());
    }

    /// Bytes of the whole batch.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.length as usize + LENGTH_OVERHEAD
    }

    /// Offset of the last record.
    #[must_use]
    pub const fn last_offset(&self) -> i64 {
        self.base_offset.saturating_add(self.last_offset_delta as i64)
    }

    /// The offset that follows the batch.
    #[must_use]
    pub const fn next_offset(&self) -> i64 {
        self.last_offset().saturating_add(1)
    }

    /// Whether an idempotent producer made the batch.
    #[must_use]
    pub const fn has_producer_id(&self) -> bool {
        self.producer_id > super::NO_PRODUCER_ID
    }

    /// Sequence number of the last record; [`super::NO_SEQUENCE`] without a producer id.
    #[must_use]
    pub const fn last_sequence(&self) -> i32 {
        if self.base_sequence < 0 {
            super::NO_SEQUENCE
        } else {
            super::next_sequence(self.base_sequence, self.last_offset_delta)
        }
    }
}

/// One whole batch: its header is sound and all its bytes are here. The checksum is not looked at unless asked.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    header: BatchHeader,
    bytes: &'a [u8],
}

impl<'a> Batch<'a> {
    /// The batch at the front of `bytes`; what follows it is left alone.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BatchError> {
        let header = BatchHeader::parse(bytes)?;
        match bytes.get(..header.size()) {
            Some(bytes) => Ok(Self { header, bytes }),
            None => Err(BatchError::Torn { have: bytes.len(), need: header.size() }),
        }
    }

    /// The header.
    #[must_use]
    pub const fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch as it is on the wire and on disk.
    #[must_use]
    pub const fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// What follows the header: the records, compressed or not.
    #[must_use]
    pub fn payload(&self) -> &'a [u8] {
        &self.bytes[HEADER_BYTES..]
    }

    /// Compares the checksum of the header with that of the bytes.
    pub fn check_crc(&self) -> Result<(), BatchError> {
        let computed = crc32c::crc32c(&self.bytes[AT_ATTRIBUTES..]);
        let stored = self.header.crc;
        if computed == stored {
            return Ok(());
        }
        Err(BatchError::Crc { base_offset: self.header.base_offset, stored, computed })
    }
}

/// The batches of a buffer, front to back.
///
/// Ends at the first error, which is its last item; [`Batches::offset`] then tells how many bytes are whole batches. A
/// fetch may be cut anywhere: its consumer takes [`BatchError::Torn`] at the end as the end.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    bytes: &'a [u8],
    at: usize,
    failed: bool,
}

impl<'a> Batches<'a> {
    /// Starts at the front of `bytes`.
    #[must_use]
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0, failed: false }
    }

    /// Bytes of the batches that were lent so far.
    #[must_use]
    pub const fn offset(&self) -> usize {
        self.at
    }

    /// The bytes from [`Batches::offset`] on.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.bytes[self.at..]
    }
}

impl<'a> Iterator for Batches<'a> {
    type Item = Result<Batch<'a>, BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.at == self.bytes.len() {
            return None;
        }
        let batch = Batch::parse(&self.bytes[self.at..]);
        match &batch {
            Ok(batch) => self.at += batch.bytes.len(),
            Err(_) => self.failed = true,
        }
        Some(batch)
    }
}

/// One whole batch whose header a broker completes in place.
#[derive(Debug)]
pub struct BatchMut<'a> {
    bytes: &'a mut [u8],
}

impl<'a> BatchMut<'a> {
    /// The batch at the front of `bytes`; what follows it is left alone.
    pub fn parse(bytes: &'a mut [u8]) -> Result<Self, BatchError> {
        let size = Batch::parse(bytes)?.bytes.len();
        Ok(Self { bytes: &mut bytes[..size] })
    }

    /// Sets the offset of the first record. The checksum does not cover it.
    pub fn set_base_offset(&mut self, offset: i64) {
        self.bytes[..8].copy_from_slice(&offset.to_be_bytes());
    }

    /// Sets the leader epoch. The checksum does not cover it.
    pub fn set_leader_epoch(&mut self, epoch: i32) {
        self.bytes[AT_LEADER_EPOCH..][..4].copy_from_slice(&epoch.to_be_bytes());
    }

    /// Makes `timestamp` the time of every record (`message.timestamp.type=LogAppendTime`) and mends the checksum.
    pub fn set_log_append_time(&mut self, timestamp: i64) {
        self.bytes[AT_ATTRIBUTES + 1] |= Attributes::LOG_APPEND_TIME as u8;
        self.bytes[AT_MAX_TIMESTAMP..][..8].copy_from_slice(&timestamp.to_be_bytes());
        let crc = crc32c::crc32c(&self.bytes[AT_ATTRIBUTES..]);
        self.bytes[AT_CRC..][..4].copy_from_slice(&crc.to_be_bytes());
    }
}

/// The checksum of a batch whose header is otherwise complete.
pub(super) fn crc_of(batch: &[u8]) -> u32 {
    crc32c::crc32c(&batch[AT_ATTRIBUTES..])
}

/// Puts the checksum of a complete batch in its place.
pub(super) fn seal(batch: &mut [u8]) {
    let crc = crc_of(batch);
    batch[AT_CRC..][..4].copy_from_slice(&crc.to_be_bytes());
}

/// A slice of exactly `N` bytes as an array; the caller cut it so.
fn array<const N: usize>(bytes: &[u8]) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(bytes);
    out
}
