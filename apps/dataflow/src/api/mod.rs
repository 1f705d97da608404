//! The HTTP and WebSocket interface of market data: `docs/http.md`, what is marked *dataflow*.

mod binance;
mod ws;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ws::WebSocket;
use axum::routing::get;
pub use binance::Heartbeat;
use candles::api::Readers;
use candles::hub::Hub;

/// What the routes need.
#[derive(Debug, Clone)]
pub struct Api {
    readers: Arc<Readers>,
    hub: Hub,
    groups: Vec<String>,
    heartbeat: Heartbeat,
}

impl Api {
    /// The interface of a store and a hub, for the candles of these groups.
    pub fn new(readers: Arc<Readers>, hub: Hub, groups: Vec<String>) -> Api {
        Api { readers, hub, groups, heartbeat: Heartbeat::default() }
    }

    /// The same with other times for clients that say or take nothing.
    #[must_use]
    pub fn with_heartbeat(mut self, heartbeat: Heartbeat) -> Api {
        self.heartbeat = heartbeat;
        self
    }

    /// `/api/pairs`, `/api/candles`, `/ws`, and Binance's `/ws/...` and `/stream`, to be merged with other routes.
    pub fn router(self) -> Router {
        let charts = candles::api::charts(Arc::clone(&self.readers), self.groups.clone());
        Router::new()
            .route("/ws", get(ws::upgrade))
            .route("/ws/", get(binance::raw))
            .route("/ws/{*streams}", get(binance::raw))
            .route("/stream", get(binance::combined))
            .with_state(self)
            .merge(charts)
    }
}

/// A client has said goodbye. It is answered with the next look at the socket, and the end comes behind it; without an answer the client
/// would take its connection for broken.
async fn goodbye(mut socket: WebSocket, within: Duration) {
    let end = async { while let Some(Ok(_)) = socket.recv().await {} };
    let _ = tokio::time::timeout(within, end).await;
}
