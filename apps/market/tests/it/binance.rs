//! Binance's K-lines.

use std::collections::BTreeMap;

use market_data::Interval;
use market_data::reference::Row;
use serde_json::{Value, json};

use crate::world::{GROUP, Server, deltas, flush, serve, server, set};

const DAY: i64 = 86_400;
/// Start, close, trades.
type Short = (i64, &'static str, u64);
/// Chain, pair, interval.
type Chart = (String, String, Interval);

/// A day that is a Monday and the first of a month: 2024-01-01.
const START: i64 = 19_723 * DAY;

/// A bar as Binance writes it, of these columns of ours.
fn line(open: i64, length: i64, prices: [&str; 4], volume: [&str; 2], trades: u64) -> Value {
    let [o, h, l, c] = prices;
    let close = (open + length) * 1000 - 1;
    json!([open * 1000, o, h, l, c, volume[0], close, volume[1], trades, "0", "0", "0"])
}

fn resting(open: i64, length: i64, price: &str) -> Value {
    line(open, length, [price; 4], ["0", "0"], 0)
}

/// Open time, open, close, trades.
fn short(bars: &Value) -> Vec<(i64, &str, &str, u64)> {
    let bar = |bar: &'_ Value| -> (i64, u64) { (bar[0].as_i64().unwrap() / 1000, bar[8].as_u64().unwrap()) };
    let bars = bars.as_array().unwrap();
    bars.iter().map(|b| (bar(b).0, b[1].as_str().unwrap(), b[4].as_str().unwrap(), bar(b).1)).collect()
}

async fn klines(server: &Server, query: &str) -> Value {
    let (status, bars) = server.get(&format!("/api/v3/klines?{query}")).await;
    assert_eq!(status, 200, "{query}: {bars}");
    bars
}

#[tokio::test]
async fn every_bar_of_real_trades_has_the_digits_of_its_reference() {
    for name in ["dex_eth_univ3_20240105", "cex_bitstamp_btcusd_2011", "cex_binance_20240808"] {
        let (store, reference) = set(name);
        let server = serve(store).await;
        let mut charts: BTreeMap<Chart, Vec<(i64, &Row)>> = BTreeMap::new();
        for ((chain, pair, interval, time), row) in &reference {
            charts.entry((chain.clone(), pair.clone(), *interval)).or_default().push((*time, row));
        }
        for ((chain, pair, interval), rows) in charts {
            let wanted = |(time, row): &(i64, &Row)| {
                let prices = row.prices.map(|p| p.to_string());
                let [usd, tokens] = row.sums.map(|sum| sum.to_string());
                let [o, h, l, c] = prices.each_ref().map(String::as_str);
                line(*time, interval.seconds(), [o, h, l, c], [&tokens, &usd], row.counts[0])
            };
            let wanted: Vec<Value> = rows.iter().map(wanted).collect();
            let symbol = format!("symbol={chain}:{pair}&interval={interval}&fill=false&limit=1000");
            // From the start on, page by page, each bar once.
            let (mut told, mut from) = (Vec::new(), 0);
            loop {
                let page = klines(&server, &format!("{symbol}&startTime={from}")).await;
                let Some(last) = page.as_array().unwrap().last() else { break };
                from = last[6].as_i64().unwrap() + 1;
                told.extend(page.as_array().unwrap().clone());
            }
            assert!(told == wanted, "{pair} {interval}");
            let latest = klines(&server, &symbol).await;
            assert!(
                latest.as_array().unwrap()[..] == wanted[wanted.len().saturating_sub(1000)..],
                "{pair} {interval}"
            );
        }
    }
}

#[tokio::test]
async fn bars_without_trades_are_told_from_the_first_trade_to_the_present() {
    let server = server(&[
        ("0xAb", START + 60, "2"),
        ("0xAb", START + 70, "3.10"),
        ("0xAb", START + 250, "0.00000000012"),
        // The market's present.
        ("0xCd", START + 370, "9"),
    ])
    .await;
    let bars = klines(&server, "symbol=1:0xAb&interval=1m").await;
    let tiny = "0.00000000012";
    let all = json!([
        line(START + 60, 60, ["2", "3.1", "2", "3.1"], ["4", "20"], 2),
        resting(START + 120, 60, "3.1"),
        resting(START + 180, 60, "3.1"),
        line(START + 240, 60, [tiny; 4], ["2", "10"], 1),
        resting(START + 300, 60, tiny),
        resting(START + 360, 60, tiny),
    ]);
    assert_eq!(bars, all);
    assert_eq!(klines(&server, "symbol=1:0xAb&interval=1m&fill=true").await, all);
    let (_, body) = server.text("/api/v3/uiKlines?symbol=1:0xAb&interval=1m").await;
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), all);
    // In any case, and after the price of a bar that is not shown itself.
    let part = klines(&server, "symbol=1:0XAB&interval=1m&limit=2").await;
    assert_eq!(part.as_array().unwrap()[..], all.as_array().unwrap()[4..]);
    let times =
        |from: i64, to: i64| format!("startTime={}&endTime={}", (START + from) * 1000, (START + to) * 1000);
    let part = klines(&server, &format!("symbol=1:0xab&interval=1m&{}", times(120, 240))).await;
    assert_eq!(part.as_array().unwrap()[..], all.as_array().unwrap()[1..4], "both ends belong to it");
    let part = klines(&server, &format!("symbol=1:0xab&interval=1m&{}&limit=2", times(-999, 999))).await;
    assert_eq!(part.as_array().unwrap()[..], all.as_array().unwrap()[..2], "the first ones");
    let part =
        klines(&server, &format!("symbol=1:0xab&interval=1m&endTime={}", (START + 60) * 1000 - 1)).await;
    assert_eq!(part, json!([]), "nothing before the first trade");
    assert_eq!(klines(&server, &format!("symbol=1:0xab&interval=1m&{}", times(240, 120))).await, json!([]));
    let traded = klines(&server, "symbol=1:0xAb&interval=1m&fill=false").await;
    assert_eq!(short(&traded), [(START + 60, "2", "3.1", 2), (START + 240, tiny, tiny, 1)]);
}

