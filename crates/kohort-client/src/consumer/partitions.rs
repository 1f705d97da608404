//! The partitions that a consumer reads: where each one is, and what lies fetched for it. Pure state.
//!
//! Three offsets matter: `position`, after the last batch that `next` returned; `fetch_offset`, after the last that was
//! fetched; and between them the chunks, parts of fetch answers, each whole batches.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use kohort_group::messages::{Offset, Partition, TopicPartition};
use kohort_protocol::Uuid;
use kohort_protocol::records::{BatchError, BatchHeader};

use super::SeekTo;
use super::session::Ask;
use crate::net::metadata::Metadata;

/// Where a partition is on its way to being fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The caller has not acknowledged the assignment.
    Waiting,
    /// The committed offset is to be read.
    Committed,
    /// The offset at this place is to be asked for.
    Reset(SeekTo),
    /// It is fetched.
    Fetching,
    /// It is being given up: nothing is returned any more.
    Revoking,
    /// It waits for a `seek`.
    Halted,
}

/// One partition.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) topic: Arc<str>,
    /// Nil as long as nobody told.
    topic_id: Uuid,
    pub(crate) partition: Partition,
    /// Changes with every assignment and seek: what was asked for before it is not taken.
    pub(crate) incarnation: u64,
    pub(crate) phase: Phase,
    pub(crate) paused: bool,
    /// An answer about where to start is awaited.
    pub(crate) resolving: bool,
    pub(crate) retry_at: Option<Instant>,
    pub(crate) failures: u32,
    /// -1: not known.
    pub(crate) position: Offset,
    pub(crate) fetch_offset: Offset,
    last_fetched_epoch: i32,
    /// Broker id; -1: nobody.
    pub(crate) leader: i32,
    pub(crate) leader_epoch: i32,
    /// -1: not known.
    pub(crate) high_watermark: Offset,
    /// The request that fetches it now.
    pub(crate) asked: Option<u64>,
    chunks: VecDeque<Chunk>,
    pub(crate) buffered: usize,
    queued: bool,
}

/// Whole batches of one fetch answer.
#[derive(Debug)]
pub(crate) struct Chunk {
    bytes: Bytes,
    at: usize,
    next_offset: Offset,
    last_epoch: i32,
    /// Aborted transactions that begin here, by first offset (KIP-98); empty when reading uncommitted.
    aborted: VecDeque<(Offset, i64)>,
    /// Producers whose aborted transaction is open at `at`.
    aborting: Vec<i64>,
}

/// A batch as it was fetched.
#[derive(Debug)]
pub(crate) struct RawBatch {
    pub(crate) part: usize,
    pub(crate) incarnation: u64,
    pub(crate) topic: Arc<str>,
    pub(crate) partition: Partition,
    pub(crate) high_watermark: Offset,
    pub(crate) from: Offset,
    pub(crate) header: BatchHeader,
    pub(crate) bytes: Bytes,
    /// The chunk is empty now: there may be room to fetch more.
    pub(crate) chunk_ended: bool,
}

/// All partitions of a consumer.
#[derive(Debug, Default)]
pub(crate) struct Parts {
    slots: Vec<Option<Part>>,
    by_name: HashMap<Arc<str>, BTreeMap<Partition, usize>>,
    /// Partitions with chunks, in the order of their turn.
    ready: VecDeque<usize>,
    pub(crate) buffered: usize,
    incarnations: u64,
}

impl Chunk {
    /// The whole batches of `bytes`; `None` if there is none. The first error that is not a cut tail is returned with what is
    /// before it.
    pub(crate) fn cut(bytes: &Bytes, aborted: VecDeque<(Offset, i64)>) -> (Option<Self>, Option<BatchError>) {
        let (mut at, mut last, mut wrong) = (0, None, None);
        while at < bytes.len() {
            match BatchHeader::parse(&bytes[at..]) {
                Ok(header) if header.size() <= bytes.len() - at => {
                    at += header.size();
                    last = Some(header);
                }
                // A fetch may end anywhere.
                Ok(_) | Err(BatchError::Torn { .. }) => break,
                Err(error) => {
                    wrong = Some(error);
                    break;
                }
            }
        }
        let chunk = last.map(|last| Self {
            bytes: bytes.slice(..at),
            at: 0,
            next_offset: last.next_offset(),
            last_epoch: last.leader_epoch,
            aborted,
            aborting: vec![],
        });
        (chunk, wrong)
    }

    /// The next batch; chunks hold whole ones only.
    fn next(&mut self) -> Option<(BatchHeader, Bytes)> {
        let header = BatchHeader::parse(&self.bytes[self.at..]).ok()?;
        let bytes = self.bytes.slice(self.at..self.at + header.size());
        self.at += header.size();
        Some((header, bytes))
    }

    fn is_done(&self) -> bool {
        self.at == self.bytes.len()
    }

