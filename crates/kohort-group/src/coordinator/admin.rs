//! What administrators see and do: describe, list and delete groups.

use super::classic::{ClassicGroup, Member, State};
use super::context::Caller;
use super::retention::{delete_group, drop_offsets};
use super::{Coordinator, DeleteCause, Response};
use crate::Time;
use crate::messages::{
    DeleteGroupsRequest, DeleteGroupsResponse, DescribeGroupsRequest, DescribeGroupsResponse, DescribedGroup,
    DescribedMember, ErrorCode, ListGroupsRequest, ListGroupsResponse, ListedGroup,
};

/// Kafka's name for this kind of group in ListGroups.
const CLASSIC: &str = "classic";

impl Coordinator {
    pub(super) fn describe_groups(&mut self, now: Time, caller: &Caller, request: DescribeGroupsRequest) {
        let (groups, mut cx) = self.split(now);
        let describe = |id: String| match groups.get(&id) {
            Some(group) => group.described(),
            None => unknown(id, request.api_version),
        };
        let groups = request.groups.into_iter().map(describe).collect();
        cx.reply(caller.call, Response::DescribeGroups(DescribeGroupsResponse { groups }));
    }

    pub(super) fn list_groups(&mut self, now: Time, caller: &Caller, request: &ListGroupsRequest) {
        let (groups, mut cx) = self.split(now);
        let state_asked = |state: &str| {
            request.states.is_empty()
                || request.states.iter().any(|one| one.trim().eq_ignore_ascii_case(state))
        };
        let type_asked = request.types.is_empty()
            || request.types.iter().any(|one| one.trim().eq_ignore_ascii_case(CLASSIC));
        let asked = groups.values().filter(|group| type_asked && state_asked(group.state.name()));
        let groups = asked
            .map(|group| ListedGroup {
                group_id: group.id.clone(),
                protocol_type: group.protocol_type.clone().unwrap_or_default(),
                state: group.state.name().to_owned(),
                group_type: CLASSIC.to_owned(),
            })
            .collect();
        let response = ListGroupsResponse { error: ErrorCode::None, groups };
        cx.reply(caller.call, Response::ListGroups(response));
    }

    pub(super) fn delete_groups(&mut self, now: Time, caller: &Caller, request: DeleteGroupsRequest) {
        let (groups, mut cx) = self.split(now);
        let mut outcomes: Vec<(String, ErrorCode)> = Vec::with_capacity(request.groups.len());
        for id in request.groups {
            if outcomes.iter().any(|(known, _)| *known == id) {
                continue;
            }
            let error = match groups.get_mut(&id) {
                None => ErrorCode::GroupIdNotFound,
                Some(group) if group.state != State::Empty => ErrorCode::NonEmptyGroup,
                Some(group) => {
                    let offsets =
                        cx.kept.offsets(&id).into_iter().flatten().map(|(at, _)| at.clone()).collect();
                    drop_offsets(&mut cx, group, offsets, DeleteCause::Requested);
                    delete_group(&mut cx, group, DeleteCause::Requested);
                    groups.remove(&id);
                    ErrorCode::None
                }
            };
            outcomes.push((id, error));
        }
        cx.reply(caller.call, Response::DeleteGroups(DeleteGroupsResponse { groups: outcomes }));
    }
}

impl ClassicGroup {
    fn described(&self) -> DescribedGroup {
        // Outside Stable there is no protocol that everybody has agreed on; assignments are shown all the same.
        let protocol = self.protocol.as_deref().filter(|_| self.state == State::Stable);
        let member = |member: &Member| DescribedMember {
            member_id: member.id.clone(),
            group_instance_id: member.instance_id.clone(),
            client_id: member.client.id.clone(),
            client_host: member.client.host.clone(),
            metadata: member.metadata(protocol).to_vec(),
            assignment: member.assignment.clone(),
        };
        DescribedGroup {
            error: ErrorCode::None,
            error_message: None,
            group_id: self.id.clone(),
            state: self.state.name().to_owned(),
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            protocol_data: protocol.unwrap_or_default().to_owned(),
            members: self.members.values().map(member).collect(),
        }
    }
}

/// KIP-1043: until version 6 a group that is not there is one that is dead.
fn unknown(group_id: String, api_version: i16) -> DescribedGroup {
    let missing = api_version >= 6;
    DescribedGroup {
        error: if missing { ErrorCode::GroupIdNotFound } else { ErrorCode::None },
        error_message: missing.then(|| format!("Group {group_id} not found.")),
        group_id,
        state: "Dead".to_owned(),
        protocol_type: String::new(),
        protocol_data: String::new(),
        members: Vec::new(),
    }
}
