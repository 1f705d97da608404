//! What a partition remembers of idempotent producers (KIP-98): their last batches, so that a repeat is recognised and a
//! gap refused. A plain function of state and batch; the log asks before it writes and tells after it wrote.
//!
//! Rules (Kafka's `ProducerStateManager` and `ProducerAppendInfo`): one of the last five batches again is a duplicate and
//! gets its old offset; an older repeat or a gap is out of order; an old epoch is fenced; a new epoch starts at sequence
//! 0; a producer not known here may start anywhere.

use std::collections::{BTreeMap, VecDeque};

use kohort_protocol::records::{BatchHeader, next_sequence};
use thiserror::Error;

/// How many batches of a producer are remembered: what a client may have in flight.
const BATCHES_MAX: usize = 5;
/// Snapshot: version, then entries; a CRC-32C behind them.
const SNAPSHOT_VERSION: u8 = 1;

/// Why a batch of an idempotent producer is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum SequenceError {
    /// OUT_OF_ORDER_SEQUENCE_NUMBER (45).
    #[error("producer `{producer_id}` sent sequence `{sequence}`, which does not follow `{last_sequence}`")]
    OutOfOrder {
        /// Who.
        producer_id: i64,
        /// The batch's first sequence.
        sequence: i32,
        /// The last sequence in the log, -1 if a new epoch begins.
        last_sequence: i32,
    },
    /// INVALID_PRODUCER_EPOCH (47).
    #[error("producer `{producer_id}` has epoch `{current}`, the batch has `{epoch}`")]
    Fenced {
        /// Who.
        producer_id: i64,
        /// The batch's epoch.
        epoch: i16,
        /// The epoch in the log.
        current: i16,
    },
}

/// A batch that is already in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Duplicate {
    pub(super) base_offset: i64,
    pub(super) last_offset: i64,
    pub(super) timestamp: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kept {
    base_sequence: i32,
    last_sequence: i32,
    last_offset: i64,
    offset_delta: i32,
    timestamp: i64,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Producer {
    epoch: i16,
    /// When it was last heard of, by the broker's clock.
    seen_ms: i64,
    batches: VecDeque<Kept>,
}

/// All producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Producers {
    by_id: BTreeMap<i64, Producer>,
}

/// An idempotent producer as DescribeProducers tells of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub id: i64,
    /// Its epoch.
    pub epoch: i16,
    /// The sequence of its last record.
    pub last_sequence: i32,
    /// The time of its last batch.
    pub last_timestamp: i64,
}

impl Producers {
    /// All of them.
    pub(super) fn active(&self) -> Vec<ActiveProducer> {
        let active = |(id, producer): (&i64, &Producer)| {
            let last = producer.batches.back()?;
            let (last_sequence, last_timestamp) = (last.last_sequence, last.timestamp);
            Some(ActiveProducer { id: *id, epoch: producer.epoch, last_sequence, last_timestamp })
        };
        self.by_id.iter().filter_map(active).collect()
    }

    /// Whether this batch may be appended; `Ok(Some(_))` if it was, before.
    pub(super) fn check(&self, batch: &BatchHeader) -> Result<Option<Duplicate>, SequenceError> {
        if !batch.has_producer_id() {
            return Ok(None);
        }
        let Some(producer) = self.by_id.get(&batch.producer_id) else { return Ok(None) };
        let (producer_id, sequence) = (batch.producer_id, batch.base_sequence);
        if batch.producer_epoch < producer.epoch {
            let (epoch, current) = (batch.producer_epoch, producer.epoch);
            return Err(SequenceError::Fenced { producer_id, epoch, current });
        }
        if batch.producer_epoch > producer.epoch {
            if sequence == 0 {
                return Ok(None);
            }
            return Err(SequenceError::OutOfOrder { producer_id, sequence, last_sequence: -1 });
        }
        let same =
            |kept: &&Kept| kept.base_sequence == sequence && kept.last_sequence == batch.last_sequence();
        if let Some(kept) = producer.batches.iter().find(same) {
            return Ok(Some(Duplicate {
                base_offset: kept.last_offset - i64::from(kept.offset_delta),
                last_offset: kept.last_offset,
                timestamp: kept.timestamp,
            }));
        }
        match producer.batches.back() {
            Some(last) if next_sequence(last.last_sequence, 1) != sequence => {
                let last_sequence = last.last_sequence;
                Err(SequenceError::OutOfOrder { producer_id, sequence, last_sequence })
            }
            _ => Ok(None),
        }
    }

