//! OffsetFetch (9), versions 1 to 9. 2: no topics means all, and errors of the group stand on top. 5: leader epochs. 7: only stable
//! offsets (KIP-447). 8: many groups (KIP-709). 9: who asks (KIP-848). Not supported: 10 (topic ids).

use std::collections::BTreeMap;

use kohort_group::coordinator::{Request, TopicIds};
use kohort_group::messages::{
    ErrorCode, FetchedOffset, OffsetFetchRequest, OffsetFetchResponse, TopicPartition,
};
use kohort_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopic, OffsetFetchResponseTopics,
};
use kohort_protocol::messages::{self as wire, GroupId, TopicName};

use super::{answered, ask, owned};
use crate::api::{Call, Outcome, text};
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
        let partitions = asked.topics.as_ref().map(|topics| {
            let all = topics
                .iter()
                .flat_map(|t| t.partition_indexes.iter().map(|p| TopicPartition::new(t.name.as_str(), *p)));
            all.collect()
        });
        let fetch = OffsetFetchRequest {
            group_id: asked.group_id.to_string(),
            member_id: if version >= 9 { owned(asked.member_id.as_ref()) } else { None },
            member_epoch: if version >= 9 { asked.member_epoch } else { -1 },
            partitions,
            require_stable: request.require_stable,
        };
        let outcome = answered!(ask(&call, Request::OffsetFetch(fetch, TopicIds::new())).await, OffsetFetch);
        let (code, offsets) = match outcome {
            Ok(r) if r.error == ErrorCode::None => (0, r.partitions),
            Ok(r) => (r.error.code(), vec![]),
            Err(code) => (code, vec![]),
        };
        groups.push(one(&asked.group_id, code, offsets));
    }
    call.answer(&wire::OffsetFetchResponse::default().with_groups(groups))
}

fn one(group_id: &GroupId, code: i16, offsets: Offsets) -> OffsetFetchResponseGroup {
    let topics = by_topic(offsets).into_iter().map(|(name, partitions)| {
        let partitions = partitions.into_iter().map(|(index, o)| {
            OffsetFetchResponsePartitions::default()
                .with_partition_index(index)
                .with_committed_offset(o.offset)
                .with_committed_leader_epoch(o.leader_epoch)
                .with_metadata(Some(text(o.metadata)))
                .with_error_code(o.error.code())
        });
        OffsetFetchResponseTopics::default()
            .with_name(TopicName(text(name)))
            .with_partitions(partitions.collect())
    });
    OffsetFetchResponseGroup::default()
        .with_group_id(group_id.clone())
        .with_error_code(code)
        .with_topics(topics.collect())
}
