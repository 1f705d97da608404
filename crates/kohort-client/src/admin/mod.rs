//! The admin: topics, groups, offsets, configurations.
//!
//! Every call finds the broker that answers it (controller, coordinator, leaders), retries what can be retried until
//! `default.api.timeout.ms`, and returns one outcome for each thing that was asked for.

mod cluster;
mod groups;
mod offsets;
mod topics;

pub use topics::TopicResults;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kohort_group::messages::{Partition, TopicPartition};
use kohort_protocol::ErrorCode;
use tokio::time::Instant;

use crate::Client;
use crate::net::cluster::{Purpose, RouteError};
use crate::net::wire::{AskError, Link, Request};

/// The admin of a cluster. Made by [`Client::admin`]; cheap to clone.
#[derive(Clone, Debug)]
pub struct Admin {
    client: Client,
}

/// Why an operation of the admin failed.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AdminError {
    /// The broker refuses: Kafka's number, and its text if it gave one.
    #[error("{what}: refused with {} (error code {code}){}", ErrorCode(*code).name(), .message.as_deref().map(|text| format!(": {text}")).unwrap_or_default())]
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
        /// What became of the last attempt, if it ended before that.
        #[source]
        source: Option<Arc<dyn std::error::Error + Send + Sync>>,
    },
    /// The broker speaks no version of the API that we do, or answers what cannot be read.
    #[error("{what}: the broker does not support it")]
    Unsupported {
        /// What was asked for.
        what: String,
        /// More of it.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
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

/// Whom to ask.
#[derive(Clone, Debug)]
enum Whom {
    /// Any broker: it passes on to the controller what is the controller's.
    Any,
    /// The coordinator of this group.
    Coordinator(String),
    /// This broker.
    Broker(i32),
}

impl Admin {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }

    /// Asks until there is an answer that `again` (a retriable error in it) does not send back, or the time is over.
    async fn ask<R: Request>(
        &self,
        what: &str,
        whom: &Whom,
        request: impl Fn(&Link) -> R,
        again: impl Fn(&R::Response) -> Option<i16>,
    ) -> Result<R::Response, AdminError> {
        let cluster = &self.client.cluster;
        cluster.start();
        let after = cluster.config.api_timeout;
        let until = Instant::now() + after;
        let (mut failures, mut source) = (0, None);
        loop {
            let asked = tokio::time::timeout_at(until, self.ask_once(whom, &request)).await;
            let refused = match asked {
                Err(_) => return Err(AdminError::Timeout { what: what.to_owned(), after, source }),
                Ok(Ok(answer)) => match again(&answer).filter(|code| ErrorCode(*code).is_retriable()) {
                    None => return Ok(answer),
                    Some(code) => Some(code),
                },
                Ok(Err(RouteError::Ask(
                    error @ (AskError::Unsupported { .. } | AskError::Unreadable { .. }),
                ))) => {
                    return Err(AdminError::Unsupported { what: what.to_owned(), source: Arc::new(error) });
                }
                Ok(Err(error)) => {
                    tracing::debug!(what, error = &error as &dyn std::error::Error, "asked again");
                    let error: Arc<dyn std::error::Error + Send + Sync> = Arc::new(error);
                    source = Some(error);
                    None
                }
            };
            failures += 1;
            let wait = cluster.config.backoff.after(failures, cluster.roll());
            if Instant::now() + wait >= until {
                return Err(match refused {
                    Some(code) => AdminError::Refused { what: what.to_owned(), code, message: None },
                    None => AdminError::Timeout { what: what.to_owned(), after, source },
                });
            }
            tokio::time::sleep(wait).await;
        }
    }

    async fn ask_once<R: Request>(
        &self,
        whom: &Whom,
        request: &impl Fn(&Link) -> R,
    ) -> Result<R::Response, RouteError> {
        let cluster = &self.client.cluster;
        let link = match whom {
            Whom::Any => cluster.any().await?,
            Whom::Broker(id) => cluster.broker(*id, Purpose::General).await?,
            Whom::Coordinator(group) => {
                let (found, _) = crate::consumer::group::find(cluster, group, Purpose::General).await;
                found?
            }
        };
        Ok(link.ask(&request(&link), cluster.config.request_timeout).await?)
    }
}

/// Nothing, or the refusal.
fn verdict(what: impl FnOnce() -> String, code: i16, message: Option<&str>) -> Result<(), AdminError> {
    if code == 0 {
        return Ok(());
    }
    Err(AdminError::Refused { what: what(), code, message: message.map(str::to_owned) })
}