/// Of the trades of the test below: interval and zone, and each bar's start, close and trades.
fn merged() -> Vec<(&'static str, Vec<Short>)> {
    let (days, hour) = (START / DAY, 3_600);
    vec![
        (
            "3m",
            vec![
                (START - DAY, "1", 1),
                (START, "2", 1),
                (START + 180, "3", 1),
                (START + 30 * DAY, "4", 1),
                (START + 31 * DAY - 180, "5", 1),
            ],
        ),
        (
            "30m",
            vec![
                (START - DAY, "1", 1),
                (START, "3", 2),
                (START + 30 * DAY, "4", 1),
                (START + 31 * DAY - 1_800, "5", 1),
            ],
        ),
        (
            "8h",
            vec![
                (START - DAY, "1", 1),
                (START, "3", 2),
                (START + 30 * DAY, "4", 1),
                (START + 31 * DAY - 8 * hour, "5", 1),
            ],
        ),
        ("3d", vec![((days - 1) / 3 * 3 * DAY, "3", 3), ((days + 30) / 3 * 3 * DAY, "5", 2)]),
        ("1w", vec![(START - 7 * DAY, "1", 1), (START, "3", 2), (START + 28 * DAY, "5", 2)]),
        ("1M", vec![(START - 31 * DAY, "1", 1), (START, "5", 4)]),
        // In India, the last minute of January is of February, and December's last hours are of January.
        (
            "1M&timeZone=05:30",
            vec![
                (START - 31 * DAY - 5 * hour - 1_800, "1", 1),
                (START - 5 * hour - 1_800, "4", 3),
                (START + 31 * DAY - 5 * hour - 1_800, "5", 1),
            ],
        ),
        (
            "1d&timeZone=-1:00",
            vec![
                (START - 2 * DAY + hour, "1", 1),
                (START - DAY + hour, "3", 2),
                (START + 29 * DAY + hour, "4", 1),
                (START + 30 * DAY + hour, "5", 1),
            ],
        ),
        (
            "1h&timeZone=0:37",
            vec![
                (START - DAY - 37 * 60, "1", 1),
                (START - 37 * 60, "3", 2),
                (START + 30 * DAY - 37 * 60, "4", 1),
                (START + 31 * DAY - 37 * 60, "5", 1),
            ],
        ),
    ]
}

#[tokio::test]
async fn intervals_that_are_not_kept_are_merged_and_zones_move_them() {
    let server = server(&[
        ("p", START - DAY, "1"),
        ("p", START, "2"),
        ("p", START + 3 * 60, "3"),
        ("p", START + 30 * DAY, "4"),
        ("p", START + 31 * DAY - 60, "5"),
    ])
    .await;
    let asked =
        async |interval: &str| klines(&server, &format!("symbol=1:p&fill=false&interval={interval}")).await;
    for (interval, bars) in merged() {
        let told = asked(interval).await;
        let told: Vec<(i64, &str, u64)> =
            short(&told).into_iter().map(|(at, _, close, n)| (at, close, n)).collect();
        assert_eq!(told, bars, "{interval}");
    }
    let month = asked("1M").await;
    assert_eq!(month[1][6], (START + 31 * DAY) * 1000 - 1, "a month ends with its last millisecond");
}

