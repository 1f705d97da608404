//! Market from a topic to its readers, alone and in one group with Dataflow.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod shared;
mod world;
