//! `WS /ws`: candles as they change.

use axum::extract::State;
use axum::extract::ws::{Message, WebSocket, WebSocketUpgrade};
use axum::response::{IntoResponse, Response};
use candles::api::{Bar, Chain, Refusal};
use candles::hub::live::Key;
use candles::hub::{Filter, Subscriber};
use market_data::{Candle, Interval};
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{Api, Heartbeat};

/// What a client may send at once: a wish is a line.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// What a client says.
#[derive(Debug, Deserialize)]
struct Wish {
    op: String,
    chain: Option<serde_json::Value>,
    pair: Option<String>,
    interval: Option<String>,
}

/// A candle that changed: the original's `kline:updates`, and ours behind it.
#[derive(Debug, Serialize)]
struct Update {
    r#type: &'static str,
    pair_address: String,
    chain_id: Chain,
    interval: &'static str,
    #[serde(flatten)]
    bar: Bar,
    timestamp: i64,
}

impl Update {
    fn of((pair, interval, time): &Key, candle: &Candle) -> Option<Update> {
        let prices = candle.prices()?;
        let bar = Bar::of(*time, candle, [prices.open, prices.high, prices.low, prices.close]);
        Some(Update {
            r#type: "candle",
            pair_address: pair.pair.clone(),
            chain_id: Chain::of(pair),
            interval: interval.name(),
            bar,
            timestamp: prices.close_order.block_time,
        })
    }
}

pub(super) async fn upgrade(State(api): State<Api>, socket: WebSocketUpgrade) -> Result<Response, Refusal> {
    let subscriber = api
        .hub
        .subscribers()
        .join()
        .map_err(|error| Refusal(axum::http::StatusCode::SERVICE_UNAVAILABLE, error.to_string()))?;
    // A frame is in memory whole before anybody asks how large the message is.
    let socket = socket.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    let heartbeat = api.heartbeat;
    Ok(socket.on_upgrade(move |socket| talk(socket, subscriber, heartbeat)).into_response())
}

/// Until the client leaves, says nothing (pongs count) or takes no frame for `silence_max`: what changes meanwhile waits for it in memory.
async fn talk(mut socket: WebSocket, subscriber: Subscriber, heartbeat: Heartbeat) {
    let Heartbeat { ping_every, silence_max } = heartbeat;
    let mut ping = tokio::time::interval_at(Instant::now() + ping_every, ping_every);
    let mut heard_at = Instant::now();
    loop {
        let answer = tokio::select! {
            heard = socket.recv() => {
                heard_at = Instant::now();
                match heard {
                    Some(Ok(Message::Text(text))) => Message::Text(hear(&subscriber, &text).into()),
                    // Pings are answered below us; what else may come says nothing here.
                    Some(Ok(Message::Ping(_) | Message::Pong(_) | Message::Binary(_))) => continue,
                    Some(Ok(Message::Close(_))) => return super::goodbye(socket, silence_max).await,
                    Some(Err(_)) | None => return,
                }
            }
            // Who vanished without a word would have its place for ever, where nothing changes that would be sent.
            _ = ping.tick() => {
                if heard_at.elapsed() > silence_max {
                    return;
                }
                Message::Ping("".into())
            }
            // While a frame is written, changes gather: the next one holds the newest state of each.
            changed = subscriber.next() => {
                let updates: Vec<Update> = changed.candles.iter().filter_map(|(key, candle)| Update::of(key, candle)).collect();
                Message::Text(serde_json::to_string(&updates).unwrap_or_default().into())
            }
        };
        let sent = tokio::time::timeout(silence_max, socket.send(answer));
        if !matches!(sent.await, Ok(Ok(()))) {
            return;
        }
    }
}

/// Does what a client says, and answers.
fn hear(subscriber: &Subscriber, text: &str) -> String {
    let error = |error: String| serde_json::json!({ "type": "error", "error": error }).to_string();
    let wish: Wish = match serde_json::from_str(text) {
        Ok(wish) => wish,
        Err(why) => {
            return error(format!(
                r#"not understood: {why}; send {{"op":"subscribe","chain":1,"pair":"0x…","interval":"1m"}}"#
            ));
        }
    };
    let interval: Option<Interval> = match wish.interval.as_deref().map(str::parse).transpose() {
        Ok(interval) => interval,
        Err(why) => return error(why.to_string()),
    };
    let chain_id = match &wish.chain {
        None | Some(serde_json::Value::Null) => None,
        Some(serde_json::Value::String(text)) => Some(text.clone()),
        Some(serde_json::Value::Number(number)) => Some(number.to_string()),
        Some(other) => return error(format!("`chain` is {other}: write its number")),
    };
    let filter = Filter { chain_id, pair: wish.pair.clone(), interval, any_case: false };
    let done = match wish.op.as_str() {
        "subscribe" => match subscriber.subscribe(filter) {
            Ok(()) => "subscribed",
            Err(why) => return error(why.to_string()),
        },
        "unsubscribe" if subscriber.unsubscribe(&filter) => "unsubscribed",
        "unsubscribe" => {
            return error("not subscribed to that: name the same fields as when subscribing".to_owned());
        }
        other => return error(format!("unknown `op` `{other}`: use `subscribe` or `unsubscribe`")),
    };
    let mut answer = serde_json::json!({ "type": done });
    for (name, value) in [
        ("chain", wish.chain.clone()),
        ("pair", wish.pair.clone().map(Into::into)),
        ("interval", interval.map(|i| i.name().into())),
    ] {
        if let Some(value) = value {
            answer[name] = value;
        }
    }
    answer.to_string()
}
