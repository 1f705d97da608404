//! `GET /api/candles`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Json;
use market_data::{Candle, Grid, Interval, PairKey, Price};
use market_store::{CandleQuery, ChartQuery, StoredCandle, Take, chart};
use serde::{Deserialize, Serialize};

use super::{Bar, Charts, Refusal};

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 5000;

#[derive(Debug, Deserialize)]
pub(super) struct Question {
    chain: String,
    pair: String,
    interval: String,
    limit: Option<usize>,
    before: Option<i64>,
    #[serde(default)]
    fill: bool,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    bar: Bar,
    /// `None` where nothing was traded.
    open_at: Option<i64>,
    close_at: Option<i64>,
}

pub(super) async fn candles(
    State(api): State<Charts>,
    question: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Answer>>, Refusal> {
    let Query(question) = question.map_err(|error| {
        Refusal::question(format!(
            "{}; ask for ?chain=1&pair=0x…&interval=1m[&limit=500][&before=TIME][&fill=true]",
            error.body_text()
        ))
    })?;
    let interval: Interval = question.interval.parse().map_err(Refusal::question)?;
    let limit = question.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::question(format!("`limit` is {limit}: ask for 1 to {LIMIT_MAX} candles")));
    }
    let pair = PairKey::new(question.chain, question.pair);
    let groups = Arc::clone(&api.groups);
    let (before, fill) = (question.before, question.fill);
    let found = Arc::clone(&api.readers).ask(move |reader| {
        if fill {
            let until = super::present(super::now(), reader.newest_trade(&groups)?);
            let (groups, pair, grid) = (&groups[..], &pair, Grid::of(interval));
            let (before, take, fill) = (before.unwrap_or(i64::MAX), Take::Latest, Some(until));
            let query = ChartQuery { groups, pair, grid, from: None, before, limit, take, fill };
            let bars = chart(reader, &query)?;
            return Ok(bars.iter().map(|bar| Answer::of(bar.start, &bar.candle, bar.prices())).collect());
        }
        let query = CandleQuery { groups: &groups, pair: &pair, interval, from: None, before, limit };
        let with_trades = |stored: &StoredCandle| {
            let prices = stored.candle.prices()?;
            let prices = [prices.open, prices.high, prices.low, prices.close];
            Some(Answer::of(stored.time, &stored.candle, prices))
        };
        Ok(reader.candles(&query)?.iter().filter_map(with_trades).collect())
    });
    Ok(Json(found.await?))
}

impl Answer {
    fn of(time: i64, candle: &Candle, prices: [Price; 4]) -> Answer {
        let trades = candle.prices();
        Answer {
            bar: Bar::of(time, candle, prices),
            open_at: trades.map(|p| p.open_order.block_time),
            close_at: trades.map(|p| p.close_order.block_time),
        }
    }
}
