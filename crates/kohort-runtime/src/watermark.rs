//! What may be committed: for each partition the offset below which everything is done. Pure, and the only place that decides it.
//!
//! Records finish in any order; the watermark never passes one that has not. What is finished above a gap is remembered as ranges,
//! so the memory follows the gaps, not the records.

use std::collections::BTreeMap;

/// One partition's watermark.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// Everything below is done.
    done: i64,
    /// Started and not finished: start to end of what was handed out, exclusive; the keys rise.
    handed_out: i64,
    /// Finished ranges above `done`: start to end, exclusive, never touching.
    above: BTreeMap<i64, i64>,
}

impl Watermark {
    /// Reading begins at `position`.
    #[must_use]
    pub fn new(position: i64) -> Self {
        Self { done: position, handed_out: position, above: BTreeMap::new() }
    }

    /// The records from `first` to before `next` are handed out. Offsets that the log does not have (compacted away, or control records)
    /// between what was handed out before and `first` count as done.
    ///
    /// # Panics
    /// When `first` lies below what was handed out: a record would be handled twice at once.
    pub fn hand_out(&mut self, first: i64, next: i64) {
        assert!(first >= self.handed_out && next >= first, "offsets are handed out once and in order");
        if first > self.handed_out {
            let hole = self.handed_out;
            self.handed_out = first;
            self.finish(hole, first);
        }
        self.handed_out = next;
    }

    /// The records from `first` to before `next` are finished. Those below the watermark are passed over.
    pub fn finish(&mut self, first: i64, next: i64) {
        let (mut start, mut end) = (first.max(self.done), next.min(self.handed_out));
        if start >= end {
            return;
        }
        // Swallow every range that touches this one.
        let touching: Vec<i64> =
            self.above.range(..=end).rev().take_while(|(_, e)| **e >= start).map(|(s, _)| *s).collect();
        for s in touching {
            let e = self.above.remove(&s).unwrap_or(s);
            start = start.min(s);
            end = end.max(e);
        }
        if start <= self.done {
            self.done = end;
        } else {
            self.above.insert(start, end);
        }
    }

    /// One past what was handed out.
    #[must_use]
    pub fn handed_out(&self) -> i64 {
        self.handed_out
    }

    /// Everything below this is done: what may be committed.
    #[must_use]
    pub fn committable(&self) -> i64 {
        self.done
    }

    /// Whether all that was handed out is finished.
    #[must_use]
    pub fn is_drained(&self) -> bool {
        self.done == self.handed_out
    }

    /// Records (or holes) between the watermark and what was handed out last.
    #[must_use]
    pub fn open(&self) -> i64 {
        self.handed_out - self.done
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_watermark_waits_at_a_gap() {
        let mut w = Watermark::new(10);
        w.hand_out(10, 15);
        w.finish(12, 15);
        assert_eq!(w.committable(), 10);
        w.finish(10, 11);
        assert_eq!(w.committable(), 11);
        w.finish(11, 12);
        assert_eq!((w.committable(), w.is_drained()), (15, true));
    }

    #[test]
    fn offsets_that_the_log_does_not_have_are_no_gap() {
        let mut w = Watermark::new(0);
        w.hand_out(5, 6);
        w.finish(5, 6);
        assert_eq!(w.committable(), 6);
    }

    #[test]
    fn it_never_passes_an_unfinished_record_whatever_the_order() {
        let mut seed = 7u64;
        let mut next = move |n: u64| {
            seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            (seed >> 33) % n
        };
        for _ in 0..500 {
            let mut w = Watermark::new(0);
            let (mut open, mut at): (Vec<i64>, i64) = (Vec::new(), 0);
            for _ in 0..100 {
                if next(2) == 0 || open.is_empty() {
                    at += next(3) as i64; // holes
                    w.hand_out(at, at + 1);
                    open.push(at);
                    at += 1;
                } else {
                    let o = open.swap_remove(next(open.len() as u64) as usize);
                    w.finish(o, o + 1);
                }
                let lowest = open.iter().min().copied();
                assert!(lowest.is_none_or(|o| w.committable() <= o), "passed {lowest:?}");
                assert_eq!(w.committable() == at, open.is_empty());
            }
        }
    }
}
