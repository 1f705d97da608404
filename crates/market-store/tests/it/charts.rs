//! Bars of any length and windows of any minutes, against the trades that they are made of, in each kind of store.

use std::collections::BTreeMap;

use market_data::{Aggregator, Candle, Grid, Interval, PairKey, Place, Price, Step};
use market_store::{
    Bar, CandleReader, CandleStore, ChartQuery, MemoryStore, Retention, SqliteStore, Take, chart, spans,
};

use crate::redis;
use crate::support::{GROUP, deltas, flush, flush_as};

/// A trade: its time, its price, whether it is clamped. Its volume is its place from 1, in USD and in tokens.
type Trade = (i64, u32, bool);

fn message(offset: i64, (time, price, clamp): &Trade) -> String {
    let usd = offset + 1;
    format!(
        r#"[{{"chain_id":"1","pair_addr":"p","type":"buy","total_usd":{usd},"token_amount":{usd},"token_price_usd":{price},
        "block_time":{time},"clamp":{clamp}}}]"#
    )
}

/// Runs a test with a reader of each kind of store that holds these trades.
fn each(trades: &[Trade], test: impl Fn(&mut dyn CandleReader)) {
    let folder = tempfile::tempdir().unwrap();
    let mut memory = MemoryStore::new();
    let mut sqlite = SqliteStore::open(&folder.path().join("candles.db")).unwrap();
    let mut aggregator = Aggregator::new();
    for (offset, trade) in (0..).zip(trades) {
        let value = message(offset, trade);
        aggregator.add_message(Place { partition: 0, offset }, value.as_bytes()).unwrap();
    }
    let mut all = aggregator.take_deltas();
    all.roll_up();
    let given = redis::given();
    let mut redis = given.as_ref().map(|redis| redis.store().retention(Retention::OFF));
    let mut stores: Vec<&mut dyn CandleStore> = vec![&mut memory, &mut sqlite];
    stores.extend(redis.as_mut().map(|redis| redis as &mut dyn CandleStore));
    for store in stores {
        flush(store, &[], &all).unwrap();
        // Another group of the same store, whose trade is older, is never mixed in.
        flush_as(store, "other", &[], &deltas(&[("p", 30, "77")])).unwrap();
        test(&mut *store.reader().unwrap());
    }
}

fn pair() -> PairKey {
    PairKey::new("1", "p")
}

/// The candle of each trade.
fn candles(trades: &[Trade]) -> Vec<(i64, Candle)> {
    let candle = |(offset, trade): (i64, &Trade)| {
        let mut aggregator = Aggregator::new();
        aggregator.add_message(Place { partition: 0, offset }, message(offset, trade).as_bytes()).unwrap();
        (trade.0, aggregator.take_deltas().candles[0].candle)
    };
    (0..).zip(trades).map(candle).collect()
}

/// The candle of the trades of a span, and the last price before it.
fn of(candles: &[(i64, Candle)], start: i64, end: i64) -> (Candle, Option<Price>) {
    let whole = |from: i64, before: i64| {
        let mut whole = Candle::EMPTY;
        let of_span = candles.iter().filter(|(time, _)| (from..before).contains(time));
        of_span.for_each(|(_, candle)| whole.merge(candle));
        whole
    };
    (whole(start, end), whole(0, start).prices().map(|p| p.close))
}

/// All bars that there are, from the trades alone.
fn expected(trades: &[(i64, Candle)], grid: Grid, until: Option<i64>) -> Vec<Bar> {
    let mut traded: BTreeMap<i64, Candle> = BTreeMap::new();
    for (time, candle) in trades {
        traded.entry(grid.start_of(*time)).or_insert(Candle::EMPTY).merge(candle);
    }
    let mut bars = Vec::new();
    let mut bar =
        |start, candle: Candle, last| bars.push(Bar { start, end: grid.end_of(start), candle, last });
    if let Some(until) = until {
        let (mut start, mut last) = (*traded.keys().next().unwrap(), None);
        while start <= until {
            let candle = traded.get(&start).copied().unwrap_or(Candle::EMPTY);
            last = candle.prices().map(|p| p.close).or(last);
            bar(start, candle, last.unwrap());
            start = grid.end_of(start);
        }
    } else {
        traded.iter().for_each(|(start, candle)| bar(*start, *candle, candle.prices().unwrap().close));
    }
    bars
}

const DAY: i64 = 86_400;

/// Busy hours, odd minutes, long silences; times out of order.
fn trades() -> Vec<Trade> {
    let start = 19_783 * DAY;
    let mut seed = 7u64;
    let mut next = |below: i64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33).cast_signed() % below
    };
    let mut trades = Vec::new();
    for (days, length, count) in [(0, 3_600, 40), (1, DAY, 60), (9, 7_200, 30), (70, 3 * DAY, 50)] {
        for _ in 0..count {
            trades.push((start + days * DAY + next(length), 1 + next(99) as u32, next(5) == 0));
        }
    }
    trades
}

