//! AlterPartitionReassignments (45), versions 0 and 1, and ListPartitionReassignments (46), version 0 (KIP-455). A partition can only be
//! where it is: on this node. Nothing is ever on its way.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_partition_reassignments_request::ReassignablePartition;
use kohort_protocol::messages::alter_partition_reassignments_response::{
    ReassignablePartitionResponse, ReassignableTopicResponse,
};
use kohort_protocol::messages::{
    AlterPartitionReassignmentsRequest, AlterPartitionReassignmentsResponse,
    ListPartitionReassignmentsRequest, ListPartitionReassignmentsResponse,
};

use super::{Call, Outcome, create_topics, text};
use crate::broker::Shared;
use crate::connection::HangUp;

pub(super) fn alter(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: AlterPartitionReassignmentsRequest = call.request()?;
    let late = request.timeout_ms <= 0;
    let topics = request.topics.iter().map(|topic| {
        let partition = |asked: &ReassignablePartition| {
            let outcome = if late {
                Err((ErrorCode::REQUEST_TIMED_OUT, String::new()))
            } else {
                place(call.shared, &topic.name, asked)
            };
            let (error, why) = outcome.err().unzip();
            ReassignablePartitionResponse::default()
                .with_partition_index(asked.partition_index)
                .with_error_code(error.unwrap_or_default().0)
                .with_error_message(why.filter(|why| !why.is_empty()).map(text))
        };
        ReassignableTopicResponse::default()
            .with_name(topic.name.clone())
            .with_partitions(topic.partitions.iter().map(partition).collect())
    });
    let mut answer = AlterPartitionReassignmentsResponse::default()
        .with_error_code(if late { ErrorCode::REQUEST_TIMED_OUT.0 } else { 0 })
        .with_error_message(None)
        .with_responses(topics.collect());
    if call.version() >= 1 {
        answer.allow_replication_factor_change = request.allow_replication_factor_change;
    }
    call.answer(&answer)
}

fn place(shared: &Shared, name: &str, asked: &ReassignablePartition) -> Result<(), (ErrorCode, String)> {
    let unknown = |why: String| Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, why));
    let Some(topic) = shared.catalog.topic(name) else {
        return unknown(format!("Unable to find a topic named {name}."));
    };
    if topic.partition(asked.partition_index).is_none() {
        return unknown(format!("Unable to find partition {name}:{}.", asked.partition_index));
    }
    match &asked.replicas {
        None => Err((ErrorCode::NO_REASSIGNMENT_IN_PROGRESS, String::new())),
        Some(replicas) => create_topics::check_replicas(shared, replicas),
    }
}

pub(super) fn list(call: Call<'_>) -> Result<Outcome, HangUp> {
    let _: ListPartitionReassignmentsRequest = call.request()?;
    call.answer(&ListPartitionReassignmentsResponse::default().with_error_message(None))
}
