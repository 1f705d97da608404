//! What every store does.

use market_data::{Interval, PairKey};
use market_store::{
    Advance, CachedStore, CandleQuery, CandleStore, FlushError, MemoryStore, Retention, SqliteStore, Window,
};

use crate::redis;
use crate::support::{GROUP, MySql, advance, deltas, dump, flush, flush_as, partition};

/// Runs a test with each kind of store: the embedded ones always, MySQL and Redis where `KOHORT_TEST_MYSQL` and `KOHORT_TEST_REDIS` name a
/// server, as CI does.
fn each(test: impl Fn(&mut dyn CandleStore)) {
    test(&mut MemoryStore::new());
    let folder = tempfile::tempdir().unwrap();
    test(&mut SqliteStore::open(&folder.path().join("candles.db")).unwrap());
    if let Some(database) = MySql::new() {
        test(&mut database.store());
    }
    // As to a MySQL, which has no bulk statements.
    if let Some(database) = MySql::new() {
        test(&mut database.store().without_bulk());
    }
    test(&mut CachedStore::open(&folder.path().join("market.db"), MemoryStore::new).unwrap());
    if let Some(redis) = redis::given() {
        test(&mut redis.store().retention(Retention::OFF));
    }
}

#[test]
fn a_claim_raises_the_epoch_and_reads_the_position() {
    each(|store| {
        let claims = store.claim(GROUP, &[partition(0), partition(1)]).unwrap();
        assert_eq!(claims.iter().map(|c| (c.epoch, c.position)).collect::<Vec<_>>(), [(1, None), (1, None)]);
        flush(store, &[advance(&claims[0], 5)], &deltas(&[("a", 60, "2")])).unwrap();
        let again = store.claim(GROUP, &[partition(0)]).unwrap();
        assert_eq!((again[0].epoch, again[0].position), (2, Some(5)));
        assert_eq!(store.claim("other", &[partition(0)]).unwrap()[0].epoch, 1);
        let positions = store.positions(GROUP).unwrap();
        assert_eq!(
            positions.iter().map(|c| (c.epoch, c.position)).collect::<Vec<_>>(),
            [(2, Some(5)), (1, None)]
        );
    });
}

#[test]
fn a_flush_merges_into_what_is_stored() {
    each(|store| {
        let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        flush(store, &[advance(&claim, 1)], &deltas(&[("a", 61, "2"), ("b", 70, "5")])).unwrap();
        let mut second = advance(&claim, 2);
        second.from = Some(1);
        // One candle gets older and newer trades, one is new.
        let more = deltas(&[("a", 60, "1"), ("a", 62, "3"), ("a", 130, "4")]);
        let flushed = flush(store, &[second], &more).unwrap();
        let all = dump(&mut *store.reader().unwrap(), GROUP);
        let whole =
            deltas(&[("a", 60, "1"), ("a", 61, "2"), ("a", 62, "3"), ("a", 130, "4"), ("b", 70, "5")]);
        assert_eq!(all.len(), whole.candles.len());
        for delta in &whole.candles {
            let pair = &whole.pairs[delta.pair as usize].key;
            let (.., stored) =
                all.iter().find(|(p, i, t, _)| (p, *i, *t) == (pair, delta.interval, delta.time)).unwrap();
            let (stored, wanted) = (stored.prices().unwrap(), delta.candle.prices().unwrap());
            assert_eq!(
                (stored.open, stored.close, stored.high, stored.low),
                (wanted.open, wanted.close, wanted.high, wanted.low)
            );
        }
        // The flush says what the store has now.
        let minute = more.candles.iter().position(|d| d.interval == Interval::M1 && d.time == 60).unwrap();
        assert_eq!(flushed.candles[minute].count, 3);
        assert_eq!(flushed.candles[minute].prices().unwrap().open.to_string(), "1");
    });
}

