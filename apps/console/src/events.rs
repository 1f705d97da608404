//! The broker's event log as a person reads it. Every word of a sentence comes from the event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

use kohort_broker::groups::GroupEvent;
use serde::Serialize;

use crate::History;

/// How many events of a group, and of all groups together, can be asked for.
pub(crate) const EVENTS_MAX: usize = 1000;

/// What has been read of the event log so far. Pages ask each second; the log is asked for what is new.
pub(crate) struct Events {
    source: Arc<dyn History>,
    seen: Mutex<Seen>,
}

#[derive(Default)]
struct Seen {
    last_id: u64,
    all: VecDeque<Arc<GroupEvent>>,
    by_group: BTreeMap<String, VecDeque<Arc<GroupEvent>>>,
}

/// One line of `/api/events`.
#[derive(Debug, Serialize)]
pub(crate) struct Event {
    at_ms: u64,
    group: String,
    generation: i32,
    kind: String,
    member_id: Option<String>,
    text: String,
}

impl Events {
    pub(crate) fn new(source: Arc<dyn History>) -> Events {
        Events { source, seen: Mutex::default() }
    }

    /// The newest `limit` events of one group, or of all, newest first.
    pub(crate) fn newest(&self, group: Option<&str>, limit: usize) -> Vec<Event> {
        self.with(|seen| {
            let events = match group {
                Some(group) => seen.by_group.get(group),
                None => Some(&seen.all),
            };
            events.into_iter().flatten().rev().take(limit).map(|event| Event::of(event)).collect()
        })
    }

    /// A group's generation and leader, as its last events say.
    pub(crate) fn now(&self, group: &str) -> (Option<i32>, Option<String>) {
        self.with(|seen| {
            let events = seen.by_group.get(group);
            let generation = events.and_then(|events| events.back()).map(|event| event.generation);
            let began = |event: &&Arc<GroupEvent>| event.kind == "generation-began";
            let leader = events
                .and_then(|events| events.iter().rev().find(began))
                .and_then(|event| event.member.clone());
            (generation, leader)
        })
    }

    fn with<T>(&self, read: impl FnOnce(&Seen) -> T) -> T {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        for event in self.source.after(seen.last_id) {
            seen.last_id = event.id;
            let event = Arc::new(event);
            push(seen.by_group.entry(event.group.clone()).or_default(), Arc::clone(&event));
            push(&mut seen.all, event);
        }
        read(&seen)
    }
}

fn push(events: &mut VecDeque<Arc<GroupEvent>>, event: Arc<GroupEvent>) {
    if events.len() == EVENTS_MAX {
        events.pop_front();
    }
    events.push_back(event);
}

impl Event {
    fn of(event: &GroupEvent) -> Event {
        Event {
            at_ms: event.at_ms,
            group: event.group.clone(),
            generation: event.generation,
            kind: event.kind.clone(),
            member_id: event.member.clone(),
            text: tell(event),
        }
    }
}

fn tell(event: &GroupEvent) -> String {
    let who = event.member.as_deref().map(without_uuids).unwrap_or_default();
    let why = without_uuids(&event.why);
    match event.kind.as_str() {
        "created" => "The group came to be".to_owned(),
        "joined" => format!("{why} joined"),
        "returned" => format!("{who} returned and keeps its partitions"),
        "left" if why == "left" || why.is_empty() => format!("{who} left"),
        "left" => format!("{who} left: {why}"),
        "rebalance-began" => format!("Rebalance: {why}"),
        "generation-began" => format!("{}; {who} leads", one(&why)),
        "rebalance-ended" => {
            let partitions = event.owners.iter().map(|(_, partitions)| partitions.len()).sum();
            let verb = if event.owners.len() == 1 { "owns" } else { "own" };
            let after = event.took_ms.map(|ms| format!(" after {ms} ms")).unwrap_or_default();
            let (members, partitions) = (count(event.owners.len(), "member"), count(partitions, "partition"));
            format!("Stable{after}: {members} {verb} {partitions}")
        }
        "emptied" => "The last member is gone".to_owned(),
        "deleted" => format!("The group is no more: {why}"),
        "offsets-dropped" => format!("Offsets forgotten: {why}"),
        "fenced" => format!("{who} was refused: {why}"),
        "loaded" => format!("Read from its records: {}", one(&why)),
        // A kind that is younger than this page.
        kind => {
            [kind, &who, &why].iter().filter(|part| !part.is_empty()).copied().collect::<Vec<_>>().join(": ")
        }
    }
}

/// The log counts without grammar.
fn one(text: &str) -> String {
    text.strip_prefix("1 members").map_or(text.to_owned(), |rest| format!("1 member{rest}"))
}

fn count(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {what}{ending}")
}

/// Takes the UUIDs out of member ids, so that they read like the client id or instance id that they began as.
fn without_uuids(text: &str) -> String {
    const UUID: usize = 36;
    let is_uuid = |word: &str| {
        word.bytes().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        })
    };
    let mut out = String::new();
    let mut rest = text;
    while let Some(dash) = rest.find('-') {
        match rest.get(dash + 1..dash + 1 + UUID) {
            Some(word) if dash > 0 && is_uuid(word) => {
                out.push_str(&rest[..dash]);
                rest = &rest[dash + 1 + UUID..];
            }
            _ => {
                out.push_str(&rest[..=dash]);
                rest = &rest[dash + 1..];
            }
        }
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    const UUID: &str = "3f0c2d1e-77aa-4b1c-9e0d-1234567890ab";

    struct Log(Vec<GroupEvent>);

    impl History for Log {
        fn after(&self, id: u64) -> Vec<GroupEvent> {
            self.0.iter().filter(|event| event.id > id).cloned().collect()
        }
    }

    fn event(id: u64, group: &str, kind: &str, why: &str) -> GroupEvent {
        GroupEvent {
            id,
            at_ms: id,
            group: group.into(),
            generation: 2,
            kind: kind.into(),
            member: Some(format!("a-b-{UUID}")),
            why: why.into(),
            took_ms: Some(18),
            owners: vec![("x".into(), vec!["t-0".into(), "t-1".into()])],
        }
    }

    #[test]
    fn what_happened_reads_as_a_sentence() {
        let text = |kind, why: &str| tell(&event(1, "g", kind, why));
        assert_eq!(text("joined", "a-b from /127.0.0.1"), "a-b from /127.0.0.1 joined");
        assert_eq!(text("left", "connection lost"), "a-b left: connection lost");
        assert_eq!(text("left", "left"), "a-b left");
        assert_eq!(
            text("rebalance-began", &format!("session expired: a-b-{UUID}")),
            "Rebalance: session expired: a-b"
        );
        assert_eq!(text("rebalance-ended", ""), "Stable after 18 ms: 1 member owns 2 partitions");
        assert_eq!(text("something-new", "x"), "something-new: a-b: x");
        assert_eq!(without_uuids(UUID), UUID);
    }

    #[test]
    fn events_are_newest_first_and_of_one_group() {
        let log = Log(vec![
            event(1, "g", "joined", "x"),
            event(2, "h", "joined", "y"),
            event(3, "g", "emptied", ""),
        ]);
        let events = Events::new(Arc::new(log));
        let ids = |group| events.newest(group, 10).iter().map(|event| event.at_ms).collect::<Vec<_>>();
        assert_eq!((ids(Some("g")), ids(None), ids(Some("none"))), (vec![3, 1], vec![3, 2, 1], vec![]));
        assert_eq!(events.newest(None, 1).len(), 1);
        assert_eq!(events.now("g").0, Some(2));
    }
}
