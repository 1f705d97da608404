//! What every service shares: configuration and its errors, logs, metrics, signals.
//!
//! It refuses to know what a service does, what Kafka is beyond the words of a `Kq` block, and what a trade is.
//!
//! | topic | where |
//! |---|---|
//! | a service's YAML file, with places, defaults and "did you mean" | [`config`] |
//! | what is wrong between several files, or between them and a broker | [`check`] |
//! | what a person is told when something cannot start | [`complaint`] |
//! | whether a service can do its work | [`health`] |
//! | log lines on stderr | [`log`] |
//! | counters and gauges as Prometheus text | [`metrics`] |
//! | the last record that could not be handled | [`refused`] |
//! | Ctrl-C and SIGTERM as a future | [`shutdown`] |

pub mod check;
pub mod complaint;
pub mod config;
pub mod health;
pub mod log;
pub mod metrics;
pub mod refused;
pub mod shutdown;

pub use complaint::Complaint;
pub use config::{Kq, Order, ServiceFile, StartOffset};
pub use health::Health;
pub use shutdown::Shutdown;
