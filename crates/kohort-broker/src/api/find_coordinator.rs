//! FindCoordinator (10), versions 0 to 6. 4: many keys at once (KIP-699). 6: share groups (not supported: 42).
//!
//! One node: it coordinates every group. Kafka makes `__consumer_offsets` here and answers 15 until it is there; ours is there from
//! the start. Not supported: transactions. The look-up is refused as Kafka refuses somebody who may not use a transactional id: of
//! all codes that one ends the attempt at once in every client; 15, say, is retried until the client gives up a minute later.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::find_coordinator_response::Coordinator;
use kohort_protocol::messages::{BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};

use super::{Call, NO_TRANSACTIONS, Outcome, text};
use crate::connection::HangUp;

const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: FindCoordinatorRequest = call.request()?;
    let shared = call.shared;
    let error = match request.key_type {
        GROUP => ErrorCode::NONE,
        TRANSACTION => ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED,
        _ => ErrorCode::INVALID_REQUEST,
    };
    let (node, host, port) = if error.is_ok() {
        (BrokerId(shared.node_id), text(shared.advertised.0.clone()), shared.advertised.1)
    } else {
        (BrokerId(-1), text(""), -1)
    };
    if request.key_type == GROUP {
        // A client that asks lives, even if the connection of its member is lost.
        let one = (call.version() < 4).then_some(&request.key);
        for group in one.into_iter().chain(&request.coordinator_keys) {
            shared.groups.sought(call.client(), group.to_string());
        }
    }
    // Kafka has no words for the refusal of a share group when many keys may be asked for.
    let message = match request.key_type {
        GROUP if call.version() < 4 => error.name(),
        SHARE if call.version() >= 4 => "",
        TRANSACTION => NO_TRANSACTIONS,
        _ => error.message(),
    };
    let answer = if call.version() < 4 {
        FindCoordinatorResponse::default()
            .with_error_code(error.0)
            .with_error_message((call.version() >= 1).then(|| text(message)))
            .with_node_id(node)
            .with_host(host)
            .with_port(port)
    } else {
        let found = |key: &kohort_protocol::StrBytes| {
            Coordinator::default()
                .with_key(key.clone())
                .with_error_code(error.0)
                .with_error_message(Some(text(message)))
                .with_node_id(node)
                .with_host(host.clone())
                .with_port(port)
        };
        FindCoordinatorResponse::default()
            .with_coordinators(request.coordinator_keys.iter().map(found).collect())
    };
    call.answer(&answer)
}
