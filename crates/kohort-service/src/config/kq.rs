//! A `Kq` block: which topic is consumed, by which group, with how many hands.
//!
//! The keys and defaults of go-zero's `kq`, matched without regard to case. One meaning differs, on purpose: here
//! `Consumers` is the number of *members* of the group (in `kq` that is `Conns`, and `Consumers` are only fetchers), and
//! `Processors` is the number of handlers inside each member. `Order` and what follows it are ours.

use std::collections::BTreeMap;
use std::time::Duration;

use super::section::{Found, Section};
use crate::complaint::Complaint;

/// Where a group without a committed offset begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartOffset {
    /// At the oldest record that is kept.
    First,
    /// At the records that come from now on.
    Last,
}

/// Which records wait for each other inside a member.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Records with one key are handled in order.
    Key,
    /// Records of one partition are handled in order.
    Partition,
    /// No record waits for another.
    None,
}

/// Which group protocol a member speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    /// The newest that the broker offers.
    Auto,
    /// JoinGroup, SyncGroup, Heartbeat.
    Classic,
    /// KIP-848.
    Consumer,
}

/// One `Kq` block, complete: what the file leaves out has its default.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kq {
    /// The block's name in the file, `KqSol`.
    pub name: String,
    /// `file:line` of the block, for messages.
    pub at: String,
    /// The lines of the keys that the block itself has.
    pub(crate) lines: BTreeMap<&'static str, usize>,
    /// `host:port` of the brokers; empty when neither the block nor the file names any.
    pub brokers: Vec<String>,
    /// The group that the members join.
    pub group: String,
    /// The one topic that they read.
    pub topic: String,
    /// Where a group without a commit begins. Default `last`, as in kq.
    pub offset: StartOffset,
    /// Accepted for kq's sake and not used; default 1.
    pub conns: u32,
    /// Members of the group in this process. Default 8.
    pub consumers: u32,
    /// Handlers side by side in each member. Default 8.
    pub processors: u32,
    /// Fewest bytes that a fetch waits for. Default 10 KiB.
    pub min_bytes: u32,
    /// Most bytes that a fetch returns. Default 10 MiB.
    pub max_bytes: u32,
    /// SASL/PLAIN, used when both are there.
    pub username: Option<String>,
    /// SASL/PLAIN, used when both are there.
    pub password: Option<String>,
    /// Root certificates for TLS.
    pub ca_file: Option<String>,
    /// True (default): after [`Kq::max_attempts`] a record goes to the dead-letter topic and its lane moves on.
    /// False: its lane waits.
    pub force_commit: bool,
    /// Accepted for kq's sake: commits are always in order here.
    pub commit_in_order: bool,
    /// Which records wait for each other. Default `key`.
    pub order: Order,
    /// Attempts before a record counts as one that cannot be handled. Default 3.
    pub max_attempts: u32,
    /// The pause before the second attempt; it doubles with each further one. Default 100 ms.
    pub retry_backoff: Duration,
    /// Where records go that cannot be handled. Default `<topic>.<group>.dlq`.
    pub dlq_topic: String,
    /// `group.instance.id` of static members; member `n` of several is `<InstanceId>-<n>`.
    pub instance_id: Option<String>,
    /// The assignors a member offers, first preferred. Empty: the client's own default.
    pub assignors: Vec<String>,
    /// Which group protocol. Default `auto`.
    pub protocol: Protocol,
    /// How long a stop or a revocation waits for what is in hand. Default 10 s.
    pub drain_timeout: Duration,
    /// How often finished offsets are committed. Default 1 s, as in kq.
    pub commit_interval: Duration,
    /// `session.timeout.ms` of the members. `None`: the client's own default.
    pub session_timeout: Option<Duration>,
}

/// Members and handlers beyond any machine are a slip of the keyboard.
const HANDS_MAX: u64 = 1024;
/// Kafka's own limit for the length of a topic's name.
const TOPIC_NAME_MAX: usize = 249;
const ASSIGNORS: [(&str, &str); 4] = [
    ("range", "range"),
    ("roundrobin", "roundrobin"),
    ("sticky", "sticky"),
    ("cooperative-sticky", "cooperative-sticky"),
];

