//! Whether a service can do its work: for `/healthz`, as a metric, and in the log.
//!
//! A server that is **away** is no sickness: it is waited for, and whoever waits says so himself. This is about what no waiting mends: a
//! password that was changed, a database that was dropped, tables that a newer program wrote. At a start such a thing ends the process. A
//! service that *runs* goes on asking instead, because
//!
//! - positions hold, so nothing is lost meanwhile, and somebody may mend it where it broke (the old password, the grant): then the
//!   service goes on at once, and its group never noticed;
//! - a process that ended would be started again by whoever looks after it, again and again, with a rebalance of its group each time.
//!
//! But it must be seen. So it is logged as an error once a minute for as long as it lasts, `<service>_store_refused` is 1, and
//! `/healthz` is 503 with the reason. Who restarts on that gets what a restart alone can do: a file with the new password is read.

use std::error::Error;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::complaint::chain;
use crate::metrics::{Gauge, Registry};

/// Between two log lines about the same thing that lasts.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The health of one service. Clones share it.
#[derive(Debug, Clone)]
pub struct Health {
    service: String,
    registry: Registry,
    parts: Arc<Mutex<Vec<Part>>>,
}

/// One of the things that a service needs. Clones share it.
#[derive(Debug, Clone)]
pub struct Part {
    name: &'static str,
    refused: Gauge,
    state: Arc<Mutex<Option<Refusal>>>,
}

#[derive(Debug)]
struct Refusal {
    why: String,
    said_at: Instant,
}

impl Health {
    /// The health of the service whose metrics begin with `service`.
    pub fn new(registry: &Registry, service: &str) -> Health {
        Health { service: service.to_owned(), registry: registry.clone(), parts: Arc::default() }
    }

    /// Adds a thing that the service needs, by what a person calls it: "the store".
    pub fn part(&self, name: &'static str) -> Part {
        let gauge = format!("{}_store_refused", self.service);
        let help = "1 while it refuses what no waiting mends: a password, a database, a table";
        let refused = self.registry.gauge(gauge, help, &[("part", name)]);
        let part = Part { name, refused, state: Arc::default() };
        lock(&self.parts).push(part.clone());
        part
    }

    /// What stands in the way, in words; `None` if nothing does.
    pub fn refusal(&self) -> Option<String> {
        let parts = lock(&self.parts);
        let refusals = parts.iter().filter_map(|part| {
            lock(&part.state).as_ref().map(|refusal| format!("{}: {}", part.name, refusal.why))
        });
        let all: Vec<String> = refusals.collect();
        (!all.is_empty()).then(|| all.join("\n"))
    }
}

impl Part {
    /// It did what it was asked.
    pub fn works(&self) {
        if lock(&self.state).take().is_some() {
            self.refused.set(0);
            tracing::info!("{} works again", self.name);
        }
    }

    /// It refused, and will until somebody mends something.
    pub fn refused(&self, error: &dyn Error) {
        let why = chain(error);
        let mut state = lock(&self.state);
        let now = Instant::now();
        let said = state.as_ref().filter(|known| known.why == why && now < known.said_at + SAY_EVERY);
        let said_at = said.map(|known| known.said_at);
        if said_at.is_none() {
            tracing::error!(
                "{} refuses, and will until somebody mends that; it is asked again and again, and nothing is lost: {why}",
                self.name
            );
        }
        *state = Some(Refusal { why, said_at: said_at.unwrap_or(now) });
        self.refused.set(1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_seen_until_the_part_works_and_other_parts_do_not_hide_it() {
        let registry = Registry::default();
        let health = Health::new(&registry, "x");
        let (store, table) = (health.part("the store"), health.part("the table"));
        assert_eq!(health.refusal(), None);
        assert!(registry.render().contains("x_store_refused{part=\"the store\"} 0\n"));
        store.refused(&std::io::Error::other("wrong password"));
        table.works();
        assert_eq!(health.refusal().as_deref(), Some("the store: wrong password"));
        assert!(registry.render().contains("x_store_refused{part=\"the store\"} 1\n"));
        store.works();
        assert_eq!(health.refusal(), None);
        assert!(registry.render().contains("x_store_refused{part=\"the store\"} 0\n"));
    }
}
