//! Bytes to Kafka messages and back: frames, versions, record batches, compression, error codes.
//!
//! The only crate that knows the `kafka-protocol` crate: its generated messages are re-exported as [`messages`], its errors do not
//! leave here. What this crate refuses to know: sockets, groups, logs.
//!
//! - [`frame`]: the length, the headers, a request or a response as one buffer;
//! - [`shape`]: the table of requests that we speak, and the walk that no body from outside escapes;
//! - [`errors`]: Kafka's error codes;
//! - [`records`]: record batches of magic 2, read and written in place.

pub mod errors;
pub mod frame;
pub mod records;
pub mod shape;

/// Kafka's messages, generated from its schemas.
pub mod messages {
    pub use kafka_protocol::messages::*;
}

pub use errors::ErrorCode;
pub use kafka_protocol::protocol::{Decodable, Encodable, HeaderVersion, Message, StrBytes};
pub use uuid::Uuid;
