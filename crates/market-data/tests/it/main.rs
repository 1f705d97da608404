//! The crate from outside: real sets against their references, the algebra, the decoders against each other.

mod algebra;
mod decoders;
mod sets;
mod support;
