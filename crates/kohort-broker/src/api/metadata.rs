//! Metadata (3), versions 0 to 13.
//!
//! 0: no topics means all; from 1 null means all and none means none. 4: may forbid auto-creation. 7: leader epochs. 10: topic ids
//! (KIP-516), to ask by them from 12. 13: a top-level error.
//!
//! A topic that is made here on demand is in this same answer; Kafka answers with an error that the client retries.

use std::collections::BTreeSet;

use kohort_protocol::messages::metadata_request::MetadataRequestTopic;
use kohort_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kohort_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kohort_protocol::{ErrorCode, Uuid};

use super::{Call, Outcome, text};
use crate::catalog::{CatalogError, Topic, bad_name};
use crate::connection::HangUp;
use crate::partition::LEADER_EPOCH;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: MetadataRequest = call.request()?;
    let (shared, version) = (call.shared, call.version());
    let may_create = shared.settings.flag("auto.create.topics.enable")
        && (version < 4 || request.allow_auto_topic_creation);
    let asked = request.topics.filter(|topics| version >= 1 || !topics.is_empty());
    let malformed = asked.as_ref().is_some_and(|topics| {
        (10..12).contains(&version) && topics.iter().any(|t| t.name.is_none() || !t.topic_id.is_nil())
    });
    let topics = match asked {
        None => shared.catalog.all().iter().map(|t| describe(&call, t)).collect(),
        Some(topics) if malformed => topics
            .iter()
            .map(|t| {
                missing(
                    t.name.clone().or_else(|| Some(TopicName(text("")))),
                    t.topic_id,
                    ErrorCode::INVALID_REQUEST,
                )
            })
            .collect(),
        Some(topics) => {
            let mut seen = BTreeSet::new();
            let fresh = topics.iter().filter(|t| seen.insert((t.name.as_deref(), t.topic_id)));
            fresh.map(|t| one(&call, t, may_create)).collect()
        }
    };
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(shared.node_id))
        .with_host(text(shared.advertised.0.clone()))
        .with_port(shared.advertised.1);
    let answer = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(shared.cluster_id.clone())))
        .with_controller_id(BrokerId(shared.node_id))
        .with_topics(topics);
    call.answer(&answer)
}

fn one(call: &Call<'_>, asked: &MetadataRequestTopic, may_create: bool) -> MetadataResponseTopic {
    let catalog = &call.shared.catalog;
    let Some(name) = asked.name.clone() else {
        return match catalog.topic_by_id(asked.topic_id) {
            Some(topic) => describe(call, &topic),
            None => missing(None, asked.topic_id, ErrorCode::UNKNOWN_TOPIC_ID),
        };
    };
    if let Some(topic) = catalog.topic(&name) {
        return describe(call, &topic);
    }
    if bad_name(&name).is_some() {
        return missing(Some(name), Uuid::nil(), ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !may_create {
        return missing(Some(name), Uuid::nil(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION);
    }
    let partitions = call.shared.settings.int32("num.partitions");
    match catalog.create(&name, partitions, Default::default()) {
        Ok(topic) => describe(call, &topic),
        Err(CatalogError::Exists(_)) => match catalog.topic(&name) {
            Some(topic) => describe(call, &topic),
            None => missing(Some(name), Uuid::nil(), ErrorCode::LEADER_NOT_AVAILABLE),
        },
        // Kafka's controller refuses it later and out of sight: the topic is simply never there.
        Err(CatalogError::Collides { .. }) => {
            missing(Some(name), Uuid::nil(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)
        }
        Err(e) => {
            tracing::error!("cannot make the topic `{}` on demand: {e}", &*name);
            missing(Some(name), Uuid::nil(), ErrorCode::KAFKA_STORAGE_ERROR)
        }
    }
}

fn missing(name: Option<TopicName>, id: Uuid, error: ErrorCode) -> MetadataResponseTopic {
    MetadataResponseTopic::default().with_name(name).with_topic_id(id).with_error_code(error.0)
}

fn describe(call: &Call<'_>, topic: &Topic) -> MetadataResponseTopic {
    let node = BrokerId(call.shared.node_id);
    let partition = |index: i32| {
        MetadataResponsePartition::default()
            .with_partition_index(index)
            .with_leader_id(node)
            .with_leader_epoch(LEADER_EPOCH)
            .with_replica_nodes(vec![node])
            .with_isr_nodes(vec![node])
    };
    MetadataResponseTopic::default()
        .with_name(Some(TopicName(text(topic.name.clone()))))
        .with_topic_id(topic.id)
        .with_is_internal(topic.is_internal())
        .with_partitions(topic.partitions.iter().map(|p| partition(p.index())).collect())
}
