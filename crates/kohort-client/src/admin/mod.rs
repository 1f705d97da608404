//! The admin: topics, groups, offsets, configurations.
//!
//! Every call finds the broker that answers it (controller, coordinator, leaders), retries what can be retried until
//! `default.api.timeout.ms`, and returns one outcome for each thing that was asked for.

use std::collections::BTreeMap;
use std::time::Duration;

use kohort_group::messages::{Offset, Partition, TopicPartition};

use crate::{Client, SeekTo};

/// The admin of a cluster. Made by [`Client::admin`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// Why an operation of the admin failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// The broker refuses: Kafka's number, and its text if it gave one.
    #[error("{what} refused with error code `{code}`{}", .message.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        what: String,
        /// Kafka's number.
        code: i16,
        /// The broker's text.
        message: Option<String>,
    },
    /// No broker answered in time.
    #[error("{what}: no answer within {after:?}")]
    Timeout {
        /// What was asked for.
        what: String,
        /// `default.api.timeout.ms`.
        after: Duration,
    },
    /// The broker speaks no version of the API that we do.
    #[error("the broker does not support `{api}`")]
    Unsupported {
        /// The API's name.
        api: &'static str,
    },
}

/// A topic to create.
#[derive(Clone, Debug)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 is the broker's `num.partitions`.
    pub partitions: i32,
    /// How many replicas; -1 is the broker's default.
    pub replication_factor: i16,
    /// Its configuration, where it differs from the broker's.
    pub configs: BTreeMap<String, String>,
}

impl NewTopic {
    /// A topic with the broker's replication factor and configuration.
    pub fn new(name: impl Into<String>, partitions: i32) -> Self {
        Self { name: name.into(), partitions, replication_factor: -1, configs: BTreeMap::new() }
    }

    /// Sets one configuration.
    #[must_use]
    pub fn config(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.configs.insert(key.into(), value.into());
        self
    }
}

/// A topic as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDescription {
    /// Its name.
    pub name: String,
    /// Whether the broker made it for itself.
    pub internal: bool,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionDescription>,
}

/// A partition as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionDescription {
    /// Its number.
    pub partition: Partition,
    /// The leader's broker id; -1 if there is none.
    pub leader: i32,
    /// The leader epoch.
    pub leader_epoch: i32,
    /// The replicas' broker ids.
    pub replicas: Vec<i32>,
    /// Those in sync.
    pub in_sync_replicas: Vec<i32>,
}

/// The cluster as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterDescription {
    /// Its id.
    pub cluster_id: Option<String>,
    /// The controller's broker id, or some live broker's.
    pub controller: i32,
    /// Broker id, host, port.
    pub brokers: Vec<(i32, String, u16)>,
}

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupListing {
    /// Its id.
    pub group: String,
    /// `consumer` for consumers; empty for who only commits.
    pub protocol_type: String,
    /// Its state, if the broker tells: `Stable`, `Empty` and so on.
    pub state: String,
}

/// A group as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupDescription {
    /// Its id.
    pub group: String,
    /// Its state: `Stable`, `Empty`, `PreparingRebalance`, `CompletingRebalance`, `Dead`.
    pub state: String,
    /// `consumer` for consumers.
    pub protocol_type: String,
    /// The chosen assignor.
    pub assignor: String,
    /// Its members.
    pub members: Vec<MemberDescription>,
}

/// A member of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberDescription {
    /// Its id.
    pub member_id: String,
    /// Its instance id, if static.
    pub instance_id: Option<String>,
    /// Its `client.id`.
    pub client_id: String,
    /// Where it runs.
    pub client_host: String,
    /// What it owns, sorted.
    pub assignment: Vec<TopicPartition>,
}

/// A configuration entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigEntry {
    /// Its name.
    pub name: String,
    /// Its value; `None` where secret.
    pub value: Option<String>,
    /// Whether it can be changed.
    pub read_only: bool,
    /// Whether it was set, rather than a default.
    pub is_set: bool,
}

/// Whose configuration to describe.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigResource {
    /// A topic's.
    Topic(String),
    /// A broker's.
    Broker(i32),
    /// A group's.
    Group(String),
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Creates topics, and waits until metadata knows them. `AlreadyExists` is code 36.
    pub async fn create_topics(
        &self,
        _topics: &[NewTopic],
    ) -> Result<Vec<(String, Result<(), AdminError>)>, AdminError> {
        let _ = &self.client;
        unimplemented!()
    }

    /// Deletes topics.
    pub async fn delete_topics(
        &self,
        _topics: &[&str],
    ) -> Result<Vec<(String, Result<(), AdminError>)>, AdminError> {
        unimplemented!()
    }

    /// Raises the number of partitions of `topic` to `total`.
    pub async fn create_partitions(&self, _topic: &str, _total: i32) -> Result<(), AdminError> {
        unimplemented!()
    }

    /// All topics, sorted by name.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        unimplemented!()
    }

    /// One topic.
    pub async fn describe_topic(&self, _topic: &str) -> Result<TopicDescription, AdminError> {
        unimplemented!()
    }

    /// Brokers and controller.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        unimplemented!()
    }

    /// All groups of all brokers, sorted by id.
    pub async fn list_groups(&self) -> Result<Vec<GroupListing>, AdminError> {
        unimplemented!()
    }

    /// One group; a group that does not exist is `Dead`.
    pub async fn describe_group(&self, _group: &str) -> Result<GroupDescription, AdminError> {
        unimplemented!()
    }

    /// Deletes a group and its offsets. It must have no members (68).
    pub async fn delete_group(&self, _group: &str) -> Result<(), AdminError> {
        unimplemented!()
    }

    /// All that `group` has committed, sorted.
    pub async fn group_offsets(&self, _group: &str) -> Result<Vec<(TopicPartition, Offset)>, AdminError> {
        unimplemented!()
    }

    /// Sets committed offsets of a group without members.
    pub async fn alter_group_offsets(
        &self,
        _group: &str,
        _offsets: &[(TopicPartition, Offset)],
    ) -> Result<(), AdminError> {
        unimplemented!()
    }

    /// Deletes committed offsets of topics that no member subscribes to (86).
    pub async fn delete_group_offsets(
        &self,
        _group: &str,
        _partitions: &[TopicPartition],
    ) -> Result<(), AdminError> {
        unimplemented!()
    }

    /// The offset at `at` for each partition: earliest, latest or by time (-1: nothing that young).
    pub async fn list_offsets(
        &self,
        _partitions: &[TopicPartition],
        _at: SeekTo,
    ) -> Result<Vec<(TopicPartition, Offset)>, AdminError> {
        unimplemented!()
    }

    /// The configuration of a topic, broker or group, sorted by name.
    pub async fn describe_config(&self, _resource: &ConfigResource) -> Result<Vec<ConfigEntry>, AdminError> {
        unimplemented!()
    }
}
