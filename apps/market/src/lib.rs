//! Market: trades become candles in a cache, and questions about them are answered.
//!
//! - [`api`]: K-lines as Binance gives them, a TradingView data feed, windows of price change, top movers (`docs/http.md`).

pub mod api;
pub mod movers;
