//! The web page and what it asks about groups: `docs/http-api.md` fixes the words.
//!
//! The page's files are in the binary. Groups are asked of any Kafka-protocol broker through the admin; what only our own
//! broker knows (generations, the event log) comes through [`History`], and where there is none it is left out, never
//! made up. It refuses to know trades: pairs, candles and their WebSocket are Dataflow's router, beside this one.

mod api;
mod assets;
mod events;
mod groups;

use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use kohort_client::Client;
use kohort_group::coordinator::Note;
use kohort_service::metrics::Registry;

/// What our own broker knows of its groups beyond Kafka's protocol.
pub trait History: Send + Sync + 'static {
    /// The newest `limit` notes of one group, or of all, newest first.
    fn notes(&self, group: Option<&str>, limit: usize) -> Vec<Note>;
    /// What a group is now, if it is one of the broker's.
    fn now(&self, group: &str) -> Option<GroupNow>;
}

/// What Kafka's DescribeGroups does not say of a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupNow {
    /// Its generation.
    pub generation: i32,
    /// Its leader's member id.
    pub leader: Option<String>,
}

/// The page and its API.
#[derive(Clone)]
pub struct Console {
    groups: Arc<groups::Groups>,
    history: Option<Arc<dyn History>>,
    metrics: Registry,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("history", &self.history.is_some()).finish_non_exhaustive()
    }
}

impl Console {
    /// A console of the brokers of `client`; with the history of an own broker, if there is one.
    pub fn new(client: Client, history: Option<Arc<dyn History>>, metrics: Registry) -> Console {
        Console { groups: Arc::new(groups::Groups::new(client)), history, metrics }
    }

    /// The page, `/api/groups`, `/api/groups/{group}`, `/api/events`, `/metrics`, `/healthz`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/api/groups", get(api::groups))
            .route("/api/groups/{group}", get(api::group))
            .route("/api/events", get(api::events))
            .route("/metrics", get(api::metrics))
            .route("/healthz", get(|| async { "ok" }))
            .with_state(self)
            .fallback(assets::serve)
    }
}
