//! The command line as scripts see it: exit codes, lines on stdout, messages on stderr.

use std::time::Duration;

use crate::process::{Server, kohort, refused};

/// The commands that this help lists.
fn commands(help: &str) -> Vec<&str> {
    let block = help.lines().skip_while(|line| !line.starts_with("Commands:")).skip(1);
    let block = block.take_while(|line| !line.is_empty());
    // A description that is wrapped goes on further to the right.
    let lines = block.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    lines.filter_map(|line| line.split_whitespace().next()).filter(|&name| name != "help").collect()
}

/// The help of a command and of all below it.
fn help_has_examples(command: &[&str]) -> usize {
    let output = kohort(&[command, &["--help"]].concat());
    assert_eq!(output.status.code(), Some(0), "{command:?}");
    let help = String::from_utf8(output.stdout).expect("text");
    assert!(help.contains("Examples:\n"), "`kohort {} --help` has no examples", command.join(" "));
    let below = commands(&help);
    below.iter().map(|name| help_has_examples(&[command, &[name]].concat())).sum::<usize>() + 1
}

#[test]
fn every_command_has_help_with_examples() {
    let seen = help_has_examples(&[]);
    assert!(seen > 20, "only {seen} commands were looked at");
}

#[test]
fn wrong_use_is_exit_2_with_the_mend() {
    assert!(refused(&["frob"]).contains("unrecognized subcommand 'frob'"));
    assert!(refused(&["replay", "a.jsonl"]).contains("--topic"));
    assert!(
        refused(&["replay", "a.jsonl", "--topic", "t", "--speed", "0"]).contains("write a number above 0")
    );
    assert!(
        refused(&["broker", "--set", "num.partition=3"]).contains("hint: did you mean `num.partitions`?")
    );
    assert!(refused(&["broker", "--set", "num.partitions=many"]).contains("hint: it takes a whole number"));
    assert!(refused(&["topics", "list", "--bootstrap-server", "nowhere"]).contains("not `host:port`"));
    assert!(refused(&["up", "--no-feed", "--speed", "2"]).contains("cannot be used with"));
    assert!(refused(&["up", "--speed", "max"]).contains("needs a pace"));
    assert!(refused(&["--log", "a=b=c", "topics", "list"]).contains("is no log level"));
    assert!(refused(&["consume", "t", "--offset", "soon"]).contains("write `first`, `last` or an offset"));
    assert!(refused(&["consume", "t", "--group", "g", "--offset", "7"]).contains("kohort groups reset"));
    assert!(refused(&["groups", "reset", "g", "--topic", "t", "--to", "soon"]).contains("is no place"));
    assert!(refused(&["groups", "reset", "g", "--to", "first"]).contains("--topic"));
    assert!(refused(&["kafka-consumer-groups", "--describe"]).contains("hint: write `--group GROUP`"));
    assert!(refused(&["sim", "--protocol", "consumer"]).contains("is not simulated yet"));
    assert!(refused(&["sim", "--bug", "gremlins"]).contains("hint: "));
}

#[test]
fn a_broker_says_where_it_listens_and_ends_cleanly_on_either_signal() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::broker(folder.path(), &[]);
        let port = server.broker.strip_prefix("127.0.0.1:").expect("loopback");
        assert_ne!(port.parse::<u16>().expect("a port"), 0);
        let (code, took) = server.end(signal);
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}
