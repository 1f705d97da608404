//! What only a file can get wrong, and what several processes do to one.

use std::sync::Barrier;
use std::time::Duration;

use market_data::Interval;
use market_store::{CandleStore, FlushError, Positions, SqliteStore, StoreError};
use rusqlite::Connection;

use crate::support::{GROUP, advance, deltas, dump, flush, partition};

#[test]
fn everything_is_there_after_a_restart_and_merges_stay_right() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("new/folder/candles.db");
    let mut store = SqliteStore::open(&file).unwrap();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    flush(&mut store, &[advance(&claim, 1)], &deltas(&[("a", 61, "2.5000000000000000001")])).unwrap();
    let before = dump(&mut *store.reader().unwrap(), GROUP);
    drop(store);
    let mut store = SqliteStore::open(&file).unwrap();
    assert_eq!(dump(&mut *store.reader().unwrap(), GROUP), before);
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    assert_eq!((claim.epoch, claim.position), (2, Some(1)));
    // An older trade opens, and does not close.
    flush(&mut store, &[advance(&claim, 2)], &deltas(&[("a", 60, "1")])).unwrap();
    let (.., candle) = dump(&mut *store.reader().unwrap(), GROUP)[0].clone();
    let prices = candle.prices().unwrap();
    assert_eq!(
        (prices.open.to_string(), prices.close.to_string()),
        ("1".into(), "2.5000000000000000001".into())
    );
}

#[test]
fn three_writers_share_one_file_and_lose_nothing() {
    const FLUSHES: i64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("candles.db");
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        for index in 0..3 {
            let (file, start) = (&file, &start);
            scope.spawn(move || {
                start.wait();
                let mut store = SqliteStore::open(file).unwrap();
                let mut claim = store.claim(GROUP, &[partition(index)]).unwrap().remove(0);
                for n in 0..FLUSHES {
                    // All three write the same candles.
                    let trades = deltas(&[("a", 60 + n % 3, "2"), ("b", 100, "3")]);
                    flush(&mut store, &[advance(&claim, n + 1)], &trades).unwrap();
                    claim.position = Some(n + 1);
                }
            });
        }
    });
    let mut store = SqliteStore::open(&file).unwrap();
    assert!(store.positions(GROUP).unwrap().iter().all(|c| c.position == Some(FLUSHES)));
    let days: Vec<u64> = dump(&mut *store.reader().unwrap(), GROUP)
        .iter()
        .filter(|(_, interval, ..)| *interval == Interval::D1)
        .map(|(.., candle)| candle.count)
        .collect();
    assert_eq!(days, [3 * FLUSHES as u64; 2]);
}

#[test]
fn a_new_file_may_be_opened_by_many_at_once() {
    const OPENERS: usize = 6;
    for _ in 0..20 {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("candles.db");
        let start = Barrier::new(OPENERS);
        std::thread::scope(|scope| {
            for _ in 0..OPENERS {
                scope.spawn(|| {
                    start.wait();
                    // Closed at once by those who are quick, while others are still at it.
                    SqliteStore::open(&file).unwrap().claim(GROUP, &[partition(0)]).unwrap();
                });
            }
        });
        assert_eq!(SqliteStore::open(&file).unwrap().positions(GROUP).unwrap()[0].epoch, OPENERS as i64);
    }
}

#[test]
fn a_locked_file_is_busy_and_the_same_flush_gets_through_later() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("candles.db");
    let mut store = SqliteStore::open(&file).unwrap();
    store.set_busy_timeout(Duration::from_millis(1)).unwrap();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    let other = Connection::open(&file).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let trades = deltas(&[("a", 60, "2")]);
    let error = flush(&mut store, &[advance(&claim, 1)], &trades).unwrap_err();
    let FlushError::Store(error) = error else { panic!("{error}") };
    assert!(matches!(error, StoreError::Busy { .. }) && error.is_retriable(), "{error}");
    other.execute_batch("COMMIT").unwrap();
    flush(&mut store, &[advance(&claim, 1)], &trades).unwrap();
}

