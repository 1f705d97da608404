//! A consumer's settings.

use std::time::Duration;

use crate::Client;

/// Settings of a [`Consumer`](super::Consumer), with Kafka's defaults. Made by [`Client::consumer`].
#[derive(Clone, Debug)]
pub struct ConsumerBuilder {
    pub(crate) client: Client,
    /// `group.id`: none is enough for manual assignment without commits.
    pub(crate) group: Option<String>,
    pub(crate) instance_id: Option<String>,
    pub(crate) assignors: Vec<String>,
    pub(crate) session_timeout: Duration,
    pub(crate) heartbeat_interval: Duration,
    pub(crate) max_poll_interval: Option<Duration>,
    pub(crate) rebalance_timeout: Duration,
    pub(crate) offset_reset: OffsetReset,
    pub(crate) fetch_min_bytes: i32,
    pub(crate) fetch_max_bytes: i32,
    pub(crate) partition_max_bytes: i32,
    pub(crate) fetch_max_wait: Duration,
    pub(crate) prefetch_bytes: usize,
    pub(crate) check_crcs: bool,
    pub(crate) isolation: Isolation,
}

/// `auto.offset.reset`: where to begin when nothing is committed, or what is committed is out of range.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum OffsetReset {
    /// The first record that is still there.
    Earliest,
    /// The end: only what is produced from now on.
    #[default]
    Latest,
    /// The first record that is at most this old (KIP-1106).
    By(Duration),
    /// The partition halts until a `seek`.
    None,
}

/// `isolation.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Isolation {
    /// Records of open and aborted transactions too.
    #[default]
    ReadUncommitted,
    /// Only what is committed (KIP-98).
    ReadCommitted,
}

impl ConsumerBuilder {
    pub(crate) fn new(client: Client) -> Self {
        Self {
            client,
            group: None,
            instance_id: None,
            assignors: vec!["range".into(), "cooperative-sticky".into()],
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            max_poll_interval: None,
            rebalance_timeout: Duration::from_secs(300),
            offset_reset: OffsetReset::Latest,
            fetch_min_bytes: 1,
            fetch_max_bytes: 50 << 20,
            partition_max_bytes: 1 << 20,
            fetch_max_wait: Duration::from_millis(500),
            prefetch_bytes: 4 << 20,
            check_crcs: true,
            isolation: Isolation::ReadUncommitted,
        }
    }

    /// `group.id`.
    #[must_use]
    pub fn group(mut self, id: impl Into<String>) -> Self {
        self.group = Some(id.into());
        self
    }

    /// `group.instance.id`: a static member (KIP-345), which may be away for a session timeout without a rebalance.
    #[must_use]
    pub fn instance_id(mut self, id: impl Into<String>) -> Self {
        self.instance_id = Some(id.into());
        self
    }

    /// `partition.assignment.strategy`: of `range`, `roundrobin`, `sticky`, `cooperative-sticky`, in order of preference.
    /// Only `cooperative-sticky` alone makes rebalances cooperative; with another beside it they are eager. Default `range`, `cooperative-sticky`.
    #[must_use]
    pub fn assignors(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.assignors = names.into_iter().map(Into::into).collect();
        self
    }

    /// `session.timeout.ms`: a member unheard of for this long is dead. Default 45 s.
    #[must_use]
    pub fn session_timeout(mut self, timeout: Duration) -> Self {
        self.session_timeout = timeout;
        self
    }

    /// `heartbeat.interval.ms`: a third of the session timeout at most. Default 3 s.
    #[must_use]
    pub fn heartbeat_interval(mut self, interval: Duration) -> Self {
        self.heartbeat_interval = interval;
        self
    }

    /// `max.poll.interval.ms`: without a call of `next` for this long the member leaves (KIP-62). Kafka's default is
    /// 5 min; here it is off, as the host sees its own handlers.
    #[must_use]
    pub fn max_poll_interval(mut self, interval: Duration) -> Self {
        self.max_poll_interval = Some(interval);
        self
    }

    /// How long a rebalance waits for this member to give partitions up (in Java: `max.poll.interval.ms`). Default 5 min.
    #[must_use]
    pub fn rebalance_timeout(mut self, timeout: Duration) -> Self {
        self.rebalance_timeout = timeout;
        self
    }

    /// `auto.offset.reset`. Default latest, as Kafka's.
    #[must_use]
    pub fn offset_reset(mut self, reset: OffsetReset) -> Self {
        self.offset_reset = reset;
        self
    }

    /// `fetch.min.bytes`: the broker waits for this much, `fetch.max.wait.ms` at most. Default 1.
    #[must_use]
    pub fn fetch_min_bytes(mut self, bytes: i32) -> Self {
        self.fetch_min_bytes = bytes;
        self
    }

    /// `fetch.max.bytes`: of one answer, the first batch aside. Default 50 MiB; never more than `prefetch_bytes`.
    #[must_use]
    pub fn fetch_max_bytes(mut self, bytes: i32) -> Self {
        self.fetch_max_bytes = bytes;
        self
    }

    /// `max.partition.fetch.bytes`. Default 1 MiB.
    #[must_use]
    pub fn partition_max_bytes(mut self, bytes: i32) -> Self {
        self.partition_max_bytes = bytes;
        self
    }

    /// `fetch.max.wait.ms`. Default 500 ms.
    #[must_use]
    pub fn fetch_max_wait(mut self, wait: Duration) -> Self {
        self.fetch_max_wait = wait;
        self
    }

    /// How many bytes may lie fetched and not yet returned by `next`; beyond it nothing is fetched (librdkafka's
    /// `queued.max.messages.kbytes`). Default 4 MiB: more does not stay in the processor's caches until it is read.
    #[must_use]
    pub fn prefetch_bytes(mut self, bytes: usize) -> Self {
        self.prefetch_bytes = bytes;
        self
    }

    /// `check.crcs`. Default true.
    #[must_use]
    pub fn check_crcs(mut self, check: bool) -> Self {
        self.check_crcs = check;
        self
    }

    /// `isolation.level`. Default read uncommitted.
    #[must_use]
    pub fn isolation(mut self, isolation: Isolation) -> Self {
        self.isolation = isolation;
        self
    }
}
