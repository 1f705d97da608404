//! The broker's shell around the coordinator: a log that becomes durable later than it is written, replies that wait
//! for it, answers in the order of their requests, appends that fail, crashes that lose everything else.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kohort_group::coordinator::{
    self, CallId, Client, Config, ConnectionId, Coordinator, Effect, Event, Record,
};
use kohort_group::member::{Request, RequestId, Response};
use kohort_group::messages::{
    ErrorCode, JoinGroupResponse, LeaveGroupResponse, OffsetCommitResponse, OffsetFetchResponse,
    SyncGroupResponse,
};

use crate::bugs::Bug;
use crate::checkers::Violation;
use crate::tale::Tale;
use crate::world::{Happening, World};

/// The broker.
#[derive(Debug)]
pub(crate) struct Broker {
    /// `None` while it is down.
    coordinator: Option<Coordinator>,
    /// Counts starts: what was scheduled before a crash must not reach the process after it.
    boot: u64,
    log: Vec<Record>,
    /// So much of the log would survive a crash.
    durable: usize,
    flushing: Option<usize>,
    /// Replies and how long the durable log must be before they leave.
    held: VecDeque<(usize, CallId, coordinator::Response)>,
    calls: BTreeMap<CallId, ConnectionId>,
    connections: BTreeMap<ConnectionId, VecDeque<Waiting>>,
    last_call: u64,
    timer: Option<u64>,
    wakeups: u64,
    /// Crash in the flush after so many more appends.
    pub(crate) doomed: Option<u64>,
    /// So many of the next appends fail: the disk is full.
    pub(crate) full: u64,
}

/// With the bug `lost-wakeup`: so many wakeups are delivered.
const WAKEUPS_WITH_BUG: u64 = 10;

/// A request that is not answered yet, or may not be answered before an earlier one.
#[derive(Debug)]
struct Waiting {
    call: CallId,
    request: RequestId,
    response: Option<Response>,
    /// What it is told if the coordinator's state is thrown away meanwhile.
    failure: Response,
}

impl Broker {
    pub(crate) fn new() -> Self {
        Self {
            coordinator: None,
            boot: 0,
            log: Vec::new(),
            durable: 0,
            flushing: None,
            held: VecDeque::new(),
            calls: BTreeMap::new(),
            connections: BTreeMap::new(),
            last_call: 0,
            timer: None,
            wakeups: 0,
            doomed: None,
            full: 0,
        }
    }

    pub(crate) fn up(&self) -> bool {
        self.coordinator.is_some()
    }

    pub(crate) fn coordinator(&self) -> Option<&Coordinator> {
        self.coordinator.as_ref()
    }

    pub(crate) fn log(&self) -> &[Record] {
        &self.log
    }
}

impl World {
    fn coordinator_config(&self) -> Config {
        Config {
            initial_rebalance_delay: Duration::from_millis(self.drawn.initial_delay),
            min_session_timeout: Duration::from_millis(1),
            new_member_join_timeout: Duration::from_millis(self.drawn.new_member),
            park_heartbeats: self.drawn.park,
            lost_connection_grace: Duration::from_millis(self.drawn.grace),
            ..Config::default()
        }
    }

    /// Starts the broker, from its log.
    pub(crate) fn start_broker(&mut self) -> Result<(), Violation> {
        if self.broker.up() {
            return Ok(());
        }
        self.trace.tell(self.now, format_args!("broker starts with {} records", self.broker.log.len()));
        let seed = self.random.ids.next();
        let mut coordinator = Coordinator::new(self.coordinator_config(), seed);
        let forgets = self.bug == Some(Bug::ForgetfulReplay);
        let replayed = self.broker.log.len() - usize::from(forgets && !self.broker.log.is_empty());
        for record in &self.broker.log[..replayed] {
            coordinator.replay(record);
        }
        self.broker.boot += 1;
        let effects = coordinator.loaded(self.time());
        self.checkers.recovered(&coordinator)?;
        self.broker.coordinator = Some(coordinator);
        self.perform_broker(effects)
    }

