//! `GET /api/movers`: the pairs that moved most in a window.

use std::cmp::Ordering;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Json;
use candles::api::{Chain, Refusal};
use serde::{Deserialize, Serialize};

use super::Api;
use crate::movers::{Mover, WINDOWS};

const LIMIT_DEFAULT: usize = 20;
const LIMIT_MAX: usize = 500;

/// What all pairs did in the windows that end at one time.
#[derive(Debug)]
pub(super) struct Tables {
    pub(super) end: i64,
    pub(super) of: crate::movers::Tables,
}

#[derive(Debug, Deserialize)]
pub(super) struct Question {
    window: Option<String>,
    #[serde(default)]
    by: By,
    #[serde(default)]
    order: Direction,
    limit: Option<usize>,
    chain: Option<String>,
    min_volume: Option<f64>,
}

#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
enum By {
    #[default]
    Change,
    Volume,
    Count,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Direction {
    Asc,
    #[default]
    Desc,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
    window: &'static str,
    start: i64,
    end: i64,
    movers: Vec<Row>,
}

#[derive(Debug, Serialize)]
struct Row {
    chain_id: Chain,
    pair_address: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    token_symbol: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    base_token_symbol: Option<String>,
    price: f64,
    change_percent: f64,
    change_usd: f64,
    volume: f64,
    count: u64,
    buy_count: u64,
    sell_count: u64,
    last_trade_at: i64,
}

/// The first `limit` of some movers, in order. Equals come in the order of their pairs, so that an answer can be told from the last.
fn top<'a>(
    movers: impl Iterator<Item = &'a Mover>,
    by: By,
    direction: Direction,
    limit: usize,
) -> Vec<&'a Mover> {
    let order = |a: &&Mover, b: &&Mover| {
        let rising = match by {
            By::Change => a.change.total_cmp(&b.change),
            By::Volume => a.volume_usd.total_cmp(&b.volume_usd),
            By::Count => a.count.cmp(&b.count),
        };
        let first = if direction == Direction::Desc { rising.reverse() } else { rising };
        if first == Ordering::Equal { a.pair.cmp(&b.pair) } else { first }
    };
    let mut movers: Vec<&Mover> = movers.collect();
    if movers.len() > limit {
        movers.select_nth_unstable_by(limit, order);
        movers.truncate(limit);
    }
    movers.sort_unstable_by(order);
    movers
}

pub(super) async fn movers(
    State(api): State<Api>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Json<Answer>, Refusal> {
    let Query(question) = question.map_err(|error| {
        let form =
            "[window=24h][&by=change|volume|count][&order=desc|asc][&limit=20][&chain=1][&min_volume=USD]";
        Refusal::question(format!("{}; ask for ?{form}", error.body_text()))
    })?;
    let asked = question.window.as_deref().unwrap_or("24h");
    let Some(window) = WINDOWS.iter().position(|(name, _)| *name == asked) else {
        let names = WINDOWS.map(|(name, _)| name).join(", ");
        return Err(Refusal::question(format!("unknown window `{asked}`: use one of {names}")));
    };
    let limit = question.limit.unwrap_or(LIMIT_DEFAULT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::question(format!("`limit` is {limit}: ask for 1 to {LIMIT_MAX} movers")));
    }
    let tables = api.movers.get().await?;
    let min_volume = question.min_volume.unwrap_or(0.0);
    let wanted = tables.of[window].iter().filter(|mover| {
        mover.volume_usd >= min_volume
            && question.chain.as_ref().is_none_or(|chain| mover.pair.chain_id == *chain)
    });
    let directory = api.directory().await?;
    let row = |mover: &Mover| {
        let names = directory.find(&mover.pair);
        let price = mover.price.to_f64();
        Row {
            chain_id: Chain::of(&mover.pair),
            pair_address: mover.pair.pair.clone(),
            token_symbol: names.and_then(|names| names.token_symbol.clone()),
            base_token_symbol: names.and_then(|names| names.base_token_symbol.clone()),
            price,
            change_percent: mover.change * 100.0,
            change_usd: price - mover.base.to_f64(),
            volume: mover.volume_usd,
            count: mover.count,
            buy_count: mover.buy_count,
            sell_count: mover.sell_count,
            last_trade_at: mover.last_trade_at,
        }
    };
    let movers = top(wanted, question.by, question.order, limit).into_iter().map(row).collect();
    let (window, seconds) = WINDOWS[window];
    Ok(Json(Answer { window, start: tables.end - seconds, end: tables.end, movers }))
}
