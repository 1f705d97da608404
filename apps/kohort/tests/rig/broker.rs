//! `kohort broker` as a process that may be killed and come back.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::SystemTime;

use super::process::{Process, kohort};

/// A broker whose groups come together at once, and may have short sessions.
pub(crate) struct Broker {
    process: Option<Process>,
    data: PathBuf,
    settings: Vec<String>,
    /// `host:port`.
    pub(crate) address: String,
}

impl Broker {
    /// Starts one at any free port.
    pub(crate) fn start(data: &Path, settings: &[&str]) -> Broker {
        Broker::at("127.0.0.1:0", data, settings)
    }

    /// Starts one at a port that it can come back to.
    pub(crate) fn at(address: &str, data: &Path, settings: &[&str]) -> Broker {
        let always = ["group.initial.rebalance.delay.ms=0", "group.min.session.timeout.ms=500"];
        let settings = always.iter().chain(settings).map(|setting| (*setting).to_owned()).collect();
        let (data, address) = (data.to_owned(), address.to_owned());
        let mut broker = Broker { process: None, data, settings, address };
        broker.again();
        broker
    }

    /// Starts it where it was.
    pub(crate) fn again(&mut self) {
        let mut child = kohort("error")
            .args(["broker", "--listen", &self.address])
            .args(self.settings.iter().flat_map(|setting| ["--set", setting]))
            .arg("--data")
            .arg(&self.data)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let said = line.trim().strip_prefix("broker listening on ").expect("the broker says where");
        self.address = said.to_owned();
        self.process = Some(Process(child));
    }

    pub(crate) fn kill(&mut self) {
        self.process = None;
    }
}

/// A port that nobody has, nor the one behind it, below those that outgoing connections get: a server may come back to it.
pub(crate) fn free_port() -> u16 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    let mut random = super::Random(u64::from(since.subsec_nanos()) << 16 | u64::from(std::process::id()));
    let bound = |port| TcpListener::bind(("127.0.0.1", port));
    loop {
        let port = 20_000 + 2 * u16::try_from(random.below(5_000)).unwrap();
        if let (Ok(_), Ok(_)) = (bound(port), bound(port + 1)) {
            return port;
        }
    }
}
