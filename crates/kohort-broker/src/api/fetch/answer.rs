//! Fetch's answer, written by hand: its heads into one buffer, its records between them as the log's own pieces.
//!
//! The generated message would copy every record into the frame; this one is the path that carries all the data.

use bytes::{BufMut, Bytes, BytesMut};
use kohort_protocol::ErrorCode;

use super::super::{Call, Outcome};
use super::length;
use super::session::Wanted;

/// Records up to this are copied behind their head: one write of one piece is cheaper than a vector of small ones.
const COPIED_BYTES: usize = 8 << 10;

/// What one partition answers.
#[derive(Debug)]
pub(super) struct PartitionAnswer {
    pub(super) error: ErrorCode,
    pub(super) high_watermark: i64,
    pub(super) log_start: i64,
    pub(super) records: Vec<Bytes>,
    /// Whether this is what the partition's log says.
    pub(super) asked: bool,
}

impl PartitionAnswer {
    /// An error, and nothing else to say.
    pub(super) fn refused(error: ErrorCode, asked: bool) -> Self {
        Self { error, high_watermark: -1, log_start: -1, records: vec![], asked }
    }
}

/// The answer as it grows: partitions first, because a session leaves out those without news.
#[derive(Debug)]
pub(super) struct Answer {
    version: i16,
    correlation_id: i32,
    error: ErrorCode,
    session_id: i32,
    partitions: Vec<(Wanted, PartitionAnswer)>,
}

impl Answer {
    pub(super) fn new(version: i16, correlation_id: i32, session_id: i32) -> Self {
        Self { version, correlation_id, error: ErrorCode::NONE, session_id, partitions: Vec::new() }
    }

    /// The whole request is refused: a session's error.
    pub(super) fn refused(version: i16, correlation_id: i32, error: ErrorCode) -> Self {
        Self { error, ..Self::new(version, correlation_id, 0) }
    }

    /// The whole request is refused; each partition says it too, where partitions have names (before version 13).
    pub(super) fn refused_with(
        version: i16,
        correlation_id: i32,
        error: ErrorCode,
        wanted: &[Wanted],
    ) -> Self {
        let mut answer = Self::refused(version, correlation_id, error);
        for wanted in wanted.iter().filter(|_| version < 13) {
            answer.add(wanted, PartitionAnswer::refused(error, false));
        }
        answer
    }

    pub(super) fn add(&mut self, wanted: &Wanted, answer: PartitionAnswer) {
        self.partitions.push((wanted.clone(), answer));
    }

    /// Leaves out partitions that `keep` says nothing new of.
    pub(super) fn retain(&mut self, mut keep: impl FnMut(&Wanted, &PartitionAnswer) -> bool) {
        self.partitions.retain(|(wanted, answer)| keep(wanted, answer));
    }

    const fn flexible(&self) -> bool {
        self.version >= 12
    }

    fn put_count(&self, out: &mut BytesMut, n: usize) {
        if self.flexible() {
            put_uvarint(out, n + 1);
        } else {
            out.put_i32(i32::try_from(n).unwrap_or(i32::MAX));
        }
    }

    /// Writes it: into `call.out` if it is one piece.
    pub(super) fn finish(self, call: &mut Call<'_>) -> Outcome {
        let mut pieces: Vec<Bytes> = Vec::new();
        let out = &mut *call.out;
        out.put_i32(0);
        out.put_i32(self.correlation_id);
        if self.flexible() {
            out.put_u8(0);
        }
        out.put_i32(0); // throttle time
        if self.version >= 7 {
            out.put_i16(self.error.0);
            out.put_i32(self.session_id);
        }
        let topics: Vec<&[(Wanted, PartitionAnswer)]> = self
            .partitions
            .chunk_by(|(a, _), (b, _)| a.key.name == b.key.name && a.key.id == b.key.id)
            .collect();
        self.put_count(out, topics.len());
        for topic in topics {
            let key = &topic[0].0.key;
            if self.version >= 13 {
                out.put_slice(key.id.as_bytes());
            } else if self.flexible() {
                put_uvarint(out, key.name.len() + 1);
                out.put_slice(key.name.as_bytes());
            } else {
                out.put_i16(i16::try_from(key.name.len()).unwrap_or(i16::MAX));
                out.put_slice(key.name.as_bytes());
            }
            self.put_count(out, topic.len());
            for (wanted, answer) in topic {
                self.put_partition(out, &mut pieces, wanted.key.partition, answer);
            }
            if self.flexible() {
                out.put_u8(0);
            }
        }
        if self.flexible() {
            out.put_u8(0);
        }
        let total = length(&pieces) + out.len() - 4;
        let total = i32::try_from(total).unwrap_or(i32::MAX).to_be_bytes();
        if pieces.is_empty() {
            out[..4].copy_from_slice(&total);
            return Outcome::Answered;
        }
        pieces.push(out.split().freeze());
        // The length stands in the first piece, which is the only handle to its bytes.
        let first = std::mem::take(&mut pieces[0]);
        let mut first = first.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
        first[..4].copy_from_slice(&total);
        pieces[0] = first.freeze();
        Outcome::Pieces(pieces)
    }

    fn put_partition(
        &self,
        out: &mut BytesMut,
        pieces: &mut Vec<Bytes>,
        index: i32,
        answer: &PartitionAnswer,
    ) {
        out.put_i32(index);
        out.put_i16(answer.error.0);
        out.put_i64(answer.high_watermark);
        out.put_i64(answer.high_watermark); // last stable offset
        if self.version >= 5 {
            out.put_i64(answer.log_start);
        }
        // Aborted transactions: null where the log was asked, none where it was not, as Kafka writes it.
        match (self.flexible(), answer.asked) {
            (true, asked) => out.put_u8(u8::from(!asked)),
            (false, asked) => out.put_i32(if asked { -1 } else { 0 }),
        }
        if self.version >= 11 {
            out.put_i32(-1); // preferred read replica
        }
        let n = length(&answer.records);
        // Never null: librdkafka refuses that.
        if self.flexible() {
            put_uvarint(out, n + 1)
        } else {
            out.put_i32(i32::try_from(n).unwrap_or(i32::MAX))
        }
        if n <= COPIED_BYTES {
            for piece in &answer.records {
                out.put_slice(piece);
            }
        } else {
            pieces.push(out.split().freeze());
            pieces.extend(answer.records.iter().cloned());
        }
        if self.flexible() {
            out.put_u8(0);
        }
    }
}

fn put_uvarint(out: &mut BytesMut, n: usize) {
    let mut n = u32::try_from(n).unwrap_or(u32::MAX);
    while n >= 0x80 {
        out.put_u8((n & 0x7f) as u8 | 0x80);
        n >>= 7;
    }
    out.put_u8(n as u8);
}
