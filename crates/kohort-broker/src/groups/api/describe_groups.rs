//! DescribeGroups (15), versions 0 to 6. 4: instance ids. 5: flexible. 6: an unknown group is an error (KIP-1043), before it a group
//! that is `Dead`. Authorized operations are never given: there is no authorizer.

use kohort_group::coordinator::Request;
use kohort_group::messages::DescribeGroupsRequest;
use kohort_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};
use kohort_protocol::messages::{self as wire, GroupId};

use super::{answered, ask};
use crate::api::{Call, Outcome, operations, text};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::DescribeGroupsRequest = call.request()?;
    let version = call.version();
    let describe = DescribeGroupsRequest {
        api_version: version,
        groups: request.groups.iter().map(|g| g.to_string()).collect(),
    };
    let outcome = answered!(ask(&call, Request::DescribeGroups(describe)).await, DescribeGroups);
    let groups = match outcome {
        Err(code) => request
            .groups
            .iter()
            .map(|g| DescribedGroup::default().with_group_id(g.clone()).with_error_code(code))
            .collect(),
        Ok(response) => response
            .groups
            .into_iter()
            .map(|g| {
                let members = g.members.into_iter().map(|m| {
                    DescribedGroupMember::default()
                        .with_member_id(text(m.member_id))
                        .with_group_instance_id(m.group_instance_id.filter(|_| version >= 4).map(text))
                        .with_client_id(text(m.client_id))
                        .with_client_host(text(m.client_host))
                        .with_member_metadata(m.metadata.into())
                        .with_member_assignment(m.assignment.into())
                });
                // Also of a group that is not there: until version 6 that is no error.
                let told = request.include_authorized_operations && g.error.code() == 0;
                DescribedGroup::default()
                    .with_authorized_operations(if told { operations::GROUP } else { i32::MIN })
                    .with_error_code(g.error.code())
                    .with_error_message(g.error_message.filter(|_| version >= 6).map(text))
                    .with_group_id(GroupId(text(g.group_id)))
                    .with_group_state(text(g.state))
                    .with_protocol_type(text(g.protocol_type))
                    .with_protocol_data(text(g.protocol_data))
                    .with_members(members.collect())
            })
            .collect(),
    };
    call.answer(&wire::DescribeGroupsResponse::default().with_groups(groups))
}
