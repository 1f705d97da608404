//! Heartbeat (12), versions 0 to 4. 3: static members. 4: flexible. The answer may be held back until there is news.

use kohort_group::coordinator::Request;
use kohort_group::messages::{ErrorCode, HeartbeatRequest};
use kohort_protocol::messages::{self as wire};

use super::{answered, ask, owned};
use crate::api::{Call, Outcome};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::HeartbeatRequest = call.request()?;
    let beat = HeartbeatRequest {
        group_id: request.group_id.to_string(),
        generation: request.generation_id,
        member_id: request.member_id.to_string(),
        group_instance_id: owned(request.group_instance_id.as_ref()),
    };
    let outcome = answered!(ask(&call, Request::Heartbeat(beat)).await, Heartbeat);
    let code = outcome.map_or_else(|code| code, ErrorCode::code);
    call.answer(&wire::HeartbeatResponse::default().with_error_code(code))
}