    /// kill -9: soft state, unsent replies and an arbitrary part of what was not durable are gone.
    pub(crate) fn crash_broker(&mut self) {
        let Some(_) = self.broker.coordinator.take() else { return };
        self.broker.doomed = None;
        let torn = self.broker.log.len() - self.broker.durable;
        let kept = self.broker.durable + self.random.disk.index(torn + 1);
        self.trace
            .tell(self.now, format_args!("broker crashes, {} records lost", self.broker.log.len() - kept));
        self.broker.log.truncate(kept);
        self.broker.durable = kept;
        self.broker.flushing = None;
        self.broker.held.clear();
        self.broker.calls.clear();
        self.broker.timer = None;
        self.checkers.truncated(&self.broker.log);
        for connection in core::mem::take(&mut self.broker.connections).into_keys() {
            self.close_from_broker(connection);
        }
    }

    pub(crate) fn arrives(
        &mut self,
        connection: ConnectionId,
        id: RequestId,
        request: Request,
    ) -> Result<(), Violation> {
        if !self.broker.up() || !self.network.open_at_broker(connection) {
            return Ok(());
        }
        let Some((host, process)) = self.network.owner(connection) else { return Ok(()) };
        self.trace.tell(self.now, format_args!("h{host}.{process} -> {}", Tale(&request)));
        let queue = self.broker.connections.entry(connection).or_default();
        let busy = !queue.is_empty();
        self.broker.last_call += 1;
        let call = CallId(self.broker.last_call);
        queue.push_back(Waiting { call, request: id, response: None, failure: failure(&request) });
        self.broker.calls.insert(call, connection);
        if busy {
            self.tell_coordinator(Event::Busy(connection))?;
        }
        let group = request_group(&request);
        let view = self.broker.coordinator.as_ref().and_then(|it| it.group(group));
        self.checkers.arrives(connection, id, &request, view.as_ref());
        let request = match self.bug {
            Some(bug) => bug.request(request, view.as_ref()),
            None => request,
        };
        let client = Client { id: format!("h{host}"), host: format!("/10.0.0.{host}") };
        self.tell_coordinator(Event::Call { call, connection, client, request: to_coordinator(request) })
    }

    pub(crate) fn broker_hears_close(&mut self, connection: ConnectionId) -> Result<(), Violation> {
        self.forget(connection);
        if !self.broker.up() {
            return Ok(());
        }
        for waiting in self.broker.connections.remove(&connection).unwrap_or_default() {
            self.broker.calls.remove(&waiting.call);
        }
        self.tell_coordinator(Event::Closed(connection))
    }

    pub(crate) fn broker_timer(&mut self, boot: u64) -> Result<(), Violation> {
        if boot != self.broker.boot || !self.broker.up() {
            return Ok(());
        }
        self.broker.timer = None;
        let deadline = self.broker.coordinator.as_ref().and_then(Coordinator::deadline);
        if deadline.is_some_and(|at| at <= self.time()) {
            self.broker.wakeups += 1;
            if self.bug == Some(Bug::LostWakeup) && self.broker.wakeups > WAKEUPS_WITH_BUG {
                return Ok(());
            }
            self.tell_coordinator(Event::Wakeup)?;
        }
        self.set_broker_timer();
        Ok(())
    }

    fn tell_coordinator(&mut self, event: Event) -> Result<(), Violation> {
        let now = self.time();
        let Some(coordinator) = &mut self.broker.coordinator else { return Ok(()) };
        let effects = coordinator.handle(now, event);
        self.perform_broker(effects)
    }

