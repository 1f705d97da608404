//! LeaveGroup (13), versions 0 to 5. 3: many members at once, by instance id too (KIP-345). 4: flexible. 5: a reason (KIP-800).
//!
//! Before version 3 one member leaves, and its outcome is the answer's.

use kohort_group::coordinator::Request;
use kohort_group::messages::{ErrorCode, LeaveGroupRequest, LeavingMember};
use kohort_protocol::messages::leave_group_response::MemberResponse;
use kohort_protocol::messages::{self as wire};

use super::{answered, ask, owned};
use crate::api::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::LeaveGroupRequest = call.request()?;
    let version = call.version();
    let members = if version < 3 {
        vec![LeavingMember {
            member_id: request.member_id.to_string(),
            group_instance_id: None,
            reason: None,
        }]
    } else {
        let leaving = |m: &wire::leave_group_request::MemberIdentity| LeavingMember {
            member_id: m.member_id.to_string(),
            group_instance_id: owned(m.group_instance_id.as_ref()),
            reason: owned(m.reason.as_ref()),
        };
        request.members.iter().map(leaving).collect()
    };
    let leave = LeaveGroupRequest { group_id: request.group_id.to_string(), members };
    let outcome = answered!(ask(&call, Request::Leave(leave)).await, Leave);
    let answer = match outcome {
        Err(code) => wire::LeaveGroupResponse::default().with_error_code(code),
        Ok(response) if version < 3 => {
            let own = response.members.first().map_or(ErrorCode::None, |(.., error)| *error);
            let error = if response.error == ErrorCode::None { own } else { response.error };
            wire::LeaveGroupResponse::default().with_error_code(error.code())
        }
        Ok(response) if response.error != ErrorCode::None => {
            wire::LeaveGroupResponse::default().with_error_code(response.error.code())
        }
        Ok(response) => {
            let member = |(id, instance, error): (String, Option<String>, ErrorCode)| {
                MemberResponse::default()
                    .with_member_id(text(id))
                    .with_group_instance_id(instance.map(text))
                    .with_error_code(error.code())
            };
            wire::LeaveGroupResponse::default()
                .with_members(response.members.into_iter().map(member).collect())
        }
    };
    call.answer(&answer)
}
