//! The groups of one service: they fail as one and stop as one.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::Poll;

use tokio::task::JoinSet;

use crate::group::Running;
use crate::stats::Stats;

/// Running groups, each by the name of its block. Dropped, they end as a crash would.
#[derive(Debug, Default)]
pub struct Groups {
    running: Vec<(String, Running)>,
}

impl Groups {
    /// Adds the group of block `name`.
    pub fn add(&mut self, name: impl Into<String>, running: Running) {
        self.running.push((name.into(), running));
    }

    /// The numbers of each block's members, by the block's name.
    #[must_use]
    pub fn stats(&self) -> Vec<(String, Arc<Stats>)> {
        self.running.iter().map(|(name, running)| (name.clone(), running.stats())).collect()
    }

    /// Completes when a member can do nothing more, with the reason in words.
    pub async fn failed(&mut self) -> String {
        let mut ended: Vec<(&str, Pin<Box<_>>)> =
            self.running.iter_mut().map(|(name, running)| (&**name, Box::pin(running.failed()))).collect();
        poll_fn(|context| {
            for (name, failed) in &mut ended {
                if let Poll::Ready(why) = failed.as_mut().poll(context) {
                    return Poll::Ready(format!("`{name}` cannot go on: {why}"));
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Stops all of them side by side: `true` if nothing is left to be read again.
    pub async fn stop(self) -> bool {
        let mut stops = JoinSet::new();
        for (_, running) in self.running {
            stops.spawn(running.stop());
        }
        let mut drained = true;
        while let Some(stopped) = stops.join_next().await {
            drained &= stopped.is_ok_and(|stopped| stopped.drained);
        }
        drained
    }
}
