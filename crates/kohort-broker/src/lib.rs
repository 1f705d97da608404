//! One node that speaks Kafka.

pub mod log;