#[test]
fn a_flush_with_an_old_epoch_or_a_moved_position_changes_nothing() {
    each(|store| {
        let zombie = store.claim(GROUP, &[partition(0), partition(1)]).unwrap();
        flush(store, &[advance(&zombie[0], 3)], &deltas(&[("a", 60, "2")])).unwrap();
        let before = dump(&mut *store.reader().unwrap(), GROUP);
        // The position moved.
        let error = flush(store, &[advance(&zombie[0], 4)], &deltas(&[("a", 60, "9")])).unwrap_err();
        assert!(matches!(error, FlushError::Fenced { found: Some(3), .. }), "{error}");
        // The epoch moved, of the second partition only: the first does not advance either.
        store.claim(GROUP, &[partition(1)]).unwrap();
        let mut first = advance(&zombie[0], 4);
        first.from = Some(3);
        let error = flush(store, &[first, advance(&zombie[1], 7)], &deltas(&[("c", 60, "9")])).unwrap_err();
        assert!(matches!(error, FlushError::Fenced { epoch: 1, found_epoch: 2, .. }), "{error}");
        // Never claimed.
        let mut stranger = advance(&zombie[0], 1);
        stranger.partition = partition(9);
        flush(store, &[stranger], &deltas(&[("d", 60, "9")])).unwrap_err();
        assert_eq!(dump(&mut *store.reader().unwrap(), GROUP), before);
        assert_eq!(store.positions(GROUP).unwrap()[0].position, Some(3));
        // The owner goes on.
        let owner = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        flush(store, &[advance(&owner, 4)], &deltas(&[("a", 60, "3")])).unwrap();
    });
}

#[test]
fn positions_move_alone_as_a_flush_moves_them() {
    each(|store| {
        let claims = store.claim(GROUP, &[partition(0), partition(1)]).unwrap();
        flush(store, &[advance(&claims[0], 9), advance(&claims[1], 4)], &deltas(&[("a", 60, "2")])).unwrap();
        let before = dump(&mut *store.reader().unwrap(), GROUP);
        let step = |at: usize, from, to| Advance { from: Some(from), ..advance(&claims[at], to) };
        // One of them moved: neither does.
        let error = store.advance(GROUP, &[step(0, 9, 2), step(1, 5, 0)]).unwrap_err();
        assert!(matches!(error, FlushError::Fenced { found: Some(4), .. }), "{error}");
        store.advance(GROUP, &[step(0, 9, 2)]).unwrap();
        let positions: Vec<_> = store.positions(GROUP).unwrap().iter().map(|c| c.position).collect();
        assert_eq!(positions, [Some(2), Some(4)]);
        assert_eq!(dump(&mut *store.reader().unwrap(), GROUP), before);
        // A later flush states what it moved to.
        flush(store, &[step(0, 2, 3)], &deltas(&[("a", 61, "3")])).unwrap();
        store.claim(GROUP, &[partition(0)]).unwrap();
        let error = store.advance(GROUP, &[step(0, 3, 0)]).unwrap_err();
        assert!(matches!(error, FlushError::Fenced { epoch: 1, found_epoch: 2, .. }), "{error}");
    });
}

#[test]
fn groups_are_never_mixed_and_the_latest_answers() {
    each(|store| {
        for (group, trades) in
            [("old", vec![("a", 60, "1"), ("x", 60, "1")]), ("new", vec![("a", 60, "1"), ("a", 120, "2")])]
        {
            let claim = store.claim(group, &[partition(0)]).unwrap().remove(0);
            flush_as(store, group, &[advance(&claim, 1)], &deltas(&trades)).unwrap();
        }
        let mut reader = store.reader().unwrap();
        let groups = ["old".to_owned(), "new".to_owned()];
        let pair = PairKey::new("1", "a");
        let query = CandleQuery {
            groups: &groups,
            pair: &pair,
            interval: Interval::D1,
            from: None,
            before: None,
            limit: 9,
        };
        let candles = reader.candles(&query).unwrap();
        assert_eq!((candles.len(), candles[0].candle.count), (1, 2));
        let pairs = reader.pairs(&groups, Window { start: 0, end: 86_400 }).unwrap();
        let counts: Vec<_> = pairs.iter().map(|p| (p.pair.pair.as_str(), p.window.count)).collect();
        assert_eq!(counts, [("a", 2), ("x", 1)]);
        let mut names = reader.names(&groups).unwrap();
        names.sort_by_key(|name| (name.pair.clone(), name.last_trade_at));
        let told: Vec<_> = names.iter().map(|n| (n.pair.pair.as_str(), n.last_trade_at)).collect();
        assert_eq!(told, [("a", 60), ("a", 120), ("x", 60)]);
        assert_eq!(
            (names[2].token_symbol.as_deref(), names[2].base_token_symbol.as_deref()),
            (Some("Tx"), Some("USDC"))
        );
        let stretches = [(0, 60), (60, 120), (120, 3_600)];
        let mut sums = Vec::new();
        reader
            .stretches("new", &stretches, &mut |pair, parts| {
                sums.push((pair.pair.clone(), parts.iter().map(|part| part.count).collect::<Vec<_>>()));
            })
            .unwrap();
        assert_eq!(sums, [("a".to_owned(), vec![0, 1, 1])]);
        assert!(reader.pairs(&["none".to_owned()], Window { start: 0, end: 86_400 }).unwrap().is_empty());
    });
}

