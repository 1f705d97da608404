//! What gathered between two flushes.

use std::collections::HashMap;
use std::sync::Arc;

use crate::{Candle, Interval, Pair, PairKey};

/// A part of a candle: merging all parts, from whichever lane and flush, gives the candle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delta {
    /// Index into [`Deltas::pairs`].
    pub pair: u32,
    /// The candle's interval.
    pub interval: Interval,
    /// The candle's start, unix seconds.
    pub time: i64,
    /// The part.
    pub candle: Candle,
}

/// Parts of candles and the pairs that they belong to.
///
/// As an aggregator hands them over, they are one-minute parts only, sorted by (pair, time), each once;
/// [`Deltas::roll_up`] adds the longer intervals.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Deltas {
    /// The pairs, each once.
    pub pairs: Vec<Arc<Pair>>,
    /// The parts.
    pub candles: Vec<Delta>,
}

impl Deltas {
    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.candles.is_empty()
    }

    /// Merges the deltas of several lanes. The parts must be one-minute parts.
    pub fn merge(mut parts: Vec<Deltas>) -> Deltas {
        parts.retain(|part| !part.is_empty());
        if parts.len() <= 1 {
            return parts.pop().unwrap_or_default();
        }
        let mut numbers: HashMap<&PairKey, u32, foldhash::fast::RandomState> = HashMap::default();
        let mut pairs: Vec<Arc<Pair>> = Vec::new();
        let mut candles = Vec::with_capacity(parts.iter().map(|part| part.candles.len()).sum());
        for part in &parts {
            let renumbered: Vec<u32> = part
                .pairs
                .iter()
                .map(|pair| {
                    let number = *numbers.entry(&pair.key).or_insert_with(|| {
                        pairs.push(Arc::clone(pair));
                        pairs.len() as u32 - 1
                    });
                    if pairs[number as usize].symbols.is_none() && pair.symbols.is_some() {
                        pairs[number as usize] = Arc::clone(pair);
                    }
                    number
                })
                .collect();
            candles.extend(part.candles.iter().map(|d| Delta { pair: renumbered[d.pair as usize], ..*d }));
        }
        Deltas { pairs, candles: merge_equal(candles) }
    }

    /// Adds the six longer intervals, each merged from the one before it.
    pub fn roll_up(&mut self) {
        let mut from = 0..self.candles.len();
        for interval in &Interval::ALL[1..] {
            let start = self.candles.len();
            // Within a pair the times ascend, so the parts of one longer candle stand side by side.
            for at in from {
                let part = self.candles[at];
                let time = interval.start_of(part.time);
                match self.candles[start..].last_mut() {
                    Some(last) if last.pair == part.pair && last.time == time => {
                        last.candle.merge(&part.candle)
                    }
                    _ => self.candles.push(Delta { interval: *interval, time, ..part }),
                }
            }
            from = start..self.candles.len();
        }
    }
}

/// Sorts one-minute parts by (pair, time) and merges equals.
pub(crate) fn merge_equal(parts: Vec<Delta>) -> Vec<Delta> {
    // A part is some 300 bytes: what is sorted are small keys that say where it lies.
    let mut keys: Vec<(u32, i64, u32)> =
        parts.iter().zip(0u32..).map(|(part, at)| (part.pair, part.time, at)).collect();
    if !keys.is_sorted() {
        keys.sort_unstable();
    }
    let mut merged: Vec<Delta> = Vec::with_capacity(parts.len());
    for (pair, time, at) in keys {
        let part = &parts[at as usize];
        match merged.last_mut() {
            Some(last) if last.pair == pair && last.time == time => last.candle.merge(&part.candle),
            _ => merged.push(*part),
        }
    }
    merged
}
