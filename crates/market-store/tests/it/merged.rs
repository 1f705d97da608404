//! Several stores of one group, read as one.

use market_data::{Aggregator, Candle, Deltas, Interval, PairKey, Place};
use market_store::{
    CandleQuery, CandleReader, CandleStore, Flush, MemoryStore, MergedReader, PairParts, PairSummary, Scan,
    SqliteStore, StoreError, StoredCandle, Window,
};
use proptest::prelude::*;

use crate::support::{GROUP, deltas, dump, flush};

const OTHER: &str = "other";
const DAY: i64 = 86_400;

/// A trade: which of two groups read it, which pair, when, and in which store it went.
#[derive(Debug, Clone)]
struct Told {
    group: &'static str,
    pair: char,
    time: i64,
    cents: u32,
    clamp: bool,
    store: usize,
}

fn told() -> impl Strategy<Value = Told> {
    // Few times, so that trades meet in one second and in one candle.
    let times = prop_oneof![0..4i64, 50..70i64, 3_590..3_610i64, DAY - 2..DAY + 2, 3 * DAY..3 * DAY + 3];
    let group = prop_oneof![4 => Just(GROUP), 1 => Just(OTHER)];
    (group, prop::char::range('a', 'c'), times, 1..50_000u32, prop::bool::weighted(0.2), 0..3usize).prop_map(
        |(group, pair, time, cents, clamp, store)| Told { group, pair, time: time + 1, cents, clamp, store },
    )
}

/// The parts of those trades of a group that `wanted` picks. A trade has the same place in the order in whichever store it is.
fn parts(trades: &[Told], group: &str, wanted: impl Fn(&Told) -> bool) -> Deltas {
    let mut aggregator = Aggregator::new();
    for (offset, told) in (0..).zip(trades).filter(|(_, told)| told.group == group && wanted(told)) {
        let (pair, time, clamp) = (told.pair, told.time, told.clamp);
        let (dollars, cents) = (told.cents / 100, told.cents % 100);
        let value = format!(
            r#"[{{"chain_id":"1","pair_addr":"{pair}","type":"buy","total_usd":{dollars}.{cents:02},"token_amount":0.1,
            "token_price_usd":{dollars}.{cents:02}1,"clamp":{clamp},"block_time":{time},
            "pair_info":{{"token_symbol":"T{pair}","base_token_symbol":"USDC"}}}}]"#
        );
        let place = Place { partition: 0, offset };
        assert_eq!(aggregator.add_message(place, value.as_bytes()).unwrap().trades, 1);
    }
    let mut deltas = aggregator.take_deltas();
    deltas.roll_up();
    deltas
}

fn fill(store: &mut dyn CandleStore, trades: &[Told], wanted: impl Fn(&Told) -> bool + Copy) {
    for group in [GROUP, OTHER] {
        let deltas = parts(trades, group, wanted);
        store.flush(&Flush { group, advances: &[], deltas: &deltas, now: 0 }).unwrap();
    }
}

type Asked = (Vec<Vec<StoredCandle>>, Option<i64>, Vec<PairSummary>, Vec<(PairKey, Interval, i64, Candle)>);

/// Everything that a reader can be asked, of the groups in `groups`.
fn ask(reader: &mut dyn CandleReader, groups: &[String]) -> Asked {
    let mut charts = Vec::new();
    for pair in ["a", "b", "c", "nobody"] {
        let pair = PairKey::new("1", pair);
        for interval in Interval::ALL {
            for (from, before, limit) in
                [(None, None, 1000), (None, None, 2), (Some(60), Some(DAY), 3), (None, Some(3 * DAY), 1)]
            {
                let query = CandleQuery { groups, pair: &pair, interval, from, before, limit };
                charts.push(reader.candles(&query).unwrap());
                let (own, others) = reader.own_and_others(&query).unwrap();
                // The hub shows the sum of both, whatever the store.
                let count = |of: &[StoredCandle]| of.iter().map(|stored| stored.candle.count).sum::<u64>();
                assert!(count(&own) + count(&others) >= count(&charts[charts.len() - 1]));
            }
        }
    }
    let mut pairs = reader.pairs(groups, Window { start: DAY, end: 2 * DAY }).unwrap();
    pairs.sort_by(|a, b| a.pair.cmp(&b.pair));
    let dumps = groups.iter().flat_map(|group| dump(reader, group)).collect();
    (charts, reader.newest_trade(groups).unwrap(), pairs, dumps)
}

