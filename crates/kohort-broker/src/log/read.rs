//! Reading: found under the log's lock, fetched outside it.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use kohort_protocol::records::{Batch, BatchHeader, Decompressor, HEADER_BYTES};
use parking_lot::Mutex;
use thiserror::Error;

use super::Log;
use super::files;
use super::recent::{fitting, skip};
use super::segment::{Opened, Sealed, scan};

/// Room beside `max_bytes` for the batches between an index entry and the one that is wanted.
const SLACK_BYTES: usize = 4096 + HEADER_BYTES;
/// Buffers that [`ReadBuffers`] keeps, and the largest of them.
const BUFFERS_MAX: usize = 8;
const BUFFER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Why a log cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// OFFSET_OUT_OF_RANGE (1).
    #[error("offset `{offset}` is outside the log, which has `{start}` to `{end}`")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// Log start offset.
        start: i64,
        /// Log end offset.
        end: i64,
    },
    /// KAFKA_STORAGE_ERROR (56).
    #[error("cannot read the log")]
    Io(#[from] io::Error),
}

/// Batches that were found and not yet fetched. Holds what it needs: segments that are deleted meanwhile are still read.
#[derive(Debug)]
#[must_use = "a slice that is not loaded read nothing"]
pub struct Slice(Kind);

#[derive(Debug)]
enum Kind {
    Recent(Vec<Bytes>),
    File { from: i64, max_bytes: usize, at_least_one: bool, parts: Vec<Part> },
}

#[derive(Debug)]
enum Part {
    /// As far as it was written when the slice was found.
    Active {
        file: Arc<File>,
        position: u64,
        end: u64,
    },
    Sealed(Arc<Sealed>),
}

impl Slice {
    /// Whether there certainly is nothing: the reader is at the end of the log.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.0 {
            Kind::Recent(pieces) => pieces.is_empty(),
            Kind::File { parts, .. } => parts.is_empty(),
        }
    }

    /// Whether [`Slice::load`] needs no file: it will not block.
    #[must_use]
    pub fn in_memory(&self) -> bool {
        matches!(self.0, Kind::Recent(_))
    }

    /// About how many bytes it has: what counts for a fetch's `min_bytes`. In memory exact; of a file at most `max_bytes`, of
    /// which whole batches may fill less, or a first batch more.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        match &self.0 {
            Kind::Recent(pieces) => pieces.iter().map(Bytes::len).sum(),
            Kind::File { max_bytes, parts, .. } => {
                let there: u64 = parts
                    .iter()
                    .map(|part| match part {
                        Part::Active { position, end, .. } => end - position,
                        Part::Sealed(sealed) => sealed.size,
                    })
                    .sum();
                usize::try_from(there).unwrap_or(usize::MAX).min((*max_bytes).max(1))
            }
        }
    }

    /// The batches, whole and in order, in one or more pieces; none at the end of the log.
    pub fn load(self, buffers: &ReadBuffers) -> io::Result<Vec<Bytes>> {
        let (from, max_bytes, at_least_one, parts) = match self.0 {
            Kind::Recent(pieces) => return Ok(pieces),
            Kind::File { from, max_bytes, at_least_one, parts } => (from, max_bytes, at_least_one, parts),
        };
        for part in parts {
            let bytes = match part {
                Part::Active { file, position, end } => {
                    Window { file: &file, from, max_bytes, at_least_one, end }.read(position, buffers)?
                }
                Part::Sealed(sealed) => {
                    let opened = sealed.open()?;
                    let relative =
                        u32::try_from(from.saturating_sub(sealed.base_offset).max(0)).unwrap_or(u32::MAX);
                    let position = u64::from(opened.index.position(relative));
                    Window { file: &opened.file, from, max_bytes, at_least_one, end: sealed.size }
                        .read(position, buffers)?
                }
            };
            if let Some(bytes) = bytes {
                return Ok(if bytes.is_empty() { Vec::new() } else { vec![bytes] });
            }
            // Compaction may leave nothing between an offset and the end of its segment: go on in the next.
        }
        Ok(Vec::new())
    }

    /// [`Slice::load`] in one piece; copies only if there are several.
    pub fn load_one(self, buffers: &ReadBuffers) -> io::Result<Bytes> {
        let mut pieces = self.load(buffers)?;
        Ok(match pieces.len() {
            0 => Bytes::new(),
            1 => pieces.swap_remove(0),
            _ => pieces.concat().into(),
        })
    }
}

