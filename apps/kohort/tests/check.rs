//! `kohort check`: what it finds between the original's four files, against a broker, and that it finds nothing where nothing is.

use std::path::Path;
use std::process::{Command, Output};

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, ClientConfig};
use tempfile::TempDir;

const ORIGINAL: [&str; 4] = ["dataflow.yaml", "market.yaml", "smartmoney.yaml", "consumer.yaml"];

fn check(folder: &Path, args: &[&str]) -> (Option<i32>, String) {
    let output: Output = Command::new(env!("CARGO_BIN_EXE_kohort"))
        .arg("check")
        .args(args)
        .current_dir(folder)
        .output()
        .expect("run kohort");
    (output.status.code(), String::from_utf8(output.stdout).expect("text"))
}

fn files() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/check")
}

/// The block that begins with `start`.
fn block<'a>(report: &'a str, start: &str) -> &'a str {
    let found = report.split("\n\n").find(|block| block.starts_with(start));
    found.unwrap_or_else(|| panic!("no `{start}` in\n{report}"))
}

#[test]
fn the_originals_files_have_what_its_table_hides() {
    let (code, report) = check(&files(), &[&ORIGINAL[..], &["--offline"]].concat());
    assert_eq!(code, Some(1), "{report}");
    let shared = block(
        &report,
        "warning: `dataflow` and `market` share group `data-flow-default-group-1888` on topic `sol-trades`",
    );
    assert!(shared.contains("dataflow.yaml:12, market.yaml:8"), "{shared}");
    let three =
        block(&report, "warning: group `data-flow-default-group10` has members with different subscriptions");
    assert!(
        three.contains("`eth-trades` (dataflow), `base-trades` (dataflow) and `sol-trades` (consumer)"),
        "{three}"
    );
    let api =
        block(&report, "warning: group `data-kline-group-api` has members with different subscriptions");
    assert!(api.contains("`sol-trades` (smart_money)"), "{api}");
    let hyphen = block(
        &report,
        "warning: groups `data-flow-default-group-10` and `data-flow-default-group10` differ by one character",
    );
    assert!(hyphen.contains("dataflow.yaml:20"), "{hyphen}");
    let secret =
        block(&report, "warning: the password in `DataSource` of `smart_money` stands in plain text");
    assert!(secret.contains("smartmoney.yaml:15") && secret.contains("${NAME}"), "{secret}");
    for (at, who, whose) in
        [("dataflow.yaml:12", "dataflow", "market"), ("market.yaml:8", "market", "dataflow")]
    {
        let start = format!(
            "warning: `{who}` shares group `data-flow-default-group-1888` on `sol-trades` with `{whose}` and does not name its store"
        );
        let unclaimed = block(&report, &start);
        assert!(unclaimed.contains(at) && unclaimed.contains("GroupStores"), "{unclaimed}");
    }
    assert!(report.ends_with("\n0 errors, 7 warnings\n"), "{report}");
    let (code, _) = check(&files(), &[&ORIGINAL[..], &["--offline", "--allow-warnings"]].concat());
    assert_eq!(code, Some(0));
}

#[test]
fn the_files_that_ship_have_it_too() {
    let apps = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let ship = [
        "dataflow/etc/dataflow.yaml",
        "market/etc/market.yaml",
        "smart_money/etc/smartmoney.yaml",
        "consumer/etc/consumer.yaml",
    ];
    let (code, report) = check(&apps, &[&ship[..], &["--offline"]].concat());
    assert_eq!(code, Some(1), "{report}");
    let three =
        block(&report, "warning: group `data-flow-default-group10` has members with different subscriptions");
    assert!(
        three.contains("`sol-trades` (consumer)") && three.contains("consumer/etc/consumer.yaml:"),
        "{three}"
    );
    block(&report, "warning: group `data-kline-group-api` has members with different subscriptions");
    block(
        &report,
        "warning: groups `data-flow-default-group-10` and `data-flow-default-group10` differ by one character",
    );
    assert!(report.contains("\n0 errors, "), "{report}");
}

