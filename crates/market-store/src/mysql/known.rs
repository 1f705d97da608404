//! What a store remembers of a group between flushes, and what follows from it.
//!
//! Nothing in it is the truth: the database is. It holds for as long as nobody else has written for the group.

use std::collections::{HashMap, HashSet};

use market_data::{Candle, Interval, PairKey};

/// Candles that are remembered, at most.
const REMEMBERED_MAX: usize = 100_000;

/// A candle's place in its table, and the order of the table.
pub(super) type Key = (Interval, i64, u32);

/// A series that is certainly in the database.
#[derive(Debug, Clone, Copy)]
pub(super) struct Series {
    pub(super) id: u32,
    /// Whether the database knows its symbols.
    pub(super) told: bool,
}

/// The days of a series between which its candles lie, and the time of its last trade.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) first_day: i64,
    pub(super) last_day: i64,
    pub(super) last_trade_at: i64,
}

#[derive(Debug)]
struct Known {
    candle: Candle,
    /// Whether all shorter candles inside of it that the database has are remembered as well.
    whole: bool,
    /// The flush that touched it last. Kept up to date for days only.
    flush: u64,
}

/// What is remembered of a group.
#[derive(Debug, Default)]
pub(super) struct Memory {
    /// The group's number of changes, as the last flush left it.
    changes: i64,
    flushes: u64,
    /// Numbers of series. They are never changed.
    pub(super) series: HashMap<PairKey, Series>,
    /// `None` for a series that has no candle yet.
    pub(super) spans: HashMap<u32, Option<Span>>,
    candles: HashMap<Key, Known, foldhash::fast::RandomState>,
}

impl Memory {
    /// Begins a flush that is the group's change number `changes`; forgets what somebody else may have changed.
    pub(super) fn begin(&mut self, changes: i64) {
        if changes != self.changes + 1 {
            self.candles.clear();
            self.spans.clear();
        }
        self.changes = changes;
        self.flushes += 1;
    }

    /// Notes that a flush touches a candle; `false` if the database must be asked about it.
    ///
    /// Longer intervals come before shorter ones: a shorter candle exists only inside of a longer one, and a day only within the span
    /// of its series. So of a history that is read for the first time nothing is asked at all.
    pub(super) fn recall(&mut self, key: Key) -> bool {
        if let Some(known) = self.candles.get_mut(&key) {
            known.flush = self.flushes;
            return true;
        }
        let new = self.is_new(key);
        if new {
            self.learn_new(key);
        }
        new
    }

    fn is_new(&self, (interval, time, series): Key) -> bool {
        match Interval::ALL.get(interval as usize + 1) {
            Some(longer) => {
                let around = self.candles.get(&(*longer, longer.start_of(time), series));
                around.is_some_and(|around| around.whole)
            }
            None => {
                let without = |span: &Option<Span>| {
                    span.as_ref().is_none_or(|span| time < span.first_day || time > span.last_day)
                };
                self.spans.get(&series).is_some_and(without)
            }
        }
    }

    /// Notes that the database does not have this candle.
    pub(super) fn learn_new(&mut self, key: Key) {
        self.candles.insert(key, Known { candle: Candle::EMPTY, whole: true, flush: self.flushes });
    }

    /// Notes what the database has.
    pub(super) fn learn(&mut self, key: Key, candle: Candle) {
        self.candles.insert(key, Known { candle, whole: false, flush: self.flushes });
    }

    /// Merges a part into its candle. Returns the whole, and whether the candle is a new one.
    pub(super) fn merge(&mut self, key: Key, part: &Candle) -> Option<(Candle, bool)> {
        let known = self.candles.get_mut(&key)?;
        let new = known.candle.is_empty();
        known.candle.merge(part);
        Some((known.candle, new))
    }

    /// Forgets days that the last flush did not touch, with everything inside of them, once there are too many.
    pub(super) fn forget(&mut self) {
        if self.candles.len() <= REMEMBERED_MAX {
            return;
        }
        let touched: HashSet<(i64, u32), foldhash::fast::RandomState> = self
            .candles
            .iter()
            .filter(|((interval, ..), known)| *interval == Interval::D1 && known.flush == self.flushes)
            .map(|((_, day, series), _)| (*day, *series))
            .collect();
        self.candles
            .retain(|(_, time, series), _| touched.contains(&(Interval::D1.start_of(*time), *series)));
        if self.candles.len() > REMEMBERED_MAX {
            self.candles.clear();
        }
    }
}
