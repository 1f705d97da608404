//! InitProducerId (22), versions 0 to 5. 2: flexible. 3: a producer may name its id and epoch, to go on with the next (KIP-360).
//! Not supported: transactional ids. They are refused as by a Kafka that does not let this client use them.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::{Call, Outcome};
use crate::connection::HangUp;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: InitProducerIdRequest = call.request()?;
    let half_named = (request.producer_id.0 == -1) != (request.producer_epoch == -1);
    let transactional = request.transactional_id.as_ref().map(|id| id.is_empty());
    let outcome = if half_named || transactional == Some(true) {
        Err(ErrorCode::INVALID_REQUEST)
    } else if transactional == Some(false) {
        Err(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED)
    } else {
        // Without a transactional id a fresh one is what Kafka gives too, whatever was named.
        call.shared.producer_ids.next().map_err(|e| {
            tracing::error!("cannot keep the producer ids: {e}");
            ErrorCode::KAFKA_STORAGE_ERROR
        })
    };
    let answer = match outcome {
        Ok(id) => InitProducerIdResponse::default().with_producer_id(ProducerId(id)).with_producer_epoch(0),
        Err(error) => InitProducerIdResponse::default()
            .with_error_code(error.0)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1),
    };
    call.answer(&answer)
}
