//! `GET /api/windows`: what one pair did in the windows that end now, to the minute.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::Json;
use candles::api::{Chain, Refusal};
use market_data::{Interval, PairKey};
use market_store::{Span, spans};
use serde::{Deserialize, Serialize, Serializer};

use super::Api;
use crate::movers::WINDOWS;

#[derive(Debug, Deserialize)]
pub(super) struct Question {
    chain: String,
    pair: String,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    chain_id: Chain,
    pair_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_token_symbol: Option<String>,
    price: f64,
    last_trade_at: i64,
    end: i64,
    #[serde(serialize_with = "in_order")]
    windows: Vec<(&'static str, Window)>,
}

#[derive(Debug, Serialize)]
struct Window {
    start: i64,
    change_percent: f64,
    change_usd: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    high: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    low: Option<f64>,
    volume: f64,
    token_volume: f64,
    count: u64,
    buy_count: u64,
    sell_count: u64,
}

fn in_order<S: Serializer>(windows: &[(&'static str, Window)], to: S) -> Result<S::Ok, S::Error> {
    to.collect_map(windows.iter().map(|(name, window)| (name, window)))
}

impl Window {
    fn of(span: &Span, last: f64) -> Window {
        let prices = span.candle.prices();
        // A pair that rests has not changed.
        let base = span.before.or(prices.map(|p| p.open)).map_or(last, |p| p.to_f64());
        let candle = &span.candle;
        Window {
            start: span.start,
            change_percent: percent(last, base),
            change_usd: last - base,
            high: prices.map(|p| p.high.to_f64()),
            low: prices.map(|p| p.low.to_f64()),
            volume: candle.volume_usd.to_f64(),
            token_volume: candle.token_volume.to_f64(),
            count: candle.count,
            buy_count: candle.buy_count,
            sell_count: candle.sell_count,
        }
    }
}

/// How far a price is above another, in percent.
fn percent(price: f64, base: f64) -> f64 {
    let change = (price / base - 1.0) * 100.0;
    // Prices go down to 1e-340, where a float has nothing left to divide by.
    if change.is_finite() { change } else { 0.0 }
}

/// The end of the windows: of the minute that is the market's present.
pub(super) fn end(present: i64) -> i64 {
    Interval::M1.start_of(present) + Interval::M1.seconds()
}

pub(super) async fn windows(
    State(api): State<Api>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<Answer>, Refusal> {
    let Query(question) = question
        .map_err(|error| Refusal::question(format!("{}; ask for ?chain=1&pair=0x…", error.body_text())))?;
    let asked = PairKey::new(question.chain, question.pair);
    let end = end(api.present().await?);
    let unknown = || {
        let what = "no trade of this pair is known: `/api/pairs` lists those that are";
        Refusal(StatusCode::NOT_FOUND, what.to_owned())
    };
    let pair = api.pair(asked).await?.ok_or_else(unknown)?;
    let names = api.entry(&pair).await?;
    let wanted = pair.clone();
    let found = api.ask(move |reader, groups| {
        spans(reader, groups, &wanted, &WINDOWS.map(|(_, seconds)| end - seconds), end)
    });
    let found = found.await?.ok_or_else(unknown)?;
    let last = found.last.to_f64();
    let windows = WINDOWS.iter().zip(&found.spans).map(|((name, _), span)| (*name, Window::of(span, last)));
    Ok(Json(Answer {
        chain_id: Chain::of(&pair),
        pair_address: pair.pair,
        token_symbol: names.as_ref().and_then(|names| names.token_symbol.clone()),
        base_token_symbol: names.as_ref().and_then(|names| names.base_token_symbol.clone()),
        price: last,
        last_trade_at: found.last_trade_at,
        end,
        windows: windows.collect(),
    }))
}
