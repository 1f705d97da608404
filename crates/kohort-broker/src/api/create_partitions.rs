//! CreatePartitions (37), versions 0 to 3. The count is the new total; it only grows. A timeout of 0 is over before it begins.
//! That of the offsets' topic stays.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kohort_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kohort_protocol::messages::{CreatePartitionsRequest, CreatePartitionsResponse};

use super::{Call, Outcome, create_topics, text};
use crate::broker::Shared;
use crate::connection::HangUp;

/// More new partitions than this in one request are refused.
const PARTITIONS_MAX: i32 = 10_000;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: CreatePartitionsRequest = call.request()?;
    let mut times: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *times.entry(topic.name.as_str()).or_default() += 1;
    }
    let mut seen = BTreeSet::new();
    let mut results = Vec::new();
    for topic in request.topics.iter().filter(|t| seen.insert(t.name.as_str())) {
        let outcome = if request.timeout_ms <= 0 {
            Err((ErrorCode::REQUEST_TIMED_OUT, String::new()))
        } else if times[topic.name.as_str()] > 1 {
            Err((ErrorCode::INVALID_REQUEST, "Duplicate topic name.".to_owned()))
        } else {
            grow(call.shared, topic, request.validate_only)
        };
        let (error, why) = outcome.err().unzip();
        results.push(
            CreatePartitionsTopicResult::default()
                .with_name(topic.name.clone())
                .with_error_code(error.unwrap_or_default().0)
                .with_error_message(why.filter(|why| !why.is_empty()).map(text)),
        );
    }
    call.answer(&CreatePartitionsResponse::default().with_results(results))
}

fn grow(
    shared: &Shared,
    asked: &CreatePartitionsTopic,
    validate_only: bool,
) -> Result<(), (ErrorCode, String)> {
    let Some(topic) = shared.catalog.topic(&asked.name) else {
        return Err((ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, String::new()));
    };
    if topic.is_internal() {
        // A group's place is the hash of its id modulo the count: with another one nobody would find what was kept before.
        let why = "The number of partitions of the offsets topic cannot be changed.";
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why.to_owned()));
    }
    let has = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
    if asked.count == has {
        return Err((ErrorCode::INVALID_PARTITIONS, format!("Topic already has {has} partition(s).")));
    }
    if asked.count < has {
        return Err((
            ErrorCode::INVALID_PARTITIONS,
            format!(
                "The topic {} currently has {has} partition(s); {} would not be an increase.",
                topic.name, asked.count
            ),
        ));
    }
    if asked.count - has > PARTITIONS_MAX {
        // Kafka's controller fails inside on so many, and says no more.
        return Err((ErrorCode::UNKNOWN_SERVER_ERROR, String::new()));
    }
    if let Some(assignments) = &asked.assignments {
        let new = usize::try_from(asked.count - has).unwrap_or(0);
        if assignments.len() != new {
            return Err((
                ErrorCode::INVALID_REPLICA_ASSIGNMENT,
                format!(
                    "Attempted to add {new} additional partition(s), but only {} assignment(s) were specified.",
                    assignments.len()
                ),
            ));
        }
        for assignment in assignments {
            create_topics::check_replicas(shared, &assignment.broker_ids)?;
        }
    }
    if validate_only {
        return Ok(());
    }
    shared.catalog.grow(&asked.name, asked.count).map(drop).map_err(|e| create_topics::catalog_error(&e))
}
