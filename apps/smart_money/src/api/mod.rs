//! The HTTP interface: `docs/http.md`, what is marked *smart-money*.

mod trades;
mod wallets;

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::{delete, get, post};
use kohort_service::refused::Refused;
use market_store::StoreError;
use market_store::wallets::WalletStore;
use serde::Serialize;

use crate::book::{KeepError, Keeper};
use crate::counters::{Counters, measured_rate};

/// The largest body of a request: ten thousand addresses with their labels.
const BODY_BYTES_MAX: usize = 4 << 20;

/// A topic of a group, as this process reads it.
#[derive(Debug, Clone)]
pub(crate) struct Topic {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) dead_letter_topic: String,
    pub(crate) counters: Counters,
}

/// What the routes need.
#[derive(Clone)]
pub(crate) struct Api {
    keeper: Keeper,
    log: Arc<Mutex<Box<dyn WalletStore>>>,
    topics: Arc<[Topic]>,
}

impl Api {
    /// The interface of a book and of a log that is read through a connection of its own.
    pub(crate) fn new(keeper: Keeper, log: Mutex<Box<dyn WalletStore>>, topics: Vec<Topic>) -> Api {
        Api { keeper, log: Arc::new(log), topics: topics.into() }
    }

    pub(crate) fn router(self) -> Router {
        Router::new()
            .route("/api/wallets", get(wallets::list).post(wallets::add))
            .route("/api/wallets/reload", post(wallets::reload))
            .route("/api/wallets/{address}", delete(wallets::remove))
            .route("/api/smart-money", get(summary))
            .route("/api/smart-money/trades", get(trades::trades))
            .route("/api/smart-money/input", get(input))
            .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
            .with_state(self)
    }

    /// Asks the log on a thread that may block.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut dyn WalletStore) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let log = Arc::clone(&self.log);
        let work = move || question(&mut **log.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(tokio::task::spawn_blocking(work).await.map_err(Refusal::ended)??)
    }

    /// Asks or changes the book on a thread that may block.
    async fn book<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Keeper) -> Result<T, KeepError> + Send + 'static,
    ) -> Result<T, Refusal> {
        let keeper = self.keeper.clone();
        Ok(tokio::task::spawn_blocking(move || work(&keeper)).await.map_err(Refusal::ended)??)
    }
}

#[derive(Debug, Serialize)]
struct Summary {
    addresses: usize,
    address_book_bytes: usize,
    false_positive_rate_stated: f64,
    false_positive_rate_measured: Option<f64>,
    trades: u64,
}

/// `GET /api/smart-money`.
async fn summary(State(api): State<Api>) -> Result<Json<Summary>, Refusal> {
    let trades = api.ask(|log| log.logged_count()).await?;
    let book = api.keeper.book();
    let snapshot = api.keeper.known()?;
    let counters: Vec<Counters> = api.topics.iter().map(|topic| topic.counters.clone()).collect();
    Ok(Json(Summary {
        addresses: snapshot.len(),
        address_book_bytes: snapshot.bytes(),
        false_positive_rate_stated: book.rate().get(),
        false_positive_rate_measured: measured_rate(&counters),
        trades,
    }))
}

#[derive(Debug, Serialize)]
struct Input {
    group: String,
    topic: String,
    messages: u64,
    trades: u64,
    matches: u64,
    logged: u64,
    repeated: u64,
    no_maker: u64,
    liquidity: u64,
    other_chain: u64,
    rejected: u64,
    undecodable: u64,
    dead_letters: u64,
    dead_letter_topic: String,
    last_dead_letter: Option<Refused>,
}

/// `GET /api/smart-money/input`: what became of the records of each topic, and what could not be handled.
async fn input(State(api): State<Api>) -> Json<Vec<Input>> {
    let of = |topic: &Topic| {
        let counters = &topic.counters;
        Input {
            group: topic.group.clone(),
            topic: topic.topic.clone(),
            messages: counters.messages.value(),
            trades: counters.trades.value(),
            matches: counters.matches.value(),
            logged: counters.logged.value(),
            repeated: counters.repeated.value(),
            no_maker: counters.no_maker.value(),
            liquidity: counters.liquidity.value(),
            other_chain: counters.other_chain.value(),
            rejected: counters.rejected.value(),
            undecodable: counters.undecodable.value(),
            dead_letters: counters.dead_letters.value(),
            dead_letter_topic: topic.dead_letter_topic.clone(),
            last_dead_letter: counters.last_refused.get(),
        }
    };
    Json(api.topics.iter().map(of).collect())
}

/// An answer that is none: its status and `{"error": ...}`.
#[derive(Debug)]
pub(crate) struct Refusal(StatusCode, String);

impl Refusal {
    /// The question is wrong.
    fn question(error: impl ToString) -> Refusal {
        Refusal(StatusCode::BAD_REQUEST, error.to_string())
    }

    /// There is no such thing.
    fn nothing(what: impl ToString) -> Refusal {
        Refusal(StatusCode::NOT_FOUND, what.to_string())
    }

    fn ended(error: tokio::task::JoinError) -> Refusal {
        Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("the question was not answered: {error}"))
    }
}

impl From<StoreError> for Refusal {
    fn from(error: StoreError) -> Refusal {
        tracing::warn!(error = &error as &dyn std::error::Error, "a question could not be answered");
        Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("{error}; ask again in a moment"))
    }
}

impl From<KeepError> for Refusal {
    fn from(error: KeepError) -> Refusal {
        match error {
            KeepError::Store(error) => error.into(),
            KeepError::NotYet => Refusal(StatusCode::SERVICE_UNAVAILABLE, error.to_string()),
            KeepError::Unreadable(..) => {
                let cause = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
                Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("{error}: {cause}; all are known as before"))
            }
            KeepError::Line(_) | KeepError::TooMany(_) => {
                Refusal(StatusCode::BAD_REQUEST, format!("{error}; all are known as before"))
            }
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        (self.0, Json(serde_json::json!({ "error": self.1 }))).into_response()
    }
}
