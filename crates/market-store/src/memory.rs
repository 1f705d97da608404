//! The store without a file: everything is gone with the last handle.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use market_data::{Candle, Interval, PairKey, Symbols};

use crate::store::WindowSums;
use crate::{
    CandleQuery, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, PairParts, Positions, Scan,
    StoreError, StoredCandle, TopicPartition, Window,
};

/// Pairs that a scan hands out under one lock.
const SCAN_PAIRS: usize = 256;

/// A store in memory. Clones are handles of one store.
#[derive(Debug, Clone, Default)]
pub struct MemoryStore {
    shared: Arc<Mutex<Shared>>,
}

#[derive(Debug, Default)]
struct Shared {
    positions: BTreeMap<(String, TopicPartition), (i64, Option<i64>)>,
    series: BTreeMap<(String, PairKey), Series>,
}

#[derive(Debug, Default)]
struct Series {
    symbols: Option<Symbols>,
    candles: HashMap<Interval, BTreeMap<i64, Candle>>,
}

impl MemoryStore {
    /// An empty store.
    pub fn new() -> MemoryStore {
        MemoryStore::default()
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
        let mut flushed = Flushed::default();
        for delta in &flush.deltas.candles {
            let pair = &flush.deltas.pairs[delta.pair as usize];
            let series = shared.series.entry((flush.group.to_owned(), pair.key.clone())).or_default();
            series.symbols = series.symbols.take().or_else(|| pair.symbols.clone());
            let candles = series.candles.entry(delta.interval).or_default();
            let candle = candles.entry(delta.time).or_insert(Candle::EMPTY);
            candle.merge(&delta.candle);
            flushed.candles.push(*candle);
        }
        Ok(flushed)
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        Ok(Box::new(self.clone()))
    }
}

impl Series {
    fn of(&self, interval: Interval) -> impl DoubleEndedIterator<Item = (i64, &Candle)> {
        self.candles.get(&interval).into_iter().flatten().map(|(time, candle)| (*time, candle))
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
        self.candles
            .get(&interval)
            .into_iter()
            .flat_map(move |candles| candles.range(span.clone()))
            .map(|(time, candle)| (*time, candle))
    }

    fn last_trade_at(&self) -> i64 {
        let day = self.of(Interval::D1).next_back();
        day.and_then(|(_, candle)| candle.prices()).map_or(0, |p| p.close_order.block_time)
    }
}

impl CandleReader for MemoryStore {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        let shared = self.lock();
        let of_groups =
            query.groups.iter().filter_map(|g| shared.series.get(&(g.clone(), query.pair.clone())));
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

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        let shared = self.lock();
        let of_groups = shared.series.iter().filter(|((group, _), _)| groups.contains(group));
        Ok(of_groups.map(|(_, series)| series.last_trade_at()).max())
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        let shared = self.lock();
        let mut parts = Vec::new();
        for ((group, pair), series) in shared.series.iter().filter(|((group, _), _)| groups.contains(group)) {
            let Some((time, day)) = series.of(Interval::D1).next_back() else { continue };
            let mut sums = WindowSums::new();
            let earliest = window.start - (window.end - window.start);
            for (time, candle) in series.between(Interval::M15, Some(earliest), Some(window.end)) {
                sums.add(window, time, candle);
            }
            let symbols = series.symbols.clone();
            parts.push(PairParts {
                group: group.clone(),
                pair: pair.clone(),
                token_symbol: symbols.as_ref().and_then(|s| s.token.clone()),
                base_token_symbol: symbols.and_then(|s| s.base_token),
                last_day: StoredCandle { time, candle: *day },
                sums,
                kept_since: None,
            });
        }
        Ok(parts)
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        // The lock is let go now and then: a scan of everything must not hold up a flush.
        let mut from = Bound::Included((scan.group.to_owned(), PairKey::new("", "")));
        loop {
            let shared = self.lock();
            let of_group = shared
                .series
                .range((from, Bound::Unbounded))
                .take_while(|((group, _), _)| group == scan.group);
            let mut last = None;
            for (key, series) in of_group.take(SCAN_PAIRS) {
                for interval in scan.intervals {
                    let candles = series.between(*interval, scan.from, scan.before);
                    candles.for_each(|(time, candle)| each(&key.1, *interval, time, candle));
                }
                last = Some(key);
            }
            match last {
                Some(last) => from = Bound::Excluded(last.clone()),
                None => return Ok(()),
            }
        }
    }
}
