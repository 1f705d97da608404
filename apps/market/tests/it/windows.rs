//! What one pair did lately.

use serde_json::json;

use crate::world::server;

const DAY: i64 = 86_400;
const START: i64 = 19_723 * DAY;

#[tokio::test]
async fn windows_end_with_the_markets_present_and_start_at_their_minute() {
    let end = START + 10 * 3_600 + 60;
    let server = server(&[
        ("0xAb", end - 2 * DAY, "1"),
        ("0xAb", end - DAY, "2"),
        ("0xAb", end - 3_601, "4"),
        ("0xAb", end - 3_600, "5"),
        ("0xAb", end - 61, "6"),
        ("0xAb", end - 30, "8"),
        ("0xCd", end - 1, "1"),
    ])
    .await;
    let (status, answer) = server.get("/api/windows?chain=1&pair=0XAB").await;
    assert_eq!(status, 200);
    for (field, value) in [
        ("chain_id", json!(1)),
        ("pair_address", json!("0xAb")),
        ("token_symbol", json!("T0xAb")),
        ("base_token_symbol", json!("USDC")),
        ("price", json!(8.0)),
        ("last_trade_at", json!(end - 30)),
        ("end", json!(end)),
    ] {
        assert_eq!(answer[field], value, "{field}");
    }
    for (name, seconds, base, high, low, count) in [
        ("1m", 60, 6.0, 8.0, 8.0, 1),
        ("5m", 300, 5.0, 8.0, 6.0, 2),
        ("15m", 900, 5.0, 8.0, 6.0, 2),
        ("1h", 3_600, 4.0, 8.0, 5.0, 3),
        ("4h", 14_400, 2.0, 8.0, 4.0, 4),
        ("12h", 43_200, 2.0, 8.0, 4.0, 4),
        ("24h", DAY, 1.0, 8.0, 2.0, 5),
    ] {
        let window = json!({"start": end - seconds, "change_percent": (8.0 / base - 1.0) * 100.0, "change_usd": 8.0 - base,
            "high": high, "low": low, "volume": f64::from(count * 10), "token_volume": f64::from(count * 2), "count": count,
            "buy_count": count, "sell_count": 0});
        assert_eq!(answer["windows"][name], window, "{name}");
    }
    // The first trade of a pair is what its price is measured from; who rests has not changed.
    let (_, first) = server.get("/api/windows?chain=1&pair=0xCd").await;
    assert_eq!(
        (&first["windows"]["24h"]["change_percent"], &first["windows"]["24h"]["count"]),
        (&json!(0.0), &json!(1))
    );
    let (status, error) = server.get("/api/windows?chain=1&pair=nobody").await;
    assert_eq!((status, error["error"].as_str().unwrap().contains("/api/pairs")), (404, true));
    let (status, error) = server.get("/api/windows?chain=1").await;
    assert_eq!((status, error["error"].as_str().unwrap().contains("pair=")), (400, true));
}
