//! What is known of the cluster: brokers, and who leads which partition.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use kohort_protocol::Uuid;

use super::wire::messages::MetadataResponse;

/// A picture of the cluster; replaced as a whole.
#[derive(Clone, Debug, Default)]
pub(crate) struct Metadata {
    /// How many pictures came before: 0 is none yet.
    pub(crate) version: u64,
    pub(crate) cluster_id: Option<String>,
    pub(crate) controller: i32,
    /// Address (`host:port`) by broker id.
    pub(crate) brokers: BTreeMap<i32, Arc<str>>,
    pub(crate) topics: HashMap<Arc<str>, Topic>,
}

/// A topic.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Topic {
    /// Another one under the same name is another topic (KIP-516); nil where the broker tells none.
    pub(crate) id: Uuid,
    /// Kafka's error code; 0 if it is there.
    pub(crate) error: i16,
    pub(crate) internal: bool,
    /// By partition number.
    pub(crate) partitions: Vec<Leader>,
}

/// Who leads a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leader {
    /// Broker id; -1 if nobody does.
    pub(crate) id: i32,
    pub(crate) epoch: i32,
    pub(crate) replicas: Vec<i32>,
    pub(crate) in_sync: Vec<i32>,
}

impl Metadata {
    /// Who leads the partition, if somebody does.
    pub(crate) fn leader(&self, topic: &str, partition: i32) -> Option<&Leader> {
        let leader = self.topics.get(topic)?.partitions.get(usize::try_from(partition).ok()?)?;
        (leader.id >= 0).then_some(leader)
    }

    /// The picture after `answer`, which tells of the topics that were asked for and of no others.
    ///
    /// A broker that lags may tell of an older leader: the epoch must not go back (KIP-320). Those of a topic that was deleted
    /// and made again begin anew.
    pub(crate) fn after(&self, answer: &MetadataResponse) -> Self {
        let brokers = answer
            .brokers
            .iter()
            .map(|broker| (broker.node_id.0, format!("{}:{}", broker.host.as_str(), broker.port).into()))
            .collect();
        let mut topics = HashMap::with_capacity(answer.topics.len());
        for topic in &answer.topics {
            let Some(name) = &topic.name else { continue };
            let known = self.topics.get_key_value(name.0.as_str());
            let same = known.map(|(_, known)| known).filter(|known| known.id == topic.topic_id);
            let mut partitions = Vec::with_capacity(topic.partitions.len());
            for told in &topic.partitions {
                let Ok(index) = usize::try_from(told.partition_index) else { continue };
                // Partitions come in any order; a hole would be one without a leader.
                if index >= partitions.len() && index < (1 << 20) {
                    partitions
                        .resize(index + 1, Leader { id: -1, epoch: -1, replicas: vec![], in_sync: vec![] });
                }
                let new = Leader {
                    id: told.leader_id.0,
                    epoch: told.leader_epoch,
                    replicas: told.replica_nodes.iter().map(|node| node.0).collect(),
                    in_sync: told.isr_nodes.iter().map(|node| node.0).collect(),
                };
                let old = same.and_then(|topic| topic.partitions.get(index));
                if let Some(place) = partitions.get_mut(index) {
                    *place = match old {
                        Some(old) if old.epoch > new.epoch && new.epoch >= 0 && old.id >= 0 => old.clone(),
                        _ => new,
                    };
                }
            }
            let name = known.map_or_else(|| Arc::from(name.0.as_str()), |(name, _)| name.clone());
            let (id, error) = (topic.topic_id, topic.error_code);
            topics.insert(name, Topic { id, error, internal: topic.is_internal, partitions });
        }
        Self {
            version: self.version + 1,
            cluster_id: answer.cluster_id.as_ref().map(|id| id.as_str().to_owned()),
            controller: answer.controller_id.0,
            brokers,
            topics,
        }
    }

    /// Whether a topic that somebody wants is not fully there: worth asking again soon.
    pub(crate) fn is_incomplete(&self) -> bool {
        self.topics
            .values()
            .any(|topic| topic.error != 0 || topic.partitions.iter().any(|leader| leader.id < 0))
    }
}

#[cfg(test)]
mod tests {
    use super::super::wire::messages::metadata_response::{MetadataResponsePartition, MetadataResponseTopic};
    use super::super::wire::{BrokerId, topic_name};
    use super::*;

    fn told(leader: i32, epoch: i32) -> MetadataResponse {
        let partition =
            MetadataResponsePartition::default().with_leader_id(BrokerId(leader)).with_leader_epoch(epoch);
        let topic = MetadataResponseTopic::default()
            .with_name(Some(topic_name("t")))
            .with_partitions(vec![partition]);
        MetadataResponse::default().with_topics(vec![topic])
    }

    #[test]
    fn an_older_leader_epoch_does_not_replace_a_newer_one() {
        let one = Metadata::default().after(&told(1, 5));
        assert_eq!(one.after(&told(2, 4)).leader("t", 0).map(|leader| leader.id), Some(1));
        assert_eq!(one.after(&told(2, 6)).leader("t", 0).map(|leader| leader.id), Some(2));
        assert_eq!(one.after(&told(-1, 6)).leader("t", 0), None);
    }

    #[test]
    fn epochs_of_a_topic_that_was_made_again_begin_anew() {
        let mut again = told(2, 0);
        again.topics[0].topic_id = Uuid::from_u128(7);
        let known = Metadata::default().after(&told(1, 5)).after(&again);
        assert_eq!(known.leader("t", 0).map(|leader| (leader.id, leader.epoch)), Some((2, 0)));
    }
}