impl Kq {
    /// Reads the block `name` of `file`; `brokers` is what the file names for all its blocks.
    pub(crate) fn read(
        file: &str,
        name: &str,
        found: Found<'_>,
        brokers: &[String],
        warnings: &mut Vec<String>,
        secrets: &mut Vec<(String, String)>,
    ) -> Result<Kq, Complaint> {
        let at = format!("{file}:{}", found.line());
        let mut section = Section::of(found)?;
        let group = section.required("Group", "members need a group to share the partitions in")?.name()?;
        let topic = section.required("Topic", "a consumer reads exactly one topic")?;
        let topic = topic_name(topic)?;
        let own_brokers = section.take("Brokers").map(read_brokers).transpose()?;
        let mut kq = Kq {
            at,
            lines: BTreeMap::new(),
            name: name.to_owned(),
            brokers: own_brokers.unwrap_or_else(|| brokers.to_vec()),
            offset: read_offset(&mut section, name, warnings)?,
            conns: number(&mut section, "Conns", 1, (0, HANDS_MAX))?,
            consumers: number(&mut section, "Consumers", 8, (1, HANDS_MAX))?,
            processors: number(&mut section, "Processors", 8, (1, HANDS_MAX))?,
            min_bytes: number(&mut section, "MinBytes", 10 * 1024, (1, i32::MAX as u64))?,
            max_bytes: number(&mut section, "MaxBytes", 10 * 1024 * 1024, (1, i32::MAX as u64))?,
            username: text(&mut section, "Username")?,
            password: match section.take("Password") {
                Some(found) => found.secret(&format!("`Password` of `{name}`"), secrets)?,
                None => None,
            },
            ca_file: text(&mut section, "CaFile")?,
            force_commit: boolean(&mut section, "ForceCommit", true)?,
            commit_in_order: boolean(&mut section, "CommitInOrder", false)?,
            order: word(&mut section, "Order", ORDERS, Order::Key)?,
            max_attempts: number(&mut section, "MaxAttempts", 3, (1, 1_000_000))?,
            retry_backoff: duration(&mut section, "RetryBackoff", Duration::from_millis(100))?,
            dlq_topic: match section.take("DlqTopic") {
                Some(found) => topic_name(found)?,
                None => default_dlq(&topic, &group),
            },
            instance_id: section.take("InstanceId").map(|found| found.name()).transpose()?,
            assignors: read_assignors(&mut section)?,
            protocol: word(&mut section, "Protocol", PROTOCOLS, Protocol::Auto)?,
            drain_timeout: duration(&mut section, "DrainTimeout", Duration::from_secs(10))?,
            commit_interval: duration(&mut section, "CommitInterval", Duration::from_secs(1))?,
            session_timeout: section.take("SessionTimeout").map(|found| found.duration()).transpose()?,
            group,
            topic,
        };
        kq.lines = section.lines();
        section.finish()?;
        kq.check(found, warnings)?;
        Ok(kq)
    }

    /// `file:line` of `key`; of the block where it leaves the key out.
    #[must_use]
    pub fn at(&self, key: &str) -> String {
        match (self.lines.get(key), self.at.rsplit_once(':')) {
            (Some(line), Some((file, _))) => format!("{file}:{line}"),
            _ => self.at.clone(),
        }
    }

    /// True if the block itself has `key`.
    #[must_use]
    pub fn says(&self, key: &str) -> bool {
        self.lines.contains_key(key)
    }

    /// What holds between keys.
    fn check(&self, found: Found<'_>, warnings: &mut Vec<String>) -> Result<(), Complaint> {
        let name = &self.name;
        if self.min_bytes > self.max_bytes {
            return Err(found
                .complain(format!(
                    "`MinBytes` ({}) is more than `MaxBytes` ({})",
                    self.min_bytes, self.max_bytes
                ))
                .why("a fetch would wait for more than it may return"));
        }
        if self.username.is_some() != self.password.is_some() {
            return Err(found
                .complain(format!("`{name}` has one of `Username` and `Password`"))
                .why("SASL/PLAIN needs both")
                .hint("add the other, or remove this one"));
        }
        if self.conns > 1 {
            warnings.push(format!(
                "{}: `Conns` is not used: `Consumers` ({}) is the number of group members here",
                self.at, self.consumers
            ));
        }
        Ok(())
    }
}

