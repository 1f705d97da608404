//! Groups that are shared, as the original's page describes them, with members of the runtime.
//!
//! On the broker in this process, or on that of `KOHORT_TEST_BOOTSTRAP`: what is demanded of ours is what Kafka does. Who gets which
//! partition is written out in `rows`, and Kafka's own client is held to the same (`java`).
#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod crash;
mod java;
mod rows;
mod sharing;
mod world;
