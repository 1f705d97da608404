//! CreateTopics (19), versions 2 to 7. 4: -1 for the broker's defaults (KIP-464). 5: answers with the configuration (KIP-525). 7: with
//! the topic's id.
//!
//! What is acknowledged is there at once for everybody. One node: a replication factor other than 1 is refused as Kafka refuses
//! it, and an assignment can name this node only.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::messages::create_topics_request::CreatableTopic;
use kohort_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kohort_protocol::messages::{BrokerId, CreateTopicsRequest, CreateTopicsResponse, TopicName};
use kohort_protocol::{ErrorCode, Uuid};

use super::configs as alter;
use super::{Call, Outcome, text};
use crate::broker::Shared;
use crate::catalog::{CatalogError, bad_name};
use crate::connection::HangUp;
use crate::dynamic::Configs;
use crate::settings::{Setting, TOPIC};

/// More partitions than this in one request are refused (Kafka's limit for one batch of records in its metadata log).
const PARTITIONS_MAX: i32 = 10_000;
/// Kafka's own log of its metadata: there is none here, and nobody may make one.
const METADATA_TOPIC: &str = "__cluster_metadata";

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: CreateTopicsRequest = call.request()?;
    if request.timeout_ms <= 0 {
        // Over before it begins: Kafka's controller does not look at such a request.
        let late = request.topics.iter().map(|t| refused(&t.name, ErrorCode::REQUEST_TIMED_OUT, ""));
        return call.answer(&CreateTopicsResponse::default().with_topics(late.collect()));
    }
    let mut names: BTreeMap<&str, usize> = BTreeMap::new();
    for topic in &request.topics {
        *names.entry(topic.name.as_str()).or_default() += 1;
    }
    let mut results = Vec::with_capacity(request.topics.len());
    for topic in request.topics.iter().filter(|t| names[t.name.as_str()] == 1) {
        results.push(match create(call.shared, topic, request.validate_only) {
            Ok(made) => made,
            Err((error, why)) => refused(&topic.name, error, &why),
        });
    }
    // What is named more than once is told once, behind the others.
    for (name, _) in names.iter().filter(|(_, times)| **times > 1) {
        let name = TopicName(text(*name));
        results.push(refused(&name, ErrorCode::INVALID_REQUEST, "Duplicate topic name."));
    }
    call.answer(&CreateTopicsResponse::default().with_topics(results))
}

fn refused(name: &TopicName, error: ErrorCode, why: &str) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(error.0)
        .with_error_message((!why.is_empty()).then(|| text(why)))
        .with_topic_config_error_code(0)
        .with_num_partitions(-1)
        .with_replication_factor(-1)
        .with_configs(Some(vec![]))
}

fn create(
    shared: &Shared,
    topic: &CreatableTopic,
    validate_only: bool,
) -> Result<CreatableTopicResult, (ErrorCode, String)> {
    let name = topic.name.as_str();
    if let Some(why) = bad_name(name) {
        return Err((ErrorCode::INVALID_TOPIC_EXCEPTION, why));
    }
    if name == METADATA_TOPIC {
        let why = format!("Creation of internal topic {name} is prohibited.");
        return Err((ErrorCode::INVALID_REQUEST, why));
    }
    shared.catalog.check_new(name).map_err(|e| catalog_error(&e))?;
    let partitions = partitions(shared, topic)?;
    let configs = configs(shared, topic)?;
    let id = if validate_only {
        // The id that it would have had.
        Uuid::new_v4()
    } else {
        shared.catalog.create(name, partitions, configs.clone()).map_err(|e| catalog_error(&e))?.id
    };
    let now = shared.dynamic.now();
    let shown = TOPIC.iter().map(|s| {
        // As it was given, not as it is kept.
        let given = topic.configs.iter().rfind(|c| c.name.as_str() == s.name).and_then(|c| c.value.clone());
        CreatableTopicConfigs::default()
            .with_name(text(s.name))
            .with_value(Some(given.unwrap_or_else(|| text(now.settings.topic(&configs, s)))))
            .with_config_source(super::describe_configs::topic_source(&now, &configs, s))
    });
    let shown = shown.collect();
    Ok(CreatableTopicResult::default()
        .with_name(topic.name.clone())
        .with_topic_id(id)
        .with_error_message(None)
        .with_num_partitions(partitions)
        .with_replication_factor(1)
        .with_configs(Some(shown)))
}

/// How many partitions, after the rules for counts and for assignments by hand.
fn partitions(shared: &Shared, topic: &CreatableTopic) -> Result<i32, (ErrorCode, String)> {
    if topic.assignments.is_empty() { counted(shared, topic) } else { assigned(shared, topic) }
}

