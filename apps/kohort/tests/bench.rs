//! `kohort bench` as scripts see it: what it measures, and the shape of the answer.

use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

fn bench(args: &[&str], folder: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kohort"))
        .args(["--log", "warn", "bench"])
        .args(args)
        .current_dir(folder)
        .output()
        .expect("run kohort")
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

fn stdout(output: &Output) -> &str {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    std::str::from_utf8(&output.stdout).expect("text")
}

#[test]
fn the_pipeline_counts_every_trade_and_says_where_the_time_went() {
    let output = bench(&["pipeline", "--count", "8000", "--partitions", "2", "--json"], repository());
    let lines: Vec<&str> = stdout(&output).lines().collect();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let measured: Value = serde_json::from_str(lines[0]).expect("JSON");
    // The set has 6,354 trades: so many mean that it was repeated.
    assert!((8000..8100).contains(&measured["trades"].as_u64().expect("a count")), "{measured}");
    assert_eq!(measured["count_off_by"], 0, "{measured}");
    assert_eq!(measured["partitions"], 2);
    let stages = &measured["cpu_s_per_million"];
    let own: f64 = ["client", "decode", "aggregate", "store"]
        .map(|stage| stages[stage].as_f64().unwrap_or_else(|| panic!("no `{stage}` in {measured}")))
        .iter()
        .sum();
    let whole = measured["processes"]["service"]["cpu_s_per_million"].as_f64().expect("a figure");
    assert!((own - whole).abs() <= 0.01 * whole.max(1.0), "the stages make the process: {measured}");
    assert!(stages["decode"].as_f64() > Some(0.0) && stages["store"].as_f64() > Some(0.0), "{measured}");
    if cfg!(target_os = "linux") {
        assert!(measured["processes"]["broker"]["peak_rss_mib"].as_u64() > Some(0), "{measured}");
        assert!(stages["broker"].is_number(), "{measured}");
    }
}

#[test]
fn the_pipeline_of_a_file_for_people() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("t.jsonl");
    let trade = |time: u32| {
        format!("{{\"chain_id\":\"1\",\"pair_addr\":\"a\",\"token_price_usd\":2,\"block_time\":{time}}}\n")
    };
    std::fs::write(&file, [60, 61, 119].map(trade).concat()).expect("write");
    let store = format!("sqlite:{}", folder.path().join("kept/candles.db").display());
    let file = file.to_str().expect("a path");
    let output = bench(&["pipeline", "--trades", file, "--count", "9", "--store", &store], folder.path());
    let text = stdout(&output);
    assert!(text.starts_with("9 trades in 9 messages"), "{text}");
    // Three rounds: three minutes, and one each of the longer intervals.
    assert!(text.contains("9 candles stored in 1 flushes, 9 writes; the days count 0 trades off"), "{text}");
    for row in
        ["broker   broker", "service  client", "service  decode", "service  aggregate", "service  store"]
    {
        assert!(text.contains(row), "{row} in {text}");
    }
    assert!(folder.path().join("kept/candles.db").exists());
}

/// Market's pipeline with so many trades and these flags: nothing may be lost.
fn market(count: u64, flags: &[&str]) -> Value {
    let count = count.to_string();
    let args = ["pipeline", "--service", "market", "--count", &count, "--partitions", "1", "--json"];
    let measured = json(&[&args, flags].concat());
    assert_eq!(
        (&measured["service"], &measured["count_off_by"]),
        (&"market".into(), &0.into()),
        "{measured}"
    );
    assert!(measured["cpu_s_per_million"]["store"].as_f64() > Some(0.0), "{measured}");
    measured
}

#[test]
fn a_cache_counts_every_trade_with_and_without_its_file() {
    for flags in [&[][..], &["--store", "memory:"]] {
        let measured = market(8000, flags);
        assert_eq!(measured["trades_kept"], measured["trades"], "{measured}");
    }
}

#[test]
fn of_a_cache_that_drops_old_days_those_are_counted_that_it_keeps() {
    // Ten days of 6,354 trades.
    let measured = market(63_540, &["--store", "memory:", "--retention"]);
    let kept = measured["trades_kept"].as_u64().expect("a count");
    assert!((7 * 6_354..=9 * 6_354).contains(&kept), "{measured}");
}

#[test]
#[ignore = "needs KOHORT_TEST_REDIS, host:port of an empty Redis"]
fn a_cache_in_redis_counts_every_trade() {
    let host = std::env::var("KOHORT_TEST_REDIS").expect("KOHORT_TEST_REDIS");
    let url = format!("redis://{host}");
    let own = format!("self={}", std::process::id());
    let measured = market(8000, &["--store", &url, "--pids", &own]);
    assert!(measured["servers_cpu_s_per_million"]["self"].is_number(), "{measured}");
    // What the run has left there would be counted by another.
    let output = bench(&["pipeline", "--service", "market", "--store", &url], repository());
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("has keys already"), "{output:?}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_the_mend() {
    let folder = tempfile::tempdir().expect("a folder");
    let refused = |args: &[&str]| {
        let output = bench(args, folder.path());
        assert_eq!(output.status.code(), Some(2), "{args:?}");
        assert!(output.stdout.is_empty());
        String::from_utf8(output.stderr).expect("text")
    };
    assert!(refused(&["pipeline"]).contains("hint: name one: `--trades FILE`"));
    assert!(refused(&["pipeline", "--trades", "none.jsonl"]).contains("at: none.jsonl"));
    let file = folder.path().join("t.jsonl");
    std::fs::write(&file, "\n").expect("write");
    let file = file.to_str().expect("a path");
    assert!(refused(&["pipeline", "--trades", file]).contains("holds no trades"));
    assert!(refused(&["pipeline", "--retention"]).contains("hint: add `--service market`"));
    assert!(refused(&["pipeline", "--topic", "t"]).contains("--bootstrap-server"));
    assert!(refused(&["pipeline", "--pids", "4711"]).contains("NAME=PID"));
}