#[test]
fn every_block_has_its_place_its_reason_and_its_mend() {
    let (_, report) = check(&files(), &[&ORIGINAL[..], &["--offline"]].concat());
    let blocks: Vec<&str> = report.trim_end().split("\n\n").collect();
    for block in &blocks[..blocks.len() - 1] {
        for label in ["\n   at: ", "\n  why: ", "\n hint: "] {
            assert!(block.contains(label), "{block}");
        }
    }
}

#[test]
fn files_that_are_right_have_no_finding() {
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str, topic: &str| {
        let text = format!("Name: {name}\nKq:\n  Group: {name}\n  Topic: {topic}\n  Offset: first\n");
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).expect("write");
    };
    file("candles", "trades");
    file("alerts", "trades");
    let (code, report) = check(folder.path(), &["candles.yaml", "alerts.yaml", "--offline"]);
    assert_eq!((code, report.as_str()), (Some(0), "0 errors, 0 warnings\n"));
}

#[test]
fn services_that_name_each_others_stores_may_share_a_group() {
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str, rest: &str| {
        let text = format!("Name: {name}\nKq:\n  Group: g\n  Topic: t\n  Offset: first\n{rest}");
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).expect("write");
    };
    let unclaimed = |files: &[&str]| {
        let (_, report) = check(folder.path(), &[files, &["--offline"]].concat());
        let found = report.split("\n\n").filter(|block| block.contains("does not name its store"));
        found.map(str::to_owned).collect::<Vec<_>>()
    };
    let candles = "Mysql: {DataSource: 'u@tcp(db:3306)/candles'}\n";
    file("candles", &format!("{candles}GroupStores: [redis://cache]\n"));
    file("cache", "Redis: {Host: 'cache:6379'}\nGroupStores:\n  - mysql://reader@DB/candles?x=y\n");
    file("consumer", "");
    assert_eq!(unclaimed(&["candles.yaml", "cache.yaml", "consumer.yaml"]), [""; 0]);
    // One names another database, the other nothing.
    file("cache", "Redis: {Host: 'cache:6379'}\nGroupStores:\n  - mysql://reader@DB/trades\n");
    file("candles", candles);
    let found = unclaimed(&["candles.yaml", "cache.yaml"]);
    assert_eq!(found.len(), 2, "{found:?}");
    assert!(
        found[0].contains("candles.yaml:3") && found[0].contains("redis://USER:PASS@cache:6379/0"),
        "{found:?}"
    );
    assert!(
        found[1].contains("cache.yaml:8") && found[1].contains("mysql://USER:PASS@db:3306/candles"),
        "{found:?}"
    );
    // Two services on one store have one claim.
    file("cache", candles);
    assert_eq!(unclaimed(&["candles.yaml", "cache.yaml"]), [""; 0]);
}

