//! `kohort up` from outside: the road to the API, a kill, a second start.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

const PATIENCE: Duration = Duration::from_secs(60);

struct Up {
    child: Child,
    http: String,
    broker: String,
}

impl Up {
    fn start(data: &Path, more: &[&str]) -> Up {
        let data = data.to_str().expect("a path of letters");
        let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(["up", "--data", data, "--broker", "127.0.0.1:0", "--http", "127.0.0.1:0"])
            .args(more)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start kohort up");
        let mut lines = BufReader::new(child.stdout.as_mut().expect("piped"));
        let mut after = |words: &str| {
            let mut line = String::new();
            lines.read_line(&mut line).expect("read a line");
            line.trim_end()
                .strip_prefix(words)
                .unwrap_or_else(|| panic!("`{line}` is not `{words}`"))
                .to_owned()
        };
        let broker = after("broker listening on ");
        let http = after("http listening on http://");
        Up { child, http, broker }
    }

    /// Asks the API; an answer that is no success is null.
    fn ask(&self, path: &str) -> Value {
        let mut stream = TcpStream::connect(&self.http).expect("connect");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http).expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        if !head.starts_with("HTTP/1.0 200") {
            return Value::Null;
        }
        serde_json::from_str(body).expect("JSON")
    }

    /// Asks until the answer is as wanted.
    fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.ask(path);
            if wanted(&answer) {
                return answer;
            }
            assert!(began.elapsed() < PATIENCE, "`{path}` still answers {answer}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(mut self, signal: &str) -> Option<i32> {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("run kill").success());
        self.child.wait().expect("wait").code()
    }
}

impl Drop for Up {
    fn drop(&mut self) {
        // A test that failed leaves no server behind; one that ended already is no matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

const GROUP: &str = "/api/groups/data-flow-default-group10";

/// The committed offsets of the group, of all partitions together.
fn committed(group: &Value) -> i64 {
    group["partitions"]
        .as_array()
        .map_or(0, |all| all.iter().filter_map(|one| one["committed"].as_i64()).sum())
}

#[test]
fn the_feed_becomes_candles_and_a_second_start_goes_on_where_the_first_was_killed() {
    let folder = tempfile::tempdir().expect("a folder");
    let up = Up::start(folder.path(), &[]);
    up.until("/api/pairs", |pairs| pairs.as_array().is_some_and(|pairs| pairs.len() >= 40));
    let candles = "/api/candles?chain=1&pair=0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640&interval=1m";
    up.until(candles, |candles| candles.as_array().is_some_and(|candles| candles.len() >= 100));
    let before = up.until(GROUP, |group| group["state"] == "Stable" && committed(group) > 4000);
    assert!(before["members"].as_array().is_some_and(|members| members.len() == 2));
    assert!(up.ask("/api/events")[0]["text"].is_string());
    assert_eq!(up.signal("-KILL"), None);

    let up = Up::start(folder.path(), &["--no-feed"]);
    let after = up.until(GROUP, |group| group["state"] == "Stable");
    assert!(committed(&after) >= committed(&before), "{before} {after}");
    // Everything that was sent is read, without anybody waiting for the members that were killed.
    up.until(GROUP, |group| {
        group["partitions"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["lag"] == 0 || one["end"] == 0))
    });
    assert_eq!(up.signal("-INT"), Some(0));
}

#[test]
fn other_trades_are_sent_by_replay_and_seen_through_the_tools() {
    let folder = tempfile::tempdir().expect("a folder");
    let up = Up::start(folder.path(), &["--no-feed"]);
    let trades = folder.path().join("mine.jsonl");
    let line = r#"{"chain_id":"1","pair_addr":"mine","type":"buy","token_amount":2,"total_usd":3.0,"token_price_usd":1.5,"block_num":7,"block_time":1704412823}"#;
    std::fs::write(&trades, format!("{line}\n{line}\n")).expect("write trades");
    let kohort = |args: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(args)
            .args(["--bootstrap-server", &up.broker])
            .output()
            .expect("run kohort");
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    };
    let said = kohort(&["replay", trades.to_str().expect("a path of letters"), "--topic", "eth-trades"]);
    assert_eq!(said, "1 messages, 2 trades sent to `eth-trades`\n");
    let candles = up.until("/api/candles?chain=1&pair=mine&interval=1h", |candles| candles[0]["count"] == 2);
    assert_eq!((&candles[0]["close"], &candles[0]["volume"]), (&Value::from(1.5), &Value::from(6.0)));
    let topics: Value = serde_json::from_str(&kohort(&["topics", "list", "--json"])).expect("JSON");
    assert!(
        topics.as_array().is_some_and(|topics| topics.iter().any(|topic| topic["topic"] == "eth-trades"))
    );
    up.until(GROUP, |group| {
        group["partitions"].as_array().is_some_and(|all| all.iter().any(|one| one["committed"] == 1))
    });
    let group: Value =
        serde_json::from_str(&kohort(&["groups", "describe", "data-flow-default-group10", "--json"]))
            .expect("JSON");
    assert_eq!(group["state"], "Stable");
    assert_eq!(group["members"].as_array().map(Vec::len), Some(2));
    let table = kohort(&["groups", "describe", "data-flow-default-group10"]);
    assert!(table.contains("CURRENT-OFFSET") && table.contains("eth-trades"), "{table}");
}