#[test]
fn a_query_gives_the_latest_candles_of_its_range_oldest_first() {
    each(|store| {
        let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        // Sparse over years: minutes, hours and days without trades between them.
        let times = [0, 60, 3_600, 86_399, 86_400, 40_000_000, 1_000_000_000, 1_000_000_060, 1_000_043_200];
        let trades: Vec<_> =
            times.iter().flat_map(|t| [("a", *t.max(&1), "2"), ("b", t + 600, "3")]).collect();
        flush(store, &[advance(&claim, 1)], &deltas(&trades)).unwrap();
        let mut reader = store.reader().unwrap();
        let groups = [GROUP.to_owned()];
        let pair = PairKey::new("1", "a");
        let mut ask = |interval, from, before, limit| -> Vec<i64> {
            let query = CandleQuery { groups: &groups, pair: &pair, interval, from, before, limit };
            reader.candles(&query).unwrap().iter().map(|c| c.time).collect()
        };
        assert_eq!(ask(Interval::M1, None, None, 100).len(), 9);
        assert_eq!(
            ask(Interval::M1, None, None, 2),
            [1_000_000_020, 1_000_043_160].map(|t: i64| t - t.rem_euclid(60))
        );
        assert_eq!(ask(Interval::M1, None, Some(86_400), 2), [3_600, 86_340]);
        assert_eq!(ask(Interval::M1, Some(60), Some(86_340), 9), [60, 3_600]);
        assert_eq!(ask(Interval::H1, None, Some(86_400), 9), [0, 3_600, 82_800]);
        assert_eq!(ask(Interval::D1, None, Some(40_000_000), 9), [0, 86_400, 39_916_800]);
        assert_eq!(ask(Interval::D1, Some(5), Some(4), 9), [0i64; 0]);
    });
}

#[test]
fn the_list_of_pairs_knows_price_change_and_volume() {
    each(|store| {
        let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        let day = 86_400;
        let trades =
            [("a", day - 1_000, "2"), ("a", day + 5, "3"), ("a", day + 7_200, "4"), ("quiet", 5, "7")];
        flush(store, &[advance(&claim, 1)], &deltas(&trades)).unwrap();
        let pairs =
            store.reader().unwrap().pairs(&[GROUP.to_owned()], Window { start: day, end: 2 * day }).unwrap();
        let newest = store.reader().unwrap().newest_trade(&["none".to_owned(), GROUP.to_owned()]).unwrap();
        assert_eq!(newest, Some(day + 7_200));
        let [a, quiet] = &pairs[..] else { panic!("{pairs:?}") };
        assert_eq!(
            (a.pair.pair.as_str(), a.last_price.to_string().as_str(), a.last_trade_at),
            ("a", "4", day + 7_200)
        );
        assert_eq!((a.window.count, a.window.volume_usd.to_string().as_str()), (2, "2"));
        assert_eq!(a.before.unwrap().to_string(), "2");
        assert_eq!(a.sparkline.iter().map(ToString::to_string).collect::<Vec<_>>(), ["3", "4"]);
        assert_eq!((a.token_symbol.as_deref(), a.base_token_symbol.as_deref()), (Some("Ta"), Some("USDC")));
        assert_eq!((quiet.last_price.to_string().as_str(), quiet.window.count), ("7", 0));
    });
}

#[test]
fn names_that_are_almost_equal_are_not_equal() {
    each(|store| {
        let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        // What a collation would take for one: letters' cases, accents, a space behind.
        let names = ["7xKXtg", "7xkxTG", "é", "e", "e ", "E", "🦀"];
        let trades: Vec<_> = names.iter().map(|name| (*name, 60, "2")).collect();
        flush(store, &[advance(&claim, 1)], &deltas(&trades)).unwrap();
        let days: Vec<_> = dump(&mut *store.reader().unwrap(), GROUP)
            .into_iter()
            .filter(|(_, interval, ..)| *interval == Interval::D1)
            .map(|(pair, .., candle)| (pair.pair, candle.count))
            .collect();
        let mut wanted: Vec<_> = names.iter().map(|name| ((*name).to_owned(), 1)).collect();
        wanted.sort();
        assert_eq!(days, wanted);
        store.claim(&GROUP.to_uppercase(), &[partition(0)]).unwrap();
        assert_eq!(store.positions(GROUP).unwrap()[0].epoch, 1);
    });
}

