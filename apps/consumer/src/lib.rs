//! Consumer: shows what flows, and can be told to be slow, to fail, to hang, so that a group's behaviour can be seen and tested.
//!
//! It keeps nothing. What it reads it decodes, counts and commits; a record that is no array of trades is counted with the reason, and
//! goes to no dead-letter topic, because nothing was to be done with it. What it was *told* to reject or to fail goes there.
//!
//! - [`service`]: starts the groups of the service's file;
//! - [`behaviour`]: what it is told, and what follows for a record (pure);
//! - [`flow`]: sizes, trades, errors and a sample of one partition at one member;
//! - [`report`]: what is shown: rates, sizes, owners, lag; as JSON, and as rows of a table;
//! - `watch`: makes a report each second, and asks the broker for ends, commits and members;
//! - `api`: `/api/flow`, `/api/behave` (`docs/http.md`).

mod api;
pub mod behaviour;
pub mod flow;
mod handler;
pub mod report;
pub mod service;
mod watch;

pub use behaviour::{Behaviour, Told};
pub use report::Report;
pub use service::{Consumer, Settings, start};
