//! The HTTP and WebSocket interface over a real socket.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use candles::api::Readers;
use candles::hub::Hub;
use dataflow::api::{Api, Heartbeat};
use futures_util::{SinkExt, StreamExt};
use market_data::{Aggregator, Candle, Deltas, Place};
use market_store::{Advance, CandleStore, Flush, MemoryStore, Positions, TopicPartition};
use serde_json::{Value, json};
use test_world::Http;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

pub(crate) struct Server {
    pub(crate) address: SocketAddr,
    http: Http,
    pub(crate) hub: Hub,
    store: MemoryStore,
}

pub(crate) async fn server() -> Server {
    server_with(Heartbeat::default()).await
}

pub(crate) async fn server_with(heartbeat: Heartbeat) -> Server {
    let store = MemoryStore::new();
    let groups = vec!["g".to_owned()];
    let hub = Hub::start(store.reader().unwrap(), groups.clone()).unwrap();
    let read = store.clone();
    let api = Api::new(Arc::new(Readers::new(move || read.reader())), hub.clone(), groups);
    let router = api.with_heartbeat(heartbeat).router();
    let http = Http::serve(router).await;
    Server { address: http.0, http, hub, store }
}

/// One-minute parts of a trade.
pub(crate) fn part(pair: &str, time: i64, price: &str) -> Deltas {
    let mut aggregator = Aggregator::new();
    let value = format!(
        r#"[{{"chain_id":"1","pair_addr":"{pair}","type":"buy","total_usd":10,"token_amount":2,"token_price_usd":{price},
        "block_time":{time},"pair_info":{{"token_symbol":"WETH"}}}}]"#
    );
    aggregator.add_message(Place { partition: 0, offset: time }, value.as_bytes()).unwrap();
    aggregator.take_deltas()
}

impl Server {
    /// Stores a trade, and tells the hub.
    fn flush(&self, number: u64, deltas: Deltas) {
        let (deltas, stored) = self.store(number, deltas);
        self.hub.flushed(0, number, Arc::new(deltas), stored);
    }

    /// Stores a trade as another process would: the hub hears nothing of it.
    pub(crate) fn store(&self, number: u64, mut deltas: Deltas) -> (Deltas, Vec<Candle>) {
        deltas.roll_up();
        let mut store = self.store.clone();
        let partition = TopicPartition::new("t", number as i32);
        let claim = store.claim("g", std::slice::from_ref(&partition)).unwrap().remove(0);
        let advances = [Advance { partition, epoch: claim.epoch, from: claim.position, to: 1 }];
        let flush = Flush { group: "g", advances: &advances, deltas: &deltas, now: 0 };
        let flushed = store.flush(&flush).unwrap();
        (deltas, flushed.candles)
    }
}

pub(crate) type Socket = tokio_tungstenite::WebSocketStream<tokio_tungstenite::MaybeTlsStream<TcpStream>>;

pub(crate) async fn say(socket: &mut Socket, wish: Value) -> Value {
    socket.send(Message::Text(wish.to_string().into())).await.unwrap();
    hear(socket).await
}

pub(crate) async fn hear(socket: &mut Socket) -> Value {
    let message =
        tokio::time::timeout(Duration::from_secs(10), socket.next()).await.unwrap().unwrap().unwrap();
    serde_json::from_str(message.to_text().unwrap()).unwrap()
}

#[tokio::test]
async fn candles_and_pairs_are_told_from_the_store() {
    let server = server().await;
    server.flush(0, part("0xA", 86_400, "2.5"));
    server.flush(1, part("0xA", 86_470, "5"));
    let (status, candles) = server.http.get("/api/candles?chain=1&pair=0xA&interval=5m").await;
    assert_eq!(status, 200);
    assert_eq!(
        candles,
        json!([{"candle_time": 86_400, "open": 2.5, "high": 5.0, "low": 2.5, "close": 5.0, "volume": 20.0, "token_volume": 4.0,
            "count": 2, "buy_count": 2, "sell_count": 0, "open_at": 86_400, "close_at": 86_470}])
    );
    let (_, one) = server.http.get("/api/candles?chain=1&pair=0xA&interval=1m&limit=1&before=86460").await;
    assert_eq!((one.as_array().unwrap().len(), one[0]["candle_time"].as_i64()), (1, Some(86_400)));
    let (_, pairs) = server.http.get("/api/pairs").await;
    assert_eq!(
        pairs,
        json!([{"chain_id": 1, "pair_address": "0xA", "token_symbol": "WETH", "price": 5.0, "change_24h": 1.0, "high_24h": 5.0,
            "low_24h": 2.5, "volume_24h": 20.0, "count_24h": 2, "last_trade_at": 86_470, "sparkline": [5.0]}])
    );
}

#[tokio::test]
async fn a_wrong_question_is_refused_with_the_mend() {
    let server = server().await;
    for (path, mend) in [
        ("/api/candles", "interval=1m"),
        ("/api/candles?chain=1&pair=a&interval=2m", "15m"),
        ("/api/candles?chain=1&pair=a&interval=1m&limit=9999", "5000"),
    ] {
        let (status, body) = server.http.get(path).await;
        assert_eq!(status, 400);
        assert!(body["error"].as_str().unwrap().contains(mend), "{body}");
    }
    assert_eq!(server.http.get("/api/candles?chain=1&pair=nobody&interval=1m").await, (200, json!([])));
}

#[tokio::test]
async fn a_listener_sees_parts_at_once_and_the_whole_after_a_flush() {
    let server = server().await;
    server.flush(0, part("0xA", 60, "1"));
    let (mut socket, _) =
        tokio_tungstenite::connect_async(format!("ws://{}/ws", server.address)).await.unwrap();
    let wish = json!({"op": "subscribe", "chain": 1, "pair": "0xA", "interval": "1m"});
    let answer = say(&mut socket, wish).await;
    assert_eq!(answer, json!({"type": "subscribed", "chain": 1, "pair": "0xA", "interval": "1m"}));
    assert!(server.hub.is_listening());
    // Not stored yet: shown on top of what is.
    server.hub.parts(0, 1, part("0xA", 61, "3"));
    server.hub.parts(0, 1, part("0xB", 61, "7"));
    let update = loop {
        let news = hear(&mut socket).await;
        assert!(
            news.as_array().unwrap().iter().all(|u| u["pair_address"] == "0xA" && u["interval"] == "1m"),
            "{news}"
        );
        if news[0]["count"] == 2 {
            break news[0].clone();
        }
    };
    assert_eq!(
        update,
        json!({"type": "candle", "pair_address": "0xA", "chain_id": 1, "interval": "1m", "candle_time": 60, "open": 1.0,
            "high": 3.0, "low": 1.0, "close": 3.0, "volume": 20.0, "timestamp": 61, "token_volume": 4.0, "count": 2,
            "buy_count": 2, "sell_count": 0})
    );
    // Another member's trade was stored meanwhile; the flush brings it along.
    let mut elsewhere = part("0xA", 70, "9");
    elsewhere.roll_up();
    let mut store = server.store.clone();
    store.flush(&Flush { group: "g", advances: &[], deltas: &elsewhere, now: 0 }).unwrap();
    server.flush(1, part("0xA", 61, "3"));
    while hear(&mut socket).await[0]["count"] != 3 {}
    let refused = say(&mut socket, json!({"op": "dance"})).await;
    assert_eq!(refused["type"], "error");
    drop(socket);
    while server.hub.is_listening() {
        tokio::task::yield_now().await;
    }
}
