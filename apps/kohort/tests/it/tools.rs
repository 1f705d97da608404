//! The tools of any Kafka-protocol broker: produce, consume, groups, and Kafka's own words for them.

use serde_json::{Value, json};

use crate::process::{Server, refused, said, told};

/// A broker and the flags that name it.
struct World {
    server: Server,
    _folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().expect("a folder");
        let more = ["--set", "num.partitions=2", "--set", "group.initial.rebalance.delay.ms=0"];
        World { server: Server::broker(folder.path(), &more), _folder: folder }
    }

    fn args<'a>(&'a self, args: &[&'a str]) -> Vec<&'a str> {
        [args, &["--bootstrap-server", &self.server.broker]].concat()
    }

    fn said(&self, args: &[&str], input: &str) -> String {
        said(&self.args(args), input)
    }

    fn told(&self, args: &[&str]) -> Value {
        told(&self.args(args))
    }
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

#[test]
fn what_is_produced_is_consumed() {
    let world = World::new();
    assert_eq!(world.said(&["produce", "t"], "one\ntwo\r\n\nthree"), "4 records sent to `t`\n");
    let all = ["consume", "t", "--offset", "first", "--exit"];
    assert_eq!(sorted(&world.said(&all, "")), ["", "one", "three", "two"]);
    assert_eq!(
        world.said(&["produce", "k", "--key-separator", ":"], "a:1\na:2\nb:3\n"),
        "3 records sent to `k`\n"
    );
    let keys = ["consume", "k", "--offset", "first", "--exit", "--keys"];
    assert_eq!(sorted(&world.said(&keys, "")), ["a\t1", "a\t2", "b\t3"]);
    // From an offset, in the middle of a batch, and only so many.
    world.said(&["produce", "p", "--partition", "1"], "0\n1\n2\n3\n4\n");
    let some = ["consume", "p", "--partition", "1", "--offset", "2", "--max", "2"];
    assert_eq!(world.said(&some, ""), "2\n3\n");
    assert_eq!(world.said(&["consume", "p", "--exit"], ""), "", "from the end there is nothing");
    assert!(refused(&world.args(&["consume", "p", "--partition", "2"])).contains("has no partition 2"));
    assert!(refused(&world.args(&["produce", "p", "--file", "no/such"])).contains("no/such"));
}

#[test]
fn json_lines_carry_a_record_whole_from_topic_to_topic() {
    let world = World::new();
    let lines = concat!(
        r#"{"key":"k","value":"v","headers":[{"key":"h","value":"x"}],"timestamp":1704412823000}"#,
        "\n",
        r#"{"key":null,"value_hex":"ff00"}"#,
        "\n",
        r#"{"key":"gone","value":null}"#,
        "\n"
    );
    world.said(&["produce", "a", "--json", "--partition", "0"], lines);
    let copy = world.said(&["consume", "a", "--offset", "first", "--exit", "--json"], "");
    let records: Vec<Value> = copy.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(
        records[0],
        json!({"topic": "a", "partition": 0, "offset": 0, "timestamp": 1_704_412_823_000_i64, "key": "k", "value": "v",
               "headers": [{"key": "h", "value": "x"}]})
    );
    assert_eq!((&records[1]["key"], &records[1]["value_hex"]), (&Value::Null, &json!("ff00")));
    assert_eq!((&records[2]["key"], &records[2]["value"]), (&json!("gone"), &Value::Null));
    world.said(&["produce", "b", "--json", "--partition", "0"], &copy);
    let again = world.said(&["consume", "b", "--offset", "first", "--exit", "--json"], "");
    assert_eq!(again, copy.replace(r#""topic":"a""#, r#""topic":"b""#));
    // A wrong line is named, and what was sent before it is said.
    let output =
        crate::process::kohort_with(&world.args(&["produce", "b", "--json"]), "{\"value\":\"x\"}\nno\n");
    assert_eq!(output.status.code(), Some(2));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "1 records sent to `b`\n");
    assert!(String::from_utf8_lossy(&output.stderr).contains("at: stdin:2"));
}

#[test]
fn a_group_goes_on_where_it_was_is_moved_and_is_deleted() {
    let world = World::new();
    world.said(&["produce", "t", "--partition", "0"], "0\n1\n2\n3\n4\n");
    let read = ["consume", "t", "--group", "g", "--offset", "first", "--exit"];
    assert_eq!(world.said(&read, ""), "0\n1\n2\n3\n4\n");
    world.said(&["produce", "t", "--partition", "0"], "5\n");
    let lag = world.told(&["groups", "describe", "g", "--json"]);
    assert_eq!((&lag["state"], &lag["lag"], &lag["members"]), (&json!("Empty"), &json!(1), &json!([])));
    assert_eq!(world.said(&read, ""), "5\n", "only what is new");

    // A plan changes nothing.
    let back = ["groups", "reset", "g", "--topic", "t:0", "--to", "-2"];
    assert!(world.said(&back, "").contains("nothing is changed yet: add `--execute`"));
    assert_eq!(world.told(&["groups", "describe", "g", "--json"])["lag"], json!(0));
    let moves = world.told(&[&back[..], &["--execute", "--json"]].concat());
    assert_eq!(moves["moves"], json!([{"topic": "t", "partition": 0, "from": 6, "to": 4}]));
    assert_eq!(world.said(&read, ""), "4\n5\n");

    let list = world.told(&["groups", "list", "--json"]);
    assert_eq!(list[0]["group"], "g");
    assert_eq!(world.said(&["groups", "delete", "g"], ""), "group `g` deleted\n");
    assert_eq!(world.told(&["groups", "list", "--json"]), json!([]));
    assert!(refused(&world.args(&["groups", "delete", "g"])).contains("kohort groups list"));
}

#[test]
fn a_group_with_members_is_not_moved() {
    let world = World::new();
    world.said(&["produce", "t"], "0\n");
    let mut member = std::process::Command::new(env!("CARGO_BIN_EXE_kohort"))
        .args(world.args(&["consume", "t", "--group", "g", "--offset", "first"]))
        .stdout(std::process::Stdio::null())
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("start a member");
    let began = std::time::Instant::now();
    let group = loop {
        let group = world.told(&["groups", "list", "--json"]);
        if group[0]["state"] == "Stable" {
            break world.told(&["groups", "describe", "g", "--members", "--json"]);
        }
        assert!(began.elapsed().as_secs() < 60, "{group}");
    };
    assert_eq!(group["members"][0]["partitions"].as_array().map(Vec::len), Some(2), "{group}");
    let message = refused(&world.args(&["groups", "reset", "g", "--all-topics", "--to", "first"]));
    assert!(message.contains("has 1 members") && message.contains("end its consumers first"), "{message}");
    assert!(refused(&world.args(&["groups", "delete", "g"])).contains("end its consumers first"));
    // A member that is asked to end commits and leaves at once.
    crate::process::send_signal(member.id(), "-INT");
    assert_eq!(member.wait().expect("wait").code(), Some(0));
    let group = world.told(&["groups", "describe", "g", "--json"]);
    assert_eq!((&group["state"], &group["lag"]), (&json!("Empty"), &json!(0)), "{group}");
}

#[test]
fn kafkas_own_words_are_understood() {
    let world = World::new();
    let kafka = |args: &[&str]| world.said(&[&["kafka-consumer-groups"][..], args].concat(), "");
    world.said(&["produce", "t", "--partition", "0"], "0\n1\n2\n");
    world.said(&["consume", "t", "--group", "g", "--offset", "first", "--exit"], "");
    assert_eq!(kafka(&["--list"]), "g\n");
    let described = kafka(&["--describe", "--group", "g"]);
    assert!(described.contains("Consumer group 'g' has no active members."), "{described}");
    let row: Vec<&str> =
        described.lines().find(|line| line.starts_with("g ")).expect("a row").split_whitespace().collect();
    assert_eq!(row, ["g", "t", "0", "3", "3", "0", "-", "-", "-"]);
    let plan = kafka(&["--reset-offsets", "--group", "g", "--topic", "t:0", "--to-earliest"]);
    let row: Vec<&str> = plan.lines().nth(1).expect("a row").split_whitespace().collect();
    assert_eq!(row, ["g", "t", "0", "0"]);
    kafka(&["--reset-offsets", "--group", "g", "--topic", "t:0", "--shift-by", "-1", "--execute"]);
    assert_eq!(world.told(&["groups", "describe", "g", "--json"])["lag"], json!(1));
    assert!(kafka(&["--describe", "--group", "g", "--state"]).contains("Empty"));
    assert!(kafka(&["--delete-offsets", "--group", "g", "--topic", "t"]).contains("Successful"));
    kafka(&["--delete", "--group", "g"]);
    assert_eq!(kafka(&["--list"]), "");
}

/// `/dev/full` takes nothing, as a disk that is full.
#[cfg(target_os = "linux")]
#[test]
fn what_could_not_be_written_is_neither_committed_nor_called_done() {
    let world = World::new();
    world.said(&["produce", "t"], "one\ntwo\n");
    let into = |out: std::process::Stdio, args: &[&str]| {
        let kohort = std::process::Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(world.args(args))
            .stdout(out)
            .output();
        let output = kohort.expect("kohort runs");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let full = || std::fs::OpenOptions::new().write(true).open("/dev/full").expect("/dev/full");
    let as_member = ["consume", "t", "--group", "g", "--offset", "first", "--exit"];
    let (code, why) = into(full().into(), &as_member);
    assert!(code == Some(3) && why.contains("No space left"), "{code:?}: {why}");
    assert_eq!(sorted(&world.said(&as_member, "")), ["one", "two"], "nothing was done with");
    let (code, why) = into(full().into(), &["topics", "list"]);
    assert!(code == Some(3) && why.contains("write the results: No space left"), "{code:?}: {why}");
    // A reader that went away has seen enough, but not what was never written.
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let gone = ["consume", "t", "--group", "h", "--offset", "first", "--exit"];
    assert_eq!(into(writer.into(), &gone), (Some(0), String::new()));
    assert_eq!(sorted(&world.said(&gone, "")), ["one", "two"]);
}
