//! The store without a file: everything is gone with the last handle.
//!
//! Candles are packed but for the newest of each interval (`run`): 70 to 200 bytes each, all in. Reading a
//! lot takes the lock again and again, each time for a few pairs: a flush waits for none of it.

mod restore;
mod run;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use market_data::{Candle, Deltas, Interval, Pair, PairKey, Symbols, cover};
use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};

use self::run::Run;
use crate::retention::{Marks, place};
use crate::{
    Advance, CandleQuery, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, PairName, PairParts,
    Positions, Retention, Scan, StoreError, StoredCandle, TopicPartition, Window, WindowSums,
};

/// Pairs that are read under one lock, at most.
const READ_PAIRS: usize = 256;
/// Candles that are read under one lock; the pair with the last of them is read to its end.
const READ_CANDLES: usize = 2_048;
/// Pairs of a group that a flush looks at beside its own: those that nobody trades any more.
const SWEEP_PAIRS: usize = 512;
/// A pair without a trade for so long, in seconds by the clock on the wall, is packed whole.
const REST: i64 = 900;

/// A store in memory. Clones are handles of one store.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<RwLock<Shared>>,
    retention: Retention,
}

#[derive(Debug, Default)]
struct Shared {
    positions: BTreeMap<(String, TopicPartition), (i64, Option<i64>)>,
    groups: BTreeMap<String, OfGroup>,
}

/// What a group made.
#[derive(Debug, Default)]
struct OfGroup {
    /// Where a pair is in `series`.
    numbers: HashMap<Arc<PairKey>, u32, foldhash::fast::RandomState>,
    /// A series keeps its place.
    series: Vec<Series>,
    /// Of each series the time of its last trade, 0 without any: side by side, because they are read all at once.
    last_trades: Vec<i64>,
    /// The series that is looked at next.
    sweep_at: usize,
}

#[derive(Debug)]
struct Series {
    pair: Arc<PairKey>,
    symbols: Option<Box<Symbols>>,
    runs: [Run; Interval::ALL.len()],
    marks: Marks,
    /// The time of the last flush that changed a candle of it.
    touched: i64,
    /// Everything is packed.
    rests: bool,
}

impl Default for MemoryStore {
    fn default() -> MemoryStore {
        MemoryStore::new()
    }
}

impl MemoryStore {
    /// An empty store that keeps everything.
    pub fn new() -> MemoryStore {
        MemoryStore { shared: Arc::default(), retention: Retention::OFF }
    }

    /// This handle keeps candles for a time only.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> MemoryStore {
        self.retention = retention;
        self
    }

    fn write(&self) -> RwLockWriteGuard<'_, Shared> {
        // Every change under the lock is made whole or not at all, so a panic elsewhere leaves nothing half done.
        self.shared.write()
    }

    fn read(&self) -> RwLockReadGuard<'_, Shared> {
        self.shared.read()
    }

    /// Hands out all series of a group, with the time of their last trade. `each` says how many candles it read.
    fn each_series(&self, group: &str, mut each: impl FnMut(&Series, i64) -> usize) {
        let mut at = 0;
        loop {
            let shared = self.read();
            let Some(of_group) = shared.groups.get(group) else { return };
            let rest = of_group.series[at..].iter().zip(&of_group.last_trades[at..]);
            if rest.len() == 0 {
                return;
            }
            let mut read = 0;
            for (series, last_trade_at) in rest.take(READ_PAIRS) {
                read += each(series, *last_trade_at);
                at += 1;
                if read >= READ_CANDLES {
                    break;
                }
            }
            // Let go now and then: whoever waits to write gets the lock from here, and is not overtaken once more.
            RwLockReadGuard::unlock_fair(shared);
        }
    }
}

impl Positions for MemoryStore {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        let mut shared = self.write();
        let claim = |partition: &TopicPartition| {
            let state = shared.positions.entry((group.to_owned(), partition.clone())).or_default();
            state.0 += 1;
            Claim { partition: partition.clone(), epoch: state.0, position: state.1 }
        };
        Ok(partitions.iter().map(claim).collect())
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        let shared = self.read();
        let of_group = shared.positions.iter().filter(|((g, _), _)| g == group);
        let claim =
            |((_, partition), (epoch, position)): (&(String, TopicPartition), &(i64, Option<i64>))| Claim {
                partition: partition.clone(),
                epoch: *epoch,
                position: *position,
            };
        Ok(of_group.map(claim).collect())
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        self.flush(&Flush { group, advances, deltas: &Deltas::default(), now: 0 }).map(drop)
    }
}

