//! What others see in Redis: the original's keys, its channel, whole copies side by side.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::time::Duration;

use market_store::{CandleStore, FlushError, Positions, Retention, StoreError};
use serde_json::Value;

use super::server::Server;
use crate::support::{GROUP, advance, deltas, dump, flush, flush_as, partition};

const EXACT: [&str; 4] = ["--appendonly", "yes", "--appendfsync", "always"];

#[test]
#[ignore = "needs redis-server: run in CI"]
fn keys_scores_and_members_are_what_others_read() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EXACT);
    let mut store = server.store();
    for group in [GROUP, "another"] {
        let claim = store.claim(group, &[partition(0)]).unwrap().remove(0);
        flush_as(&mut store, group, &[advance(&claim, 1)], &deltas(&[("a", 61, "2.5"), ("a", 65, "0.1")]))
            .unwrap();
    }
    // Both groups' candles, whole, in the original's key.
    assert_eq!(server.ask(&["ZCARD", "kline:1:a:1m"]), ":2\r\n");
    assert_eq!(server.ask(&["ZCOUNT", "kline:1:a:12h", "0", "0"]), ":2\r\n");
    let reply = server.ask(&["ZRANGEBYSCORE", "kline:1:a:1m", "60", "60"]);
    let members: Vec<Value> =
        reply.lines().filter_map(|line| serde_json::from_str(line).ok()).filter(Value::is_object).collect();
    assert_eq!(members.len(), 2, "{reply}");
    for member in members {
        let number = |name: &str| member[name].as_f64().unwrap();
        assert_eq!(["o", "h", "l", "c", "v", "t"].map(number), [2.5, 2.5, 0.1, 0.1, 2.0, 2.0]);
        assert_eq!(
            ["count", "buy_count", "candle_time", "open_at", "close_at"]
                .map(|name| member[name].as_i64().unwrap()),
            [2, 2, 60, 61, 65]
        );
    }
    // Keys of pairs live for twice the retention, and the positions for ever.
    assert_eq!(server.ask(&["TTL", "kline:1:a:4h"]), format!(":{}\r\n", 14 * 86_400));
    for what in ["positions", "state", "series"] {
        assert_eq!(server.ask(&["TTL", &format!("kohort:{GROUP}:{what}")]), ":-1\r\n");
    }
}

#[test]
#[ignore = "needs redis-server: run in CI"]
fn what_changed_is_published_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EXACT);
    let mut stream = TcpStream::connect(&server.host).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    stream.write_all(b"SUBSCRIBE kline:updates\r\n").unwrap();
    let mut lines = BufReader::new(stream).lines().map(Result::unwrap);
    assert!(lines.by_ref().any(|line| line == ":1"));
    let mut store = server.store();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    flush(&mut store, &[advance(&claim, 1)], &deltas(&[("a", 20 * 86_400, "2.5")])).unwrap();
    let mut second = advance(&claim, 2);
    second.from = Some(1);
    // The late one is older than what is kept: dropped, and not told.
    flush(&mut store, &[second], &deltas(&[("a", 5, "9"), ("a", 20 * 86_400 + 61, "3.0000000000000000001")]))
        .unwrap();
    let told: Vec<Value> = lines
        .filter(|line| line.starts_with('{'))
        .take(14)
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let intervals: Vec<&str> = told.iter().map(|update| update["interval"].as_str().unwrap()).collect();
    assert_eq!(intervals, ["1m", "5m", "15m", "1h", "4h", "12h", "1d"].repeat(2));
    let last = &told[13];
    assert_eq!((last["pair_address"].as_str(), last["chain_id"].as_i64()), (Some("a"), Some(1)));
    assert_eq!(
        (last["candle_time"].as_i64(), last["timestamp"].as_i64()),
        (Some(20 * 86_400), Some(1_700_000_000))
    );
    let number = |name: &str| last[name].as_f64().unwrap();
    assert_eq!(["open", "high", "low", "close", "volume"].map(number), [2.5, 3.0, 2.5, 3.0, 2.0]);
}

