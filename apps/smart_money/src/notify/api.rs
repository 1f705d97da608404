//! `GET /api/notifications`: the channels, what waits and what was refused. `POST /api/notifications/requeue?channel=NAME`: sends what
//! was refused once more, after its reason is mended.

use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use market_store::StoreError;
use market_store::wallets::{ChannelSummary, Outbox};
use serde::{Deserialize, Serialize};

use super::config::Channel;
use super::dispatcher::{SharedOutbox, Wake};

#[derive(Clone)]
struct Shown {
    channels: Arc<Vec<(String, &'static str)>>,
    outbox: SharedOutbox,
    wake: Wake,
}

/// The routes. `outbox` is their own connection.
pub fn router(channels: &[Channel], outbox: Box<dyn Outbox>, wake: Wake) -> Router {
    let channels = channels.iter().map(|channel| (channel.name.clone(), channel.kind())).collect();
    let shown = Shown { channels: Arc::new(channels), outbox: Arc::new(Mutex::new(outbox)), wake };
    Router::new()
        .route("/api/notifications", get(list))
        .route("/api/notifications/requeue", post(requeue))
        .with_state(shown)
}

#[derive(Serialize)]
struct Listed {
    channel: String,
    /// Missing where the configuration has no such channel any more.
    #[serde(skip_serializing_if = "Option::is_none")]
    kind: Option<&'static str>,
    pending: u64,
    sent: u64,
    failed: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    oldest_pending_at: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last_failure: Option<String>,
}

async fn list(State(shown): State<Shown>) -> Response {
    let channels = Arc::clone(&shown.channels);
    let found = blocking(shown.outbox, |outbox| outbox.outbox()).await;
    let mut found = match found {
        Ok(found) => found,
        Err(refusal) => return refusal,
    };
    for (name, _) in channels.iter() {
        if !found.iter().any(|one| one.channel == *name) {
            found.push(ChannelSummary { channel: name.clone(), ..ChannelSummary::default() });
        }
    }
    let kind = |name: &str| channels.iter().find(|(channel, _)| channel == name).map(|(_, kind)| *kind);
    let listed = |one: ChannelSummary| Listed {
        kind: kind(&one.channel),
        channel: one.channel,
        pending: one.pending,
        sent: one.sent,
        failed: one.failed,
        oldest_pending_at: one.oldest_pending_at,
        last_error: one.last_error,
        last_failure: one.last_failure,
    };
    let mut listed: Vec<Listed> = found.into_iter().map(listed).collect();
    listed.sort_by(|a, b| a.channel.cmp(&b.channel));
    Json(listed).into_response()
}

#[derive(Deserialize)]
struct Asked {
    channel: String,
}

#[derive(Serialize)]
struct Requeued {
    requeued: usize,
}

async fn requeue(State(shown): State<Shown>, asked: Result<Query<Asked>, QueryRejection>) -> Response {
    let asked = match asked {
        Ok(Query(asked)) => asked,
        Err(error) => return refused(StatusCode::BAD_REQUEST, error.body_text()),
    };
    match blocking(shown.outbox, move |outbox| outbox.requeue(&asked.channel)).await {
        Ok(requeued) => {
            shown.wake.wake();
            Json(Requeued { requeued }).into_response()
        }
        Err(refusal) => refusal,
    }
}

async fn blocking<T: Send + 'static>(
    outbox: SharedOutbox,
    work: impl FnOnce(&mut dyn Outbox) -> Result<T, StoreError> + Send + 'static,
) -> Result<T, Response> {
    let done = tokio::task::spawn_blocking(move || {
        work(&mut **outbox.lock().unwrap_or_else(PoisonError::into_inner))
    });
    match done.await {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(refused(StatusCode::SERVICE_UNAVAILABLE, error.to_string())),
        // Our own mistake, or the runtime is ending.
        Err(error) => {
            Err(refused(StatusCode::SERVICE_UNAVAILABLE, format!("the outbox's thread ended: {error}")))
        }
    }
}

fn refused(status: StatusCode, error: String) -> Response {
    (status, Json(serde_json::json!({ "error": error }))).into_response()
}