#[tokio::test]
async fn what_is_wrong_is_told_in_binances_words() {
    let server = server(&[("0xAb", START, "2")]).await;
    for (query, code, msg) in [
        ("interval=1m", -1102, "Mandatory parameter 'symbol' was not sent, was empty/null, or malformed."),
        (
            "symbol=1:0xAb",
            -1102,
            "Mandatory parameter 'interval' was not sent, was empty/null, or malformed.",
        ),
        ("symbol=1:0xAb&interval=1s", -1120, "Invalid interval."),
        ("symbol=1:nobody&interval=1m", -1121, "Invalid symbol."),
        ("symbol=BTCUSDT&interval=1m", -1121, "Invalid symbol."),
        (
            "symbol=1:%3Cb%3E&interval=1m",
            -1100,
            "Illegal characters found in parameter 'symbol'; legal range is '^[A-Za-z0-9:._-]{1,200}$'.",
        ),
        (
            "symbol=1:0xAb&interval=1m&limit=x",
            -1100,
            "Illegal characters found in parameter 'limit'; legal range is '^[0-9]{1,20}$'.",
        ),
        ("symbol=1:0xAb&interval=1m&limit=0", -1130, "Data sent for parameter 'limit' is not valid."),
        (
            "symbol=1:0xAb&interval=1m&timeZone=14:01",
            -1130,
            "Data sent for parameter 'timeZone' is not valid.",
        ),
        ("symbol=1:0xAb&interval=", -1105, "Parameter 'interval' was empty."),
        ("symbol=1:0xAb&symbol=1:0xAb&interval=1m", -1101, "Duplicate values for a parameter detected."),
        (
            "symbol=1:0xAb&interval=1m&from=1",
            -1104,
            "Not all sent parameters were read; read '2' parameter(s) but was sent '3'.",
        ),
    ] {
        let told = server.get(&format!("/api/v3/klines?{query}")).await;
        assert_eq!(told, (400, json!({"code": code, "msg": msg})), "{query}");
    }
    assert_eq!(server.get("/api/v3/ping").await, (200, json!({})));
    let (_, time) = server.get("/api/v3/time").await;
    assert!(time["serverTime"].as_i64().unwrap() > 1_700_000_000_000);
}

#[tokio::test]
async fn a_trade_of_the_future_does_not_push_the_chart_away() {
    let now = i64::try_from(
        std::time::SystemTime::now().duration_since(std::time::SystemTime::UNIX_EPOCH).unwrap().as_secs(),
    )
    .unwrap();
    let server = server(&[("p", now - 200 * DAY, "1"), ("p", now + 400 * DAY, "7")]).await;
    let bars = klines(&server, "symbol=1:p&interval=1d&limit=300").await;
    let told = short(&bars);
    assert!(told.iter().all(|(_, _, close, _)| *close == "1"), "{told:?}");
    let last = told.last().unwrap().0;
    assert!((201..=202).contains(&told.len()) && last >= now - 2 * DAY && last <= now + DAY, "{told:?}");
}

#[tokio::test]
async fn kohorts_own_candles_are_filled_on_request() {
    let server = server(&[("p", START + 60, "2"), ("p", START + 185, "3")]).await;
    flush(&server.store, GROUP, deltas(5, &[("q", START + 250, "1")]));
    let asked = "/api/candles?chain=1&pair=p&interval=1m";
    let times = |answer: &Value| -> Vec<i64> {
        answer.as_array().unwrap().iter().map(|bar| bar["candle_time"].as_i64().unwrap() - START).collect()
    };
    let (_, plain) = server.get(asked).await;
    assert_eq!(times(&plain), [60, 180]);
    let (_, filled) = server.get(&format!("{asked}&fill=true")).await;
    assert_eq!(times(&filled), [60, 120, 180, 240]);
    assert_eq!((&filled[0], &filled[2]), (&plain[0], &plain[1]));
    assert_eq!(
        filled[1],
        json!({"candle_time": START + 120, "open": 2.0, "high": 2.0, "low": 2.0, "close": 2.0, "volume": 0.0, "token_volume": 0.0,
            "count": 0, "buy_count": 0, "sell_count": 0, "open_at": null, "close_at": null})
    );
    let before = START + 180;
    let (_, part) = server.get(&format!("{asked}&fill=true&before={before}&limit=1")).await;
    assert_eq!(times(&part), [120]);
    let (_, pairs) = server.get("/api/pairs").await;
    assert_eq!(pairs.as_array().unwrap().len(), 2);
}
