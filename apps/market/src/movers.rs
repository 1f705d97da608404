//! What every pair did in a window of time, so that the ones that moved most can be told.
//!
//! A window is read whole each time, out of the few stretches of candles that cover it: sums are exact and nothing is ever subtracted.
//! What lies before it (the price that a change is measured from) is kept and moved along, for it would be all of history.

use std::collections::HashMap;
use std::sync::Arc;

use market_data::{Candle, Cover, Interval, PairKey, Price, cover};
use market_store::{CandleReader, Scan, StoreError};

/// The windows: their names and lengths in seconds, shortest first.
pub const WINDOWS: [(&str, i64); 7] =
    [("1m", 60), ("5m", 300), ("15m", 900), ("1h", 3_600), ("4h", 14_400), ("12h", 43_200), ("24h", 86_400)];
const LONGEST: i64 = WINDOWS[WINDOWS.len() - 1].1;

/// Trades that arrive later than this after their time do not change the prices that are kept from before a window. (The windows of one
/// pair are exact in any case: [`market_store::spans`].)
pub const LATE: i64 = 3_600;

/// What a pair did in a window.
#[derive(Debug, Clone, PartialEq)]
pub struct Mover {
    /// The pair.
    pub pair: Arc<PairKey>,
    /// The last price in the window.
    pub price: Price,
    /// The last price before the window; where there is none, the first in it.
    pub base: Price,
    /// Sum of US dollars.
    pub volume_usd: f64,
    /// All trades.
    pub count: u64,
    /// Trades whose type is `buy`.
    pub buy_count: u64,
    /// Trades whose type is `sell`.
    pub sell_count: u64,
    /// The time of the last trade in the window, unix seconds.
    pub last_trade_at: i64,
    /// `price / base - 1`, a fraction.
    pub change: f64,
}

/// Finds movers, again and again. It remembers pairs and their prices from before the windows.
#[derive(Debug)]
pub struct Movers(Vec<OfGroup>);

#[derive(Debug)]
struct OfGroup {
    group: String,
    pairs: Numbers,
    /// The last prices before a day that lies before every window.
    history: Kept,
    /// The same before each window, a little earlier than its start.
    bases: [Kept; WINDOWS.len()],
}

/// Last prices before a time.
#[derive(Debug, Default, Clone)]
struct Kept {
    /// `None` if nothing was read yet.
    before: Option<i64>,
    closes: Closes,
}

/// The last price of each pair, by its number.
#[derive(Debug, Default, Clone)]
struct Closes(Vec<Option<Close>>);

#[derive(Debug, Clone, Copy)]
struct Close {
    /// Not of a clamped trade: such a price counts only where there is no other.
    real: bool,
    /// The start of its candle.
    time: i64,
    price: Price,
}

impl Closes {
    /// Takes the close of a candle. Candles come in any order, and no two of a pair hold the same time.
    fn note(&mut self, number: u32, time: i64, candle: &Candle) {
        let Some(prices) = candle.prices() else { return };
        let close = Close { real: !prices.clamped_only, time, price: prices.close };
        let slot = slot(&mut self.0, number);
        if slot.is_none_or(|kept| (kept.real, kept.time) < (close.real, close.time)) {
            *slot = Some(close);
        }
    }
}

fn slot<T: Clone + Default>(slots: &mut Vec<T>, number: u32) -> &mut T {
    let at = number as usize;
    if slots.len() <= at {
        slots.resize(at + 1, T::default());
    }
    &mut slots[at]
}

/// Small numbers for pairs.
#[derive(Debug, Default)]
struct Numbers {
    numbers: HashMap<Arc<PairKey>, u32, foldhash::fast::RandomState>,
    pairs: Vec<Arc<PairKey>>,
    /// The number that was given last: candles of a pair may come in runs.
    last: u32,
}

impl Numbers {
    fn of(&mut self, pair: &PairKey) -> u32 {
        if self.pairs.get(self.last as usize).is_some_and(|last| **last == *pair) {
            return self.last;
        }
        self.last = match self.numbers.get(pair) {
            Some(number) => *number,
            None => {
                let (number, pair) = (self.pairs.len() as u32, Arc::new(pair.clone()));
                self.pairs.push(Arc::clone(&pair));
                self.numbers.insert(pair, number);
                number
            }
        };
        self.last
    }
}

impl Movers {
    /// For the pairs of these groups. Where several have a pair, the one with the latest trade in the window counts, alone.
    pub fn new(groups: &[String]) -> Movers {
        let of = |group: &String| OfGroup {
            group: group.clone(),
            pairs: Numbers::default(),
            history: Kept::default(),
            bases: Default::default(),
        };
        Movers(groups.iter().map(of).collect())
    }

