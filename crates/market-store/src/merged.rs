//! One reader over several stores of the same groups.
//!
//! Services that share a group split its partitions, and write into different stores. What each store has of a candle is then a part.
//! A record's trades are in exactly one of the stores, so merging the parts gives what one store would have, to the last digit.
//!
//! It answers as one store does: of several groups that have a pair, the one with the latest trade *over all stores* answers, alone. A
//! cache drops old candles; what the others have of those would be parts, and is left out ([`CandleReader::kept_since`]).
//!
//! The stores are read one after the other. A flush between two reads shows: the candle is then that of a moment later in one store.

use std::cmp::Ordering;
use std::collections::{BTreeMap, HashMap};
use std::fmt;

use market_data::{Candle, Interval, PairKey};

use crate::{
    CandleQuery, CandleReader, PairName, PairParts, Scan, StoreError, StoredCandle, Window, WindowSums,
};

/// A reader of our own store and of others that share groups with it.
pub struct MergedReader {
    /// Our own is the first.
    readers: Vec<Box<dyn CandleReader>>,
}

impl fmt::Debug for MergedReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MergedReader").field("stores", &self.readers.len()).finish()
    }
}

impl MergedReader {
    /// Our own store, and the others. Each store once: one that is named twice counts twice.
    pub fn new(
        own: Box<dyn CandleReader>,
        others: impl IntoIterator<Item = Box<dyn CandleReader>>,
    ) -> MergedReader {
        MergedReader { readers: std::iter::once(own).chain(others).collect() }
    }

    /// The latest day of a pair, of all stores.
    fn last_day(&mut self, group: &str, pair: &PairKey) -> Result<Option<StoredCandle>, StoreError> {
        let groups = [group.to_owned()];
        let query =
            CandleQuery { groups: &groups, pair, interval: Interval::D1, from: None, before: None, limit: 1 };
        let mut last: Option<StoredCandle> = None;
        for reader in &mut self.readers {
            for day in reader.candles(&query)? {
                last = Some(last.map_or(day, |last| later_day(last, day)));
            }
        }
        Ok(last)
    }

    /// The group whose trade of the pair is the latest, over all stores.
    fn answering<'a>(&mut self, query: &CandleQuery<'a>) -> Result<Option<&'a String>, StoreError> {
        let [_, _, ..] = query.groups else { return Ok(query.groups.first()) };
        let mut best: Option<(i64, &String)> = None;
        for group in query.groups {
            let prices = self.last_day(group, query.pair)?.and_then(|day| day.candle.prices());
            let Some(last) = prices.map(|prices| prices.close_order.block_time) else { continue };
            if best.is_none_or(|(time, _)| last >= time) {
                best = Some((last, group));
            }
        }
        Ok(best.map(|(_, group)| group))
    }

    /// What each store has of the candles that the answer is made of, each oldest first.
    fn parts(&mut self, query: &CandleQuery<'_>) -> Result<Vec<Vec<StoredCandle>>, StoreError> {
        let Some(group) = self.answering(query)? else { return Ok(Vec::new()) };
        let from = query.from.max(self.kept_since(group, query.pair, query.interval)?);
        let query = CandleQuery { groups: std::slice::from_ref(group), from, ..*query };
        // A candle among the latest of all is among the latest of every store that has it.
        self.readers.iter_mut().map(|reader| reader.candles(&query)).collect()
    }
}

/// The later of two stores' latest days; of one day, both together.
fn later_day(mut one: StoredCandle, other: StoredCandle) -> StoredCandle {
    match one.time.cmp(&other.time) {
        Ordering::Less => other,
        Ordering::Greater => one,
        Ordering::Equal => {
            one.candle.merge(&other.candle);
            one
        }
    }
}

/// The latest candles of all parts, oldest first.
fn merge(parts: impl IntoIterator<Item = Vec<StoredCandle>>, limit: usize) -> Vec<StoredCandle> {
    let mut whole: BTreeMap<i64, Candle> = BTreeMap::new();
    for StoredCandle { time, candle } in parts.into_iter().flatten() {
        whole.entry(time).or_insert(Candle::EMPTY).merge(&candle);
    }
    let over = whole.len().saturating_sub(limit);
    whole.into_iter().skip(over).map(|(time, candle)| StoredCandle { time, candle }).collect()
}

