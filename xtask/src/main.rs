//! What is more than cargo.

fn main() {}
