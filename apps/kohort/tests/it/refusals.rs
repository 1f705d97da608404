//! What cannot be used is said once, with the place and the mend, and nothing is broken by it.

use std::net::TcpListener;
use std::path::{Path, PathBuf};

use crate::process::{Server, kohort, refused, text};

const TRADE: &str = r#"{"chain_id":"1","pair_addr":"p","type":"buy","token_price_usd":1.5,"total_usd":3,"block_time":1704412823}"#;

fn write(folder: &Path, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.join(name);
    std::fs::write(&path, bytes).expect("write a file");
    path
}

/// The arguments of an `up` that must not come up.
fn up<'a>(data: &'a Path, more: &[&'a str]) -> Vec<&'a str> {
    [&["up", "--data", text(data), "--broker", "127.0.0.1:0", "--http", "127.0.0.1:0"][..], more].concat()
}

#[test]
fn a_busy_port_is_named_with_its_flag() {
    let folder = tempfile::tempdir().expect("a folder");
    let data = folder.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let args: [&[&str]; 4] = [
        &["broker", "--data", text(&data), "--listen", &address],
        &["up", "--no-feed", "--data", text(&data), "--http", "127.0.0.1:0", "--broker", &address],
        &["up", "--no-feed", "--data", text(&data), "--broker", "127.0.0.1:0", "--http", &address],
        &["dataflow", "-f", "etc", "--data", text(&data), "--http", &address],
    ];
    let file = write(folder.path(), "d.yaml", "KqEth:\n  Group: g\n  Topic: t\n");
    for args in args {
        let args: Vec<&str> = args.iter().map(|arg| if *arg == "etc" { text(&file) } else { arg }).collect();
        let message = refused(&args);
        let flag = args[args.len() - 2];
        assert!(message.contains(&format!("cannot listen on {address}")), "{message}");
        assert!(message.contains(&format!("hint: stop what listens there, or write `{flag} ")), "{message}");
    }
}

#[test]
fn two_on_one_folder_are_one_too_many() {
    let folder = tempfile::tempdir().expect("a folder");
    let first = Server::up(folder.path(), &["--no-feed"]);
    for args in [
        up(folder.path(), &["--no-feed"]),
        vec!["broker", "--data", text(folder.path()), "--listen", "127.0.0.1:0"],
    ] {
        let message = refused(&args);
        assert!(message.contains(&format!("process {}, uses the data folder", first.pid())), "{message}");
        assert!(message.contains("--data DIR"), "{message}");
    }
    // The first one noticed nothing.
    assert_eq!(first.get("/healthz").1, "ok");
    assert_eq!(first.end("-INT").0, Some(0));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let yaml = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(yaml.path(), "KqEth:\n  Group: g\n  Topic: t\n").expect("write a file");
    let args: [Vec<&str>; 3] = [
        vec!["broker", "--data", text(file.path()), "--listen", "127.0.0.1:0"],
        up(file.path(), &["--no-feed"]),
        vec!["dataflow", "-f", text(yaml.path()), "--data", text(file.path())],
    ];
    for args in args {
        let message = refused(&args);
        assert!(message.contains("the data folder cannot be used"), "{message}");
        assert!(message.contains(text(file.path())) && message.contains("--data DIR"), "{message}");
    }
}

#[test]
fn a_services_file_is_refused_at_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let table = [
        ("KqEth:\n  Group: g\n   Topic: t\n", ":3", "the file is not YAML"),
        ("KqEth:\n  Group: g\n  Topic: t\n  Procesors: 2\n", ":4", "did you mean `Processors`?"),
        ("KqEth:\n  Group: g\n  Topic: t\n  Consumers: many\n", ":4", "not a whole number"),
        ("KqEth:\n  Group: g\n", ":2", "has no `Topic`"),
        ("", "", "has nothing to consume"),
    ];
    for (yaml, line, says) in table {
        let file = write(folder.path(), "d.yaml", yaml);
        let message = refused(&["dataflow", "-f", text(&file), "--data", text(folder.path())]);
        assert!(message.contains(&format!("at: {}{line}\n", file.display())), "{message}");
        assert!(message.contains(says) && message.contains("hint: "), "{message}");
    }
    let message = refused(&["dataflow", "-f", "no/such.yaml"]);
    assert!(message.contains("no/such.yaml") && message.contains("hint: "), "{message}");
}

