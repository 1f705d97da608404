//! Bytes to Kafka messages and back: versions, record batches, compression, error codes.

pub mod records;