impl CandleReader for MergedReader {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        let parts = self.parts(query)?;
        Ok(merge(parts, query.limit))
    }

    fn own_and_others(
        &mut self,
        query: &CandleQuery<'_>,
    ) -> Result<(Vec<StoredCandle>, Vec<StoredCandle>), StoreError> {
        let mut parts = self.parts(query)?.into_iter();
        let own = parts.next().unwrap_or_default();
        Ok((own, merge(parts, query.limit)))
    }

    fn kept_since(
        &mut self,
        group: &str,
        pair: &PairKey,
        interval: Interval,
    ) -> Result<Option<i64>, StoreError> {
        let mut since = None;
        for reader in &mut self.readers {
            since = since.max(reader.kept_since(group, pair, interval)?);
        }
        Ok(since)
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        let mut newest = None;
        for reader in &mut self.readers {
            newest = newest.max(reader.newest_trade(groups)?);
        }
        Ok(newest)
    }

    fn names(&mut self, groups: &[String]) -> Result<Vec<PairName>, StoreError> {
        let mut names = Vec::new();
        for reader in &mut self.readers {
            names.append(&mut reader.names(groups)?);
        }
        Ok(names)
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        let mut all: HashMap<(String, PairKey), PairParts> = HashMap::new();
        for reader in &mut self.readers {
            for part in reader.pair_parts(groups, window)? {
                let key = (part.group.clone(), part.pair.clone());
                let Some(whole) = all.get_mut(&key) else {
                    all.insert(key, part);
                    continue;
                };
                whole.sums.merge(&part.sums);
                whole.last_day = later_day(whole.last_day, part.last_day);
                whole.kept_since = whole.kept_since.max(part.kept_since);
                whole.token_symbol = whole.token_symbol.take().or(part.token_symbol);
                whole.base_token_symbol = whole.base_token_symbol.take().or(part.base_token_symbol);
            }
        }
        let earliest = window.start - (window.end - window.start);
        let mut parts: Vec<PairParts> = all.into_values().collect();
        for pair in parts.iter_mut().filter(|pair| pair.kept_since.is_some_and(|since| since > earliest)) {
            pair.sums = self.sums(&pair.group, &pair.pair, earliest, window)?;
        }
        Ok(parts)
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        if let [only] = &mut self.readers[..] {
            return only.scan(scan, each);
        }
        // Interval by interval, because all of it waits here until the last store has told its parts.
        for interval in scan.intervals {
            let mut pairs: HashMap<PairKey, BTreeMap<i64, Candle>> = HashMap::new();
            let one = Scan { intervals: std::slice::from_ref(interval), ..*scan };
            for reader in &mut self.readers {
                reader.scan(&one, &mut |pair, _, time, candle| {
                    if !pairs.contains_key(pair) {
                        pairs.insert(pair.clone(), BTreeMap::new());
                    }
                    if let Some(candles) = pairs.get_mut(pair) {
                        candles.entry(time).or_insert(Candle::EMPTY).merge(candle);
                    }
                })?;
            }
            for (pair, candles) in &pairs {
                let since = self.kept_since(scan.group, pair, *interval)?.unwrap_or(i64::MIN);
                candles.range(since..).for_each(|(time, candle)| each(pair, *interval, *time, candle));
            }
        }
        Ok(())
    }
}

impl MergedReader {
    /// The sums of the whole 15-minute candles alone, where a store has dropped some of the window.
    fn sums(
        &mut self,
        group: &str,
        pair: &PairKey,
        earliest: i64,
        window: Window,
    ) -> Result<WindowSums, StoreError> {
        let query = CandleQuery {
            groups: &[group.to_owned()],
            pair,
            interval: Interval::M15,
            from: Some(earliest),
            before: Some(window.end),
            limit: usize::MAX,
        };
        let mut sums = WindowSums::new();
        for StoredCandle { time, candle } in self.candles(&query)? {
            sums.add(window, time, &candle);
        }
        Ok(sums)
    }
}
