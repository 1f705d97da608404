//! Trades into topics: files to messages, messages to a producer, at a pace.
//!
//! `replay`, `up`, `verify` and `bench pipeline` all send through here, so that there is one answer to what a message
//! is. [`messages`] and [`pace`] are plain functions; [`send`] touches the world.

pub(crate) mod files;
pub(crate) mod live;
pub(crate) mod messages;
pub(crate) mod pace;
pub(crate) mod send;
pub(crate) mod sets;

pub(crate) use messages::Keying;
