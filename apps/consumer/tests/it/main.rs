//! The service against a broker in this process.
#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod behave;
mod flows;
mod world;
