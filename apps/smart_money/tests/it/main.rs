//! The service from outside.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod api;
mod database;
mod mysql;
mod road;
mod world;
