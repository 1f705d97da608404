//! The traits of a store and the words that they use.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use market_data::{Candle, Deltas, Interval, PairKey, Price, cover};

use crate::{FlushError, StoreError};

/// A partition of a topic.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: String,
    /// The partition's index.
    pub partition: i32,
}

impl TopicPartition {
    /// A partition of a topic.
    pub fn new(topic: impl Into<String>, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }
}

impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

/// What a claim found: the right to flush a partition, until somebody else claims it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch that is ours now: one more than any before.
    pub epoch: i64,
    /// The offset up to which the store has everything (the next one to read); `None` if it has nothing.
    pub position: Option<i64>,
}

/// One partition's step in a flush.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advance {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch that was claimed.
    pub epoch: i64,
    /// The position that the store has, as claimed or as the last flush left it. Not the offset at which reading began, which
    /// is the larger of this and the group's committed offset.
    pub from: Option<i64>,
    /// The new position: one past the last record whose trades are in this flush or an earlier one.
    pub to: i64,
}

/// What one flush writes, all or nothing.
#[derive(Debug, Clone, Copy)]
pub struct Flush<'a> {
    /// The group that made the candles.
    pub group: &'a str,
    /// The partitions whose trades are in the deltas.
    pub advances: &'a [Advance],
    /// The parts, of all intervals ([`Deltas::roll_up`] was called), sorted or not.
    pub deltas: &'a Deltas,
    /// The time to note as `updated_at`, unix seconds.
    pub now: i64,
}

/// What a flush made.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Flushed {
    /// For each delta of the flush, in its order, the whole candle as the store has it now; [`Candle::EMPTY`] where the candle is older
    /// than what the store keeps, and the delta was dropped.
    pub candles: Vec<Candle>,
    /// How many deltas were dropped for that.
    pub expired: u64,
}

/// How far groups are in a store, and who may move them on. Everything that is written with positions stands on it: candles, the
/// cache, the log of known wallets.
///
/// One owner of a partition at a time; several owners, in several processes, are kept apart by [`Positions::claim`].
pub trait Positions: Send {
    /// Claims partitions: raises the epoch of each by one and reads its position, in one step for all.
    ///
    /// Whoever claimed one of them earlier can flush it no more.
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError>;

    /// The positions of a group: (partition, position, epoch), with every claim and flush that ended before the call.
    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError>;

    /// Moves positions and writes nothing else: all of them or, where an epoch or a position is not what its [`Advance`] states, none.
    /// For the owner whose log begins anew below what the store has; a flush moves them by itself.
    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError>;
}

impl<P: Positions + ?Sized> Positions for Box<P> {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        (**self).claim(group, partitions)
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        (**self).positions(group)
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        (**self).advance(group, advances)
    }
}

/// A store that several threads use, one call at a time.
impl<P: Positions + ?Sized> Positions for Arc<Mutex<P>> {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).claim(group, partitions)
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).positions(group)
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        self.lock().unwrap_or_else(PoisonError::into_inner).advance(group, advances)
    }
}

/// A store's writing side.
pub trait CandleStore: Positions {
    /// Merges the deltas into the candles and moves the positions, in one transaction.
    ///
    /// Changes nothing if any partition's epoch or position is not what its [`Advance`] states. After an error that is
    /// retriable the same flush may be tried again: it is fenced if the first try did get through after all.
    fn flush(&mut self, flush: &Flush<'_>) -> Result<Flushed, FlushError>;

    /// What this store is called, if a crash may take its last flushes back (candles and positions together): then they are made again
    /// of the log. `None`: what a flush answered is there.
    fn may_go_back(&self) -> Option<String> {
        None
    }

    /// A reader of this store. It may live on another thread and waits for no flush.
    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError>;
}

/// Which candles to read.
#[derive(Debug, Clone)]
pub struct CandleQuery<'a> {
    /// The groups that are asked. Where several have the pair, the one with the latest trade answers, alone.
    pub groups: &'a [String],
    /// The pair.
    pub pair: &'a PairKey,
    /// The interval.
    pub interval: Interval,
    /// Only candles that start at or after this time.
    pub from: Option<i64>,
    /// Only candles that start before this time.
    pub before: Option<i64>,
    /// At most so many: the latest.
    pub limit: usize,
}

/// Which candles of all pairs to hand out.
#[derive(Debug, Clone, Copy)]
pub struct Scan<'a> {
    /// The group that made them.
    pub group: &'a str,
    /// Their intervals.
    pub intervals: &'a [Interval],
    /// Only candles that start at or after this time.
    pub from: Option<i64>,
    /// Only candles that start before this time.
    pub before: Option<i64>,
}

impl<'a> Scan<'a> {
    /// Every candle of a group.
    pub fn all(group: &'a str) -> Scan<'a> {
        Scan { group, intervals: &Interval::ALL, from: None, before: None }
    }
}

/// A candle and its start.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct StoredCandle {
    /// The candle's start, unix seconds.
    pub time: i64,
    /// The candle.
    pub candle: Candle,
}