/// One read of a segment's file.
struct Window<'a> {
    file: &'a File,
    from: i64,
    max_bytes: usize,
    at_least_one: bool,
    end: u64,
}

impl Window<'_> {
    /// Batches from the one with `from` on, looked for from `position`. `None` if there is none up to the end; empty if
    /// there is one and it does not fit.
    fn read(&self, mut position: u64, buffers: &ReadBuffers) -> io::Result<Option<Bytes>> {
        let mut bytes_wanted = self.max_bytes.saturating_add(SLACK_BYTES);
        while position < self.end {
            let left = usize::try_from(self.end - position).unwrap_or(usize::MAX);
            let mut buffer = buffers.take(bytes_wanted.min(left));
            files::read_exact_at(self.file, buffer.bytes_mut(), position)?;
            let bytes = buffer.bytes_mut();
            let skipped = skip(bytes, self.from);
            let fits = fitting(&bytes[skipped..], self.max_bytes, self.at_least_one);
            if fits > 0 {
                return Ok(Some(buffer.freeze(skipped..skipped + fits)));
            }
            position += skipped as u64;
            let Ok(header) = BatchHeader::parse(&bytes[skipped..]) else {
                if skipped == 0 {
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!("no batch at byte {position} of a segment"),
                    ));
                }
                continue;
            };
            if header.last_offset() < self.from {
                position += header.size() as u64;
            } else if self.at_least_one && header.size() > bytes.len() - skipped {
                bytes_wanted = header.size();
            } else {
                return Ok(Some(Bytes::new()));
            }
        }
        Ok(None)
    }
}

impl Log {
    /// Finds the batches from the one that holds `from` on: whole ones, at most `max_bytes` together; the first in any
    /// case if `at_least_one` (KIP-74: a consumer must get past a batch larger than its limit).
    ///
    /// Nothing is read here beyond an index in memory: call [`Slice::load`] after letting go of the log.
    pub fn read(&self, from: i64, max_bytes: usize, at_least_one: bool) -> Result<Slice, ReadError> {
        if from < self.start_offset || from > self.end_offset {
            let (start, end) = (self.start_offset, self.end_offset);
            return Err(ReadError::OffsetOutOfRange { offset: from, start, end });
        }
        if from == self.end_offset {
            return Ok(Slice(Kind::Recent(Vec::new())));
        }
        if let Some(pieces) = self.recent.slices(from, max_bytes, at_least_one) {
            return Ok(Slice(Kind::Recent(pieces)));
        }
        let mut parts = Vec::with_capacity(2);
        let first = self.sealed.partition_point(|sealed| sealed.next_offset <= from);
        parts.extend(self.sealed.iter().skip(first).take(2).map(|sealed| Part::Sealed(Arc::clone(sealed))));
        if parts.len() < 2 {
            let position = u64::from(self.active.index.position(self.active.relative(from)));
            let position = if parts.is_empty() { position } else { 0 };
            let (file, end) = (Arc::clone(&self.active.out.file), self.active.size);
            parts.push(Part::Active { file, position, end });
        }
        Ok(Slice(Kind::File { from, max_bytes, at_least_one, parts }))
    }

