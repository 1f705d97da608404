//! `GET /api/smart-money/trades`: the log, newest first.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::response::Json;
use market_data::Side;
use market_data::wallets::canonical;
use market_store::wallets::LoggedTrade;
use serde::{Deserialize, Serialize};

use super::{Api, Refusal};

/// Trades in one answer.
const LIMIT: usize = 100;
const LIMIT_MAX: usize = 1000;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Asked {
    wallet: Option<String>,
    before: Option<i64>,
    limit: Option<usize>,
}

/// A trade as it is told. Amounts are texts, digit for digit.
#[derive(Debug, Serialize)]
pub(super) struct Trade {
    number: i64,
    id: String,
    chain_id: Option<u64>,
    wallet: String,
    label: String,
    side: &'static str,
    pair_address: String,
    token: String,
    token_symbol: String,
    base_token: String,
    base_token_symbol: String,
    token_amount: String,
    base_token_amount: String,
    total_usd: String,
    price_usd: Option<String>,
    block_time: i64,
    tx_hash: String,
    swap_name: String,
    logged_at: i64,
    topic: String,
    partition: i32,
    offset: i64,
}

impl Trade {
    fn of(logged: LoggedTrade) -> Trade {
        let LoggedTrade { number, logged_at, trade, .. } = logged;
        Trade {
            number,
            id: trade.id.to_string(),
            chain_id: trade.id.chain_id.parse().ok(),
            wallet: trade.maker.to_string(),
            label: trade.label.to_string(),
            side: match trade.side {
                Side::Buy => "buy",
                Side::Sell => "sell",
                Side::Unknown => "",
            },
            pair_address: trade.id.pair,
            token: trade.token,
            token_symbol: trade.token_symbol,
            base_token: trade.base_token,
            base_token_symbol: trade.base_token_symbol,
            token_amount: trade.token_amount.to_string(),
            base_token_amount: trade.base_token_amount.to_string(),
            total_usd: trade.total_usd.to_string(),
            price_usd: trade.price.map(|price| price.to_string()),
            block_time: trade.block_time,
            tx_hash: trade.tx_hash,
            swap_name: trade.swap_name,
            logged_at,
            topic: trade.topic.to_string(),
            partition: trade.place.partition,
            offset: trade.place.offset,
        }
    }
}

pub(super) async fn trades(
    State(api): State<Api>,
    asked: Result<Query<Asked>, QueryRejection>,
) -> Result<Json<Vec<Trade>>, Refusal> {
    let Query(asked) = asked.map_err(Refusal::question)?;
    let limit = asked.limit.unwrap_or(LIMIT);
    if !(1..=LIMIT_MAX).contains(&limit) {
        return Err(Refusal::question(format!("`limit` is from 1 to {LIMIT_MAX}")));
    }
    let found = api.ask(move |log| {
        let wallet = asked.wallet.as_deref().map(canonical);
        log.logged(wallet.as_deref(), asked.before, limit)
    });
    Ok(Json(found.await?.into_iter().map(Trade::of).collect()))
}