    /// Whether a consumer may see this batch: markers never, and of aborted transactions nothing.
    fn shows(&mut self, header: &BatchHeader) -> bool {
        while let Some(&(first, producer)) = self.aborted.front()
            && first <= header.last_offset()
        {
            self.aborting.push(producer);
            self.aborted.pop_front();
        }
        if header.attributes.is_control() {
            // Its marker ends a transaction, and an aborted one can only end so.
            self.aborting.retain(|producer| *producer != header.producer_id);
            return false;
        }
        !(header.attributes.is_transactional() && self.aborting.contains(&header.producer_id))
    }
}

impl Part {
    /// Goes on at `offset`; what lies fetched is dropped by the caller.
    fn set_position(&mut self, offset: Offset) {
        self.position = offset;
        self.fetch_offset = offset;
        self.last_fetched_epoch = -1;
    }

    /// What to ask of the leader.
    pub(crate) fn ask(&self, max_bytes: i32) -> Ask {
        Ask {
            offset: self.fetch_offset,
            leader_epoch: self.leader_epoch,
            last_fetched_epoch: self.last_fetched_epoch,
            max_bytes,
        }
    }

    /// Its name.
    pub(crate) fn name(&self) -> TopicPartition {
        TopicPartition::new(&*self.topic, self.partition)
    }

    /// Waits before it is tried again.
    pub(crate) fn retry(&mut self, at: Instant) {
        self.failures = (self.failures + 1).min(16);
        self.retry_at = Some(at);
    }
}

impl Parts {
    /// Adds a partition; an existing one is replaced.
    pub(crate) fn add(&mut self, name: &TopicPartition, phase: Phase, metadata: &Metadata) -> usize {
        self.remove(name);
        self.incarnations += 1;
        let known = self.by_name.get_key_value(name.topic.as_str()).map(|(topic, _)| topic.clone());
        let topic: Arc<str> = known.unwrap_or_else(|| name.topic.as_str().into());
        let leader = metadata.leader(&topic, name.partition);
        let part = Part {
            topic_id: metadata.topics.get(&topic).map_or(Uuid::nil(), |topic| topic.id),
            topic: topic.clone(),
            partition: name.partition,
            incarnation: self.incarnations,
            phase,
            paused: false,
            resolving: false,
            retry_at: None,
            failures: 0,
            position: -1,
            fetch_offset: -1,
            last_fetched_epoch: -1,
            leader: leader.map_or(-1, |leader| leader.id),
            leader_epoch: leader.map_or(-1, |leader| leader.epoch),
            high_watermark: -1,
            asked: None,
            chunks: VecDeque::new(),
            buffered: 0,
            queued: false,
        };
        let free = self.slots.iter().position(Option::is_none);
        let id = free.unwrap_or_else(|| {
            self.slots.push(None);
            self.slots.len() - 1
        });
        self.slots[id] = Some(part);
        self.by_name.entry(topic).or_default().insert(name.partition, id);
        id
    }

    /// Removes a partition and what lies fetched for it.
    pub(crate) fn remove(&mut self, name: &TopicPartition) {
        let Some(id) = self.id(name) else { return };
        self.drop_chunks(id);
        self.slots[id] = None;
        if let Some(partitions) = self.by_name.get_mut(name.topic.as_str()) {
            partitions.remove(&name.partition);
            if partitions.is_empty() {
                self.by_name.remove(name.topic.as_str());
            }
        }
    }

    pub(crate) fn id(&self, name: &TopicPartition) -> Option<usize> {
        self.find(&name.topic, name.partition)
    }

    pub(crate) fn find(&self, topic: &str, partition: Partition) -> Option<usize> {
        self.by_name.get(topic)?.get(&partition).copied()
    }

    pub(crate) fn get(&self, id: usize) -> Option<&Part> {
        self.slots.get(id)?.as_ref()
    }

    pub(crate) fn get_mut(&mut self, id: usize) -> Option<&mut Part> {
        self.slots.get_mut(id)?.as_mut()
    }