/// Beyond what Lua's stack takes at once, in one series and over many.
#[test]
#[ignore = "needs redis-server: run in CI"]
fn a_very_large_flush_is_one_step() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EXACT);
    let mut store = server.store().retention(Retention::OFF);
    let names: Vec<String> = (0..3_000).map(|number| format!("pair-{number}")).collect();
    let mut trades: Vec<(&str, i64, &str)> =
        names.iter().map(|name| (name.as_str(), 60, "2.000000000000000001")).collect();
    trades.extend((1..=5_000).map(|minute| (names[0].as_str(), 60 * minute, "3")));
    let all = deltas(&trades);
    let mut claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    // New ones, and each changed: by the one who remembers, and by one who has to read them first.
    let mut other = server.store().retention(Retention::OFF);
    for (round, store) in [(1, &mut store), (2, &mut other)] {
        flush(store, &[advance(&claim, round)], &all).unwrap();
        claim.position = Some(round);
        let dump = dump(&mut *store.reader().unwrap(), GROUP);
        let count: u64 = dump.iter().map(|(.., candle)| candle.count).sum();
        assert_eq!((dump.len(), count), (all.candles.len(), 7 * round as u64 * trades.len() as u64));
    }
}

#[test]
#[ignore = "needs redis-server: run in CI"]
fn three_writers_share_one_group_and_lose_nothing() {
    const FLUSHES: i64 = 40;
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EXACT);
    std::thread::scope(|scope| {
        for index in 0..3 {
            let server = &server;
            scope.spawn(move || {
                let mut store = server.store();
                let mut claim = store.claim(GROUP, &[partition(index)]).unwrap().remove(0);
                for n in 0..FLUSHES {
                    // All three write the same candles.
                    let trades = deltas(&[("a", 60 + n % 3, "2"), ("b", 100, "3")]);
                    loop {
                        match flush(&mut store, &[advance(&claim, n + 1)], &trades) {
                            Ok(_) => break,
                            Err(FlushError::Store(StoreError::Busy { .. })) => {}
                            Err(error) => panic!("{error}"),
                        }
                    }
                    claim.position = Some(n + 1);
                }
            });
        }
    });
    let mut store = server.store();
    assert!(store.positions(GROUP).unwrap().iter().all(|c| c.position == Some(FLUSHES)));
    let all = dump(&mut *store.reader().unwrap(), GROUP);
    assert_eq!(all.len(), 14);
    assert!(all.iter().all(|(.., candle)| candle.count == 3 * FLUSHES as u64), "{all:?}");
}

#[test]
#[ignore = "needs redis-server: run in CI"]
fn a_key_of_another_kind_and_a_full_memory_change_nothing_and_are_survived() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &EXACT);
    let mut store = server.store();
    let claim = store.claim(GROUP, &[partition(0)]).unwrap().remove(0);
    server.ask(&["SET", "kline:1:b:1d", "somebody's"]);
    let trades = deltas(&[("a", 60, "2"), ("b", 60, "3")]);
    let error = flush(&mut store, &[advance(&claim, 1)], &trades).unwrap_err();
    assert!(matches!(&error, FlushError::Store(error) if error.is_retriable()), "{error}");
    assert_eq!(server.ask(&["DBSIZE"]), ":3\r\n", "the key, the positions and the state");
    server.ask(&["DEL", "kline:1:b:1d"]);
    server.ask(&["CONFIG", "SET", "maxmemory", "1"]);
    let error = flush(&mut store, &[advance(&claim, 1)], &trades).unwrap_err();
    assert!(matches!(&error, FlushError::Store(error) if error.is_retriable()), "{error}");
    assert_eq!(server.ask(&["DBSIZE"]), ":2\r\n");
    server.ask(&["CONFIG", "SET", "maxmemory", "0"]);
    // Somebody threw the scripts away.
    server.ask(&["SCRIPT", "FLUSH"]);
    flush(&mut store, &[advance(&claim, 1)], &trades).unwrap();
    assert_eq!(dump(&mut *store.reader().unwrap(), GROUP).len(), 14);
}

#[test]
#[ignore = "needs redis-server: run in CI"]
fn what_cannot_be_right_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--maxmemory", "100mb", "--maxmemory-policy", "allkeys-lru"]);
    let error = server.store().claim(GROUP, &[partition(0)]).unwrap_err();
    assert!(
        !error.is_retriable() && error.to_string().contains("CONFIG SET maxmemory-policy noeviction"),
        "{error}"
    );
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--cluster-enabled", "yes", "--cluster-port", "0"]);
    let error = server.store().claim(GROUP, &[partition(0)]).unwrap_err();
    assert!(!error.is_retriable() && error.to_string().contains("Use one Redis"), "{error}");
    drop(server);
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(folder.path(), &["--requirepass", "secret"]);
    let error = server.store().claim(GROUP, &[partition(0)]).unwrap_err();
    assert!(matches!(error, StoreError::Denied { .. }), "{error}");
    let address = market_store::RedisAddress::parse(&format!("redis://:secret@{}/2", server.host)).unwrap();
    market_store::RedisStore::new(address).retention(Retention::OFF).claim(GROUP, &[partition(0)]).unwrap();
}
