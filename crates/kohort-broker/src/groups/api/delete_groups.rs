//! DeleteGroups (42), versions 0 to 2 (KIP-229). A group that is named twice is answered once.

use kohort_group::coordinator::Request;
use kohort_group::messages::DeleteGroupsRequest;
use kohort_protocol::messages::delete_groups_response::DeletableGroupResult;
use kohort_protocol::messages::{self as wire, GroupId};

use super::{answered, ask};
use crate::api::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::DeleteGroupsRequest = call.request()?;
    let groups: Vec<String> = request.groups_names.iter().map(|g| g.to_string()).collect();
    let outcome = answered!(
        ask(&call, Request::DeleteGroups(DeleteGroupsRequest { groups: groups.clone() })).await,
        DeleteGroups
    );
    let results: Vec<(String, i16)> = match outcome {
        Ok(response) => response.groups.into_iter().map(|(g, error)| (g, error.code())).collect(),
        Err(code) => groups.into_iter().map(|g| (g, code)).collect(),
    };
    let results = results.into_iter().map(|(g, code)| {
        DeletableGroupResult::default().with_group_id(GroupId(text(g))).with_error_code(code)
    });
    let answer = wire::DeleteGroupsResponse::default().with_results(results.collect());
    call.answer(&answer)
}
