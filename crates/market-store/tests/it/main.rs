//! The contract of a store, held by every kind of store; and what only a file can get wrong.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod cached;
mod charts;
mod contract;
mod file;
mod memory;
mod merged;
mod mysql;
mod mysql_login;
mod redis;
mod retention;
mod support;
mod wallets;
