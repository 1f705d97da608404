//! ElectLeaders (43), versions 0 to 2 (KIP-460). One node leads everything already: no election is ever needed.

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::elect_leaders_response::{PartitionResult, ReplicaElectionResult};
use kohort_protocol::messages::{ElectLeadersRequest, ElectLeadersResponse, TopicName};

use super::{Call, Outcome, text};
use crate::connection::HangUp;

/// The preferred leader, or any replica that is there.
const KINDS: std::ops::RangeInclusive<i8> = 0..=1;

pub(super) fn handle(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: ElectLeadersRequest = call.request()?;
    let catalog = &call.shared.catalog;
    let Some(asked) = &request.topic_partitions else {
        // All of them: Kafka names the topics, and no partition that needs no election.
        let topic = |name: &str| ReplicaElectionResult::default().with_topic(TopicName(text(name)));
        let all = catalog.all().iter().map(|t| topic(&t.name)).collect();
        return call.answer(&ElectLeadersResponse::default().with_replica_election_results(all));
    };
    let whole = if request.timeout_ms <= 0 {
        (ErrorCode::REQUEST_TIMED_OUT, String::new())
    } else if !KINDS.contains(&request.election_type) {
        (ErrorCode::INVALID_REQUEST, format!("Unknown election type {}", request.election_type))
    } else {
        (ErrorCode::NONE, String::new())
    };
    let results = asked.iter().map(|topic| {
        let known = catalog.topic(&topic.topic);
        let partition = |index: &i32| {
            let (error, why) = match known.as_ref().and_then(|t| t.partition(*index)) {
                _ if !whole.0.is_ok() => whole.clone(),
                None => {
                    let name = topic.topic.as_str();
                    let why = format!("No such partition as {name}-{index}");
                    let unknown = format!("No such topic as {name}");
                    (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, if known.is_some() { why } else { unknown })
                }
                Some(_) => (
                    ErrorCode::ELECTION_NOT_NEEDED,
                    "Leader election not needed for topic partition.".to_owned(),
                ),
            };
            PartitionResult::default()
                .with_partition_id(*index)
                .with_error_code(error.0)
                .with_error_message((!why.is_empty()).then(|| text(why)))
        };
        ReplicaElectionResult::default()
            .with_topic(topic.topic.clone())
            .with_partition_result(topic.partitions.iter().map(partition).collect())
    });
    let mut answer = ElectLeadersResponse::default().with_replica_election_results(results.collect());
    if call.version() >= 1 {
        answer.error_code = whole.0.0;
    }
    call.answer(&answer)
}
