//! The client: what producers, consumers and admins share.

use std::sync::Arc;

use crate::admin::Admin;
use crate::config::ClientConfig;
use crate::consumer::ConsumerBuilder;
use crate::net::cluster::Cluster;
use crate::net::tls::{Connector, TlsError};
use crate::producer::ProducerBuilder;

/// Connections and metadata, shared by all that is made from it. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Client {
    pub(crate) cluster: Arc<Cluster>,
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
    /// The settings of TLS.
    #[error("TLS cannot be spoken with these settings")]
    Tls(#[from] TlsError),
    /// Every request carries it.
    #[error("client id of {bytes} bytes is too long: {CLIENT_ID_BYTES_MAX} at most")]
    LongClientId {
        /// Its length.
        bytes: usize,
    },
}

/// `client.id` is a string with a length of 16 bits on the wire; nobody needs more than this.
const CLIENT_ID_BYTES_MAX: usize = 1024;

/// Whether this is `host:port`.
fn is_address(server: &str) -> bool {
    server.rsplit_once(':').is_some_and(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok())
}

impl Client {
    /// Checks the settings; connects nothing yet, so that a broker may come later.
    pub fn new(config: ClientConfig) -> Result<Self, ClientError> {
        if config.bootstrap_servers.is_empty() {
            return Err(ClientError::NoServers);
        }
        let bad = config.bootstrap_servers.iter().find(|server| !is_address(server));
        if let Some(bad) = bad {
            return Err(ClientError::BadServer(bad.clone()));
        }
        if config.client_id.len() > CLIENT_ID_BYTES_MAX {
            return Err(ClientError::LongClientId { bytes: config.client_id.len() });
        }
        let tls = config.security.tls().map(Connector::new).transpose()?;
        Ok(Self { cluster: Cluster::new(Arc::new(config), tls) })
    }

    /// The settings it was made with.
    #[must_use]
    pub fn config(&self) -> &ClientConfig {
        &self.cluster.config
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_host_and_port() {
        let client = |server: &str| Client::new(ClientConfig::new([server]));
        for good in ["127.0.0.1:9092", "localhost:1", "[::1]:9092"] {
            assert!(client(good).is_ok(), "{good}");
        }
        for bad in ["localhost", ":9092", "localhost:", "localhost:70000", "localhost:x"] {
            assert!(matches!(client(bad), Err(ClientError::BadServer(_))), "{bad}");
        }
        assert!(matches!(Client::new(ClientConfig::new([""; 0])), Err(ClientError::NoServers)));
    }
}
