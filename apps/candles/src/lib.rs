//! Trades become candles of seven intervals in a store: the road that Dataflow and Market share. A service is a [`Road`] over its
//! store, and an interface of its own.
//!
//! The way of a trade: a member of the group reads a batch and hands it to its lanes; a lane decodes each record in place and
//! adds its trades to its own one-minute candles (`lane`); what is new goes to the [`hub`] at once, and, merged over the lanes and
//! rolled up, with the positions of the partitions into the store in one transaction (`sink`).
//!
//! - [`Road`]: the groups of a service's file, running over its store;
//! - [`hub`]: merges what the lanes have in hand into live candles, before any flush, and pushes them;
//! - [`stages`]: where the processor time goes, when somebody measures;
//! - [`api`]: what the interfaces share, and `/api/input`.
//!
//! Bad input never stops it: what is no trade is counted ([`kohort_service::metrics`]), and a record that holds something that could
//! not be understood goes to the dead-letter topic with the reason.

pub mod api;
mod counters;
mod group_stores;
pub mod hub;
mod lane;
mod road;
mod sink;
pub mod stages;

pub use group_stores::{OtherStore, file_name};
pub use road::{Road, Settings, groups_of, shared_groups};
pub use sink::SharedStore;
