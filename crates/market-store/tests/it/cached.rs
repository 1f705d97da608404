//! The cache in front of a file: what it has after a restart, and after a flush of which nobody knows.

use std::sync::Arc;
use std::time::Duration;

use market_data::{Candle, Deltas, Interval, PairKey};
use market_store::{
    CachedStore, CandleQuery, CandleReader, CandleStore, Flush, FlushError, Flushed, MemoryStore, Positions,
    Retention, SqliteStore, StoreError, Window,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::time::SystemTime;

use crate::support::{GROUP, advance, deltas, dump, flush, flush_as, partition};

#[test]
fn what_was_flushed_is_there_after_a_restart_and_what_was_not_is_not() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("market.db");
    let mut store = CachedStore::open(&path, MemoryStore::new).unwrap();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    // More candles than go over at once.
    let times: Vec<i64> = (1..1500).map(|n| n * 60).collect();
    let trades: Vec<_> = times.iter().map(|time| ("a", *time, "2.50000000000000001")).collect();
    flush(&mut store, &[advance(&claim, 5)], &deltas(&trades)).unwrap();
    flush_as(&mut store, "other", &[], &deltas(&[("b", 60, "3")])).unwrap();
    let zombie = flush(&mut store, &[advance(&claim, 6)], &deltas(&[("a", 60, "9")]));
    assert!(matches!(zombie, Err(FlushError::Fenced { .. })));
    let window = Window { start: 0, end: 86_400 };
    let groups = [GROUP.to_owned(), "other".to_owned()];
    let told = |store: &CachedStore| {
        let mut reader = store.reader().unwrap();
        (dump(&mut *reader, GROUP), dump(&mut *reader, "other"), reader.pairs(&groups, window).unwrap())
    };
    let before = told(&store);
    drop(store);
    let mut store = CachedStore::open(&path, MemoryStore::new).unwrap();
    assert_eq!(told(&store), before);
    assert_eq!(before.2[0].token_symbol.as_deref(), Some("Ta"));
    let file = SqliteStore::open(&path).unwrap();
    assert_eq!(dump(&mut *file.reader().unwrap(), GROUP), before.0, "the memory is what the file is");
    let again = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    assert_eq!((again.epoch, again.position), (2, Some(5)));
}

#[test]
fn one_process_at_a_time_has_the_file_as_its_cache() {
    let folder = tempfile::tempdir().unwrap();
    let path = Arc::new(folder.path().join("market.db"));
    let first = CachedStore::open(&path, MemoryStore::new).unwrap();
    let waiting = std::thread::spawn({
        let path = Arc::clone(&path);
        move || CachedStore::open(&path, MemoryStore::new).map(|_| ())
    });
    std::thread::sleep(Duration::from_millis(50));
    drop(first);
    waiting.join().unwrap().unwrap();
    // Another service may claim in the file meanwhile, and is heard.
    let mut cache = CachedStore::open(&path, MemoryStore::new).unwrap();
    let ours = cache.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    SqliteStore::open(&path).unwrap().claim(GROUP, &[partition(0)]).unwrap();
    let fenced = flush(&mut cache, &[advance(&ours, 1)], &deltas(&[("a", 60, "1")]));
    assert!(matches!(fenced, Err(FlushError::Fenced { .. })));
    assert!(dump(&mut *cache.reader().unwrap(), GROUP).is_empty());
}

#[test]
fn after_a_flush_that_failed_the_file_says_what_is_true() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("market.db");
    let mut store = CachedStore::open(&path, MemoryStore::new).unwrap();
    store.set_busy_timeout(Duration::from_millis(20)).unwrap();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    let mut reader = store.reader().unwrap();
    let holder = rusqlite::Connection::open(&path).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let failed = flush(&mut store, &[advance(&claim, 1)], &deltas(&[("a", 60, "1")]));
    assert!(matches!(failed, Err(FlushError::Store(StoreError::Busy { .. }))));
    holder.execute_batch("COMMIT").unwrap();
    // As if the answer to a commit had been lost: the file has the flush, and the next try is fenced.
    let mut file = SqliteStore::open(&path).unwrap();
    flush(&mut file, &[advance(&claim, 1)], &deltas(&[("a", 60, "1")])).unwrap();
    let again = flush(&mut store, &[advance(&claim, 1)], &deltas(&[("a", 60, "1")]));
    assert!(matches!(again, Err(FlushError::Fenced { .. })));
    let groups = [GROUP.to_owned()];
    let pair = PairKey::new("1", "a");
    let query = CandleQuery {
        groups: &groups,
        pair: &pair,
        interval: Interval::M1,
        from: None,
        before: None,
        limit: 9,
    };
    let candles = reader.candles(&query).unwrap();
    assert_eq!((candles.len(), candles[0].candle.count), (1, 1), "a reader of before sees it too");
}

