//! Dataflow: trades become candles of seven intervals, kept in SQL and pushed on a WebSocket.
//!
//! The road from a topic to the store and the hub is [`candles`]'s, and Market's too. Here is what is Dataflow's alone:
//!
//! - [`service`]: starts all of it from the service's file;
//! - [`api`]: `/api/pairs`, `/api/candles`, `/ws`, and Binance's streams (`docs/http.md`).

pub mod api;
pub mod service;

pub use candles::Settings;
pub use service::{Dataflow, open_store, start, store_file};
