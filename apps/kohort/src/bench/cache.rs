//! Market's cache for `bench pipeline`, and what it ought to hold.
//!
//! The sets are of the past and repeat day after day, so a cache that keeps candles for a time, as Market's does, drops most of what it
//! has made, and what a partition that lags brings for a candle that is gone already. Usually everything is kept, so that every trade can be
//! counted. Where it is not, the trades that were handed to the cache are counted by pair and day beside it, and the days that it says
//! are whole must have all of them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::Context;
use candles::Settings;
use market_data::{Interval, PairKey};
use market_store::{
    Advance, CachedStore, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, MemoryStore,
    Positions, RedisAddress, RedisStore, Retention, Scan, StoreError, TopicPartition,
};

/// Opens the cache that the file names, or the memory, alone or in front of a file.
pub(super) fn open(
    settings: &Settings,
    memory_alone: bool,
    retention: Retention,
) -> anyhow::Result<Box<dyn CandleStore>> {
    let original = retention == Retention::ORIGINAL;
    if let Some(redis) = &settings.file.redis {
        let address = RedisAddress { pass: redis.pass.clone(), ..RedisAddress::new(&redis.host) };
        return Ok(Box::new(RedisStore::new(address).retention(retention)));
    }
    if memory_alone {
        return Ok(Box::new(MemoryStore::new().retention(retention)));
    }
    let file = market::store_file(settings);
    let empty =
        if original { || MemoryStore::new().retention(Retention::ORIGINAL) } else { MemoryStore::new };
    let store =
        CachedStore::open(&file, empty).with_context(|| format!("open the cache `{}`", file.display()))?;
    Ok(Box::new(store))
}

/// Trades of the daily candles of each pair that were handed to a store, by their pair and start.
pub(super) type Days = HashMap<(PairKey, i64), u64>;

/// A cache whose flushes are counted.
pub(super) struct Counted {
    store: Box<dyn CandleStore>,
    days: Arc<Mutex<Days>>,
}

impl Counted {
    /// The cache, and where its days are counted.
    pub(super) fn new(store: Box<dyn CandleStore>) -> (Counted, Arc<Mutex<Days>>) {
        let days = Arc::default();
        (Counted { store, days: Arc::clone(&days) }, days)
    }
}

impl Positions for Counted {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        self.store.claim(group, partitions)
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        self.store.positions(group)
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        self.store.advance(group, advances)
    }
}

impl CandleStore for Counted {
    fn flush(&mut self, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        let flushed = self.store.flush(flush)?;
        let mut days = self.days.lock().unwrap_or_else(PoisonError::into_inner);
        for delta in flush.deltas.candles.iter().filter(|delta| delta.interval == Interval::D1) {
            let pair = flush.deltas.pairs[delta.pair as usize].key.clone();
            *days.entry((pair, delta.time)).or_default() += delta.candle.count;
        }
        Ok(flushed)
    }

    fn may_go_back(&self) -> Option<String> {
        self.store.may_go_back()
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        self.store.reader()
    }
}

/// What a store has in the end.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Held {
    /// Trades that its daily candles count.
    pub(super) counted: u64,
    /// Trades that they ought to count, where days were dropped.
    pub(super) wanted: Option<u64>,
    /// Candles of all intervals.
    pub(super) candles: u64,
}

/// Counts what a store has of a group: all, or, of a cache that drops days, those days that it says are whole.
pub(super) fn held(
    reader: &mut dyn CandleReader,
    group: &str,
    handed: Option<&Days>,
) -> Result<Held, StoreError> {
    let mut held = Held::default();
    let mut days = Days::new();
    reader.scan(&Scan::all(group), &mut |pair, interval, time, candle| {
        held.candles += 1;
        if interval == Interval::D1 {
            *days.entry((pair.clone(), time)).or_default() += candle.count;
        }
    })?;
    held.counted = days.values().sum();
    if let Some(handed) = handed {
        let mut wanted = 0;
        for ((pair, day), trades) in handed {
            let since = reader.kept_since(group, pair, Interval::D1)?;
            wanted += if since.is_none_or(|since| *day >= since) { *trades } else { 0 };
        }
        held.wanted = Some(wanted);
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use market_data::{Aggregator, Place};

    use super::*;

    const DAY: i64 = 86_400;

    #[test]
    fn of_a_cache_that_drops_days_those_are_counted_that_are_whole() {
        let memory = MemoryStore::new().retention(Retention::ORIGINAL);
        let mut reader = memory.reader().unwrap();
        let (mut store, days) = Counted::new(Box::new(memory));
        let partition = TopicPartition::new("t", 0);
        let epoch = store.claim("g", std::slice::from_ref(&partition)).unwrap()[0].epoch;
        // Twenty days; the last message comes late, for a day that is gone.
        for (offset, day) in (1_000..1_020).chain([1_003]).enumerate() {
            let mut aggregator = Aggregator::new();
            let trade = format!(
                r#"[{{"chain_id":"1","pair_addr":"a","token_price_usd":1,"block_time":{}}}]"#,
                day * DAY
            );
            let offset = i64::try_from(offset).unwrap();
            aggregator.add_message(Place { partition: 0, offset }, trade.as_bytes()).unwrap();
            let mut deltas = aggregator.take_deltas();
            deltas.roll_up();
            let from = (offset > 0).then_some(offset);
            let advances = [Advance { partition: partition.clone(), epoch, from, to: offset + 1 }];
            let now = 1_020 * DAY;
            store.flush(&Flush { group: "g", advances: &advances, deltas: &deltas, now }).unwrap();
        }
        let days = days.lock().unwrap();
        assert_eq!(days.values().sum::<u64>(), 21);
        let whole = held(&mut *reader, "g", Some(&days)).unwrap();
        assert_eq!((whole.counted, whole.wanted), (8, Some(8)));
        // A day with a trade too few is a finding.
        let mut more = days.clone();
        *more.get_mut(&(PairKey::new("1", "a"), 1_019 * DAY)).unwrap() += 1;
        assert_eq!(held(&mut *reader, "g", Some(&more)).unwrap().wanted, Some(9));
        assert_eq!(held(&mut *reader, "g", None).unwrap(), Held { wanted: None, ..whole });
    }
}
