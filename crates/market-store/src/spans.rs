//! What one pair traded in spans of minutes that end together, to the minute and to the last digit.

use market_data::{Candle, Interval, PairKey, Price, cover};

use crate::chart::group_of;
use crate::{CandleQuery, CandleReader, StoreError, StoredCandle};

/// The trades of a pair in a span of time.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Span {
    /// Its start, unix seconds.
    pub start: i64,
    /// All trades in it; empty if there were none.
    pub candle: Candle,
    /// The last price before it; `None` if its first trade is the pair's first.
    pub before: Option<Price>,
}

/// What a pair traded in spans that end together.
#[derive(Debug, Clone, PartialEq)]
pub struct Spans {
    /// A span for each start, in their order.
    pub spans: Vec<Span>,
    /// The last price before the end.
    pub last: Price,
    /// The time of the trade that made it, unix seconds.
    pub last_trade_at: i64,
}

/// Candles of one span cannot be more than the days of all time.
const ROWS_MAX: usize = 10_000_000;
/// Days that are read first where the last price before a span is looked for.
const DAYS: usize = 8;

/// The trades of a pair from each of `starts` to `end`, at a grain of a minute; the starts latest first. `None` if the pair has no trade
/// before `end`.
///
/// The spans lie in one another, so each reads only what the shorter one before it has not.
pub fn spans(
    reader: &mut dyn CandleReader,
    groups: &[String],
    pair: &PairKey,
    starts: &[i64],
    end: i64,
) -> Result<Option<Spans>, StoreError> {
    let groups = group_of(reader, groups, pair)?;
    let mut read = |interval, from: Option<i64>, before, limit| -> Result<Vec<StoredCandle>, StoreError> {
        reader.candles(&CandleQuery { groups, pair, interval, from, before: Some(before), limit })
    };
    let (mut parts, mut whole, mut after) = (Vec::new(), Candle::EMPTY, end);
    for start in starts {
        let part = between(&mut read, *start, after)?;
        whole.merge(&part);
        parts.push((part, whole));
        after = *start;
    }
    let mut history = before(&mut read, after)?;
    let mut spans = Vec::with_capacity(starts.len());
    for (start, (part, candle)) in starts.iter().zip(parts).rev() {
        spans.push(Span { start: *start, candle, before: history.prices().map(|p| p.close) });
        history.merge(&part);
    }
    spans.reverse();
    let last = history.prices();
    Ok(last.map(|p| Spans { spans, last: p.close, last_trade_at: p.close_order.block_time }))
}

/// Reads candles: their interval, the first start, the start that is not read any more, how many at most.
type Read<'a> = dyn FnMut(Interval, Option<i64>, i64, usize) -> Result<Vec<StoredCandle>, StoreError> + 'a;

fn between(read: &mut Read<'_>, start: i64, end: i64) -> Result<Candle, StoreError> {
    let mut whole = Candle::EMPTY;
    for part in cover(start, end) {
        let stored = read(part.interval, Some(part.from), part.before, ROWS_MAX)?;
        stored.iter().for_each(|stored| whole.merge(&stored.candle));
    }
    Ok(whole)
}

/// The latest of a pair's past: as much of it as decides the last price.
fn before(read: &mut Read<'_>, time: i64) -> Result<Candle, StoreError> {
    let mut day = Interval::D1.start_of(time);
    let mut past = between(read, day, time)?;
    let mut days = DAYS;
    // A clamped trade gives the price only where the whole past has no other.
    while past.prices().is_none_or(|p| p.clamped_only) {
        let stored = read(Interval::D1, None, day, days)?;
        stored.iter().for_each(|stored| past.merge(&stored.candle));
        if stored.len() < days {
            break;
        }
        day = stored[0].time;
        days *= 8;
    }
    Ok(past)
}
