//! A Kafka client in Rust all the way: consumer with groups, producer, admin.
//!
//! What it is for: services that read and write Apache Kafka, or Kohort's own broker, with the batch as the
//! unit of travel. Buffers are kept and reused, the next fetch leaves before the last one is decoded, and records
//! are *lent* from the batch: keys and values are slices of the buffer that the socket filled.
//! What it refuses to know: what the bytes mean, and who handles them (`kohort-runtime`).
//!
//! ```no_run
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! use kohort_client::{Client, ClientConfig, ConsumerEvent, Outgoing};
//!
//! let client = Client::new(ClientConfig::new(["127.0.0.1:9092"]))?;
//! let producer = client.producer().build();
//! producer.send(Outgoing::to("trades").value(b"hello")).await?.await?;
//!
//! let mut consumer = client.consumer().group("charts").build()?;
//! consumer.subscribe(["trades"])?;
//! loop {
//!     match consumer.next().await {
//!         ConsumerEvent::Batch(batch) => {
//!             for record in batch.records() {
//!                 let record = record?;
//!                 println!("{} {:?}", record.offset, record.value);
//!             }
//!             consumer.commit([(batch.topic_partition(), batch.next_offset())]).await?;
//!         }
//!         // Dropping `start` begins fetching at the committed offset; dropping `ack` lets the partitions go.
//!         ConsumerEvent::Assigned { .. } | ConsumerEvent::Revoking { .. } | ConsumerEvent::Lost { .. } => {}
//!         ConsumerEvent::Halted { partition, error } => eprintln!("{partition:?}: {error}"),
//!         ConsumerEvent::Left { .. } | ConsumerEvent::Fatal(_) => break,
//!     }
//! }
//! # Ok(()) }
//! ```
//!
//! Where is what: [`Client`] and [`ClientConfig`] (connections, metadata), [`consumer`], [`producer`], [`admin`].
//! A broker that is gone is asked again with backoff, for ever; the log says once that it went and once that it
//! returned.

pub mod admin;
mod client;
mod config;
pub mod consumer;
mod net;
pub mod producer;

pub use admin::{Admin, AdminError};
pub use client::{Client, ClientError};
pub use config::{Backoff, ClientConfig, Sasl, Security, Tls};
pub use consumer::{
    BuildError, CommitError, Consumer, ConsumerBuilder, ConsumerEvent, ConsumerHandle, FatalError,
    FetchOffsetsError, FetchedBatch, HaltError, Isolation, LeaveReason, OffsetAndMetadata, OffsetReset,
    OwnedRecord, Record, RevokeAck, SeekTo, Start, SubscribeError,
};
pub use kohort_group::messages::{Offset, Partition, TopicPartition};
pub use net::tls::TlsError;
pub use producer::{
    Ack, Acks, Compression, Delivery, Outgoing, ProduceError, Producer, ProducerBuilder, RecordMetadata,
    SendError,
};
