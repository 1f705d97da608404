//! Candles and their rows, and lists of question marks.

use market_data::{Candle, Order, Prices};
use mysql::{Row, Value};

use super::address::MySqlAddress;
use crate::StoreError;

/// The columns that [`read`] wants, in its order.
pub(super) const COLUMNS: &str = "o, h, l, c, v, t, count, buy_count, sell_count, orders";

/// Reads the candle whose [`COLUMNS`] begin at column `at`.
pub(super) fn read(row: &Row, at: usize, address: &MySqlAddress) -> Result<Candle, StoreError> {
    let number = |column: usize| text(row, at + column, address);
    let price = |column| number(column)?.parse().map_err(|_| damaged(row, at + column, "price", address));
    let sum = |column| number(column)?.parse().map_err(|_| damaged(row, at + column, "sum", address));
    let count = |column| integer(row, at + column, address).map(i64::cast_unsigned);
    let orders = || damaged(row, at + 9, "order of a trade", address);
    let (clamped_only, open_order, close_order) =
        read_orders(bytes(row, at + 9, address)?).ok_or_else(orders)?;
    let prices = Prices {
        open: price(0)?,
        high: price(1)?,
        low: price(2)?,
        close: price(3)?,
        open_order,
        close_order,
        clamped_only,
    };
    Ok(Candle::from_parts(&prices, sum(4)?, sum(5)?, [count(6)?, count(7)?, count(8)?]))
}

/// Whose prices, the length of the first order, both orders.
fn read_orders(bytes: &[u8]) -> Option<(bool, Order, Order)> {
    let [clamped_only @ (0 | 1), open_length, orders @ ..] = bytes else { return None };
    let (open, close) = orders.split_at_checked(usize::from(*open_length))?;
    Some((*clamped_only == 1, Order::read(open)?, Order::read(close)?))
}

fn write_orders(prices: &Prices) -> Vec<u8> {
    let mut bytes = vec![u8::from(prices.clamped_only), 0];
    prices.open_order.write(&mut bytes);
    // At most eight varints of ten bytes.
    bytes[1] = (bytes.len() - 2) as u8;
    prices.close_order.write(&mut bytes);
    bytes
}

/// The columns that [`write`] fills, in its order.
pub(super) const WRITTEN: [&str; 16] = [
    "interval_s",
    "candle_time",
    "series",
    "o",
    "h",
    "l",
    "c",
    "v",
    "t",
    "count",
    "buy_count",
    "sell_count",
    "open_at",
    "close_at",
    "orders",
    "updated_at",
];

/// Columns of the key, the first of [`WRITTEN`].
pub(super) const KEY: usize = 3;

/// Appends a candle's row. The candle is not empty: that one is never stored.
pub(super) fn write(out: &mut Vec<Value>, key: (i64, i64, u32), candle: &Candle, prices: &Prices, now: i64) {
    let text = |write: &dyn Fn(&mut String)| {
        let mut text = String::with_capacity(24);
        write(&mut text);
        Value::Bytes(text.into_bytes())
    };
    let price = |price: market_data::Price| text(&|out| price.write_to(out));
    out.extend([
        Value::Int(key.0),
        Value::Int(key.1),
        Value::UInt(u64::from(key.2)),
        price(prices.open),
        price(prices.high),
        price(prices.low),
        price(prices.close),
        text(&|out| candle.volume_usd.write_to(out)),
        text(&|out| candle.token_volume.write_to(out)),
        Value::UInt(candle.count),
        Value::UInt(candle.buy_count),
        Value::UInt(candle.sell_count),
        Value::Int(prices.open_order.block_time),
        Value::Int(prices.close_order.block_time),
        Value::Bytes(write_orders(prices)),
        Value::Int(now),
    ]);
}

/// So many times `one`, with `between` between them: `(?, ?), (?, ?)`.
pub(crate) fn repeat(one: &str, times: usize, between: &str) -> String {
    let mut all = String::with_capacity((one.len() + between.len()) * times);
    for time in 0..times {
        if time > 0 {
            all.push_str(between);
        }
        all.push_str(one);
    }
    all
}

