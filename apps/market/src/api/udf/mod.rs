//! A TradingView data feed (UDF): `/config`, `/time`, `/symbols`, `/search`, `/history`.
//!
//! An error is an answer with `"s": "error"` and status 200, as the adapters of the charting library expect it. Not supported: marks,
//! quotes, seconds.

mod history;
mod symbols;

use axum::Router;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use market_data::{Grid, Step};
use market_store::StoreError;
use serde_json::{Value, json};

use super::Api;
use super::directory::chain_names;

/// The resolutions, as the library writes them.
const RESOLUTIONS: [&str; 15] =
    ["1", "3", "5", "15", "30", "60", "120", "240", "360", "480", "720", "1D", "3D", "1W", "1M"];

pub(super) fn router() -> Router<Api> {
    Router::new()
        .route("/config", get(config))
        .route("/time", get(time))
        .route("/symbols", get(symbols::symbols))
        .route("/search", get(symbols::search))
        .route("/history", get(history::history))
}

/// The bars of a resolution. `D`, `W` and `M` are short for one of them.
fn grid(resolution: &str) -> Option<Grid> {
    let step = match resolution {
        "D" | "1D" => Step::Minutes(1_440),
        "3D" => Step::Minutes(4_320),
        "W" | "1W" => Step::Week,
        "M" | "1M" => Step::Month,
        minutes => Step::Minutes(RESOLUTIONS.contains(&minutes).then(|| minutes.parse().ok())??),
    };
    Some(Grid::new(step))
}

async fn config() -> Json<Value> {
    let exchange = |name: &str| json!({ "value": name, "name": name, "desc": name });
    let all = json!({ "value": "", "name": "All chains", "desc": "" });
    let exchanges: Vec<Value> = std::iter::once(all).chain(chain_names().map(exchange)).collect();
    Json(json!({
        "supported_resolutions": RESOLUTIONS,
        "supports_search": true,
        "supports_group_request": false,
        "supports_marks": false,
        "supports_timescale_marks": false,
        "supports_time": true,
        "exchanges": exchanges,
        "symbols_types": [{ "name": "Crypto", "value": "crypto" }],
    }))
}

async fn time() -> String {
    candles::api::now().to_string()
}

/// An answer that is none.
#[derive(Debug)]
struct Refusal(String);

impl Refusal {
    fn unknown_symbol() -> Refusal {
        // The library knows this very text.
        Refusal("unknown_symbol".into())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::warn!(error = &error as &dyn std::error::Error, "a chart could not be read");
        Refusal(format!("{error}; ask again in a moment"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        Json(json!({ "s": "error", "errmsg": self.0 })).into_response()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_resolution_that_is_told_is_understood_and_no_other() {
        assert!(RESOLUTIONS.into_iter().chain(["D", "W", "M"]).all(|name| grid(name).is_some()));
        assert!(
            ["", "0", "2", "1S", "1d", "2D", "01", "-5", "60m"].into_iter().all(|name| grid(name).is_none())
        );
    }
}
