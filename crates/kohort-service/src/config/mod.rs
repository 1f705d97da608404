//! A service's YAML file, as go-zero's services write it.
//!
//! Every value knows its line; a key that is not understood stops the start, because a misspelt key would silently
//! leave a default in force. Keys match without regard to case, as in go-zero. Names that go-zero services carry anyway
//! are understood or reported as not used, never refused.

mod kq;
mod section;
mod service;
mod stores;
mod yaml;

pub use kq::{Kq, Order, Protocol, StartOffset};
pub use section::{Found, Section};
pub use service::{Datasource, Log, Redis, ServiceFile, top_keys};
pub use stores::{GroupStore, store_place};
