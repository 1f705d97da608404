//! What a broker decides about groups: requests, timers and lost connections in; replies and records out.
//!
//! # The contract with the shell
//!
//! - [`handle`](Coordinator::handle) returns the effects in order. An [`Effect::Reply`] leaves only when every
//!   [`Effect::Append`] ahead of it, of this call and of all before, is durable.
//! - Every [`CallId`] gets exactly one [`Effect::Reply`] or [`Effect::Drop`], at once or later: a join, a sync
//!   and a heartbeat may be *parked*. In which order answers leave a connection is the shell's business.
//! - Timers fire in [`Event::Wakeup`] only. The shell sends it when the clock passes
//!   [`deadline`](Coordinator::deadline), and looks at the deadline again after every event.
//! - With [`Config::park_heartbeats`] the shell sends [`Event::Busy`] when a request arrives on a connection
//!   that waits for an answer, [`Event::Closed`] when a connection is gone, and [`Event::CoordinatorSought`] when
//!   a client looks for the coordinator of a group.
//! - **What survives a restart changes only by records.** At start: [`new`](Coordinator::new), then
//!   [`replay`](Coordinator::replay) for every record in the log's order, then
//!   [`loaded`](Coordinator::loaded) once, even if there was none.
//! - **If an append fails**, what the coordinator believes is no longer what the log says. The shell fails every
//!   reply behind that append with the error (Kafka's mapping: [`append_error`]), performs the effects of
//!   [`close`](Coordinator::close), which answer everybody who is parked, drops the coordinator, and starts a
//!   new one from the log.
//!
//! What it refuses to know: bytes of requests and records, which topics and partitions exist, who may do what.
//!
//! # Where things are
//!
//! [`Kept`] is what records make; everything else, timers, parked calls, the states of rebalances, is soft and
//! lives beside it. `classic/` is one group of the classic protocol, a file a phase; the groups of KIP-848 will
//! stand beside it. `offsets`, `retention` and `admin` work on groups of any kind.

mod admin;
mod classic;
mod config;
mod context;
mod event;
mod kept;
mod note;
mod offsets;
mod park;
mod random;
mod record;
mod retention;
mod timers;
mod view;

pub use classic::State;
pub use config::Config;
pub use event::{CallId, Client, ConnectionId, Effect, Event, Request, Response, TopicId, TopicIds};
pub use kept::{Kept, Offsets};
pub use note::{DeleteCause, Happened, LeaveCause, Note, Owner, RebalanceCause, Who};
pub use record::{GroupMetadata, MemberMetadata, OffsetAndMetadata, Record};
pub use view::{GroupView, MemberView};

use std::collections::BTreeMap;

use crate::Time;
use crate::messages::{
    ErrorCode, HeartbeatRequest, JoinGroupRequest, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest,
};
use classic::{ClassicGroup, refused_join, refused_sync};
use context::{Caller, Context};
use park::Park;
use random::Random;
use timers::{Timer, Timers};

/// All groups of one node.
#[derive(Debug)]
pub struct Coordinator {
    config: Config,
    random: Random,
    kept: Kept,
    groups: BTreeMap<String, ClassicGroup>,
    timers: Timers,
    park: Park,
    effects: Vec<Effect>,
}

impl Coordinator {
    /// A coordinator that knows no group. `seed` makes the member ids: two that must not collide, of one node
    /// before and after a restart, need two seeds.
    #[must_use]
    pub fn new(config: Config, seed: u64) -> Self {
        Self {
            config,
            random: Random::new(seed),
            kept: Kept::default(),
            groups: BTreeMap::new(),
            timers: Timers::default(),
            park: Park::default(),
            effects: Vec::new(),
        }
    }

    /// Takes in a record of the log, before [`loaded`](Self::loaded).
    pub fn replay(&mut self, record: &Record) {
        self.kept.apply(record);
    }

    /// All records are in: groups are as they were kept, and every member has a fresh session.
    #[must_use = "an effect that is not performed never happened"]
    pub fn loaded(&mut self, now: Time) -> Vec<Effect> {
        let ids: Vec<_> = self.kept.group_ids().map(str::to_owned).collect();
        for id in ids {
            let mut group = ClassicGroup::load(&id, self.kept.group(&id));
            let (groups, mut cx) = self.split(now);
            group.resume(&mut cx);
            groups.insert(id, group);
        }
        self.timers.set(Timer::Retention, now + self.config.offsets_retention_check_interval);
        core::mem::take(&mut self.effects)
    }

