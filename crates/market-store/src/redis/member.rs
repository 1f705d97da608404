//! A candle as a member of a sorted set: JSON that says everything, digit for digit.
//!
//! ```json
//! {"group":"g","candle_time":60,"o":1.5,"h":2,"l":1,"c":2,"v":10.25,"t":6,"count":3,"buy_count":2,"sell_count":1,
//!  "open_at":61,"close_at":95,"clamped_only":false,"open_order":[7,0,0,3,12,0,1],"close_order":[9,0,0,3,15,2,0]}
//! ```
//!
//! Numbers are exact; who reads them as float64 gets the nearest. The orders are what makes a merge exact (the trades that opened and
//! closed): block, slot, transaction, log, offset, place in the message, partition. The group comes first, so that whose
//! member it is shows in its first bytes. One candle has one text: a member is removed by writing its old candle again.

use std::fmt::Write;

use market_data::{Candle, Order, Prices};
use serde::Deserialize;
use serde_json::value::RawValue;

/// What all members of a group begin with.
pub(super) fn start(group: &str) -> String {
    // A text is always JSON.
    format!("{{\"group\":{},", serde_json::to_string(group).unwrap_or_default())
}

/// Writes a candle behind its group's [`start`]. `false`, and nothing, for the empty candle, which is never stored.
pub(super) fn write(start: &str, time: i64, candle: &Candle, out: &mut String) -> bool {
    let Some(prices) = candle.prices() else { return false };
    out.push_str(start);
    // Writing to a text cannot fail.
    let _ = write!(out, "\"candle_time\":{time}");
    for (name, price) in [
        (",\"o\":", prices.open),
        (",\"h\":", prices.high),
        (",\"l\":", prices.low),
        (",\"c\":", prices.close),
    ] {
        out.push_str(name);
        price.write_to(out);
    }
    out.push_str(",\"v\":");
    candle.volume_usd.write_to(out);
    out.push_str(",\"t\":");
    candle.token_volume.write_to(out);
    let _ = write!(
        out,
        ",\"count\":{},\"buy_count\":{},\"sell_count\":{},\"open_at\":{},\"close_at\":{},\"clamped_only\":{}",
        candle.count,
        candle.buy_count,
        candle.sell_count,
        prices.open_order.block_time,
        prices.close_order.block_time,
        prices.clamped_only,
    );
    for (name, order) in [("open_order", &prices.open_order), ("close_order", &prices.close_order)] {
        let Order { block_num, slot, transaction_index, log_index, offset, index, partition, .. } = order;
        let _ = write!(
            out,
            ",\"{name}\":[{block_num},{slot},{transaction_index},{log_index},{offset},{index},{partition}]"
        );
    }
    out.push('}');
    true
}

#[derive(Deserialize)]
struct Member<'a> {
    candle_time: i64,
    #[serde(borrow)]
    o: &'a RawValue,
    #[serde(borrow)]
    h: &'a RawValue,
    #[serde(borrow)]
    l: &'a RawValue,
    #[serde(borrow)]
    c: &'a RawValue,
    #[serde(borrow)]
    v: &'a RawValue,
    #[serde(borrow)]
    t: &'a RawValue,
    count: u64,
    buy_count: u64,
    sell_count: u64,
    open_at: i64,
    close_at: i64,
    clamped_only: bool,
    open_order: (i64, i64, i64, i64, i64, u32, i32),
    close_order: (i64, i64, i64, i64, i64, u32, i32),
}

/// Reads a member: the candle's start and the candle. `None` if it is not what [`write`] writes.
pub(super) fn read(member: &[u8]) -> Option<(i64, Candle)> {
    let member: Member<'_> = serde_json::from_slice(member).ok()?;
    let order = |at: i64, rest: (i64, i64, i64, i64, i64, u32, i32)| Order {
        block_time: at,
        block_num: rest.0,
        slot: rest.1,
        transaction_index: rest.2,
        log_index: rest.3,
        offset: rest.4,
        index: rest.5,
        partition: rest.6,
    };
    let price = |text: &RawValue| text.get().parse().ok();
    let sum = |text: &RawValue| text.get().parse().ok();
    let prices = Prices {
        open: price(member.o)?,
        high: price(member.h)?,
        low: price(member.l)?,
        close: price(member.c)?,
        open_order: order(member.open_at, member.open_order),
        close_order: order(member.close_at, member.close_order),
        clamped_only: member.clamped_only,
    };
    let counts = [member.count, member.buy_count, member.sell_count];
    Some((member.candle_time, Candle::from_parts(&prices, sum(member.v)?, sum(member.t)?, counts)))
}

#[cfg(test)]
mod tests {
    use market_data::{Aggregator, Place};

    use super::*;

    #[test]
    fn a_candle_is_read_back_to_the_last_digit() {
        let mut aggregator = Aggregator::new();
        let trades = r#"[{"chain_id":"1","pair_addr":"a","type":"buy","total_usd":0.100000000000000000000000000001,"token_amount":7,
            "token_price_usd":0.00000012345678901234567890,"block_time":61,"block_num":5,"transaction_index":3,"log_index":-1},
            {"chain_id":"1","pair_addr":"a","type":"sell","total_usd":3e5,"token_amount":1,"token_price_usd":4e20,"block_time":62,"slot":9,
            "clamp":true}]"#;
        aggregator.add_message(Place { partition: 3, offset: 1 << 40 }, trades.as_bytes()).unwrap();
        let delta = aggregator.take_deltas().candles[0];
        assert_eq!(delta.candle.count, 2);
        let (start, mut text) = (start("a \"group\""), String::new());
        assert!(write(&start, 60, &delta.candle, &mut text));
        assert!(text.starts_with(&start), "{text}");
        assert_eq!(read(text.as_bytes()), Some((60, delta.candle)));
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!((value["group"].as_str(), value["open_at"].as_i64()), (Some("a \"group\""), Some(61)));
        assert!((value["o"].as_f64().unwrap() - 1.234_567_890_123_456_8e-7).abs() < 1e-20, "{text}");
    }

    #[test]
    fn the_empty_candle_has_no_text_and_others_texts_are_no_candles() {
        let mut text = String::new();
        assert!(!write("{", 0, &Candle::EMPTY, &mut text) && text.is_empty());
        for other in [&b""[..], b"{}", b"[1]", b"\xff", br#"{"o":1,"h":1,"l":1,"c":1,"v":1}"#] {
            assert_eq!(read(other), None);
        }
    }
}
