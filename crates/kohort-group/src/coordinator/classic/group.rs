//! The group and its members, and what keeps its counts true. No rule of the protocol is here, only their words.

use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use super::State;
use crate::Time;
use crate::coordinator::context::Context;
use crate::coordinator::park::Beat;
use crate::coordinator::timers::Timer;
use crate::coordinator::{
    CallId, Client, ConnectionId, GroupMetadata, Happened, LeaveCause, MemberMetadata, Response,
};
use crate::messages::{ErrorCode, JoinGroupRequest, JoinGroupResponse, JoinedMember, SyncGroupResponse};

/// One classic group. A simple group, which only keeps offsets, is one without a protocol type.
#[derive(Debug)]
pub(in crate::coordinator) struct ClassicGroup {
    pub(in crate::coordinator) id: String,
    pub(in crate::coordinator) state: State,
    pub(super) previous: State,
    pub(super) since: Option<Time>,
    pub(in crate::coordinator) protocol_type: Option<String>,
    pub(in crate::coordinator) protocol: Option<String>,
    pub(in crate::coordinator) generation: i32,
    pub(in crate::coordinator) leader: Option<String>,
    pub(in crate::coordinator) members: BTreeMap<String, Member>,
    /// Member ids by instance id.
    pub(super) instances: BTreeMap<String, String>,
    /// How many members offer each protocol.
    pub(super) supporters: BTreeMap<String, usize>,
    /// Ids that were handed out with `MEMBER_ID_REQUIRED` and have not joined (KIP-394).
    pub(super) pending_joins: BTreeSet<String>,
    /// Members of this generation who have not synced.
    pub(super) pending_syncs: BTreeSet<String>,
    /// How many members are parked in JoinGroup.
    pub(super) parked_joins: usize,
    /// Topics that some member subscribes to; `None`: unknown.
    pub(super) subscribed: Option<BTreeSet<String>>,
    /// A member was added since the initial delay was last extended. As in Kafka it may survive into a later
    /// initial rebalance.
    pub(super) added_in_delay: bool,
    /// While the initial delay of an Empty group runs: its length, and what may still be added to it.
    pub(super) initial: Option<InitialDelay>,
    /// When the rebalance that runs began, its restarts included.
    pub(super) rebalancing_since: Option<Time>,
    /// Whom the event log last called fenced, so that one who insists does not fill it.
    pub(super) fenced: Option<(String, ErrorCode)>,
}

/// The initial rebalance delay (KIP-134) while it runs.
#[derive(Clone, Copy, Debug)]
pub(super) struct InitialDelay {
    pub(super) delay: Duration,
    pub(super) remaining: Duration,
}

/// What became of a member's connection, as far as that says whether the member lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Connection {
    /// Nothing that would matter.
    Fine,
    /// It closed: the grace runs.
    Lost,
    /// It closed, and then the member's client asked for the coordinator: it lives, unless what asked is its
    /// successor, which shows when that joins.
    Sought,
}

/// One member.
#[derive(Debug)]
pub(in crate::coordinator) struct Member {
    pub(in crate::coordinator) id: String,
    pub(in crate::coordinator) instance_id: Option<String>,
    pub(in crate::coordinator) client: Client,
    pub(super) session_timeout: Duration,
    pub(super) rebalance_timeout: Duration,
    /// What it offers, in its order.
    pub(super) protocols: Vec<(String, Vec<u8>)>,
    pub(in crate::coordinator) assignment: Vec<u8>,
    /// Its parked JoinGroup.
    pub(super) joining: Option<CallId>,
    /// Its parked SyncGroup.
    pub(super) syncing: Option<CallId>,
    /// It has not yet completed a rebalance.
    pub(super) is_new: bool,
    pub(super) connection: Connection,
    /// Where it beats.
    pub(super) line: Option<ConnectionId>,
    pub(super) beat: Beat,
}

impl Member {
    pub(super) fn new(id: String, client: Client, request: &JoinGroupRequest) -> Self {
        Self {
            id,
            instance_id: request.group_instance_id.clone(),
            client,
            session_timeout: request.session_timeout,
            rebalance_timeout: rebalance_timeout(request),
            protocols: request.protocols.clone(),
            assignment: Vec::new(),
            joining: None,
            syncing: None,
            is_new: true,
            connection: Connection::Fine,
            line: None,
            beat: Beat::default(),
        }
    }

    pub(super) fn load(kept: &MemberMetadata, group: &GroupMetadata) -> Self {
        Self {
            id: kept.member_id.clone(),
            instance_id: kept.group_instance_id.clone(),
            client: Client { id: kept.client_id.clone(), host: kept.client_host.clone() },
            session_timeout: kept.session_timeout,
            rebalance_timeout: kept.rebalance_timeout,
            protocols: vec![(group.protocol.clone().unwrap_or_default(), kept.subscription.clone())],
            assignment: kept.assignment.clone(),
            joining: None,
            syncing: None,
            is_new: false,
            connection: Connection::Fine,
            line: None,
            beat: Beat::default(),
        }
    }

