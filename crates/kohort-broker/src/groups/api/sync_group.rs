//! SyncGroup (14), versions 0 to 5. 3: static members. 4: flexible. 5: protocol type and name both ways, required in the request
//! (KIP-559).

use kohort_group::coordinator::Request;
use kohort_group::messages::SyncGroupRequest;
use kohort_protocol::messages::{self as wire};

use super::{answered, ask, owned};
use crate::api::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::SyncGroupRequest = call.request()?;
    let version = call.version();
    let sync = SyncGroupRequest {
        api_version: version,
        group_id: request.group_id.to_string(),
        generation: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: owned(request.group_instance_id.as_ref()),
        protocol_type: owned(request.protocol_type.as_ref()),
        protocol_name: owned(request.protocol_name.as_ref()),
        assignments: request
            .assignments
            .iter()
            .map(|a| (a.member_id.to_string(), a.assignment.to_vec()))
            .collect(),
    };
    let outcome = answered!(ask(&call, Request::Sync(sync)).await, Sync);
    let answer = match outcome {
        Ok(response) => wire::SyncGroupResponse::default()
            .with_error_code(response.error.code())
            .with_protocol_type(response.protocol_type.filter(|_| version >= 5).map(text))
            .with_protocol_name(response.protocol_name.filter(|_| version >= 5).map(text))
            .with_assignment(response.assignment.into()),
        Err(code) => wire::SyncGroupResponse::default().with_error_code(code),
    };
    call.answer(&answer)
}
