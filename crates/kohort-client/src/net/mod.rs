//! Sockets: frames over one connection, kept buffers, and the cluster's connections and metadata.

pub(crate) mod cluster;
pub(crate) mod connect;
pub(crate) mod connection;
pub(crate) mod metadata;
pub(crate) mod pool;
pub(crate) mod scram;
pub(crate) mod tls;
pub(crate) mod wire;
