//! JoinGroup (11), versions 0 to 9.
//!
//! 1: rebalance timeout (before: the session timeout counts). 4: the member id must be known first (KIP-394). 5: static members
//! (KIP-345). 6: flexible. 7: protocol type in the answer, protocol name nullable. 8: a reason (KIP-800). 9: a returning leader may
//! be told to skip the assignment (KIP-814).

use std::time::Duration;

use kohort_group::coordinator::Request;
use kohort_group::messages::{ErrorCode, JoinGroupRequest, JoinGroupResponse};
use kohort_protocol::messages::join_group_response::JoinGroupResponseMember;
use kohort_protocol::messages::{self as wire};

use super::{answered, ask, owned};
use crate::api::{Call, Outcome, text};
use crate::connection::HangUp;

/// A member id is a client or instance id, a dash, and a UUID.
const STEM_MAX: usize = 0x7fff - 37;

fn span(ms: i32) -> Duration {
    // A negative timeout is over before it begins; whether that may be is the core's to say.
    Duration::from_millis(u64::try_from(ms).unwrap_or(0))
}

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::JoinGroupRequest = call.request()?;
    let version = call.version();
    let member_id = request.member_id.to_string();
    let session_timeout = span(request.session_timeout_ms);
    let joined = JoinGroupRequest {
        api_version: version,
        group_id: request.group_id.to_string(),
        session_timeout,
        rebalance_timeout: if version >= 1 { span(request.rebalance_timeout_ms) } else { session_timeout },
        member_id: member_id.clone(),
        group_instance_id: owned(request.group_instance_id.as_ref()),
        protocol_type: request.protocol_type.to_string(),
        protocols: request.protocols.iter().map(|p| (p.name.to_string(), p.metadata.to_vec())).collect(),
        reason: owned(request.reason.as_ref()),
    };
    // The member id to be made of it has to fit into a record's text; Kafka fails inside here.
    let stem = joined.group_instance_id.as_deref().unwrap_or(&call.header.client_id);
    let outcome = if stem.len() > STEM_MAX {
        Err(ErrorCode::UnknownServerError.code())
    } else {
        answered!(ask(&call, Request::Join(joined)).await, Join)
    };
    let answer = match outcome {
        Ok(response) => translate(version, response),
        Err(code) => wire::JoinGroupResponse::default()
            .with_error_code(code)
            .with_generation_id(-1)
            .with_protocol_name((version < 7).then(|| text("")))
            .with_member_id(text(member_id)),
    };
    call.answer(&answer)
}

fn translate(version: i16, response: JoinGroupResponse) -> wire::JoinGroupResponse {
    let name = response.protocol_name.filter(|n| version < 7 || !n.is_empty());
    // Before version 7 a name cannot be null, from it on "" is null.
    let name = if version < 7 { Some(name.unwrap_or_default()) } else { name };
    let members = response
        .members
        .into_iter()
        .map(|m| {
            JoinGroupResponseMember::default()
                .with_member_id(text(m.member_id))
                .with_group_instance_id(m.group_instance_id.filter(|_| version >= 5).map(text))
                .with_metadata(m.metadata.into())
        })
        .collect();
    let failed = response.error != ErrorCode::None;
    wire::JoinGroupResponse::default()
        .with_error_code(response.error.code())
        .with_generation_id(if failed { -1 } else { response.generation })
        .with_protocol_type(response.protocol_type.filter(|_| version >= 7).map(text))
        .with_protocol_name(name.map(text))
        .with_leader(text(response.leader))
        .with_skip_assignment(version >= 9 && response.skip_assignment)
        .with_member_id(text(response.member_id))
        .with_members(members)
}