#[test]
fn ctrl_c_leaves_nothing_behind() {
    let temp = tempfile::tempdir().expect("a folder");
    let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
        .args(["--log", "warn", "bench", "pipeline", "--count", "100000000"])
        .current_dir(repository())
        .env("TMPDIR", temp.path())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("start kohort");
    let began = Instant::now();
    let broker =
        || std::fs::read_dir(temp.path()).expect("read").flatten().any(|e| e.path().join("broker").exists());
    while !broker() {
        assert!(began.elapsed() < Duration::from_secs(60), "no broker was started");
        std::thread::sleep(Duration::from_millis(10));
    }
    let pid = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &pid]).status().expect("run kill").success());
    let asked = Instant::now();
    let status = child.wait().expect("wait");
    assert!(!status.success(), "it measured nothing");
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
    assert_eq!(std::fs::read_dir(temp.path()).expect("read").count(), 0, "its folder is gone");
}

fn json(args: &[&str]) -> Value {
    let output = bench(args, repository());
    let text = stdout(&output);
    assert_eq!(text.lines().count(), 1, "{text}");
    serde_json::from_str(text).expect("JSON")
}

#[test]
fn broker_and_client_are_measured_on_one_load() {
    for side in ["broker", "client"] {
        let measured = json(&[side, "--records", "3000", "--partitions", "2", "--json"]);
        let cells = measured["cells"].as_array().expect("cells");
        let what: Vec<_> = cells
            .iter()
            .map(|cell| (cell["what"].as_str().unwrap_or(""), cell["record_bytes"].as_u64()))
            .collect();
        let expected = [
            ("produce", Some(100)),
            ("consume", Some(100)),
            ("produce", Some(1000)),
            ("consume", Some(1000)),
        ];
        assert_eq!(what, expected);
        assert!(cells.iter().all(|cell| cell["records_per_s"].as_u64() > Some(0)), "{measured}");
        assert!(measured["join_ms"].as_f64() > Some(0.0) && measured["start_to_ack_ms"].as_f64() > Some(0.0));
    }
    let text = bench(&["client", "--records", "1000"], repository());
    assert!(stdout(&text).contains("CLIENT CPU S PER MILLION"));
}

#[test]
fn groups_settle_whoever_comes_and_goes() {
    let settled = json(&["groups", "--rounds", "1", "--partitions", "6", "--json"]);
    let settled = settled.as_array().expect("a list");
    assert_eq!(settled.len(), 5);
    assert!(settled.iter().all(|one| one["median_ms"].as_f64() > Some(0.0)), "{settled:?}");
}

#[test]
fn assignors_are_timed_full_and_with_a_newcomer() {
    let measured = json(&["assignors", "--members", "20", "--topics", "5", "--json"]);
    let names: Vec<_> =
        measured.as_array().expect("a list").iter().map(|one| one["assignor"].clone()).collect();
    assert_eq!(names.len(), 8);
    assert!(names.contains(&"cooperative-sticky".into()), "{names:?}");
}

#[test]
fn every_trade_reaches_the_websocket_and_its_way_is_timed() {
    let folder = tempfile::tempdir().expect("a folder");
    let args = [
        "push",
        "--rate",
        "300",
        "--seconds",
        "2",
        "--pairs",
        "7",
        "--partitions",
        "2",
        "--json",
        "--subscribers",
        "20",
        "--slow",
        "3",
    ];
    let output = bench(&args, folder.path());
    let measured: Value = serde_json::from_str(stdout(&output)).expect("JSON");
    assert_eq!((measured["trades"].as_u64(), measured["pairs"].as_u64()), (Some(600), Some(7)), "{measured}");
    let ms = ["p50_ms", "p99_ms", "p999_ms", "worst_ms"].map(|of| measured[of].as_f64().expect("a time"));
    assert!(ms[0] > 0.0 && ms.is_sorted(), "{measured}");
    let of_crowd = ["p50_ms", "p99_ms", "worst_ms"].map(|of| measured[format!("subscribers_{of}")].as_f64());
    assert!(of_crowd[0].is_some_and(|ms| ms > 0.0) && of_crowd.is_sorted(), "{measured}");
    assert!((1..=600).contains(&measured["pushes"].as_u64().expect("a count")), "{measured}");
}
