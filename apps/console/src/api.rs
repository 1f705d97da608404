//! The JSON questions and their errors.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::{StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use kohort_client::admin::AdminError;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::events::{EVENTS_MAX, Event};
use crate::{Console, groups};

const EVENTS: usize = 100;

/// An answer that is no success: what, and the mend.
pub(crate) struct Failure(StatusCode, String);

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, Json(json!({"error": self.1}))).into_response()
    }
}

impl From<AdminError> for Failure {
    fn from(error: AdminError) -> Failure {
        Failure(
            StatusCode::SERVICE_UNAVAILABLE,
            format!("the broker does not answer as it should: {error}; ask again"),
        )
    }
}

pub(crate) async fn groups(
    State(console): State<Console>,
) -> Result<Json<Vec<groups::ListedGroup>>, Failure> {
    Ok(Json(console.groups.list().await?))
}

pub(crate) async fn group(
    State(console): State<Console>,
    Path(name): Path<String>,
) -> Result<Json<Value>, Failure> {
    let group = console.groups.describe(&name).await?;
    if group.state == "Dead" {
        return Err(Failure(
            StatusCode::NOT_FOUND,
            format!("there is no group `{name}`; `/api/groups` lists them"),
        ));
    }
    let mut answer = serde_json::to_value(group)
        .map_err(|error| Failure(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()))?;
    let (generation, leader) = console.events.map(|events| events.now(&name)).unwrap_or_default();
    answer["generation"] = json!(generation);
    answer["leader"] = json!(leader);
    Ok(Json(answer))
}

#[derive(Debug, Deserialize)]
pub(crate) struct EventsQuery {
    group: Option<String>,
    limit: Option<usize>,
}

pub(crate) async fn events(
    State(console): State<Console>,
    query: Result<Query<EventsQuery>, QueryRejection>,
) -> Result<Json<Vec<Event>>, Failure> {
    let Query(query) = query.map_err(|error| {
        Failure(
            StatusCode::BAD_REQUEST,
            format!("{}; ask for /api/events?group=G&limit=100", error.body_text()),
        )
    })?;
    let limit = query.limit.unwrap_or(EVENTS).min(EVENTS_MAX);
    let events = console.events.map(|events| events.newest(query.group.as_deref(), limit));
    Ok(Json(events.unwrap_or_default()))
}

/// A question that nobody answers is told so as every other mistake is, not as a missing page.
pub(crate) async fn unknown(uri: Uri) -> Failure {
    Failure(StatusCode::NOT_FOUND, format!("there is no `{}`; docs/http.md lists what there is", uri.path()))
}

pub(crate) async fn metrics(State(console): State<Console>) -> Response {
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], console.metrics.render())
        .into_response()
}
