//! Charts: bars of any length out of a store's candles, with or without those in which nothing was traded.

use market_data::{Candle, Grid, Interval, PairKey, Price, cover};

use crate::{CandleQuery, CandleReader, StoreError, StoredCandle};

/// Which end of the time that is asked for counts, where it has more bars than are wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Take {
    /// The bars at its beginning.
    Earliest,
    /// The bars at its end.
    Latest,
}

/// Which bars of a pair to make.
#[derive(Debug, Clone, Copy)]
pub struct ChartQuery<'a> {
    /// The groups that are asked. Where several have the pair, the one with the latest trade answers, alone.
    pub groups: &'a [String],
    /// The pair.
    pub pair: &'a PairKey,
    /// The bars' length and zone.
    pub grid: Grid,
    /// Only bars that start at or after this time, unix seconds.
    pub from: Option<i64>,
    /// Only bars that start before this time, unix seconds.
    pub before: i64,
    /// At most so many.
    pub limit: usize,
    /// Which of them.
    pub take: Take,
    /// Whether there are bars for times without trades: from the pair's first trade to the later of its last one and this time.
    /// `None`: only bars with trades.
    pub fill: Option<i64>,
}

/// One bar of a chart.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Bar {
    /// Its start, unix seconds.
    pub start: i64,
    /// Its end, which is the start of the next.
    pub end: i64,
    /// Its trades; empty if there were none.
    pub candle: Candle,
    /// Its last price: that of the bar before, if nothing was traded.
    pub last: Price,
}

impl Bar {
    /// Open, high, low, close. Where nothing was traded, all are the last price.
    pub fn prices(&self) -> [Price; 4] {
        self.candle.prices().map_or([self.last; 4], |p| [p.open, p.high, p.low, p.close])
    }
}

/// Candles that are read at once.
const ROWS_MAX: usize = 20_000;
/// A bar of more candles than that is put together of the longest that fit into it: a month in a zone of odd minutes has 44,640
/// minutes, but 30 days and a few minutes more.
const CANDLES_MAX: usize = 400;
/// Later than any trade may be: the year 10000.
const TIME_MAX: i64 = 253_402_300_800;

/// Makes the bars of a chart, oldest first.
pub fn chart(reader: &mut dyn CandleReader, query: &ChartQuery<'_>) -> Result<Vec<Bar>, StoreError> {
    let grid = query.grid;
    let beginning = grid.start_of(0);
    let from = query.from.unwrap_or(beginning).clamp(beginning, TIME_MAX);
    let start = if grid.start_of(from) == from { from } else { grid.end_of(grid.start_of(from)) };
    let before = query.before.clamp(beginning, TIME_MAX);
    if query.limit == 0 || start >= before {
        return Ok(Vec::new());
    }
    let end = grid.end_of(grid.start_of(before - 1));
    let group = group_of(reader, query.groups, query.pair)?;
    let mut pair = Pair { reader, group, key: query.pair, grid };
    match (query.take, query.fill) {
        (Take::Latest, None) => pair.latest(start, end, query.limit),
        (Take::Earliest, None) => pair.earliest(start, end, query.limit),
        (Take::Latest, Some(until)) => {
            let Some(end) = pair.rests_at(end, until)? else { return Ok(Vec::new()) };
            pair.filled(grid.back(end, query.limit).max(start), end)
        }
        (Take::Earliest, Some(until)) => {
            let Some(end) = pair.rests_at(end, until)? else { return Ok(Vec::new()) };
            let start = match pair.newest_before(start)? {
                Some(_) => start,
                None => pair.first_from(start, end)?.map_or(end, |time| grid.start_of(time)),
            };
            pair.filled(start, grid.forth(start, query.limit).min(end))
        }
    }
}

/// The group that answers for a pair: the one with its latest trade. Asked once, so that all of an answer is of one group.
pub(crate) fn group_of<'a>(
    reader: &mut dyn CandleReader,
    groups: &'a [String],
    pair: &PairKey,
) -> Result<&'a [String], StoreError> {
    if groups.len() <= 1 {
        return Ok(groups);
    }
    let mut best = None;
    for group in groups.chunks(1) {
        let interval = Interval::D1;
        let query = CandleQuery { groups: group, pair, interval, from: None, before: None, limit: 1 };
        let last = reader.candles(&query)?.last().and_then(|stored| stored.candle.prices());
        if let Some(at) = last.map(|prices| prices.close_order.block_time)
            && best.is_none_or(|(best, _)| at > best)
        {
            best = Some((at, group));
        }
    }
    Ok(best.map_or(&groups[..1], |(_, group)| group))
}

/// Reading one pair in one group. All starts and ends are borders of bars.
struct Pair<'a> {
    reader: &'a mut dyn CandleReader,
    group: &'a [String],
    key: &'a PairKey,
    grid: Grid,
}