    /// Remembers a batch that is in the log now. `batch` has its final offset.
    pub(super) fn appended(&mut self, batch: &BatchHeader, now_ms: i64) {
        if !batch.has_producer_id() || batch.attributes.is_control() {
            return;
        }
        let producer = self.by_id.entry(batch.producer_id).or_insert_with(|| Producer {
            epoch: batch.producer_epoch,
            seen_ms: now_ms,
            batches: VecDeque::with_capacity(BATCHES_MAX),
        });
        if producer.epoch != batch.producer_epoch {
            producer.epoch = batch.producer_epoch;
            producer.batches.clear();
        }
        producer.seen_ms = producer.seen_ms.max(now_ms);
        if producer.batches.len() == BATCHES_MAX {
            producer.batches.pop_front();
        }
        producer.batches.push_back(Kept {
            base_sequence: batch.base_sequence,
            last_sequence: batch.last_sequence(),
            last_offset: batch.last_offset(),
            offset_delta: batch.last_offset_delta,
            timestamp: batch.max_timestamp,
        });
    }

    /// Forgets producers that were silent for `expiration_ms`.
    pub(super) fn expire(&mut self, now_ms: i64, expiration_ms: i64) {
        self.by_id.retain(|_, producer| now_ms.saturating_sub(producer.seen_ms) < expiration_ms);
    }

    pub(super) fn clear(&mut self) {
        self.by_id.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = vec![SNAPSHOT_VERSION];
        out.extend_from_slice(&(self.by_id.len() as u32).to_be_bytes());
        for (id, producer) in &self.by_id {
            out.extend_from_slice(&id.to_be_bytes());
            out.extend_from_slice(&producer.epoch.to_be_bytes());
            out.extend_from_slice(&producer.seen_ms.to_be_bytes());
            out.push(producer.batches.len() as u8);
            for kept in &producer.batches {
                out.extend_from_slice(&kept.base_sequence.to_be_bytes());
                out.extend_from_slice(&kept.last_sequence.to_be_bytes());
                out.extend_from_slice(&kept.last_offset.to_be_bytes());
                out.extend_from_slice(&kept.offset_delta.to_be_bytes());
                out.extend_from_slice(&kept.timestamp.to_be_bytes());
            }
        }
        let crc = crc32c::crc32c(&out);
        out.extend_from_slice(&crc.to_be_bytes());
        out
    }