    /// Every pair that has a trade in the window with this place in [`WINDOWS`] that ends at `end` (at a grain of a minute), in no
    /// particular order.
    pub fn find(
        &mut self,
        reader: &mut dyn CandleReader,
        window: usize,
        end: i64,
    ) -> Result<Vec<Mover>, StoreError> {
        let mut movers = Vec::new();
        for group in &mut self.0 {
            group.find(reader, window, Interval::M1.start_of(end), &mut movers)?;
        }
        if self.0.len() > 1 {
            movers.sort_by(|a, b| a.pair.cmp(&b.pair).then(b.last_trade_at.cmp(&a.last_trade_at)));
            movers.dedup_by(|a, b| a.pair == b.pair);
        }
        Ok(movers)
    }
}

impl OfGroup {
    fn find(
        &mut self,
        reader: &mut dyn CandleReader,
        window: usize,
        end: i64,
        movers: &mut Vec<Mover>,
    ) -> Result<(), StoreError> {
        let start = end - WINDOWS[window].1;
        let kept = self.base(reader, window, start, end)?;
        let mut bases = self.bases[window].closes.clone();
        self.each(reader, &cover(kept, start), |number, time, candle| bases.note(number, time, candle))?;

        let mut sums: Vec<Option<Box<Candle>>> = Vec::new();
        self.each(reader, &cover(start, end), |number, _, candle| match slot(&mut sums, number) {
            Some(sum) => sum.merge(candle),
            empty => *empty = Some(Box::new(*candle)),
        })?;
        movers.reserve(sums.iter().flatten().count());
        for (pair, (number, sum)) in self.pairs.pairs.iter().zip((0..).zip(&sums)) {
            let Some((sum, prices)) = sum.as_ref().and_then(|sum| Some((sum, sum.prices()?))) else {
                continue;
            };
            let before = bases.0.get(number).copied().flatten();
            // Of clamped trades alone nobody makes a price, where an earlier one is known.
            let (price, base) = match before {
                Some(before) if prices.clamped_only && before.real => (before.price, before.price),
                Some(before) => (prices.close, before.price),
                None => (prices.close, prices.open),
            };
            let change = if price == base { 0.0 } else { price.to_f64() / base.to_f64() - 1.0 };
            movers.push(Mover {
                pair: Arc::clone(pair),
                price,
                base,
                volume_usd: sum.volume_usd.to_f64(),
                count: sum.count,
                buy_count: sum.buy_count,
                sell_count: sum.sell_count,
                last_trade_at: prices.close_order.block_time,
                change: if change.is_finite() { change } else { 0.0 },
            });
        }
        Ok(())
    }

    /// Brings the prices from before a window to a time of at least [`LATE`] before its start, which it says.
    fn base(
        &mut self,
        reader: &mut dyn CandleReader,
        window: usize,
        start: i64,
        end: i64,
    ) -> Result<i64, StoreError> {
        let goal = Interval::H1.start_of(start) - LATE;
        let day = Interval::D1.start_of(Interval::H1.start_of(end - LONGEST) - LATE);
        if self.history.before != Some(day) {
            let mut history = std::mem::take(&mut self.history);
            if history.before.is_some_and(|before| before > day) {
                history = Kept::default();
            }
            let days =
                Cover { interval: Interval::D1, from: history.before.unwrap_or(i64::MIN), before: day };
            self.each(reader, &[days], |number, time, candle| history.closes.note(number, time, candle))?;
            history.before = Some(day);
            self.history = history;
            // Whatever came late since yesterday is in it.
            self.bases = Default::default();
        }
        let mut base = std::mem::take(&mut self.bases[window]);
        if base.before.is_none_or(|before| before > goal) {
            base = self.history.clone();
        }
        let from = base.before.unwrap_or(day);
        self.each(reader, &cover(from, goal), |number, time, candle| base.closes.note(number, time, candle))?;
        base.before = Some(goal);
        self.bases[window] = base;
        Ok(goal)
    }

    fn each(
        &mut self,
        reader: &mut dyn CandleReader,
        covers: &[Cover],
        mut each: impl FnMut(u32, i64, &Candle),
    ) -> Result<(), StoreError> {
        for part in covers {
            let (intervals, from, before) = (&[part.interval][..], Some(part.from), Some(part.before));
            let pairs = &mut self.pairs;
            reader.scan(
                &Scan { group: &self.group, intervals, from, before },
                &mut |pair, _, time, candle| {
                    each(pairs.of(pair), time, candle);
                },
            )?;
        }
        Ok(())
    }
}
