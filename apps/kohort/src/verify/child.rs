//! The process under test: `kohort dataflow`, started, killed, and started again.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};

/// A clean end takes no longer: Ctrl-C ends everything within 3 s, and a busy machine gets as much again.
const STOP_MAX: Duration = Duration::from_secs(10);

/// The service's file for one run.
pub(super) fn config_file(
    servers: &[String],
    group: &str,
    topic: &str,
    consumers: u32,
    processors: u32,
    store: &str,
) -> String {
    let brokers: String = servers.iter().map(|s| format!("  - {s}\n")).collect();
    format!(
        "Name: verify\n{store}Brokers:\n{brokers}KqVerify:\n  Group: {group}\n  Topic: {topic}\n  Offset: first\n  Consumers: {consumers}\n  \
         Processors: {processors}\n  MinBytes: 1\n  CommitInterval: 100ms\n  SessionTimeout: 6s\n"
    )
}

/// A running `kohort dataflow`. Dropping it kills it.
pub(super) struct Dataflow {
    child: Child,
    log: PathBuf,
}

impl Dataflow {
    pub(super) fn start(config: &Path, data: &Path) -> anyhow::Result<Self> {
        let own = std::env::current_exe().context("find our own program")?;
        let log = data.join("dataflow.log");
        let file = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(&log)
            .context("open the service's log")?;
        let child = Command::new(own)
            .args(["--log", "info", "dataflow", "--http", "127.0.0.1:0", "-f"])
            .arg(config)
            .arg("--data")
            .arg(data)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(file)
            .spawn()
            .context("start `kohort dataflow`")?;
        Ok(Self { child, log })
    }

    /// kill -9.
    pub(super) fn kill(&mut self) -> anyhow::Result<()> {
        self.must_run()?;
        self.child.kill().context("kill the service")?;
        self.child.wait().context("wait for the killed service")?;
        Ok(())
    }

    /// It must not end by itself.
    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        match self.child.try_wait().context("look at the service")? {
            None => Ok(()),
            Some(status) => bail!("the service ended by itself, {status}:\n{}", self.last_lines()),
        }
    }

    /// SIGTERM, as a person or a supervisor would end it: it must end cleanly.
    pub(super) async fn stop(mut self) -> anyhow::Result<()> {
        self.must_run()?;
        let pid = self.child.id().to_string();
        let told = Command::new("kill").args(["-TERM", &pid]).status().context("tell the service to end")?;
        if !told.success() {
            bail!("the service could not be told to end");
        }
        let status = self.ended().await?;
        if !status.success() {
            bail!("the service did not end cleanly, {status}:\n{}", self.last_lines());
        }
        Ok(())
    }

    async fn ended(&mut self) -> anyhow::Result<ExitStatus> {
        let since = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait().context("look at the service")? {
                return Ok(status);
            }
            if since.elapsed() > STOP_MAX {
                bail!("the service was asked to end {STOP_MAX:?} ago and still runs:\n{}", self.last_lines());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn last_lines(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().rev().take(10).collect();
        lines.into_iter().rev().collect::<Vec<_>>().join("\n")
    }
}

impl Drop for Dataflow {
    fn drop(&mut self) {
        // It may have ended: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Moments to kill at.
pub(super) struct Random(u64);

impl Random {
    pub(super) fn new() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(1, |t| t.subsec_nanos());
        Self(u64::from(nanos) << 20 | u64::from(std::process::id()))
    }

    pub(super) fn between(&mut self, low: Duration, high: Duration) -> Duration {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let span = u64::try_from((high - low).as_micros()).unwrap_or(u64::MAX).max(1);
        low + Duration::from_micros((self.0 >> 33) % span)
    }
}
