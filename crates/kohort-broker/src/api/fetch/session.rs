//! Fetch sessions (KIP-227): a reader names its partitions once and then only what changed; the answer names only partitions with
//! news.
//!
//! Source: Kafka's `FetchSession` and `FetchMetadata`. Session id 0 with epoch 0 asks for a new session, epoch -1 for none; anything
//! else continues one. When all slots are taken the session that was used longest ago makes room if it rests for a while, else the
//! reader gets none: an answer with session id 0 is always legal.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kohort_protocol::messages::FetchRequest;
use kohort_protocol::messages::fetch_request::FetchPartition;
use kohort_protocol::{ErrorCode, StrBytes, Uuid};
use parking_lot::Mutex;

use super::answer::Answer;
use super::{Key, length};

/// A session that rests so long may be evicted for a new one (Kafka's `min.incremental.fetch.session.eviction.ms`).
const EVICTION_AFTER: Duration = Duration::from_secs(120);

const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

/// One partition as its reader wants it.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    pub(crate) key: Key,
    pub(crate) by_id: bool,
    pub(crate) offset: i64,
    pub(crate) max_bytes: i32,
    pub(crate) leader_epoch: i32,
    pub(crate) last_fetched_epoch: i32,
}

/// What an incremental answer last said of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Said {
    high_watermark: i64,
    log_start: i64,
}

#[derive(Debug)]
struct Session {
    epoch: i32,
    by_id: bool,
    partitions: BTreeMap<Key, Held>,
    /// The turn of the next partition that goes to the end of the queue.
    next_turn: u64,
    used: Instant,
}

/// A partition in a session. Those with the lowest turn are read first; who was given records goes to the end, so that a
/// small limit starves nobody.
#[derive(Debug)]
struct Held {
    wanted: Wanted,
    said: Said,
    turn: u64,
}

impl Session {
    fn new(by_id: bool, wanted: &[Wanted]) -> Self {
        let mut session =
            Self { epoch: 1, by_id, partitions: BTreeMap::new(), next_turn: 0, used: Instant::now() };
        wanted.iter().for_each(|w| session.want(w.clone()));
        session
    }

    /// Adds a partition at the end, or changes what is wanted of it in its place.
    fn want(&mut self, wanted: Wanted) {
        let turn = self.next_turn;
        let held = self.partitions.entry(wanted.key.clone()).or_insert_with(|| {
            self.next_turn += 1;
            Held { wanted: wanted.clone(), said: NOTHING_SAID, turn }
        });
        held.wanted = wanted;
    }

    /// What is wanted, in turn.
    fn wanted(&self) -> Vec<Wanted> {
        let mut held: Vec<&Held> = self.partitions.values().collect();
        held.sort_unstable_by_key(|h| h.turn);
        held.into_iter().map(|h| h.wanted.clone()).collect()
    }
}

/// All sessions of this node.
#[derive(Debug)]
pub(crate) struct Sessions {
    slots: usize,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    last_id: i32,
    sessions: BTreeMap<i32, Session>,
}

/// One fetch's partitions and its session, if it has one.
#[derive(Debug)]
pub(crate) struct Context<'a> {
    sessions: &'a Sessions,
    session_id: i32,
    incremental: bool,
    wanted: Vec<Wanted>,
}

impl Sessions {
    pub(crate) fn new(slots: usize) -> Self {
        // Not from 1: a reader that outlived a restart of the broker must not meet another's session under its own number.
        let last_id = i32::try_from(Uuid::new_v4().as_u128() & 0x7fff_ffff).unwrap_or(1);
        Self { slots, state: Mutex::new(State { last_id, sessions: BTreeMap::new() }) }
    }

