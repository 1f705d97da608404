//! Syncing: from a joined generation to its assignment.

use std::collections::BTreeSet;

use super::join::Attempt;
use super::{Effect, FatalError, Identity, LeftReason, Member, PROTOCOL_TYPE, Phase, Request, RequestId};
use crate::Time;
use crate::consumer_protocol::Assignment;
use crate::messages::{ErrorCode, JoinGroupResponse, SyncGroupRequest, SyncGroupResponse, TopicPartition};

impl Member {
    /// The generation is joined: the leader assigns, the others ask.
    pub(super) fn join_done(&mut self, now: Time, response: JoinGroupResponse, out: &mut Vec<Effect>) {
        let offered = |name: &String| self.assignors.iter().any(|it| it.name() == name);
        let Some(assignor) = response.protocol_name.clone().filter(offered) else {
            self.refused("JoinGroup", ErrorCode::InconsistentGroupProtocol, out);
            return;
        };
        let before = self.identity.generation;
        let fixed = self.config.group_instance_id.is_some();
        if fixed && before >= 0 && response.generation > before + 1 {
            // JoinGroup does not look at generations. A static member that slept through one stays in the group, hears
            // "rebalance" when it wakes up, and joins; meanwhile what it works on was given to others, and in the
            // generation it joins now its commits would count again. (A dynamic member is in a generation by a join
            // of its own, with its claims, even if the answer got lost.)
            self.lose_owned(out);
        }
        self.identity = Identity { member_id: response.member_id.clone(), generation: response.generation };
        self.beat_start(now);
        self.assignor = assignor;
        if response.leader == response.member_id {
            self.lead(now, &response, out);
        } else {
            self.follow(out);
            self.sync(now, Vec::new());
        }
    }

    /// Has SyncGroup sent, with everybody's assignment if this member leads.
    pub(super) fn sync(&mut self, now: Time, assignments: Vec<(String, Vec<u8>)>) {
        let request = SyncGroupRequest {
            // The shell's connection may be another one by the time it is sent: filled in then.
            api_version: 0,
            group_id: self.config.group_id.clone(),
            generation: self.identity.generation,
            member_id: self.identity.member_id.clone(),
            group_instance_id: self.config.group_instance_id.clone(),
            protocol_type: Some(PROTOCOL_TYPE.to_owned()),
            protocol_name: Some(self.assignor.clone()),
            assignments,
        };
        self.phase = Phase::Syncing(Box::new(request), Attempt::at(now));
    }

    pub(super) fn send_sync(&mut self, now: Time, out: &mut Vec<Effect>) -> bool {
        let Some(versions) = self.link.versions() else { return false };
        let Phase::Syncing(request, attempt) = &mut self.phase else { return false };
        if !attempt.due(now) {
            return false;
        }
        request.api_version = versions.sync_group;
        let request = (**request).clone();
        let id = self.send(now, self.config.request_timeout, Request::SyncGroup(request), out);
        if let Phase::Syncing(_, attempt) = &mut self.phase {
            attempt.send(id);
        }
        true
    }

    /// Table 6.4, column Sync. A connection lost under SyncGroup is followed by the same SyncGroup on the next one,
    /// where Java joins again: the group may be Stable already, and the leader's join would rebalance it.
    pub(super) fn synced(
        &mut self,
        now: Time,
        id: RequestId,
        response: SyncGroupResponse,
        out: &mut Vec<Effect>,
    ) {
        if !matches!(&self.phase, Phase::Syncing(_, attempt) if attempt.is(id)) {
            return;
        }
        match response.error {
            ErrorCode::None => self.assigned(now, &response, out),
            ErrorCode::RebalanceInProgress => self.join_anew(now, "the group rebalances again"),
            ErrorCode::IllegalGeneration => self.generation_refused(now, out),
            ErrorCode::UnknownMemberId => {
                self.lose_membership(false, LeftReason::UnknownMember, out);
            }
            // Unexpected in Java. A coordinator that is loading its groups is no reason to end a consumer.
            ErrorCode::CoordinatorLoadInProgress => {
                let wait = self.backoff(2);
                if let Phase::Syncing(_, attempt) = &mut self.phase {
                    attempt.postpone(now + wait);
                }
            }
            ErrorCode::CoordinatorNotAvailable | ErrorCode::NotCoordinator => {
                self.drop_coordinator(now, out);
            }
            ErrorCode::FencedInstanceId => self.fenced(out),
            error => self.refused("SyncGroup", error, out),
        }
    }

    /// 22 in a generation that was joined but never synced, or later.
    ///
    /// A coordinator that crashed between join and sync has forgotten the generation that it gave us, and is back in
    /// the one before, in which our claims still hold: join again with them. A live one has the member in
    /// its present generation or not at all (25), so nobody else can have been given what we claim. In all other
    /// cases the partitions are lost.
    pub(super) fn generation_refused(&mut self, now: Time, out: &mut Vec<Effect>) {
        let forgotten = match &self.phase {
            Phase::Syncing(_, attempt) => attempt.reconnected(),
            _ => false,
        };
        if forgotten {
            // A heartbeat that followed the sync is about to be told the same.
            self.beat_lost();
            self.join_anew(now, "the coordinator forgot the generation");
        } else {
            self.lose_membership(true, LeftReason::IllegalGeneration, out);
        }
    }

    /// Joins with what is claimed now: nothing was lost, nothing needs handing back.
    pub(super) fn join_anew(&mut self, now: Time, reason: &str) {
        self.rejoin = Some(reason.to_owned());
        self.phase = Phase::Joining(Attempt::at(now));
    }

    fn assigned(&mut self, now: Time, response: &SyncGroupResponse, out: &mut Vec<Effect>) {
        // Zero bytes are nothing assigned: the coordinator sends them to a member that the leader left out.
        let assignment = match Assignment::decode(&response.assignment) {
            Ok(assignment) => assignment,
            Err(error) => {
                let (group_id, reason) = (self.config.group_id.clone(), error.to_string());
                self.fail(FatalError::Unreadable { group_id, what: "assignment".to_owned(), reason }, out);
                return;
            }
        };
        self.leader.inherit(now, assignment.user_data.as_deref());
        let partitions: BTreeSet<_> = assignment.partitions.into_iter().collect();
        self.phase = Phase::Stable;
        self.beat_settled(now);
        out.push(Effect::Joined {
            generation: self.identity.generation,
            member_id: self.identity.member_id.clone(),
            assignor: self.assignor.clone(),
            leader: self.leader.leads(),
        });
        let wanted = self.wish.topics.as_ref();
        let foreign = |tp: &TopicPartition| !wanted.is_some_and(|topics| topics.contains(&tp.topic));
        if partitions.iter().any(foreign) {
            // The subscription changed while the leader assigned by the old one.
            self.rejoin_because("the assignment has topics that are not subscribed any more");
            return;
        }
        self.assignor_assigned(&partitions);
        self.target = Some(partitions);
    }
}
