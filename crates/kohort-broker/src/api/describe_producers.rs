//! DescribeProducers (61), version 0 (KIP-664): what a partition remembers of idempotent producers.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::describe_producers_response::{
    PartitionResponse, ProducerState, TopicResponse,
};
use kohort_protocol::messages::{DescribeProducersRequest, DescribeProducersResponse, ProducerId};

use super::{Call, Outcome, text};
use crate::catalog::bad_name;
use crate::connection::HangUp;
use crate::log::ActiveProducer;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DescribeProducersRequest = call.request()?;
    let topics = request.topics.iter().map(|asked| {
        let topic = call.shared.catalog.topic(&asked.name);
        let refusal = match (&topic, bad_name(&asked.name)) {
            (Some(_), _) => None,
            (None, Some(why)) => Some((ErrorCode::INVALID_TOPIC_EXCEPTION, why)),
            (None, None) => {
                let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION;
                Some((missing, missing.message().to_owned()))
            }
        };
        let partition = |index: &i32| {
            let response = PartitionResponse::default().with_partition_index(*index);
            if let Some((error, why)) = &refusal {
                return response.with_error_code(error.0).with_error_message(Some(text(why.clone())));
            }
            let response = response.with_error_message(None);
            let log = topic.as_ref().and_then(|t| t.partition(*index));
            match log.and_then(|partition| partition.with(|log| log.active_producers())) {
                None => response.with_error_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0),
                Some(producers) => response.with_active_producers(producers.into_iter().map(state).collect()),
            }
        };
        TopicResponse::default()
            .with_name(asked.name.clone())
            .with_partitions(asked.partition_indexes.iter().map(partition).collect())
    });
    call.answer(&DescribeProducersResponse::default().with_topics(topics.collect()))
}

fn state(producer: ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(ProducerId(producer.id))
        .with_producer_epoch(producer.epoch.into())
        .with_last_sequence(producer.last_sequence)
        .with_last_timestamp(producer.last_timestamp)
        .with_coordinator_epoch(-1)
        .with_current_txn_start_offset(-1)
}
