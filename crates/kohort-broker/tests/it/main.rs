//! The broker from outside, in this process: raw frames in, raw frames out.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod fetch;
mod life;
mod produce;
mod topics;
mod wire;