fn counted(shared: &Shared, topic: &CreatableTopic) -> Result<i32, (ErrorCode, String)> {
    if topic.replication_factor < 1 && topic.replication_factor != -1 {
        let why = "Replication factor must be larger than 0, or -1 to use the default value.";
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, why.into()));
    }
    if topic.num_partitions < 1 && topic.num_partitions != -1 {
        let why = "Number of partitions was set to an invalid non-positive value.";
        return Err((ErrorCode::INVALID_PARTITIONS, why.into()));
    }
    if topic.replication_factor > 1 {
        let n = topic.replication_factor;
        let why = format!(
            "Unable to replicate the partition {n} time(s): The target replication factor of {n} cannot be reached because only 1 broker(s) are registered or some brokers have all their log directories cordoned."
        );
        return Err((ErrorCode::INVALID_REPLICATION_FACTOR, why));
    }
    let count = if topic.num_partitions == -1 {
        shared.settings.int32("num.partitions")
    } else {
        topic.num_partitions
    };
    if count > PARTITIONS_MAX {
        let why = "Excessively large number of partitions per request.";
        return Err((ErrorCode::POLICY_VIOLATION, why.into()));
    }
    Ok(count)
}

fn assigned(shared: &Shared, topic: &CreatableTopic) -> Result<i32, (ErrorCode, String)> {
    for (given, what) in
        [(i32::from(topic.replication_factor), "replication factor"), (topic.num_partitions, "numPartitions")]
    {
        if given != -1 {
            let why = format!("A manual partition assignment was specified, but {what} was not set to -1.");
            return Err((ErrorCode::INVALID_REQUEST, why));
        }
    }
    let mut indexes = BTreeSet::new();
    for assignment in &topic.assignments {
        if !indexes.insert(assignment.partition_index) {
            let index = assignment.partition_index;
            let why = format!("Found multiple manual partition assignments for partition {index}");
            return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
        }
        check_replicas(shared, &assignment.broker_ids)?;
    }
    let count = i32::try_from(indexes.len()).unwrap_or(i32::MAX);
    if indexes.first() != Some(&0) || indexes.last() != Some(&(count - 1)) {
        let why = "partitions should be a consecutive 0-based integer sequence";
        return Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why.into()));
    }
    Ok(count)
}

/// An assignment by hand: this node, once.
pub(super) fn check_replicas(shared: &Shared, brokers: &[BrokerId]) -> Result<(), (ErrorCode, String)> {
    let node = shared.node_id;
    let wrong = |why: String| Err((ErrorCode::INVALID_REPLICA_ASSIGNMENT, why));
    match brokers {
        [] => wrong("The manual partition assignment includes an empty replica list.".into()),
        [one] if one.0 == node => Ok(()),
        _ => match brokers.iter().find(|b| b.0 != node) {
            Some(b) => wrong(format!(
                "The manual partition assignment includes broker {}, but no such broker is registered.",
                b.0
            )),
            None => {
                wrong(format!("The manual partition assignment includes the broker {node} more than once."))
            }
        },
    }
}

fn configs(shared: &Shared, topic: &CreatableTopic) -> Result<Configs, (ErrorCode, String)> {
    if let Some(null) = topic.configs.iter().find(|c| c.value.is_none()) {
        let why = format!("Null value not supported for topic configs: {}", null.name.as_str());
        return Err((ErrorCode::INVALID_CONFIG, why));
    }
    let mut configs = Configs::new();
    for config in &topic.configs {
        let Ok(setting) = Setting::find(TOPIC, &config.name) else {
            alter::unknown_topic_config(&config.name)?;
            continue;
        };
        let value = config.value.as_deref().unwrap_or_default();
        let value = setting.check(value).map_err(|e| alter::invalid_value(setting, &e))?;
        configs.insert(setting.name.to_owned(), value);
    }
    alter::check_topic(shared, &configs)?;
    Ok(configs)
}

/// Kafka's code and words for what the catalog refuses.
pub(super) fn catalog_error(e: &CatalogError) -> (ErrorCode, String) {
    match e {
        CatalogError::Exists(name) => {
            (ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists."))
        }
        CatalogError::Collides { name, other } => (
            ErrorCode::INVALID_TOPIC_EXCEPTION,
            format!("Topic '{name}' collides with existing topic: {other}"),
        ),
        CatalogError::Missing(name) => {
            (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, format!("there is no topic '{name}'"))
        }
        other => {
            tracing::error!("{}", chain(other));
            (ErrorCode::KAFKA_STORAGE_ERROR, chain(other))
        }
    }
}

/// An error and its causes in one line.
pub(super) fn chain(e: &dyn std::error::Error) -> String {
    let mut line = e.to_string();
    let mut cause = e.source();
    while let Some(c) = cause {
        line.push_str(": ");
        line.push_str(&c.to_string());
        cause = c.source();
    }
    line
}
