//! Dataflow: trades become candles of seven intervals, kept in SQL and pushed on a WebSocket.
//!
//! - [`hub`]: merges what the lanes have in hand into live candles, before any flush, and pushes them;
//! - [`api`]: `/api/pairs`, `/api/candles` and `/ws` (`docs/http.md`).

pub mod api;
pub mod hub;