/// A span of time for [`CandleReader::pairs`], unix seconds, end exclusive. Both are taken at a grain of 15 minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Where it starts.
    pub start: i64,
    /// Where it ends.
    pub end: i64,
}

/// What a list of pairs says about each.
#[derive(Debug, Clone, PartialEq)]
pub struct PairSummary {
    /// The pair.
    pub pair: PairKey,
    /// Symbol of the token, where a trade told it.
    pub token_symbol: Option<String>,
    /// Symbol of the base token, where a trade told it.
    pub base_token_symbol: Option<String>,
    /// The last price that is known.
    pub last_price: Price,
    /// The time of the trade that made it, unix seconds.
    pub last_trade_at: i64,
    /// All trades of the window in one candle; empty if there were none.
    pub window: Candle,
    /// The last price before the window, if there was a trade in the window's length before it.
    pub before: Option<Price>,
    /// Closes of up to 48 equal parts of the window, oldest first; a part without trades is left out.
    pub sparkline: Vec<Price>,
}

/// What a pair is called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PairName {
    /// The pair.
    pub pair: PairKey,
    /// Symbol of the token, where a trade told it.
    pub token_symbol: Option<String>,
    /// Symbol of the base token, where a trade told it.
    pub base_token_symbol: Option<String>,
    /// The time of its last trade, unix seconds.
    pub last_trade_at: i64,
}

/// What one group has of a pair, for [`CandleReader::pairs`]: parts of several stores of the group merge exactly.
#[derive(Debug, Clone, PartialEq)]
pub struct PairParts {
    /// The group.
    pub group: String,
    /// The pair.
    pub pair: PairKey,
    /// Symbol of the token, where a trade told it.
    pub token_symbol: Option<String>,
    /// Symbol of the base token, where a trade told it.
    pub base_token_symbol: Option<String>,
    /// The latest day that has trades: its close is the last price that is known.
    pub last_day: StoredCandle,
    /// The 15-minute candles of the window and of its length before it.
    pub sums: WindowSums,
    /// Where the 15-minute candles are whole from, as [`CandleReader::kept_since`] says.
    pub kept_since: Option<i64>,
}

impl PairParts {
    /// What the pair is called; `None` without any trade.
    fn name(self) -> Option<PairName> {
        let last_trade_at = self.last_day.candle.prices()?.close_order.block_time;
        let (token_symbol, base_token_symbol) = (self.token_symbol, self.base_token_symbol);
        Some(PairName { pair: self.pair, token_symbol, base_token_symbol, last_trade_at })
    }

    /// The parts in words for people; `None` without any trade.
    pub fn summary(self) -> Option<PairSummary> {
        let last = self.last_day.candle.prices()?;
        Some(PairSummary {
            pair: self.pair,
            token_symbol: self.token_symbol,
            base_token_symbol: self.base_token_symbol,
            last_price: last.close,
            last_trade_at: last.close_order.block_time,
            before: self.sums.before(),
            sparkline: self.sums.sparkline(),
            window: self.sums.window,
        })
    }
}

/// A store's reading side.
pub trait CandleReader: Send {
    /// Candles of one pair, oldest first.
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError>;

    /// The candles of [`CandleReader::candles`] as (what our own store has of each, what all others have): parts, of one group.
    fn own_and_others(
        &mut self,
        query: &CandleQuery<'_>,
    ) -> Result<(Vec<StoredCandle>, Vec<StoredCandle>), StoreError> {
        Ok((self.candles(query)?, Vec::new()))
    }

    /// From where on everything that a group ever stored of a pair is still there, as the start of a candle in unix seconds: a
    /// store that keeps candles for a time says what it may have dropped. `None`: nothing was ever dropped.
    fn kept_since(
        &mut self,
        group: &str,
        pair: &PairKey,
        interval: Interval,
    ) -> Result<Option<i64>, StoreError> {
        let _ = (group, pair, interval);
        Ok(None)
    }

    /// The time of the newest trade of these groups, unix seconds.
    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError>;

    /// What each pair of these groups is called, in any order; a pair that several groups have comes several times. Cheap, compared with
    /// [`CandleReader::pairs`]: no candle is summed.
    fn names(&mut self, groups: &[String]) -> Result<Vec<PairName>, StoreError> {
        // A window that holds no time: no candle is read for it.
        let parts = self.pair_parts(groups, Window { start: 0, end: 0 })?;
        Ok(parts.into_iter().filter_map(PairParts::name).collect())
    }

    /// What each of these groups has of each pair that has a candle, in any order.
    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError>;

    /// Every pair that has a candle, by volume in the window, largest first.
    fn pairs(&mut self, groups: &[String], window: Window) -> Result<Vec<PairSummary>, StoreError> {
        Ok(settle(self.pair_parts(groups, window)?))
    }