#[test]
fn what_contradicts_itself_is_an_error() {
    let folder = TempDir::new().expect("a folder");
    let text = "\
Name: s
KqOne: {Group: g, Topic: t, Offset: first, Assignor: range, InstanceId: i}
KqTwo: {Group: g, Topic: t, Offset: last, Assignor: [sticky], InstanceId: i}
KqLoop: {Group: h, Topic: u, Offset: first, DlqTopic: u}
";
    std::fs::write(folder.path().join("s.yaml"), text).expect("write");
    std::fs::write(folder.path().join("broken.yaml"), "Kq:\n  Gruop: g\n").expect("write");
    let (code, report) = check(folder.path(), &["s.yaml", "broken.yaml", "absent.yaml", "--offline"]);
    assert_eq!(code, Some(1));
    for (start, at) in [
        ("error: members of group `g` have no assignor in common", "s.yaml:2, s.yaml:3"),
        ("error: `InstanceId: i` stands in 2 blocks of group `g`", "s.yaml:2, s.yaml:3"),
        ("error: members of group `g` disagree where `t` begins", "s.yaml:2, s.yaml:3"),
        ("error: `KqLoop` of `s` (s.yaml:4) sends its dead letters into the topic that it reads", "s.yaml:4"),
        ("error: `broken` cannot start: `Kq` has no `Group`", "broken.yaml:2"),
        ("error: `absent` cannot start: its file cannot be read", "absent.yaml"),
    ] {
        assert!(block(&report, start).contains(at), "{report}");
    }
    assert!(report.ends_with("\n6 errors, 0 warnings\n"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_answers_is_held_against_the_files() {
    let folder = TempDir::new().expect("a folder");
    let broker = Broker::start(Config::new(folder.path().join("broker"))).await.expect("starts");
    let client = Client::new(ClientConfig::new([broker.address().to_string()])).expect("a client");
    let topic = NewTopic::new("trades", 3).config("max.message.bytes", "20971520");
    assert!(client.admin().create_topics(&[topic]).await.expect("answers")[0].1.is_ok());
    // A member of the group that no file explains.
    assert!(client.admin().create_topics(&[NewTopic::new("other", 1)]).await.expect("answers")[0].1.is_ok());
    let stranger = Client::new(ClientConfig::new([broker.address().to_string()]).client_id("stranger"))
        .expect("a client");
    let mut consumer = stranger.consumer().group("g").build().expect("a consumer");
    consumer.subscribe(["other"]).expect("subscribes");
    let joined = async {
        while consumer.handle().assignment().is_empty() {
            if let kohort_client::ConsumerEvent::Assigned { start, .. } = consumer.next().await {
                start.go();
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(20), joined).await.expect("joins");
    let text = format!(
        "Name: s\nBrokers: [{}]\nKq:\n  Group: g\n  Topic: trades\n  Offset: first\n  Consumers: 4\n  SessionTimeout: 1s\n\
         KqGone:\n  Group: h\n  Topic: absent\n  Offset: first\n",
        broker.address()
    );
    std::fs::write(folder.path().join("s.yaml"), text).expect("write");
    let at = folder.path().to_owned();
    let (code, report) = tokio::task::spawn_blocking(move || check(&at, &["s.yaml"])).await.expect("runs");
    assert_eq!(code, Some(1), "{report}");
    for (start, at) in [
        ("error: topic `absent` is not there", "s.yaml:11"),
        ("error: `SessionTimeout` of `Kq` is 1000 ms, and the broker takes 6000 to 1800000 ms", "s.yaml:8"),
        ("warning: group `g` has 4 consumers for the 3 partitions of `trades`: 1 stand idle", "s.yaml:7"),
        (
            "warning: `MaxBytes` of `Kq` is 10485760, and `trades` takes messages of 20971520 bytes",
            "s.yaml:4",
        ),
        ("warning: live members of group `g` read other topics: `stranger`", "s.yaml:4"),
    ] {
        assert!(block(&report, start).contains(at), "{report}");
    }
    assert!(report.ends_with("\n2 errors, 3 warnings\n"), "{report}");
    consumer.close().await;
    broker.shutdown().await;
}

#[test]
fn machines_read_json() {
    let (code, report) = check(&files(), &[&ORIGINAL[..], &["--offline", "--json"]].concat());
    let report: serde_json::Value = serde_json::from_str(&report).expect("JSON");
    assert_eq!((code, &report["errors"], &report["warnings"]), (Some(1), &0.into(), &7.into()));
    assert_eq!(report["findings"].as_array().map(Vec::len), Some(7));
    assert!(report["findings"][0]["hint"].is_string());
}

#[test]
fn the_keys_that_only_one_service_has_are_understood() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("smartmoney.yaml");
    let text = "Kq:\n  Group: g\n  Topic: t\n  Offset: first\n  Consumers: 1\nAddresses:\n  FalsePositiveRate: 0.01\n\
                Notify:\n  - Kind: telegram\n    Token: 1:s3cret\n    ChatId: 5\n    Rules:\n      - Kind: first-buy\n";
    std::fs::write(&file, text).expect("write");
    let (code, report) = check(folder.path(), &["smartmoney.yaml", "--offline"]);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("stands in plain text") && report.contains("smartmoney.yaml:10"), "{report}");
    assert!(!report.contains("s3cret"), "{report}");
    std::fs::write(&file, text.replace("FalsePositiveRate", "FalsePositivRate")).expect("write");
    let (code, report) = check(folder.path(), &["smartmoney.yaml", "--offline"]);
    assert_eq!(code, Some(1), "{report}");
    assert!(report.contains("did you mean `FalsePositiveRate`?"), "{report}");
}

#[test]
fn a_wrong_value_under_a_services_own_key_is_said_whatever_the_file_is_called() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "Kq: {Group: g, Topic: t, Offset: first}\nNotify:\n  - {Kind: telegramm}\n";
    for name in ["smart-money.yaml", "smart_money.yaml", "prod.yaml"] {
        std::fs::write(folder.path().join(name), text).expect("write");
        let (code, report) = check(folder.path(), &[name, "--offline"]);
        assert_eq!(code, Some(1), "{report}");
        assert!(report.contains("did you mean `telegram`?"), "{name}: {report}");
    }
}

#[test]
fn what_a_service_refuses_at_its_start_is_found_before() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, text: &str| std::fs::write(folder.path().join(name), text).expect("write");
    write("empty.yaml", "Name: nobody\n");
    write("new.yaml", "Kq:\n  Group: g\n  Topic: t\n  Offset: first\n  Protocol: consumer\n");
    write(
        "db.yaml",
        "Kq: {Group: h, Topic: t, Offset: first}\nMysql:\n  DataSource: root@localhost/candles\n",
    );
    write("smartmoney.yaml", "Kq: {Group: i, Topic: t, Offset: first}\nGroupStores:\n  - redis://cache\n");
    let (code, report) =
        check(folder.path(), &["empty.yaml", "new.yaml", "db.yaml", "smartmoney.yaml", "--offline"]);
    assert_eq!(code, Some(1), "{report}");
    for (start, at) in [
        ("error: `nobody` has nothing to consume", "empty.yaml"),
        ("error: `new` cannot start: `Protocol: consumer` is not available", "new.yaml:5"),
        ("error: `DataSource` of `db` cannot be understood", "db.yaml:3"),
        ("error: `smartmoney` has no use for `GroupStores`", "smartmoney.yaml:3"),
    ] {
        assert!(block(&report, start).contains(at), "{report}");
    }
    assert!(report.ends_with("\n4 errors, 0 warnings\n"), "{report}");
}

#[test]
fn brokers_may_come_from_the_environment() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "Brokers: ${KOHORT_TEST_BROKERS}\nKq: {Group: g, Topic: t, Offset: first}\n";
    std::fs::write(folder.path().join("s.yaml"), text).expect("write");
    let run = |brokers: &str| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_kohort"));
        check.args(["check", "s.yaml", "--offline"]).current_dir(folder.path());
        let output = check.env("KOHORT_TEST_BROKERS", brokers).output().expect("run kohort");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(run("one:9092, two:9092"), "0 errors, 0 warnings\n");
    let report = run("one:9092,two");
    assert!(report.contains("`Brokers` names `two`, not `host:port`"), "{report}");
}

