//! The web page and what it asks about groups: `docs/http.md` fixes the words.
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
use kohort_broker::groups::GroupEvent;
use kohort_client::Client;
use kohort_service::metrics::Registry;

/// What our own broker knows of its groups beyond Kafka's protocol: its event log.
pub trait History: Send + Sync + 'static {
    /// The events with a larger id than `id`, oldest first.
    fn after(&self, id: u64) -> Vec<GroupEvent>;
}

/// The page and its API.
#[derive(Clone)]
pub struct Console {
    groups: Arc<groups::Groups>,
    events: Option<Arc<events::Events>>,
    metrics: Registry,
}

impl std::fmt::Debug for Console {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Console").field("events", &self.events.is_some()).finish_non_exhaustive()
    }
}

impl Console {
    /// A console of the brokers of `client`; with the history of an own broker, if there is one.
    pub fn new(client: Client, history: Option<Arc<dyn History>>, metrics: Registry) -> Console {
        let events = history.map(|source| Arc::new(events::Events::new(source)));
        Console { groups: Arc::new(groups::Groups::new(client)), events, metrics }
    }

    /// The page, `/api/groups`, `/api/groups/{group}`, `/api/events`, `/metrics`, `/healthz`.
    pub fn router(self) -> Router {
        Router::new()
            .route("/api/groups", get(api::groups))
            .route("/api/groups/{group}", get(api::group))
            .route("/api/events", get(api::events))
            .route("/api/{*rest}", get(api::unknown))
            .route("/metrics", get(api::metrics))
            .route("/healthz", get(|| async { "ok" }))
            .with_state(self)
            .fallback(assets::serve)
    }
}