#[test]
fn a_full_disk_is_said_and_nothing_is_corrupted() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("candles.db");
    let mut store = SqliteStore::open(&file).unwrap();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    flush(&mut store, &[advance(&claim, 1)], &deltas(&[("a", 60, "2")])).unwrap();
    let before = dump(&mut *store.reader().unwrap(), GROUP);
    // SQLite's own limit stands for the disk's: the error and the way back are the same.
    store.limit_pages(1).unwrap();
    let names: Vec<String> = (0..500).map(|n| format!("pair-{n}")).collect();
    let many: Vec<_> = names.iter().map(|name| (name.as_str(), 60, "2")).collect();
    let mut second = advance(&claim, 2);
    second.from = Some(1);
    let error = flush(&mut store, std::slice::from_ref(&second), &deltas(&many)).unwrap_err();
    assert!(matches!(error, FlushError::Store(StoreError::Full { .. })), "{error:?}");
    assert_eq!(dump(&mut *store.reader().unwrap(), GROUP), before);
    store.limit_pages(u32::MAX - 1).unwrap();
    flush(&mut store, &[second], &deltas(&many)).unwrap();
    assert_eq!(dump(&mut *store.reader().unwrap(), GROUP).len(), before.len() + 7 * 500);
}

#[test]
fn a_flush_that_panics_leaves_nothing_behind() {
    let folder = tempfile::tempdir().unwrap();
    let mut store = SqliteStore::open(&folder.path().join("candles.db")).unwrap();
    let claim = &store.claim(GROUP, &[partition(0)]).unwrap()[0];
    flush(&mut store, &[advance(claim, 1)], &deltas(&[("a", 60, "2"), ("b", 60, "2")])).unwrap();
    let claim = &store.claim(GROUP, &[partition(0)]).unwrap()[0];
    let good = deltas(&[("a", 60, "2")]);
    let mut bad = deltas(&[("a", 60, "2"), ("b", 60, "2")]);
    // A count beyond all counts: where overflow is checked, as in tests, the merge panics behind the candle of `a`.
    bad.candles.iter_mut().filter(|delta| delta.pair == 1).for_each(|delta| delta.candle.count = u64::MAX);
    let panics = std::panic::AssertUnwindSafe(|| flush(&mut store, &[advance(claim, 2)], &bad).map(drop));
    assert!(std::panic::catch_unwind(panics).is_err());
    flush(&mut store, &[advance(claim, 2)], &good).unwrap();
    let minutes = dump(&mut *store.reader().unwrap(), GROUP);
    let minute = minutes.iter().find(|(pair, interval, ..)| pair.pair == "a" && *interval == Interval::M1);
    assert_eq!(minute.unwrap().3.count, 2);
}

#[test]
fn files_that_are_no_store_are_refused_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let garbage = folder.path().join("garbage.db");
    std::fs::write(
        &garbage,
        "this is no database, whatever its name says, and it is long enough to be looked at".repeat(20),
    )
    .unwrap();
    let error = SqliteStore::open(&garbage).err().unwrap();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error:?}");
    let foreign = folder.path().join("foreign.db");
    Connection::open(&foreign).unwrap().execute_batch("CREATE TABLE t (a)").unwrap();
    assert!(matches!(SqliteStore::open(&foreign).err().unwrap(), StoreError::NotAStore { .. }));
    let newer = folder.path().join("newer.db");
    drop(SqliteStore::open(&newer).unwrap());
    Connection::open(&newer).unwrap().pragma_update(None, "user_version", 99).unwrap();
    assert!(matches!(SqliteStore::open(&newer).err().unwrap(), StoreError::Newer { found: 99, .. }));
    let blocked = folder.path().join("garbage.db/candles.db");
    let error = SqliteStore::open(&blocked).err().unwrap();
    assert!(matches!(error, StoreError::Folder { .. }), "{error:?}");
    assert!(error.to_string().contains("--data"), "{error}");
}

#[test]
fn the_view_speaks_the_original_names() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("candles.db");
    let mut store = SqliteStore::open(&file).unwrap();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    flush(&mut store, &[advance(&claim, 1)], &deltas(&[("a", 60, "2"), ("a", 61, "3")])).unwrap();
    let row: (String, String, String, String, String, f64, i64, i64) = Connection::open(&file)
        .unwrap()
        .query_row(
            "SELECT chain_id, o, c, h, v, a, count, open_at FROM kline WHERE interval = '4h'",
            [],
            |row| {
                Ok((
                    row.get(0)?,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                    row.get(4)?,
                    row.get(5)?,
                    row.get(6)?,
                    row.get(7)?,
                ))
            },
        )
        .unwrap();
    assert_eq!(row, ("1".into(), "2".into(), "3".into(), "3".into(), "2".into(), 1.0, 2, 60));
}
