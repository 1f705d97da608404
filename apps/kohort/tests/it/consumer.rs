//! `kohort consumer` as a process: reports on stdout, the API, and what stops its start.

use serde_json::Value;

use crate::process::{Server, refused, said, text};

#[test]
fn what_flows_is_told_on_stdout_and_over_http_and_the_end_is_clean() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker =
        Server::broker(&folder.path().join("broker"), &["--set", "group.initial.rebalance.delay.ms=0"]);
    let at = ["--bootstrap-server", &broker.broker];
    said(&[&["topics", "create", "eth-trades", "--partitions", "2"][..], &at].concat(), "");
    let trade = r#"[{"chain_id":"1","pair_addr":"p","type":"buy","token_price_usd":1.5,"total_usd":3,"block_time":1704412823}]"#;
    said(&[&["produce", "eth-trades"][..], &at].concat(), &format!("{trade}\n{trade}\nno trade\n"));
    let file = folder.path().join("consumer.yaml");
    let block = format!(
        "Brokers: [{}]\nKqEth:\n  Group: g\n  Topic: eth-trades\n  Offset: first\n  Consumers: 3\n  CommitInterval: 50ms\n",
        broker.broker
    );
    std::fs::write(&file, block).expect("write a file");
    let mut consumer = Server::consumer(&["-f", text(&file), "--http", "127.0.0.1:0", "--json"]);
    let done = |report: &Value| {
        let flows = report["blocks"][0]["flows"].as_array().cloned().unwrap_or_default();
        flows.iter().map(|flow| flow["messages"].as_u64().unwrap_or(0)).sum::<u64>() == 3
            && flows.iter().any(|flow| flow["lag"] == 0)
    };
    let report = consumer.until("/api/flow", done);
    let idle =
        report["blocks"][0]["members"].as_array().expect("members").iter().filter(|m| m["idle"] == true);
    assert_eq!(idle.count(), 1, "{report:#}");
    // A line is a report as `/api/flow` has it.
    let line =
        consumer.until_line(|line| serde_json::from_str(line).is_ok_and(|report: Value| done(&report)));
    assert!(line.starts_with(r#"{"at_ms":"#), "{line}");
    assert_eq!(consumer.end("-INT").0, Some(0));
}

#[test]
fn a_table_says_who_stands_idle() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker =
        Server::broker(&folder.path().join("broker"), &["--set", "group.initial.rebalance.delay.ms=0"]);
    said(&["topics", "create", "t", "--partitions", "1", "--bootstrap-server", &broker.broker], "");
    let file = folder.path().join("consumer.yaml");
    let block = format!(
        "Brokers: [{}]\nKqEth:\n  Group: g\n  Topic: t\n  Offset: first\n  Consumers: 2\nBehave:\n  Hang: true\n",
        broker.broker
    );
    std::fs::write(&file, block).expect("write a file");
    // `kohort check` understands what only this service has in its file.
    let checked = said(&["check", "--offline", text(&file)], "");
    assert_eq!(checked, "0 errors, 0 warnings\n");
    let mut consumer = Server::consumer(&["-f", text(&file), "--http", "127.0.0.1:0"]);
    consumer.until_line(|line| line.starts_with("BLOCK  MEMBER  PARTITION"));
    let row = consumer.until_line(|line| line.contains("idle: the group has more members than partitions"));
    assert!(row.starts_with("KqEth") && row.contains("hangs"), "{row}");
    // It hangs, and ends all the same.
    assert_eq!(consumer.end("-TERM").0, Some(0));
}

#[test]
fn a_file_without_a_block_and_a_misspelt_behaviour_are_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("consumer.yaml");
    for (content, words) in [
        ("Name: consumer\n", "`consumer` has nothing to consume"),
        ("Kq:\n  Group: g\n  Topic: t\n  Offset: first\nBehave:\n  Hangs: true\n", "did you mean `Hang`?"),
    ] {
        std::fs::write(&file, content).expect("write a file");
        let message = refused(&["consumer", "--log", "error", "-f", text(&file)]);
        assert!(message.contains(words) && message.contains("consumer.yaml"), "{message}");
    }
}

#[test]
fn it_leaves_when_nobody_reads_its_table_any_more() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(&folder.path().join("broker"), &[]);
    let file = folder.path().join("consumer.yaml");
    std::fs::write(&file, format!("Brokers: [{}]\nKqEth: {{Group: g, Topic: t}}\n", broker.broker))
        .expect("write a file");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let mut consumer = std::process::Command::new(env!("CARGO_BIN_EXE_kohort"))
        .args(["consumer", "-f", text(&file)])
        .stdout(writer)
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("kohort starts");
    drop(reader);
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    let code = loop {
        if let Some(ended) = consumer.try_wait().expect("its state") {
            break ended.code();
        }
        if std::time::Instant::now() > until {
            consumer.kill().expect("ends");
            panic!("it goes on, and nobody looks");
        }
        std::thread::sleep(std::time::Duration::from_millis(50));
    };
    assert_eq!(code, Some(0));
}
