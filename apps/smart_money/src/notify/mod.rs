//! Notifications: from the outbox to the channels.
//!
//! What is told to whom is decided where trades are logged, in their transaction ([`market_store::wallets`]). From there on a row of the
//! outbox is sent until the channel took it or refused it for good: **at least once**. A repetition can only come of a crash (or a lost
//! answer) between the channel's taking it and the mark in the outbox, and carries the same key.
//!
//! What decides is plain functions: [`channel`] writes a request and judges an answer, `rate` and `backoff` say when, `text` finds the
//! words. What touches the world is `http` and `dispatcher`.
//!
//! No token, secret or address that contains one is ever in a log line, an error or the outbox.

mod api;
mod backoff;
mod channel;
mod config;
mod dispatcher;
mod http;
mod rate;
mod secret;
mod text;

pub use api::router;
pub use config::{Channel, NotifyConfig};
pub use dispatcher::{Notifier, Timing, Wake};
pub use http::TlsError;
