//! A coordinator and a clock that a test moves by hand. Every step checks what no step may break: each call is
//! answered once, and the records alone make the state.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use kohort_group::Time;
use kohort_group::coordinator::{
    CallId, Client, Config, ConnectionId, Coordinator, Effect, Event, GroupView, Happened, Kept, Note,
    Record, Request, Response, State, TopicIds,
};
use kohort_group::messages::{
    ErrorCode, FetchedOffset, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, LeavingMember, OffsetCommitRequest, OffsetFetchRequest, OffsetToCommit,
    SyncGroupRequest, SyncGroupResponse, TopicPartition,
};

pub(crate) const GROUP: &str = "g";
pub(crate) const SESSION: u64 = 10_000;
pub(crate) const REBALANCE: u64 = 60_000;

pub(crate) const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

pub(crate) struct Fake {
    pub(crate) core: Coordinator,
    pub(crate) config: Config,
    pub(crate) now: Time,
    pub(crate) notes: Vec<Note>,
    pub(crate) log: Vec<Record>,
    pub(crate) dropped: BTreeSet<CallId>,
    replayed: Kept,
    replies: BTreeMap<CallId, Response>,
    open: BTreeSet<CallId>,
    calls: u64,
}

impl Fake {
    /// Kafka's settings and Kafka's timing.
    pub(crate) fn new() -> Self {
        Self::with(|_| {})
    }

    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config =
            Config { park_heartbeats: false, lost_connection_grace: Duration::ZERO, ..Config::default() };
        change(&mut config);
        let mut fake = Self {
            core: Coordinator::new(config.clone(), 1),
            config,
            now: Time::from_millis(1_000_000),
            notes: Vec::new(),
            log: Vec::new(),
            dropped: BTreeSet::new(),
            replayed: Kept::default(),
            replies: BTreeMap::new(),
            open: BTreeSet::new(),
            calls: 0,
        };
        let effects = fake.core.loaded(fake.now);
        fake.perform(effects);
        fake
    }

    /// The same log under a new coordinator; everybody who was parked has been answered.
    pub(crate) fn restart(&mut self, change: impl FnOnce(&mut Config)) {
        change(&mut self.config);
        let next = Coordinator::new(self.config.clone(), 2);
        let effects = core::mem::replace(&mut self.core, next).close(self.now);
        self.deliver(effects);
        assert!(self.open.is_empty(), "calls without an answer: {:?}", self.open);
        for record in &self.log {
            self.core.replay(record);
        }
        let effects = self.core.loaded(self.now);
        self.perform(effects);
    }

    pub(crate) fn event(&mut self, event: Event) {
        let effects = self.core.handle(self.now, event);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<Effect>) {
        self.deliver(effects);
        assert_eq!(*self.core.kept(), self.replayed, "`ReplayEqualsState`");
    }

    fn deliver(&mut self, effects: Vec<Effect>) {
        for effect in effects {
            match effect {
                Effect::Append(record) => {
                    self.replayed.apply(&record);
                    self.log.push(record);
                }
                Effect::Reply { call, response } => {
                    assert!(self.open.remove(&call), "{call:?} is answered, but nobody waits: {response:?}");
                    self.replies.insert(call, response);
                }
                Effect::Drop { call } => {
                    assert!(self.open.remove(&call), "{call:?} is dropped, but nobody waits");
                    self.dropped.insert(call);
                }
                Effect::Note(note) => self.notes.push(note),
            }
        }
    }

    /// Lets time pass, and wakes the coordinator whenever it asked to be.
    pub(crate) fn pass(&mut self, span_ms: u64) {
        let until = self.now + ms(span_ms);
        while let Some(at) = self.core.deadline().filter(|at| *at <= until) {
            self.now = self.now.max(at);
            self.event(Event::Wakeup);
        }
        self.now = until;
    }

    /// Sends a request on a connection of its own.
    pub(crate) fn call(&mut self, request: Request) -> CallId {
        let connection = ConnectionId(1_000_000 + self.calls);
        self.call_on(connection, request)
    }

    pub(crate) fn call_on(&mut self, connection: ConnectionId, request: Request) -> CallId {
        self.calls += 1;
        let call = CallId(self.calls);
        self.open.insert(call);
        let client = Client { id: "app".to_owned(), host: "/127.0.0.1".to_owned() };
        self.event(Event::Call { call, connection, client, request });
        call
    }

    pub(crate) fn waits(&self, call: CallId) -> bool {
        self.open.contains(&call)
    }

    pub(crate) fn open(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn reply(&mut self, call: CallId) -> Response {
        self.replies.remove(&call).unwrap_or_else(|| panic!("{call:?} has no answer yet"))
    }

    pub(crate) fn join(&mut self, request: JoinGroupRequest) -> CallId {
        self.call(Request::Join(request))
    }

    pub(crate) fn joined(&mut self, call: CallId) -> JoinGroupResponse {
        match self.reply(call) {
            Response::Join(response) => response,
            other => panic!("not a join's answer: {other:?}"),
        }
    }

    /// A join whose answer comes at once.
    pub(crate) fn join_now(&mut self, request: JoinGroupRequest) -> JoinGroupResponse {
        let call = self.join(request);
        self.joined(call)
    }

    /// Both steps of a dynamic member's first join; the second one is parked.
    pub(crate) fn enter(&mut self, request: JoinGroupRequest) -> (String, CallId) {
        let answer = self.join_now(request.clone());
        assert_eq!(answer.error, ErrorCode::MemberIdRequired);
        let id = answer.member_id;
        let call = self.join(JoinGroupRequest { member_id: id.clone(), ..request });
        (id, call)
    }

    pub(crate) fn sync(&mut self, request: SyncGroupRequest) -> CallId {
        self.call(Request::Sync(request))
    }

    pub(crate) fn synced(&mut self, call: CallId) -> SyncGroupResponse {
        match self.reply(call) {
            Response::Sync(response) => response,
            other => panic!("not a sync's answer: {other:?}"),
        }
    }

    pub(crate) fn sync_now(&mut self, request: SyncGroupRequest) -> SyncGroupResponse {
        let call = self.sync(request);
        self.synced(call)
    }

    pub(crate) fn beat(&mut self, member_id: &str, generation: i32) -> ErrorCode {
        let call = self.call(Request::Heartbeat(beat(member_id, generation)));
        self.beaten(call)
    }

    /// A heartbeat in generation 1 that may be parked.
    pub(crate) fn beat_on(&mut self, connection: ConnectionId, member_id: &str) {
        self.call_on(connection, Request::Heartbeat(beat(member_id, 1)));
    }

    pub(crate) fn beaten(&mut self, call: CallId) -> ErrorCode {
        match self.reply(call) {
            Response::Heartbeat(error) => error,
            other => panic!("not a heartbeat's answer: {other:?}"),
        }
    }

    pub(crate) fn leave(&mut self, members: &[(&str, Option<&str>)]) -> LeaveGroupResponse {
        let members = members.iter().map(|(id, instance)| LeavingMember {
            member_id: (*id).to_owned(),
            group_instance_id: instance.map(str::to_owned),
            reason: None,
        });
        let request = LeaveGroupRequest { group_id: GROUP.to_owned(), members: members.collect() };
        let call = self.call(Request::Leave(request));
        match self.reply(call) {
            Response::Leave(response) => response,
            other => panic!("not a leave's answer: {other:?}"),
        }
    }

    pub(crate) fn commit(&mut self, request: OffsetCommitRequest) -> ErrorCode {
        let call = self.call(Request::OffsetCommit(request, TopicIds::new()));
        match self.reply(call) {
            Response::OffsetCommit(response) => response.partitions[0].1,
            other => panic!("not a commit's answer: {other:?}"),
        }
    }

    pub(crate) fn fetch(
        &mut self,
        group: &str,
        partitions: Option<&[(&str, i32)]>,
    ) -> Vec<(TopicPartition, FetchedOffset)> {
        let named = |list: &[(&str, i32)]| list.iter().map(|(t, p)| TopicPartition::new(*t, *p)).collect();
        let request = OffsetFetchRequest {
            group_id: group.to_owned(),
            member_id: None,
            member_epoch: -1,
            partitions: partitions.map(named),
            require_stable: false,
        };
        let call = self.call(Request::OffsetFetch(request, TopicIds::new()));
        match self.reply(call) {
            Response::OffsetFetch(response) => {
                assert_eq!(response.error, ErrorCode::None);
                response.partitions
            }
            other => panic!("not a fetch's answer: {other:?}"),
        }
    }

    /// Joins `n` dynamic members, lets the initial delay pass, and syncs everybody: the group is Stable in
    /// generation 1. The first id is the leader's.
    pub(crate) fn stable(&mut self, n: usize) -> Vec<String> {
        let joins: Vec<_> = (0..n).map(|_| self.enter(join())).collect();
        self.pass(3_000 * (n as u64).min(2));
        self.settle(joins)
    }

    /// Everybody's join is answered: they sync, the leader last. The first id given back is the leader's.
    pub(crate) fn settle(&mut self, joins: Vec<(String, CallId)>) -> Vec<String> {
        let mut ids = Vec::new();
        let mut leader = None;
        for (id, call) in joins {
            let answer = self.joined(call);
            assert_eq!(answer.error, ErrorCode::None, "{answer:?}");
            assert_eq!(answer.member_id, id);
            if answer.leader == id { leader = Some(answer) } else { ids.push((id, answer.generation)) }
        }
        let mut syncs: Vec<_> = ids.iter().map(|(id, generation)| self.sync(sync(id, *generation))).collect();
        let mut ids: Vec<_> = ids.into_iter().map(|(id, _)| id).collect();
        if let Some(leader) = leader {
            let assignments =
                leader.members.iter().map(|member| (member.member_id.clone(), bytes_for(&member.member_id)));
            let assignments = assignments.collect();
            let request = SyncGroupRequest { assignments, ..sync(&leader.member_id, leader.generation) };
            syncs.push(self.sync(request));
            ids.insert(0, leader.member_id);
        }
        for call in syncs {
            assert_eq!(self.synced(call).error, ErrorCode::None);
        }
        ids
    }

    pub(crate) fn group(&self) -> GroupView<'_> {
        self.core.group(GROUP).expect("the group is there")
    }

    pub(crate) fn state(&self) -> State {
        self.group().state
    }

    pub(crate) fn generation(&self) -> i32 {
        self.group().generation
    }

    /// What the event log says since it was asked last.
    pub(crate) fn news(&mut self) -> Vec<Happened> {
        core::mem::take(&mut self.notes).into_iter().map(|note| note.what).collect()
    }
}

