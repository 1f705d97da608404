//! Ctrl-C and SIGTERM as a future. The second Ctrl-C ends the process at once, so that nobody is ever held.

use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::watch;

/// The exit code of a process that an interrupt ended, as shells count it: 128 + SIGINT.
const INTERRUPTED: i32 = 130;

/// Whether the process should end. Clones share the answer.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: Arc<watch::Sender<Option<Instant>>>,
}

impl Default for Shutdown {
    fn default() -> Shutdown {
        Shutdown::new()
    }
}

impl Shutdown {
    /// A shutdown that only [`Shutdown::request`] asks for: for tests and for parts of a process.
    pub fn new() -> Shutdown {
        Shutdown { requested: Arc::new(watch::Sender::new(None)) }
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

    /// Asks for the end. Who asks again changes nothing.
    pub fn request(&self) {
        self.requested.send_if_modified(|requested| {
            let first = requested.is_none();
            requested.get_or_insert_with(Instant::now);
            first
        });
    }

    /// What is left of `grace`, which began when the end was asked for; all of it before that.
    pub fn left_of(&self, grace: Duration) -> Duration {
        let asked = *self.requested.borrow();
        asked.map_or(grace, |asked| grace.saturating_sub(asked.elapsed()))
    }

    /// Whether the end was asked for.
    pub fn is_requested(&self) -> bool {
        self.requested.borrow().is_some()
    }

    /// Completes once the end was asked for; the future owns what it needs and may be spawned.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static {
        let mut seen = self.requested.subscribe();
        // The sender lives on in the future, so that `wait_for` fails only if we drop it ourselves.
        let kept = Arc::clone(&self.requested);
        async move {
            let _ = seen.wait_for(Option::is_some).await;
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

    #[test]
    fn a_grace_begins_when_the_end_is_asked_for_and_not_again() {
        let (shutdown, grace) = (Shutdown::new(), Duration::from_secs(60));
        assert_eq!(shutdown.left_of(grace), grace);
        shutdown.request();
        let left = shutdown.left_of(grace);
        shutdown.request();
        assert!(left <= grace && shutdown.left_of(grace) <= left);
        assert_eq!(shutdown.left_of(Duration::ZERO), Duration::ZERO);
    }
}
