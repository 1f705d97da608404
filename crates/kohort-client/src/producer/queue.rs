//! One partition's batches on their way: open, waiting, in flight; and the sequence numbers that let the broker know a batch
//! that it has (KIP-98). Pure state.
//!
//! Order is kept over retries: when a batch has to be sent again, nothing newer is sent before all that is in flight has an
//! outcome; then everything goes again from the oldest. A batch that is given up leaves a hole in the sequence, which the
//! broker would refuse to step over: what follows it starts a new epoch at sequence 0, once nothing is in flight.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use kohort_protocol::records::{BatchBuilder, BatchOptions, Codec, Compressor, FinishError, next_sequence};

use super::ack::Outcome;

/// Where fields stand in a batch's header (Kafka's `DefaultRecordBatch`).
const AT_CRC: usize = 17;
const AT_ATTRIBUTES: usize = 21;
const AT_PRODUCER_ID: usize = 43;
const AT_PRODUCER_EPOCH: usize = 51;
const AT_BASE_SEQUENCE: usize = 53;

/// The producer id and epoch in which a partition's sequence runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) producer_id: i64,
    pub(crate) epoch: i16,
}

/// Identity and sequence of one batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    identity: Identity,
    sequence: i32,
}

/// A closed batch.
#[derive(Debug)]
pub(crate) struct Batch {
    /// Rises over all batches of a producer.
    pub(crate) order: u64,
    pub(crate) outcome: Arc<Outcome>,
    pub(crate) bytes: Bytes,
    pub(crate) records: i32,
    /// What it takes of `buffer.memory`.
    pub(crate) memory: usize,
    pub(crate) created: Instant,
    stamp: Option<Stamp>,
}

/// The open batch, beside its records.
#[derive(Debug)]
struct Open {
    order: u64,
    outcome: Arc<Outcome>,
    created: Instant,
    memory: usize,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Queue {
    builder: BatchBuilder,
    open: Option<Open>,
    waiting: VecDeque<Batch>,
    in_flight: Vec<Batch>,
    idempotent: bool,
    identity: Option<Identity>,
    /// Of the next batch that is closed.
    sequence: i32,
    /// The broker knows the identity on this partition. Until then one batch at a time: a broker takes *any* sequence from a
    /// producer that it does not know, so a second batch could overtake a first that is sent again.
    confirmed: bool,
    /// A hole in the sequence: start a new epoch.
    anew: bool,
    /// Something is to be sent again: nothing newer before.
    retrying: bool,
    pub(crate) retry_at: Option<Instant>,
    failures: u32,
    /// Broker id; -1: nobody.
    pub(crate) leader: i32,
}

impl Queue {
    pub(crate) fn new(batch_size: usize, idempotent: bool) -> Self {
        Self {
            builder: BatchBuilder::with_capacity(batch_size),
            open: None,
            waiting: VecDeque::new(),
            in_flight: Vec::new(),
            idempotent,
            identity: None,
            sequence: 0,
            confirmed: !idempotent,
            anew: false,
            retrying: false,
            retry_at: None,
            failures: 0,
            leader: -1,
        }
    }

    /// The records of the open batch.
    pub(crate) fn builder(&mut self) -> &mut BatchBuilder {
        &mut self.builder
    }

    /// Whether a batch is open.
    pub(crate) fn is_open(&self) -> bool {
        self.open.is_some()
    }

    /// Opens a batch.
    pub(crate) fn open(&mut self, order: u64, outcome: Arc<Outcome>, now: Instant) {
        self.open = Some(Open { order, outcome, created: now, memory: 0 });
    }

    /// Counts a record that was put into the builder: the outcome that it shares, and its place in the batch.
    pub(crate) fn count(&mut self, memory: usize) -> Option<(&Arc<Outcome>, u32)> {
        let index = self.builder.count() - 1;
        let open = self.open.as_mut()?;
        open.memory += memory;
        Some((&open.outcome, index.unsigned_abs()))
    }

