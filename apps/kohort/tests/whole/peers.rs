//! MariaDB or MySQL, Redis and Kafka, by the scripts of `tests/peers`.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::SystemTime;

use crate::rig::free_port;

/// A server that a script starts, kills and ends; it ends with its test.
pub(crate) struct Peer {
    script: &'static str,
    folder: PathBuf,
    port: u16,
    settings: Vec<String>,
    /// What ends it. A server that is thrown away need not end well.
    ends: &'static str,
}

impl Peer {
    fn start(script: &'static str, folder: PathBuf, settings: &[&str], ends: &'static str) -> Peer {
        let settings = settings.iter().map(|setting| (*setting).to_owned()).collect();
        let peer = Peer { script, folder, port: free_port(), settings, ends };
        peer.again();
        peer
    }

    /// An installed MariaDB, or the MySQL in its place: that one has its programs in its folder.
    pub(crate) fn mariadb() -> Peer {
        let options = std::env::var("KOHORT_WHOLE_MARIADB_OPTIONS").unwrap_or_default();
        let options: Vec<&str> = options.split_whitespace().collect();
        let folder = named("KOHORT_WHOLE_MARIADB");
        let script = if folder.join("server").exists() { "mysql" } else { "mariadb" };
        Peer::start(script, folder, &options, "stop")
    }

    /// An empty Redis in a new folder.
    pub(crate) fn redis(folder: PathBuf) -> Peer {
        let wanted = std::env::var("KOHORT_WHOLE_REDIS").unwrap_or_else(|_| "always".to_owned());
        let settings: &[&str] = match &*wanted {
            "always" => &[],
            "everysec" => &["appendfsync", "everysec"],
            "snapshots" => &["appendonly", "no", "save", "3600 1 300 100 60 10000"],
            other => panic!("KOHORT_WHOLE_REDIS: always, everysec or snapshots, not `{other}`"),
        };
        Peer::start("redis", folder, settings, "kill")
    }

    /// An empty Kafka in a new folder, of the jars of an installed one.
    pub(crate) fn kafka(folder: PathBuf) -> Peer {
        std::fs::create_dir(&folder).unwrap();
        let jars = named("KOHORT_WHOLE_KAFKA").join("libs").canonicalize().expect("Kafka is installed");
        std::os::unix::fs::symlink(jars, folder.join("libs")).unwrap();
        let settings = [
            "group.initial.rebalance.delay.ms=0",
            "group.min.session.timeout.ms=500",
            "offsets.topic.num.partitions=4",
        ];
        Peer::start("kafka", folder, &settings, "kill")
    }

    /// `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub(crate) fn again(&self) {
        let port = self.port.to_string();
        let settings = self.settings.iter().map(String::as_str);
        self.run("start", &std::iter::once(port.as_str()).chain(settings).collect::<Vec<_>>());
    }

    pub(crate) fn kill(&self) {
        self.run("kill", &[]);
    }

    /// Makes a database of the server that nobody had, and gives its address.
    pub(crate) fn new_database(&self) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_micros();
        self.run("sql", &["-e", &format!("CREATE DATABASE whole_{now}")]);
        format!("mysql://kohort:kohort@{}/whole_{now}", self.address())
    }

    fn run(&self, what: &str, arguments: &[&str]) {
        let ran = self.command(what, arguments).status().unwrap();
        assert!(ran.success(), "tests/peers/{} {what} {}", self.script, self.folder.display());
    }

    fn command(&self, what: &str, arguments: &[&str]) -> Command {
        let scripts = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers");
        let mut command = Command::new("bash");
        command.arg(scripts.join(self.script)).arg(what).arg(&self.folder).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).env("KAFKA_JVM", "-Xms256m -Xmx768m");
        command
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // Nobody reads of a server that was down already: the test has failed before.
        let _ = self.command(self.ends, &[]).stderr(Stdio::null()).status();
    }
}

/// The folder that a variable names. A peer that is missing is a failure, not a test that is left out.
fn named(variable: &str) -> PathBuf {
    std::env::var_os(variable).unwrap_or_else(|| panic!("{variable} names no folder")).into()
}
