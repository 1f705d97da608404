//! Ends: at any moment, with anybody connected, within three seconds, and the next start goes on from there.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::process::{Server, said, send_signal, text};

const LIMIT: Duration = Duration::from_secs(3);

/// A listener of candles that never goes away by itself.
fn web_socket(address: &str) -> TcpStream {
    let mut stream = TcpStream::connect(address).expect("connect");
    write!(
        stream,
        "GET /ws HTTP/1.1\r\nHost: {address}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n\
         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    )
    .expect("ask");
    let mut head = [0; 12];
    stream.read_exact(&mut head).expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 101");
    stream
}

#[test]
fn up_ends_in_time_whoever_is_connected() {
    let folder = tempfile::tempdir().expect("a folder");
    for signal in ["-INT", "-TERM"] {
        let up = Server::up(folder.path(), &[]);
        let socket = web_socket(&up.http);
        let idle = TcpStream::connect(&up.broker).expect("connect");
        // A consumer of somebody else's, with a fetch that waits at the broker.
        let mut consumer = Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(["consume", "sol-trades", "--group", "others", "--bootstrap-server", &up.broker])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start a consumer");
        up.until("/api/groups", |groups| {
            let mut groups = groups.as_array().into_iter().flatten();
            groups.any(|group| group["group"] == "others" && group["state"] == "Stable")
        });
        let (code, took) = up.end(signal);
        assert_eq!(code, Some(0), "{signal}");
        assert!(took < LIMIT, "{signal}: {took:?}");
        drop((socket, idle));
        send_signal(consumer.id(), "-KILL");
        consumer.wait().expect("wait");
    }
}

#[test]
fn up_ends_in_time_while_it_starts() {
    let folder = tempfile::tempdir().expect("a folder");
    for wait_ms in [0, 40, 120, 300] {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(["up", "--broker", "127.0.0.1:0", "--http", "127.0.0.1:0", "--data", text(folder.path())])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        // A signal before `main` listens for it ends the process as the shell would: wait for the handler.
        let began = Instant::now();
        while !listens_for_signals(child.id()) {
            assert!(began.elapsed() < Duration::from_secs(30), "no handler");
            std::thread::sleep(Duration::from_millis(2));
        }
        std::thread::sleep(Duration::from_millis(wait_ms));
        let asked = Instant::now();
        send_signal(child.id(), "-TERM");
        assert_eq!(child.wait().expect("wait").code(), Some(0), "after {wait_ms} ms");
        assert!(asked.elapsed() < LIMIT, "after {wait_ms} ms: {:?}", asked.elapsed());
    }
}

/// A service whose database is away (1), or takes connections and says nothing (2): the end comes at once all the same.
#[test]
fn services_end_in_time_while_they_wait_for_a_database() {
    let folder = tempfile::tempdir().expect("a folder");
    let silent = TcpListener::bind("127.0.0.1:0").expect("listen");
    let silent = silent.local_addr().map(|at| (silent, at)).expect("an address");
    for name in ["smart-money", "dataflow"] {
        let file = folder.path().join(format!("{name}.yaml"));
        let write = |at: &str| {
            let text = format!(
                "Brokers: [127.0.0.1:1]\nMysql:\n  DataSource: u:p@tcp({at})/d\nKq:\n  Group: g\n  Topic: t\n"
            );
            std::fs::write(&file, text).expect("write the file");
        };
        let args = ["-f", text(&file), "--data", text(folder.path()), "--http", "127.0.0.1:0"];
        write("127.0.0.1:1");
        let service = Server::service(name, &args);
        assert_eq!(service.get("/healthz").1, "ok", "{name} serves while it waits");
        let (code, took) = service.end("-INT");
        assert_eq!(code, Some(0), "{name}");
        assert!(took < LIMIT, "{name}: {took:?}");

        write(&silent.1.to_string());
        let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
            .arg(name)
            .args(args)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("start");
        // Until it is asked, nobody waits for it.
        let asked = silent.0.accept().expect("it connects");
        let began = Instant::now();
        send_signal(child.id(), "-INT");
        assert_eq!(child.wait().expect("wait").code(), Some(0), "{name}");
        assert!(began.elapsed() < LIMIT, "{name}: {:?}", began.elapsed());
        drop(asked);
    }
}

/// Whether the process catches SIGTERM, as Linux tells it.
fn listens_for_signals(pid: u32) -> bool {
    const SIGTERM: u64 = 1 << 14;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_some_and(|mask| mask & SIGTERM != 0)
}

/// Trades of one pair, one a block: (price, block) with a dollar of volume each.
fn trades(folder: &Path, name: &str, blocks: std::ops::Range<u32>) -> std::path::PathBuf {
    let line = |block: u32| {
        format!(
            r#"{{"chain_id":"1","pair_addr":"mine","type":"buy","token_amount":1,"total_usd":1,"token_price_usd":{block},"block_num":{block},"block_time":{}}}"#,
            1_704_412_800 + block
        )
    };
    let path = folder.join(name);
    std::fs::write(&path, blocks.map(line).collect::<Vec<_>>().join("\n")).expect("write trades");
    path
}

#[test]
fn a_second_start_goes_on_where_the_first_ended_with_every_trade_once() {
    let folder = tempfile::tempdir().expect("a folder");
    let candle = "/api/candles?chain=1&pair=mine&interval=1d";
    let mut sent = 0;
    for (round, signal) in ["-TERM", "-KILL", "-INT", "-KILL", "-INT"].into_iter().enumerate() {
        let up = Server::up(folder.path(), &["--no-feed"]);
        let began = Instant::now();
        let file = trades(folder.path(), &format!("{round}.jsonl"), sent + 1..sent + 1001);
        let replay = ["replay", text(&file), "--topic", "eth-trades", "--bootstrap-server", &up.broker];
        // Ended in the middle of its work, each time elsewhere: what is acknowledged is in the topic.
        said(&replay, "");
        sent += 1000;
        if round % 2 == 0 {
            let count = u64::from(sent);
            up.until(candle, |candles| candles[0]["count"].as_u64() >= Some(count - 500));
            assert!(began.elapsed() < Duration::from_secs(30), "round {round}: {:?}", began.elapsed());
        }
        let (code, took) = up.end(signal);
        if signal != "-KILL" {
            assert_eq!(code, Some(0), "round {round}");
            assert!(took < LIMIT, "round {round}: {took:?}");
        }
    }
    let up = Server::up(folder.path(), &["--no-feed"]);
    let candles = up.until(candle, |candles| candles[0]["count"].as_u64() >= Some(sent.into()));
    let one = &candles[0];
    assert_eq!(one["count"], Value::from(sent), "no trade twice");
    assert_eq!(one["volume"], Value::from(f64::from(sent)));
    assert_eq!((&one["open"], &one["close"]), (&Value::from(1.0), &Value::from(f64::from(sent))));
    assert_eq!(up.end("-INT").0, Some(0));
}