    /// Its bytes for a protocol; none if it does not offer it.
    pub(in crate::coordinator) fn metadata(&self, protocol: Option<&str>) -> &[u8] {
        let offered = self.protocols.iter().find(|(name, _)| Some(name.as_str()) == protocol);
        offered.map_or(&[], |(_, metadata)| metadata)
    }
}

/// Version 0 has no rebalance timeout: the session's counts.
pub(super) const fn rebalance_timeout(request: &JoinGroupRequest) -> Duration {
    if request.api_version == 0 { request.session_timeout } else { request.rebalance_timeout }
}

impl ClassicGroup {
    pub(in crate::coordinator) fn new(id: &str, since: Option<Time>) -> Self {
        Self {
            id: id.to_owned(),
            state: State::Empty,
            previous: State::Empty,
            since,
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            instances: BTreeMap::new(),
            supporters: BTreeMap::new(),
            pending_joins: BTreeSet::new(),
            pending_syncs: BTreeSet::new(),
            parked_joins: 0,
            subscribed: None,
            added_in_delay: false,
            initial: None,
            rebalancing_since: None,
            fenced: None,
        }
    }

    pub(super) fn enter(&mut self, now: Time, state: State) {
        self.previous = self.state;
        self.state = state;
        self.since = Some(now);
    }

    pub(super) fn is_leader(&self, member_id: &str) -> bool {
        self.leader.as_deref() == Some(member_id)
    }

    /// The longest rebalance timeout of the members.
    pub(super) fn rebalance_timeout(&self) -> Duration {
        self.members.values().map(|member| member.rebalance_timeout).max().unwrap_or_default()
    }

    /// Everyone is in: nobody is awaited, neither a member nor an id that was handed out.
    pub(super) fn all_joined(&self) -> bool {
        self.members.len() == self.parked_joins && self.pending_joins.is_empty()
    }

    /// Adds a member; the first one ever leads, and gives the group its protocol type.
    pub(super) fn insert(&mut self, member: Member) {
        self.count_supporters(&member.protocols, 1);
        if let Some(instance) = &member.instance_id {
            self.instances.insert(instance.clone(), member.id.clone());
        }
        if self.leader.is_none() {
            self.leader = Some(member.id.clone());
        }
        self.pending_joins.remove(&member.id);
        self.members.insert(member.id.clone(), member);
    }

    /// Removes a member, or an id that was handed out, from every list. Another member leads in its place.
    pub(super) fn take(&mut self, member_id: &str) -> Option<Member> {
        self.pending_joins.remove(member_id);
        self.pending_syncs.remove(member_id);
        let member = self.members.remove(member_id)?;
        self.count_supporters(&member.protocols, -1);
        self.parked_joins -= usize::from(member.joining.is_some());
        if let Some(instance) = &member.instance_id {
            self.instances.remove(instance);
        }
        if self.is_leader(member_id) {
            self.leader = self.members.keys().next().cloned();
        }
        Some(member)
    }

    pub(super) fn count_supporters(&mut self, protocols: &[(String, Vec<u8>)], by: isize) {
        for (name, _) in protocols {
            let count = self.supporters.entry(name.clone()).or_default();
            *count = count.saturating_add_signed(by);
            if *count == 0 {
                self.supporters.remove(name);
            }
        }
    }

    /// Removes a member for good: its parked calls are answered, its timers end, the log is told.
    pub(super) fn remove(&mut self, cx: &mut Context<'_>, member_id: &str, cause: LeaveCause) {
        cx.timers.cancel(&self.member_timer(member_id));
        self.hang_up(cx, member_id);
        let Some(mut member) = self.take(member_id) else { return };
        if member.connection != Connection::Fine {
            cx.timers.cancel(&self.lost_timer(member_id));
        }
        if let Some(call) = member.joining {
            cx.reply(call, Response::Join(refused_join("", ErrorCode::UnknownMemberId)));
        }
        // Kafka leaves a parked sync of a removed member unanswered; nobody relies on that.
        if let Some(call) = member.syncing {
            cx.reply(call, Response::Sync(refused_sync(ErrorCode::UnknownMemberId)));
        }
        if let Some(call) = member.beat.cut_short() {
            cx.answer_held(call, ErrorCode::UnknownMemberId);
        }
        cx.note(&self.id, self.generation, Happened::MemberLeft { who: member.who(), cause });
    }

    /// Which member speaks: its instance id, if it gives one, decides (KIP-345).
    pub(in crate::coordinator) fn validate(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
    ) -> Result<(), ErrorCode> {
        if let Some(instance_id) = instance_id {
            match self.instances.get(instance_id) {
                None => return Err(ErrorCode::UnknownMemberId),
                Some(known) if known != member_id => return Err(ErrorCode::FencedInstanceId),
                Some(_) => {}
            }
        }
        if self.members.contains_key(member_id) { Ok(()) } else { Err(ErrorCode::UnknownMemberId) }
    }

