//! `kohort` as a process: run to its end, or as a server that is asked and ended.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A busy machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(60);

/// Runs a command to its end.
pub(crate) fn kohort(args: &[&str]) -> Output {
    kohort_with(args, "")
}

/// Runs a command to its end, with something on stdin.
pub(crate) fn kohort_with(args: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
        .args(args)
        .env_remove("RUST_LOG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("run kohort");
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    let writing = std::thread::spawn(move || drop(stdin.write_all(input.as_bytes())));
    let output = child.wait_with_output().expect("wait for kohort");
    writing.join().expect("write to stdin");
    output
}

/// What a command that must succeed says on stdout.
pub(crate) fn said(args: &[&str], input: &str) -> String {
    let output = kohort_with(args, input);
    assert_eq!(output.status.code(), Some(0), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The same, as JSON.
pub(crate) fn told(args: &[&str]) -> Value {
    serde_json::from_str(&said(args, "")).expect("JSON")
}

/// What a command that is wrong use says on stderr: exit 2, nothing on stdout, one message.
pub(crate) fn refused(args: &[&str]) -> String {
    let output = kohort(args);
    let message = String::from_utf8(output.stderr).expect("text");
    assert_eq!(output.status.code(), Some(2), "{args:?}: {message}");
    assert!(output.stdout.is_empty(), "{args:?} wrote a result");
    assert_eq!(message.matches("error: ").count(), 1, "{args:?}: {message}");
    message
}

pub(crate) fn text(path: &Path) -> &str {
    path.to_str().expect("a path of letters")
}

/// A server that said where it listens.
pub(crate) struct Server {
    child: Child,
    pub(crate) broker: String,
    pub(crate) http: String,
}

impl Server {
    /// `kohort broker` on a free port.
    pub(crate) fn broker(data: &Path, more: &[&str]) -> Server {
        let args = ["broker", "--data", text(data), "--listen", "127.0.0.1:0"];
        let (child, mut said) = start(&[&args[..], more].concat(), &["broker listening on "]);
        Server { child, broker: said.remove(0), http: String::new() }
    }

    /// `kohort up` on free ports.
    pub(crate) fn up(data: &Path, more: &[&str]) -> Server {
        let args = ["up", "--data", text(data), "--broker", "127.0.0.1:0", "--http", "127.0.0.1:0"];
        let words = ["broker listening on ", "http listening on http://"];
        let (child, mut said) = start(&[&args[..], more].concat(), &words);
        Server { child, http: said.remove(1), broker: said.remove(0) }
    }

    /// `kohort consumer`, which says where its HTTP listens; further lines are for [`Server::until_line`].
    pub(crate) fn consumer(args: &[&str]) -> Server {
        Server::service("consumer", args)
    }

    /// `kohort dataflow`, likewise.
    pub(crate) fn dataflow(args: &[&str]) -> Server {
        Server::service("dataflow", args)
    }

    /// A service by its command.
    pub(crate) fn service(name: &str, args: &[&str]) -> Server {
        let (child, mut said) = start(&[&[name], args].concat(), &["http listening on http://"]);
        Server { child, broker: String::new(), http: said.remove(0) }
    }

    /// Reads lines until one is as wanted.
    pub(crate) fn until_line(&mut self, wanted: impl Fn(&str) -> bool) -> String {
        let began = Instant::now();
        let mut seen = Vec::new();
        for line in BufReader::new(self.child.stdout.as_mut().expect("piped")).lines() {
            let line = line.expect("a line");
            if wanted(&line) {
                return line;
            }
            seen.push(line);
            assert!(began.elapsed() < PATIENCE, "the line does not come: {seen:?}");
        }
        panic!("it ended: {seen:?}");
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What this address answers, head and body.
    pub(crate) fn get(&self, path: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.http).expect("connect");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.http).expect("ask");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        (head.to_owned(), body.to_owned())
    }

    /// Asks the API; an answer that is no success is null.
    pub(crate) fn ask(&self, path: &str) -> Value {
        let (head, body) = self.get(path);
        if !head.starts_with("HTTP/1.0 200") {
            return Value::Null;
        }
        serde_json::from_str(&body).expect("JSON")
    }

    /// Asks until the answer is as wanted.
    pub(crate) fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
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

    /// Sends a signal and waits for the end: the exit code (none after a kill) and how long it took.
    pub(crate) fn end(mut self, signal: &str) -> (Option<i32>, Duration) {
        let began = Instant::now();
        send_signal(self.child.id(), signal);
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

pub(crate) fn send_signal(pid: u32, signal: &str) {
    let sent = Command::new("kill").args([signal, &pid.to_string()]).status().expect("run kill");
    assert!(sent.success(), "kill {signal} {pid}");
}

/// Starts a server and reads a line for each of `words`; returns what is behind them.
fn start(args: &[&str], words: &[&str]) -> (Child, Vec<String>) {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
        .args(args)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("start kohort");
    let mut lines = BufReader::new(child.stdout.as_mut().expect("piped")).lines();
    let mut said = Vec::new();
    for words in words {
        let line = lines.next().expect("it ended before it said where it listens").expect("a line");
        let rest = line.strip_prefix(words);
        said.push(rest.unwrap_or_else(|| panic!("`{line}` is not `{words}`")).to_owned());
    }
    (child, said)
}
