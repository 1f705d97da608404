//! Candles and their rows, and lists of question marks.
//!
//! All numbers of a candle are in one column, `candle`: what a server spends on a row grows with its columns, and with how wide they are
//! when it is written anew, far more than with its bytes. First texts, with one space behind each, for the views to cut out ([`Field`]);
//! then, behind the last space, the orders of the opening and the closing trade, which no view shows.

use market_data::{Candle, Order, Price, Prices, Sum};
use mysql::{Row, Value};

use super::address::MySqlAddress;
use crate::StoreError;

/// The column that [`read`] wants.
pub(super) const COLUMNS: &str = "candle";

/// A text of the column `candle`, by its place there, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    /// `o`, digit for digit; no sign, no exponent.
    Open = 1,
    /// `h`; [`AS_OPEN`] where it is the same.
    High,
    /// `l`, likewise.
    Low,
    /// `c`, likewise.
    Close,
    /// `v`, digit for digit.
    VolumeUsd,
    /// `t`, digit for digit.
    TokenVolume,
    Count,
    BuyCount,
    SellCount,
    /// `open_at`, in seconds behind `candle_time`.
    OpenAfter,
    /// `close_at`, likewise.
    CloseAfter,
    /// Unix seconds.
    UpdatedAt,
}

/// Texts of the column `candle`.
const FIELDS: usize = Field::UpdatedAt as usize;
/// A price that is the opening price.
pub(super) const AS_OPEN: &str = "=";
/// Bytes of a usual column.
const USUAL: usize = 256;

/// Reads the candle of the column `at`.
pub(super) fn read(row: &Row, at: usize, address: &MySqlAddress) -> Result<Candle, StoreError> {
    parse(bytes(row, at, address)?).map_err(|what| damaged(row, at, what, address))
}

/// Reads what [`write`] wrote; the error says what is none.
fn parse(column: &[u8]) -> Result<Candle, &'static str> {
    let mut texts = [""; FIELDS];
    let mut rest = column;
    for text in &mut texts {
        let end = rest.iter().position(|byte| *byte == b' ').ok_or("candle")?;
        *text = std::str::from_utf8(&rest[..end]).map_err(|_| "candle")?;
        rest = &rest[end + 1..];
    }
    let text = |field: Field| texts[field as usize - 1];
    let open: Price = text(Field::Open).parse().map_err(|_| "price")?;
    let price = |field: Field| match text(field) {
        AS_OPEN => Ok(open),
        text => text.parse().map_err(|_| "price"),
    };
    let sum = |field: Field| -> Result<Sum, _> { text(field).parse().map_err(|_| "sum") };
    let count = |field: Field| -> Result<u64, _> { text(field).parse().map_err(|_| "count") };
    let (clamped_only, open_order, close_order) = read_orders(rest).ok_or("order of a trade")?;
    let prices = Prices {
        open,
        high: price(Field::High)?,
        low: price(Field::Low)?,
        close: price(Field::Close)?,
        open_order,
        close_order,
        clamped_only,
    };
    let counts = [count(Field::Count)?, count(Field::BuyCount)?, count(Field::SellCount)?];
    Ok(Candle::from_parts(&prices, sum(Field::VolumeUsd)?, sum(Field::TokenVolume)?, counts))
}

/// The column of a candle that starts at `time`. It is not empty: that one is never stored.
pub(super) fn write(time: i64, candle: &Candle, prices: &Prices, now: i64) -> Vec<u8> {
    let mut out = String::with_capacity(USUAL);
    prices.open.write_to(&mut out);
    for price in [prices.high, prices.low, prices.close] {
        out.push(' ');
        if price == prices.open { out.push_str(AS_OPEN) } else { price.write_to(&mut out) }
    }
    for sum in [&candle.volume_usd, &candle.token_volume] {
        out.push(' ');
        sum.write_to(&mut out);
    }
    for count in [candle.count, candle.buy_count, candle.sell_count] {
        write_integer(false, count, &mut out);
    }
    let after = |order: &Order| order.block_time.saturating_sub(time);
    for seconds in [after(&prices.open_order), after(&prices.close_order), now] {
        write_integer(seconds < 0, seconds.unsigned_abs(), &mut out);
    }
    out.push(' ');
    let mut out = out.into_bytes();
    write_orders(prices, &mut out);
    out
}

