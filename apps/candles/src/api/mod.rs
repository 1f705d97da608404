//! What interfaces to candles share: readers that are lent to questions, the words of an answer, a refusal.

pub mod input;
mod readers;
mod view;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use market_store::StoreError;
pub use readers::Readers;
pub use view::{Bar, Chain};

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
