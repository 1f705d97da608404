//! `/history`: the bars of a chart, in columns.

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::header;
use axum::response::{IntoResponse, Json, Response};
use market_store::{Bar, ChartQuery, Take, chart};
use serde::Deserialize;
use serde_json::json;

use super::symbols::resolve;
use super::{RESOLUTIONS, Refusal, grid};
use crate::api::Api;
use crate::api::binance::AHEAD_MAX;

/// Bars of one answer: the newest of those that are asked for.
const BARS_MAX: usize = 5000;

#[derive(Debug, Deserialize)]
pub(super) struct Question {
    symbol: String,
    resolution: String,
    from: Option<i64>,
    to: Option<i64>,
    countback: Option<usize>,
    #[serde(default)]
    fill: bool,
}

pub(super) async fn history(
    State(api): State<Api>,
    question: Result<Query<Question>, QueryRejection>,
) -> Result<Response, Refusal> {
    let Query(question) = question.map_err(|error| {
        let form = "?symbol=1:0x…&resolution=60&from=TIME&to=TIME[&countback=N][&fill=true]";
        Refusal(format!("{}; ask for {form}", error.body_text()))
    })?;
    let Some(grid) = grid(&question.resolution) else {
        let known = RESOLUTIONS.join(", ");
        return Err(Refusal(format!("unknown resolution `{}`: use one of {known}", question.resolution)));
    };
    let latest = candles::api::now() + AHEAD_MAX;
    let before = question.to.map_or(latest, |to| to.min(latest));
    // A number of bars counts more than where they begin.
    let from = if question.countback.is_some() { None } else { question.from };
    if from.zip(question.to).is_some_and(|(from, to)| from > to) {
        return Err(Refusal("`from` is after `to`".into()));
    }
    let limit = question.countback.unwrap_or(BARS_MAX).clamp(1, BARS_MAX);
    let pair = resolve(&api, &question.symbol).await?;
    let fill = if question.fill { Some(api.present().await?) } else { None };
    let read = api.ask(move |reader, groups| {
        let (pair, take) = (&pair, Take::Latest);
        let query = ChartQuery { groups, pair, grid, from, before, limit, take, fill };
        let bars = chart(reader, &query)?;
        let earlier = match from {
            Some(from) if bars.is_empty() => {
                let before = from.min(before);
                chart(reader, &ChartQuery { from: None, before, limit: 1, ..query })?.pop()
            }
            _ => None,
        };
        Ok((bars, earlier))
    });
    let (bars, earlier) = read.await?;
    if bars.is_empty() {
        let none = match earlier {
            Some(bar) => json!({ "s": "no_data", "nextTime": bar.start }),
            None => json!({ "s": "no_data" }),
        };
        return Ok(Json(none).into_response());
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], told(&bars)).into_response())
}

/// The bars in columns: numbers as plain decimals with all digits, for a float would be written with an exponent below 1e-5.
fn told(bars: &[Bar]) -> String {
    let mut out = String::with_capacity(64 + bars.len() * 128);
    let mut column = |name: &str, write: &dyn Fn(&Bar, &mut String)| {
        out.push_str(&format!(",\"{name}\":["));
        for (at, bar) in bars.iter().enumerate() {
            if at > 0 {
                out.push(',');
            }
            write(bar, &mut out);
        }
        out.push(']');
    };
    column("t", &|bar, out| out.push_str(&bar.start.to_string()));
    for (at, name) in ["o", "h", "l", "c"].into_iter().enumerate() {
        column(name, &|bar, out| bar.prices()[at].write_to(out));
    }
    column("v", &|bar, out| bar.candle.volume_usd.write_to(out));
    format!("{{\"s\":\"ok\"{out}}}")
}