#[tokio::test(flavor = "multi_thread")]
async fn lists_of_brokers_that_lead_to_one_cluster_are_one_and_groups_of_two_clusters_are_two() {
    let folder = TempDir::new().expect("a folder");
    let broker = async |name: &str| {
        let broker = Broker::start(Config::new(folder.path().join(name))).await.expect("starts");
        let client = Client::new(ClientConfig::new([broker.address().to_string()])).expect("a client");
        let made = client.admin().create_topics(&[NewTopic::new("t", 3)]).await.expect("answers");
        assert!(made[0].1.is_ok());
        broker
    };
    let (one, other) = (broker("one").await, broker("other").await);
    let write = |name: &str, brokers: String| {
        let text = format!(
            "Name: {name}\nBrokers: {brokers}\nKq: {{Group: g, Topic: t, Offset: first, Consumers: 2}}\n"
        );
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).expect("write");
    };
    let report = async || {
        let at = folder.path().to_owned();
        tokio::task::spawn_blocking(move || check(&at, &["a.yaml", "b.yaml"]).1).await.expect("runs")
    };
    write("a", format!("[{}]", one.address()));
    write("b", format!("['localhost:{}', '127.0.0.1:{}']", one.address().port(), one.address().port()));
    let same = report().await;
    assert!(same.contains("group `g` has 4 consumers for the 3 partitions of `t`: 1 stand idle"), "{same}");
    assert!(same.contains("`a` and `b` share group `g` on topic `t`"), "{same}");
    write("b", format!("[{}]", other.address()));
    assert_eq!(report().await, "0 errors, 0 warnings\n");
    one.shutdown().await;
    other.shutdown().await;
}