    /// Closes the open batch. One that cannot be closed is returned: its records are lost to their sender.
    pub(crate) fn close(
        &mut self,
        codec: Codec,
        compressor: &mut Compressor,
    ) -> Result<(), Box<(Batch, FinishError)>> {
        let Some(open) = self.open.take() else { return Ok(()) };
        let records = self.builder.count();
        let stamp =
            self.identity.filter(|_| !self.anew).map(|identity| Stamp { identity, sequence: self.sequence });
        let mut options = BatchOptions { codec, ..BatchOptions::default() };
        if let Some(stamp) = stamp {
            options.producer_id = stamp.identity.producer_id;
            options.producer_epoch = stamp.identity.epoch;
            options.base_sequence = stamp.sequence;
        }
        let finished = self.builder.finish(&options, compressor);
        let mut batch = Batch {
            order: open.order,
            outcome: open.outcome,
            bytes: Bytes::new(),
            records,
            memory: open.memory,
            created: open.created,
            stamp,
        };
        match finished {
            Ok(bytes) => {
                if stamp.is_some() {
                    self.sequence = next_sequence(self.sequence, records);
                }
                batch.bytes = bytes;
                self.waiting.push_back(batch);
                Ok(())
            }
            Err(error) => {
                self.builder.clear();
                Err(Box::new((batch, error)))
            }
        }
    }

    /// Since when the open batch waits for more, if nothing is ahead of it.
    pub(crate) fn open_since(&self) -> Option<Instant> {
        self.open.as_ref().map(|open| open.created)
    }

    /// When the oldest batch was opened.
    pub(crate) fn oldest(&self) -> Option<Instant> {
        let closed = self.in_flight.iter().chain(self.waiting.front()).map(|batch| batch.created).min();
        closed.or_else(|| self.open_since())
    }

    /// Whether closed batches wait.
    pub(crate) fn has_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Whether the next batch may leave, as far as order is concerned.
    pub(crate) fn may_send(&self, now: Instant) -> bool {
        let settled = self.in_flight.is_empty();
        (settled || (self.confirmed && !self.retrying && !self.anew))
            && self.retry_at.is_none_or(|at| at <= now)
    }

    /// Whether an identity is missing before anything can be sent.
    pub(crate) fn needs_identity(&self) -> bool {
        self.idempotent && (self.identity.is_none() || self.epochs_are_used_up())
    }

    fn epochs_are_used_up(&self) -> bool {
        self.anew && self.identity.is_some_and(|identity| identity.epoch == i16::MAX)
    }

    /// Takes the producer's identity, if one is missing.
    pub(crate) fn identify(&mut self, identity: Identity) {
        if self.needs_identity() && self.identity != Some(identity) && self.in_flight.is_empty() {
            self.identity = Some(identity);
            (self.anew, self.sequence, self.confirmed) = (false, 0, false);
            self.stamp_waiting();
        }
    }

    /// Gives the identity up: the broker does not take it any more.
    pub(crate) fn forget_identity(&mut self) {
        self.identity = None;
        self.anew = true;
    }

    /// The next batch to send: it is in flight from now on.
    pub(crate) fn next(&mut self) -> Option<&Batch> {
        if self.anew && self.in_flight.is_empty() {
            let identity = self.identity?;
            self.identity = Some(Identity { epoch: identity.epoch.checked_add(1)?, ..identity });
            (self.anew, self.sequence, self.confirmed) = (false, 0, false);
            self.stamp_waiting();
        }
        self.retrying = false;
        let batch = self.waiting.pop_front()?;
        self.in_flight.push(batch);
        self.in_flight.last()
    }

    /// Gives all that wait a place in the sequence of the present identity.
    fn stamp_waiting(&mut self) {
        let Some(identity) = self.identity else { return };
        for batch in &mut self.waiting {
            let stamp = Stamp { identity, sequence: self.sequence };
            batch.bytes = stamped(std::mem::take(&mut batch.bytes), stamp);
            batch.stamp = Some(stamp);
            self.sequence = next_sequence(self.sequence, batch.records);
        }
    }

    /// The bytes of a batch in flight.
    pub(crate) fn in_flight_bytes(&self, order: u64) -> Option<Bytes> {
        self.in_flight.iter().find(|batch| batch.order == order).map(|batch| batch.bytes.clone())
    }

    /// Takes a batch out of flight.
    pub(crate) fn landed(&mut self, order: u64) -> Option<Batch> {
        let index = self.in_flight.iter().position(|batch| batch.order == order)?;
        Some(self.in_flight.remove(index))
    }

    /// Sends it again, in its order, once the wait of this failure is over. Batches that were in flight together fail
    /// together: that is one failure.
    pub(crate) fn again(&mut self, batch: Batch, now: Instant, wait: impl FnOnce(u32) -> Duration) {
        let index = self.waiting.partition_point(|waiting| waiting.order < batch.order);
        self.waiting.insert(index, batch);
        if !self.retrying {
            self.retrying = true;
            self.failures = (self.failures + 1).min(16);
            self.retry_at = Some(now + wait(self.failures));
        }
    }

