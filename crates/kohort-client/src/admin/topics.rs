//! Topics: create, delete, grow, list, describe; and configurations.

use std::sync::Arc;

use tokio::time::Instant;

use crate::net::metadata::{Metadata, Topic};
use crate::net::wire::messages::create_partitions_request::CreatePartitionsTopic;
use crate::net::wire::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use crate::net::wire::messages::describe_configs_request::DescribeConfigsResource;
use crate::net::wire::messages::metadata_request::MetadataRequestTopic;
use crate::net::wire::messages::{
    CreatePartitionsRequest, CreateTopicsRequest, DeleteTopicsRequest, DescribeConfigsRequest,
    MetadataRequest,
};
use crate::net::wire::{millis, text, topic_name};

use super::{
    Admin, AdminError, ConfigEntry, ConfigResource, NewTopic, PartitionDescription, TopicDescription, Whom,
    verdict,
};

/// UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN_TOPIC: i16 = 3;

/// One outcome for each topic.
pub type TopicResults = Vec<(String, Result<(), AdminError>)>;

impl Admin {
    /// Creates topics, and waits (for `default.api.timeout.ms` at most) until the brokers' metadata knows them and who leads
    /// them. A topic that exists is refused with code 36.
    ///
    /// # Errors
    /// When no broker answers; what is refused is in the list.
    pub async fn create_topics(&self, topics: &[NewTopic]) -> Result<TopicResults, AdminError> {
        let timeout = self.client.config().request_timeout;
        let request = |_: &_| {
            let topics = topics.iter().map(|topic| {
                let configs = topic.configs.iter().map(|(key, value)| {
                    CreatableTopicConfig::default().with_name(text(key)).with_value(Some(text(value)))
                });
                CreatableTopic::default()
                    .with_name(topic_name(&topic.name))
                    .with_num_partitions(topic.partitions)
                    .with_replication_factor(topic.replication_factor)
                    .with_configs(configs.collect())
            });
            CreateTopicsRequest::default().with_topics(topics.collect()).with_timeout_ms(millis(timeout))
        };
        let answer = self.ask("create topics", &Whom::Any, request, |answer: &_| {
            let answer: &crate::net::wire::messages::CreateTopicsResponse = answer;
            answer.topics.iter().map(|topic| topic.error_code).find(|code| *code == 41)
        });
        let answer = answer.await?;
        let results: TopicResults = answer
            .topics
            .iter()
            .map(|topic| {
                let name = topic.name.0.as_str();
                let message = topic.error_message.as_ref().map(|text| text.as_str());
                (name.to_owned(), verdict(|| format!("create topic `{name}`"), topic.error_code, message))
            })
            .collect();
        // The controller has it; the brokers follow, a busy one seconds later.
        let until = Instant::now() + self.client.config().api_timeout;
        for (name, _) in results.iter().filter(|(_, result)| result.is_ok()) {
            self.topic_metadata(name, Some(until)).await?;
        }
        Ok(results)
    }

    /// Deletes topics.
    ///
    /// # Errors
    /// When no broker answers; what is refused is in the list.
    pub async fn delete_topics(&self, topics: &[&str]) -> Result<TopicResults, AdminError> {
        let timeout = self.client.config().request_timeout;
        let request = |_: &_| {
            DeleteTopicsRequest::default()
                .with_topic_names(topics.iter().map(|name| topic_name(name)).collect())
                .with_timeout_ms(millis(timeout))
        };
        let answer = self.ask("delete topics", &Whom::Any, request, |_| None).await?;
        let results = answer.responses.iter().map(|topic| {
            let name = topic.name.as_ref().map_or("", |name| name.0.as_str());
            let message = topic.error_message.as_ref().map(|text| text.as_str());
            (name.to_owned(), verdict(|| format!("delete topic `{name}`"), topic.error_code, message))
        });
        Ok(results.collect())
    }

    /// Raises the number of partitions of `topic` to `total`.
    ///
    /// # Errors
    /// See [`AdminError`]; code 37 if `total` is not more than there are.
    pub async fn create_partitions(&self, topic: &str, total: i32) -> Result<(), AdminError> {
        let timeout = self.client.config().request_timeout;
        let what = || format!("create partitions of `{topic}`");
        let request = |_: &_| {
            let topic = CreatePartitionsTopic::default()
                .with_name(topic_name(topic))
                .with_count(total)
                .with_assignments(None);
            CreatePartitionsRequest::default().with_topics(vec![topic]).with_timeout_ms(millis(timeout))
        };
        let answer = self.ask(&what(), &Whom::Any, request, |_| None).await?;
        for topic in &answer.results {
            verdict(what, topic.error_code, topic.error_message.as_ref().map(|text| text.as_str()))?;
        }
        Ok(())
    }