#[test]
fn bars_of_every_length_and_zone_are_what_the_trades_add_up_to() {
    let trades = trades();
    let last = trades.iter().map(|t| t.0).max().unwrap();
    let traded = candles(&trades);
    let minutes = [1, 3, 30, 60, 120, 480, 1_440, 4_320].map(Step::Minutes);
    each(&trades, |reader| {
        for step in minutes.into_iter().chain([Step::Week, Step::Month]) {
            for zone in [0, 480, 330, -61] {
                let grid = Grid::new(step).ahead_of_utc(zone);
                if step == Step::Minutes(1) && zone != 0 {
                    continue;
                }
                let groups = [GROUP.to_owned(), "other".to_owned()];
                let until = last + 3 * DAY;
                for fill in [None, Some(until)] {
                    if fill.is_some() && matches!(step, Step::Minutes(1..30)) {
                        continue;
                    }
                    let all = expected(&traded, grid, fill);
                    let ask = |reader: &mut dyn CandleReader, from, before, limit, take| {
                        let (groups, pair) = (&groups[..], &pair());
                        chart(reader, &ChartQuery { groups, pair, grid, from, before, limit, take, fill })
                            .unwrap()
                    };
                    let told = ask(reader, None, i64::MAX, 10_000, Take::Latest);
                    assert_eq!(told, all, "{step:?} {zone} {fill:?}");
                    assert_eq!(ask(reader, None, i64::MAX, 10_000, Take::Earliest), all);
                    // Parts of it.
                    let newest = all.len().min(7);
                    assert_eq!(ask(reader, None, i64::MAX, newest, Take::Latest), all[all.len() - newest..]);
                    let middle = all.len() / 2;
                    let (from, before) = (Some(all[middle].start - 1), all[all.len() - 1].start);
                    let part = &all[middle..all.len() - 1];
                    assert_eq!(ask(reader, from, before, 10_000, Take::Latest), part);
                    assert_eq!(ask(reader, from, before, 3, Take::Earliest), part[..part.len().min(3)]);
                    assert_eq!(
                        ask(reader, from, before, 3, Take::Latest),
                        part[part.len().saturating_sub(3)..]
                    );
                    assert_eq!(ask(reader, Some(all[0].start + 1), all[0].start + 1, 10, Take::Latest), []);
                }
            }
        }
    });
}

#[test]
fn a_chart_read_backwards_page_by_page_has_every_bar_once() {
    let trades = trades();
    each(&trades, |reader| {
        for (step, limit) in [(Step::Minutes(1), 7), (Step::Minutes(15), 10), (Step::Minutes(1_440), 3)] {
            let (grid, groups) = (Grid::new(step), [GROUP.to_owned()]);
            let (mut before, mut pages) = (i64::MAX, Vec::new());
            loop {
                let (groups, pair, from, fill) = (&groups[..], &pair(), None, None);
                let query = ChartQuery { groups, pair, grid, from, before, limit, take: Take::Latest, fill };
                let page = chart(reader, &query).unwrap();
                let Some(first) = page.first() else { break };
                before = first.start;
                pages.insert(0, page);
            }
            assert_eq!(pages.concat(), expected(&candles(&trades), grid, None));
        }
    });
}

#[test]
fn windows_are_what_the_trades_of_their_minutes_add_up_to() {
    let trades = trades();
    let last = trades.iter().map(|t| t.0).max().unwrap();
    let traded = candles(&trades);
    each(&trades, |reader| {
        for end in [last + 60, last - DAY - 1_234, last - 62 * DAY, 19_783 * DAY + 1_800, last + 30 * DAY] {
            let end = Interval::M1.start_of(end);
            let starts = [1, 5, 15, 60, 240, 720, 1_440].map(|minutes| end - minutes * 60);
            let groups = [GROUP.to_owned(), "other".to_owned()];
            let told = spans(reader, &groups, &pair(), &starts, end).unwrap().unwrap();
            for (span, start) in told.spans.iter().zip(starts) {
                let (candle, before) = of(&traded, start, end);
                assert_eq!((span.start, span.candle), (start, candle));
                assert_eq!(span.before, before, "before {start}");
            }
            assert_eq!(Some(told.last), of(&traded, end, end).1);
        }
        let nothing = spans(reader, &[GROUP.to_owned()], &pair(), &[0], 60).unwrap();
        assert_eq!(nothing, None, "its first trade is later");
    });
}
