//! Binance's K-line streams over a real socket.

use std::time::{Duration, Instant};

use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::Message;

use dataflow::api::Heartbeat;

use crate::api::{Server, Socket, hear, part, say, server, server_with};

async fn connect(server: &Server, path: &str) -> Socket {
    tokio_tungstenite::connect_async(format!("ws://{}{path}", server.address)).await.unwrap().0
}

#[tokio::test]
async fn a_raw_stream_tells_each_candle_until_it_closes_once_and_late_trades_after() {
    let server = server().await;
    // The pair in any case, before anybody has seen it.
    let mut socket = connect(&server, "/ws/1:0xAB@kline_1m").await;
    let mut events: Vec<Value> = Vec::new();
    let told = |events: &[Value], open: i64| -> Vec<(i64, bool)> {
        let of = events.iter().filter(|event| event["k"]["t"] == open);
        of.map(|event| (event["k"]["n"].as_i64().unwrap(), event["k"]["x"].as_bool().unwrap())).collect()
    };
    server.hub.parts(0, 1, part("0xAb", 60, "0.000000000000123456789"));
    events.push(hear(&mut socket).await);
    let mut first = events[0].clone();
    assert!(first["E"].as_i64().unwrap() > 1_700_000_000_000);
    first["E"] = json!(0);
    assert_eq!(
        first,
        json!({"e": "kline", "E": 0, "s": "1:0XAB", "k": {"t": 60_000, "T": 119_999, "s": "1:0XAB", "i": "1m", "f": -1, "L": -1,
            "o": "0.000000000000123456789", "c": "0.000000000000123456789", "h": "0.000000000000123456789",
            "l": "0.000000000000123456789", "v": "2", "n": 1, "x": false, "q": "10", "V": "0", "Q": "0", "B": "0"}})
    );
    // The next minute closes it (or the grace has passed).
    server.hub.parts(0, 1, part("0xAb", 120, "2"));
    while told(&events, 120_000).is_empty() {
        events.push(hear(&mut socket).await);
    }
    assert_eq!(told(&events, 60_000), [(1, false), (1, true)]);
    // A late trade: once more, closed. Nothing comes after the last candle: it closes when it rests.
    server.hub.parts(0, 1, part("0xAb", 61, "3"));
    while told(&events, 60_000).len() < 3 || told(&events, 120_000).len() < 2 {
        events.push(hear(&mut socket).await);
    }
    assert_eq!(told(&events, 60_000), [(1, false), (1, true), (2, true)]);
    assert_eq!(told(&events, 120_000), [(1, false), (1, true)]);
}

#[tokio::test]
async fn streams_are_subscribed_wrapped_and_left_while_connected() {
    let server = server().await;
    let mut socket = connect(&server, "/ws/").await;
    let answer =
        say(&mut socket, json!({"method": "SUBSCRIBE", "params": ["1:0xa@kline_5m"], "id": 1})).await;
    assert_eq!(answer, json!({"result": null, "id": 1}));
    server.hub.parts(0, 1, part("0xA", 60, "1"));
    let event = hear(&mut socket).await;
    assert_eq!((&event["k"]["i"], &event["k"]["T"]), (&json!("5m"), &json!(299_999)));
    say_until(&mut socket, json!({"method": "SET_PROPERTY", "params": ["combined", true], "id": "x"})).await;
    server.hub.parts(0, 1, part("0xA", 61, "2"));
    let event = loop {
        let event = hear(&mut socket).await;
        if event["data"]["k"]["n"] == 2 {
            break event;
        }
    };
    assert_eq!(event["stream"], "1:0xa@kline_5m");
    say_until(&mut socket, json!({"method": "UNSUBSCRIBE", "params": ["1:0xa@kline_5m"], "id": "y"})).await;
    let list = say(&mut socket, json!({"method": "LIST_SUBSCRIPTIONS", "id": "z"})).await;
    assert_eq!(list, json!({"result": [], "id": "z"}));
}

/// Says something and passes over events until it is answered.
async fn say_until(socket: &mut Socket, request: Value) {
    let mut heard = say(socket, request.clone()).await;
    while heard.get("id").is_none() {
        heard = hear(socket).await;
    }
    assert_eq!(heard, json!({"result": null, "id": request["id"]}));
}

#[tokio::test]
async fn combined_streams_come_by_the_address_in_microseconds() {
    let server = server().await;
    let path = "/stream?streams=1:0xa@kline_1m/1:0xb@kline_1h&timeUnit=MICROSECOND";
    let mut socket = connect(&server, path).await;
    server.hub.parts(0, 1, part("0xB", 3600, "1"));
    let event = hear(&mut socket).await;
    assert_eq!(event["stream"], "1:0xb@kline_1h");
    assert_eq!(event["data"]["k"]["t"], 3_600_000_000_i64);
    assert_eq!(event["data"]["k"]["T"], 7_199_999_999_i64);
    assert!(event["data"]["E"].as_i64().unwrap() > 1_700_000_000_000_000);
}

