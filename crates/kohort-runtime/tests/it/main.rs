//! Groups against a broker in this process.
#![expect(clippy::unwrap_used, reason = "tests")]

mod hangs;
mod letters;
mod positions;
mod pressure;
