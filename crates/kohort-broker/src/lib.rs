//! One node that speaks Kafka.
