//! The producer: records into batches, batches to leaders, acknowledgements back.
//!
//! A record is encoded into its partition's open batch at `send`, from borrowed slices; nothing is allocated for it. An
//! [`Ack`] is a share of its batch's outcome; who only wants counts uses [`Producer::enqueue`] and
//! [`ProducerBuilder::on_delivery`], which is called once a batch.

use std::sync::Arc;
use std::time::Duration;

use kohort_group::messages::{Offset, Partition};

use crate::Client;

mod ack;
mod builder;

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

/// A producer. Cheap to clone; all clones share buffers and connections.
#[derive(Clone, Debug)]
pub struct Producer {}

impl Producer {
    /// Puts the record into its batch, waiting (for `max.block.ms` at most) while the buffer is full. The returned [`Ack`] tells its fate.
    pub async fn send(&self, _record: Outgoing<'_>) -> Result<Ack, SendError> {
        unimplemented!()
    }

    /// As [`send`](Self::send), for who counts: the fate goes to [`ProducerBuilder::on_delivery`] and [`delivered`](Self::delivered).
    pub async fn enqueue(&self, _record: Outgoing<'_>) -> Result<(), SendError> {
        unimplemented!()
    }

    /// Sends what is in open batches at once, and waits until all that was sent before is acknowledged or given up.
    pub async fn flush(&self) {
        unimplemented!()
    }

    /// Counts since the start.
    #[must_use]
    pub fn delivered(&self) -> Delivered {
        unimplemented!()
    }

    /// Flushes for `timeout` at most, then gives up what is left: its acks get [`ProduceError::Closed`].
    pub async fn close(self, _timeout: Duration) -> Result<(), CloseError> {
        unimplemented!()
    }
}

impl ProducerBuilder {
    /// Makes the producer; it connects when the first record is sent. Needs to be called within a tokio runtime.
    #[must_use]
    pub fn build(self) -> Producer {
        let _client: Client = self.client;
        unimplemented!()
    }
}
