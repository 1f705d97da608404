//! The crate seen from outside.

mod batches;
mod fixtures;
