//! The pairs that moved most.

use std::collections::BTreeSet;

use market::movers::{Movers, WINDOWS};
use market_data::PairKey;
use market_store::{CandleStore, MemoryStore, Scan, spans};
use serde_json::{Value, json};

use crate::world::{GROUP, deltas, flush, server, set};

const DAY: i64 = 86_400;
const START: i64 = 19_723 * DAY;

/// Holds the movers of all windows against the windows of each pair.
fn assert_movers(store: &MemoryStore, movers: &mut Movers, end: i64) -> usize {
    let mut reader = store.reader().unwrap();
    let mut pairs: BTreeSet<PairKey> = BTreeSet::new();
    reader
        .scan(&Scan::all(GROUP), &mut |pair, _, _, _| {
            pairs.insert(pair.clone());
        })
        .unwrap();
    let starts = WINDOWS.map(|(_, seconds)| end - seconds);
    let groups = [GROUP.to_owned()];
    let mut found = 0;
    let tables = movers.find(&mut *reader, end).unwrap();
    for (window, ((name, _), mut told)) in WINDOWS.iter().zip(tables).enumerate() {
        told.sort_by(|a, b| a.pair.cmp(&b.pair));
        let mut told = told.into_iter();
        for pair in &pairs {
            let Some(wanted) = spans(&mut *reader, &groups, pair, &starts, end).unwrap() else { continue };
            let span = wanted.spans[window];
            let Some(prices) = span.candle.prices() else { continue };
            let mover = told.next().unwrap();
            assert_eq!(*mover.pair, *pair);
            assert_eq!(
                (mover.price, mover.base),
                (wanted.last, span.before.unwrap_or(prices.open)),
                "{name} {pair:?}"
            );
            let sums = (mover.volume_usd, mover.count, mover.buy_count, mover.sell_count);
            let candle = &span.candle;
            let wanted = (candle.volume_usd.to_f64(), candle.count, candle.buy_count, candle.sell_count);
            assert_eq!(
                (sums, mover.last_trade_at),
                (wanted, prices.close_order.block_time),
                "{name} {pair:?}"
            );
            found += 1;
        }
        assert_eq!(told.next(), None);
    }
    found
}

#[test]
fn movers_are_the_windows_of_all_pairs_as_time_goes_on() {
    for (name, ends) in [
        (
            "dex_eth_univ3_20240105",
            [1_704_412_860, 1_704_413_000, 1_704_420_000, 1_704_450_000, 1_704_600_000],
        ),
        ("dex_evm_blocks_mixed", [1_600_000_000, 1_650_000_000, 1_700_000_000, 1_704_413_000, 1_760_000_000]),
    ] {
        let (store, reference) = set(name);
        let mut movers = Movers::new(&[GROUP.to_owned()]);
        let mut ends = ends.to_vec();
        // Every trade ends a window somewhere.
        ends.extend(reference.values().map(|row| row.times[1] + 60).step_by(40));
        ends.sort_unstable();
        let found: usize = ends.iter().map(|end| assert_movers(&store, &mut movers, end - end % 60)).sum();
        assert!(found > 300, "{name}: {found}");
    }
}

#[test]
fn trades_that_come_while_the_windows_move_on_are_seen_and_late_ones_too() {
    let store = MemoryStore::new();
    let mut movers = Movers::new(&[GROUP.to_owned()]);
    let mut seed = 3u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let (mut now, mut offset) = (START, 0);
    for _ in 0..150 {
        now += 60 * next(90).cast_signed();
        let pair = format!("p{}", next(6));
        // Up to an hour late.
        let time = now - next(3_600).cast_signed();
        let price = (1 + next(1_000)).to_string();
        flush(&store, GROUP, deltas(offset, &[(&pair, time, &price)]));
        offset += 1;
        assert_movers(&store, &mut movers, now - now % 60 + 60);
    }
    assert!(now > START + 2 * DAY, "it went over days");
}

fn pairs(answer: &Value) -> Vec<&str> {
    answer["movers"].as_array().unwrap().iter().map(|row| row["pair_address"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn movers_are_ordered_filtered_and_limited() {
    let (now, before) = (START + 43_200, START + 43_200 - 2 * DAY);
    let server = server(&[
        ("up", before, "1"),
        ("up", now - 100, "3"),
        ("down", before, "4"),
        ("down", now - 90, "2"),
        ("down", now - 80, "1"),
        ("new", now - 70, "5"),
        ("new", now - 60, "6"),
        ("new", now - 50, "7"),
        ("rests", before, "9"),
    ])
    .await;
    let asked = async |query: &str| server.get(&format!("/api/movers?{query}")).await.1;
    let all = asked("").await;
    assert_eq!(pairs(&all), ["up", "new", "down"]);
    let end = now - 50 - (now - 50) % 60 + 60;
    assert_eq!((&all["window"], &all["end"], &all["start"]), (&json!("24h"), &json!(end), &json!(end - DAY)));
    assert_eq!(
        all["movers"][0],
        json!({"chain_id": 1, "pair_address": "up", "token_symbol": "Tup", "base_token_symbol": "USDC", "price": 3.0,
            "change_percent": 200.0, "change_usd": 2.0, "volume": 10.0, "count": 1, "buy_count": 1, "sell_count": 0,
            "last_trade_at": now - 100})
    );
    assert_eq!(all["movers"][2]["change_percent"], -75.0);
    assert_eq!(pairs(&asked("order=asc").await), ["down", "new", "up"]);
    assert_eq!(pairs(&asked("by=volume").await), ["new", "down", "up"]);
    assert_eq!(pairs(&asked("by=count&limit=1").await), ["new"]);
    assert_eq!(pairs(&asked("min_volume=20").await), ["new", "down"]);
    assert_eq!(pairs(&asked("chain=2").await), [""; 0]);
    assert_eq!(pairs(&asked("window=1m&chain=1").await), ["new"]);
    for (query, mend) in
        [("window=2h", "24h"), ("by=luck", "by="), ("limit=0", "500"), ("order=up", "order=")]
    {
        let (status, error) = server.get(&format!("/api/movers?{query}")).await;
        assert_eq!((status, error["error"].as_str().unwrap().contains(mend)), (400, true), "{error}");
    }
}
