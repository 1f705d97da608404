//! Records, lent from the body of a batch.

use thiserror::Error;

use super::decompress::{DecompressError, Decompressor};
use super::header::{Batch, BatchHeader, Codec};
use super::varint;

/// Length, attributes, timestamp delta, offset delta, key length, value length, header count: a byte each.
const RECORD_BYTES_MIN: usize = 7;

/// One record. Key, value and headers are slices of the batch, or of the buffer that it was decompressed into.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'b> {
    /// Its offset in the partition.
    pub offset: i64,
    /// Milliseconds since the epoch: the producer's, or the broker's with log-append time.
    pub timestamp: i64,
    /// `None` is null, which is not the same as empty.
    pub key: Option<&'b [u8]>,
    /// `None` is null: in a compacted topic, a tombstone.
    pub value: Option<&'b [u8]>,
    /// The headers, in order; keys may repeat.
    pub headers: Headers<'b>,
}

/// Why the records of a batch cannot be opened.
#[derive(Debug, Error)]
pub enum RecordsError {
    /// An id that no codec has.
    #[error("unknown compression codec `{0}`")]
    Codec(i16),
    /// The body does not decompress.
    #[error("cannot decompress the records")]
    Decompress(#[from] DecompressError),
}

/// Why the bytes at a place in a batch are not a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RecordError {
    /// A varint is cut, a length is negative or reaches beyond its frame.
    #[error("record {index} of the batch at offset `{base_offset}` is malformed at byte {at} of the records")]
    Malformed {
        /// Base offset of the batch.
        base_offset: i64,
        /// Which record, from 0.
        index: i32,
        /// Where its frame begins in the (decompressed) records.
        at: usize,
    },
    /// The batch states fewer records than its body holds bytes for.
    #[error("batch at offset `{base_offset}` has {bytes} bytes after its last record")]
    Trailing {
        /// Base offset of the batch.
        base_offset: i64,
        /// Bytes that no record claims.
        bytes: usize,
    },
}

impl<'a> Batch<'a> {
    /// Lends the records. A compressed body is opened into the buffer of `decompressor`, so they live until it is
    /// used again; an uncompressed one is lent as it is.
    pub fn records<'b>(&self, decompressor: &'b mut Decompressor) -> Result<Records<'b>, RecordsError>
    where
        'a: 'b,
    {
        let body = match self.header().attributes.codec().map_err(RecordsError::Codec)? {
            Codec::None => self.payload(),
            codec => decompressor.decompress(codec, self.payload())?,
        };
        Ok(Records::new(self.header(), body))
    }
}

/// The records of one batch, front to back. The first error is the last item.
#[derive(Clone, Debug)]
pub struct Records<'b> {
    body: &'b [u8],
    at: usize,
    index: i32,
    count: i32,
    base_offset: i64,
    base_timestamp: i64,
    append_time: Option<i64>,
    failed: bool,
}

impl<'b> Records<'b> {
    /// The records of a batch with this header in `body`, which is what follows it, decompressed. For a caller that
    /// keeps buffers of its own; others use [`Batch::records`].
    #[must_use]
    pub fn new(header: &BatchHeader, body: &'b [u8]) -> Self {
        Self {
            body,
            at: 0,
            index: 0,
            count: header.record_count,
            base_offset: header.base_offset,
            base_timestamp: header.base_timestamp,
            append_time: header.attributes.is_log_append_time().then_some(header.max_timestamp),
            failed: false,
        }
    }

    /// How many records are still to come, by the header.
    #[must_use]
    pub const fn remaining(&self) -> usize {
        (self.count - self.index) as usize
    }

    /// Reads the record at `self.at`; `None` if the bytes are not one.
    #[inline]
    fn read(&mut self) -> Option<Record<'b>> {
        let mut at = self.at;
        let length = usize::try_from(varint::read_i32(self.body, &mut at)?).ok()?;
        let end = at.checked_add(length)?;
        // From here on everything is read from the record's own frame: no field can reach beyond it.
        let frame = self.body.get(..end)?;
        at += 1; // The attributes of a record are unused (Kafka reads and ignores them).
        let timestamp_delta = varint::read_i64(frame, &mut at)?;
        let offset_delta = varint::read_i32(frame, &mut at)?;
        let key = read_slice(frame, &mut at)?;
        let value = read_slice(frame, &mut at)?;
        let count = u32::try_from(varint::read_i32(frame, &mut at)?).ok()?;
        let headers = Headers { bytes: &frame[at..], count };
        let whole = if count == 0 { at == end } else { headers.are_whole() };
        if !whole {
            return None;
        }
        self.at = end;
        Some(Record {
            offset: self.base_offset.wrapping_add(i64::from(offset_delta)),
            timestamp: match self.append_time {
                Some(time) => time,
                None => self.base_timestamp.wrapping_add(timestamp_delta),
            },
            key,
            value,
            headers,
        })
    }
}

impl<'b> Iterator for Records<'b> {
    type Item = Result<Record<'b>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.failed {
            return None;
        }
        if self.index == self.count {
            let bytes = self.body.len() - self.at;
            self.failed = true;
            return (bytes > 0)
                .then_some(Err(RecordError::Trailing { base_offset: self.base_offset, bytes }));
        }
        match self.read() {
            Some(record) => {
                self.index += 1;
                Some(Ok(record))
            }
            None => {
                self.failed = true;
                let (base_offset, index, at) = (self.base_offset, self.index, self.at);
                Some(Err(RecordError::Malformed { base_offset, index, at }))
            }
        }
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        // A header may state two thousand million records: believe no more than the bytes can hold.
        let room = (self.body.len() - self.at) / RECORD_BYTES_MIN + 1;
        (0, Some(self.remaining().saturating_add(1).min(room)))
    }
}

/// A length and as many bytes; a length of -1 is null.
#[inline]
fn read_slice<'b>(frame: &'b [u8], at: &mut usize) -> Option<Option<&'b [u8]>> {
    let length = varint::read_i32(frame, at)?;
    if length < 0 {
        return (length == -1).then_some(None);
    }
    let from = *at;
    *at = from.checked_add(length as usize)?;
    Some(Some(frame.get(from..*at)?))
}

/// The headers of a record: (key, value) in order. They were checked when the record was lent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Headers<'b> {
    bytes: &'b [u8],
    count: u32,
}

impl<'b> Headers<'b> {
    /// How many are still to come.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The value of the last header with this key, as Kafka's `lastHeader`; a null value reads as `Some(None)`.
    #[must_use]
    pub fn last_value(&self, key: &str) -> Option<Option<&'b [u8]>> {
        self.filter(|(k, _)| *k == key.as_bytes()).last().map(|(_, value)| value)
    }

    /// Whether the bytes are exactly `count` headers.
    fn are_whole(&self) -> bool {
        let mut at = 0;
        for _ in 0..self.count {
            if read_header(self.bytes, &mut at).is_none() {
                return false;
            }
        }
        at == self.bytes.len()
    }
}

impl<'b> Iterator for Headers<'b> {
    type Item = (&'b [u8], Option<&'b [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        if self.count == 0 {
            return None;
        }
        let mut at = 0;
        let header = read_header(self.bytes, &mut at)?;
        self.bytes = &self.bytes[at..];
        self.count -= 1;
        Some(header)
    }
}

/// A key, which cannot be null, and a value.
fn read_header<'b>(bytes: &'b [u8], at: &mut usize) -> Option<(&'b [u8], Option<&'b [u8]>)> {
    let key = read_slice(bytes, at)??;
    Some((key, read_slice(bytes, at)?))
}
