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
//! `examples/consume.rs` and `examples/produce.rs` are whole programs. Where is what: [`Client`] and [`ClientConfig`] (connections,
//! metadata, [`Security`]), [`consumer`], [`producer`], [`admin`].
//!
//! # What holds
//!
//! - **Order.** Records of a partition are returned in the order of the log, each once in a membership; what is sent to a partition is
//!   written in the order of the calls, retries included.
//! - **Once.** A producer is idempotent unless told otherwise: whatever happens to its connections, a record that was acknowledged
//!   stands once in the log (KIP-98). A record whose fate is [`ProduceError::Timeout`] may stand there or not.
//! - **Membership does not depend on the handler.** Heartbeats and joins run in tasks of their own. A slow handler stops fetching,
//!   once [`ConsumerBuilder::prefetch_bytes`] lie unread, and stays a member; `max.poll.interval.ms` is off unless set.
//! - **Events come in their order.** [`ConsumerEvent::Revoking`] comes before anybody else can own the partitions, and a commit within
//!   it counts; after it, or after [`ConsumerEvent::Lost`], no batch of them is returned. Nothing of an assignment is fetched
//!   before its [`Start`] is dropped.
//! - **A former owner commits nothing.** A commit by who is no member any more is [`CommitError::NotInGroup`]; one that meets a
//!   rebalance is [`CommitError::RebalanceInProgress`], and may be made again after it for what stays.
//! - **A topic is its id.** One that is deleted and made again under its name is read as `auto.offset.reset` says, not from the middle.
//!
//! # Limits and units
//!
//! Times are [`Duration`](std::time::Duration)s, and sizes bytes; offsets are `i64`, timestamps milliseconds since the epoch. What waits has
//! a limit with Kafka's name: a request (`request.timeout.ms`), an operation (`default.api.timeout.ms`), a record on its way
//! (`delivery.timeout.ms`), a sender without room (`max.block.ms`), a member that gives partitions up
//! ([`ConsumerBuilder::rebalance_timeout`]).
//!
//! # Errors
//!
//! Each operation has an error type of its own, which says what can be done. A broker that is gone is none: it is asked again with
//! [`Backoff`], for ever; the log says once that it went and once that it returned. What cannot be read on is told, and the rest goes
//! on: [`ConsumerEvent::Halted`] stops one partition until a `seek`. Only [`ConsumerEvent::Fatal`] ends a consumer.
//!
//! # What is not there
//!
//! Transactions, the group protocol of KIP-848 (`group.protocol=consumer`), subscription by pattern, SASL by GSSAPI or OAUTHBEARER.

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
