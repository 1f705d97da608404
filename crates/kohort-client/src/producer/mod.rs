//! The producer: records into batches, batches to leaders, acknowledgements back.
//!
//! A record is encoded into its partition's open batch at `send`, from borrowed slices; nothing is allocated for it. An
//! [`Ack`] is a share of its batch's outcome; who only wants counts uses [`Producer::enqueue`] and
//! [`ProducerBuilder::on_delivery`], which is called once a batch.

use std::sync::Arc;
use std::time::Duration;

use kohort_group::messages::{Offset, Partition};

use kohort_protocol::records::record_size;

use self::ack::Outcome;
use self::sender::{Shared, State, Told, Topic};

mod ack;
mod builder;
mod partitioner;
mod queue;
mod sender;

pub use ack::Ack;
pub use builder::{Acks, ProducerBuilder};
pub use kohort_protocol::records::Codec as Compression;

/// A record to send, borrowed.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outgoing<'a> {
    /// Where to.
    pub topic: &'a str,
    /// Which partition; `None` lets the partitioner choose: by murmur2 of the key as Java's client, or, without a key, one partition for a batch's while (KIP-480).
    pub partition: Option<Partition>,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value; `None` is a tombstone.
    pub value: Option<&'a [u8]>,
    /// The headers.
    pub headers: &'a [(&'a str, Option<&'a [u8]>)],
    /// Milliseconds since the epoch; `None` is now.
    pub timestamp: Option<i64>,
}

impl<'a> Outgoing<'a> {
    /// A record for `topic`, with nothing in it yet.
    #[must_use]
    pub fn to(topic: &'a str) -> Self {
        Self { topic, ..Self::default() }
    }

    /// Sets the partition.
    #[must_use]
    pub fn partition(mut self, partition: Partition) -> Self {
        self.partition = Some(partition);
        self
    }

    /// Sets the key.
    #[must_use]
    pub fn key(mut self, key: &'a [u8]) -> Self {
        self.key = Some(key);
        self
    }

    /// Sets the value.
    #[must_use]
    pub fn value(mut self, value: &'a [u8]) -> Self {
        self.value = Some(value);
        self
    }

    /// Sets the headers.
    #[must_use]
    pub fn headers(mut self, headers: &'a [(&'a str, Option<&'a [u8]>)]) -> Self {
        self.headers = headers;
        self
    }

    /// Sets the time, in milliseconds since the epoch.
    #[must_use]
    pub fn timestamp(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where a record went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RecordMetadata {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: Partition,
    /// Its offset; -1 with `acks=0`, or when an earlier attempt had been written without our hearing of it.
    pub offset: Offset,
}

/// What became of one batch; see [`ProducerBuilder::on_delivery`].
#[derive(Clone, Debug)]
pub struct Delivery {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: Partition,
    /// How many records it has.
    pub records: u32,
    /// The offset of the first, or why none was written.
    pub result: Result<Offset, ProduceError>,
}

/// Why a record was not taken.
#[derive(Clone, Debug, thiserror::Error)]
pub enum SendError {
    /// Larger than `max.request.size`.
    #[error("record of {size} bytes is larger than `max.request.size`, {limit} bytes")]
    TooLarge {
        /// Its size as encoded, about.
        size: usize,
        /// The limit.
        limit: usize,
    },
    /// The topic has no such partition.
    #[error("topic `{topic}` has no partition `{partition}`")]
    NoPartition {
        /// The topic.
        topic: String,
        /// The partition.
        partition: Partition,
    },
    /// `max.block.ms` passed while the buffer was full or the topic unknown.
    #[error("no room in the buffer, or no metadata for topic `{topic}`, within {after:?}")]
    Timeout {
        /// The topic.
        topic: String,
        /// How long was waited.
        after: Duration,
    },
    /// The producer is closed.
    #[error("the producer is closed")]
    Closed,
}

/// Why a batch was not written, or is not known to be.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ProduceError {
    /// The broker refuses it, and would again.
    #[error("refused with error code `{code}`{}", .message.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// Kafka's number.
        code: i16,
        /// The broker's text.
        message: Option<Arc<str>>,
    },
    /// `delivery.timeout.ms` passed. It may or may not have been written.
    #[error("not acknowledged within {after:?}")]
    Timeout {
        /// `delivery.timeout.ms`.
        after: Duration,
    },
    /// The producer was closed before it was sent.
    #[error("the producer was closed before the record was acknowledged")]
    Closed,
}

/// What `close` could not deliver.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{records} records were not acknowledged before the producer was closed")]
pub struct CloseError {
    /// How many.
    pub records: u64,
}

/// How many records went which way since the producer was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Delivered {
    /// Acknowledged.
    pub acked: u64,
    /// Given up.
    pub failed: u64,
}

