//! What is wrong *between* services' files, and between them and a broker: each file alone may be right.
//!
//! Plain functions of files that are read already and of what a broker said; who reads and who asks is not decided here. Each rule is
//! one function, and every finding says where, why it matters, and what to write instead.

mod files;
mod live;
mod stores;

use std::collections::BTreeMap;
use std::fmt;

use crate::complaint::Complaint;
use crate::config::{Kq, ServiceFile};

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// It will not work, or it loses something.
    Error,
    /// It works, and not as whoever wrote it probably thinks.
    Warning,
}

impl Severity {
    /// As a report says it: the first word of a block.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
        }
    }
}

/// One thing that is wrong. `Display` is a block without a final line break.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// What, where, why and the mend.
    pub complaint: Complaint,
}

impl Finding {
    /// It will not work.
    #[must_use]
    pub fn error(complaint: Complaint) -> Finding {
        Finding { severity: Severity::Error, complaint }
    }

    /// It works, in another way than one would think.
    #[must_use]
    pub fn warning(complaint: Complaint) -> Finding {
        Finding { severity: Severity::Warning, complaint }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.complaint.write_block(f, self.severity.word())
    }
}

/// What a broker says about itself, as far as files can contradict it.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Live {
    /// Its topics.
    pub topics: BTreeMap<String, LiveTopic>,
    /// The members of its groups, as far as any file names the group.
    pub groups: BTreeMap<String, Vec<LiveMember>>,
    /// `group.min.session.timeout.ms`, where known.
    pub session_min_ms: Option<u64>,
    /// `group.max.session.timeout.ms`, where known.
    pub session_max_ms: Option<u64>,
}

/// A topic of a broker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LiveTopic {
    /// How many partitions it has.
    pub partitions: usize,
    /// `max.message.bytes`, where known.
    pub message_bytes_max: Option<u64>,
}

/// A member of a live group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LiveMember {
    /// `client.id`.
    pub client_id: String,
    /// Topics of which it has partitions.
    pub topics: Vec<String>,
}

/// The ids of the clusters behind lists of brokers, as far as a broker has said them. Groups and topics of two clusters have nothing to do
/// with each other, whatever their names; and two lists that have no broker in common may be one cluster's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Clusters(BTreeMap<Vec<String>, String>);

impl Clusters {
    /// Notes what a broker of `brokers` said of itself.
    pub fn insert(&mut self, brokers: &[String], cluster_id: &str) {
        self.0.insert(brokers.to_vec(), cluster_id.to_owned());
    }

    /// The cluster of a block; empty where it is not known.
    fn of(&self, kq: &Kq) -> &str {
        self.0.get(&kq.brokers).map_or("", String::as_str)
    }
}

/// Everything that is wrong between `files`, errors first, in the files' order.
#[must_use]
pub fn files(files: &[ServiceFile], clusters: &Clusters) -> Vec<Finding> {
    sorted(files::findings(files, clusters))
}

/// Everything that is wrong between `files` and a broker, errors first.
#[must_use]
pub fn live(files: &[ServiceFile], broker: &Live) -> Vec<Finding> {
    sorted(live::findings(files, broker))
}

fn sorted(mut findings: Vec<Finding>) -> Vec<Finding> {
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// What a service makes of the records that it reads. Services of one kind may share the work; of two kinds, each lacks what the other got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// Candles: the parts of several stores are read together.
    Candles,
    /// A log of known wallets' trades: whole only where nobody else reads its topic in its group.
    Wallets,
    /// Nothing: it looks.
    Looks,
}

impl Kind {
    /// By the service's name or its file's; `None` for a name that is none of ours.
    fn of(file: &ServiceFile) -> Option<Kind> {
        let stem = std::path::Path::new(&file.path).file_stem().unwrap_or_default().to_string_lossy();
        [file.name.as_str(), &*stem].into_iter().find_map(|name| {
            match name.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
                "dataflow" | "market" => Some(Kind::Candles),
                "smartmoney" => Some(Kind::Wallets),
                "consumer" => Some(Kind::Looks),
                _ => None,
            }
        })
    }
}

/// A `Kq` block and the service whose it is.
#[derive(Debug, Clone, Copy)]
struct Block<'a> {
    service: &'a str,
    kind: Option<Kind>,
    kq: &'a Kq,
}

impl Block<'_> {
    /// As a sentence names it: "`KqSol` of `dataflow` (etc/dataflow.yaml:12)".
    fn named(&self, key: &str) -> String {
        format!("`{}` of `{}` ({})", self.kq.name, self.service, self.kq.at(key))
    }
}

fn blocks(files: &[ServiceFile]) -> Vec<Block<'_>> {
    let mut blocks = Vec::new();
    for file in files {
        let kind = Kind::of(file);
        blocks.extend(file.kqs.iter().map(|kq| Block { service: &file.name, kind, kq }));
    }
    blocks
}

/// Blocks by what `key` says of them, in the order of the first of each.
fn by<'a, K: Ord + Clone>(blocks: &[Block<'a>], key: impl Fn(&Block<'a>) -> K) -> Vec<(K, Vec<Block<'a>>)> {
    let mut groups: Vec<(K, Vec<Block<'a>>)> = Vec::new();
    for block in blocks {
        let key = key(block);
        match groups.iter_mut().find(|(k, _)| *k == key) {
            Some((_, members)) => members.push(*block),
            None => groups.push((key, vec![*block])),
        }
    }
    groups
}

/// "a, b and c".
fn and(items: impl IntoIterator<Item = String>) -> String {
    let items: Vec<String> = items.into_iter().collect();
    match items.split_last() {
        Some((last, [])) => last.clone(),
        Some((last, others)) => format!("{} and {last}", others.join(", ")),
        None => String::new(),
    }
}