    /// Finds or makes the session a fetch names.
    pub(crate) fn open(&self, request: &FetchRequest, version: i16) -> Result<Context<'_>, ErrorCode> {
        let by_id = version >= 13;
        let (id, epoch) =
            if version >= 7 { (request.session_id, request.session_epoch) } else { (0, FINAL_EPOCH) };
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            let wanted = named(request, by_id);
            let mut state = self.state.lock();
            if id != 0 {
                state.sessions.remove(&id);
            }
            let session_id = if epoch == INITIAL_EPOCH { self.make(&mut state, &wanted, by_id) } else { 0 };
            return Ok(Context { sessions: self, session_id, incremental: false, wanted });
        }
        let mut state = self.state.lock();
        let session = state.sessions.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        session.epoch = next_epoch(epoch);
        session.used = Instant::now();
        for wanted in named(request, by_id) {
            session.want(wanted);
        }
        // What is named and forgotten in one request is forgotten.
        for topic in &request.forgotten_topics_data {
            for partition in &topic.partitions {
                session.partitions.remove(&key(by_id, &topic.topic, topic.topic_id, *partition));
            }
        }
        if session.partitions.is_empty() {
            // Nothing is left to tell of: the session ends (Kafka's `SessionlessFetchContext` for an emptied one).
            state.sessions.remove(&id);
            return Ok(Context { sessions: self, session_id: 0, incremental: false, wanted: Vec::new() });
        }
        let wanted = session.wanted();
        Ok(Context { sessions: self, session_id: id, incremental: true, wanted })
    }

    fn make(&self, state: &mut State, wanted: &[Wanted], by_id: bool) -> i32 {
        if self.slots == 0 {
            return 0;
        }
        if state.sessions.len() >= self.slots {
            let oldest = state.sessions.iter().min_by_key(|(_, s)| s.used).map(|(id, s)| (*id, s.used));
            match oldest {
                Some((id, used)) if used.elapsed() > EVICTION_AFTER => drop(state.sessions.remove(&id)),
                _ => return 0,
            }
        }
        loop {
            state.last_id = if state.last_id == i32::MAX { 1 } else { state.last_id + 1 };
            if !state.sessions.contains_key(&state.last_id) {
                break;
            }
        }
        state.sessions.insert(state.last_id, Session::new(by_id, wanted));
        state.last_id
    }
}

const NOTHING_SAID: Said = Said { high_watermark: -1, log_start: -1 };

const fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

fn key(by_id: bool, name: &StrBytes, id: Uuid, partition: i32) -> Key {
    if by_id {
        Key { name: StrBytes::default(), id, partition }
    } else {
        Key { name: name.clone(), id: Uuid::nil(), partition }
    }
}

/// The partitions a request names, each once, in its order.
pub(super) fn named(request: &FetchRequest, by_id: bool) -> Vec<Wanted> {
    let wanted = |name: &StrBytes, id: Uuid, p: &FetchPartition| Wanted {
        key: key(by_id, name, id, p.partition),
        by_id,
        offset: p.fetch_offset,
        max_bytes: p.partition_max_bytes,
        leader_epoch: p.current_leader_epoch,
        last_fetched_epoch: p.last_fetched_epoch,
    };
    let mut all: Vec<Wanted> = Vec::new();
    let mut places: BTreeMap<Key, usize> = BTreeMap::new();
    for topic in &request.topics {
        for partition in &topic.partitions {
            let wanted = wanted(&topic.topic, topic.topic_id, partition);
            // Named again: what is said last counts, in the first one's place.
            match places.get(&wanted.key) {
                Some(place) => all[*place] = wanted,
                None => {
                    places.insert(wanted.key.clone(), all.len());
                    all.push(wanted);
                }
            }
        }
    }
    all
}

impl Context<'_> {
    pub(crate) fn wanted(&self) -> &[Wanted] {
        &self.wanted
    }

    pub(crate) fn is_incremental(&self) -> bool {
        self.incremental
    }

    pub(crate) fn session_id(&self) -> i32 {
        self.session_id
    }

    /// Notes what the answer says, and leaves out what an incremental one need not say again.
    pub(super) fn settle(&mut self, answer: &mut Answer) {
        if self.session_id == 0 {
            return;
        }
        let mut state = self.sessions.state.lock();
        let Some(session) = state.sessions.get_mut(&self.session_id) else { return };
        let incremental = self.incremental;
        let Session { partitions, next_turn, .. } = session;
        answer.retain(|wanted, answer| {
            let Some(held) = partitions.get_mut(&wanted.key) else { return !incremental };
            let now = Said { high_watermark: answer.high_watermark, log_start: answer.log_start };
            let records = length(&answer.records) > 0;
            let news = !answer.error.is_ok() || records || held.said != now;
            if records && incremental {
                held.turn = *next_turn;
                *next_turn += 1;
            }
            // A partition in error is told again until it is mended.
            held.said = if answer.error.is_ok() { now } else { NOTHING_SAID };
            news || !incremental
        });
        session.used = Instant::now();
    }
}
