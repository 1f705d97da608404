//! The TradingView data feed.

use serde_json::{Value, json};

use crate::world::{serve, server, set};

const DAY: i64 = 86_400;
const START: i64 = 19_723 * DAY;

fn times(history: &Value) -> Vec<i64> {
    history["t"].as_array().unwrap_or(&Vec::new()).iter().map(|t| t.as_i64().unwrap()).collect()
}

#[tokio::test]
async fn the_feed_tells_what_it_can_and_what_a_symbol_is() {
    let server = server(&[
        ("0xAb", START, "0.0000000012"),
        ("0xCd", START + 60, "2268.61"),
        ("0xCd", START + 61, "2268.7"),
    ])
    .await;
    for root in ["", "/udf"] {
        let (_, config) = server.get(&format!("{root}/config")).await;
        assert_eq!((&config["supports_search"], &config["supports_time"]), (&json!(true), &json!(true)));
        assert!(config["supported_resolutions"].as_array().unwrap().contains(&json!("1D")));
        let (status, time) = server.text(&format!("{root}/time")).await;
        assert!(status == 200 && time.parse::<i64>().unwrap() > 1_700_000_000, "{time}");
        let (_, info) = server.get(&format!("{root}/symbols?symbol=1:0XAB")).await;
        for (field, value) in [
            ("name", json!("T0xAb/USDC")),
            ("ticker", json!("1:0xAb")),
            ("exchange", json!("Ethereum")),
            ("exchange-listed", json!("Ethereum")),
            ("type", json!("crypto")),
            ("session", json!("24x7")),
            ("timezone", json!("Etc/UTC")),
            ("minmov", json!(1)),
            ("pricescale", json!(100_000_000_000_000_i64)),
            ("has_intraday", json!(true)),
            ("has_seconds", json!(false)),
            ("has_weekly_and_monthly", json!(true)),
        ] {
            assert_eq!(info[field], value, "{field}");
        }
    }
    for called in ["t0xcd/usdc", "Ethereum:T0xCd/USDC", "0XCD", "ethereum:0xcd", "1:0xcd"] {
        let (_, info) = server.get(&format!("/symbols?symbol={called}")).await;
        assert_eq!((&info["ticker"], &info["pricescale"]), (&json!("1:0xCd"), &json!(100)), "{called}");
    }
    let unknown = json!({"s": "error", "errmsg": "unknown_symbol"});
    for called in ["nobody", "1:nobody", "Base:T0xCd/USDC", "é:x"] {
        let called = called.replace('é', "%C3%A9");
        assert_eq!(
            server.get(&format!("/udf/symbols?symbol={called}")).await,
            (200, unknown.clone()),
            "{called}"
        );
    }
    // The most active first.
    let tickers = async |query: &str| -> Vec<String> {
        let (_, found) = server.get(&format!("/search?{query}")).await;
        found.as_array().unwrap().iter().map(|f| f["ticker"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(tickers("query=usdc&type=&exchange=&limit=10").await, ["1:0xCd", "1:0xAb"]);
    assert_eq!(tickers("query=0xab&type=crypto&exchange=Ethereum").await, ["1:0xAb"]);
    assert_eq!(tickers("query=&limit=1").await, ["1:0xCd"]);
    assert_eq!(tickers("query=&exchange=Base").await, [""; 0]);
    assert_eq!(tickers("query=&type=stock").await, [""; 0]);
}

#[tokio::test]
async fn a_history_has_the_bars_of_its_time_in_plain_decimals() {
    let server = server(&[
        ("p", START, "0.00000000000000000012"),
        ("p", START + 61, "0.5"),
        ("p", START + 300, "123456789012345678901234567890"),
    ])
    .await;
    let asked = |rest: &str| format!("/history?symbol=1:p&resolution=1&{rest}");
    let all = format!("from={START}&to={}", START + 301);
    let (status, text) = server.text(&asked(&all)).await;
    let tiny = "0.00000000000000000012";
    let huge = "123456789012345678901234567890";
    let columns = [START, START + 60, START + 300].map(|t| t.to_string()).join(",");
    assert_eq!(
        (status, text.as_str()),
        (
            200,
            format!(
                r#"{{"s":"ok","t":[{columns}],"o":[{tiny},0.5,{huge}],"h":[{tiny},0.5,{huge}],"l":[{tiny},0.5,{huge}],"c":[{tiny},0.5,{huge}],"v":[10,10,10]}}"#
            )
            .as_str()
        )
    );
    // `to` is exclusive, `from` is not.
    let (_, part) = server.get(&asked(&format!("from={}&to={}", START + 60, START + 300))).await;
    assert_eq!(times(&part), [START + 60]);
    // A number of bars counts more than `from`, and goes further back.
    let (_, part) = server.get(&asked(&format!("from={}&to={}&countback=2", START + 299, START + 300))).await;
    assert_eq!(times(&part), [START, START + 60]);
    // Nothing there, but earlier; nothing at all.
    let (_, none) = server.get(&asked(&format!("from={}&to={}", START + 120, START + 300))).await;
    assert_eq!(none, json!({"s": "no_data", "nextTime": START + 60}));
    let (_, none) = server.get(&asked(&format!("from={}&to={START}", START - DAY))).await;
    assert_eq!(none, json!({"s": "no_data"}));
    let (_, none) = server.get(&asked(&format!("to={START}&countback=5"))).await;
    assert_eq!(none, json!({"s": "no_data"}));
    let (_, filled) = server.get(&asked(&format!("{all}&fill=true"))).await;
    assert_eq!(times(&filled), (0..=5).map(|n| START + 60 * n).collect::<Vec<_>>());
    // Days at midnight, weeks on Mondays, months on their first (the start is both).
    for resolution in ["D", "1D", "1W", "1M", "240"] {
        let path = format!("/udf/history?symbol=1:P&resolution={resolution}&countback=1&to={}", START + DAY);
        assert_eq!(times(&server.get(&path).await.1), [START], "{resolution}");
    }
    for (path, why) in [
        ("/history?symbol=1:p&resolution=2&from=0&to=1", "unknown resolution `2`"),
        ("/history?symbol=1:p&from=0&to=1", "resolution"),
        ("/history?symbol=1:p&resolution=1&from=9&to=1", "after"),
        ("/history?symbol=nobody&resolution=1&from=0&to=1", "unknown_symbol"),
    ] {
        let (_, error) = server.get(path).await;
        assert_eq!(error["s"], "error");
        assert!(error["errmsg"].as_str().unwrap().contains(why), "{error}");
    }
}

#[tokio::test]
async fn pages_read_backwards_have_every_bar_of_real_trades_once() {
    let (store, reference) = set("cex_bitstamp_btcusd_2011");
    let server = serve(store).await;
    for (resolution, interval) in [("1", "1m"), ("15", "15m"), ("60", "1h"), ("1D", "1d")] {
        let wanted: Vec<i64> =
            reference.keys().filter(|(_, _, i, _)| i.name() == interval).map(|(.., time)| *time).collect();
        let symbol = "0:bitstamp:BTCUSD";
        // By number, as newer libraries ask.
        let (mut to, mut told) = (i64::MAX / 4, Vec::new());
        loop {
            let path =
                format!("/history?symbol={symbol}&resolution={resolution}&from=0&to={to}&countback=777");
            let (_, page) = server.get(&path).await;
            let times = times(&page);
            let Some(first) = times.first() else {
                assert_eq!(page, json!({"s": "no_data"}));
                break;
            };
            to = *first;
            told.splice(0..0, times);
        }
        assert!(told == wanted, "{resolution}: {} of {}", told.len(), wanted.len());
        // By time, as older ones ask: on where the answer says that there is more.
        let span = wanted.len() as i64 * 60;
        let (mut to, mut told) = (wanted.last().unwrap() + 1, Vec::new());
        loop {
            let from = to - span;
            let path = format!("/history?symbol={symbol}&resolution={resolution}&from={from}&to={to}");
            let (_, page) = server.get(&path).await;
            if page["s"] == "no_data" {
                let Some(next) = page["nextTime"].as_i64() else { break };
                to = next + 1;
                continue;
            }
            told.splice(0..0, times(&page));
            to = from;
        }
        assert!(told == wanted, "{resolution}: {} of {}", told.len(), wanted.len());
    }
}
