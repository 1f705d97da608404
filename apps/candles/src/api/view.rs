//! Candles and pairs as the interface shows them. Numbers become floats here and nowhere before.

use market_data::{Candle, PairKey, Price};
use serde::Serialize;

/// A chain's number as a JSON number, or as text where it is none.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Chain {
    /// As most are.
    Number(i64),
    /// Any other.
    Text(String),
}

impl Chain {
    /// The chain of a pair.
    pub fn of(pair: &PairKey) -> Chain {
        // Only text that is written as the number is (no `01`, no `+1`) may become one, so that it can be asked for again.
        match pair.chain_id.parse::<i64>() {
            Ok(number) if number.to_string() == pair.chain_id => Chain::Number(number),
            _ => Chain::Text(pair.chain_id.clone()),
        }
    }
}

/// What a candle's answers share.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Bar {
    candle_time: i64,
    open: f64,
    high: f64,
    low: f64,
    close: f64,
    volume: f64,
    token_volume: f64,
    count: u64,
    buy_count: u64,
    sell_count: u64,
}

impl Bar {
    /// The bar of a candle with these prices: open, high, low, close.
    pub fn of(time: i64, candle: &Candle, prices: [Price; 4]) -> Bar {
        let [open, high, low, close] = prices.map(Price::to_f64);
        Bar {
            candle_time: time,
            open,
            high,
            low,
            close,
            volume: candle.volume_usd.to_f64(),
            token_volume: candle.token_volume.to_f64(),
            count: candle.count,
            buy_count: candle.buy_count,
            sell_count: candle.sell_count,
        }
    }
}
