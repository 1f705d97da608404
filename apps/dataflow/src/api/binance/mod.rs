//! Candles in Binance's K-line streams: `/ws/`, `/ws/<stream>`, `/stream`, `/stream?streams=a/b`.
//!
//! After Binance's WebSocket streams for spot. Not supported: streams other than `@kline_`, the nine intervals that are not kept,
//! offsets of the time zone, the end after 24 hours and `serverShutdown`. Events are not held back for two seconds: a change is told
//! at once, and what changes while a frame is written becomes one event.

mod bars;
mod session;
mod stream;

use std::collections::VecDeque;
use std::time::{Duration, SystemTime};

use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade, close_code};
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use candles::api::Refusal;
use candles::hub::Subscriber;
use serde::Deserialize;
use tokio::time::Instant;

use self::bars::{Bars, Event};
use self::session::{Change, Session};
use super::Api;

/// What a client may send at once: a request that names all the streams a connection can have.
const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// Messages, pings and pongs that a client may send in a second.
const MESSAGES_MAX: usize = 5;

/// When clients are asked whether they are there, and when they count as gone. The default is Binance's: 20 s and 60 s.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// A ping is sent each time this has passed.
    pub ping_every: Duration,
    /// A client that says no pong for so long, or takes no frame, is gone.
    pub silence_max: Duration,
}

impl Default for Heartbeat {
    fn default() -> Heartbeat {
        Heartbeat { ping_every: Duration::from_secs(20), silence_max: Duration::from_secs(60) }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Options {
    streams: Option<String>,
    time_unit: Option<String>,
}

/// `/ws/` and `/ws/<stream>`.
pub(super) async fn raw(
    State(api): State<Api>,
    streams: Option<Path<String>>,
    Query(options): Query<Options>,
    socket: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let streams = streams.map(|Path(streams)| streams).unwrap_or_default();
    upgrade(&api, &streams, options.time_unit.as_deref(), false, socket)
}

/// `/stream` and `/stream?streams=a/b`.
pub(super) async fn combined(
    State(api): State<Api>,
    Query(options): Query<Options>,
    socket: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let streams = options.streams.unwrap_or_default();
    upgrade(&api, &streams, options.time_unit.as_deref(), true, socket)
}

fn upgrade(
    api: &Api,
    streams: &str,
    time_unit: Option<&str>,
    combined: bool,
    socket: WebSocketUpgrade,
) -> Result<Response, Refusal> {
    let micros = match time_unit.map(str::to_ascii_uppercase).as_deref() {
        None | Some("MILLISECOND") => false,
        Some("MICROSECOND") => true,
        Some(_) => return Err(Refusal::question("`timeUnit` is MILLISECOND or MICROSECOND")),
    };
    let names: Vec<&str> = streams.split('/').filter(|name| !name.is_empty()).collect();
    let (session, changes) = Session::new(&names, combined).map_err(Refusal::question)?;
    let busy = |error: candles::hub::TooMany| {
        Refusal(axum::http::StatusCode::SERVICE_UNAVAILABLE, error.to_string())
    };
    let subscriber = api.hub.subscribers().join().map_err(busy)?;
    let mut talk = Talk { session, bars: Bars::default(), subscriber, micros, heartbeat: api.heartbeat };
    talk.perform(changes);
    // A frame is in memory whole before anybody asks how large the message is.
    let socket = socket.max_message_size(MESSAGE_BYTES_MAX).max_frame_size(MESSAGE_BYTES_MAX);
    Ok(socket.on_upgrade(move |socket| talk.run(socket)).into_response())
}

struct Talk {
    session: Session,
    bars: Bars,
    subscriber: Subscriber,
    micros: bool,
    heartbeat: Heartbeat,
}

fn now_micros() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

impl Talk {
    fn perform(&mut self, changes: Vec<Change>) {
        for change in changes {
            match change {
                Change::Follow(stream) => {
                    // The session's limit is not above the hub's.
                    let followed = self.subscriber.subscribe(stream.filter());
                    debug_assert!(followed.is_ok());
                }
                Change::Leave(stream) => {
                    self.subscriber.unsubscribe(&stream.filter());
                    self.bars.leave(&stream);
                }
            }
        }
    }

    async fn run(mut self, mut socket: WebSocket) {
        let (mut pace, mut pong_at) = (Pace::default(), Instant::now());
        let Heartbeat { ping_every, silence_max } = self.heartbeat;
        let mut ping = tokio::time::interval_at(Instant::now() + ping_every, ping_every);
        loop {
            let rest = self.bars.deadline().map(|at| at.saturating_sub(now_micros() / 1000));
            let closing = Duration::from_millis(rest.unwrap_or(i64::MAX >> 20).max(0).unsigned_abs());
            let messages: Vec<Message> = tokio::select! {
                heard = socket.recv() => {
                    let Some(Ok(message)) = heard else { return };
                    if !matches!(message, Message::Close(_)) && !pace.allows(Instant::now()) {
                        let reason = format!("more than {MESSAGES_MAX} messages in a second").into();
                        let close = CloseFrame { code: close_code::POLICY, reason };
                        let _ = tokio::time::timeout(silence_max, socket.send(Message::Close(Some(close)))).await;
                        return;
                    }
                    match message {
                        Message::Text(text) => {
                            let (answer, changes) = self.session.hear(&text);
                            self.perform(changes);
                            vec![Message::Text(answer.into())]
                        }
                        Message::Pong(_) => {
                            pong_at = Instant::now();
                            continue;
                        }
                        // Pings are answered below us; binary frames say nothing here.
                        Message::Ping(_) | Message::Binary(_) => continue,
                        Message::Close(_) => return super::goodbye(socket, silence_max).await,
                    }
                }
                _ = ping.tick() => {
                    if pong_at.elapsed() > silence_max {
                        return;
                    }
                    vec![Message::Ping("".into())]
                }
                () = tokio::time::sleep(closing) => {
                    let events = self.bars.due(now_micros() / 1000);
                    self.frames(&events)
                }
                changed = self.subscriber.next() => {
                    let now_ms = now_micros() / 1000;
                    if changed.skipped {
                        self.bars.forget();
                    }
                    let events: Vec<Event> =
                        changed.candles.iter().flat_map(|(key, candle)| self.bars.changed(key, *candle, now_ms)).collect();
                    self.frames(&events)
                }
            };
            for message in messages {
                if !matches!(tokio::time::timeout(silence_max, socket.send(message)).await, Ok(Ok(()))) {
                    return;
                }
            }
        }
    }

    fn frames(&self, events: &[Event]) -> Vec<Message> {
        let now = now_micros();
        let frame = |event: &Event| event.frame(self.session.combined, self.micros, now);
        events.iter().filter_map(frame).map(|text| Message::Text(text.into())).collect()
    }
}

/// When a client's last messages came.
#[derive(Debug, Default)]
struct Pace(VecDeque<Instant>);

impl Pace {
    /// Whether one more may come now.
    fn allows(&mut self, now: Instant) -> bool {
        while self.0.front().is_some_and(|at| now.duration_since(*at) >= Duration::from_secs(1)) {
            self.0.pop_front();
        }
        self.0.push_back(now);
        self.0.len() <= MESSAGES_MAX
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn five_messages_a_second_are_heard() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        for n in 0..20 {
            assert!(pace.allows(start + Duration::from_millis(200 * n)));
        }
        assert!(!pace.allows(start + Duration::from_millis(3_801)));
    }
}