    /// It was written.
    pub(crate) fn written(&mut self) {
        (self.failures, self.retry_at, self.confirmed) = (0, None, true);
    }

    /// It is given up: the sequence has a hole.
    pub(crate) fn given_up(&mut self, batch: &Batch) {
        if batch.stamp.is_some() {
            self.anew = true;
        }
    }

    /// Starts a new epoch although nothing was given up: the broker has lost what it knew of this producer.
    pub(crate) fn begin_anew(&mut self) {
        self.anew = true;
    }

    /// Whether nothing older than `order` is unsettled.
    pub(crate) fn is_oldest(&self, order: u64) -> bool {
        self.in_flight.iter().chain(&self.waiting).all(|batch| batch.order >= order)
    }

    /// Takes a batch that is to be given up because of its age. One that is in flight may be written or not.
    pub(crate) fn expired(&mut self, before: Instant) -> Option<Batch> {
        if let Some(index) = self.in_flight.iter().position(|batch| batch.created <= before) {
            return Some(self.in_flight.remove(index));
        }
        self.waiting.front().filter(|batch| batch.created <= before)?;
        self.waiting.pop_front()
    }

    /// Whether the outcome of this batch is awaited.
    pub(crate) fn awaits(&self, order: u64) -> bool {
        self.in_flight.iter().any(|batch| batch.order == order)
    }

    /// Takes everything, in order: the producer closes.
    pub(crate) fn abandon(&mut self) -> Vec<Batch> {
        let mut all = std::mem::take(&mut self.in_flight);
        all.extend(self.waiting.drain(..));
        all.sort_by_key(|batch| batch.order);
        all
    }
}

/// The batch with another stamp, and the checksum that goes with it.
fn stamped(bytes: Bytes, stamp: Stamp) -> Bytes {
    let mut bytes = bytes.try_into_mut().unwrap_or_else(|shared| BytesMut::from(&shared[..]));
    bytes[AT_PRODUCER_ID..][..8].copy_from_slice(&stamp.identity.producer_id.to_be_bytes());
    bytes[AT_PRODUCER_EPOCH..][..2].copy_from_slice(&stamp.identity.epoch.to_be_bytes());
    bytes[AT_BASE_SEQUENCE..][..4].copy_from_slice(&stamp.sequence.to_be_bytes());
    let crc = crc32c::crc32c(&bytes[AT_ATTRIBUTES..]);
    bytes[AT_CRC..][..4].copy_from_slice(&crc.to_be_bytes());
    bytes.freeze()
}

#[cfg(test)]
mod tests {
    use kohort_protocol::records::Batch as ReadBatch;

    use super::*;

    fn queue() -> Queue {
        let mut queue = Queue::new(1024, true);
        queue.identify(Identity { producer_id: 7, epoch: 0 });
        queue.confirmed = true;
        queue
    }

    /// Closes a batch of `records` records.
    fn close(queue: &mut Queue, order: u64, records: usize) {
        queue.open(order, Outcome::new("t".into(), 0), Instant::now());
        for _ in 0..records {
            queue.builder().append(0, None, Some(b"x"), &[]).unwrap();
            queue.count(1);
        }
        queue.close(Codec::None, &mut Compressor::new()).unwrap();
    }

    /// Order, epoch and sequence of the next batch to send.
    fn send(queue: &mut Queue) -> Option<(u64, i16, i32)> {
        if !queue.may_send(Instant::now()) {
            return None;
        }
        let batch = queue.next()?;
        let read = ReadBatch::parse(&batch.bytes).unwrap();
        read.check_crc().unwrap();
        Some((batch.order, read.header().producer_epoch, read.header().base_sequence))
    }

    fn again(queue: &mut Queue, order: u64) {
        let batch = queue.landed(order).unwrap();
        queue.again(batch, Instant::now(), |_| Duration::ZERO);
    }

    #[test]
    fn sequences_count_records() {
        let mut queue = queue();
        for (order, records) in [(1, 3), (2, 1), (3, 5)] {
            close(&mut queue, order, records);
        }
        assert_eq!(send(&mut queue), Some((1, 0, 0)));
        assert_eq!(send(&mut queue), Some((2, 0, 3)));
        assert_eq!(send(&mut queue), Some((3, 0, 4)));
    }

