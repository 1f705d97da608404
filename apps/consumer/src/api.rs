//! `GET /api/flow`, `GET` and `POST /api/behave`: `docs/http.md`, what is marked *consumer*.

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::extract::rejection::JsonRejection;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde::Serialize;
use tokio::sync::watch;

use crate::behaviour::{Behaviour, Order, Told};
use crate::report::Report;
use crate::watch::Block;

#[derive(Clone)]
struct Api {
    blocks: Arc<[Arc<Block>]>,
    reports: watch::Receiver<Arc<Report>>,
}

pub(crate) fn router(blocks: Arc<[Arc<Block>]>, reports: watch::Receiver<Arc<Report>>) -> Router {
    Router::new()
        .route("/api/flow", get(flow))
        .route("/api/behave", get(told).post(tell))
        .with_state(Api { blocks, reports })
}

async fn flow(State(api): State<Api>) -> Response {
    let report = Arc::clone(&api.reports.borrow());
    Json(&*report).into_response()
}

/// A member and what it is told.
#[derive(Debug, Serialize)]
struct Answer {
    block: String,
    topic: String,
    member: usize,
    behaviour: Behaviour,
}

async fn told(State(api): State<Api>) -> Json<Vec<Answer>> {
    let of_block = |block: &Arc<Block>| {
        let answer = |(number, member): (usize, &Arc<crate::handler::Member>)| Answer {
            block: block.name.clone(),
            topic: block.topic.clone(),
            member: number,
            behaviour: member.behaviour(),
        };
        block.members.iter().enumerate().map(answer).collect::<Vec<_>>()
    };
    Json(api.blocks.iter().flat_map(of_block).collect())
}

/// Replaces the behaviour of the members that are meant; what the order leaves out is as if never told.
async fn tell(State(api): State<Api>, order: Result<Json<Order>, JsonRejection>) -> Response {
    let order = match order {
        Ok(Json(order)) => Told::try_from(order),
        Err(rejection) => Err(rejection.body_text()),
    };
    let told_to = match order {
        Ok(told) => told,
        Err(why) => return refusal(StatusCode::BAD_REQUEST, &why),
    };
    let mut heard = false;
    for block in api.blocks.iter() {
        for (number, member) in block.members.iter().enumerate() {
            if told_to.concerns(&block.topic, number) {
                heard = true;
                member.tell(told_to.behaviour);
            }
        }
    }
    if !heard {
        let why = "no member is meant: name a `topic` that is read here, and a `member` from 0; `GET /api/behave` lists them";
        return refusal(StatusCode::NOT_FOUND, why);
    }
    tracing::info!("told: {told_to:?}");
    told(State(api)).await.into_response()
}

fn refusal(status: StatusCode, why: &str) -> Response {
    #[derive(Serialize)]
    struct Body<'a> {
        error: &'a str,
    }
    (status, Json(Body { error: why })).into_response()
}
