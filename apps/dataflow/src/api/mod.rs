//! The HTTP and WebSocket interface of market data: `docs/http.md`, what is marked *dataflow*.

mod binance;
mod candles;
mod input;
mod pairs;
mod readers;
mod view;
mod ws;

use std::sync::Arc;

use axum::Router;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
pub(crate) use input::Source;
use market_store::StoreError;
pub use readers::Readers;

use crate::hub::Hub;

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Api {
    readers: Arc<Readers>,
    hub: Hub,
    groups: Arc<Vec<String>>,
    pairs: Arc<pairs::Cache>,
    sources: Arc<[Source]>,
}

impl Api {
    /// The interface of a store and a hub, for the candles of these groups.
    pub fn new(readers: Readers, hub: Hub, groups: Vec<String>) -> Api {
        Api {
            readers: Arc::new(readers),
            hub,
            groups: Arc::new(groups),
            pairs: Arc::default(),
            sources: Arc::default(),
        }
    }

    /// The same, which also tells what became of the records of `sources`.
    #[must_use]
    pub(crate) fn with_sources(mut self, sources: Vec<Source>) -> Api {
        self.sources = sources.into();
        self
    }

    /// `/api/pairs`, `/api/candles`, `/api/input`, `/ws`, and Binance's `/ws/...` and `/stream`, to be merged with other routes.
    pub fn router(self) -> Router {
        Router::new()
            .route("/api/pairs", get(pairs::pairs))
            .route("/api/candles", get(candles::candles))
            .route("/api/input", get(input::input))
            .route("/ws", get(ws::upgrade))
            .route("/ws/", get(binance::raw))
            .route("/ws/{*streams}", get(binance::raw))
            .route("/stream", get(binance::combined))
            .with_state(self)
    }
}

/// An answer that is none: its status and `{"error": ...}`.
#[derive(Debug)]
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    /// The question is wrong.
    fn question(error: impl ToString) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, error.to_string())
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::warn!(error = &error as &dyn std::error::Error, "a question could not be answered");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("{error}; ask again in a moment"))
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}
