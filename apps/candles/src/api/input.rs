//! `GET /api/input`: what became of the records of each topic, and what could not be handled.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::response::Json;
use axum::routing::get;
use kohort_service::refused::Refused;
use serde::Serialize;

use crate::counters::Counters;

/// A topic of a group, as this process reads it.
#[derive(Debug, Clone)]
pub struct Source {
    pub(crate) service: String,
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) dead_letter_topic: String,
    pub(crate) counters: Counters,
}

#[derive(Debug, Serialize)]
struct Answer {
    service: String,
    group: String,
    topic: String,
    messages: u64,
    trades: u64,
    liquidity: u64,
    no_price: u64,
    rejected: u64,
    undecodable: u64,
    dead_letters: u64,
    dead_letter_topic: String,
    last_dead_letter: Option<Refused>,
}

impl Answer {
    fn of(source: &Source) -> Answer {
        let counters = &source.counters;
        Answer {
            service: source.service.clone(),
            group: source.group.clone(),
            topic: source.topic.clone(),
            messages: counters.messages.value(),
            trades: counters.trades.value(),
            liquidity: counters.liquidity.value(),
            no_price: counters.no_price.value(),
            rejected: counters.rejected.value(),
            undecodable: counters.undecodable.value(),
            dead_letters: counters.dead_letters.value(),
            dead_letter_topic: source.dead_letter_topic.clone(),
            last_dead_letter: counters.last_refused.get(),
        }
    }
}

/// `/api/input` for the topics of all services of this process, to be merged with other routes.
pub fn router(sources: Vec<Source>) -> Router {
    let sources: Arc<[Source]> = sources.into();
    Router::new().route("/api/input", get(input)).with_state(sources)
}

async fn input(State(sources): State<Arc<[Source]>>) -> Json<Vec<Answer>> {
    Json(sources.iter().map(Answer::of).collect())
}
