//! Ctrl-C and SIGTERM as a future. The second Ctrl-C ends the process at once, so that nobody is ever held.

use std::future::Future;
use std::sync::Arc;

use tokio::sync::watch;

/// The exit code of a process that an interrupt ended, as shells count it: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Whether the process should end. Clones share the answer.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: Arc<watch::Sender<bool>>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown::new()
    }
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::request`] asks for: for tests and for parts of a process.
    pub fn new() -> Shutdown {
        Shutdown { requested: Arc::new(watch::Sender::new(false)) }
    }

    /// A shutdown that Ctrl-C and SIGTERM ask for. Must be called inside a tokio runtime.
    ///
    /// # Errors
    /// When the operating system refuses the signal handlers.
    pub fn on_signals() -> std::io::Result<Shutdown> {
        let shutdown = Shutdown::new();
        let asked = shutdown.clone();
        let mut signals = Signals::listen()?;
        tokio::spawn(async move {
            signals.next().await;
            tracing::info!("stopping; once more to stop at once");
            asked.request();
            signals.next().await;
            std::process::exit(INTERRUPTED);
        });
        Ok(shutdown)
    }

    /// Asks for the end.
    pub fn request(&self) {
        self.requested.send_replace(true);
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        *self.requested.borrow()
    }

    /// Completes once the end was asked for; the future owns what it needs and may be spawned.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut seen = self.requested.subscribe();
        // The sender lives on in the future, so that `wait_for` fails only if we drop it ourselves.
        let kept = Arc::clone(&self.requested);
        async move {
            let _ = seen.wait_for(|requested| *requested).await;
            drop(kept);
        }
    }
}

#[cfg(unix)]
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
}

#[cfg(unix)]
impl Signals {
    fn listen() -> std::io::Result<Signals> {
        use tokio::signal::unix::{SignalKind, signal};
        Ok(Signals {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn next(&mut self) {
        tokio::select! { _ = self.interrupt.recv() => {}, _ = self.terminate.recv() => {} }
    }
}

#[cfg(not(unix))]
struct Signals;

#[cfg(not(unix))]
impl Signals {
    fn listen() -> std::io::Result<Signals> {
        Ok(Signals)
    }

    async fn next(&mut self) {
        let _ = tokio::signal::ctrl_c().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn everybody_who_waits_hears_of_the_end() {
        let shutdown = Shutdown::new();
        let (early, clone) = (tokio::spawn(shutdown.requested()), shutdown.clone());
        clone.request();
        early.await.unwrap();
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }
}
