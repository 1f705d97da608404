//! Market's interface over a real socket, on a store in memory.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod binance;
mod movers;
mod udf;
mod windows;
mod world;