const HOUR: i64 = 3_600;
/// Minutes for an hour, all else for three; forgotten after a day without a trade.
const SHORT: Retention =
    Retention { minutes: Some(Duration::from_secs(3_600)), longer: Some(Duration::from_secs(3 * 3_600)) };

fn short() -> MemoryStore {
    MemoryStore::new().retention(SHORT)
}

fn clock() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs().cast_signed()
}

fn flush_at(store: &mut dyn CandleStore, deltas: &Deltas, now: i64) -> Flushed {
    store.flush(&Flush { group: GROUP, advances: &[], deltas, now }).unwrap()
}

/// What the file shows to other processes.
fn shown(path: &Path) -> Vec<(PairKey, Interval, i64, Candle)> {
    let mut reader = SqliteStore::open(path).unwrap().reader().unwrap();
    let all = dump(&mut *reader, GROUP);
    let mut asked = Vec::new();
    for pair in ["a", "b", "c"].map(|pair| PairKey::new("1", pair)) {
        for interval in Interval::ALL {
            let groups = [GROUP.to_owned()];
            let query = CandleQuery {
                groups: &groups,
                pair: &pair,
                interval,
                from: None,
                before: None,
                limit: 9_999,
            };
            let found = reader.candles(&query).unwrap();
            asked
                .extend(found.into_iter().map(|stored| (pair.clone(), interval, stored.time, stored.candle)));
        }
    }
    assert_eq!(asked, all, "candle by candle or all at once");
    all
}

/// A walk through the file takes place and comes to its end.
fn walked(store: &mut dyn CandleStore, now: i64) {
    for _ in 0..40 {
        flush_at(store, &Deltas::default(), now);
    }
}

#[test]
fn what_is_no_longer_kept_is_deleted_from_the_file_and_only_that() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("market.db");
    let mut store = CachedStore::open(&path, short).unwrap();
    let now = clock();
    flush_at(&mut store, &deltas(&[("b", 1_000 * HOUR, "7")]), now);
    for hour in 1_000..1_200 {
        flush_at(&mut store, &deltas(&[("a", hour * HOUR + 60, "2"), ("a", hour * HOUR + 1_800, "3")]), now);
    }
    let rows = || -> i64 {
        let connection = rusqlite::Connection::open(&path).unwrap();
        connection.query_row("SELECT count(*) FROM candles", [], |row| row.get(0)).unwrap()
    };
    assert!(rows() > 1_000);
    walked(&mut store, now + HOUR);
    let kept = dump(&mut *store.reader().unwrap(), GROUP);
    assert_eq!(rows(), kept.len() as i64);
    assert!(kept.iter().any(|(pair, ..)| pair.pair == "b"), "a pair's age is its own");
    assert_eq!(shown(&path), kept);
    let since = |reader: &mut dyn CandleReader| {
        Interval::ALL.map(|interval| reader.kept_since(GROUP, &PairKey::new("1", "a"), interval).unwrap())
    };
    let told = since(&mut *store.reader().unwrap());
    assert_eq!(told[0], Some(1_199 * HOUR + 1_800 - HOUR));
    assert_eq!(since(&mut *SqliteStore::open(&path).unwrap().reader().unwrap()), told);
    drop(store);
    let mut store = CachedStore::open(&path, short).unwrap();
    assert_eq!(dump(&mut *store.reader().unwrap(), GROUP), kept);
    assert_eq!(since(&mut *store.reader().unwrap()), told);
    // Late trades for what is gone are expired, before and after, and begin nothing anew.
    let late = flush_at(&mut store, &deltas(&[("a", 1_100 * HOUR, "9")]), now + HOUR);
    assert_eq!((late.expired, late.candles.iter().all(Candle::is_empty)), (7, true));
    assert_eq!(shown(&path), kept);
    // Nor does a longer retention bring back what is gone.
    drop(store);
    let store = CachedStore::open(&path, MemoryStore::new).unwrap();
    assert_eq!(dump(&mut *store.reader().unwrap(), GROUP), kept);
    assert_eq!(since(&mut *store.reader().unwrap()), told);
}

