//! OffsetCommit (8), versions 2 to 10. 2 to 4: a lifetime of the offsets' own. 6: leader epochs. 7: static members. 8: flexible. 9: an
//! unknown group is GROUP_ID_NOT_FOUND. 10: topic ids (KIP-848), which are kept with the offsets.
//!
//! Partitions that do not exist are answered here, before the group is asked; if nothing is left the group is not asked at all.

use std::time::Duration;

use kohort_group::coordinator::{Request, TopicId, TopicIds};
use kohort_group::messages::{ErrorCode, OffsetCommitRequest, OffsetToCommit, TopicPartition};
use kohort_protocol::messages::offset_commit_response::{
    OffsetCommitResponsePartition, OffsetCommitResponseTopic,
};
use kohort_protocol::messages::{self as wire};

use super::{BY_ID, answered, ask, id_of, named, owned};
use crate::api::{Call, Outcome};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::OffsetCommitRequest = call.request()?;
    let version = call.version();
    let (mut offsets, mut ids) = (Vec::new(), TopicIds::new());
    // In the request's order: an error of ours, or the place in what the group is asked.
    let mut places: Vec<Vec<Result<usize, ErrorCode>>> = Vec::with_capacity(request.topics.len());
    for topic in &request.topics {
        let (known, missing) = named(call.shared, version, &topic.name);
        if let Some(known) = known.as_ref().filter(|_| version >= BY_ID) {
            ids.insert(known.name.clone(), TopicId(known.id.into_bytes()));
        }
        let place = topic.partitions.iter().map(|p| {
            let topic = known.as_ref().ok_or(missing)?;
            topic.partition(p.partition_index).ok_or(ErrorCode::UnknownTopicOrPartition)?;
            let offset = OffsetToCommit {
                offset: p.committed_offset,
                leader_epoch: if version >= 6 { p.committed_leader_epoch } else { -1 },
                metadata: owned(p.committed_metadata.as_ref()),
            };
            offsets.push((TopicPartition::new(&topic.name, p.partition_index), offset));
            Ok(offsets.len() - 1)
        });
        places.push(place.collect());
    }
    let outcome: Result<Vec<i16>, i16> = if offsets.is_empty() {
        Ok(vec![])
    } else {
        let retention = (version <= 4).then(|| u64::try_from(request.retention_time_ms).ok()).flatten();
        let commit = OffsetCommitRequest {
            api_version: version,
            group_id: request.group_id.to_string(),
            generation: request.generation_id_or_member_epoch,
            member_id: request.member_id.to_string(),
            group_instance_id: owned(request.group_instance_id.as_ref()),
            retention: retention.map(Duration::from_millis),
            offsets,
        };
        let response = answered!(ask(&call, Request::OffsetCommit(commit, ids)).await, OffsetCommit);
        response.map(|r| r.partitions.iter().map(|(_, error)| error.code()).collect())
    };
    let code = |place: &Result<usize, ErrorCode>| match (place, &outcome) {
        (Err(own), _) => own.code(),
        (Ok(i), Ok(codes)) => codes.get(*i).copied().unwrap_or(ErrorCode::UnknownServerError.code()),
        (Ok(_), Err(code)) => *code,
    };
    let topics = request.topics.iter().zip(&places).map(|(topic, places)| {
        let partitions = topic.partitions.iter().zip(places).map(|(p, place)| {
            OffsetCommitResponsePartition::default()
                .with_partition_index(p.partition_index)
                .with_error_code(code(place))
        });
        let response = OffsetCommitResponseTopic::default().with_partitions(partitions.collect());
        if version >= BY_ID {
            response.with_topic_id(id_of(&topic.name))
        } else {
            response.with_name(topic.name.clone())
        }
    });
    let answer = wire::OffsetCommitResponse::default().with_topics(topics.collect());
    call.answer(&answer)
}
