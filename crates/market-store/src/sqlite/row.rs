//! A candle and its row.

use std::path::Path;

use market_data::{Candle, Order, Prices};
use rusqlite::Row;
use rusqlite::types::ValueRef;

use super::failure;
use crate::StoreError;

/// The columns that [`read`] wants, in its order.
pub(super) const COLUMNS: &str =
    "o, h, l, c, v, t, count, buy_count, sell_count, open_order, close_order, clamped_only";

/// Reads the candle whose [`COLUMNS`] begin at column `at`.
pub(super) fn read(row: &Row<'_>, at: usize, file: &Path) -> Result<Candle, StoreError> {
    let damaged = |what: &'static str, value: &str| StoreError::Damaged {
        store: file.display().to_string(),
        what,
        value: value.to_owned(),
    };
    let price = |column: usize| {
        let text = text(row, at + column, file)?;
        text.parse().map_err(|_| damaged("price", text))
    };
    let sum = |column: usize| {
        let text = text(row, at + column, file)?;
        text.parse().map_err(|_| damaged("sum", text))
    };
    let count = |column: usize| {
        let count: i64 = row.get(at + column).map_err(|error| failure(file, error))?;
        u64::try_from(count).map_err(|_| damaged("count", &count.to_string()))
    };
    let order = |column: usize| {
        let value = row.get_ref(at + column).map_err(|error| failure(file, error))?;
        let order = if let ValueRef::Blob(bytes) = value { Order::read(bytes) } else { None };
        order.ok_or_else(|| damaged("order of a trade", &format!("{value:?}")))
    };
    let prices = Prices {
        open: price(0)?,
        high: price(1)?,
        low: price(2)?,
        close: price(3)?,
        open_order: order(9)?,
        close_order: order(10)?,
        clamped_only: count(11)? != 0,
    };
    Ok(Candle::from_parts(&prices, sum(4)?, sum(5)?, [count(6)?, count(7)?, count(8)?]))
}

fn text<'a>(row: &'a Row<'_>, column: usize, file: &Path) -> Result<&'a str, StoreError> {
    let value = row.get_ref(column).map_err(|error| failure(file, error))?;
    value.as_str().map_err(|_| StoreError::Damaged {
        store: file.display().to_string(),
        what: "number",
        value: format!("{value:?}"),
    })
}

/// The texts and blobs of a candle's row, kept from one row to the next.
#[derive(Debug, Default)]
pub(super) struct Texts {
    pub(super) numbers: [String; 6],
    pub(super) orders: [Vec<u8>; 2],
}

impl Texts {
    /// Fills the texts from a candle; returns what is not text. `None` for the empty candle, which is never stored.
    pub(super) fn fill(&mut self, candle: &Candle) -> Option<Prices> {
        let prices = candle.prices()?;
        self.numbers.iter_mut().for_each(String::clear);
        self.orders.iter_mut().for_each(Vec::clear);
        for (price, text) in
            [prices.open, prices.high, prices.low, prices.close].into_iter().zip(&mut self.numbers)
        {
            price.write_to(text);
        }
        candle.volume_usd.write_to(&mut self.numbers[4]);
        candle.token_volume.write_to(&mut self.numbers[5]);
        prices.open_order.write(&mut self.orders[0]);
        prices.close_order.write(&mut self.orders[1]);
        Some(prices)
    }
}
