//! Metadata (3), versions 0 to 13.
//!
//! 0: no topics means all; from 1 null means all and none means none. 4: may forbid auto-creation. 7: leader epochs. 10: topic ids
//! (KIP-516), to ask by them from 12. 13: a top-level error.
//!
//! A topic that is made here on demand is in the next answer: in this one it is unknown, as with Kafka, and clients ask again. Some
//! (kafka-go) tell by that error that their question has made it.

use std::collections::BTreeSet;

use kohort_protocol::messages::metadata_request::MetadataRequestTopic;
use kohort_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kohort_protocol::messages::{BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kohort_protocol::{ErrorCode, Uuid};

use super::{Call, Outcome, operations, text};
use crate::catalog::{CatalogError, Topic, bad_name, is_internal};
use crate::connection::HangUp;
use crate::partition::LEADER_EPOCH;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: MetadataRequest = call.request()?;
    let version = call.version();
    let asked = request.topics.as_ref().filter(|topics| version >= 1 || !topics.is_empty());
    if let Some(topics) = asked
        && (10..12).contains(&version)
        && topics.iter().any(|t| t.name.is_none() || !t.topic_id.is_nil())
    {
        let nameless = || Some(TopicName(text("")));
        let refused = topics
            .iter()
            .map(|t| missing(t.name.clone().or_else(nameless), t.topic_id, ErrorCode::INVALID_REQUEST));
        return call.answer(&MetadataResponse::default().with_topics(refused.collect()));
    }
    let mut topics = topics(&call, &request, asked.map(Vec::as_slice));
    if request.include_topic_authorized_operations {
        topics.iter_mut().for_each(|t| t.topic_authorized_operations = operations::TOPIC);
    }
    let shared = call.shared;
    let broker = MetadataResponseBroker::default()
        .with_node_id(BrokerId(shared.node_id))
        .with_host(text(shared.advertised.0.clone()))
        .with_port(shared.advertised.1);
    let mut answer = MetadataResponse::default()
        .with_brokers(vec![broker])
        .with_cluster_id(Some(text(shared.cluster_id.clone())))
        .with_controller_id(BrokerId(shared.node_id))
        .with_topics(topics);
    if request.include_cluster_authorized_operations && (8..=10).contains(&version) {
        answer.cluster_authorized_operations = operations::CLUSTER;
    }
    call.answer(&answer)
}

fn topics(
    call: &Call<'_>,
    request: &MetadataRequest,
    asked: Option<&[MetadataRequestTopic]>,
) -> Vec<MetadataResponseTopic> {
    let shared = call.shared;
    let Some(asked) = asked else {
        return shared.catalog.all().iter().map(|t| describe(call, t)).collect();
    };
    let mut seen = BTreeSet::new();
    if call.version() >= 12 && asked.iter().any(|t| !t.topic_id.is_nil()) {
        // One id, and names do not count any more.
        let ids = asked.iter().map(|t| t.topic_id).filter(|id| !id.is_nil() && seen.insert((None, *id)));
        return ids
            .map(|id| match shared.catalog.topic_by_id(id) {
                Some(topic) => describe(call, &topic),
                None => missing(None, id, ErrorCode::UNKNOWN_TOPIC_ID),
            })
            .collect();
    }
    let may_create = shared.settings.flag("auto.create.topics.enable")
        && (call.version() < 4 || request.allow_auto_topic_creation);
    let fresh = asked.iter().filter(|t| seen.insert((t.name.as_deref(), t.topic_id)));
    fresh.map(|t| one(call, t, may_create)).collect()
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
        Ok(_) => missing(Some(name), Uuid::nil(), ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
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
    let internal = name.as_ref().is_some_and(|name| is_internal(name));
    MetadataResponseTopic::default()
        .with_name(name)
        .with_topic_id(id)
        .with_is_internal(internal)
        .with_error_code(error.0)
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