/// A whole number of a row.
pub(crate) fn integer(row: &Row, column: usize, address: &MySqlAddress) -> Result<i64, StoreError> {
    match row.as_ref(column) {
        Some(Value::Int(number)) => Ok(*number),
        Some(Value::UInt(number)) => Ok(number.cast_signed()),
        _ => Err(damaged(row, column, "whole number", address)),
    }
}

/// A whole number of a row that may be missing.
pub(crate) fn integer_or_null(
    row: &Row,
    column: usize,
    address: &MySqlAddress,
) -> Result<Option<i64>, StoreError> {
    if row.as_ref(column) == Some(&Value::NULL) { Ok(None) } else { integer(row, column, address).map(Some) }
}

/// A text of a row.
pub(crate) fn text<'a>(row: &'a Row, column: usize, address: &MySqlAddress) -> Result<&'a str, StoreError> {
    std::str::from_utf8(bytes(row, column, address)?).map_err(|_| damaged(row, column, "text", address))
}

/// A text of a row that may be missing.
pub(crate) fn text_or_null(
    row: &Row,
    column: usize,
    address: &MySqlAddress,
) -> Result<Option<String>, StoreError> {
    if row.as_ref(column) == Some(&Value::NULL) {
        return Ok(None);
    }
    text(row, column, address).map(|text| Some(text.to_owned()))
}

/// The number of a series, which is a small one.
pub(super) fn series(row: &Row, column: usize, address: &MySqlAddress) -> Result<u32, StoreError> {
    u32::try_from(integer(row, column, address)?)
        .map_err(|_| damaged(row, column, "number of a series", address))
}

fn bytes<'a>(row: &'a Row, column: usize, address: &MySqlAddress) -> Result<&'a [u8], StoreError> {
    match row.as_ref(column) {
        Some(Value::Bytes(bytes)) => Ok(bytes),
        _ => Err(damaged(row, column, "text", address)),
    }
}

/// A stored value that cannot be what this program wrote.
pub(crate) fn damaged(row: &Row, column: usize, what: &'static str, address: &MySqlAddress) -> StoreError {
    let value = row.as_ref(column).map_or_else(|| "nothing".to_owned(), |value| value.as_sql(true));
    StoreError::Damaged { store: address.to_string(), what, value }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_read_back_and_nothing_else_is() {
        let price = "1.5".parse().unwrap();
        let prices = Prices {
            open: price,
            high: price,
            low: price,
            close: price,
            open_order: Order { block_time: 5, offset: i64::MAX, ..Order::default() },
            close_order: Order { block_time: 1_704_412_823, index: 9, ..Order::default() },
            clamped_only: true,
        };
        let bytes = write_orders(&prices);
        assert_eq!(read_orders(&bytes), Some((true, prices.open_order, prices.close_order)));
        for end in 0..bytes.len() {
            assert_eq!(read_orders(&bytes[..end]), None);
        }
        assert_eq!(read_orders(&[&[2], &bytes[1..]].concat()), None);
        assert_eq!(read_orders(&[1, 255]), None);
    }

    #[test]
    fn a_row_has_a_value_for_each_column() {
        let candle = Candle::from_parts(
            &Prices {
                open: "1".parse().unwrap(),
                high: "1".parse().unwrap(),
                low: "1".parse().unwrap(),
                close: "1".parse().unwrap(),
                open_order: Order::default(),
                close_order: Order::default(),
                clamped_only: false,
            },
            "2".parse().unwrap(),
            "3".parse().unwrap(),
            [1, 1, 0],
        );
        let mut row = Vec::new();
        write(&mut row, (60, 120, 7), &candle, &candle.prices().unwrap(), 5);
        assert_eq!(row.len(), WRITTEN.len());
        assert_eq!(WRITTEN[..KEY], ["interval_s", "candle_time", "series"]);
    }
}