#[test]
fn a_trade_file_that_is_none_is_refused_before_anything_is_sent() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = zstd::encode_all(TRADE.repeat(2000).as_bytes(), 1).expect("compress");
    let cut = write(folder.path(), "cut.jsonl.zst", &whole[..whole.len() - 7]);
    let wrong = write(folder.path(), "wrong.jsonl", format!("{TRADE}\nno trade\n{TRADE}\n"));
    let bytes = write(folder.path(), "bytes.jsonl", [0xff, 0xfe, b'\n']);
    let none = folder.path().join("none.jsonl");
    let table = [
        (&cut, "cut off or damaged", "zstd -t"),
        (&wrong, "wrong.jsonl:2", "one JSON object a line"),
        (&bytes, "bytes.jsonl", "UTF-8"),
        (&none, "none.jsonl", "name an existing"),
        (&folder.path().to_path_buf(), "directory", "name an existing"),
    ];
    let broker = Server::broker(&folder.path().join("broker"), &[]);
    for (file, what, mend) in table {
        let replay = ["replay", text(file), "--topic", "t", "--bootstrap-server", &broker.broker];
        for message in [refused(&replay), refused(&up(&folder.path().join("up"), &["--feed", text(file)]))] {
            assert!(
                message.contains(what) && message.contains("hint: ") && message.contains(mend),
                "{message}"
            );
        }
    }
    let topics = crate::process::told(&["topics", "list", "--json", "--bootstrap-server", &broker.broker]);
    let made = topics.as_array().expect("an array").iter().filter(|topic| topic["internal"] == false);
    assert_eq!(made.count(), 0, "{topics}");
    assert!(!folder.path().join("up").exists(), "a refused start leaves nothing behind");
    let empty = write(folder.path(), "empty.jsonl", "\n");
    assert!(refused(&up(folder.path(), &["--feed", text(&empty)])).contains("holds no trades"));
}

#[test]
fn verify_refuses_what_it_cannot_compare() {
    let folder = tempfile::tempdir().expect("a folder");
    let trades = write(folder.path(), "t.jsonl", TRADE);
    let csv = write(folder.path(), "c.csv", "a,b\n");
    let message = refused(&["verify", text(&trades), "--candles", "no/such.csv"]);
    assert!(message.contains("no/such.csv"), "{message}");
    let message = refused(&["verify", text(&trades), "--candles", text(&csv)]);
    assert!(message.contains("the columns must be"), "{message}");
}

#[test]
fn a_broker_that_refuses_is_told_with_the_mend_and_one_that_is_away_is_a_failure() {
    let folder = tempfile::tempdir().expect("a folder");
    let broker = Server::broker(folder.path(), &[]);
    let refused = |args: &[&str]| refused(&[args, &["--bootstrap-server", &broker.broker]].concat());
    assert!(refused(&["topics", "describe", "none"]).contains("hint: `kohort topics list`"));
    assert!(refused(&["topics", "create", "two words"]).contains("hint: a name has"));
    assert!(refused(&["topics", "create", "t", "--partitions", "0"]).contains("hint: write 1 or more"));
    assert!(
        refused(&["topics", "create", "t", "--config", "retention=1"]).contains("hint: settings of a topic")
    );
    assert!(refused(&["groups", "describe", "none"]).contains("hint: `kohort groups list`"));
    assert!(refused(&["consume", "none", "--exit"]).contains("hint: `kohort topics list`"));
    let address = broker.broker.clone();
    assert_eq!(broker.end("-TERM").0, Some(0));
    let output = kohort(&["topics", "list", "--bootstrap-server", &address]);
    let message = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(3), "{message}");
    assert!(
        message.contains("no answer within 10s") && message.contains("hint: see that a broker runs"),
        "{message}"
    );
}
