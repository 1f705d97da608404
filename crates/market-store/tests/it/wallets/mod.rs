//! The log of known wallets.

mod contract;
mod rules;
mod support;
