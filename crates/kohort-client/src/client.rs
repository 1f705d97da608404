//! The client: what producers, consumers and admins share.

use std::sync::Arc;

use crate::admin::Admin;
use crate::config::ClientConfig;
use crate::consumer::ConsumerBuilder;
use crate::producer::ProducerBuilder;

/// Connections and metadata, shared by all that is made from it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) config: Arc<ClientConfig>,
}

/// Why a client cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No server is named.
    #[error("no bootstrap server: name at least one `host:port`")]
    NoServers,
    /// An entry is not `host:port`.
    #[error("bootstrap server `{0}` is not `host:port`")]
    BadServer(String),
}

impl Client {
    /// Checks the settings; connects nothing yet, so that a broker may come later.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        Ok(Self { config: Arc::new(config) })
    }

    /// The settings it was made with.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.config
    }

    /// Begins a consumer.
    #[must_use]
    pub fn consumer(&self) -> ConsumerBuilder {
        ConsumerBuilder::new(self.clone())
    }

    /// Begins a producer.
    #[must_use]
    pub fn producer(&self) -> ProducerBuilder {
        ProducerBuilder::new(self.clone())
    }

    /// The admin.
    #[must_use]
    pub fn admin(&self) -> Admin {
        Admin::new(self.clone())
    }
}
