//! ConsumerGroupHeartbeat (68), versions 0 to 1 (KIP-848), and ShareGroupHeartbeat (76), version 1 (KIP-932): the first word of a
//! member of a group protocol that is not spoken here.
//!
//! Each is refused with UNSUPPORTED_VERSION, as by a Kafka whose `group.coordinator.rebalance.protocols` leaves the protocol out. It is
//! advertised for that answer alone, which ends the attempt at once: a client that does not find the API (librdkafka) looks for
//! a better coordinator for ever and says nothing. One that can fall back to the classic protocol (franz-go) does.
//!
//! Not supported: the protocols themselves, and so none of their other APIs.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, ShareGroupHeartbeatRequest,
    ShareGroupHeartbeatResponse,
};

use crate::api::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) fn consumer_heartbeat(call: Call<'_>) -> Result<Outcome, HangUp> {
    let _: ConsumerGroupHeartbeatRequest = call.request()?;
    let why = "this broker speaks the classic group protocol: set group.protocol=classic";
    let answer = ConsumerGroupHeartbeatResponse::default()
        .with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
        .with_error_message(Some(text(why)));
    call.answer(&answer)
}

pub(super) fn share_heartbeat(call: Call<'_>) -> Result<Outcome, HangUp> {
    let _: ShareGroupHeartbeatRequest = call.request()?;
    let answer = ShareGroupHeartbeatResponse::default()
        .with_error_code(ErrorCode::UNSUPPORTED_VERSION.0)
        .with_error_message(Some(text("this broker has no share groups")));
    call.answer(&answer)
}