#[test]
fn a_secret_that_the_environment_leaves_empty_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "Kq: {Group: g, Topic: t, Offset: first}\nNotify:\n  - Kind: webhook\n    Url: http://a/b\n    \
                Secret: ${KOHORT_TEST_SECRET}\n    Rules: [{Kind: buy}]\n";
    std::fs::write(folder.path().join("s.yaml"), text).expect("write");
    let run = |secret: &str| {
        let mut check = Command::new(env!("CARGO_BIN_EXE_kohort"));
        check.args(["check", "s.yaml", "--offline"]).current_dir(folder.path());
        let output = check.env("KOHORT_TEST_SECRET", secret).output().expect("run kohort");
        String::from_utf8(output.stdout).expect("text")
    };
    assert_eq!(run("s3cret"), "0 errors, 0 warnings\n");
    let report = run("");
    assert!(report.contains("the webhook's `Secret` is empty") && report.contains("s.yaml:5"), "{report}");
}

#[test]
fn groups_that_differ_only_in_case_are_said_to() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = "Name: s\nKqOne: {Group: Data-Flow, Topic: t, Offset: first}\nKqTwo: {Group: data-flow, Topic: u, Offset: first}\n";
    std::fs::write(folder.path().join("s.yaml"), text).expect("write");
    let (_, report) = check(folder.path(), &["s.yaml", "--offline"]);
    assert!(report.contains("groups `Data-Flow` and `data-flow` differ only in case"), "{report}");
}

#[test]
fn services_of_different_work_must_not_share_a_topic_in_a_group() {
    let folder = TempDir::new().expect("a folder");
    let file = |name: &str, topic: &str| {
        let text = format!("Kq:\n  Group: g\n  Topic: {topic}\n  Offset: first\n");
        std::fs::write(folder.path().join(format!("{name}.yaml")), text).expect("write");
    };
    file("market", "t");
    for (other, and) in
        [("smart-money", "`market` and `smart-money`"), ("consumer", "`consumer` and `market`")]
    {
        file(other, "t");
        let other = format!("{other}.yaml");
        let (code, report) = check(folder.path(), &["market.yaml", &other, "--offline"]);
        let found =
            block(&report, &format!("error: {and} share group `g` on topic `t`, and do different work"));
        assert!(found.contains("market.yaml:2") && found.contains(&format!("{other}:2")), "{found}");
        // Its log has no use for `GroupStores`, and refuses them.
        assert!(code == Some(1) && report.ends_with("\n1 errors, 0 warnings\n"), "{report}");
    }
    file("dataflow", "t");
    let (_, report) = check(folder.path(), &["market.yaml", "dataflow.yaml", "--offline"]);
    assert!(report.contains("warning: `dataflow` and `market` share group `g`"), "{report}");
}
