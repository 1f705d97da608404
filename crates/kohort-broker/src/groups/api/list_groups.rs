//! ListGroups (16), versions 0 to 5. 3: flexible. 4: by state (KIP-518). 5: by type (KIP-848).

use kohort_group::coordinator::Request;
use kohort_group::messages::ListGroupsRequest;
use kohort_protocol::messages::list_groups_response::ListedGroup;
use kohort_protocol::messages::{self as wire, GroupId};

use super::{answered, ask};
use crate::api::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::ListGroupsRequest = call.request()?;
    let version = call.version();
    let list = ListGroupsRequest {
        states: request.states_filter.iter().map(|s| s.to_string()).collect(),
        types: request.types_filter.iter().map(|s| s.to_string()).collect(),
    };
    let outcome = answered!(ask(&call, Request::ListGroups(list)).await, ListGroups);
    let answer = match outcome {
        Err(code) => wire::ListGroupsResponse::default().with_error_code(code),
        Ok(response) => {
            let groups = response.groups.into_iter().map(|g| {
                let listed = ListedGroup::default()
                    .with_group_id(GroupId(text(g.group_id)))
                    .with_protocol_type(text(g.protocol_type));
                let listed = if version >= 4 { listed.with_group_state(text(g.state)) } else { listed };
                if version >= 5 { listed.with_group_type(text(g.group_type)) } else { listed }
            });
            wire::ListGroupsResponse::default()
                .with_error_code(response.error.code())
                .with_groups(groups.collect())
        }
    };
    call.answer(&answer)
}