    /// Decides what follows from `event`; the shell performs the effects, in order.
    #[must_use = "an effect that is not performed never happened"]
    pub fn handle(&mut self, now: Time, event: Event) -> Vec<Effect> {
        match event {
            Event::Call { call, connection, client, request } => {
                self.call(now, Caller { call, connection, client }, request);
            }
            Event::Busy(connection) => self.connection(now, connection, ClassicGroup::connection_busy),
            Event::Closed(connection) => {
                self.connection(now, connection, ClassicGroup::connection_lost);
                for (group, member) in self.park.closed(connection) {
                    let (groups, mut cx) = self.split(now);
                    if let Some(group) = groups.get_mut(&group) {
                        group.line_lost(&mut cx, &member, connection);
                    }
                }
            }
            Event::CoordinatorSought { client, group_id } => {
                let (groups, mut cx) = self.split(now);
                if let Some(group) = groups.get_mut(&group_id) {
                    group.sought_by(&mut cx, &client);
                }
            }
            Event::TopicsDeleted(topics) => self.topics_deleted(now, &topics),
            Event::Wakeup => self.wake(now),
        }
        self.check();
        core::mem::take(&mut self.effects)
    }

    /// When to call [`handle`](Self::handle) with [`Event::Wakeup`], if nothing happens before.
    #[must_use]
    pub fn deadline(&self) -> Option<Time> {
        self.timers.deadline()
    }

    /// The coordinator ends, or gives its groups up: everybody who is parked is told to look for another one.
    #[must_use = "an effect that is not performed never happened"]
    pub fn close(mut self, now: Time) -> Vec<Effect> {
        for mut group in core::mem::take(&mut self.groups).into_values() {
            let (_, mut cx) = self.split(now);
            group.end(&mut cx, ErrorCode::NotCoordinator);
        }
        self.effects
    }

    /// What a restart would find.
    #[must_use]
    pub const fn kept(&self) -> &Kept {
        &self.kept
    }