/// A producer. Cheap to clone; all clones share buffers and connections. When the last is dropped, what was sent is still
/// delivered in the background, if the runtime lives on.
#[derive(Clone, Debug)]
pub struct Producer {
    last: Arc<Last>,
}

/// Closes the producer with its last clone.
#[derive(Debug)]
struct Last(Arc<Shared>);

impl Drop for Last {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_one();
    }
}

/// What became of an attempt to take a record.
enum Attempt {
    Taken {
        outcome: Option<(Arc<Outcome>, u32)>,
        closed_batch: bool,
    },
    /// `buffer.memory` is used up.
    Full,
    /// The topic or its partition is not known (yet).
    Unknown,
}

impl ProducerBuilder {
    /// Makes the producer; it connects when the first record is sent.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    #[must_use]
    pub fn build(self) -> Producer {
        self.client.cluster.start();
        let shared = Shared::new(self);
        tokio::spawn(shared.clone().run());
        Producer { last: Arc::new(Last(shared)) }
    }
}

impl Producer {
    fn shared(&self) -> &Arc<Shared> {
        &self.last.0
    }

    /// Puts the record into its batch, waiting (for `max.block.ms` at most) while the buffer is full. The returned [`Ack`]
    /// tells its fate.
    ///
    /// # Errors
    /// See [`SendError`]: the record was not taken.
    pub async fn send(&self, record: Outgoing<'_>) -> Result<Ack, SendError> {
        match self.append(&record, true).await? {
            Some((outcome, index)) => Ok(outcome.ack(index)),
            None => Err(SendError::Closed),
        }
    }

    /// As [`send`](Self::send), for who counts: the fate goes to [`ProducerBuilder::on_delivery`] and
    /// [`delivered`](Self::delivered).
    ///
    /// # Errors
    /// See [`SendError`]: the record was not taken.
    pub async fn enqueue(&self, record: Outgoing<'_>) -> Result<(), SendError> {
        self.append(&record, false).await.map(drop)
    }

    async fn append(
        &self,
        record: &Outgoing<'_>,
        ack: bool,
    ) -> Result<Option<(Arc<Outcome>, u32)>, SendError> {
        let shared = self.shared();
        let timestamp = record.timestamp.unwrap_or_else(now_millis);
        let size = record_size(0, 0, record.key, record.value, record.headers);
        if size > shared.settings.max_request_size {
            return Err(SendError::TooLarge { size, limit: shared.settings.max_request_size });
        }
        let until = tokio::time::Instant::now();
        let limit = shared.settings.max_block;
        loop {
            // Registered before the attempt: room that is made between the two is not missed.
            let room = shared.room.notified();
            match self.attempt(record, timestamp, size, ack)? {
                Attempt::Taken { outcome, closed_batch } => {
                    if closed_batch {
                        // A loop that sends without a pause must let the batches leave.
                        tokio::task::yield_now().await;
                    }
                    return Ok(outcome);
                }
                Attempt::Full => {
                    shared.wake.notify_one();
                    if tokio::time::timeout_at(until + limit, room).await.is_err() {
                        return Err(SendError::Timeout { topic: record.topic.to_owned(), after: limit });
                    }
                }
                Attempt::Unknown => self.learn(record, limit.saturating_sub(until.elapsed())).await?,
            }
        }
    }

    fn attempt(
        &self,
        record: &Outgoing<'_>,
        timestamp: i64,
        size: usize,
        ack: bool,
    ) -> Result<Attempt, SendError> {
        let shared = self.shared();
        let settings = &shared.settings;
        let mut state = shared.lock();
        if state.closed {
            return Err(SendError::Closed);
        }
        let Some(&index) = state.by_name.get(record.topic) else { return Ok(Attempt::Unknown) };
        let State { topics, compressor, used, orders, unsettled, .. } = &mut *state;
        if *used > 0 && *used + size > settings.buffer_memory {
            return Ok(Attempt::Full);
        }
        let topic = &mut topics[index];
        let Some(partition) = choose(topic, record) else { return Ok(Attempt::Unknown) };
        let Topic { name, queues, sticky, stuck, .. } = topic;
        let queue = &mut queues[partition];
        let (key, value, headers) = (record.key, record.value, record.headers);
        let (mut closed_batch, mut broken) = (false, None);
        if queue.is_open() && queue.builder().bytes() + size + RECORD_SLACK_BYTES > settings.batch_size {
            closed_batch = true;
            broken = queue.close(settings.compression, compressor).err();
            if *sticky % queues.len().max(1) == partition {
                (*sticky, *stuck) = (sticky.wrapping_add(1), 0);
            }
        }
        let queue = &mut queues[partition];
        let begins = !queue.is_open();
        if begins {
            *orders += 1;
            unsettled.insert(*orders);
            let index = Partition::try_from(partition).unwrap_or(Partition::MAX);
            queue.open(*orders, Outcome::new(name.clone(), index), std::time::Instant::now());
        }
        let memory = match queue.builder().append(timestamp, key, value, headers) {
            Ok(bytes) => bytes,
            Err(_) => return Err(SendError::TooLarge { size, limit: settings.max_request_size }),
        };
        *used += memory;
        if record.partition.is_none() && record.key.is_none() {
            // KIP-794: after so many bytes, though no batch may ever have been full.
            *stuck += memory;
            if *stuck >= settings.batch_size {
                (*sticky, *stuck) = (sticky.wrapping_add(1), 0);
            }
        }
        let outcome = queue.count(memory).filter(|_| ack).map(|(outcome, index)| (outcome.clone(), index));
        let mut told = Told::default();
        if let Some((batch, error)) = broken.map(|broken| *broken) {
            tracing::error!(error = &error as &dyn std::error::Error, "batch cannot be closed");
            state.settle(batch, Err(ProduceError::Refused { code: -1, message: None }), &mut told);
        }
        drop(state);
        shared.tell(told);
        if begins || closed_batch {
            shared.wake.notify_one();
        }
        Ok(Attempt::Taken { outcome, closed_batch })
    }

