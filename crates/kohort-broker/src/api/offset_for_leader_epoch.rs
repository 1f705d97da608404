//! OffsetForLeaderEpoch (23), versions 2 to 4 (KIP-320). One node has led from the beginning, in one epoch.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::offset_for_leader_epoch_response::{
    EpochEndOffset, OffsetForLeaderTopicResult,
};
use kohort_protocol::messages::{OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::{Call, Outcome};
use crate::connection::HangUp;
use crate::partition::{LEADER_EPOCH, check_leader_epoch};

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: OffsetForLeaderEpochRequest = call.request()?;
    let topics = request
        .topics
        .iter()
        .map(|topic| {
            let known = call.shared.catalog.topic(&topic.topic);
            let partitions = topic.partitions.iter().map(|asked| {
                let answer = EpochEndOffset::default()
                    .with_partition(asked.partition)
                    .with_leader_epoch(-1)
                    .with_end_offset(-1);
                let Some(partition) = known.as_ref().and_then(|t| t.partition(asked.partition)) else {
                    return answer.with_error_code(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0);
                };
                if let Err(error) = check_leader_epoch(asked.current_leader_epoch) {
                    return answer.with_error_code(error.0);
                }
                match asked.leader_epoch {
                    LEADER_EPOCH => {
                        answer.with_leader_epoch(LEADER_EPOCH).with_end_offset(partition.end_offset())
                    }
                    // Before the first epoch there was nothing: it ended where the log begins.
                    past if past < -1 => {
                        answer.with_leader_epoch(past).with_end_offset(partition.start_offset())
                    }
                    _ => answer,
                }
            });
            OffsetForLeaderTopicResult::default()
                .with_topic(topic.topic.clone())
                .with_partitions(partitions.collect())
        })
        .collect();
    call.answer(&OffsetForLeaderEpochResponse::default().with_topics(topics))
}
