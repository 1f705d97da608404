//! `GET /api/pairs`.

use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use market_store::{PairSummary, StoreError, Window};
use serde::Serialize;

use super::{Chain, Charts, Readers, Refusal};

const DAY: i64 = 86_400;

#[derive(Debug, Serialize)]
struct Answer {
    chain_id: Chain,
    pair_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_token_symbol: Option<String>,
    price: f64,
    change_24h: f64,
    high_24h: f64,
    low_24h: f64,
    volume_24h: f64,
    count_24h: u64,
    last_trade_at: i64,
    sparkline: Vec<f64>,
}

impl Answer {
    fn of(summary: PairSummary) -> Answer {
        let price = summary.last_price.to_f64();
        let prices = summary.window.prices();
        let first = summary.before.or(prices.map(|p| p.open)).map_or(price, |p| p.to_f64());
        Answer {
            chain_id: Chain::of(&summary.pair),
            pair_address: summary.pair.pair,
            token_symbol: summary.token_symbol,
            base_token_symbol: summary.base_token_symbol,
            price,
            // A pair that rests has not changed.
            change_24h: if prices.is_some() && first > 0.0 { price / first - 1.0 } else { 0.0 },
            high_24h: prices.map_or(price, |p| p.high.to_f64()),
            low_24h: prices.map_or(price, |p| p.low.to_f64()),
            volume_24h: summary.window.volume_usd.to_f64(),
            count_24h: summary.window.count,
            last_trade_at: summary.last_trade_at,
            sparkline: summary.sparkline.iter().map(|p| p.to_f64()).collect(),
        }
    }
}

/// The last 24 hours. Where all trades are older (a day of the past was replayed), the 24 hours that end with the newest.
fn window(now: i64, newest: Option<i64>) -> Window {
    let end = super::present(now, newest);
    // The grain is 15 minutes, and the candle of the last trade belongs to the window.
    let end = market_data::Interval::M15.start_of(end) + market_data::Interval::M15.seconds();
    Window { start: end - DAY, end }
}

/// The whole answer.
pub(super) async fn list(readers: Arc<Readers>, groups: Arc<Vec<String>>) -> Result<Bytes, StoreError> {
    let asked = readers.ask(move |reader| {
        let newest = reader.newest_trade(&groups)?;
        let summaries = reader.pairs(&groups, window(super::now(), newest))?;
        let answers: Vec<Answer> = summaries.into_iter().map(Answer::of).collect();
        // Texts and numbers are always JSON. Here and not where it is asked for: of many pairs this is much work.
        Ok(Bytes::from(serde_json::to_vec(&answers).unwrap_or_default()))
    });
    asked.await
}

pub(super) async fn pairs(State(api): State<Charts>) -> Result<Response, Refusal> {
    let json = Bytes::clone(&*api.pairs.get().await?);
    Ok(([(axum::http::header::CONTENT_TYPE, "application/json")], json).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_window_ends_now_or_with_the_newest_trade() {
        assert_eq!(window(1_000_000, None), Window { start: 999_900 + 900 - DAY, end: 999_900 + 900 });
        assert_eq!(window(1_000_000, Some(90_000)).end, 90_900);
        // A trade from the future (a clock that is ahead) does not move the window.
        assert_eq!(window(1_000_000, Some(2_000_000)).end, 1_000_800);
    }
}
