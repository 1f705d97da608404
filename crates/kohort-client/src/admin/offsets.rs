//! Offsets: of groups, and of logs.

use std::collections::BTreeMap;

use kohort_group::member::{CommitError, FetchOffsetsError};
use kohort_group::messages::{Offset, OffsetToCommit, TopicPartition};

use crate::consumer::driver::{commit_offsets, fetch_offsets, list_offsets, timestamp};
use crate::net::wire::messages::OffsetDeleteRequest;
use crate::net::wire::messages::offset_delete_request::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use crate::net::wire::{GroupId, text, topic_name};
use crate::{Isolation, SeekTo};

use super::{Admin, AdminError, Whom, verdict};

impl Admin {
    /// All that `group` has committed, sorted.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn group_offsets(&self, group: &str) -> Result<Vec<(TopicPartition, Offset)>, AdminError> {
        self.client.cluster.start();
        let what = || format!("read the offsets of group `{group}`");
        let answer = fetch_offsets(&self.client.cluster, group, None).await.map_err(|error| match error {
            FetchOffsetsError::Refused(code) => {
                AdminError::Refused { what: what(), code: code.code(), message: None }
            }
            FetchOffsetsError::NoAnswer | FetchOffsetsError::Closed => self.timeout(what()),
        })?;
        let mut offsets: Vec<_> =
            answer.partitions.into_iter().map(|(name, fetched)| (name, fetched.offset)).collect();
        offsets.retain(|(_, offset)| *offset >= 0);
        offsets.sort();
        Ok(offsets)
    }

    fn timeout(&self, what: String) -> AdminError {
        AdminError::Timeout { what, after: self.client.config().api_timeout, source: None }
    }

    /// Sets committed offsets of a group without members (with some: code 25).
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn alter_group_offsets(
        &self,
        group: &str,
        offsets: &[(TopicPartition, Offset)],
    ) -> Result<(), AdminError> {
        self.client.cluster.start();
        let what = || format!("set offsets of group `{group}`");
        let offsets = offsets.iter().map(|(name, offset)| {
            let offset = OffsetToCommit { offset: *offset, leader_epoch: -1, metadata: Some(String::new()) };
            (name.clone(), offset)
        });
        let committed = commit_offsets(&self.client.cluster, group, offsets.collect()).await;
        committed.map_err(|error| match error {
            CommitError::Refused(refused) => {
                let code = refused.first().map_or(-1, |(_, code)| code.code());
                AdminError::Refused { what: what(), code, message: None }
            }
            CommitError::NotInGroup => {
                let message = Some("the group has members: end its consumers first".to_owned());
                AdminError::Refused { what: what(), code: 25, message }
            }
            _ => self.timeout(what()),
        })
    }

    /// Deletes committed offsets of topics that no member subscribes to (otherwise: code 86).
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn delete_group_offsets(
        &self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<(), AdminError> {
        let what = || format!("delete offsets of group `{group}`");
        let mut topics: BTreeMap<&str, Vec<OffsetDeleteRequestPartition>> = BTreeMap::new();
        for name in partitions {
            let entry = OffsetDeleteRequestPartition::default().with_partition_index(name.partition);
            topics.entry(&name.topic).or_default().push(entry);
        }
        let topics: Vec<_> = topics
            .into_iter()
            .map(|(topic, partitions)| {
                OffsetDeleteRequestTopic::default().with_name(topic_name(topic)).with_partitions(partitions)
            })
            .collect();
        let request = |_: &_| {
            OffsetDeleteRequest::default().with_group_id(GroupId(text(group))).with_topics(topics.clone())
        };
        let whom = Whom::Coordinator(group.to_owned());
        let answer = self.ask(&what(), &whom, request, |answer| Some(answer.error_code)).await?;
        verdict(what, answer.error_code, None)?;
        let mut partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        partitions.try_for_each(|partition| verdict(what, partition.error_code, None))
    }

    /// The offset at `at` for each partition: earliest, latest or by time (-1: nothing that young).
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn list_offsets(
        &self,
        partitions: &[TopicPartition],
        at: SeekTo,
    ) -> Result<Vec<(TopicPartition, Offset)>, AdminError> {
        let what = || "list offsets".to_owned();
        let mut topics: Vec<&str> = partitions.iter().map(|name| name.topic.as_str()).collect();
        topics.sort_unstable();
        topics.dedup();
        let metadata = self.leaders(&topics).await?;
        let mut by_leader: BTreeMap<i32, Vec<TopicPartition>> = BTreeMap::new();
        for name in partitions {
            let leader = metadata.iter().find_map(|known| known.leader(&name.topic, name.partition));
            let unknown = || AdminError::Refused { what: what(), code: 3, message: None };
            by_leader.entry(leader.ok_or_else(unknown)?.id).or_default().push(name.clone());
        }
        let mut all = vec![];
        for (leader, names) in by_leader {
            self.know_broker(leader).await?;
            let cluster = &self.client.cluster;
            let told = list_offsets(cluster, leader, timestamp(at), &names, Isolation::ReadUncommitted).await;
            for (name, code, offset) in told.map_err(|_| self.timeout(what()))? {
                verdict(what, code, None)?;
                all.push((name, offset));
            }
        }
        all.sort();
        Ok(all)
    }
}
