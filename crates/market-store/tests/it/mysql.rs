//! What only a server can get wrong: others who write, connections that end, tables that are not ours.
//!
//! Needs `KOHORT_TEST_MYSQL=mysql://user:password@host:port/mysql` of a server on which databases may be made and dropped
//! (`tests/peers/mariadb` and `tests/peers/mysql` start one), hence ignored unless asked for; `.ci/run` asks.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use ::mysql::prelude::Queryable;
use market_data::Interval;
use market_store::{CandleStore, FlushError, MySqlAddress, MySqlStore, Positions, StoreError};

use crate::support::{GROUP, MySql, advance, deltas, dump, flush, partition};

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn three_writers_share_one_database_and_lose_nothing() {
    const FLUSHES: i64 = 40;
    let database = MySql::required();
    let start = Barrier::new(3);
    std::thread::scope(|scope| {
        for index in 0..3 {
            let (database, start) = (&database, &start);
            scope.spawn(move || {
                start.wait();
                let mut store = database.store();
                let mut claim = store.claim(GROUP, &[partition(index)]).unwrap().remove(0);
                for n in 0..FLUSHES {
                    // All three write the same candles, and make the same new ones.
                    let trades = deltas(&[("a", 60 + n % 3, "2"), ("b", 100, "3"), ("c", 60 * n + 1, "4")]);
                    flush(&mut store, &[advance(&claim, n + 1)], &trades).unwrap();
                    claim.position = Some(n + 1);
                }
            });
        }
    });
    let mut store = database.store();
    assert!(store.positions(GROUP).unwrap().iter().all(|c| c.position == Some(FLUSHES)));
    let days: Vec<u64> = dump(&mut *store.reader().unwrap(), GROUP)
        .iter()
        .filter(|(_, interval, ..)| *interval == Interval::D1)
        .map(|(.., candle)| candle.count)
        .collect();
    assert_eq!(days, [3 * FLUSHES as u64; 3]);
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn more_rows_than_one_statement_takes_are_written_and_written_anew() {
    let (one, other) = (MySql::required(), MySql::required());
    let trades: Vec<(&str, i64, &str)> = (1..=2_345).map(|minute| ("a", 60 * minute, "2")).collect();
    let trades = deltas(&trades);
    let dumps = [one.store(), other.store().without_bulk()].map(|mut store| {
        let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
        for n in 1..=2 {
            flush(&mut store, &[advance(&claim, n)], &trades).unwrap();
            claim.position = Some(n);
        }
        dump(&mut *store.reader().unwrap(), GROUP)
    });
    assert_eq!(dumps[0].len(), trades.candles.len());
    assert!(dumps[0].iter().all(|(_, interval, _, candle)| *interval != Interval::M1 || candle.count == 2));
    assert_eq!(dumps[0], dumps[1]);
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn what_another_process_wrote_is_read_before_it_is_merged() {
    let database = MySql::required();
    let (mut one, mut other) = (database.store(), database.store());
    let mut ours = one.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    let mut theirs = other.claim(GROUP, &[partition(1)]).unwrap().remove(0);
    for n in 1..=4 {
        flush(&mut one, &[advance(&ours, n)], &deltas(&[("a", 60, "2")])).unwrap();
        ours.position = Some(n);
        flush(&mut other, &[advance(&theirs, n)], &deltas(&[("a", 61, "3")])).unwrap();
        theirs.position = Some(n);
    }
    let all = dump(&mut *one.reader().unwrap(), GROUP);
    assert!(all.iter().all(|(.., candle)| candle.count == 8), "{all:?}");
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn an_empty_database_may_be_opened_by_many_at_once() {
    const OPENERS: usize = 6;
    let database = MySql::required();
    let start = Barrier::new(OPENERS);
    std::thread::scope(|scope| {
        for _ in 0..OPENERS {
            scope.spawn(|| {
                start.wait();
                database.store().claim(GROUP, &[partition(0)]).unwrap();
            });
        }
    });
    assert_eq!(database.store().positions(GROUP).unwrap()[0].epoch, OPENERS as i64);
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn tables_that_were_half_made_are_made_whole() {
    let mut database = MySql::required();
    database.store().connect().unwrap();
    for half in
        ["DELETE FROM candle_store", "DROP TABLE candles, candle_spans", "DROP VIEW kline_4h, kline_1d"]
    {
        database.login().query_drop(half).unwrap();
    }
    let mut store = database.store();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    flush(&mut store, &[advance(&claim, 1)], &deltas(&[("a", 60, "2")])).unwrap();
    assert_eq!(database.login().query_first("SELECT count(*) FROM kline_1d").unwrap(), Some(1));
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn databases_that_are_no_store_are_refused_with_the_mend() {
    let mut foreign = MySql::required();
    foreign.login().query_drop("CREATE TABLE kline_1m (chain_id BIGINT)").unwrap();
    let error = foreign.store().connect().unwrap_err();
    assert!(matches!(&error, StoreError::Foreign { table, .. } if table == "kline_1m"), "{error:?}");
    assert!(!error.is_retriable());
    let mut other = MySql::required();
    other.login().query_drop("CREATE TABLE candle_store (id INT)").unwrap();
    assert!(matches!(other.store().connect().unwrap_err(), StoreError::Foreign { .. }));
    let mut newer = MySql::required();
    newer.store().connect().unwrap();
    newer.login().query_drop("UPDATE candle_store SET version = 99").unwrap();
    assert!(matches!(newer.store().connect().unwrap_err(), StoreError::Newer { found: 99, .. }));
    newer.login().query_drop("UPDATE candle_store SET version = 1").unwrap();
    let error = newer.store().connect().unwrap_err();
    assert!(matches!(error, StoreError::Unsuitable { .. }) && !error.is_retriable(), "{error:?}");
    assert!(error.to_string().contains("of version 1"), "{error}");
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn logins_and_names_that_are_wrong_are_told_apart_from_a_server_that_is_away() {
    let database = MySql::required();
    let missing = database.address().with_database("kohort_test_no_such_database");
    let error = MySqlStore::new(missing).connect().unwrap_err();
    assert!(matches!(error, StoreError::NoDatabase { .. }) && !error.is_retriable(), "{error:?}");
    assert!(error.to_string().contains("CREATE DATABASE `kohort_test_no_such_database`"), "{error}");
    let port = database.port();
    let stranger = MySqlAddress::parse(&format!("stranger:sesame@tcp(127.0.0.1:{port})/mysql")).unwrap();
    let error = MySqlStore::new(stranger).connect().unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }) && !error.is_retriable(), "{error:?}");
    assert!(!format!("{error} {error:?}").contains("sesame"));
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let silent = format!("u@tcp({})/d?readTimeout=200ms", silent.local_addr().unwrap());
    for away in ["u@tcp(127.0.0.1:1)/d", &silent] {
        let mut store = MySqlStore::new(MySqlAddress::parse(away).unwrap());
        let error = store.claim(GROUP, &[partition(0)]).unwrap_err();
        assert!(matches!(error, StoreError::Away { .. }) && error.is_retriable(), "{error:?}");
    }
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn a_connection_that_the_server_ended_is_made_anew() {
    let mut database = MySql::required();
    let mut store = database.store();
    let mut reader = store.reader().unwrap();
    let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    for n in 1..=3 {
        flush(&mut store, &[advance(&claim, n)], &deltas(&[("a", 60, "2")])).unwrap();
        claim.position = Some(n);
        assert_eq!(dump(&mut *reader, GROUP)[0].3.count, n.unsigned_abs());
        database.end_connections();
    }
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn a_group_that_another_holds_is_busy_and_the_same_flush_gets_through_later() {
    let mut database = MySql::required();
    let mut store = database.store();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    database.login().query_drop("START TRANSACTION").unwrap();
    database.login().query_drop("SELECT * FROM candle_groups FOR UPDATE").unwrap();
    let trades = deltas(&[("a", 60, "2")]);
    let error = flush(&mut store, &[advance(&claim, 1)], &trades).unwrap_err();
    let FlushError::Store(error) = error else { panic!("{error}") };
    assert!(matches!(error, StoreError::Busy { .. }) && error.is_retriable(), "{error}");
    // Readers wait for nobody.
    assert!(dump(&mut *store.reader().unwrap(), GROUP).is_empty());
    database.login().query_drop("COMMIT").unwrap();
    flush(&mut store, &[advance(&claim, 1)], &trades).unwrap();
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn a_flush_whose_last_answer_was_lost_is_fenced_by_its_own_success() {
    let database = MySql::required();
    let cut = Arc::new(Mutex::new(None));
    let port = cutting_proxy(database.port(), Arc::clone(&cut));
    let mut store = MySqlStore::new(database.address_at(port));
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    let trades = deltas(&[("a", 60, "2")]);
    *cut.lock().unwrap() = Some(Cut::Answer);
    let error = flush(&mut store, &[advance(&claim, 1)], &trades).unwrap_err();
    assert!(matches!(error, FlushError::Store(StoreError::Away { .. })), "{error}");
    let error = flush(&mut store, &[advance(&claim, 1)], &trades).unwrap_err();
    assert!(matches!(error, FlushError::Fenced { found: Some(1), .. }), "{error}");
    // Its owner claims and goes on, and nothing is counted twice.
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    assert_eq!(claim.position, Some(1));
    flush(&mut store, &[advance(&claim, 2)], &trades).unwrap();
    assert!(dump(&mut *store.reader().unwrap(), GROUP).iter().all(|(.., candle)| candle.count == 2));
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn a_writer_that_freezes_within_a_flush_is_taken_back_and_fenced() {
    let database = MySql::required();
    let cut = Arc::new(Mutex::new(None));
    let port = cutting_proxy(database.port(), Arc::clone(&cut));
    let mut frozen = MySqlStore::new(database.address_at(port));
    let theirs = frozen.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    let trades = deltas(&[("a", 60, "2")]);
    *cut.lock().unwrap() = Some(Cut::Everything);
    std::thread::scope(|scope| {
        let (trades, theirs) = (&trades, &theirs);
        let freezing = scope.spawn(move || {
            let error = flush(&mut frozen, &[advance(theirs, 1)], trades).unwrap_err();
            assert!(matches!(error, FlushError::Store(StoreError::Away { .. })), "{error}");
            frozen
        });
        let began = Instant::now();
        while cut.lock().unwrap().is_some() {
            assert!(began.elapsed() < Duration::from_secs(60) && !freezing.is_finished());
            std::thread::sleep(Duration::from_millis(5));
        }
        // All is written and not committed. The server gives it up by itself.
        let mut store = database.store();
        let claim = loop {
            match store.claim(GROUP, &[partition(0)]) {
                Ok(claims) => break claims[0].clone(),
                Err(error) => {
                    assert!(error.is_retriable() && began.elapsed() < Duration::from_secs(120), "{error}")
                }
            }
        };
        assert_eq!((claim.epoch, claim.position), (theirs.epoch + 1, None));
        flush(&mut store, &[advance(&claim, 1)], trades).unwrap();
        let mut woken = freezing.join().unwrap();
        let error = flush(&mut woken, &[advance(theirs, 1)], trades).unwrap_err();
        assert!(matches!(error, FlushError::Fenced { found: Some(1), .. }), "{error}");
        assert!(dump(&mut *store.reader().unwrap(), GROUP).iter().all(|(.., candle)| candle.count == 1));
    });
}

/// What is to be cut off from the next COMMIT on.
enum Cut {
    /// It gets through, its answer does not, and the connection ends.
    Answer,
    /// It does not get through, and neither side hears anything more.
    Everything,
}

/// Passes bytes on until `cut` says something else.
fn cutting_proxy(server: u16, cut: Arc<Mutex<Option<Cut>>>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for client in listener.incoming() {
            let (mut client, cut) = (client.unwrap(), Arc::clone(&cut));
            let mut server = TcpStream::connect(("127.0.0.1", server)).unwrap();
            let (mut answers, mut back) = (server.try_clone().unwrap(), client.try_clone().unwrap());
            let silent = Arc::new(AtomicBool::new(false));
            let quiet = Arc::clone(&silent);
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while let Ok(length @ 1..) = answers.read(&mut buffer) {
                    if quiet.load(Ordering::SeqCst) {
                        // The answer is there, so the commit is done; nobody hears of it.
                        back.shutdown(std::net::Shutdown::Both).ok();
                        return;
                    }
                    back.write_all(&buffer[..length]).unwrap();
                }
                back.shutdown(std::net::Shutdown::Both).ok();
            });
            std::thread::spawn(move || {
                let mut buffer = vec![0; 65_536];
                while let Ok(length @ 1..) = client.read(&mut buffer) {
                    if buffer[..length].ends_with(b"COMMIT") {
                        match cut.lock().unwrap().take() {
                            Some(Cut::Answer) => silent.store(true, Ordering::SeqCst),
                            Some(Cut::Everything) => return,
                            None => {}
                        }
                    }
                    server.write_all(&buffer[..length]).unwrap();
                }
                server.shutdown(std::net::Shutdown::Both).ok();
            });
        }
    });
    port
}

#[test]
#[ignore = "needs KOHORT_TEST_MYSQL"]
fn the_views_speak_the_original_names_and_hold_every_year() {
    let mut database = MySql::required();
    let mut store = database.store();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    let year = 366 * 86_400;
    let trades = [("Ab", 60, "2.5"), ("Ab", 61, "3"), ("ab", 60, "7"), ("Ab", 60 + year, "4")];
    flush(&mut store, &[advance(&claim, 1)], &deltas(&trades)).unwrap();
    let view = "SELECT candle_time, open_at, close_at, o, c, h, l, v, t, a, count, buy_count, sell_count, updated_at FROM kline_4h
                WHERE chain_id = 1 AND pair_address = 'Ab' ORDER BY candle_time";
    let rows: Vec<::mysql::Row> = database.login().query(view).unwrap();
    let rows: Vec<Vec<String>> = rows
        .into_iter()
        .map(|row| row.unwrap().into_iter().map(::mysql::from_value::<String>).collect())
        .collect();
    let decimal =
        |number: &str| format!("{number}{}", "0".repeat(30 - number.split('.').nth(1).map_or(0, str::len)));
    let [first, second] = &rows[..] else { panic!("{rows:?}") };
    let one = decimal("1.");
    let wanted = [
        "0",
        "60",
        "61",
        &decimal("2.5"),
        &decimal("3."),
        &decimal("3."),
        &decimal("2.5"),
        &decimal("2."),
        &decimal("2."),
    ];
    assert_eq!(first[..9], wanted);
    assert_eq!(first[9..], [one.as_str(), "2", "2", "0", "1700000000"]);
    // One trade: all four prices are one, and both times.
    let (start, at, four) = (year.to_string(), (60 + year).to_string(), decimal("4."));
    let [start, at, four] = [&start, &at, &four].map(String::as_str);
    assert_eq!(second[..7], [start, at, at, four, four, four, four]);
    assert_eq!(second[7..], [one.as_str(), &one, &one, "1", "1", "0", "1700000000"]);
}
