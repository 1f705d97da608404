//! Many listeners on real sockets, some of whom never read.

use std::time::{Duration, Instant};

use dataflow::api::Heartbeat;
use futures_util::StreamExt;
use market_data::Deltas;
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::api::{Server, Socket, hear, part, say, server, server_with};

/// A busy machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(90);
const PAIRS: usize = 20;

/// A socket whose own side takes little by itself.
async fn narrow(server: &Server, path: &str) -> Socket {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    let stream = tokio_tungstenite::MaybeTlsStream::Plain(socket.connect(server.address).await.unwrap());
    tokio_tungstenite::client_async(format!("ws://{}{path}", server.address), stream).await.unwrap().0
}

async fn connect(server: &Server, path: &str) -> Socket {
    tokio_tungstenite::connect_async(format!("ws://{}{path}", server.address)).await.unwrap().0
}

fn pair(n: usize) -> String {
    format!("0x{:02}", n % PAIRS)
}

/// Reads until the daily candle has so many trades; the counts came once each, in order.
async fn until_all(mut socket: Socket, trades: i64, binance: bool) {
    let mut newest = 0;
    while newest < trades {
        let heard = tokio::time::timeout(PATIENCE, socket.next()).await.expect("it is told in time");
        let text = heard.unwrap().unwrap();
        let Ok(told) = serde_json::from_str::<serde_json::Value>(text.to_text().unwrap()) else { continue };
        let count = if binance { &told["k"]["n"] } else { &told[0]["count"] };
        let count = count.as_i64().unwrap();
        assert!(count >= newest, "{count} after {newest}");
        newest = count;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_hear_the_newest_candle_though_others_never_read() {
    const LISTENERS: usize = 300;
    const SLOW: usize = 60;
    const TRADES: i64 = 300;
    // They are slow, not gone.
    let heartbeat = Heartbeat { ping_every: PATIENCE, silence_max: 10 * PATIENCE };
    let server = server_with(heartbeat).await;
    let mut slow = Vec::new();
    for n in 0..SLOW {
        // They follow everything, so that the most is put before them.
        slow.push(if n % 2 == 0 {
            let mut socket = narrow(&server, "/ws").await;
            say(&mut socket, json!({"op": "subscribe"})).await;
            socket
        } else {
            let names: Vec<String> = ["1m", "5m", "15m", "1h", "4h", "12h", "1d"]
                .map(|i| format!("1:{}@kline_{i}", pair(n)))
                .to_vec();
            narrow(&server, &format!("/ws/{}", names.join("/"))).await
        });
    }
    let mut readers = JoinSet::new();
    for n in 0..LISTENERS {
        if n % 2 == 0 {
            let mut socket = connect(&server, "/ws").await;
            let wish = json!({"op": "subscribe", "chain": 1, "pair": pair(n / 2), "interval": "1d"});
            assert_eq!(say(&mut socket, wish).await["type"], "subscribed");
            readers.spawn(until_all(socket, TRADES, false));
        } else {
            let socket = connect(&server, &format!("/ws/1:{}@kline_1d", pair(n / 2))).await;
            readers.spawn(until_all(socket, TRADES, true));
        }
    }
    // A minute of its own for each trade: whoever reads nothing has ever more candles before it.
    let hub = server.hub.clone();
    let trading = tokio::task::spawn_blocking(move || {
        for minute in 0..TRADES {
            let parts: Vec<Deltas> =
                (0..PAIRS).map(|n| part(&pair(n), 86_400 + minute * 60, "2.5")).collect();
            hub.parts(0, 1, Deltas::merge(parts));
            std::thread::sleep(Duration::from_millis(2));
        }
    });
    trading.await.unwrap();
    let began = Instant::now();
    while let Some(read) = tokio::time::timeout(PATIENCE, readers.join_next()).await.expect("in time") {
        read.unwrap();
    }
    assert!(began.elapsed() < PATIENCE);
    // The slow ones are there still, and begin to read: what they get ends with the newest state.
    let mut socket = slow.swap_remove(0);
    let mut counts = 0;
    while counts < TRADES {
        for candle in hear(&mut socket).await.as_array().unwrap() {
            if candle["interval"] == "1d" && candle["pair_address"] == pair(0) {
                counts = candle["count"].as_i64().unwrap();
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_takes_nothing_is_closed() {
    let heartbeat = Heartbeat { ping_every: Duration::from_secs(60), silence_max: Duration::from_secs(1) };
    let server = server_with(heartbeat).await;
    let mut socket = narrow(&server, "/ws").await;
    say(&mut socket, json!({"op": "subscribe"})).await;
    assert!(server.hub.is_listening());
    // More than what the system takes for a socket that nobody reads.
    let hub = server.hub.clone();
    let began = Instant::now();
    let mut minute = 0;
    while hub.is_listening() {
        assert!(began.elapsed() < PATIENCE, "the socket is still open");
        minute += 1;
        // Faster than a slow machine's hub takes them in: it shows what it has all the same.
        let parts = (0..1000).map(|n| part(&format!("0x{n}"), 86_400 + minute * 60, "2.5")).collect();
        let hub = hub.clone();
        tokio::task::spawn_blocking(move || hub.parts(0, 1, Deltas::merge(parts))).await.unwrap();
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_vanished_is_missed_though_nothing_changes() {
    let heartbeat = Heartbeat { ping_every: Duration::from_millis(100), silence_max: Duration::from_secs(1) };
    let server = server_with(heartbeat).await;
    // Nobody reads these sockets any more, so nobody answers a ping.
    let mut own = connect(&server, "/ws").await;
    say(&mut own, json!({"op": "subscribe"})).await;
    let _binance = connect(&server, "/ws/1:0xa@kline_1m").await;
    let began = Instant::now();
    while server.hub.is_listening() {
        assert!(began.elapsed() < PATIENCE, "a socket is still open");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_frame_that_is_too_large_is_refused_before_it_is_in_memory() {
    let server = server().await;
    for path in ["/ws", "/ws/"] {
        let mut socket = TcpStream::connect(server.address).await.unwrap();
        let upgrade = format!(
            "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        socket.write_all(upgrade.as_bytes()).await.unwrap();
        // A masked text frame that says it has 8 MiB, and its first byte.
        let head = [0x81, 0x80 | 127, 0, 0, 0, 0, 0, 0x80, 0, 0, 1, 2, 3, 4, b'x'];
        socket.write_all(&head).await.unwrap();
        let mut said = Vec::new();
        let ended = tokio::time::timeout(PATIENCE, socket.read_to_end(&mut said)).await;
        assert!(ended.is_ok(), "{path}: it waits for the rest");
        assert!(said.starts_with(b"HTTP/1.1 101"), "{:?}", String::from_utf8_lossy(&said));
    }
}
