//! What tests of a whole service share. No service depends on it; tests do.
//!
//! | topic | where |
//! |---|---|
//! | a broker in the test's process, with a topic and a client | [`World`] |
//! | real trades as messages, keyed as the platform keys them, and their reference | [`Set`] |
//! | a service's routes over a real socket | [`Http`] |
//!
//! What cannot be done is the test's failure: everything here panics.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod http;
mod set;
mod world;

pub use http::Http;
pub use set::{Messages, Set, file, messages, rows, text};
pub use world::World;
