//! The store without a file: everything is gone with the last handle.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use market_data::{Candle, Deltas, Interval, Pair, PairKey, Symbols};

use crate::retention::{Marks, place};
use crate::{
    Advance, CandleQuery, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, PairParts, Positions,
    Retention, Scan, StoreError, StoredCandle, TopicPartition, Window, WindowSums,
};

/// Pairs that a scan hands out under one lock.
const SCAN_PAIRS: usize = 256;

/// A store in memory. Clones are handles of one store.
#[derive(Debug, Clone)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
    retention: Retention,
}

/// How often it is looked for pairs that nobody trades any more, in seconds.
const SWEEP: i64 = 3_600;

#[derive(Debug, Default)]
struct Shared {
    positions: BTreeMap<(String, TopicPartition), (i64, Option<i64>)>,
    /// Group, pair, and where in `series` it is.
    numbers: BTreeMap<String, HashMap<PairKey, usize>>,
    series: Vec<Series>,
    /// When it was last looked for pairs at rest.
    swept: i64,
}

#[derive(Debug)]
struct Series {
    group: String,
    pair: PairKey,
    symbols: Option<Symbols>,
    candles: [BTreeMap<i64, Candle>; Interval::ALL.len()],
    marks: Marks,
    /// The time of the last flush with this pair.
    touched: i64,
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