const ORDERS: &[(&str, Order)] =
    &[("key", Order::Key), ("partition", Order::Partition), ("none", Order::None)];
const PROTOCOLS: &[(&str, Protocol)] =
    &[("auto", Protocol::Auto), ("classic", Protocol::Classic), ("consumer", Protocol::Consumer)];

fn read_offset(
    section: &mut Section<'_>,
    name: &str,
    warnings: &mut Vec<String>,
) -> Result<StartOffset, Complaint> {
    match section.take("Offset") {
        Some(found) => found.one_of(&[("first", StartOffset::First), ("last", StartOffset::Last)]),
        None => {
            warnings.push(format!(
                "`{name}` leaves `Offset` at `last`: a new group skips what was sent before its first commit"
            ));
            Ok(StartOffset::Last)
        }
    }
}

fn read_assignors(section: &mut Section<'_>) -> Result<Vec<String>, Complaint> {
    let Some(found) = section.take("Assignor") else { return Ok(Vec::new()) };
    for word in found.list()? {
        if !ASSIGNORS.iter().any(|(name, _)| *name == word) {
            let known = ASSIGNORS.map(|(name, _)| name).join(", ");
            return Err(found
                .complain(format!("`Assignor` names `{word}`, which is none of ours"))
                .hint(format!("write one or more of: {known}")));
        }
    }
    found.list()
}

/// `host:port` each.
pub(crate) fn read_brokers(found: Found<'_>) -> Result<Vec<String>, Complaint> {
    let brokers = found.list()?;
    for broker in &brokers {
        let port =
            broker.rsplit_once(':').and_then(|(host, port)| (!host.is_empty()).then(|| port.parse::<u16>()));
        if !matches!(port, Some(Ok(_))) {
            return Err(found
                .complain(format!("`Brokers` names `{broker}`, not `host:port`"))
                .hint("write `127.0.0.1:9092`"));
        }
    }
    Ok(brokers)
}

/// A name that Kafka takes for a topic.
fn topic_name(found: Found<'_>) -> Result<String, Complaint> {
    let topic = found.name()?;
    let legal = topic.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-'));
    if !legal || topic.len() > TOPIC_NAME_MAX || topic == "." || topic == ".." {
        return Err(found
            .complain(format!("`{topic}` cannot be the name of a topic"))
            .hint("use letters, digits, `.`, `_` and `-`, at most 249 of them"));
    }
    Ok(topic)
}

/// `<topic>.<group>.dlq`, with what Kafka does not take in a topic's name replaced.
fn default_dlq(topic: &str, group: &str) -> String {
    let group: String =
        group.chars().map(|c| if c.is_ascii_alphanumeric() || "._-".contains(c) { c } else { '_' }).collect();
    let mut name = format!("{topic}.{group}");
    name.truncate(TOPIC_NAME_MAX - ".dlq".len());
    name + ".dlq"
}

fn number(
    section: &mut Section<'_>,
    key: &'static str,
    default: u32,
    (least, most): (u64, u64),
) -> Result<u32, Complaint> {
    match section.take(key) {
        Some(found) => Ok(u32::try_from(found.integer(least, most)?).unwrap_or(u32::MAX)),
        None => Ok(default),
    }
}

fn boolean(section: &mut Section<'_>, key: &'static str, default: bool) -> Result<bool, Complaint> {
    section.take(key).map_or(Ok(default), |found| found.boolean())
}

fn duration(section: &mut Section<'_>, key: &'static str, default: Duration) -> Result<Duration, Complaint> {
    section.take(key).map_or(Ok(default), |found| found.duration())
}

/// A text; an empty one counts as absent, because go-zero's files write `Username: ""`.
fn text(section: &mut Section<'_>, key: &'static str) -> Result<Option<String>, Complaint> {
    let text = section.take(key).map(|found| found.text()).transpose()?;
    Ok(text.filter(|text| !text.is_empty()))
}

fn word<T: Copy>(
    section: &mut Section<'_>,
    key: &'static str,
    words: &[(&str, T)],
    default: T,
) -> Result<T, Complaint> {
    section.take(key).map_or(Ok(default), |found| found.one_of(words))
}
