//! `GET /api/input`: what became of the records of each topic, and what could not be handled.

use axum::extract::State;
use axum::response::Json;
use serde::Serialize;

use super::Api;
use crate::counters::{Counters, Refused};

/// A topic of a group, as this process reads it.
#[derive(Debug, Clone)]
pub(crate) struct Source {
    pub(crate) group: String,
    pub(crate) topic: String,
    pub(crate) dead_letter_topic: String,
    pub(crate) counters: Counters,
}

#[derive(Debug, Serialize)]
pub(super) struct Answer {
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
            last_dead_letter: counters.last_refused(),
        }
    }
}

pub(super) async fn input(State(api): State<Api>) -> Json<Vec<Answer>> {
    Json(api.sources.iter().map(Answer::of).collect())
}
