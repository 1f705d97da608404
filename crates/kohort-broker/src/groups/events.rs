//! The log of what happened in groups: the newest in memory, all of a bounded file's on disk, one JSON object a line.

use std::collections::VecDeque;
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use kohort_group::coordinator::{Happened, Note, Who};
use kohort_group::messages::TopicPartition;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// How many events are shown.
const EVENTS_MAX: usize = 10_000;
/// A file larger than this makes room for a new one; one old file is kept.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// One event as the console and the tools show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GroupEvent {
    /// Counts up over all groups, without gaps while the broker runs.
    pub id: u64,
    /// Milliseconds since the epoch.
    pub at_ms: u64,
    /// The group.
    pub group: String,
    /// Its generation after the event.
    pub generation: i32,
    /// What happened, in one word: `joined`, `left`, `rebalance-began`, ...
    pub kind: String,
    /// The member whose doing it was.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub member: Option<String>,
    /// Why, in words.
    #[serde(skip_serializing_if = "String::is_empty", default)]
    pub why: String,
    /// How long it took, for the end of a rebalance.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub took_ms: Option<u64>,
    /// Who owns what, for the end of a rebalance: member and `topic-partition`.
    #[serde(skip_serializing_if = "Vec::is_empty", default)]
    pub owners: Vec<(String, Vec<String>)>,
}

/// The event log.
#[derive(Debug)]
pub struct EventLog {
    path: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: File,
    bytes: u64,
    next: u64,
    newest: VecDeque<GroupEvent>,
    broken: bool,
}

impl EventLog {
    pub(super) fn open(data: &Path) -> io::Result<Self> {
        let path = data.join("group-events.jsonl");
        let mut newest = VecDeque::new();
        for file in [older(&path), path.clone()] {
            let Ok(file) = File::open(file) else { continue };
            for line in BufReader::new(file).lines().map_while(Result::ok) {
                // A line that a crash cut short is no event.
                if let Ok(event) = serde_json::from_str::<GroupEvent>(&line) {
                    newest.push_back(event);
                    if newest.len() > EVENTS_MAX {
                        newest.pop_front();
                    }
                }
            }
        }
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        let bytes = file.metadata()?.len();
        if bytes > 0 {
            // Ends a line that a crash cut short; an empty line is passed over when reading.
            file.write_all(b"\n")?;
        }
        let next = newest.back().map_or(1, |e: &GroupEvent| e.id + 1);
        Ok(Self { path, state: Mutex::new(State { file, bytes, next, newest, broken: false }) })
    }

    /// The events with a larger id than `after`, oldest first, at most `limit` of the newest.
    #[must_use]
    pub fn after(&self, after: u64, limit: usize) -> Vec<GroupEvent> {
        let state = self.state.lock();
        let first = state.newest.partition_point(|e| e.id <= after);
        let first = first.max(state.newest.len().saturating_sub(limit));
        state.newest.iter().skip(first).cloned().collect()
    }

    pub(super) fn add(&self, note: Note) {
        let mut state = self.state.lock();
        let event = describe(state.next, note);
        state.next += 1;
        if let Err(e) = write(&mut state, &self.path, &event)
            && !state.broken
        {
            // Groups go on without their history; said once.
            state.broken = true;
            tracing::error!(
                "cannot write `{}`, group events are kept in memory only: {e}",
                self.path.display()
            );
        }
        state.newest.push_back(event);
        if state.newest.len() > EVENTS_MAX {
            state.newest.pop_front();
        }
    }
}

fn older(path: &Path) -> PathBuf {
    path.with_extension("old.jsonl")
}

fn write(state: &mut State, path: &Path, event: &GroupEvent) -> io::Result<()> {
    if state.bytes > FILE_BYTES_MAX {
        std::fs::rename(path, older(path))?;
        state.file = OpenOptions::new().create(true).append(true).open(path)?;
        state.bytes = 0;
    }
    let mut line = serde_json::to_vec(event)?;
    line.push(b'\n');
    state.file.write_all(&line)?;
    state.bytes += line.len() as u64;
    Ok(())
}