/// A space and a number: `format!` would be a tenth of what a row costs.
fn write_integer(negative: bool, mut number: u64, out: &mut String) {
    let mut digits = [b'0'; 20];
    let mut from = digits.len();
    loop {
        from -= 1;
        digits[from] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    out.push_str(if negative { " -" } else { " " });
    out.push_str(std::str::from_utf8(&digits[from..]).unwrap_or_default());
}

/// The prices are those of clamped trades.
const CLAMPED_ONLY: u8 = 1;
/// The trade that opened closed as well: its order is not written twice.
const ONE_ORDER: u8 = 2;

/// Marks, the length of the first order, both orders.
fn read_orders(bytes: &[u8]) -> Option<(bool, Order, Order)> {
    let [marks @ 0..=3, open_length, orders @ ..] = bytes else { return None };
    let (open, close) = orders.split_at_checked(usize::from(*open_length))?;
    let open = Order::read(open)?;
    let close =
        if marks & ONE_ORDER == 0 { Order::read(close)? } else { close.is_empty().then_some(open)? };
    Some((marks & CLAMPED_ONLY != 0, open, close))
}

fn write_orders(prices: &Prices, out: &mut Vec<u8>) {
    let one_order = prices.close_order == prices.open_order;
    let mark = |mark: u8, is: bool| if is { mark } else { 0 };
    out.extend([mark(CLAMPED_ONLY, prices.clamped_only) | mark(ONE_ORDER, one_order), 0]);
    let from = out.len();
    prices.open_order.write(out);
    // At most eight varints of ten bytes.
    out[from - 1] = (out.len() - from) as u8;
    if !one_order {
        prices.close_order.write(out);
    }
}

/// The columns of a row: the key, and the candle.
pub(super) const WRITTEN: [&str; 4] = ["interval_s", "candle_time", "series", "candle"];

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

    fn candle(prices: [&str; 4], orders: [Order; 2]) -> Candle {
        let [open, high, low, close] = prices.map(|price| price.parse().unwrap());
        let [open_order, close_order] = orders;
        let prices = Prices { open, high, low, close, open_order, close_order, clamped_only: true };
        Candle::from_parts(&prices, "2.25".parse().unwrap(), "3".parse().unwrap(), [u64::MAX, 1, 0])
    }

    fn written(candle: &Candle) -> Vec<u8> {
        write(120, candle, &candle.prices().unwrap(), 1_700_000_000)
    }

    #[test]
    fn a_candle_is_read_back_and_nothing_else_is() {
        // An order with a byte that is a space.
        let [first, last] = [(122, 16), (121 + 60, i64::MAX)].map(|(block_time, offset)| Order {
            block_time,
            offset,
            index: 9,
            ..Order::default()
        });
        for candle in [
            candle(["1.5", "1.5", "1.5", "1.5"], [first, first]),
            candle(["1.5", "99999999999999999999999999999999999", "0.000000001", "2"], [first, last]),
        ] {
            let column = written(&candle);
            assert_eq!(parse(&column), Ok(candle));
            for end in 0..column.len() {
                assert!(parse(&column[..end]).is_err(), "{end} of {column:?}");
            }
            assert!(parse(&[&column[..], &[0]].concat()).is_err());
        }
        let column = written(&candle(["1", "1", "1", "1"], [first, first]));
        let texts = b"1 = = = 2.25 3 18446744073709551615 1 0 2 2 1700000000 ";
        assert_eq!(column[..texts.len()], texts[..]);
        let with = |text: &[u8]| parse(&[text, &column[texts.len()..]].concat());
        assert!(with(texts).is_ok());
        for (damaged, what) in [
            (&b"= = = = 2.25 3 4 1 0 2 2 17 "[..], "price"),
            (b"1 = 0 = 2.25 3 4 1 0 2 2 17 ", "price"),
            (b"1 = = = -2.25 3 4 1 0 2 2 17 ", "sum"),
            (b"1 = = = 2.25 3 -4 1 0 2 2 17 ", "count"),
            (b"1 = = = 2.25 3 4 1 0 2 2 ", "candle"),
        ] {
            assert_eq!(with(damaged), Err(what), "{damaged:?}");
        }
    }

    #[test]
    fn marks_that_nobody_wrote_are_refused() {
        let prices = candle(["1", "1", "1", "1"], [Order::default(); 2]).prices().unwrap();
        let mut orders = Vec::new();
        write_orders(&prices, &mut orders);
        assert_eq!(read_orders(&orders), Some((true, Order::default(), Order::default())));
        for marks in [CLAMPED_ONLY, 4, 255] {
            orders[0] = marks;
            assert_eq!(read_orders(&orders), None);
        }
        assert_eq!(read_orders(&[1, 255]), None);
        assert_eq!(read_orders(&[1]), None);
    }
}
