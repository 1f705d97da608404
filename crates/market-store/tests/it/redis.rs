//! What only Redis can get wrong. The tests that need a server of their own are run where `redis-server` is: in CI, or by
//! `cargo test -p market-store --test it redis -- --ignored`.

mod crash;
mod keys;
mod server;

pub(crate) use server::given;