    /// The partition, unless it was assigned anew or moved by a seek since.
    pub(crate) fn same(&mut self, id: usize, incarnation: u64) -> Option<&mut Part> {
        self.get_mut(id).filter(|part| part.incarnation == incarnation)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (usize, &Part)> {
        self.slots.iter().enumerate().filter_map(|(id, part)| Some((id, part.as_ref()?)))
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut Part)> {
        self.slots.iter_mut().enumerate().filter_map(|(id, part)| Some((id, part.as_mut()?)))
    }

    /// All names, sorted.
    pub(crate) fn names(&self) -> Vec<TopicPartition> {
        let mut names: Vec<_> = self.iter().map(|(_, part)| part.name()).collect();
        names.sort();
        names
    }

    /// Goes on at `offset`, whatever was before.
    pub(crate) fn start_at(&mut self, id: usize, offset: Offset) {
        self.drop_chunks(id);
        self.incarnations += 1;
        let incarnation = self.incarnations;
        if let Some(part) = self.get_mut(id) {
            part.set_position(offset);
            part.incarnation = incarnation;
            (part.phase, part.resolving, part.asked) = (Phase::Fetching, false, None);
            (part.retry_at, part.failures) = (None, 0);
        }
    }

    /// Goes on where `phase` will find; nothing from before is returned.
    pub(crate) fn restart(&mut self, id: usize, phase: Phase) {
        self.drop_chunks(id);
        self.incarnations += 1;
        let incarnation = self.incarnations;
        if let Some(part) = self.get_mut(id) {
            part.incarnation = incarnation;
            (part.phase, part.resolving, part.asked) = (phase, false, None);
        }
    }

    /// Drops what lies fetched.
    pub(crate) fn drop_chunks(&mut self, id: usize) {
        let Some(part) = self.slots.get_mut(id).and_then(Option::as_mut) else { return };
        self.buffered -= part.buffered;
        part.buffered = 0;
        part.chunks.clear();
        part.queued = false;
        part.fetch_offset = part.position;
        self.ready.retain(|ready| *ready != id);
    }

    /// Takes what was fetched.
    pub(crate) fn push(&mut self, id: usize, chunk: Chunk) {
        let Some(part) = self.slots.get_mut(id).and_then(Option::as_mut) else { return };
        part.fetch_offset = chunk.next_offset;
        part.last_fetched_epoch = chunk.last_epoch;
        part.buffered += chunk.bytes.len();
        self.buffered += chunk.bytes.len();
        part.chunks.push_back(chunk);
        if !part.queued && !part.paused {
            part.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Stops returning it; what lies fetched stays.
    pub(crate) fn pause(&mut self, id: usize) {
        if let Some(part) = self.get_mut(id) {
            (part.paused, part.queued) = (true, false);
            self.ready.retain(|ready| *ready != id);
        }
    }

    /// Undoes `pause`.
    pub(crate) fn resume(&mut self, id: usize) {
        let Some(part) = self.slots.get_mut(id).and_then(Option::as_mut) else { return };
        part.paused = false;
        if !part.queued && !part.chunks.is_empty() {
            part.queued = true;
            self.ready.push_back(id);
        }
    }

    /// Whether a batch could be returned.
    pub(crate) fn is_ready(&self) -> bool {
        !self.ready.is_empty()
    }

    /// The next batch to return; its partition's position is after it from now on.
    pub(crate) fn pop(&mut self) -> Option<RawBatch> {
        while let Some(&id) = self.ready.front() {
            let Some(part) = self.slots.get_mut(id).and_then(Option::as_mut) else {
                self.ready.pop_front();
                continue;
            };
            let Some(chunk) = part.chunks.front_mut() else {
                part.queued = false;
                self.ready.pop_front();
                continue;
            };
            let batch = chunk.next();
            let shown = batch.as_ref().is_some_and(|(header, _)| chunk.shows(header));
            let chunk_ended = batch.is_none() || chunk.is_done();
            if chunk_ended {
                // Its turn is over: another partition's comes.
                part.buffered -= chunk.bytes.len();
                self.buffered -= chunk.bytes.len();
                part.chunks.pop_front();
                self.ready.pop_front();
                part.queued = !part.chunks.is_empty();
                if part.queued {
                    self.ready.push_back(id);
                }
            }
            let Some((header, bytes)) = batch else { continue };
            let from = part.position;
            if header.next_offset() <= from {
                continue;
            }
            part.position = header.next_offset();
            if !shown {
                continue;
            }
            return Some(RawBatch {
                part: id,
                incarnation: part.incarnation,
                topic: part.topic.clone(),
                partition: part.partition,
                high_watermark: part.high_watermark,
                from,
                header,
                bytes,
                chunk_ended,
            });
        }
        None
    }

    /// Takes the leaders from the metadata. Returns the partitions whose topic is another one under the same name: what was
    /// read of the former tells nothing of it.
    pub(crate) fn follow(&mut self, metadata: &Metadata) -> Vec<usize> {
        let mut renewed = vec![];
        for (id, part) in self.iter_mut() {
            let Some(leader) = metadata.leader(&part.topic, part.partition) else { continue };
            if (leader.id, leader.epoch) != (part.leader, part.leader_epoch) {
                (part.leader, part.leader_epoch) = (leader.id, leader.epoch);
                part.retry_at = None;
            }
            let known = metadata.topics.get(&part.topic).map_or(Uuid::nil(), |topic| topic.id);
            if known != part.topic_id {
                let before = std::mem::replace(&mut part.topic_id, known);
                if !before.is_nil() && !known.is_nil() {
                    renewed.push(id);
                }
            }
        }
        renewed
    }
}