/// An assignment that one can recognise.
pub(crate) fn bytes_for(member_id: &str) -> Vec<u8> {
    format!("for {member_id}").into_bytes()
}

/// A subscription to topics, in version 0.
pub(crate) fn subscription(topics: &[&str]) -> Vec<u8> {
    let mut bytes = vec![0, 0];
    bytes.extend(i32::try_from(topics.len()).expect("few topics").to_be_bytes());
    for topic in topics {
        bytes.extend(i16::try_from(topic.len()).expect("a short name").to_be_bytes());
        bytes.extend(topic.bytes());
    }
    bytes.extend((-1_i32).to_be_bytes());
    bytes
}

pub(crate) fn protocols(names: &[&str]) -> Vec<(String, Vec<u8>)> {
    names.iter().map(|name| ((*name).to_owned(), subscription(&["t"]))).collect()
}

/// A first join of version 9, dynamic, with `range`.
pub(crate) fn join() -> JoinGroupRequest {
    JoinGroupRequest {
        api_version: 9,
        group_id: GROUP.to_owned(),
        session_timeout: ms(SESSION),
        rebalance_timeout: ms(REBALANCE),
        member_id: String::new(),
        group_instance_id: None,
        protocol_type: "consumer".to_owned(),
        protocols: protocols(&["range"]),
        reason: None,
    }
}

