//! Processes of our own program, and what they cost.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, bail};

/// A broker that is asked to begin has begun by then, or never will.
const START_MAX: Duration = Duration::from_secs(30);

/// A server that somebody else runs, by its process: `NAME=PID`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Pid {
    pub(super) name: String,
    pub(super) pid: u32,
}

impl std::str::FromStr for Pid {
    type Err = String;

    fn from_str(text: &str) -> Result<Pid, String> {
        let named = text.split_once('=').filter(|(name, _)| !name.is_empty());
        let pid = named.and_then(|(name, pid)| Some(Pid { name: name.to_owned(), pid: pid.parse().ok()? }));
        pid.ok_or_else(|| "write `NAME=PID`, such as `redis=4711`".to_owned())
    }
}

impl std::fmt::Display for Pid {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}={}", self.name, self.pid)
    }
}

/// A process of our own program. Dropping it kills it.
#[derive(Debug)]
pub(super) struct Process {
    child: Child,
    out: Option<BufReader<ChildStdout>>,
    name: &'static str,
}

impl Process {
    /// Starts `kohort ARGS`; what it says on stderr goes to ours.
    pub(super) fn start(name: &'static str, args: &[&str]) -> anyhow::Result<Process> {
        let own = std::env::current_exe().context("find our own program")?;
        let mut child = Command::new(own)
            .args(["--log", "warn"])
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("start the {name}"))?;
        let out = child.stdout.take().map(BufReader::new);
        Ok(Process { child, out, name })
    }

    /// A broker on a free port of loopback, and its address.
    pub(super) async fn broker(data: &Path) -> anyhow::Result<(Process, String)> {
        let data = data.to_string_lossy();
        let mut broker = Process::start(
            "broker",
            &[
                "broker",
                "--data",
                &data,
                "--listen",
                "127.0.0.1:0",
                "--set",
                "group.initial.rebalance.delay.ms=0",
                "--set",
                "group.min.session.timeout.ms=100",
            ],
        )?;
        let line = tokio::time::timeout(START_MAX, broker.line());
        let line = line.await.with_context(|| format!("the broker said nothing for {START_MAX:?}"))??;
        match line.strip_prefix("broker listening on ") {
            Some(address) => Ok((broker, address.to_owned())),
            None => bail!("the broker said `{line}`"),
        }
    }

    /// The next line that it writes to stdout.
    pub(super) async fn line(&mut self) -> anyhow::Result<String> {
        let mut out = self.out.take().context("somebody reads its lines already")?;
        let (out, read) = tokio::task::spawn_blocking(move || {
            let mut line = String::new();
            let read = out.read_line(&mut line).map(|_| line);
            (out, read)
        })
        .await
        .context("read its lines")?;
        self.out = Some(out);
        let line = read.with_context(|| format!("read what the {} says", self.name))?;
        if line.is_empty() {
            let status = self.child.wait().with_context(|| format!("wait for the {}", self.name))?;
            bail!("the {} ended without a result, {status}", self.name);
        }
        Ok(line.trim_end().to_owned())
    }

    /// The processor time that it has used; `None` where the operating system does not say.
    pub(super) fn cpu(&self) -> Option<Duration> {
        cpu(self.child.id())
    }

    /// The most memory that it has held, in bytes.
    pub(super) fn peak_memory(&self) -> Option<u64> {
        peak_memory(&self.child.id().to_string())
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The processor time that a process has used; `None` where the operating system does not say, or there is no such process.
pub(super) fn cpu(pid: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in brackets may hold anything; behind it the fields are numbers.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u64>().ok();
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Some(Duration::from_millis((ticks(11)? + ticks(12)?) * 1000 / per_second))
}

/// The most memory that this process has held, in bytes.
pub(super) fn own_peak_memory() -> Option<u64> {
    peak_memory("self")
}

fn peak_memory(process: &str) -> Option<u64> {
    let mut status = String::new();
    std::fs::File::open(format!("/proc/{process}/status")).ok()?.read_to_string(&mut status).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// The processor time that this process has used.
pub(super) fn own_cpu() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_time_and_its_memory() {
        let before = own_cpu();
        let sum = (0..5_000_000u64).fold(0u64, |sum, n| sum.rotate_left(3) ^ n);
        assert!(own_cpu() > before, "{sum}");
        assert!(own_peak_memory().is_none_or(|bytes| bytes > 1 << 20));
        if cfg!(target_os = "linux") {
            assert!(cpu(std::process::id()).is_some() && cpu(u32::MAX).is_none());
        }
    }

    #[test]
    fn a_server_is_named_with_its_process() {
        let pid: Pid = "redis=4711".parse().unwrap();
        assert_eq!((pid.pid, pid.to_string().as_str()), (4711, "redis=4711"));
        for wrong in ["4711", "=4711", "redis=", "redis=-1", "redis=x"] {
            assert!(wrong.parse::<Pid>().unwrap_err().contains("NAME=PID"), "{wrong}");
        }
    }
}
