//! Notifications from outside: a receiver over HTTP, and dispatchers that are stopped, killed and doubled.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod channels;
#[path = "../it/database.rs"]
mod database;
mod killed;
mod mysql;
mod receiver;
mod world;