impl CandleStore for MemoryStore {
    fn flush(&mut self, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        let mut shared = self.write();
        let key = |partition: &TopicPartition| (flush.group.to_owned(), partition.clone());
        for advance in flush.advances {
            let (epoch, position) =
                shared.positions.get(&key(&advance.partition)).copied().unwrap_or_default();
            if (epoch, position) != (advance.epoch, advance.from) {
                return Err(FlushError::Fenced {
                    partition: advance.partition.clone(),
                    epoch: advance.epoch,
                    from: advance.from,
                    found_epoch: epoch,
                    found: position,
                });
            }
        }
        for advance in flush.advances {
            shared.positions.insert(key(&advance.partition), (advance.epoch, Some(advance.to)));
        }
        let of_group = match shared.groups.get_mut(flush.group) {
            Some(of_group) => of_group,
            None => shared.groups.entry(flush.group.to_owned()).or_default(),
        };
        of_group.sweep(self.retention, flush.now);
        let numbers = of_group.numbers(self.retention, flush);
        for delta in flush.deltas.candles.iter().filter(|delta| delta.interval == Interval::M1) {
            of_group.series[numbers[delta.pair as usize]].marks.see(self.retention, delta.time, flush.now);
        }
        for number in &numbers {
            of_group.series[*number].drop_expired();
        }
        let mut flushed = Flushed { candles: Vec::with_capacity(flush.deltas.candles.len()), expired: 0 };
        for delta in &flush.deltas.candles {
            let series = &mut of_group.series[numbers[delta.pair as usize]];
            let candle = series.merge(delta.interval, delta.time, &delta.candle);
            if candle.is_some() {
                (series.touched, series.rests) = (flush.now, false);
            }
            flushed.expired += u64::from(candle.is_none());
            flushed.candles.push(candle.unwrap_or(Candle::EMPTY));
        }
        for number in numbers {
            of_group.last_trades[number] = of_group.series[number].last_trade_at();
        }
        Ok(flushed)
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl OfGroup {
    /// The series of each pair of the flush, made where missing.
    fn numbers(&mut self, retention: Retention, flush: &Flush<'_>) -> Vec<usize> {
        let number = |pair: &Arc<Pair>| {
            let number = self.number(pair);
            let series = &mut self.series[number];
            if series.is_forgotten(retention, flush.now) {
                series.marks.rested();
            }
            number
        };
        flush.deltas.pairs.iter().map(number).collect()
    }

    /// The series of a pair, made where missing.
    fn number(&mut self, pair: &Pair) -> usize {
        let number = match self.numbers.get(&pair.key) {
            Some(number) => *number as usize,
            None => {
                let (number, key) = (self.series.len(), Arc::new(pair.key.clone()));
                self.series.push(Series::new(Arc::clone(&key)));
                self.last_trades.push(0);
                self.numbers.insert(key, number as u32);
                number
            }
        };
        let series = &mut self.series[number];
        if series.symbols.is_none() {
            series.symbols = pair.symbols.clone().map(Box::new);
        }
        number
    }

    /// Looks at a pair that is not traded: after a while it is packed, and after longer it loses its candles.
    fn look_at(&mut self, number: usize, retention: Retention, now: i64) {
        let series = &mut self.series[number];
        if series.is_forgotten(retention, now) {
            series.marks.rested();
            series.drop_expired();
            self.last_trades[number] = series.last_trade_at();
        } else if now.saturating_sub(series.touched) >= REST && !series.rests {
            series.runs.iter_mut().for_each(Run::rest);
            series.rests = true;
        }
    }

    /// Looks at some pairs: those that nobody trades for a while are packed, and those that nobody trades any more lose their candles. In the
    /// market's own time they would never grow old.
    fn sweep(&mut self, retention: Retention, now: i64) {
        for _ in 0..SWEEP_PAIRS.min(self.series.len()) {
            self.sweep_at = (self.sweep_at + 1) % self.series.len();
            self.look_at(self.sweep_at, retention, now);
        }
    }

    fn one(&self, pair: &PairKey) -> Option<(&Series, i64)> {
        let number = *self.numbers.get(pair)? as usize;
        Some((&self.series[number], self.last_trades[number]))
    }
}

impl Series {
    fn new(pair: Arc<PairKey>) -> Series {
        Series { pair, symbols: None, runs: Default::default(), marks: Marks::NEW, touched: 0, rests: false }
    }

    /// Nobody traded it for so long that it is forgotten.
    fn is_forgotten(&self, retention: Retention, now: i64) -> bool {
        retention.rest().is_some_and(|rest| now.saturating_sub(self.touched) >= rest)
    }

    fn drop_expired(&mut self) {
        for (run, since) in self.runs.iter_mut().zip(self.marks.since) {
            run.drop_before(since);
        }
    }

    /// Merges a part into its candle; gives the whole, or `None` if the candle is older than what is kept.
    fn merge(&mut self, interval: Interval, time: i64, part: &Candle) -> Option<Candle> {
        if self.marks.expired(interval, time) {
            return None;
        }
        Some(self.runs[place(interval)].merge(time, part))
    }

    /// Hands out those that start at or after `from` and before `before`, oldest first; says how many.
    fn between(
        &self,
        interval: Interval,
        from: Option<i64>,
        before: Option<i64>,
        mut each: impl FnMut(i64, &Candle),
    ) -> usize {
        let (run, from) = (&self.runs[place(interval)], from.unwrap_or(i64::MIN));
        let mut read = 0;
        if run.last_time() >= from {
            run.each(from, before.unwrap_or(i64::MAX), |time, candle| {
                read += 1;
                each(time, candle);
            });
        }
        read
    }

    /// The latest day, or, where a pair rested and its day was forgotten, the latest minute.
    fn last(&self) -> Option<(i64, Candle)> {
        let of = |interval| self.runs[place(interval)].last();
        of(Interval::D1).or_else(|| of(Interval::M1))
    }

    fn last_trade_at(&self) -> i64 {
        self.last().and_then(|(_, candle)| candle.prices()).map_or(0, |p| p.close_order.block_time)
    }

    fn symbols(&self) -> (Option<String>, Option<String>) {
        let symbols = self.symbols.as_deref();
        (symbols.and_then(|s| s.token.clone()), symbols.and_then(|s| s.base_token.clone()))
    }
}

impl CandleReader for MemoryStore {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        let shared = self.read();
        let of_groups = query.groups.iter().filter_map(|group| shared.groups.get(group)?.one(query.pair));
        let Some((series, _)) = of_groups.max_by_key(|(_, last_trade_at)| *last_trade_at) else {
            return Ok(Vec::new());
        };
        let (from, before) = (query.from.unwrap_or(i64::MIN), query.before.unwrap_or(i64::MAX));
        Ok(series.runs[place(query.interval)].latest(from, before, query.limit))
    }

    fn kept_since(
        &mut self,
        group: &str,
        pair: &PairKey,
        interval: Interval,
    ) -> Result<Option<i64>, StoreError> {
        let shared = self.read();
        let series = shared.groups.get(group).and_then(|of_group| of_group.one(pair));
        Ok(series.and_then(|(series, _)| series.marks.since(interval)))
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        let shared = self.read();
        let of_groups = groups.iter().filter_map(|group| shared.groups.get(group));
        Ok(of_groups.filter_map(|of_group| of_group.last_trades.iter().copied().max()).max())
    }

    fn names(&mut self, groups: &[String]) -> Result<Vec<PairName>, StoreError> {
        let mut names = Vec::new();
        for group in groups {
            let shared = self.read();
            let Some(of_group) = shared.groups.get(group) else { continue };
            names.reserve(of_group.series.len());
            drop(shared);
            self.each_series(group, |series, last_trade_at| {
                if series.runs.iter().any(|run| run.last_time() > i64::MIN) {
                    let (token_symbol, base_token_symbol) = series.symbols();
                    let pair = (*series.pair).clone();
                    names.push(PairName { pair, token_symbol, base_token_symbol, last_trade_at });
                }
                4
            });
        }
        Ok(names)
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        let mut parts = Vec::new();
        let earliest = window.start - (window.end - window.start);
        for group in groups {
            self.each_series(group, |series, _| {
                let Some((time, candle)) = series.last() else { return 1 };
                let mut sums = WindowSums::new();
                let read = series.between(Interval::M15, Some(earliest), Some(window.end), |time, candle| {
                    sums.add(window, time, candle)
                });
                let (token_symbol, base_token_symbol) = series.symbols();
                parts.push(PairParts {
                    group: group.clone(),
                    pair: (*series.pair).clone(),
                    token_symbol,
                    base_token_symbol,
                    last_day: StoredCandle { time, candle },
                    sums,
                    kept_since: series.marks.since(Interval::M15),
                });
                read + 8
            });
        }
        Ok(parts)
    }

    fn stretches(
        &mut self,
        group: &str,
        stretches: &[(i64, i64)],
        each: &mut dyn FnMut(&PairKey, &[Candle]),
    ) -> Result<(), StoreError> {
        let covers = stretches.iter().map(|(start, end)| cover(*start, *end)).enumerate();
        let covers: Vec<_> =
            covers.flat_map(|(at, covers)| covers.into_iter().map(move |cover| (at, cover))).collect();
        let mut sums = vec![Candle::EMPTY; stretches.len()];
        self.each_series(group, |series, _| {
            let mut read = 0;
            for (at, cover) in &covers {
                let sum = &mut sums[*at];
                let (from, before) = (Some(cover.from), Some(cover.before));
                read += series.between(cover.interval, from, before, |_, candle| sum.merge(candle));
            }
            if read > 0 {
                each(&series.pair, &sums);
                sums.iter_mut().filter(|sum| !sum.is_empty()).for_each(|sum| *sum = Candle::EMPTY);
            }
            read + 2
        });
        Ok(())
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        self.each_series(scan.group, |series, _| {
            let mut read = 1;
            for interval in scan.intervals {
                read += series.between(*interval, scan.from, scan.before, |time, candle| {
                    each(&series.pair, *interval, time, candle);
                });
            }
            read
        });
        Ok(())
    }
}
