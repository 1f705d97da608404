//! OffsetFetch (9), versions 1 to 10. 2: no topics means all, and errors of the group stand on top. 5: leader epochs. 7: only stable
//! offsets (KIP-447). 8: many groups (KIP-709). 9: who asks (KIP-848). 10: topic ids.

use std::collections::BTreeMap;

use kohort_group::coordinator::{Request, TopicId, TopicIds};
use kohort_group::messages::{
    ErrorCode, FetchedOffset, OffsetFetchRequest, OffsetFetchResponse, TopicPartition,
};
use kohort_protocol::messages::offset_fetch_request::OffsetFetchRequestTopics;
use kohort_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kohort_protocol::messages::{self as wire, TopicName};

use super::{BY_ID, answered, ask, id_of, named, owned};
use crate::api::{Call, Outcome, text};
use crate::broker::Shared;
use crate::connection::HangUp;

type Offsets = Vec<(TopicPartition, FetchedOffset)>;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::OffsetFetchRequest = call.request()?;
    if call.version() >= 8 { groups(call, request).await } else { group(call, request).await }
}

/// By topic, in the order in which the topics were named first.
fn by_topic(offsets: Offsets) -> Vec<(String, Vec<(i32, FetchedOffset)>)> {
    let mut places: BTreeMap<String, usize> = BTreeMap::new();
    let mut topics: Vec<(String, Vec<(i32, FetchedOffset)>)> = Vec::new();
    for (tp, offset) in offsets {
        let place = *places.entry(tp.topic.clone()).or_insert_with(|| {
            topics.push((tp.topic.clone(), Vec::new()));
            topics.len() - 1
        });
        topics[place].1.push((tp.partition, offset));
    }
    topics
}

async fn group(call: Call<'_>, request: wire::OffsetFetchRequest) -> Result<Outcome, HangUp> {
    let version = call.version();
    let asked: Option<Vec<TopicPartition>> = request.topics.as_ref().map(|topics| {
        let all = topics
            .iter()
            .flat_map(|t| t.partition_indexes.iter().map(|p| TopicPartition::new(t.name.as_str(), *p)));
        all.collect()
    });
    let fetch = OffsetFetchRequest {
        group_id: request.group_id.to_string(),
        member_id: None,
        member_epoch: -1,
        partitions: asked.clone(),
        require_stable: version >= 7 && request.require_stable,
    };
    let outcome = answered!(ask(&call, Request::OffsetFetch(fetch, TopicIds::new())).await, OffsetFetch);
    let (code, mut offsets) = match outcome {
        Ok(OffsetFetchResponse { error, partitions }) => (error.code(), partitions),
        Err(code) => (code, vec![]),
    };
    if code != 0 && version < 2 {
        // Version 1 has no error on top: each partition says it.
        let none = || FetchedOffset {
            error: ErrorCode::None,
            offset: -1,
            leader_epoch: -1,
            metadata: String::new(),
        };
        offsets = asked.unwrap_or_default().into_iter().map(|tp| (tp, none())).collect();
    }
    let topics = by_topic(offsets).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, o)| {
            OffsetFetchResponsePartition::default()
                .with_partition_index(index)
                .with_committed_offset(o.offset)
                .with_committed_leader_epoch(if version >= 5 { o.leader_epoch } else { -1 })
                .with_metadata(Some(text(o.metadata)))
                .with_error_code(if code != 0 && version < 2 { code } else { o.error.code() })
        });
        OffsetFetchResponseTopic::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.collect())
    });
    let answer = wire::OffsetFetchResponse::default().with_topics(topics.collect());
    let answer = if version >= 2 { answer.with_error_code(code) } else { answer };
    call.answer(&answer)
}

async fn groups(call: Call<'_>, request: wire::OffsetFetchRequest) -> Result<Outcome, HangUp> {
    let version = call.version();
    let mut groups = Vec::with_capacity(request.groups.len());
    for asked in &request.groups {
        let mut ids = TopicIds::new();
        let mut unknown = Vec::new();
        let partitions = asked.topics.as_ref().map(|topics| {
            let mut partitions = Vec::new();
            for topic in topics {
                let mut name = topic.name.to_string();
                if version >= BY_ID {
                    let Some(known) = named(call.shared, version, &topic.name).0 else {
                        unknown.push(unknown_topic(topic));
                        continue;
                    };
                    name.clone_from(&known.name);
                    ids.insert(name.clone(), TopicId(known.id.into_bytes()));
                }
                partitions.extend(topic.partition_indexes.iter().map(|p| TopicPartition::new(&name, *p)));
            }
            partitions
        });
        let fetch = OffsetFetchRequest {
            group_id: asked.group_id.to_string(),
            member_id: if version >= 9 { owned(asked.member_id.as_ref()) } else { None },
            member_epoch: if version >= 9 { asked.member_epoch } else { -1 },
            partitions,
            require_stable: request.require_stable,
        };
        let outcome = answered!(ask(&call, Request::OffsetFetch(fetch, ids)).await, OffsetFetch);
        let (code, offsets) = match outcome {
            Ok(r) if r.error == ErrorCode::None => (0, r.partitions),
            Ok(r) => (r.error.code(), vec![]),
            Err(code) => (code, vec![]),
        };
        let known = by_topic(offsets).into_iter().filter_map(|topic| of_group(call.shared, version, topic));
        let topics = known.chain(unknown.into_iter().filter(|_| code == 0)).collect();
        let group = OffsetFetchResponseGroup::default().with_group_id(asked.group_id.clone());
        groups.push(group.with_error_code(code).with_topics(topics));
    }
    call.answer(&wire::OffsetFetchResponse::default().with_groups(groups))
}

/// One topic of a group's answer; none if it is to be told by an id that it has no more.
fn of_group(
    shared: &Shared,
    version: i16,
    (name, partitions): (String, Vec<(i32, FetchedOffset)>),
) -> Option<OffsetFetchResponseTopics> {
    let partitions = partitions.into_iter().map(|(index, o)| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(index)
            .with_committed_offset(o.offset)
            .with_committed_leader_epoch(o.leader_epoch)
            .with_metadata(Some(text(o.metadata)))
            .with_error_code(o.error.code())
    });
    let topic = OffsetFetchResponseTopics::default().with_partitions(partitions.collect());
    if version >= BY_ID {
        Some(topic.with_topic_id(shared.catalog.topic(&name)?.id))
    } else {
        Some(topic.with_name(TopicName(text(name))))
    }
}

/// A topic whose id nobody knows.
fn unknown_topic(asked: &OffsetFetchRequestTopics) -> OffsetFetchResponseTopics {
    let partition = |index: &i32| {
        OffsetFetchResponsePartitions::default()
            .with_partition_index(*index)
            .with_committed_offset(-1)
            .with_committed_leader_epoch(-1)
            .with_metadata(Some(text("")))
            .with_error_code(ErrorCode::UnknownTopicId.code())
    };
    OffsetFetchResponseTopics::default()
        .with_topic_id(id_of(&asked.name))
        .with_partitions(asked.partition_indexes.iter().map(partition).collect())
}