#[test]
fn the_widest_numbers_and_the_longest_names_are_kept() {
    each(|store| {
        let claim = store.claim(&"g".repeat(255), &[partition(0)]).unwrap().remove(0);
        let long = "p".repeat(256);
        let tiny = format!("0.{}12345678901234567890123456789012345678", "0".repeat(339));
        let huge = format!("{}.125", "9".repeat(34));
        let trades = [(long.as_str(), 253_402_300_799, tiny.as_str()), ("b", 60, huge.as_str())];
        flush_as(store, &"g".repeat(255), &[advance(&claim, 1)], &deltas(&trades)).unwrap();
        let all = dump(&mut *store.reader().unwrap(), &"g".repeat(255));
        assert_eq!(all.len(), 14);
        for (pair, .., candle) in all {
            let wanted = if pair.pair == "b" { &huge } else { &tiny };
            assert_eq!(&candle.prices().unwrap().close.to_string(), wanted);
        }
    });
}

#[test]
fn what_a_store_remembers_is_what_another_one_reads() {
    each(|store| {
        let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        let names: Vec<String> = (0..40).map(|n| format!("pair-{n}")).collect();
        let mut all: Vec<(&str, i64, &str)> = Vec::new();
        // Days are begun, left and come back to, in the middle and at both ends of what is there.
        for (step, day) in [(0, 10), (1, 11), (2, 9), (3, 10), (4, 30), (5, 20), (6, 10), (7, 30)] {
            let trades: Vec<(&str, i64, &str)> = (0..names.len() as i64 * 3)
                .map(|n| (names[(n % 40) as usize].as_str(), day * 86_400 + step * 1_800 + n * 97, "2"))
                .collect();
            flush(store, &[advance(&claim, step + 1)], &deltas(&trades)).unwrap();
            claim.position = Some(step + 1);
            all.extend(trades);
        }
        let whole = deltas(&all);
        let stored = dump(&mut *store.reader().unwrap(), GROUP);
        assert_eq!(stored.len(), whole.candles.len());
        for delta in &whole.candles {
            let pair = &whole.pairs[delta.pair as usize].key;
            let at =
                stored.binary_search_by(|(p, i, t, _)| (p, *i, *t).cmp(&(pair, delta.interval, delta.time)));
            assert_eq!(
                stored[at.unwrap()].3.count,
                delta.candle.count,
                "{pair:?} {} {}",
                delta.interval,
                delta.time
            );
        }
    });
}

#[test]
fn between_a_trade_of_the_future_and_the_true_ones_nothing_is_looked_for_day_by_day() {
    each(|store| {
        let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        // The end of the year 9999, and of 5138; another pair trades in between.
        let future = [253_402_300_799, 99_999_999_999];
        let times: Vec<i64> = future.into_iter().chain([1_704_412_800, 1_704_412_860, 86_400]).collect();
        let mut trades: Vec<(&str, i64, &str)> = times.iter().map(|time| ("a", *time, "2")).collect();
        trades.push(("b", 4_000_000_000, "3"));
        flush(store, &[advance(&claim, 1)], &deltas(&trades)).unwrap();
        let (groups, pair) = ([GROUP.to_owned()], PairKey::new("1", "a"));
        let mut reader = store.reader().unwrap();
        let began = std::time::Instant::now();
        for interval in Interval::ALL {
            let mut starts: Vec<i64> = times.iter().map(|time| interval.start_of(*time)).collect();
            starts.sort_unstable();
            starts.dedup();
            for limit in [1, 2, 3, 500] {
                let (groups, pair) = (&groups, &pair);
                let query = CandleQuery { groups, pair, interval, from: None, before: None, limit };
                let found: Vec<i64> =
                    reader.candles(&query).unwrap().iter().map(|stored| stored.time).collect();
                assert_eq!(found, starts[starts.len().saturating_sub(limit)..], "{interval}, {limit}");
            }
        }
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    });
}
