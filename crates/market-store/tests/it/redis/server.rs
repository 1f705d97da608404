//! A Redis that was given, or one of our own that is killed.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use market_store::{RedisAddress, RedisStore};

/// Starting, and loading what was there, may take a while on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

/// The one server that all tests share is emptied by each of them.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

/// The server of `KOHORT_TEST_REDIS` (`host:port`), empty, for one test.
pub(crate) struct Given {
    host: String,
    _alone: MutexGuard<'static, ()>,
}

pub(crate) fn given() -> Option<Given> {
    let host = std::env::var("KOHORT_TEST_REDIS").ok()?;
    let alone = ONE_AT_A_TIME.lock().unwrap_or_else(PoisonError::into_inner);
    // Whatever is in it and is not a test's stays: then it is no server for tests.
    let keys = ask(&host, &["GET", "kohort-test"]);
    assert!(
        keys.contains("yes") || ask(&host, &["DBSIZE"]) == ":0\r\n",
        "the Redis of KOHORT_TEST_REDIS holds something else: give an empty one"
    );
    assert!(ask(&host, &["FLUSHDB"]).starts_with("+OK"));
    ask(&host, &["SET", "kohort-test", "yes"]);
    Some(Given { host, _alone: alone })
}

impl Given {
    pub(crate) fn store(&self) -> RedisStore {
        RedisStore::new(RedisAddress::new(&self.host))
    }
}

/// A server of a test's own.
pub(super) struct Server {
    pub(super) host: String,
    port: u16,
    child: Child,
}

impl Server {
    /// Starts one on a folder, with what the folder holds from before. Its port is kept over restarts.
    pub(super) fn start(folder: &Path, settings: &[&str]) -> Server {
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let child = spawn(folder, port, settings);
        let mut server = Server { host: format!("127.0.0.1:{port}"), port, child };
        server.wait(folder);
        server
    }

    pub(super) fn start_again(&mut self, folder: &Path, settings: &[&str]) {
        self.child = spawn(folder, self.port, settings);
        self.wait(folder);
    }

    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(super) fn store(&self) -> RedisStore {
        RedisStore::new(RedisAddress::new(&self.host))
    }

    pub(super) fn ask(&self, command: &[&str]) -> String {
        ask(&self.host, command)
    }

    fn wait(&mut self, folder: &Path) {
        let until = Instant::now() + PATIENCE;
        // One that wants a password answers, too.
        let answers = |reply: &str| reply.starts_with("+PONG") || reply.starts_with("-NOAUTH");
        while !try_ask(&self.host, &["PING"]).is_ok_and(|reply| answers(&reply)) {
            let log = || std::fs::read_to_string(folder.join("log")).unwrap_or_default();
            assert!(self.child.try_wait().unwrap().is_none(), "redis-server ended: {}", log());
            assert!(Instant::now() < until, "redis-server does not answer: {}", log());
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(folder: &Path, port: u16, settings: &[&str]) -> Child {
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""]);
    command.arg("--dir").arg(folder).arg("--logfile").arg(folder.join("log"));
    command.args(settings).stdin(Stdio::null()).stdout(Stdio::null());
    command.spawn().expect("redis-server can be started: install it (`tests/peers/redis install`)")
}

fn ask(host: &str, command: &[&str]) -> String {
    try_ask(host, command).unwrap()
}

/// Sends a command on a connection of its own; the reply as it came (the tests ask what fits one packet).
fn try_ask(host: &str, command: &[&str]) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut bytes = format!("*{}\r\n", command.len());
    for arg in command {
        bytes.push_str(&format!("${}\r\n{arg}\r\n", arg.len()));
    }
    stream.write_all(bytes.as_bytes())?;
    let mut reply = vec![0; 1 << 20];
    let read = stream.read(&mut reply)?;
    Ok(String::from_utf8_lossy(&reply[..read]).into_owned())
}
