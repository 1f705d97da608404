//! The crate from outside: real sets against their references, the algebra, the decoders against each other.

#![expect(clippy::unwrap_used, reason = "in a test, what cannot be unwrapped is the failure")]

mod algebra;
mod decoders;
mod sets;
mod spans;
mod support;
mod wallets;