#[test]
fn of_a_shared_group_the_file_keeps_everything() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("market.db");
    let open = || CachedStore::open(&path, short).unwrap().shared_groups(vec![GROUP.to_owned()]);
    let mut store = open();
    let (mut plain, now) = (MemoryStore::new(), clock());
    let mut flush_both = |store: &mut CachedStore, trades: &[(&str, i64, &str)], now| {
        flush_at(&mut plain, &deltas(trades), now);
        let flushed = flush_at(store, &deltas(trades), now);
        assert_eq!(flushed.expired, 0);
        dump(&mut *plain.reader().unwrap(), GROUP)
    };
    for hour in 1_000..1_200 {
        flush_both(&mut store, &[("a", hour * HOUR + 60, "2")], now);
    }
    walked(&mut store, now + HOUR);
    let whole =
        flush_both(&mut store, &[("a", 1_100 * HOUR, "9"), ("a", 1_100 * HOUR + 61, "1")], now + HOUR);
    assert_eq!(shown(&path), whole);
    let kept = dump(&mut *store.reader().unwrap(), GROUP);
    assert!(kept.len() < whole.len() / 10, "the memory keeps what is new");
    assert!(kept.iter().all(|candle| whole.contains(candle)), "whole candles");
    drop(store);
    let store = open();
    assert_eq!(dump(&mut *store.reader().unwrap(), GROUP), kept);
    assert_eq!(shown(&path), whole);
}

#[test]
fn the_cache_is_the_memory_alone_whatever_is_late_forgotten_deleted_or_started_anew() {
    for seed in 1..9u64 {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("market.db");
        // Beside the cache, what a memory of the same retention has, and what one has that keeps all.
        let (mut model, mut plain) = (short(), MemoryStore::new());
        let mut store = CachedStore::open(&path, short).unwrap();
        let mut random = seed;
        let mut next = |below: u64| {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (random >> 33) % below
        };
        let (mut now, mut market) = (clock() - 48 * HOUR, 1_000 * HOUR);
        let mut expired = 0;
        for _ in 0..120 {
            now += next(2 * 1_800).cast_signed();
            market += next(4_000).cast_signed();
            let trades: Vec<(&str, i64, String)> = (0..next(4))
                .map(|_| {
                    let late = if next(3) == 0 { next(6 * 3_600) } else { next(600) };
                    // One of them is traded seldom, and forgotten now and then.
                    let pair = if next(40) == 0 { "c" } else { ["a", "b"][next(2) as usize] };
                    (pair, market - late.cast_signed(), format!("1.{}", next(1_000)))
                })
                .collect();
            let trades: Vec<_> =
                trades.iter().map(|(pair, at, price)| (*pair, *at, price.as_str())).collect();
            let parts = deltas(&trades);
            let flushed = flush_at(&mut store, &parts, now);
            assert_eq!(flushed, flush_at(&mut model, &parts, now), "seed {seed}");
            flush_at(&mut plain, &parts, now);
            expired += flushed.expired;
            if next(12) == 0 {
                drop(store);
                store = CachedStore::open(&path, short).unwrap();
                flush_at(&mut model, &Deltas::default(), clock());
            }
            let kept = dump(&mut *store.reader().unwrap(), GROUP);
            assert_eq!(kept, dump(&mut *model.reader().unwrap(), GROUP), "seed {seed}");
            if next(6) == 0 {
                let whole: BTreeMap<_, _> = dump(&mut *plain.reader().unwrap(), GROUP)
                    .into_iter()
                    .map(|(pair, interval, time, candle)| ((pair, interval, time), candle))
                    .collect();
                for (pair, interval, time, candle) in shown(&path) {
                    assert_eq!(
                        whole.get(&(pair, interval, time)),
                        Some(&candle),
                        "seed {seed}: no part of a candle"
                    );
                }
            }
        }
        assert!(expired > 0);
        let end = now + 2 * HOUR;
        walked(&mut store, end);
        flush_at(&mut model, &Deltas::default(), end);
        assert_eq!(shown(&path), dump(&mut *model.reader().unwrap(), GROUP), "seed {seed}");
    }
}