    fn lock(&self) -> MutexGuard<'_, Shared> {
        // Every change under the lock is made whole or not at all, so a panic elsewhere leaves nothing half done.
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Positions for MemoryStore {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        let mut shared = self.lock();
        let claim = |partition: &TopicPartition| {
            let state = shared.positions.entry((group.to_owned(), partition.clone())).or_default();
            state.0 += 1;
            Claim { partition: partition.clone(), epoch: state.0, position: state.1 }
        };
        Ok(partitions.iter().map(claim).collect())
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        let shared = self.lock();
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
        let mut shared = self.lock();
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
        shared.sweep(self.retention, flush.now);
        let numbers = shared.numbers(flush);
        for delta in flush.deltas.candles.iter().filter(|delta| delta.interval == Interval::M1) {
            shared.series[numbers[delta.pair as usize]].marks.see(self.retention, delta.time);
        }
        for number in &numbers {
            shared.series[*number].drop_expired();
        }
        let mut flushed = Flushed { candles: Vec::with_capacity(flush.deltas.candles.len()), expired: 0 };
        for delta in &flush.deltas.candles {
            let series = &mut shared.series[numbers[delta.pair as usize]];
            let candle = series.merge(delta.interval, delta.time, &delta.candle);
            flushed.expired += u64::from(candle.is_none());
            flushed.candles.push(candle.unwrap_or(Candle::EMPTY));
        }
        Ok(flushed)
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Shared {
    /// The series of each pair of the flush, made where missing.
    fn numbers(&mut self, flush: &Flush<'_>) -> Vec<usize> {
        let of_group = match self.numbers.get_mut(flush.group) {
            Some(of_group) => of_group,
            None => self.numbers.entry(flush.group.to_owned()).or_default(),
        };
        let number = |pair: &Arc<Pair>| {
            let number = match of_group.get(&pair.key) {
                Some(number) => *number,
                None => {
                    self.series.push(Series::new(flush.group, &pair.key));
                    of_group.insert(pair.key.clone(), self.series.len() - 1);
                    self.series.len() - 1
                }
            };
            let series = &mut self.series[number];
            series.touched = flush.now;
            series.symbols = series.symbols.take().or_else(|| pair.symbols.clone());
            number
        };
        flush.deltas.pairs.iter().map(number).collect()
    }

    /// Drops the candles of pairs that nobody trades any more. In the market's own time they would never grow old.
    fn sweep(&mut self, retention: Retention, now: i64) {
        let Some(rest) = retention.rest().filter(|_| now.saturating_sub(self.swept) >= SWEEP) else { return };
        self.swept = now;
        for series in self.series.iter_mut().filter(|series| now.saturating_sub(series.touched) >= rest) {
            series.marks.rested();
            series.drop_expired();
        }
    }

    fn one(&self, group: &str, pair: &PairKey) -> Option<&Series> {
        self.numbers.get(group)?.get(pair).map(|number| &self.series[*number])
    }
}

impl Series {
    fn new(group: &str, pair: &PairKey) -> Series {
        let (group, pair) = (group.to_owned(), pair.clone());
        Series { group, pair, symbols: None, candles: Default::default(), marks: Marks::NEW, touched: 0 }
    }

    fn of(&self, interval: Interval) -> impl DoubleEndedIterator<Item = (i64, &Candle)> {
        self.candles[place(interval)].iter().map(|(time, candle)| (*time, candle))
    }

    fn drop_expired(&mut self) {
        for (candles, since) in self.candles.iter_mut().zip(self.marks.since) {
            while candles.first_key_value().is_some_and(|(time, _)| *time < since) {
                candles.pop_first();
            }
        }
    }

    /// Merges a part into its candle; gives the whole, or `None` if the candle is older than what is kept.
    fn merge(&mut self, interval: Interval, time: i64, part: &Candle) -> Option<Candle> {
        if self.marks.expired(interval, time) {
            return None;
        }
        let candle = self.candles[place(interval)].entry(time).or_insert(Candle::EMPTY);
        candle.merge(part);
        Some(*candle)
    }

    /// Those that start at or after `from` and before `before`.
    fn between(
        &self,
        interval: Interval,
        from: Option<i64>,
        before: Option<i64>,
    ) -> impl DoubleEndedIterator<Item = (i64, &Candle)> {
        let from = from.unwrap_or(i64::MIN);
        let span = from..before.unwrap_or(i64::MAX).max(from);
        self.candles[place(interval)].range(span).map(|(time, candle)| (*time, candle))
    }

    /// The latest day, or, where a pair rested and its day was forgotten, the latest minute.
    fn last(&self) -> Option<(i64, &Candle)> {
        self.of(Interval::D1).next_back().or_else(|| self.of(Interval::M1).next_back())
    }

    fn last_trade_at(&self) -> i64 {
        self.last().and_then(|(_, candle)| candle.prices()).map_or(0, |p| p.close_order.block_time)
    }
}

impl CandleReader for MemoryStore {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        let shared = self.lock();
        let of_groups = query.groups.iter().filter_map(|group| shared.one(group, query.pair));
        let Some(series) = of_groups.max_by_key(|series| series.last_trade_at()) else {
            return Ok(Vec::new());
        };
        let mut candles: Vec<StoredCandle> = series
            .between(query.interval, query.from, query.before)
            .rev()
            .take(query.limit)
            .map(|(time, candle)| StoredCandle { time, candle: *candle })
            .collect();
        candles.reverse();
        Ok(candles)
    }

    fn kept_since(
        &mut self,
        group: &str,
        pair: &PairKey,
        interval: Interval,
    ) -> Result<Option<i64>, StoreError> {
        Ok(self.lock().one(group, pair).and_then(|series| series.marks.since(interval)))
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        let shared = self.lock();
        let of_groups = shared.series.iter().filter(|series| groups.contains(&series.group));
        Ok(of_groups.map(Series::last_trade_at).max())
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        let shared = self.lock();
        let mut parts = Vec::new();
        for series in shared.series.iter().filter(|series| groups.contains(&series.group)) {
            let Some((time, candle)) = series.last() else { continue };
            let mut sums = WindowSums::new();
            let earliest = window.start - (window.end - window.start);
            for (time, candle) in series.between(Interval::M15, Some(earliest), Some(window.end)) {
                sums.add(window, time, candle);
            }
            let symbols = series.symbols.clone();
            parts.push(PairParts {
                group: series.group.clone(),
                pair: series.pair.clone(),
                token_symbol: symbols.as_ref().and_then(|s| s.token.clone()),
                base_token_symbol: symbols.and_then(|s| s.base_token),
                last_day: StoredCandle { time, candle: *candle },
                sums,
                kept_since: series.marks.since(Interval::M15),
            });
        }
        Ok(parts)
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        // The lock is let go now and then: a scan of everything must not hold up a flush. A series keeps its place.
        for part in 0.. {
            let shared = self.lock();
            let Some(series) = shared.series.chunks(SCAN_PAIRS).nth(part) else { break };
            for series in series.iter().filter(|series| series.group == scan.group) {
                for interval in scan.intervals {
                    let candles = series.between(*interval, scan.from, scan.before);
                    candles.for_each(|(time, candle)| each(&series.pair, *interval, time, candle));
                }
            }
        }
        Ok(())
    }
}