#[tokio::test]
async fn what_is_no_stream_is_refused() {
    let server = server().await;
    for path in ["/ws/btcusdt@kline_1m", "/ws/1:a@kline_3m", "/stream?streams=1:a@trade", "/ws/?timeUnit=DAY"]
    {
        let refused = tokio_tungstenite::connect_async(format!("ws://{}{path}", server.address)).await;
        let Err(tokio_tungstenite::tungstenite::Error::Http(answer)) = refused else { panic!("{refused:?}") };
        assert_eq!(answer.status(), 400, "{path}");
    }
    let mut socket = connect(&server, "/stream").await;
    socket.send(Message::Text("{".into())).await.unwrap();
    assert_eq!(hear(&mut socket).await["code"], 3);
}

#[tokio::test]
async fn who_talks_too_fast_is_cut_off() {
    let server = server().await;
    let mut socket = connect(&server, "/ws/").await;
    for id in 0..40 {
        let request = json!({"method": "LIST_SUBSCRIPTIONS", "id": id}).to_string();
        if socket.send(Message::Text(request.into())).await.is_err() {
            break;
        }
    }
    let mut answers = 0;
    let ended = async {
        while let Some(Ok(message)) = socket.next().await {
            match message {
                Message::Text(_) => answers += 1,
                Message::Close(Some(close)) => assert_eq!(u16::from(close.code), 1008),
                _ => {}
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(30), ended).await.unwrap();
    assert!(answers < 40, "{answers}");
    while server.hub.is_listening() {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_pair_that_only_another_process_has_seen_is_found_in_the_store() {
    let server = server().await;
    server.store(0, part("0xAb", 60, "1"));
    server.store(1, part("0xOther", 60, "9"));
    let mut socket = connect(&server, "/ws/1:0xAB@kline_1m").await;
    let event = hear(&mut socket).await;
    assert_eq!((&event["s"], &event["k"]["c"], &event["k"]["n"]), (&json!("1:0XAB"), &json!("1"), &json!(1)));
    // And it goes on: what the other process stores is told though nothing of it was seen here.
    server.store(2, part("0xAb", 61, "2"));
    let event = loop {
        let event = hear(&mut socket).await;
        if event["k"]["n"] == 2 {
            break event;
        }
    };
    assert_eq!(event["k"]["c"], "2");
}

/// Fewer pings than the five messages a second that a client may send, and much patience: the machine may be busy.
const QUICK: Heartbeat =
    Heartbeat { ping_every: Duration::from_millis(400), silence_max: Duration::from_secs(3) };

#[tokio::test]
async fn who_answers_pings_is_kept_although_it_says_nothing_else() {
    let server = server_with(QUICK).await;
    let mut socket = connect(&server, "/ws/1:0xa@kline_1m").await;
    let began = Instant::now();
    let mut pings = 0;
    // Each ping is answered below us, as the next message is read.
    while began.elapsed() < QUICK.silence_max * 2 {
        match tokio::time::timeout(Duration::from_secs(30), socket.next()).await.unwrap() {
            Some(Ok(Message::Ping(_))) => pings += 1,
            other => panic!("{other:?}"),
        }
    }
    assert!(pings >= 2, "{pings}");
    server.hub.parts(0, 1, part("0xA", 60, "1"));
    let event = loop {
        let message = tokio::time::timeout(Duration::from_secs(30), socket.next()).await.unwrap();
        if let Message::Text(text) = message.unwrap().unwrap() {
            break serde_json::from_str::<Value>(&text).unwrap();
        }
    };
    assert_eq!(event["k"]["c"], "1");
}

#[tokio::test]
async fn who_answers_no_ping_is_gone() {
    let server = server_with(QUICK).await;
    let began = Instant::now();
    // It reads nothing, so that nothing is answered for it.
    let _socket = connect(&server, "/ws/1:0xa@kline_1m").await;
    while server.hub.is_listening() {
        assert!(began.elapsed() < Duration::from_secs(60), "it is still listened to");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(began.elapsed() >= QUICK.silence_max, "gone after {:?}", began.elapsed());
}

#[tokio::test]
async fn who_says_goodbye_is_answered() {
    let server = server().await;
    for path in ["/ws", "/ws/", "/stream?streams=1:0xa@kline_1m"] {
        let mut socket = connect(&server, path).await;
        socket.close(None).await.unwrap();
        let heard = tokio::time::timeout(Duration::from_secs(60), socket.next()).await.unwrap();
        assert!(matches!(heard, Some(Ok(Message::Close(_)))), "{path}: {heard:?}");
    }
}
