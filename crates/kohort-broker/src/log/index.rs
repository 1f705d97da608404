//! Where in a segment to look for an offset or a time: sparse, sorted, rebuilt when in doubt.
//!
//! Both have Kafka's file format (big-endian relative offset and position; timestamp and relative offset). An offset entry
//! names the *first* offset of the batch at its position, where Kafka names the last: both satisfy "the batch wanted is
//! here or further on", and a reader that goes on where it stopped then lands exactly.

/// Relative offset and position of a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct OffsetIndex {
    entries: Vec<(u32, u32)>,
}

const OFFSET_ENTRY_BYTES: usize = 8;
const TIME_ENTRY_BYTES: usize = 12;

impl OffsetIndex {
    /// Adds an entry beyond the last one.
    pub(super) fn push(&mut self, relative_offset: u32, position: u32) {
        debug_assert!(self.entries.last().is_none_or(|last| last.0 < relative_offset && last.1 < position));
        self.entries.push((relative_offset, position));
    }

    /// The position at or before which the batch with `relative_offset` begins.
    pub(super) fn position(&self, relative_offset: u32) -> u32 {
        match self.entries.partition_point(|entry| entry.0 <= relative_offset) {
            0 => 0,
            n => self.entries[n - 1].1,
        }
    }

    pub(super) fn last(&self) -> Option<(u32, u32)> {
        self.entries.last().copied()
    }

    /// Bytes of its file.
    pub(super) fn bytes(&self) -> usize {
        self.entries.len() * OFFSET_ENTRY_BYTES
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.bytes());
        for (offset, position) in &self.entries {
            out.extend_from_slice(&offset.to_be_bytes());
            out.extend_from_slice(&position.to_be_bytes());
        }
        out
    }

    /// `None` if the bytes are not the index of a segment of `size` bytes.
    pub(super) fn decode(bytes: &[u8], size: u64) -> Option<Self> {
        let (entries, []) = bytes.as_chunks::<OFFSET_ENTRY_BYTES>() else { return None };
        let entries: Vec<(u32, u32)> = entries
            .iter()
            .map(|&[a, b, c, d, e, f, g, h]| {
                (u32::from_be_bytes([a, b, c, d]), u32::from_be_bytes([e, f, g, h]))
            })
            .collect();
        let rises = entries.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1);
        let fits = entries.last().is_none_or(|last| u64::from(last.1) < size);
        (rises && fits).then_some(Self { entries })
    }
}

/// The largest timestamp so far, and the offset of the batch that has it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TimeIndex {
    entries: Vec<(i64, u32)>,
}

impl TimeIndex {
    /// Adds an entry if its time is beyond the last one's.
    pub(super) fn push(&mut self, timestamp: i64, relative_offset: u32) {
        if self.entries.last().is_none_or(|last| last.0 < timestamp && last.1 <= relative_offset) {
            self.entries.push((timestamp, relative_offset));
        }
    }

    /// The relative offset before which every timestamp is below `timestamp`.
    pub(super) fn offset(&self, timestamp: i64) -> u32 {
        match self.entries.partition_point(|entry| entry.0 < timestamp) {
            0 => 0,
            n => self.entries[n - 1].1,
        }
    }

    pub(super) fn last(&self) -> Option<(i64, u32)> {
        self.entries.last().copied()
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.entries.len() * TIME_ENTRY_BYTES);
        for (timestamp, offset) in &self.entries {
            out.extend_from_slice(&timestamp.to_be_bytes());
            out.extend_from_slice(&offset.to_be_bytes());
        }
        out
    }

    /// `None` if the bytes are not a time index.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let (entries, []) = bytes.as_chunks::<TIME_ENTRY_BYTES>() else { return None };
        let entries: Vec<(i64, u32)> = entries
            .iter()
            .map(|&[a, b, c, d, e, f, g, h, i, j, k, l]| {
                (i64::from_be_bytes([a, b, c, d, e, f, g, h]), u32::from_be_bytes([i, j, k, l]))
            })
            .collect();
        entries.is_sorted_by(|a, b| a.0 < b.0 && a.1 <= b.1).then_some(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_offset_is_at_or_after_the_entry_before_it() {
        let mut index = OffsetIndex::default();
        assert_eq!(index.position(5), 0);
        index.push(10, 4096);
        index.push(30, 9000);
        for (offset, position) in [(0, 0), (9, 0), (10, 4096), (29, 4096), (30, 9000), (99, 9000)] {
            assert_eq!(index.position(offset), position);
        }
        assert_eq!(OffsetIndex::decode(&index.encode(), 9001), Some(index.clone()));
        assert_eq!(OffsetIndex::decode(&index.encode(), 9000), None);
        assert_eq!(OffsetIndex::decode(&index.encode()[1..], 9001), None);
    }

    #[test]
    fn times_before_the_entry_are_smaller() {
        let mut index = TimeIndex::default();
        index.push(100, 3);
        index.push(90, 5);
        index.push(200, 8);
        for (timestamp, offset) in [(50, 0), (100, 0), (101, 3), (200, 3), (201, 8)] {
            assert_eq!(index.offset(timestamp), offset);
        }
        assert_eq!(TimeIndex::decode(&index.encode()), Some(index.clone()));
    }
}
