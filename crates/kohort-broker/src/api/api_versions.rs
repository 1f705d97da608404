//! ApiVersions (18), versions 0 to 4.
//!
//! 3: flexible, the client's software name and version (KIP-511). 4: supported features with a minimum of 0 may be named
//! (KAFKA-17492). A version that we do not speak is answered, not hung up on: version 0, error 35, and our own range of this API only.
//!
//! Not supported: features. Without `group.version` clients keep to the classic group protocol, which is what is handled.

use std::sync::atomic::Ordering;

use kohort_protocol::ErrorCode;
use kohort_protocol::frame;
use kohort_protocol::messages::api_versions_response::ApiVersion;
use kohort_protocol::messages::{ApiVersionsRequest, ApiVersionsResponse};

use super::{Call, Outcome, SPOKEN};
use crate::connection::HangUp;

/// Clients that end a session only when their last heartbeat is answered: each close, and each rebalance that they begin themselves,
/// would take as long as it is held. sarama waits for its heartbeats' loop there.
const WAIT_FOR_BEATS: &[&str] = &["sarama"];

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let api = |(key, low, high): &(i16, i16, i16)| {
        ApiVersion::default().with_api_key(*key).with_min_version(*low).with_max_version(*high)
    };
    if !(0..=4).contains(&call.version()) {
        let own = SPOKEN.iter().filter(|(key, ..)| *key == frame::API_VERSIONS).map(api).collect();
        let answer = ApiVersionsResponse::default()
            .with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
            .with_api_keys(own);
        // The client cannot know our layouts yet: version 0 is the one everybody reads.
        frame::encode_response(call.out, 0, call.header.correlation_id, &answer)?;
        return Ok(Outcome::Answered);
    }
    let request: ApiVersionsRequest = call.request()?;
    let named = call.version() < 3
        || (is_software_name(&request.client_software_name)
            && is_software_name(&request.client_software_version));
    if WAIT_FOR_BEATS.contains(&request.client_software_name.as_str()) {
        call.peer.waits_for_beats.store(true, Ordering::Relaxed);
    }
    let answer = if named {
        ApiVersionsResponse::default().with_api_keys(SPOKEN.iter().map(api).collect())
    } else {
        ApiVersionsResponse::default().with_error_code(ErrorCode::INVALID_REQUEST.0)
    };
    call.answer(&answer)
}

/// Letters and digits, with `-` and `.` inside.
fn is_software_name(s: &str) -> bool {
    let alnum = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
    alnum(s.chars().next())
        && alnum(s.chars().next_back())
        && s.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '.')
}
