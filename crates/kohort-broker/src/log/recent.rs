//! What was appended last, kept in memory: a reader at the tail gets the very bytes that were written, without a system
//! call and without a copy.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::{Bytes, BytesMut};
use kohort_protocol::records::BatchHeader;

/// Appends smaller than this are gathered in one chunk: a slice of a network buffer keeps the whole buffer alive.
const CHUNK_BYTES: usize = 64 * 1024;
/// How many pieces one read is made of at most. Beyond, one read of the file is cheaper than as many slices.
const PIECES_MAX: usize = 64;
/// A reader at the tail comes within moments; what nobody appended to for this long is given back.
const IDLE_MS: i64 = 10_000;

/// What all logs of a broker may keep in memory together.
#[derive(Debug)]
pub struct RecentBudget {
    bytes_max: usize,
    used: AtomicUsize,
}

impl Default for RecentBudget {
    /// 32 MiB.
    fn default() -> Self {
        Self::new(32 * 1024 * 1024)
    }
}

impl RecentBudget {
    /// A budget of `bytes_max` bytes of record batches.
    #[must_use]
    pub const fn new(bytes_max: usize) -> Self {
        Self { bytes_max, used: AtomicUsize::new(0) }
    }

    /// Bytes kept now.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }
}

#[derive(Debug)]
struct Piece {
    base_offset: i64,
    next_offset: i64,
    bytes: Bytes,
}

/// The tail of one log: whole batches, without a gap.
#[derive(Debug)]
pub(super) struct Recent {
    pieces: VecDeque<Piece>,
    bytes: usize,
    bytes_max: usize,
    budget: Arc<RecentBudget>,
    chunk: BytesMut,
    pushed_ms: i64,
}

impl Recent {
    pub(super) fn new(bytes_max: usize, budget: Arc<RecentBudget>) -> Self {
        Self { pieces: VecDeque::new(), bytes: 0, bytes_max, budget, chunk: BytesMut::new(), pushed_ms: 0 }
    }

    /// The batches as bytes that can be changed: in place if nobody else looks at them and keeping them does not keep a
    /// much larger buffer alive; else a copy.
    pub(super) fn own(&mut self, batches: Bytes) -> BytesMut {
        let len = batches.len();
        let shared = match batches.try_into_mut() {
            Ok(own) if own.capacity() <= len + len / 2 + 4096 => return own,
            Ok(own) => own.freeze(),
            Err(shared) => shared,
        };
        if self.chunk.capacity() < len {
            self.chunk.reserve(len.max(CHUNK_BYTES));
        }
        self.chunk.extend_from_slice(&shared);
        self.chunk.split()
    }

    /// Keeps what was just appended, and forgets the oldest if it is too much.
    pub(super) fn push(&mut self, base_offset: i64, next_offset: i64, bytes: Bytes, now_ms: i64) {
        self.bytes += bytes.len();
        self.budget.used.fetch_add(bytes.len(), Ordering::Relaxed);
        self.pieces.push_back(Piece { base_offset, next_offset, bytes });
        self.pushed_ms = now_ms;
        while self.bytes > self.bytes_max || (self.budget.used() > self.budget.bytes_max && self.bytes > 0) {
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(piece) = self.pieces.pop_front() {
            self.bytes -= piece.bytes.len();
            self.budget.used.fetch_sub(piece.bytes.len(), Ordering::Relaxed);
        }
    }

    /// Forgets what lies before `offset`: compaction took some of it away.
    pub(super) fn forget_before(&mut self, offset: i64) {
        while self.pieces.front().is_some_and(|piece| piece.base_offset < offset) {
            self.pop();
        }
    }

    pub(super) fn clear(&mut self) {
        while !self.pieces.is_empty() {
            self.pop();
        }
        self.chunk = BytesMut::new();
    }

    /// Gives memory back if nothing was appended for a while.
    pub(super) fn trim(&mut self, now_ms: i64) {
        if now_ms.saturating_sub(self.pushed_ms) >= IDLE_MS {
            self.clear();
        }
    }

    pub(super) fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// Whole batches from the one with `from` on, at most `max_bytes`, the first in any case if `at_least_one`. `None` if the
    /// file has to be read: they are not here, or in too many pieces.
    pub(super) fn slices(&self, from: i64, max_bytes: usize, at_least_one: bool) -> Option<Vec<Bytes>> {
        if self.pieces.front().is_none_or(|first| from < first.base_offset) {
            return None;
        }
        let first = self.pieces.partition_point(|piece| piece.next_offset <= from);
        let (mut out, mut left) = (Vec::new(), max_bytes);
        for piece in self.pieces.range(first..) {
            let skip = if piece.base_offset < from { skip(&piece.bytes, from) } else { 0 };
            let fits = fitting(&piece.bytes[skip..], left, at_least_one && out.is_empty());
            if fits > 0 {
                if out.len() == PIECES_MAX {
                    return None;
                }
                out.push(piece.bytes.slice(skip..skip + fits));
            }
            left = left.saturating_sub(fits);
            if skip + fits < piece.bytes.len() {
                break;
            }
        }
        Some(out)
    }
}

impl Drop for Recent {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Where in `bytes` the batch with offset `from` begins.
pub(super) fn skip(bytes: &[u8], from: i64) -> usize {
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        if header.last_offset() >= from || header.size() > bytes.len() - at {
            break;
        }
        at += header.size();
    }
    at
}

/// Bytes of the whole batches at the front of `bytes` that fit `max_bytes`; the first fits in any case if `at_least_one`.
pub(super) fn fitting(bytes: &[u8], max_bytes: usize, at_least_one: bool) -> usize {
    let mut at = 0;
    while let Ok(header) = BatchHeader::parse(&bytes[at..]) {
        let end = at + header.size();
        if end > bytes.len() || (end > max_bytes && !(at == 0 && at_least_one)) {
            break;
        }
        at = end;
    }
    at
}