    /// The first record whose timestamp is `timestamp` or later; `None` if there is none. Reads the file.
    pub fn offset_for_timestamp(&self, timestamp: i64) -> io::Result<Option<TimestampOffset>> {
        let late = |sealed: &&Arc<Sealed>| sealed.max_timestamp >= timestamp;
        for sealed in self.sealed.iter().filter(late) {
            let opened = sealed.open()?;
            if let Some(found) =
                find_time(&opened, sealed.base_offset, sealed.size, timestamp, self.start_offset)?
            {
                return Ok(Some(found));
            }
        }
        if self.active.max_timestamp < timestamp {
            return Ok(None);
        }
        let opened = Opened {
            file: Arc::clone(&self.active.out.file),
            index: self.active.index.clone(),
            times: self.active.times.clone(),
        };
        find_time(&opened, self.active.base_offset, self.active.size, timestamp, self.start_offset)
    }

    /// The record with the largest timestamp, the first of them if there are several; `None` in an empty log.
    pub fn max_timestamp(&self) -> io::Result<Option<TimestampOffset>> {
        let sealed = self.sealed.iter().map(|sealed| sealed.max_timestamp).max();
        match sealed.unwrap_or(-1).max(self.active.max_timestamp) {
            largest if largest >= 0 => self.offset_for_timestamp(largest),
            _ => Ok(None),
        }
    }
}

/// A record found by its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// Its offset.
    pub offset: i64,
    /// Its timestamp, in milliseconds since the epoch.
    pub timestamp: i64,
    /// The leader epoch it was appended in.
    pub leader_epoch: i32,
}

fn find_time(
    segment: &Opened,
    base: i64,
    size: u64,
    timestamp: i64,
    start: i64,
) -> io::Result<Option<TimestampOffset>> {
    let position = u64::from(segment.index.position(segment.times.offset(timestamp)));
    debug_assert!(base <= i64::MAX - i64::from(u32::MAX));
    let (mut found, mut decompressor) = (None, Decompressor::new());
    scan(&segment.file, position, size, |_, batch| {
        if batch.header().max_timestamp >= timestamp && batch.header().last_offset() >= start {
            found = first_at(batch, timestamp, start, &mut decompressor);
        }
        if found.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(found)
}

fn first_at(
    batch: &Batch<'_>,
    timestamp: i64,
    start: i64,
    decompressor: &mut Decompressor,
) -> Option<TimestampOffset> {
    let leader_epoch = batch.header().leader_epoch;
    let records = batch.records(decompressor).ok()?;
    // A client can store what no client can read; the rest of the log is still searched.
    let mut sound = records.map_while(Result::ok);
    let record = sound.find(|record| record.timestamp >= timestamp && record.offset >= start)?;
    Some(TimestampOffset { offset: record.offset, timestamp: record.timestamp, leader_epoch })
}

/// Buffers that file reads fill, kept and used again: they are neither allocated nor zeroed per read. One per broker.
#[derive(Clone, Debug, Default)]
pub struct ReadBuffers(Arc<Mutex<Vec<Vec<u8>>>>);

impl ReadBuffers {
    /// None yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    fn take(&self, len: usize) -> Buffer {
        let mut kept = self.0.lock();
        // The smallest that fits, so that large ones stay for large reads.
        let best = kept.iter().enumerate().filter(|(_, b)| b.len() >= len).min_by_key(|(_, b)| b.len());
        let bytes = match best.map(|(i, _)| i) {
            Some(i) => kept.swap_remove(i),
            None => vec![0; len.next_power_of_two().max(16 * 1024)],
        };
        Buffer { bytes, len, home: Arc::downgrade(&self.0) }
    }
}

struct Buffer {
    bytes: Vec<u8>,
    len: usize,
    home: Weak<Mutex<Vec<Vec<u8>>>>,
}

impl Buffer {
    fn bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[..self.len]
    }

    fn freeze(self, range: std::ops::Range<usize>) -> Bytes {
        Bytes::from_owner(self).slice(range)
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(home) = self.home.upgrade() else { return };
        let mut kept = home.lock();
        if kept.len() < BUFFERS_MAX && self.bytes.len() <= BUFFER_BYTES_MAX {
            kept.push(std::mem::take(&mut self.bytes));
        }
    }
}
