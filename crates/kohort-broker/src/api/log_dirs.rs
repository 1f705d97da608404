//! DescribeLogDirs (35), versions 1 to 4, and AlterReplicaLogDirs (34), versions 1 and 2. There is one folder, so nothing can move: any
//! other is not found. Not told: the size of the disk (4: KIP-827), which is -1, unknown.

use std::collections::{BTreeMap, BTreeSet};

use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_replica_log_dirs_response::{
    AlterReplicaLogDirPartitionResult, AlterReplicaLogDirTopicResult,
};
use kohort_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kohort_protocol::messages::{
    AlterReplicaLogDirsRequest, AlterReplicaLogDirsResponse, DescribeLogDirsRequest, DescribeLogDirsResponse,
    TopicName,
};

use super::{Call, Outcome, text};
use crate::connection::HangUp;

pub(super) fn describe(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: DescribeLogDirsRequest = call.request()?;
    let catalog = &call.shared.catalog;
    let asked = request.topics.map(|topics| {
        let mut asked: BTreeMap<String, BTreeSet<i32>> = BTreeMap::new();
        for topic in topics {
            asked.entry(topic.topic.to_string()).or_default().extend(topic.partitions);
        }
        asked
    });
    let mut topics = Vec::new();
    for topic in catalog.all() {
        let wanted = asked.as_ref().map(|asked| asked.get(&topic.name));
        let partitions = topic.partitions.iter().filter(|partition| match wanted {
            None => true,
            Some(of_topic) => of_topic.is_some_and(|indexes| indexes.contains(&partition.index())),
        });
        let partitions: Vec<_> = partitions
            .map(|partition| {
                let bytes = partition.with(|log| log.bytes()).unwrap_or_default();
                DescribeLogDirsPartition::default()
                    .with_partition_index(partition.index())
                    .with_partition_size(i64::try_from(bytes).unwrap_or(i64::MAX))
            })
            .collect();
        if !partitions.is_empty() {
            let name = TopicName(text(topic.name.clone()));
            topics.push(DescribeLogDirsTopic::default().with_name(name).with_partitions(partitions));
        }
    }
    let result = DescribeLogDirsResult::default()
        .with_log_dir(text(catalog.logs().display().to_string()))
        .with_topics(topics);
    call.answer(&DescribeLogDirsResponse::default().with_results(vec![result]))
}

pub(super) fn alter(call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: AlterReplicaLogDirsRequest = call.request()?;
    let own = call.shared.catalog.logs().display().to_string();
    let mut results: BTreeMap<TopicName, Vec<AlterReplicaLogDirPartitionResult>> = BTreeMap::new();
    for dir in &request.dirs {
        for topic in &dir.topics {
            let known = call.shared.catalog.topic(&topic.name);
            let outcome = |index: i32| match known.as_ref().and_then(|t| t.partition(index)) {
                _ if dir.path.as_str() != own => ErrorCode::LOG_DIR_NOT_FOUND,
                None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                Some(_) => ErrorCode::NONE,
            };
            let partition = |index: &i32| {
                AlterReplicaLogDirPartitionResult::default()
                    .with_partition_index(*index)
                    .with_error_code(outcome(*index).0)
            };
            results.entry(topic.name.clone()).or_default().extend(topic.partitions.iter().map(partition));
        }
    }
    let topic = |(name, partitions)| {
        AlterReplicaLogDirTopicResult::default().with_topic_name(name).with_partitions(partitions)
    };
    let answer =
        AlterReplicaLogDirsResponse::default().with_results(results.into_iter().map(topic).collect());
    call.answer(&answer)
}
