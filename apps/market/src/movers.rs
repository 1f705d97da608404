//! What every pair did in windows of time, so that the ones that moved most can be told.
//!
//! All windows are read in one pass, out of the few stretches of candles that lie between their starts: sums are exact and nothing is ever
//! subtracted. What lies before the longest (the price that a change is measured from) is kept and moved along, for it would be all of
//! history.

use std::collections::HashMap;
use std::sync::Arc;

use market_data::{Candle, Cover, Interval, PairKey, Price, Sum, cover};
use market_store::{CandleReader, Scan, StoreError};

/// The windows: their names and lengths in seconds, shortest first.
pub const WINDOWS: [(&str, i64); 7] =
    [("1m", 60), ("5m", 300), ("15m", 900), ("1h", 3_600), ("4h", 14_400), ("12h", 43_200), ("24h", 86_400)];
const LONGEST: i64 = WINDOWS[WINDOWS.len() - 1].1;

/// Trades that arrive later than this after the start of the longest window do not change the prices that are kept from before it. (The
/// windows of one pair are exact in any case: [`market_store::spans`].)
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

/// For each of [`WINDOWS`], in its place, every pair that has a trade in it, in no particular order.
pub type Tables = [Vec<Mover>; WINDOWS.len()];

/// Finds movers, again and again. It remembers pairs and their prices from before the windows.
#[derive(Debug)]
pub struct Movers {
    pairs: Numbers,
    groups: Vec<OfGroup>,
}

#[derive(Debug)]
struct OfGroup {
    group: String,
    /// The last prices before a day that lies before every window.
    history: Kept,
    /// The same before the longest window, a little earlier than its start.
    base: Kept,
}

/// Last prices before a time.
#[derive(Debug, Default, Clone)]
struct Kept {
    /// `None` if nothing was read yet.
    before: Option<i64>,
    /// By the number of the pair.
    closes: Vec<Option<Close>>,
}

#[derive(Debug, Clone, Copy)]
struct Close {
    /// Not of a clamped trade: such a price counts only where there is no other.
    real: bool,
    /// The start of its candle.
    time: i64,
    price: Price,
}

impl Kept {
    /// Takes the close of a candle. Candles come in any order, and no two of a pair hold the same time.
    fn note(&mut self, number: u32, time: i64, candle: &Candle) {
        let Some(prices) = candle.prices() else { return };
        let close = Close { real: !prices.clamped_only, time, price: prices.close };
        let slot = slot(&mut self.closes, number);
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
            history: Kept::default(),
            base: Kept::default(),
        };
        Movers { pairs: Numbers::default(), groups: groups.iter().map(of).collect() }
    }

    /// What all pairs did in the windows that end at `end`, at a grain of a minute.
    ///
    /// # Errors
    /// What the store says.
    pub fn find(&mut self, reader: &mut dyn CandleReader, end: i64) -> Result<Tables, StoreError> {
        let (mut tables, end) = (Tables::default(), Interval::M1.start_of(end));
        // Of each window where a pair stands in its table, and one more; 0 for nowhere.
        let mut found: [Vec<u32>; WINDOWS.len()] = Default::default();
        let several = self.groups.len() > 1;
        for group in &mut self.groups {
            group.find(&mut self.pairs, reader, end, &mut |window, number, mover| {
                let table = &mut tables[window];
                if several {
                    let place = slot(&mut found[window], number);
                    if let Some(other) = table.get_mut((*place as usize).wrapping_sub(1)) {
                        if other.last_trade_at < mover.last_trade_at {
                            *other = mover;
                        }
                        return;
                    }
                    *place = table.len() as u32 + 1;
                }
                table.push(mover);
            })?;
        }
        Ok(tables)
    }
}

impl OfGroup {
    fn find(
        &mut self,
        pairs: &mut Numbers,
        reader: &mut dyn CandleReader,
        end: i64,
        found: &mut dyn FnMut(usize, u32, Mover),
    ) -> Result<(), StoreError> {
        let kept = self.base(pairs, reader, end)?;
        // Oldest first: what is not yet in the kept prices, then what each window has and the next shorter one has not.
        let starts = WINDOWS.map(|(_, seconds)| end - seconds);
        let mut stretches = vec![(kept, starts[WINDOWS.len() - 1])];
        for window in (0..WINDOWS.len()).rev() {
            stretches.push((starts[window], if window == 0 { end } else { starts[window - 1] }));
        }
        let closes = &self.base.closes;
        reader.stretches(&self.group, &stretches, &mut |pair, parts| {
            let number = pairs.of(pair);
            let base = closes.get(number as usize).copied().flatten().map(|kept| (kept.real, kept.price));
            windows(base, parts, &mut |window, part| {
                let pair = Arc::clone(&pairs.pairs[number as usize]);
                found(window, number, part.mover(pair));
            });
        })
    }