    /// `None` if the bytes are damaged: the caller then reads the log instead.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (body, crc) = bytes.split_last_chunk::<4>()?;
        if crc32c::crc32c(body) != u32::from_be_bytes(*crc) {
            return None;
        }
        let mut rest = body;
        if take::<1>(&mut rest)? != [SNAPSHOT_VERSION] {
            return None;
        }
        let mut by_id = BTreeMap::new();
        for _ in 0..u32::from_be_bytes(take(&mut rest)?) {
            let id = i64::from_be_bytes(take(&mut rest)?);
            let epoch = i16::from_be_bytes(take(&mut rest)?);
            let seen_ms = i64::from_be_bytes(take(&mut rest)?);
            let [count] = take::<1>(&mut rest)?;
            let mut batches = VecDeque::with_capacity(BATCHES_MAX);
            for _ in 0..count {
                batches.push_back(Kept {
                    base_sequence: i32::from_be_bytes(take(&mut rest)?),
                    last_sequence: i32::from_be_bytes(take(&mut rest)?),
                    last_offset: i64::from_be_bytes(take(&mut rest)?),
                    offset_delta: i32::from_be_bytes(take(&mut rest)?),
                    timestamp: i64::from_be_bytes(take(&mut rest)?),
                });
            }
            by_id.insert(id, Producer { epoch, seen_ms, batches });
        }
        rest.is_empty().then_some(Self { by_id })
    }
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (head, tail) = rest.split_first_chunk::<N>()?;
    *rest = tail;
    Some(*head)
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::records::Attributes;

    fn batch(epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
        BatchHeader {
            base_offset: offset,
            length: 49,
            leader_epoch: 0,
            crc: 0,
            attributes: Attributes(0),
            last_offset_delta: count - 1,
            base_timestamp: 1,
            max_timestamp: 1,
            producer_id: 7,
            producer_epoch: epoch,
            base_sequence: sequence,
            record_count: count,
        }
    }

    fn with(batches: &[BatchHeader]) -> Producers {
        let mut producers = Producers::default();
        for batch in batches {
            assert_eq!(producers.check(batch), Ok(None));
            producers.appended(batch, 10);
        }
        producers
    }

    #[test]
    fn a_repeat_of_the_last_five_has_its_old_offset_and_an_older_one_is_out_of_order() {
        let all: Vec<_> = (0..6).map(|i| batch(0, i * 2, 2, 100 + i64::from(i) * 2)).collect();
        let producers = with(&all);
        for kept in &all[1..] {
            let old = producers.check(kept).expect("accepted").expect("a duplicate");
            assert_eq!((old.base_offset, old.last_offset), (kept.base_offset, kept.base_offset + 1));
        }
        assert!(matches!(producers.check(&all[0]), Err(SequenceError::OutOfOrder { sequence: 0, .. })));
        // Same start, another length: not the same batch.
        assert!(matches!(producers.check(&batch(0, 10, 1, 0)), Err(SequenceError::OutOfOrder { .. })));
        assert!(matches!(producers.check(&batch(0, 13, 1, 0)), Err(SequenceError::OutOfOrder { .. })));
        assert_eq!(producers.check(&batch(0, 12, 1, 0)), Ok(None));
    }

    #[test]
    fn an_unknown_producer_starts_anywhere_and_a_new_epoch_at_zero() {
        let producers = with(&[batch(3, 41, 1, 0)]);
        assert!(matches!(
            producers.check(&batch(2, 42, 1, 0)),
            Err(SequenceError::Fenced { current: 3, .. })
        ));
        assert!(matches!(producers.check(&batch(4, 42, 1, 0)), Err(SequenceError::OutOfOrder { .. })));
        assert_eq!(producers.check(&batch(4, 0, 1, 0)), Ok(None));
        let mut producers = producers;
        producers.appended(&batch(4, 0, 1, 1), 10);
        assert!(matches!(producers.check(&batch(3, 42, 1, 0)), Err(SequenceError::Fenced { .. })));
    }

    #[test]
    fn sequences_wrap_to_zero() {
        let producers = with(&[batch(0, i32::MAX - 1, 2, 0)]);
        assert_eq!(producers.check(&batch(0, 0, 1, 2)), Ok(None));
        let producers = with(&[batch(0, i32::MAX, 3, 0)]);
        assert_eq!(producers.check(&batch(0, 2, 1, 3)), Ok(None));
    }

    #[test]
    fn a_silent_producer_is_forgotten_in_time() {
        let mut producers = with(&[batch(0, 0, 1, 0)]);
        producers.expire(109, 100);
        assert_eq!(producers.len(), 1);
        producers.expire(110, 100);
        assert_eq!(producers.len(), 0);
    }

    #[test]
    fn a_snapshot_is_the_state_and_a_damaged_one_is_refused() {
        let producers = with(&[batch(0, 0, 3, 5), batch(0, 3, 1, 8), batch(1, 0, 1, 9)]);
        let bytes = producers.encode();
        assert_eq!(Producers::decode(&bytes), Some(producers));
        for i in 0..bytes.len() {
            let mut damaged = bytes.clone();
            damaged[i] ^= 1;
            assert_eq!(Producers::decode(&damaged), None, "{i}");
            assert_eq!(Producers::decode(&bytes[..i]), None);
        }
    }
}
