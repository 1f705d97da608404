//! The client against a server: Apache Kafka where `KOHORT_TEST_BOOTSTRAP` names one (`host:port`), our own broker, in this
//! process and on a port of its own, where it does not. The same tests for both.

#![allow(clippy::unwrap_used, reason = "helpers of tests are tests")]

mod admin;
mod deaths;
mod faults;
mod fetching;
mod groups;
mod producing;
mod relay;
mod restarts;
mod security;
mod server;
mod topics;
