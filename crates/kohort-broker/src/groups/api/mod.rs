//! The group APIs: from the wire to the core's words and back, one file each.

mod delete_groups;
mod describe_groups;
mod heartbeat;
mod join_group;
mod leave_group;
mod list_groups;
mod offset_commit;
mod offset_delete;
mod offset_fetch;
mod other_protocols;
mod sync_group;

use std::sync::Arc;

use kohort_group::coordinator::Request;
use kohort_group::messages::ErrorCode;
use kohort_protocol::frame::RequestError;
use kohort_protocol::{StrBytes, Uuid};

use super::Ended;
use crate::api::{Call, Outcome};
use crate::broker::Shared;
use crate::catalog::Topic;
use crate::connection::HangUp;

/// Handles one request of the group APIs.
pub(crate) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    match call.header.api_key {
        8 => offset_commit::handle(call).await,
        9 => offset_fetch::handle(call).await,
        11 => join_group::handle(call).await,
        12 => heartbeat::handle(call).await,
        13 => leave_group::handle(call).await,
        14 => sync_group::handle(call).await,
        15 => describe_groups::handle(call).await,
        16 => list_groups::handle(call).await,
        42 => delete_groups::handle(call).await,
        47 => offset_delete::handle(call).await,
        68 => other_protocols::consumer_heartbeat(call),
        76 => other_protocols::share_heartbeat(call),
        key => Err(RequestError::Unsupported { key, version: call.version() }.into()),
    }
}

/// Asks the core on behalf of the call's client.
async fn ask(call: &Call<'_>, request: Request) -> Ended {
    call.shared.groups.ask(call.peer.connection, call.client(), request).await
}

/// The answer if it is of the kind that was asked for; the core always gives that.
macro_rules! answered {
    ($ended:expr, $variant:ident) => {
        match $ended {
            super::Ended::Answered(kohort_group::coordinator::Response::$variant(response)) => Ok(response),
            super::Ended::Answered(other) => unreachable!("asked for another answer than {other:?}"),
            super::Ended::Dropped => return Ok(crate::api::Outcome::Silent),
            super::Ended::Failed(code) => Err(code),
        }
    };
}
use answered;

/// The first version of OffsetCommit and OffsetFetch that names topics by id.
const BY_ID: i16 = 10;

/// The id that stands in the place of a name (see `frame::decode_request`).
fn id_of(name: &str) -> Uuid {
    Uuid::parse_str(name).unwrap_or_default()
}

/// A topic as a request names it, and the error if there is none.
fn named(shared: &Shared, version: i16, name: &str) -> (Option<Arc<Topic>>, ErrorCode) {
    if version >= BY_ID {
        (shared.catalog.topic_by_id(id_of(name)), ErrorCode::UnknownTopicId)
    } else {
        (shared.catalog.topic(name), ErrorCode::UnknownTopicOrPartition)
    }
}

fn owned(s: Option<&StrBytes>) -> Option<String> {
    s.map(|s| s.to_string())
}