    /// All topics, sorted by name.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn list_topics(&self) -> Result<Vec<TopicDescription>, AdminError> {
        let request =
            |_: &_| MetadataRequest::default().with_topics(None).with_allow_auto_topic_creation(false);
        let answer = self.ask("list topics", &Whom::Any, request, |_| None).await?;
        let metadata = Metadata::default().after(&answer);
        let mut topics: Vec<_> = metadata.topics.iter().map(|(name, topic)| describe(name, topic)).collect();
        topics.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(topics)
    }

    /// One topic.
    ///
    /// # Errors
    /// See [`AdminError`]; code 3 if there is no such topic.
    pub async fn describe_topic(&self, topic: &str) -> Result<TopicDescription, AdminError> {
        let what = || format!("describe topic `{topic}`");
        let metadata = self.topic_metadata(topic, None).await?;
        let Some((name, found)) = metadata.topics.get_key_value(topic) else {
            return Err(AdminError::Refused { what: what(), code: UNKNOWN_TOPIC, message: None });
        };
        verdict(what, found.error, None)?;
        Ok(describe(name, found))
    }

    /// A picture of the cluster with this topic in it. A topic that was just created may not be known to every broker at
    /// once: an unknown one is asked for a few times, or `until` then.
    async fn topic_metadata(&self, topic: &str, until: Option<Instant>) -> Result<Metadata, AdminError> {
        let request = |_: &_| {
            let topic = MetadataRequestTopic::default().with_name(Some(topic_name(topic)));
            MetadataRequest::default().with_topics(Some(vec![topic])).with_allow_auto_topic_creation(false)
        };
        let mut tries = 0;
        loop {
            let answer = self.ask("describe topic", &Whom::Any, request, |_| None).await?;
            let metadata = Metadata::default().after(&answer);
            tries += 1;
            let enough = until.map_or(tries >= 5, |until| Instant::now() >= until);
            if !metadata.is_incomplete() || enough {
                return Ok(metadata);
            }
            tokio::time::sleep(self.client.config().backoff.after(tries, self.client.cluster.roll())).await;
        }
    }

    /// Who leads each of these topics' partitions.
    pub(super) async fn leaders(&self, topics: &[&str]) -> Result<Vec<Metadata>, AdminError> {
        let mut all = vec![];
        for topic in topics {
            all.push(self.topic_metadata(topic, None).await?);
        }
        Ok(all)
    }

    /// The configuration of a topic, broker or group, sorted by name.
    ///
    /// # Errors
    /// See [`AdminError`].
    pub async fn describe_config(&self, resource: &ConfigResource) -> Result<Vec<ConfigEntry>, AdminError> {
        let (kind, name, whom) = match resource {
            ConfigResource::Topic(name) => (2, name.clone(), Whom::Any),
            ConfigResource::Broker(id) => (4, id.to_string(), Whom::Broker(*id)),
            ConfigResource::Group(name) => (32, name.clone(), Whom::Any),
        };
        if let Whom::Broker(id) = whom {
            self.know_broker(id).await?;
        }
        let what = || format!("describe the configuration of `{name}`");
        let request = |_: &_| {
            let resource = DescribeConfigsResource::default()
                .with_resource_type(kind)
                .with_resource_name(text(&name))
                .with_configuration_keys(None);
            DescribeConfigsRequest::default().with_resources(vec![resource])
        };
        let answer = self.ask(&what(), &whom, request, |_| None).await?;
        let mut entries = vec![];
        for result in &answer.results {
            verdict(what, result.error_code, result.error_message.as_ref().map(|text| text.as_str()))?;
            entries.extend(result.configs.iter().map(|entry| ConfigEntry {
                name: entry.name.as_str().to_owned(),
                value: entry.value.as_ref().map(|value| value.as_str().to_owned()),
                read_only: entry.read_only,
                // DEFAULT_CONFIG is 5; 1 to 4 were set, for the resource or above it.
                is_set: (1..=4).contains(&entry.config_source),
            }));
        }
        entries.sort_by(|one, other| one.name.cmp(&other.name));
        Ok(entries)
    }
}

fn describe(name: &Arc<str>, topic: &Topic) -> TopicDescription {
    let partitions = topic.partitions.iter().enumerate().map(|(partition, leader)| PartitionDescription {
        partition: i32::try_from(partition).unwrap_or(i32::MAX),
        leader: leader.id,
        leader_epoch: leader.epoch,
        replicas: leader.replicas.clone(),
        in_sync_replicas: leader.in_sync.clone(),
    });
    TopicDescription { name: name.to_string(), internal: topic.internal, partitions: partitions.collect() }
}
