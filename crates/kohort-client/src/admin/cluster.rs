//! The cluster: brokers and controller.

use crate::net::metadata::Metadata;
use crate::net::wire::messages::MetadataRequest;

use super::{Admin, AdminError, ClusterDescription, Whom};

impl Admin {
    /// Brokers and controller.
    ///
    /// # Errors
    /// When no broker answers.
    pub async fn describe_cluster(&self) -> Result<ClusterDescription, AdminError> {
        let metadata = self.brokers().await?;
        let brokers = metadata.brokers.iter().filter_map(|(id, address)| {
            let (host, port) = address.rsplit_once(':')?;
            Some((*id, host.to_owned(), port.parse().ok()?))
        });
        Ok(ClusterDescription {
            cluster_id: metadata.cluster_id.clone(),
            controller: metadata.controller,
            brokers: brokers.collect(),
        })
    }

    /// A picture of the cluster without topics.
    pub(super) async fn brokers(&self) -> Result<Metadata, AdminError> {
        let request = |_: &_| {
            MetadataRequest::default().with_topics(Some(vec![])).with_allow_auto_topic_creation(false)
        };
        let answer = self.ask("describe cluster", &Whom::Any, request, |_| None).await?;
        Ok(Metadata::default().after(&answer))
    }

    /// Waits until the client knows where broker `id` is.
    pub(super) async fn know_broker(&self, id: i32) -> Result<(), AdminError> {
        let cluster = &self.client.cluster;
        cluster.start();
        if !cluster.metadata().brokers.contains_key(&id) {
            cluster.refresh();
            let after = self.client.config().api_timeout;
            let known = cluster.metadata_when(after, |known| known.brokers.contains_key(&id)).await;
            known.ok_or_else(|| AdminError::Timeout {
                what: format!("find broker `{id}`"),
                after,
                source: None,
            })?;
        }
        Ok(())
    }
}