    #[test]
    fn batches_closed_before_the_identity_is_known_are_stamped_with_it() {
        let mut queue = Queue::new(1024, true);
        close(&mut queue, 1, 2);
        close(&mut queue, 2, 2);
        assert!(queue.needs_identity());
        queue.identify(Identity { producer_id: 7, epoch: 3 });
        assert_eq!(send(&mut queue), Some((1, 3, 0)));
        assert_eq!(send(&mut queue), None, "the broker does not know the identity yet");
        queue.landed(1).unwrap();
        queue.written();
        assert_eq!(send(&mut queue), Some((2, 3, 2)));
        close(&mut queue, 3, 1);
        assert_eq!(send(&mut queue), Some((3, 3, 4)));
    }

    #[test]
    fn a_retry_waits_for_all_in_flight_and_keeps_order_and_sequence() {
        let mut queue = queue();
        for order in 1..=4 {
            close(&mut queue, order, 1);
        }
        for order in 1..=3 {
            assert_eq!(send(&mut queue).unwrap().0, order);
        }
        again(&mut queue, 1);
        assert_eq!(send(&mut queue), None, "2 and 3 are in flight");
        again(&mut queue, 2);
        again(&mut queue, 3);
        for order in 1..=4 {
            assert_eq!(send(&mut queue), Some((order, 0, order as i32 - 1)));
        }
    }

    #[test]
    fn batches_that_are_lost_together_are_one_failure() {
        let mut queue = queue();
        for order in 1..=5 {
            close(&mut queue, order, 1);
            send(&mut queue).unwrap();
        }
        let (now, mut waits) = (Instant::now(), vec![]);
        for order in 1..=5 {
            let batch = queue.landed(order).unwrap();
            queue.again(batch, now, |failures| {
                waits.push(failures);
                Duration::from_millis(100)
            });
        }
        assert_eq!((waits, queue.retry_at), (vec![1], Some(now + Duration::from_millis(100))));
    }

    #[test]
    fn a_batch_that_is_too_old_is_given_up_in_flight_and_out_of_it() {
        let mut queue = queue();
        let early = Instant::now();
        for order in 1..=2 {
            close(&mut queue, order, 1);
        }
        assert!(queue.oldest().is_some_and(|oldest| oldest >= early));
        send(&mut queue).unwrap();
        assert!(queue.expired(early.checked_sub(Duration::from_secs(1)).unwrap()).is_none());
        let late = Instant::now();
        for order in 1..=2 {
            assert_eq!(queue.awaits(order), order == 1);
            let batch = queue.expired(late).unwrap();
            assert_eq!(batch.order, order);
            queue.given_up(&batch);
            assert!(!queue.awaits(order), "a late answer changes nothing");
        }
        assert_eq!(queue.oldest(), None);
        close(&mut queue, 3, 1);
        assert_eq!(send(&mut queue), Some((3, 1, 0)));
    }

    #[test]
    fn a_batch_that_is_given_up_starts_a_new_epoch_behind_it() {
        let mut queue = queue();
        for order in 1..=3 {
            close(&mut queue, order, 2);
        }
        assert_eq!(send(&mut queue), Some((1, 0, 0)));
        assert_eq!(send(&mut queue), Some((2, 0, 2)));
        let failed = queue.landed(1).unwrap();
        queue.given_up(&failed);
        assert_eq!(send(&mut queue), None, "2 is in flight");
        again(&mut queue, 2);
        assert_eq!(send(&mut queue), Some((2, 1, 0)));
        queue.landed(2).unwrap();
        queue.written();
        assert_eq!(send(&mut queue), Some((3, 1, 2)));
        close(&mut queue, 4, 1);
        assert_eq!(send(&mut queue), Some((4, 1, 4)));
    }

    #[test]
    fn when_epochs_are_used_up_another_producer_id_is_needed() {
        let mut queue = Queue::new(1024, true);
        queue.identify(Identity { producer_id: 7, epoch: i16::MAX });
        close(&mut queue, 1, 1);
        send(&mut queue);
        let failed = queue.landed(1).unwrap();
        queue.given_up(&failed);
        assert!(queue.needs_identity());
        queue.identify(Identity { producer_id: 8, epoch: 0 });
        close(&mut queue, 2, 1);
        assert_eq!(send(&mut queue), Some((2, 0, 0)));
    }

    #[test]
    fn without_idempotence_nothing_is_stamped() {
        let mut queue = Queue::new(1024, false);
        close(&mut queue, 1, 1);
        assert!(!queue.needs_identity());
        assert_eq!(send(&mut queue), Some((1, -1, -1)));
        let failed = queue.landed(1).unwrap();
        queue.given_up(&failed);
        close(&mut queue, 2, 1);
        assert_eq!(send(&mut queue), Some((2, -1, -1)));
    }
}