    fn perform_broker(&mut self, effects: Vec<Effect>) -> Result<(), Violation> {
        let mut touched = Vec::new();
        for effect in effects {
            match effect {
                Effect::Append(_) if self.broker.full > 0 => return self.start_over(),
                Effect::Append(record) => {
                    self.trace.fold(0x_a99e);
                    self.trace.tell(self.now, format_args!("  append {}", Tale(&record)));
                    self.checkers.appended(&record)?;
                    touched.push(record.group_id().to_owned());
                    self.broker.log.push(record);
                }
                Effect::Reply { call, response } => {
                    let early = self.bug == Some(Bug::EarlyReply);
                    let length = if early { 0 } else { self.broker.log.len() };
                    self.broker.held.push_back((length, call, response));
                }
                Effect::Drop { call } => self.drop_call(call),
                Effect::Note(note) => self.trace.tell(self.now, format_args!("  note {:?}", note.what)),
            }
        }
        if let Some(coordinator) = &self.broker.coordinator {
            self.checkers.stepped(coordinator, &touched)?;
        }
        self.flush();
        self.release();
        self.set_broker_timer();
        if let Some(left) = &mut self.broker.doomed
            && !touched.is_empty()
        {
            *left = left.saturating_sub(1);
            if *left == 0 {
                self.broker.doomed = None;
                let at = self.random.disk.between(0, self.drawn.flush.1);
                self.after(at, Happening::BrokerCrashes);
            }
        }
        Ok(())
    }

    /// An append failed: everybody who waits is told so, and what the coordinator believes gives way to what the log says.
    /// Connections and what was answered before stay as they are.
    fn start_over(&mut self) -> Result<(), Violation> {
        self.broker.full -= 1;
        self.trace.tell(self.now, format_args!("an append fails, the log has {}", self.broker.log.len()));
        let seed = self.random.ids.next();
        let (coordinator, effects) = match self.broker.coordinator.take() {
            Some(stubborn) if self.bug == Some(Bug::Stubborn) => (stubborn, Vec::new()),
            _ => {
                let mut coordinator = Coordinator::new(self.coordinator_config(), seed);
                self.broker.log.iter().for_each(|record| coordinator.replay(record));
                let effects = coordinator.loaded(self.time());
                (coordinator, effects)
            }
        };
        self.checkers.restarted(&coordinator)?;
        self.broker.coordinator = Some(coordinator);
        let answered: BTreeSet<CallId> = self.broker.held.iter().map(|(_, call, _)| *call).collect();
        let connections: Vec<_> = self.broker.connections.keys().copied().collect();
        for connection in connections {
            let queue = self.broker.connections.get_mut(&connection).into_iter().flatten();
            for waiting in queue.filter(|it| it.response.is_none() && !answered.contains(&it.call)) {
                self.broker.calls.remove(&waiting.call);
                waiting.response = Some(waiting.failure.clone());
            }
            self.answer(connection);
        }
        self.perform_broker(effects)
    }

    /// Starts a flush of what is written, if none is under way.
    fn flush(&mut self) {
        if self.broker.flushing.is_none() && self.broker.durable < self.broker.log.len() {
            let (low, high) = self.drawn.flush;
            let takes = self.random.disk.between(low, high);
            if takes == 0 {
                self.broker.durable = self.broker.log.len();
                return;
            }
            self.broker.flushing = Some(self.broker.log.len());
            let boot = self.broker.boot;
            self.after(takes, Happening::Flushed { boot });
        }
    }

    pub(crate) fn flushed(&mut self, boot: u64) -> Result<(), Violation> {
        if boot == self.broker.boot
            && let Some(length) = self.broker.flushing.take()
        {
            self.broker.durable = length;
            self.flush();
            self.release();
        }
        Ok(())
    }

    /// Lets replies go whose records are durable.
    fn release(&mut self) {
        while let Some((length, ..)) = self.broker.held.front()
            && *length <= self.broker.durable
        {
            let Some((_, call, response)) = self.broker.held.pop_front() else { return };
            let Some(connection) = self.broker.calls.remove(&call) else { continue };
            if let Some(queue) = self.broker.connections.get_mut(&connection)
                && let Some(waiting) = queue.iter_mut().find(|it| it.call == call)
            {
                waiting.response = from_coordinator(response);
            }
            self.answer(connection);
        }
    }

