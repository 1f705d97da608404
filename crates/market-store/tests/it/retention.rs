//! How long a cache keeps candles: the same in memory and in Redis.

use std::time::Duration;

use market_data::{Interval, PairKey};
use market_store::{Advance, CandleQuery, CandleStore, Claim, MemoryStore, Retention};

use crate::redis;
use crate::support::{GROUP, advance, deltas, dump, flush, partition};

const DAY: i64 = 86_400;

/// Runs a test with each kind of cache, with some retention.
fn each(test: impl Fn(&dyn Fn(Retention) -> Box<dyn CandleStore>)) {
    let memory = MemoryStore::new();
    test(&|retention| Box::new(memory.clone().retention(retention)));
    if let Some(redis) = redis::given() {
        test(&|retention| Box::new(redis.store().retention(retention)));
    }
}

fn starts(store: &dyn CandleStore, interval: Interval) -> Vec<i64> {
    let (groups, pair) = ([GROUP.to_owned()], PairKey::new("1", "a"));
    let query =
        CandleQuery { groups: &groups, pair: &pair, interval, from: None, before: None, limit: 1_000 };
    store.reader().unwrap().candles(&query).unwrap().iter().map(|candle| candle.time).collect()
}

fn next(claim: &mut Claim) -> Advance {
    let to = claim.position.unwrap_or(0) + 1;
    let advance = advance(claim, to);
    claim.position = Some(to);
    advance
}

#[test]
fn minutes_are_kept_for_three_days_and_all_else_for_seven_by_the_markets_time() {
    each(|open| {
        let mut store = open(Retention::ORIGINAL);
        let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        for day in 1..=10 {
            let at = day * DAY + 5;
            flush(&mut *store, &[next(&mut claim)], &deltas(&[("a", at, "2"), ("b", 7, "3")])).unwrap();
        }
        let days = |days: std::ops::RangeInclusive<i64>| days.map(|day| day * DAY).collect::<Vec<_>>();
        assert_eq!(starts(&*store, Interval::M1), days(7..=10));
        assert_eq!(starts(&*store, Interval::M5), days(3..=10));
        assert_eq!(starts(&*store, Interval::D1), days(3..=10));
        // A pair's age is its own.
        let all = dump(&mut *store.reader().unwrap(), GROUP);
        assert_eq!(all.iter().filter(|(pair, ..)| pair.pair == "b").count(), 7);
    });
}

#[test]
fn a_candle_that_is_gone_is_never_begun_anew() {
    each(|open| {
        let mut store = open(Retention::ORIGINAL);
        let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        flush(&mut *store, &[next(&mut claim)], &deltas(&[("a", 5, "2")])).unwrap();
        flush(&mut *store, &[next(&mut claim)], &deltas(&[("a", 20 * DAY, "3")])).unwrap();
        let before = dump(&mut *store.reader().unwrap(), GROUP);
        assert_eq!(before.len(), 7, "only the newest are left");
        let late = deltas(&[("a", 6, "9"), ("a", 15 * DAY, "4")]);
        // By whomever: the mark is the store's, and longer retention does not bring back what is gone.
        let mut again = open(Retention::OFF);
        let mut owner = again.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        let flushed = flush(&mut *again, &[next(&mut owner)], &late).unwrap();
        assert_eq!(flushed.expired, 8, "all of the first, and the minute of the second");
        assert_eq!(flushed.candles.len(), late.candles.len());
        for (delta, candle) in late.candles.iter().zip(&flushed.candles) {
            let kept = delta.time >= 13 * DAY && delta.interval != Interval::M1;
            assert_eq!(candle.count, u64::from(kept), "{delta:?}");
        }
        assert_eq!(starts(&*again, Interval::D1), [15 * DAY, 20 * DAY]);
        assert_eq!(starts(&*again, Interval::M1), [20 * DAY]);
        let pairs = again.reader().unwrap().newest_trade(&[GROUP.to_owned()]).unwrap();
        assert_eq!(pairs, Some(20 * DAY), "a late trade is not the last");
    });
}

#[test]
fn a_trade_with_a_time_of_the_future_costs_its_pair_nothing() {
    each(|open| {
        let mut store = open(Retention::ORIGINAL);
        let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        // The flushes of these tests are at that time.
        let (now, future) = (1_700_000_000 / 60 * 60, 4_000_000_020);
        let mut minutes = Vec::new();
        for (minute, time) in [now, future, now + 60, now + 120].into_iter().enumerate() {
            let parts = deltas(&[("a", time, "2")]);
            let flushed = flush(&mut *store, &[next(&mut claim)], &parts).unwrap();
            assert_eq!(flushed.expired, 0, "flush {minute}");
            minutes.push(time);
        }
        minutes.sort_unstable();
        assert_eq!(starts(&*store, Interval::M1), minutes);
        assert_eq!(starts(&*store, Interval::D1).len(), 2);
    });
}

#[test]
fn a_retention_of_ones_own_and_none_at_all() {
    each(|open| {
        let hour =
            Retention { minutes: Some(Duration::from_secs(60)), longer: Some(Duration::from_secs(3_600)) };
        let mut store = open(hour);
        let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        for minute in 1..120 {
            flush(&mut *store, &[next(&mut claim)], &deltas(&[("a", 60 * minute, "2")])).unwrap();
        }
        assert_eq!(starts(&*store, Interval::M1), [118 * 60, 119 * 60]);
        assert_eq!(starts(&*store, Interval::H1), [3_600]);
        let mut store = open(Retention { minutes: Some(Duration::from_secs(60)), longer: None });
        let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        flush(&mut *store, &[next(&mut claim)], &deltas(&[("a", 40 * DAY, "2")])).unwrap();
        assert_eq!(starts(&*store, Interval::H1), [3_600, 40 * DAY]);
        assert_eq!(starts(&*store, Interval::M1), [40 * DAY]);
    });
}
