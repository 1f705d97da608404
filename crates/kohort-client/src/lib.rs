//! A Kafka client in Rust: producer, consumer with groups, admin.