    fn drop_call(&mut self, call: CallId) {
        if let Some(connection) = self.broker.calls.remove(&call) {
            if let Some(queue) = self.broker.connections.get_mut(&connection) {
                queue.retain(|it| it.call != call);
            }
            self.answer(connection);
        }
    }

    /// Sends what is answered at the head of the connection's queue.
    fn answer(&mut self, connection: ConnectionId) {
        while let Some(queue) = self.broker.connections.get_mut(&connection)
            && queue.front().is_some_and(|it| it.response.is_some())
        {
            let Some(Waiting { request, response: Some(response), .. }) = queue.pop_front() else { return };
            let response = match self.bug {
                Some(bug) => bug.response(response),
                None => response,
            };
            self.checkers.answered(connection, request, &response);
            self.send_response(connection, request, response);
        }
    }

    fn set_broker_timer(&mut self) {
        let deadline = self.broker.coordinator.as_ref().and_then(Coordinator::deadline);
        let Some(at) = deadline.map(kohort_group::Time::as_millis) else { return };
        if self.broker.timer.is_none_or(|set| at < set) {
            self.broker.timer = Some(at);
            let boot = self.broker.boot;
            self.at(at, Happening::BrokerTimer { boot });
        }
    }
}

/// What the shell answers where an append failed.
fn failure(request: &Request) -> Response {
    let error = ErrorCode::NotCoordinator;
    match request {
        Request::JoinGroup(it) => Response::JoinGroup(JoinGroupResponse {
            error,
            generation: -1,
            protocol_type: None,
            protocol_name: None,
            leader: String::new(),
            skip_assignment: false,
            member_id: it.member_id.clone(),
            members: Vec::new(),
        }),
        Request::SyncGroup(_) => Response::SyncGroup(SyncGroupResponse {
            error,
            protocol_type: None,
            protocol_name: None,
            assignment: Vec::new(),
        }),
        Request::Heartbeat(_) => Response::Heartbeat(error),
        Request::LeaveGroup(_) => Response::LeaveGroup(LeaveGroupResponse { error, members: Vec::new() }),
        Request::OffsetCommit(it) => Response::OffsetCommit(OffsetCommitResponse {
            partitions: it.offsets.iter().map(|(partition, _)| (partition.clone(), error)).collect(),
        }),
        Request::OffsetFetch(_) => {
            Response::OffsetFetch(OffsetFetchResponse { error, partitions: Vec::new() })
        }
    }
}

/// The group that a request is about.
pub(crate) fn request_group(request: &Request) -> &str {
    match request {
        Request::JoinGroup(it) => &it.group_id,
        Request::SyncGroup(it) => &it.group_id,
        Request::Heartbeat(it) => &it.group_id,
        Request::LeaveGroup(it) => &it.group_id,
        Request::OffsetCommit(it) => &it.group_id,
        Request::OffsetFetch(it) => &it.group_id,
    }
}

fn to_coordinator(request: Request) -> coordinator::Request {
    match request {
        Request::JoinGroup(it) => coordinator::Request::Join(it),
        Request::SyncGroup(it) => coordinator::Request::Sync(it),
        Request::Heartbeat(it) => coordinator::Request::Heartbeat(it),
        Request::LeaveGroup(it) => coordinator::Request::Leave(it),
        Request::OffsetCommit(it) => coordinator::Request::OffsetCommit(it, BTreeMap::new()),
        Request::OffsetFetch(it) => coordinator::Request::OffsetFetch(it, BTreeMap::new()),
    }
}

/// `None` for what no member asks.
fn from_coordinator(response: coordinator::Response) -> Option<Response> {
    Some(match response {
        coordinator::Response::Join(it) => Response::JoinGroup(it),
        coordinator::Response::Sync(it) => Response::SyncGroup(it),
        coordinator::Response::Heartbeat(it) => Response::Heartbeat(it),
        coordinator::Response::Leave(it) => Response::LeaveGroup(it),
        coordinator::Response::OffsetCommit(it) => Response::OffsetCommit(it),
        coordinator::Response::OffsetFetch(it) => Response::OffsetFetch(it),
        _ => return None,
    })
}
