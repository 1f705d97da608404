//! One node that speaks Kafka: durable partitions, groups, and the APIs that today's clients use.
//!
//! As a library it starts in the caller's process and runtime, on any free port, and is ready when `start` returns:
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use kohort_broker::{Broker, Config};
//!
//! let folder = tempfile::tempdir()?;
//! let broker = Broker::start(Config::new(folder.path())).await?;
//! println!("{}", broker.address());
//! broker.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! - `connection`: a frame in, an answer out, in the connection's own task;
//! - `api`: one file for each API, with the versions it speaks and what it does not support;
//! - [`log`]: one partition's segments; `partition`: the log behind its lock, and who waits for more;
//! - [`groups`]: the shell around `kohort_group`'s coordinator;
//! - `catalog`: which topics there are; [`settings`]: Kafka's settings by Kafka's names.
//!
//! What it refuses to be: a cluster. Its clustered form is Apache Kafka.

mod api;
mod broker;
mod catalog;
mod connection;
mod dynamic;
pub mod groups;
mod housekeeping;
pub mod log;
mod partition;
mod producer_ids;
pub mod settings;

pub use broker::{Broker, Config, StartError};
pub use catalog::{CatalogError, OFFSETS_TOPIC};
