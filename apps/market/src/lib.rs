//! Market: trades become candles in a cache, and questions about them are answered.
//!
//! The road from a topic to the cache is [`candles`]'s, and Dataflow's too. Here is what is Market's alone:
//!
//! - [`service`]: starts all of it from the service's file;
//! - [`api`]: K-lines as Binance gives them, a TradingView data feed, windows of price change, top movers (`docs/http.md`).

pub mod api;
pub mod movers;
pub mod service;

pub use candles::Settings;
pub use service::{Market, start, start_on, store_file};
