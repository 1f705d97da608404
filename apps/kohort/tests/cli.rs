//! The command line as scripts see it: exit codes, lines on stdout, messages on stderr.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn kohort(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_kohort")).args(args).output().expect("run kohort")
}

fn refused(args: &[&str]) -> String {
    let output = kohort(args);
    assert_eq!(output.status.code(), Some(2), "{args:?}");
    assert!(output.stdout.is_empty(), "{args:?} wrote a result");
    String::from_utf8(output.stderr).expect("text")
}

/// A server that said where it listens.
struct Server {
    child: Child,
    line: String,
}

impl Server {
    fn start(args: &[&str]) -> Server {
        let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(args)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("start kohort");
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().expect("piped")).read_line(&mut line).expect("read a line");
        Server { child, line: line.trim_end().to_owned() }
    }

    fn end(mut self, signal: &str) -> (Option<i32>, Duration) {
        let began = Instant::now();
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().expect("run kill").success());
        let status = self.child.wait().expect("wait");
        (status.code(), began.elapsed())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // A test that failed leaves no server behind; one that ended already is no matter.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

#[test]
fn every_command_has_help_with_examples() {
    let help = String::from_utf8(kohort(&["--help"]).stdout).expect("text");
    let block = help
        .lines()
        .skip_while(|line| !line.starts_with("Commands:"))
        .skip(1)
        .take_while(|line| !line.is_empty());
    // A description that is wrapped goes on further to the right.
    let commands = block.filter_map(|line| line.strip_prefix("  ")).filter(|line| !line.starts_with(' '));
    let names: Vec<&str> =
        commands.filter_map(|line| line.split_whitespace().next()).filter(|&name| name != "help").collect();
    assert!(names.contains(&"broker") && names.contains(&"replay"), "{names:?}");
    for name in names {
        let output = kohort(&[name, "--help"]);
        assert_eq!(output.status.code(), Some(0), "{name}");
        assert!(
            String::from_utf8_lossy(&output.stdout).contains("Examples:"),
            "`kohort {name} --help` has no examples"
        );
    }
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
    assert!(refused(&["replay", "no/such.jsonl", "--topic", "t"]).contains("at: no/such.jsonl"));
    assert!(refused(&["topics", "list", "--bootstrap-server", "nowhere"]).contains("not `host:port`"));
}

#[test]
fn a_broker_says_where_it_listens_and_ends_cleanly_on_either_signal() {
    for signal in ["-INT", "-TERM"] {
        let folder = tempfile::tempdir().expect("a folder");
        let server = Server::start(&["broker", "--data", text(folder.path()), "--listen", "127.0.0.1:0"]);
        let port = server.line.strip_prefix("broker listening on 127.0.0.1:").expect(&server.line);
        assert_ne!(port.parse::<u16>().expect("a port"), 0);
        let (code, took) = server.end(signal);
        assert_eq!(code, Some(0));
        assert!(took < Duration::from_secs(3), "{took:?}");
    }
}

#[test]
fn a_busy_port_and_a_used_folder_are_refused_with_the_mend() {
    let folder = tempfile::tempdir().expect("a folder");
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("its address").to_string();
    let message = refused(&["broker", "--data", text(folder.path()), "--listen", &address]);
    assert!(
        message.contains(&format!("cannot listen on {address}"))
            && message.contains("hint: stop what listens")
    );

    let first = Server::start(&["broker", "--data", text(folder.path()), "--listen", "127.0.0.1:0"]);
    let message = refused(&["broker", "--data", text(folder.path()), "--listen", "127.0.0.1:0"]);
    assert!(message.contains("uses the data folder") && message.contains("--data DIR"), "{message}");
    assert_eq!(first.end("-INT").0, Some(0));
}

#[test]
fn a_folder_that_cannot_be_made_is_named() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    let message = refused(&["broker", "--data", text(file.path()), "--listen", "127.0.0.1:0"]);
    assert!(
        message.contains("the data folder cannot be used") && message.contains(text(file.path())),
        "{message}"
    );
}
