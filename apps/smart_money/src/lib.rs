//! Smart Money: trades of known wallets, kept in a log of SQL and told to those who asked.
//!
//! The way of a trade: a member of the group reads a batch and hands it to its lanes; a lane asks the address book about the maker of
//! each trade and reads a known wallet's trade whole (`lane`); these go, with the positions of the partitions and with what is to be told
//! about them, into the log in one transaction (`sink`).
//!
//! | topic | where |
//! |---|---|
//! | starts all of it from the service's file | [`service`] |
//! | the keys of the file that are this service's own | [`config`] |
//! | the address book in step with its file and its table | [`book`] |
//! | channels and their forms, what is sent when, and again | [`notify`] |
//! | `/api/wallets` and `/api/smart-money/...` (`docs/http.md`) | `api` |
//!
//! Bad input never stops it: a record that holds something that could not be understood is counted ([`kohort_service::metrics`]) and goes
//! to the dead-letter topic with the reason.

mod api;
pub mod book;
pub mod config;
mod counters;
mod lane;
pub mod notify;
pub mod service;
mod sink;

pub use service::{Settings, SmartMoney, start};
