//! One HTTP server: bound first, so that a busy port is said before anything else begins; ended within a grace time.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum::serve::ListenerExt;
use kohort_service::{Complaint, Shutdown};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::broker::listen_complaint;
use crate::output;

/// Open WebSockets are given this long to end.
const STOP_GRACE: Duration = Duration::from_millis(300);

/// Takes the address of `--http`.
///
/// # Errors
/// An address on which nobody can listen.
pub(crate) async fn bind(address: &str) -> Result<TcpListener, Complaint> {
    TcpListener::bind(address).await.map_err(|source| listen_complaint(address, &source, "--http"))
}

/// A data folder that cannot be used.
pub(crate) fn folder_complaint(path: &Path, source: &std::io::Error) -> Complaint {
    use std::io::ErrorKind::{QuotaExceeded, StorageFull};
    let mend = match source.kind() {
        StorageFull | QuotaExceeded => "free some space on its disk",
        _ => "make it writable",
    };
    Complaint::new(format!("the data folder cannot be used: {source}"))
        .at(path.display().to_string())
        .hint(format!("{mend}, or name another with `--data DIR`"))
}

/// A server that serves.
#[derive(Debug)]
pub(crate) struct Server {
    serving: JoinHandle<std::io::Result<()>>,
}

impl Server {
    /// Serves `router` from here on, until `shutdown`, and says so on stdout.
    ///
    /// # Errors
    /// A listener without an address.
    pub(crate) fn start(
        listener: TcpListener,
        router: Router,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Server> {
        let address: SocketAddr = listener.local_addr().context("ask the listener's address")?;
        // A push is small and wants to leave at once: held back until the one before is acknowledged (Nagle), it would be 40 ms late.
        let listener = listener.tap_io(|socket| {
            if let Err(error) = socket.set_nodelay(true) {
                tracing::debug!("a connection without TCP_NODELAY: {error}");
            }
        });
        let serving = axum::serve(listener, router).with_graceful_shutdown(shutdown.requested());
        let serving = tokio::spawn(async move { serving.await });
        output::line(format!("http listening on http://{address}"));
        Ok(Server { serving })
    }

    /// Waits for answers under way, and cuts what is still open after a grace time. The shutdown was requested before.
    pub(crate) async fn stop(mut self) {
        if tokio::time::timeout(STOP_GRACE, &mut self.serving).await.is_err() {
            self.serving.abort();
            let _ = self.serving.await;
        }
    }
}