    /// For each pair of a group that traded in one of these stretches of time (start, end; unix seconds, at a grain of a minute): what it
    /// traded in each of them, empty where it did not. Each pair once, in no particular order.
    fn stretches(
        &mut self,
        group: &str,
        stretches: &[(i64, i64)],
        each: &mut dyn FnMut(&PairKey, &[Candle]),
    ) -> Result<(), StoreError> {
        // Most pairs trade in few of them.
        let mut pairs: HashMap<PairKey, Vec<(usize, Candle)>, foldhash::fast::RandomState> =
            HashMap::default();
        for (at, (start, end)) in stretches.iter().enumerate() {
            for part in cover(*start, *end) {
                let intervals = &[part.interval];
                let scan = Scan { group, intervals, from: Some(part.from), before: Some(part.before) };
                self.scan(&scan, &mut |pair, _, _, candle| match pairs.get_mut(pair) {
                    Some(parts) => match parts.last_mut().filter(|(of, _)| *of == at) {
                        Some((_, sum)) => sum.merge(candle),
                        None => parts.push((at, *candle)),
                    },
                    None => drop(pairs.insert(pair.clone(), vec![(at, *candle)])),
                })?;
            }
        }
        let mut sums = vec![Candle::EMPTY; stretches.len()];
        for (pair, parts) in pairs {
            parts.iter().for_each(|(at, sum)| sums[*at] = *sum);
            each(&pair, &sums);
            parts.iter().for_each(|(at, _)| sums[*at] = Candle::EMPTY);
        }
        Ok(())
    }

    /// Hands out candles of all pairs of a group, in no particular order.
    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError>;
}

/// Gathers one pair's part of a summary from its 15-minute candles, which may come in any order.
#[derive(Debug, Clone, PartialEq)]
pub struct WindowSums {
    pub(crate) window: Candle,
    before: Candle,
    /// Parts of the window that have trades, by their number. Most pairs have few: places for all would be 13 KB each.
    spark: Vec<(i64, Candle)>,
}

/// Parts of a sparkline.
const SPARKS: i64 = 48;

impl WindowSums {
    /// Nothing yet.
    #[must_use]
    pub fn new() -> WindowSums {
        WindowSums { window: Candle::EMPTY, before: Candle::EMPTY, spark: Vec::new() }
    }

    /// Adds the candle, or a part of it, that starts at `time`: not before the window's length before the window, nor after it.
    pub fn add(&mut self, window: Window, time: i64, candle: &Candle) {
        if time < window.start {
            self.before.merge(candle);
            return;
        }
        self.window.merge(candle);
        let part = (time - window.start) * SPARKS / (window.end - window.start).max(1);
        self.add_part(part.clamp(0, SPARKS - 1), candle);
    }

    fn add_part(&mut self, part: i64, candle: &Candle) {
        match self.spark.binary_search_by_key(&part, |(part, _)| *part) {
            Ok(at) => self.spark[at].1.merge(candle),
            Err(at) => self.spark.insert(at, (part, *candle)),
        }
    }

    /// Adds what another store of the same group has of the same window.
    pub fn merge(&mut self, other: &WindowSums) {
        self.window.merge(&other.window);
        self.before.merge(&other.before);
        other.spark.iter().for_each(|(part, candle)| self.add_part(*part, candle));
    }

    pub(crate) fn before(&self) -> Option<Price> {
        self.before.prices().map(|p| p.close)
    }

    pub(crate) fn sparkline(&self) -> Vec<Price> {
        self.spark.iter().filter_map(|(_, candle)| candle.prices()).map(|p| p.close).collect()
    }
}

impl Default for WindowSums {
    fn default() -> WindowSums {
        WindowSums::new()
    }
}

/// Where two groups have a pair, the one with the latest trade stays. Then by volume.
pub(crate) fn settle(mut parts: Vec<PairParts>) -> Vec<PairSummary> {
    let several = parts.windows(2).any(|two| two[0].group != two[1].group);
    if several {
        // Where two are equal, the name decides, whatever the store gave first.
        parts.sort_by(|a, b| a.group.cmp(&b.group));
    }
    let mut summaries: Vec<PairSummary> = parts.into_iter().filter_map(PairParts::summary).collect();
    if several {
        summaries.sort_by(|a, b| a.pair.cmp(&b.pair).then(b.last_trade_at.cmp(&a.last_trade_at)));
        summaries.dedup_by(|a, b| a.pair == b.pair);
    }
    // A summary is half a kilobyte: what is sorted are small keys that say where it lies.
    let rank =
        |(at, of): (usize, &PairSummary)| (Reverse(of.window.volume_usd), Reverse(of.last_trade_at), at);
    let mut ranks: Vec<_> = summaries.iter().enumerate().map(rank).collect();
    ranks.sort_unstable_by(|a, b| {
        (a.0, a.1).cmp(&(b.0, b.1)).then_with(|| summaries[a.2].pair.cmp(&summaries[b.2].pair))
    });
    let mut summaries: Vec<Option<PairSummary>> = summaries.into_iter().map(Some).collect();
    ranks.into_iter().filter_map(|(_, _, at)| summaries[at].take()).collect()
}