/// When the trade happened that closes a group's latest day of a pair: by that a reader of several groups chooses.
fn last_close(store: &mut MemoryStore, group: &str, pair: char) -> Option<i64> {
    let (groups, pair) = ([group.to_owned()], PairKey::new("1", pair.to_string()));
    let query = CandleQuery {
        groups: &groups,
        pair: &pair,
        interval: Interval::D1,
        from: None,
        before: None,
        limit: 1,
    };
    let day = store.candles(&query).unwrap().pop()?;
    Some(day.candle.prices()?.close_order.block_time)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn parts_in_several_stores_give_what_one_store_gives_to_the_last_digit(
        trades in prop::collection::vec(told(), 1..60),
    ) {
        let folder = tempfile::tempdir().unwrap();
        let mut whole = MemoryStore::new();
        fill(&mut whole, &trades, |_| true);
        let mut stores: Vec<Box<dyn CandleStore>> = vec![
            Box::new(MemoryStore::new()),
            Box::new(SqliteStore::open(&folder.path().join("candles.db")).unwrap()),
            Box::new(MemoryStore::new()),
        ];
        for (index, store) in stores.iter_mut().enumerate() {
            fill(&mut **store, &trades, |told| told.store == index);
        }
        let mut readers = stores.iter().map(|store| store.reader().unwrap());
        let own = readers.next().unwrap();
        let mut merged = MergedReader::new(own, readers);
        for groups in [vec![GROUP.to_owned()], vec![GROUP.to_owned(), OTHER.to_owned()], vec![]] {
            // Where two groups' latest trades of a pair are of one second, one store may choose either.
            let tie = groups.len() > 1 && ['a', 'b', 'c'].iter().any(|pair| {
                let last = last_close(&mut whole, GROUP, *pair);
                last.is_some() && last == last_close(&mut whole, OTHER, *pair)
            });
            if !tie {
                let ((parts, newest, pairs, all), (charts, last, list, every)) = (ask(&mut merged, &groups), ask(&mut whole, &groups));
                prop_assert_eq!(parts, charts);
                prop_assert_eq!(pairs, list);
                prop_assert_eq!(all, every);
                // Where a part has clamped trades only, the part's last trade counts, and the whole's last unclamped one.
                prop_assert!(newest >= last && newest.is_some() == last.is_some());
                let clamped = trades.iter().any(|told| told.clamp);
                prop_assert!(clamped || newest == last);
            }
        }
    }
}

/// A cache that has dropped what is older.
struct Forgetful {
    kept: MemoryStore,
    since: i64,
}

impl CandleReader for Forgetful {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        self.kept.candles(&CandleQuery { from: query.from.max(Some(self.since)), ..query.clone() })
    }

    fn kept_since(&mut self, _: &str, _: &PairKey, _: Interval) -> Result<Option<i64>, StoreError> {
        Ok(Some(self.since))
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        self.kept.newest_trade(groups)
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        let mut parts = self.kept.pair_parts(groups, window)?;
        parts.iter_mut().for_each(|part| part.kept_since = Some(self.since));
        Ok(parts)
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        self.kept.scan(&Scan { from: scan.from.max(Some(self.since)), ..*scan }, each)
    }
}

#[test]
fn what_a_cache_has_dropped_is_left_out_because_the_rest_would_be_parts() {
    let (mut cache, mut sql) = (MemoryStore::new(), MemoryStore::new());
    flush(&mut cache, &[], &deltas(&[("a", 60, "1"), ("a", DAY + 900, "2"), ("a", 2 * DAY, "3")])).unwrap();
    flush(&mut sql, &[], &deltas(&[("a", 60, "4"), ("a", DAY + 930, "5"), ("a", DAY - 60, "6")])).unwrap();
    let cache = Forgetful { kept: cache, since: DAY };
    let mut merged = MergedReader::new(Box::new(sql), [Box::new(cache) as Box<dyn CandleReader>]);
    let (groups, pair) = ([GROUP.to_owned()], PairKey::new("1", "a"));
    let mut ask = |from| {
        let query = CandleQuery {
            groups: &groups,
            pair: &pair,
            interval: Interval::M1,
            from,
            before: None,
            limit: 9,
        };
        let candles = merged.candles(&query).unwrap();
        candles.iter().map(|stored| (stored.time, stored.candle.count)).collect::<Vec<_>>()
    };
    assert_eq!(ask(None), [(DAY + 900, 2), (2 * DAY, 1)]);
    assert_eq!(ask(Some(2 * DAY)), [(2 * DAY, 1)], "what is asked for stays a limit");
    assert!(dump(&mut merged, GROUP).iter().all(|(_, _, time, _)| *time >= DAY));
    let pairs = merged.pairs(&groups, Window { start: DAY, end: 2 * DAY }).unwrap();
    assert_eq!((pairs[0].window.count, pairs[0].before), (2, None), "the day before is not whole");
    assert_eq!(pairs[0].last_price.to_string(), "3");
}
