//! `kohort up` from outside: the road to the API, a kill, a second start.

use serde_json::Value;

use crate::process::{Server, said, text, told};

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
    let up = Server::up(folder.path(), &[]);
    up.until("/api/pairs", |pairs| pairs.as_array().is_some_and(|pairs| pairs.len() >= 40));
    let candles = "/api/candles?chain=1&pair=0x88e6a0c2ddd26feeb64f039a2c41296fcb3f5640&interval=1m";
    up.until(candles, |candles| candles.as_array().is_some_and(|candles| candles.len() >= 100));
    let before = up.until(GROUP, |group| group["state"] == "Stable" && committed(group) > 4000);
    assert!(before["members"].as_array().is_some_and(|members| members.len() == 2));
    assert!(up.ask("/api/events")[0]["text"].is_string());
    // The wallets that ship are known: 61 of two sets, and the past has 1697 and 23 trades of theirs.
    let known = up.until("/api/smart-money", |known| known["trades"].as_u64().is_some_and(|n| n >= 1720));
    assert_eq!(known["addresses"], 61);
    assert!(up.ask("/api/smart-money/trades?limit=1")[0]["wallet"].is_string());
    for (path, status) in [
        ("/api/none", " 404 "),
        ("/api/groups/none", " 404 "),
        ("/api/events?limit=x", " 400 "),
        ("/api/candles?chain=1&pair=p&interval=7m", " 400 "),
    ] {
        let (head, body) = up.get(path);
        let answer: Value = serde_json::from_str(&body).expect("JSON");
        assert!(head.lines().next().is_some_and(|line| line.contains(status)), "{path}: {head}");
        assert!(answer["error"].is_string(), "{path}: {body}");
    }
    assert!(up.get("/none").0.contains(" 404 "));
    assert_eq!(up.end("-KILL").0, None);

    let up = Server::up(folder.path(), &["--no-feed"]);
    let after = up.until(GROUP, |group| group["state"] == "Stable");
    assert!(committed(&after) >= committed(&before), "{before} {after}");
    // Everything that was sent is read, without anybody waiting for the members that were killed.
    up.until(GROUP, |group| {
        group["partitions"]
            .as_array()
            .is_some_and(|all| all.iter().all(|one| one["lag"] == 0 || one["end"] == 0))
    });
    assert_eq!(up.end("-INT").0, Some(0));
}

#[test]
fn other_trades_are_sent_by_replay_and_seen_through_the_tools() {
    let folder = tempfile::tempdir().expect("a folder");
    let up = Server::up(folder.path(), &["--no-feed"]);
    let trades = folder.path().join("mine.jsonl");
    let line = r#"{"chain_id":"1","pair_addr":"mine","type":"buy","token_amount":2,"total_usd":3.0,"token_price_usd":1.5,"block_num":7,"block_time":1704412823}"#;
    std::fs::write(&trades, format!("{line}\n{line}\n")).expect("write trades");
    let server = ["--bootstrap-server", &up.broker];
    let replayed = said(&[&["replay", text(&trades), "--topic", "eth-trades"][..], &server].concat(), "");
    assert_eq!(replayed, "1 messages, 2 trades sent to `eth-trades`\n");
    let candles = up.until("/api/candles?chain=1&pair=mine&interval=1h", |candles| candles[0]["count"] == 2);
    assert_eq!((&candles[0]["close"], &candles[0]["volume"]), (&Value::from(1.5), &Value::from(6.0)));
    let topics = told(&[&["topics", "list", "--json"][..], &server].concat());
    assert!(
        topics.as_array().is_some_and(|topics| topics.iter().any(|topic| topic["topic"] == "eth-trades"))
    );
    up.until(GROUP, |group| {
        group["partitions"].as_array().is_some_and(|all| all.iter().any(|one| one["committed"] == 1))
    });
    let describe = ["groups", "describe", "data-flow-default-group10"];
    let group = told(&[&describe[..], &server, &["--json"]].concat());
    assert_eq!((&group["state"], &group["lag"]), (&Value::from("Stable"), &Value::from(0)));
    assert_eq!(group["members"].as_array().map(Vec::len), Some(2));
    let table = said(&[&describe[..], &server].concat(), "");
    assert!(table.contains("CURRENT-OFFSET") && table.contains("eth-trades"), "{table}");
}