fn describe(id: u64, note: Note) -> GroupEvent {
    let mut event = GroupEvent {
        id,
        at_ms: note.at.as_millis(),
        group: note.group_id,
        generation: note.generation,
        kind: String::new(),
        member: None,
        why: String::new(),
        took_ms: None,
        owners: Vec::new(),
    };
    let id = |who: Who| Some(who.member_id);
    let kind = match note.what {
        Happened::Created => "created",
        Happened::MemberJoined(who) => {
            event.why = format!("{} from {}", who.client_id, who.client_host);
            event.member = id(who);
            "joined"
        }
        Happened::MemberReplaced { who, old_member_id } => {
            event.why = format!("takes the place of {old_member_id}");
            event.member = id(who);
            "returned"
        }
        Happened::MemberLeft { who, cause } => {
            event.why = words(&format!("{cause:?}"));
            event.member = id(who);
            "left"
        }
        Happened::RebalanceBegan { cause } => {
            event.why = words(&format!("{cause:?}"));
            "rebalance-began"
        }
        Happened::GenerationBegan { protocol, leader, members } => {
            event.why = format!("{members} members, {protocol}");
            event.member = Some(leader);
            "generation-began"
        }
        Happened::RebalanceEnded { took, members } => {
            event.took_ms = u64::try_from(took.as_millis()).ok();
            event.owners = members
                .into_iter()
                .map(|o| (o.who.member_id, o.partitions.unwrap_or_default().iter().map(place).collect()))
                .collect();
            "rebalance-ended"
        }
        Happened::Emptied => "emptied",
        Happened::Deleted { cause } => {
            event.why = words(&format!("{cause:?}"));
            "deleted"
        }
        Happened::OffsetsDropped { partitions, cause } => {
            event.why = format!("{}: {} partitions", words(&format!("{cause:?}")), partitions.len());
            "offsets-dropped"
        }
        Happened::Fenced { member_id, error } => {
            event.why = words(&format!("{error:?}"));
            event.member = Some(member_id);
            "fenced"
        }
        Happened::Loaded { members } => {
            event.why = format!("{members} members");
            "loaded"
        }
    };
    event.kind = kind.to_owned();
    event
}

fn place(tp: &TopicPartition) -> String {
    format!("{}-{}", tp.topic, tp.partition)
}

/// `SessionExpired { member_id: "m" }` as `session expired: m`.
fn words(debug: &str) -> String {
    let (name, rest) = debug.split_once(" {").unwrap_or((debug, ""));
    let mut out = String::new();
    for c in name.chars() {
        if c.is_uppercase() && !out.is_empty() {
            out.push(' ');
        }
        out.extend(c.to_lowercase());
    }
    let mut quoted = rest.split('"');
    let said: Vec<&str> = std::iter::from_fn(|| {
        quoted.next()?;
        quoted.next()
    })
    .collect();
    if !said.is_empty() {
        out.push_str(": ");
        out.push_str(&said.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_read_as_words() {
        assert_eq!(words("SessionExpired { member_id: \"m\" }"), "session expired: m");
        assert_eq!(words("Left { reason: None }"), "left");
        assert_eq!(words("GroupFull"), "group full");
    }

    #[test]
    fn events_come_back_after_a_restart_and_a_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let note = || Note {
            at: kohort_group::Time::from_millis(5),
            group_id: "g".into(),
            generation: 1,
            what: Happened::Emptied,
        };
        let log = EventLog::open(folder.path()).unwrap();
        log.add(note());
        log.add(note());
        drop(log);
        let path = folder.path().join("group-events.jsonl");
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 3]).unwrap();
        let log = EventLog::open(folder.path()).unwrap();
        log.add(note());
        assert_eq!(log.after(0, 10).iter().map(|e| e.id).collect::<Vec<_>>(), [1, 2]);
        drop(log);
        assert_eq!(EventLog::open(folder.path()).unwrap().after(1, 10).len(), 1);
    }
}