impl Pair<'_> {
    fn candles(
        &mut self,
        interval: Interval,
        from: i64,
        before: i64,
        limit: usize,
    ) -> Result<Vec<StoredCandle>, StoreError> {
        let (groups, pair) = (self.group, self.key);
        let (from, before) = (Some(from), Some(before));
        self.reader.candles(&CandleQuery { groups, pair, interval, from, before, limit })
    }

    /// The latest time before `end` at which a candle of the source starts.
    fn newest_before(&mut self, end: i64) -> Result<Option<i64>, StoreError> {
        let found = self.candles(self.grid.source(), self.grid.start_of(0), end, 1)?;
        Ok(found.last().map(|stored| stored.time))
    }

    /// The earliest time from `start` on and before `end` at which a candle of the source starts. A store knows the latest of many,
    /// so the first day is found by halving.
    fn first_from(&mut self, start: i64, end: i64) -> Result<Option<i64>, StoreError> {
        let day = Interval::D1.seconds();
        let mut from = Interval::D1.start_of(start);
        while from < end && !self.candles(Interval::D1, from, end, 1)?.is_empty() {
            let mut before = Interval::D1.start_of(end - 1) + day;
            while before - from > day {
                let middle = from + (before - from) / day / 2 * day;
                if self.candles(Interval::D1, from, middle, 1)?.is_empty() {
                    from = middle;
                } else {
                    before = middle;
                }
            }
            let of_day = self.candles(self.grid.source(), start.max(from), end.min(from + day), ROWS_MAX)?;
            if let Some(first) = of_day.first() {
                return Ok(Some(first.time));
            }
            // All trades of that day are outside of what is asked for.
            from += day;
        }
        Ok(None)
    }

    /// The bars with trades in `start..end`.
    fn traded(&mut self, start: i64, end: i64) -> Result<Vec<Bar>, StoreError> {
        let mut bars = Vec::new();
        if self.grid.candles_max() > CANDLES_MAX {
            let days = self.candles(Interval::D1, Interval::D1.start_of(start), end, ROWS_MAX)?;
            let mut at = start;
            for day in days {
                at = at.max(self.grid.start_of(day.time));
                while at < end.min(day.time + Interval::D1.seconds()) {
                    let after = self.grid.end_of(at);
                    let mut candle = Candle::EMPTY;
                    for part in cover(at, after) {
                        let of_part = self.candles(part.interval, part.from, part.before, ROWS_MAX)?;
                        of_part.iter().for_each(|stored| candle.merge(&stored.candle));
                    }
                    bars.extend(candle.prices().map(|p| Bar {
                        start: at,
                        end: after,
                        candle,
                        last: p.close,
                    }));
                    at = after;
                }
            }
            return Ok(bars);
        }
        for stored in self.candles(self.grid.source(), start, end, ROWS_MAX)? {
            let Some(prices) = stored.candle.prices() else { continue };
            match bars.last_mut() {
                Some(bar) if stored.time < bar.end => {
                    bar.candle.merge(&stored.candle);
                    bar.last = bar.candle.prices().map_or(bar.last, |p| p.close);
                }
                _ => {
                    let start = self.grid.start_of(stored.time);
                    let (end, last) = (self.grid.end_of(start), prices.close);
                    bars.push(Bar { start, end, candle: stored.candle, last });
                }
            }
        }
        Ok(bars)
    }

    /// Bars that are read at once, if `wanted` were good to read.
    fn stretch(&self, wanted: usize) -> usize {
        wanted.min(ROWS_MAX / self.grid.candles_max()).max(1)
    }

    fn latest(&mut self, start: i64, mut end: i64, limit: usize) -> Result<Vec<Bar>, StoreError> {
        // Newest first, while they are looked for.
        let (mut found, mut wanted) = (Vec::new(), limit);
        while found.len() < limit {
            let newest = self.newest_before(end)?.map(|time| self.grid.start_of(time));
            let Some(newest) = newest.filter(|newest| *newest >= start) else { break };
            end = self.grid.end_of(newest);
            let from = self.grid.back(end, self.stretch(wanted)).max(start);
            found.extend(self.traded(from, end)?.into_iter().rev());
            end = from;
            wanted = wanted.saturating_mul(2);
        }
        found.truncate(limit);
        found.reverse();
        Ok(found)
    }

    fn earliest(&mut self, mut start: i64, end: i64, limit: usize) -> Result<Vec<Bar>, StoreError> {
        let (mut found, mut wanted) = (Vec::new(), limit);
        while found.len() < limit {
            let Some(first) = self.first_from(start, end)? else { break };
            start = self.grid.start_of(first);
            let before = self.grid.forth(start, self.stretch(wanted)).min(end);
            found.extend(self.traded(start, before)?);
            start = before;
            wanted = wanted.saturating_mul(2);
        }
        found.truncate(limit);
        Ok(found)
    }

    /// Where bars end that are filled until a time, at `end` at the latest; `None` for a pair that has no trade before it.
    fn rests_at(&mut self, end: i64, until: i64) -> Result<Option<i64>, StoreError> {
        let Some(newest) = self.newest_before(end)? else { return Ok(None) };
        Ok(Some(self.grid.end_of(self.grid.start_of(newest.max(until.min(end - 1))))))
    }

    /// All bars of `start..end`, those before the pair's first trade aside.
    fn filled(&mut self, start: i64, end: i64) -> Result<Vec<Bar>, StoreError> {
        let mut last = None;
        if let Some(before) = self.newest_before(start)? {
            let before = self.grid.start_of(before);
            last = self.traded(before, self.grid.end_of(before))?.last().map(|bar| bar.last);
        }
        let (mut bars, mut at) = (Vec::new(), start);
        while at < end {
            let stretch = self.grid.forth(at, self.stretch(usize::MAX)).min(end);
            let mut traded = self.traded(at, stretch)?.into_iter().peekable();
            while at < stretch {
                let after = self.grid.end_of(at);
                if let Some(bar) = traded.next_if(|bar| bar.start == at) {
                    last = Some(bar.last);
                    bars.push(bar);
                } else if let Some(last) = last {
                    bars.push(Bar { start: at, end: after, candle: Candle::EMPTY, last });
                }
                at = after;
            }
        }
        Ok(bars)
    }
}
