//! What interfaces to candles share: `/api/candles` and `/api/pairs`, readers that are lent to questions, the words of an answer.

mod candles;
pub mod input;
mod kept;
mod pairs;
mod readers;
mod symbol;
mod view;

use std::sync::Arc;
use std::time::SystemTime;

use axum::Router;
use axum::body::Bytes;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
pub use kept::Kept;
use market_store::StoreError;
pub use readers::Readers;
pub use symbol::{NotASymbol, Symbol};
pub use view::{Bar, Chain};

/// What `/api/candles` and `/api/pairs` need.
#[derive(Debug, Clone)]
struct Charts {
    readers: Arc<Readers>,
    groups: Arc<Vec<String>>,
    pairs: Kept<Bytes>,
}

/// `/api/candles` and `/api/pairs` for the candles of these groups, to be merged with other routes.
pub fn charts(readers: Arc<Readers>, groups: Vec<String>) -> Router {
    let groups = Arc::new(groups);
    let (asked, of) = (Arc::clone(&readers), Arc::clone(&groups));
    let pairs = Kept::new(move || pairs::list(Arc::clone(&asked), Arc::clone(&of)));
    Router::new()
        .route("/api/pairs", get(pairs::pairs))
        .route("/api/candles", get(candles::candles))
        .with_state(Charts { readers, groups, pairs })
}

/// The time of this machine, unix seconds.
pub fn now() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs().cast_signed())
}

/// The present of the market: now, or the time of the newest trade where all trades are older (a day of the past was replayed). A trade
/// from the future (a clock that is ahead) does not move it.
pub fn present(now: i64, newest: Option<i64>) -> i64 {
    newest.map_or(now, |newest| newest.min(now))
}

/// An answer that is none: its status and `{"error": ...}`.
#[derive(Debug)]
pub struct Refusal(pub StatusCode, pub String);

impl Refusal {
    /// The question is wrong.
    pub fn question(error: impl ToString) -> Refusal {
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
