//! The service from outside.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod api;
mod binance;
mod crowd;
mod exactness;
mod road;
mod world;