    /// All groups as they are now, by id.
    pub fn groups(&self) -> impl Iterator<Item = GroupView<'_>> {
        self.groups.values().map(ClassicGroup::view)
    }

    /// One group as it is now.
    #[must_use]
    pub fn group(&self, group_id: &str) -> Option<GroupView<'_>> {
        self.groups.get(group_id).map(ClassicGroup::view)
    }

    fn split(&mut self, now: Time) -> (&mut BTreeMap<String, ClassicGroup>, Context<'_>) {
        let context = Context {
            now,
            config: &self.config,
            random: &mut self.random,
            timers: &mut self.timers,
            kept: &mut self.kept,
            park: &mut self.park,
            effects: &mut self.effects,
        };
        (&mut self.groups, context)
    }

    fn call(&mut self, now: Time, caller: Caller, request: Request) {
        if request.is_of_administrators() {
            // They see, and delete, what is so at this moment: a session that is over is over, though the wake-up for it comes
            // a moment later. (A member's own call is heard first: it may have waited for us, not we for it.)
            self.wake(now);
        }
        match request {
            Request::Join(request) => self.join(now, caller, &request),
            Request::Sync(request) => self.sync(now, &caller, request),
            Request::Heartbeat(request) => self.heartbeat(now, &caller, &request),
            Request::Leave(request) => self.leave(now, &caller, request),
            Request::OffsetCommit(request, ids) => self.offset_commit(now, &caller, request, &ids),
            Request::OffsetFetch(request, ids) => self.offset_fetch(now, &caller, request, &ids),
            Request::OffsetDelete(request) => self.offset_delete(now, &caller, request),
            Request::DescribeGroups(request) => self.describe_groups(now, &caller, request),
            Request::ListGroups(request) => self.list_groups(now, &caller, &request),
            Request::DeleteGroups(request) => self.delete_groups(now, &caller, request),
        }
    }

    /// The gates of JoinGroup, in Kafka's order, and the group that a first join creates.
    fn join(&mut self, now: Time, caller: Caller, request: &JoinGroupRequest) {
        let (groups, mut cx) = self.split(now);
        let sessions = cx.config.min_session_timeout..=cx.config.max_session_timeout;
        let refused = if request.group_id.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !sessions.contains(&request.session_timeout) {
            Some(ErrorCode::InvalidSessionTimeout)
        } else if !groups.contains_key(&request.group_id) && !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else {
            None
        };
        if let Some(error) = refused {
            return cx.reply(caller.call, Response::Join(refused_join(&request.member_id, error)));
        }
        let group = groups.entry(request.group_id.clone()).or_insert_with(|| {
            let group = ClassicGroup::new(&request.group_id, Some(now));
            // The group is there from now on, even if this join comes to nothing.
            cx.keep(group.record());
            cx.note(&group.id, group.generation, Happened::Created);
            group
        });
        group.join(&mut cx, caller, request);
    }

    fn sync(&mut self, now: Time, caller: &Caller, request: SyncGroupRequest) {
        let (groups, mut cx) = self.split(now);
        let named = request.protocol_type.is_some() && request.protocol_name.is_some();
        let error = if request.api_version >= 5 && !named {
            // KIP-559: before anything else.
            ErrorCode::InconsistentGroupProtocol
        } else if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else if let Some(group) = groups.get_mut(&request.group_id) {
            return group.sync(&mut cx, caller, request);
        } else {
            ErrorCode::UnknownMemberId
        };
        cx.reply(caller.call, Response::Sync(refused_sync(error)));
    }

    fn heartbeat(&mut self, now: Time, caller: &Caller, request: &HeartbeatRequest) {
        let (groups, mut cx) = self.split(now);
        let error = if request.group_id.is_empty() {
            ErrorCode::InvalidGroupId
        } else if let Some(group) = groups.get_mut(&request.group_id) {
            return group.heartbeat(&mut cx, caller, request);
        } else {
            ErrorCode::UnknownMemberId
        };
        cx.reply(caller.call, Response::Heartbeat(error));
    }

    fn leave(&mut self, now: Time, caller: &Caller, request: LeaveGroupRequest) {
        let (groups, mut cx) = self.split(now);
        let response = if request.group_id.is_empty() {
            LeaveGroupResponse { error: ErrorCode::InvalidGroupId, members: Vec::new() }
        } else if let Some(group) = groups.get_mut(&request.group_id) {
            return group.leave(&mut cx, caller, request);
        } else {
            let unknown = |entry: crate::messages::LeavingMember| {
                (entry.member_id, entry.group_instance_id, ErrorCode::UnknownMemberId)
            };
            LeaveGroupResponse {
                error: ErrorCode::None,
                members: request.members.into_iter().map(unknown).collect(),
            }
        };
        cx.reply(caller.call, Response::Leave(response));
    }

    /// What a connection does to the heartbeats that are parked on it.
    fn connection(
        &mut self,
        now: Time,
        connection: ConnectionId,
        then: fn(&mut ClassicGroup, &mut Context<'_>, &str, CallId),
    ) {
        for call in self.park.on(connection) {
            let Some(held) = self.park.get(call).cloned() else { continue };
            let (groups, mut cx) = self.split(now);
            if let Some(group) = groups.get_mut(&held.group) {
                then(group, &mut cx, &held.member, call);
            }
        }
    }

    fn wake(&mut self, now: Time) {
        let mark = self.timers.mark();
        while let Some(timer) = self.timers.pop(now, mark) {
            let held = match &timer {
                Timer::Held(call) => self.park.get(*call).cloned(),
                _ => None,
            };
            let (groups, mut cx) = self.split(now);
            let fired = match &timer {
                Timer::Join { group } => groups.get_mut(group).map(|group| group.join_timer_fired(&mut cx)),
                Timer::Sync { group } => groups.get_mut(group).map(|group| group.sync_timer_fired(&mut cx)),
                Timer::Member { group, member } => {
                    groups.get_mut(group).map(|group| group.member_timer_fired(&mut cx, member))
                }
                Timer::Lost { group, member } => {
                    groups.get_mut(group).map(|group| group.lost_timer_fired(&mut cx, member))
                }
                Timer::Held(call) => held.and_then(|held| {
                    groups.get_mut(&held.group).map(|group| group.hold_ended(&mut cx, &held.member, *call))
                }),
                Timer::Retention => {
                    self.drop_expired(now);
                    Some(())
                }
            };
            debug_assert!(fired.is_some(), "a timer outlived what it was for: {timer:?}");
        }
    }

    /// `ReplayEqualsState`, for the groups that an event may have touched last: cheap enough for debug builds.
    fn check(&self) {
        if cfg!(debug_assertions) {
            for effect in &self.effects {
                let Effect::Append(record) = effect else { continue };
                if let Some(group) = self.groups.get(record.group_id()) {
                    group.check(&self.kept);
                }
            }
        }
    }
}

/// What a client is told when the append behind its request failed with Kafka's storage error `code`.
#[must_use]
pub const fn append_error(code: i16) -> i16 {
    match code {
        // UNKNOWN_TOPIC_OR_PARTITION, NOT_ENOUGH_REPLICAS, REQUEST_TIMED_OUT: COORDINATOR_NOT_AVAILABLE.
        3 | 19 | 7 => ErrorCode::CoordinatorNotAvailable.code(),
        // NOT_LEADER_OR_FOLLOWER, KAFKA_STORAGE_ERROR: NOT_COORDINATOR.
        6 | 56 => ErrorCode::NotCoordinator.code(),
        // MESSAGE_TOO_LARGE, RECORD_LIST_TOO_LARGE, INVALID_FETCH_SIZE: nothing the client can mend.
        10 | 18 | 4 => ErrorCode::UnknownServerError.code(),
        other => other,
    }
}
