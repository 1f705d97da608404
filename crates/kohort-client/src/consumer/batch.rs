//! A batch as it was fetched, and the records that it lends.

use std::sync::Arc;

use bytes::Bytes;
use kohort_group::messages::{Offset, Partition, TopicPartition};
use kohort_protocol::records::{self, BatchHeader, Record, RecordError};

/// Records of one partition, in order: one batch of the log, checked and decompressed, without what lies before the
/// position.
///
/// It owns (a share of) the buffer that the socket filled, so it can be sent to another task at no cost; its records are
/// slices of that buffer. The buffer returns to its pool when the last batch in it is dropped: keep batches
/// briefly, and what has to stay as [`OwnedRecord`] or as bytes of your own.
#[derive(Clone, Debug)]
pub struct FetchedBatch {
    pub(crate) topic: Arc<str>,
    pub(crate) partition: Partition,
    pub(crate) high_watermark: Offset,
    pub(crate) header: BatchHeader,
    /// What follows the header, decompressed.
    pub(crate) body: Bytes,
    /// The position: records before it are in the batch, but not lent.
    pub(crate) from: Offset,
}

/// The records of a batch, from the position on. The first error is the last item.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    records: records::Records<'a>,
    from: Offset,
}

/// A record that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnedRecord {
    /// Its topic.
    pub topic: Arc<str>,
    /// Its partition.
    pub partition: Partition,
    /// Its offset.
    pub offset: Offset,
    /// Milliseconds since the epoch.
    pub timestamp: i64,
    /// Its key.
    pub key: Option<Bytes>,
    /// Its value.
    pub value: Option<Bytes>,
    /// Its headers; a name that is not UTF-8 is mended.
    pub headers: Vec<(String, Option<Bytes>)>,
}

impl FetchedBatch {
    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &str {
        &self.topic
    }

    /// The topic, shared.
    #[must_use]
    pub fn topic_shared(&self) -> Arc<str> {
        self.topic.clone()
    }

    /// The partition.
    #[must_use]
    pub fn partition(&self) -> Partition {
        self.partition
    }

    /// Topic and partition.
    #[must_use]
    pub fn topic_partition(&self) -> TopicPartition {
        TopicPartition::new(&*self.topic, self.partition)
    }

    /// The offset after the newest record of the partition, when this was fetched.
    #[must_use]
    pub fn high_watermark(&self) -> Offset {
        self.high_watermark
    }

    /// The offset where it begins: no record lent from it lies before.
    #[must_use]
    pub fn first_offset(&self) -> Offset {
        self.header.base_offset.max(self.from)
    }

    /// The offset after its last record: what to commit once all of it is done.
    #[must_use]
    pub fn next_offset(&self) -> Offset {
        self.header.next_offset()
    }

    /// The epoch of the leader that wrote it.
    #[must_use]
    pub fn leader_epoch(&self) -> i32 {
        self.header.leader_epoch
    }

    /// The header as it is in the log.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// How many records it has at most (fewer are lent where the position is in its middle).
    #[must_use]
    pub fn len(&self) -> usize {
        self.header.record_count.max(0) as usize
    }

    /// Whether it has none at all: compaction leaves such batches.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The size of its records in bytes, decompressed.
    #[must_use]
    pub fn size(&self) -> usize {
        self.body.len()
    }

    /// Its records. Nothing is allocated or copied. An error is a writer's mistake behind a valid checksum; it ends the iteration.
    #[must_use]
    pub fn records(&self) -> Records<'_> {
        Records { records: records::Records::new(&self.header, &self.body), from: self.from }
    }

    /// The bytes of a key or value of this batch, shared instead of copied: the buffer stays alive with them.
    ///
    /// # Panics
    /// If `slice` is not of this batch.
    #[must_use]
    pub fn share(&self, slice: &[u8]) -> Bytes {
        self.body.slice_ref(slice)
    }

    /// A copy of `record` that keeps nothing alive.
    #[must_use]
    pub fn to_owned(&self, record: &Record<'_>) -> OwnedRecord {
        OwnedRecord {
            topic: self.topic.clone(),
            partition: self.partition,
            offset: record.offset,
            timestamp: record.timestamp,
            key: record.key.map(Bytes::copy_from_slice),
            value: record.value.map(Bytes::copy_from_slice),
            headers: record
                .headers
                .map(|(name, value)| {
                    (String::from_utf8_lossy(name).into_owned(), value.map(Bytes::copy_from_slice))
                })
                .collect(),
        }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, RecordError>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.records.next()? {
                Ok(record) if record.offset < self.from => {}
                other => return Some(other),
            }
        }
    }
}