    /// Waits for the metadata to know the topic, and the partition if one is named.
    async fn learn(&self, record: &Outgoing<'_>, limit: Duration) -> Result<(), SendError> {
        let shared = self.shared();
        let cluster = &shared.cluster;
        let wanted = cluster.want([Arc::from(record.topic)]);
        let least =
            record.partition.map_or(1, |partition| usize::try_from(partition).map_or(usize::MAX, |p| p + 1));
        let known = cluster
            .metadata_when(limit, |known| {
                known
                    .topics
                    .get(record.topic)
                    .is_some_and(|topic| topic.error == 0 && !topic.partitions.is_empty())
            })
            .await
            .ok_or_else(|| SendError::Timeout {
                topic: record.topic.to_owned(),
                after: shared.settings.max_block,
            })?;
        let count = known.topics.get(record.topic).map_or(0, |topic| topic.partitions.len());
        if count < least {
            let partition = record.partition.unwrap_or(0);
            return Err(SendError::NoPartition { topic: record.topic.to_owned(), partition });
        }
        let mut state = shared.lock();
        let index = match state.by_name.get(record.topic) {
            Some(index) => *index,
            None => {
                let (name, index): (Arc<str>, _) = (record.topic.into(), state.topics.len());
                let sticky = usize::try_from(cluster.roll() % 1024).unwrap_or(0);
                state.topics.push(Topic {
                    name: name.clone(),
                    queues: vec![],
                    sticky,
                    stuck: 0,
                    _wanted: wanted,
                });
                state.by_name.insert(name, index);
                index
            }
        };
        state.grow(index, &known, &shared.settings);
        Ok(())
    }

    /// Sends what is in open batches at once, and waits until all that was sent before is acknowledged or given up.
    pub async fn flush(&self) {
        let shared = self.shared();
        let mark = {
            let mut state = shared.lock();
            state.flushing += 1;
            state.orders
        };
        let _end = Flushing(shared);
        shared.wake.notify_one();
        loop {
            let settled = shared.settled.notified();
            if shared.lock().unsettled.first().is_none_or(|oldest| *oldest > mark) {
                return;
            }
            settled.await;
        }
    }

    /// Counts since the start.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        self.shared().lock().delivered
    }

    /// Flushes for `timeout` at most, then gives up what is left: its acks get [`ProduceError::Closed`]. Other clones can send
    /// no more.
    ///
    /// # Errors
    /// When records were given up here.
    pub async fn close(self, timeout: Duration) -> Result<(), CloseError> {
        self.shared().lock().closed = true;
        self.shared().room.notify_waiters();
        let in_time = tokio::time::timeout(timeout, self.flush()).await.is_ok();
        let before = self.delivered().failed;
        self.shared().abandon();
        let records = self.delivered().failed - before;
        if in_time && records == 0 { Ok(()) } else { Err(CloseError { records }) }
    }
}

/// A record's deltas may take this much more than was counted with deltas of 0.
const RECORD_SLACK_BYTES: usize = 16;

/// Ends a flush, however it ends.
struct Flushing<'a>(&'a Shared);

impl Drop for Flushing<'_> {
    fn drop(&mut self) {
        self.0.lock().flushing -= 1;
    }
}

/// The partition of a record; `None` if the topic has none such (yet).
fn choose(topic: &Topic, record: &Outgoing<'_>) -> Option<usize> {
    let count = topic.queues.len();
    if let Some(partition) = record.partition {
        return usize::try_from(partition).ok().filter(|partition| *partition < count);
    }
    if count == 0 {
        return None;
    }
    Some(match record.key {
        Some(key) => partitioner::of_key(key, count),
        None => topic.sticky % count,
    })
}

fn now_millis() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