/// The same member again.
pub(crate) fn rejoin(member_id: &str) -> JoinGroupRequest {
    JoinGroupRequest { member_id: member_id.to_owned(), ..join() }
}

/// A first join of a static member.
pub(crate) fn join_static(instance: &str) -> JoinGroupRequest {
    JoinGroupRequest { group_instance_id: Some(instance.to_owned()), ..join() }
}

/// A follower's sync.
pub(crate) fn sync(member_id: &str, generation: i32) -> SyncGroupRequest {
    SyncGroupRequest {
        api_version: 5,
        group_id: GROUP.to_owned(),
        generation,
        member_id: member_id.to_owned(),
        group_instance_id: None,
        protocol_type: Some("consumer".to_owned()),
        protocol_name: Some("range".to_owned()),
        assignments: Vec::new(),
    }
}

pub(crate) fn beat(member_id: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest {
        group_id: GROUP.to_owned(),
        generation,
        member_id: member_id.to_owned(),
        group_instance_id: None,
    }
}

/// A commit of offset 7 on `t`-0 by a member, or by nobody.
pub(crate) fn commit(member_id: &str, generation: i32) -> OffsetCommitRequest {
    OffsetCommitRequest {
        api_version: 8,
        group_id: GROUP.to_owned(),
        generation,
        member_id: member_id.to_owned(),
        group_instance_id: None,
        retention: None,
        offsets: vec![(TopicPartition::new("t", 0), offset(7))],
    }
}

pub(crate) fn offset(offset: i64) -> OffsetToCommit {
    OffsetToCommit { offset, leader_epoch: -1, metadata: None }
}
