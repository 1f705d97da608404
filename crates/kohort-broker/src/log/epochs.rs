//! Which leader epoch began at which offset (KIP-101), for OffsetForLeaderEpoch.

use std::fmt::Write;

/// (epoch, first offset), both rising.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Epochs {
    entries: Vec<(i32, i64)>,
}

impl Epochs {
    /// Notes that the batch at `offset` has `epoch`; whether that was news.
    pub(super) fn note(&mut self, epoch: i32, offset: i64) -> bool {
        let news = epoch >= 0 && self.entries.last().is_none_or(|last| last.0 < epoch && last.1 <= offset);
        if news {
            // An epoch that wrote nothing has no records: its successor begins at the same offset.
            self.entries.retain(|entry| entry.1 < offset);
            self.entries.push((epoch, offset));
        }
        news
    }

    /// The epoch of the newest record.
    pub(super) fn latest(&self) -> Option<i32> {
        self.entries.last().map(|entry| entry.0)
    }

    /// The largest epoch not above `epoch`, and where it ends.
    pub(super) fn end_of(&self, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        let next = self.entries.partition_point(|entry| entry.0 <= epoch);
        let (found, _) = *self.entries.get(next.checked_sub(1)?)?;
        Some((found, self.entries.get(next).map_or(log_end, |entry| entry.1)))
    }

    /// Forgets what is at or beyond `end`.
    pub(super) fn truncate(&mut self, end: i64) {
        self.entries.retain(|entry| entry.1 < end);
    }

    /// The log begins at `start` now: the epoch in force there begins there.
    pub(super) fn truncate_front(&mut self, start: i64) {
        let passed = self.entries.partition_point(|entry| entry.1 <= start);
        if passed > 0 {
            self.entries.drain(..passed - 1);
            self.entries[0].1 = start;
        }
    }

    pub(super) fn encode(&self) -> String {
        self.entries.iter().fold(String::new(), |mut out, (epoch, offset)| {
            let _ = writeln!(out, "{epoch} {offset}"); // A String takes everything.
            out
        })
    }

    /// `None` if the text is damaged.
    pub(super) fn decode(text: &str) -> Option<Self> {
        let entry = |line: &str| {
            let (epoch, offset) = line.split_once(' ')?;
            Some((epoch.parse().ok()?, offset.parse().ok()?))
        };
        let entries: Vec<(i32, i64)> = text.lines().map(entry).collect::<Option<_>>()?;
        entries.is_sorted_by(|a, b| a.0 < b.0 && a.1 < b.1).then_some(Self { entries })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_epoch_ends_where_the_next_begins() {
        let mut epochs = Epochs::default();
        assert_eq!(epochs.end_of(3, 9), None);
        assert!(epochs.note(1, 0) && !epochs.note(1, 5) && epochs.note(4, 7));
        for (asked, found) in
            [(0, None), (1, Some((1, 7))), (3, Some((1, 7))), (4, Some((4, 9))), (8, Some((4, 9)))]
        {
            assert_eq!(epochs.end_of(asked, 9), found);
        }
        assert_eq!(Epochs::decode(&epochs.encode()), Some(epochs.clone()));
        epochs.truncate_front(3);
        assert_eq!(epochs.encode(), "1 3\n4 7\n");
        epochs.truncate(7);
        assert_eq!(epochs.latest(), Some(1));
        assert_eq!(Epochs::decode("1 x\n"), None);
    }
}
