//! OffsetDelete (47), version 0 (KIP-496). Partitions that do not exist are answered here; an error of the group stands for all.

use kohort_group::coordinator::Request;
use kohort_group::messages::{ErrorCode, OffsetDeleteRequest, TopicPartition};
use kohort_protocol::messages::offset_delete_response::{
    OffsetDeleteResponsePartition, OffsetDeleteResponseTopic,
};
use kohort_protocol::messages::{self as wire};

use super::{answered, ask};
use crate::api::{Call, Outcome};
use crate::connection::HangUp;

pub(super) async fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: wire::OffsetDeleteRequest = call.request()?;
    let mut partitions = Vec::new();
    let mut places: Vec<Vec<Option<usize>>> = Vec::new();
    for topic in &request.topics {
        let known = call.shared.catalog.topic(&topic.name);
        let place = topic.partitions.iter().map(|p| {
            known.as_ref().and_then(|t| t.partition(p.partition_index))?;
            partitions.push(TopicPartition::new(topic.name.as_str(), p.partition_index));
            Some(partitions.len() - 1)
        });
        places.push(place.collect());
    }
    let delete = OffsetDeleteRequest { group_id: request.group_id.to_string(), partitions };
    let outcome = answered!(ask(&call, Request::OffsetDelete(delete)).await, OffsetDelete);
    let answer = match outcome {
        Err(code) => wire::OffsetDeleteResponse::default().with_error_code(code),
        Ok(r) if r.error != ErrorCode::None => {
            wire::OffsetDeleteResponse::default().with_error_code(r.error.code())
        }
        Ok(r) => {
            let code = |place: &Option<usize>| match place {
                None => ErrorCode::UnknownTopicOrPartition.code(),
                Some(i) => r.partitions.get(*i).map_or(-1, |(_, error)| error.code()),
            };
            let topics = request.topics.iter().zip(&places).map(|(topic, places)| {
                let partitions = topic.partitions.iter().zip(places).map(|(p, place)| {
                    OffsetDeleteResponsePartition::default()
                        .with_partition_index(p.partition_index)
                        .with_error_code(code(place))
                });
                OffsetDeleteResponseTopic::default()
                    .with_name(topic.name.clone())
                    .with_partitions(partitions.collect())
            });
            wire::OffsetDeleteResponse::default().with_topics(topics.collect())
        }
    };
    call.answer(&answer)
}