    /// A member showed that it lives: its session begins anew, wherever it spoke from.
    pub(in crate::coordinator) fn touch(&mut self, cx: &mut Context<'_>, member_id: &str) {
        let Some(member) = self.members.get(member_id) else { return };
        let until = cx.now + member.session_timeout;
        cx.timers.set(self.member_timer(member_id), until);
        self.returned(cx, member_id);
    }

    /// A member spoke: its lost connection does not matter any more.
    pub(super) fn returned(&mut self, cx: &mut Context<'_>, member_id: &str) {
        let timer = self.lost_timer(member_id);
        if let Some(member) = self.members.get_mut(member_id)
            && core::mem::replace(&mut member.connection, Connection::Fine) != Connection::Fine
        {
            cx.timers.cancel(&timer);
        }
    }

    /// Parks a member's JoinGroup. Kafka never answers one that was parked before it.
    pub(super) fn park_join(&mut self, cx: &mut Context<'_>, member_id: &str, call: CallId) {
        let Some(member) = self.members.get_mut(member_id) else { return };
        match member.joining.replace(call) {
            Some(before) => cx.drop_call(before),
            None => self.parked_joins += 1,
        }
    }

    /// Answers a member's parked JoinGroup.
    pub(super) fn answer_join(&mut self, cx: &mut Context<'_>, member_id: &str, response: JoinGroupResponse) {
        let Some(call) = self.members.get_mut(member_id).and_then(|member| member.joining.take()) else {
            return;
        };
        self.parked_joins -= 1;
        cx.reply(call, Response::Join(response));
    }

    /// JoinGroup's answer in the current generation; the leader, or whom `with_members` says, sees everybody.
    pub(super) fn joined(&self, member_id: &str, with_members: bool) -> JoinGroupResponse {
        let members = if with_members { self.joined_members() } else { Vec::new() };
        JoinGroupResponse {
            error: ErrorCode::None,
            generation: self.generation,
            protocol_type: self.protocol_type.clone(),
            protocol_name: self.protocol.clone(),
            leader: self.leader.clone().unwrap_or_default(),
            skip_assignment: false,
            member_id: member_id.to_owned(),
            members,
        }
    }

    fn joined_members(&self) -> Vec<JoinedMember> {
        let joined = |member: &Member| JoinedMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            metadata: member.metadata(self.protocol.as_deref()).to_vec(),
        };
        self.members.values().map(joined).collect()
    }

    pub(super) fn member_timer(&self, member_id: &str) -> Timer {
        Timer::Member { group: self.id.clone(), member: member_id.to_owned() }
    }

    pub(super) fn lost_timer(&self, member_id: &str) -> Timer {
        Timer::Lost { group: self.id.clone(), member: member_id.to_owned() }
    }

    pub(super) fn join_timer(&self) -> Timer {
        Timer::Join { group: self.id.clone() }
    }

    pub(super) fn sync_timer(&self) -> Timer {
        Timer::Sync { group: self.id.clone() }
    }

    /// Ends everything of a group that is deleted, or whose coordinator closes: no timer and no call is left.
    pub(in crate::coordinator) fn end(&mut self, cx: &mut Context<'_>, error: ErrorCode) {
        cx.timers.cancel(&self.join_timer());
        cx.timers.cancel(&self.sync_timer());
        for pending in core::mem::take(&mut self.pending_joins) {
            cx.timers.cancel(&self.member_timer(&pending));
        }
        let ids: Vec<_> = self.members.keys().cloned().collect();
        for id in ids {
            cx.timers.cancel(&self.member_timer(&id));
            self.hang_up(cx, &id);
            self.returned(cx, &id);
            self.answer_join(cx, &id, refused_join(&id, error));
            let Some(member) = self.members.get_mut(&id) else { continue };
            let (syncing, held) = (member.syncing.take(), member.beat.cut_short());
            if let Some(call) = syncing {
                cx.reply(call, Response::Sync(refused_sync(error)));
            }
            if let Some(call) = held {
                cx.answer_held(call, error);
            }
        }
    }

    /// The event log learns whom the group fenced, once.
    pub(in crate::coordinator) fn note_fenced(
        &mut self,
        cx: &mut Context<'_>,
        member_id: &str,
        error: ErrorCode,
    ) {
        let fenced = (member_id.to_owned(), error);
        if self.fenced.as_ref() == Some(&fenced) {
            return;
        }
        self.fenced = Some(fenced);
        let what = Happened::Fenced { member_id: member_id.to_owned(), error };
        cx.note(&self.id, self.generation, what);
    }
}

/// JoinGroup's answer to somebody who is not let in.
pub(in crate::coordinator) fn refused_join(member_id: &str, error: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse {
        error,
        generation: -1,
        protocol_type: None,
        protocol_name: None,
        leader: String::new(),
        skip_assignment: false,
        member_id: member_id.to_owned(),
        members: Vec::new(),
    }
}

/// SyncGroup's answer to somebody who gets nothing.
pub(in crate::coordinator) const fn refused_sync(error: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse { error, protocol_type: None, protocol_name: None, assignment: Vec::new() }
}
