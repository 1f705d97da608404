//! Reference candles: reading their files and comparing digit for digit.
//!
//! The format is a CSV with the header [`HEADER`], a line a candle. Prices and sums are compared as exact numbers.

use std::collections::BTreeMap;

use thiserror::Error;

use crate::{Candle, Interval, Price, Sum};

/// The columns, in order.
pub const HEADER: &str = "chain,pair_addr,interval,candle_time,open,high,low,close,volume_usd,token_volume,count,buy_count,sell_count,open_at,close_at,clamped_only";

/// Which candle: (chain, pair, interval, start). The chain is what the caller compares by: a name or a number.
pub type Key = (String, String, Interval, i64);

/// The values of a candle, as the reference has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row {
    /// First, highest, lowest, last price.
    pub prices: [Price; 4],
    /// `volume_usd`, `token_volume`.
    pub sums: [Sum; 2],
    /// `count`, `buy_count`, `sell_count`.
    pub counts: [u64; 3],
    /// `open_at`, `close_at`, unix seconds.
    pub times: [i64; 2],
    /// Whether the prices are those of clamped trades.
    pub clamped_only: bool,
}

impl Row {
    /// The row of a candle; `None` for the empty candle.
    pub fn of(candle: &Candle) -> Option<Row> {
        let prices = candle.prices()?;
        Some(Row {
            prices: [prices.open, prices.high, prices.low, prices.close],
            sums: [candle.volume_usd, candle.token_volume],
            counts: [candle.count, candle.buy_count, candle.sell_count],
            times: [prices.open_order.block_time, prices.close_order.block_time],
            clamped_only: prices.clamped_only,
        })
    }

    /// The columns after the key, each with its name.
    fn columns(&self) -> [(&'static str, String); 12] {
        let [open, high, low, close] = self.prices.map(|p| p.to_string());
        let [volume_usd, token_volume] = self.sums.map(|s| s.to_string());
        let [count, buy_count, sell_count] = self.counts.map(|c| c.to_string());
        let [open_at, close_at] = self.times.map(|t| t.to_string());
        [
            ("open", open),
            ("high", high),
            ("low", low),
            ("close", close),
            ("volume_usd", volume_usd),
            ("token_volume", token_volume),
            ("count", count),
            ("buy_count", buy_count),
            ("sell_count", sell_count),
            ("open_at", open_at),
            ("close_at", close_at),
            ("clamped_only", u8::from(self.clamped_only).to_string()),
        ]
    }

    /// One line of the reference file, without its end.
    pub fn to_line(&self, key: &Key) -> String {
        let (chain, pair, interval, time) = key;
        let values = self.columns().map(|(_, value)| value).join(",");
        format!("{chain},{pair},{interval},{time},{values}")
    }
}

/// A reference file that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum BadReference {
    /// Not the columns that we know.
    #[error("line 1: the columns must be `{HEADER}`")]
    Header,
    /// A line with too few or too many columns.
    #[error("line {line}: {found} columns, not 16")]
    Columns {
        /// From 1.
        line: usize,
        /// How many there are.
        found: usize,
    },
    /// A value that is none.
    #[error("line {line}: `{value}` is no `{column}`")]
    Value {
        /// From 1.
        line: usize,
        /// The column's name.
        column: &'static str,
        /// What stands there.
        value: String,
    },
    /// One candle, two lines.
    #[error("line {line}: this candle stands in an earlier line too")]
    Twice {
        /// From 1.
        line: usize,
    },
}

/// Reads a reference file.
pub fn read(text: &str) -> Result<BTreeMap<Key, Row>, BadReference> {
    let mut lines = text.lines();
    if lines.next().map(str::trim_end) != Some(HEADER) {
        return Err(BadReference::Header);
    }
    let mut rows = BTreeMap::new();
    for (line, text) in (2..).zip(lines).filter(|(_, text)| !text.trim().is_empty()) {
        let values: Vec<&str> = text.trim_end().split(',').collect();
        let [
            chain,
            pair,
            interval,
            time,
            open,
            high,
            low,
            close,
            volume,
            tokens,
            count,
            buys,
            sells,
            first,
            last,
            clamped,
        ] = values[..]
        else {
            return Err(BadReference::Columns { line, found: values.len() });
        };
        let key = (
            chain.to_owned(),
            pair.to_owned(),
            value(line, "interval", interval)?,
            value(line, "candle_time", time)?,
        );
        let row = Row {
            prices: [
                value(line, "open", open)?,
                value(line, "high", high)?,
                value(line, "low", low)?,
                value(line, "close", close)?,
            ],
            sums: [value(line, "volume_usd", volume)?, value(line, "token_volume", tokens)?],
            counts: [
                value(line, "count", count)?,
                value(line, "buy_count", buys)?,
                value(line, "sell_count", sells)?,
            ],
            times: [value(line, "open_at", first)?, value(line, "close_at", last)?],
            clamped_only: match clamped {
                "0" => false,
                "1" => true,
                _ => {
                    return Err(BadReference::Value {
                        line,
                        column: "clamped_only",
                        value: clamped.to_owned(),
                    });
                }
            },
        };
        if rows.insert(key, row).is_some() {
            return Err(BadReference::Twice { line });
        }
    }
    Ok(rows)
}

fn value<T: std::str::FromStr>(line: usize, column: &'static str, value: &str) -> Result<T, BadReference> {
    value.parse().map_err(|_| BadReference::Value { line, column, value: value.to_owned() })
}

/// One difference between a reference and what was made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Difference {
    /// Which candle.
    pub key: Key,
    /// Which column; `candle` where a whole candle is missing or too many.
    pub column: &'static str,
    /// What the reference says; `none` where it has no such candle.
    pub wanted: String,
    /// What was made; `none` where no such candle was.
    pub got: String,
}

/// What a comparison found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Comparison {
    /// Candles that stand in either.
    pub candles: usize,
    /// Candles that differ in anything, are missing, or are too many.
    pub differing: usize,
    /// The differences, column by column, in the order of the keys.
    pub differences: Vec<Difference>,
}

/// Compares every candle of either side.
pub fn compare(wanted: &BTreeMap<Key, Row>, got: &BTreeMap<Key, Row>) -> Comparison {
    let mut result = Comparison::default();
    let keys: std::collections::BTreeSet<&Key> = wanted.keys().chain(got.keys()).collect();
    for key in keys {
        result.candles += 1;
        let before = result.differences.len();
        match (wanted.get(key), got.get(key)) {
            (Some(a), Some(b)) if a == b => {}
            (Some(a), Some(b)) => {
                for ((column, wanted), (_, got)) in a.columns().into_iter().zip(b.columns()) {
                    if wanted != got {
                        result.differences.push(Difference { key: key.clone(), column, wanted, got });
                    }
                }
            }
            (a, b) => {
                let text = |row: Option<&Row>| row.map_or_else(|| "none".to_owned(), |row| row.to_line(key));
                let (wanted, got) = (text(a), text(b));
                result.differences.push(Difference { key: key.clone(), column: "candle", wanted, got });
            }
        }
        result.differing += usize::from(result.differences.len() > before);
    }
    result
}
