//! The cache in front of a file: what it has after a restart, and after a flush of which nobody knows.

use std::sync::Arc;
use std::time::Duration;

use market_data::{Interval, PairKey};
use market_store::{
    CachedStore, CandleQuery, CandleStore, FlushError, MemoryStore, Positions, SqliteStore, StoreError,
    Window,
};

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
