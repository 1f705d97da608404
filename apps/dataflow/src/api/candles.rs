//! `GET /api/candles`.

use std::sync::Arc;

use axum::extract::{Query, State};
use axum::response::Json;
use candles::api::{Bar, Refusal};
use market_data::{Interval, PairKey};
use market_store::CandleQuery;
use serde::{Deserialize, Serialize};

use super::Api;

const LIMIT_DEFAULT: usize = 500;
const LIMIT_MAX: usize = 5000;

#[derive(Debug, Deserialize)]
pub(super) struct Question {
    chain: String,
    pair: String,
    interval: String,
    limit: Option<usize>,
    before: Option<i64>,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    #[serde(flatten)]
    bar: Bar,
    open_at: i64,
    close_at: i64,
}

pub(super) async fn candles(
    State(api): State<Api>,
    question: Result<Query<Question>, axum::extract::rejection::QueryRejection>,
) -> Result<Json<Vec<Answer>>, Refusal> {
    let Query(question) = question.map_err(|error| {
        Refusal::question(format!(
            "{}; ask for ?chain=1&pair=0x…&interval=1m[&limit=500][&before=TIME]",
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
    let before = question.before;
    let found = api.readers.ask(move |reader| {
        reader.candles(&CandleQuery { groups: &groups, pair: &pair, interval, from: None, before, limit })
    });
    let found = found.await?;
    let answer = found.iter().filter_map(|stored| {
        let (bar, prices) = Bar::of(stored.time, &stored.candle)?;
        Some(Answer { bar, open_at: prices.open_order.block_time, close_at: prices.close_order.block_time })
    });
    Ok(Json(answer.collect()))
}