    /// Brings the prices from before the windows to a time of at least [`LATE`] before the start of the longest, which it says.
    fn base(
        &mut self,
        pairs: &mut Numbers,
        reader: &mut dyn CandleReader,
        end: i64,
    ) -> Result<i64, StoreError> {
        let goal = Interval::H1.start_of(end - LONGEST) - LATE;
        let day = Interval::D1.start_of(goal);
        if self.history.before != Some(day) {
            let mut history = std::mem::take(&mut self.history);
            if history.before.is_some_and(|before| before > day) {
                history = Kept::default();
            }
            let days =
                Cover { interval: Interval::D1, from: history.before.unwrap_or(i64::MIN), before: day };
            self.note(pairs, reader, &[days], &mut history)?;
            history.before = Some(day);
            self.history = history;
            // Whatever came late since yesterday is in it.
            self.base = Kept::default();
        }
        let mut base = std::mem::take(&mut self.base);
        if base.before.is_none_or(|before| before > goal) {
            base = self.history.clone();
        }
        let from = base.before.unwrap_or(day);
        self.note(pairs, reader, &cover(from, goal), &mut base)?;
        base.before = Some(goal);
        self.base = base;
        Ok(goal)
    }

    fn note(
        &self,
        pairs: &mut Numbers,
        reader: &mut dyn CandleReader,
        covers: &[Cover],
        kept: &mut Kept,
    ) -> Result<(), StoreError> {
        for part in covers {
            let (intervals, from, before) = (&[part.interval][..], Some(part.from), Some(part.before));
            let scan = Scan { group: &self.group, intervals, from, before };
            reader.scan(&scan, &mut |pair, _, time, candle| kept.note(pairs.of(pair), time, candle))?;
        }
        Ok(())
    }
}

/// What one pair did in a window.
struct OfPair<'a> {
    candle: &'a Candle,
    price: Price,
    base: Price,
    last_trade_at: i64,
    floats: &'a mut Floats,
}

/// Walks through one pair's windows, shortest first: those with a trade are told. `base` is the last price before all of `parts`, and whether
/// it is of a trade that was not clamped; `parts` begin with what lies before the longest window.
fn windows(base: Option<(bool, Price)>, parts: &[Candle], tell: &mut dyn FnMut(usize, OfPair<'_>)) {
    let mut last = base;
    let mut bases = [None; WINDOWS.len()];
    for (at, part) in parts.iter().enumerate() {
        if let Some(base) = at.checked_sub(1).and_then(|before| bases.get_mut(WINDOWS.len() - 1 - before)) {
            *base = last;
        }
        if let Some(prices) = part.prices() {
            // Of clamped trades alone nobody makes a price, where an earlier one is known.
            let real = !prices.clamped_only;
            last = last.filter(|(earlier, _)| *earlier && !real).or(Some((real, prices.close)));
        }
    }
    let (mut whole, mut floats) = (Candle::EMPTY, Floats::default());
    for (window, part) in parts.iter().skip(1).rev().enumerate() {
        whole.merge(part);
        let Some(prices) = whole.prices() else { continue };
        let (price, base) = match bases[window] {
            Some((true, before)) if prices.clamped_only => (before, before),
            Some((_, before)) => (prices.close, before),
            None => (prices.close, prices.open),
        };
        let last_trade_at = prices.close_order.block_time;
        tell(window, OfPair { candle: &whole, price, base, last_trade_at, floats: &mut floats });
    }
}

/// Numbers as floats, as they were for the last window: most are the same for the next one, and making a float of all digits takes long.
#[derive(Default)]
struct Floats {
    price: Option<(Price, f64)>,
    base: Option<(Price, f64)>,
    volume: Option<(Sum, f64)>,
}

fn float<T: Copy + PartialEq>(last: &mut Option<(T, f64)>, exact: T, make: impl Fn(&T) -> f64) -> f64 {
    match last {
        Some((of, float)) if *of == exact => *float,
        _ => last.insert((exact, make(&exact))).1,
    }
}

impl OfPair<'_> {
    fn mover(self, pair: Arc<PairKey>) -> Mover {
        let OfPair { candle, price, base, last_trade_at, floats } = self;
        let change = if price == base {
            0.0
        } else {
            let to = float(&mut floats.price, price, |price| price.to_f64());
            to / float(&mut floats.base, base, |base| base.to_f64()) - 1.0
        };
        Mover {
            pair,
            price,
            base,
            volume_usd: float(&mut floats.volume, candle.volume_usd, Sum::to_f64),
            count: candle.count,
            buy_count: candle.buy_count,
            sell_count: candle.sell_count,
            last_trade_at,
            change: if change.is_finite() { change } else { 0.0 },
        }
    }
}
