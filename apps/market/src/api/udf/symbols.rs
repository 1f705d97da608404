//! `/symbols` and `/search`: what pairs are called, and how their prices are drawn.

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Json;
use candles::api::Symbol;
use market_data::{PairKey, Price};
use market_store::spans;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{RESOLUTIONS, Refusal};
use crate::api::Api;
use crate::api::binance::AHEAD_MAX;
use crate::api::directory::{Entry, chain_name};

const SEARCH_DEFAULT: usize = 30;
const SEARCH_MAX: usize = 100;
/// Digits of a price that are drawn, of the first that is not 0.
const DIGITS: i32 = 6;
/// Decimal places at least, and at most: a float holds every power of ten up to 10^22 exactly.
const PLACES: (i32, i32) = (2, 22);

/// How many decimal places are drawn for prices like this one.
fn places(price: Price) -> u32 {
    (DIGITS - price.magnitude()).clamp(PLACES.0, PLACES.1).unsigned_abs()
}

/// What a symbol is, as the library wants it: the fields of `LibrarySymbolInfo`, and those that older adapters read.
#[derive(Debug, Serialize)]
pub(super) struct Info {
    name: String,
    full_name: String,
    ticker: String,
    description: String,
    r#type: &'static str,
    session: &'static str,
    timezone: &'static str,
    exchange: String,
    listed_exchange: String,
    #[serde(rename = "exchange-listed")]
    exchange_listed: String,
    #[serde(rename = "exchange-traded")]
    exchange_traded: String,
    minmov: u8,
    minmovement: u8,
    minmov2: u8,
    minmove2: u8,
    fractional: bool,
    pointvalue: u8,
    pricescale: u128,
    has_intraday: bool,
    has_daily: bool,
    has_seconds: bool,
    has_weekly_and_monthly: bool,
    has_no_volume: bool,
    intraday_multipliers: Vec<&'static str>,
    volume_precision: u8,
    currency_code: &'static str,
    format: &'static str,
    visible_plots_set: &'static str,
    supported_resolutions: &'static [&'static str],
}

impl Info {
    fn of(entry: &Entry, last_price: Price) -> Info {
        let exchange = chain_name(&entry.pair.chain_id).to_owned();
        let (name, ticker) = (entry.name(), entry.ticker());
        Info {
            description: format!("{name} on {exchange}, {}", entry.pair.pair),
            name,
            full_name: ticker.clone(),
            ticker,
            r#type: "crypto",
            session: "24x7",
            timezone: "Etc/UTC",
            listed_exchange: exchange.clone(),
            exchange_listed: exchange.clone(),
            exchange_traded: exchange.clone(),
            exchange,
            minmov: 1,
            minmovement: 1,
            minmov2: 0,
            minmove2: 0,
            fractional: false,
            pointvalue: 1,
            pricescale: 10u128.pow(places(last_price)),
            has_intraday: true,
            has_daily: true,
            has_seconds: false,
            has_weekly_and_monthly: true,
            has_no_volume: false,
            intraday_multipliers: RESOLUTIONS
                .into_iter()
                .filter(|name| name.parse::<u32>().is_ok())
                .collect(),
            volume_precision: 2,
            currency_code: "USD",
            format: "price",
            visible_plots_set: "ohlcv",
            supported_resolutions: &RESOLUTIONS,
        }
    }
}

/// The pair that a chart asks for: by its ticker in any case, or by what people call it.
pub(super) async fn resolve(api: &Api, symbol: &str) -> Result<PairKey, Refusal> {
    if let Ok(pair) = Symbol::exactly(symbol)
        && let Some(pair) = api.pair(pair).await?
    {
        return Ok(pair);
    }
    let directory = api.directory().await?;
    directory.called(symbol).map(|entry| entry.pair.clone()).ok_or_else(Refusal::unknown_symbol)
}

#[derive(Debug, Deserialize)]
pub(super) struct Which {
    symbol: String,
}

pub(super) async fn symbols(
    State(api): State<Api>,
    which: Result<Query<Which>, QueryRejection>,
) -> Result<Json<Info>, Refusal> {
    let Query(which) = which.map_err(|error| Refusal(error.body_text()))?;
    let pair = resolve(&api, &which.symbol).await?;
    let (asked, end) = (pair.clone(), candles::api::now() + AHEAD_MAX);
    let last = api.ask(move |reader, groups| spans(reader, groups, &asked, &[], end)).await?;
    let last_price = last.ok_or_else(Refusal::unknown_symbol)?.last;
    // A pair so new that it is in no list yet, or of which the list has another one of the same letters, has no names.
    let entry = api.entry(&pair).await?.unwrap_or_else(|| Arc::new(Entry::new(pair, None, None)));
    Ok(Json(Info::of(&entry, last_price)))
}

#[derive(Debug, Deserialize)]
pub(super) struct Search {
    #[serde(default)]
    query: String,
    #[serde(default)]
    r#type: String,
    #[serde(default)]
    exchange: String,
    limit: Option<usize>,
}

pub(super) async fn search(
    State(api): State<Api>,
    search: Result<Query<Search>, QueryRejection>,
) -> Result<Json<Vec<Value>>, Refusal> {
    let Query(search) = search.map_err(|error| Refusal(error.body_text()))?;
    if !["", "crypto"].contains(&search.r#type.as_str()) {
        return Ok(Json(Vec::new()));
    }
    let limit = search.limit.unwrap_or(SEARCH_DEFAULT).min(SEARCH_MAX);
    let directory = api.directory().await?;
    let found = directory.search(&search.query, &search.exchange).take(limit).map(|entry| {
        let exchange = chain_name(&entry.pair.chain_id);
        json!({
            "symbol": entry.name(),
            "full_name": entry.ticker(),
            "ticker": entry.ticker(),
            "description": format!("{} on {exchange}", entry.pair.pair),
            "exchange": exchange,
            "type": "crypto",
        })
    });
    Ok(Json(found.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_price_is_drawn_with_the_digits_that_tell_something() {
        for (price, expected) in [
            ("61837.63", 2),
            ("2268.61", 2),
            ("5.8", 5),
            ("1", 5),
            ("0.0374", 7),
            ("0.000000001", 14),
            ("1.1884193617721735e-08", 13),
            ("5e-18", 22),
            ("4.9e-324", 22),
            ("99999999999999999999999", 2),
        ] {
            assert_eq!(places(price.parse().unwrap()), expected, "{price}");
        }
    }
}
