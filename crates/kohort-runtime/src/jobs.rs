//! What a member asks its sink, each in a task of its own: a store that hangs must not keep the member from hearing that it is to stop,
//! or that its partitions are lost or wanted by another.
//!
//! One job has the sink at a time. A job that is cancelled ends at once and brings the sink back; whether the store did what it was
//! asked is not known then.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use kohort_client::{ConsumerHandle, OffsetAndMetadata, TopicPartition};
use kohort_service::complaint::chain;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;

use crate::letters::{Letter, Letters};
use crate::member::told;
use crate::worker::{Claim, FlushBatch, Flushed, Progress, Sink};

/// Before the second try; doubled before each further one.
pub(crate) const BACKOFF: Duration = Duration::from_millis(100);
/// It grows no longer than this.
const BACKOFF_MAX: Duration = Duration::from_secs(10);

/// What writes for a member.
pub(crate) struct Writers<S> {
    pub(crate) sink: S,
    pub(crate) letters: Letters,
}

/// What is to be done.
pub(crate) enum Order<D> {
    /// Write dead letters, then a batch: trying for ever.
    Flush { batch: Arc<FlushBatch<D>>, dead: Vec<Letter>, stopping: watch::Receiver<bool>, group: String },
    /// Claim what was assigned, and read what the group has committed of it.
    Claim { partitions: Vec<TopicPartition>, handle: ConsumerHandle },
    /// Claim again what is still ours, if the group says that it is.
    ClaimAgain {
        known: Vec<(TopicPartition, OffsetAndMetadata)>,
        partitions: Vec<TopicPartition>,
        handle: ConsumerHandle,
    },
    /// Lower the positions of partitions whose log begins anew below them.
    GoBack { steps: Vec<Progress> },
}

/// What became of it.
pub(crate) enum Ended {
    Flushed(Outcome),
    Claimed(Result<Found, String>),
    ClaimedAgain(Result<Vec<Claim>, String>),
    WentBack(Result<Flushed, String>),
    Cancelled,
}

/// What a claim found.
pub(crate) struct Found {
    pub(crate) claims: Vec<Claim>,
    pub(crate) committed: BTreeMap<TopicPartition, OffsetAndMetadata>,
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Done,
    Fenced,
    /// The group stops, and the dead letters or the store cannot be reached.
    GivenUp,
}

/// A job under way. Dropped, it ends, and the sink with it.
pub(crate) struct Job<S> {
    task: JoinSet<(Writers<S>, Ended)>,
    cancel: Option<oneshot::Sender<()>>,
}

impl<S: Sink> Job<S> {
    pub(crate) fn start(mut writers: Writers<S>, order: Order<S::Delta>) -> Self {
        let (cancel, cancelled) = oneshot::channel::<()>();
        let mut task = JoinSet::new();
        task.spawn(async move {
            let ended = tokio::select! {
                biased;
                ended = carry_out(&mut writers, order) => ended,
                Ok(()) = cancelled => Ended::Cancelled,
            };
            (writers, ended)
        });
        Self { task, cancel: Some(cancel) }
    }

    /// Ends it soon; what it came to meanwhile is not to be believed.
    pub(crate) fn cancel(&mut self) {
        if let Some(cancel) = self.cancel.take() {
            let _ = cancel.send(());
        }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_none()
    }

    /// Cancel safe.
    pub(crate) async fn ended(&mut self) -> Result<(Writers<S>, Ended), String> {
        match self.task.join_next().await {
            Some(ended) => ended.map_err(|e| format!("the task of a store ended: {e}")),
            None => std::future::pending().await,
        }
    }
}

async fn carry_out<S: Sink>(writers: &mut Writers<S>, order: Order<S::Delta>) -> Ended {
    match order {
        Order::Flush { batch, dead, stopping, group } => {
            Ended::Flushed(flush(writers, batch, dead, stopping, &group).await)
        }
        Order::Claim { partitions, handle } => Ended::Claimed(claim(writers, &partitions, &handle).await),
        Order::ClaimAgain { known, partitions, handle } => {
            Ended::ClaimedAgain(claim_again(writers, known, &partitions, &handle).await)
        }
        Order::GoBack { steps } => Ended::WentBack(writers.sink.go_back(steps).await.map_err(|e| chain(&e))),
    }
}

/// Dead letters first, then the store. A group that stops does not wait out a long pause: the store may be back.
async fn flush<S: Sink>(
    writers: &mut Writers<S>,
    batch: Arc<FlushBatch<S::Delta>>,
    dead: Vec<Letter>,
    mut stopping: watch::Receiver<bool>,
    group: &str,
) -> Outcome {
    if !writers.letters.send(&dead, &mut stopping).await {
        return Outcome::GivenUp;
    }
    let (mut backoff, mut away) = (BACKOFF, false);
    loop {
        match writers.sink.flush(Arc::clone(&batch)).await {
            Ok(Flushed::Done) => {
                if away {
                    tracing::info!("group `{group}`: the store is back");
                }
                return Outcome::Done;
            }
            Ok(Flushed::Fenced) => return Outcome::Fenced,
            Err(e) => {
                if !std::mem::replace(&mut away, true) {
                    tracing::error!(
                        "group `{group}`: the store cannot be written; positions hold and nothing is lost: {}",
                        chain(&e)
                    );
                }
            }
        }
        if *stopping.borrow() {
            // Until the member's patience ends.
            tokio::time::sleep(BACKOFF).await;
            continue;
        }
        tokio::select! {
            () = tokio::time::sleep(jittered(backoff)) => backoff = longer(backoff),
            () = told(&mut stopping) => {}
        }
    }
}

async fn claim<S: Sink>(
    writers: &mut Writers<S>,
    partitions: &[TopicPartition],
    handle: &ConsumerHandle,
) -> Result<Found, String> {
    let claims = writers.sink.claim(partitions).await.map_err(|e| chain(&e))?;
    let committed = handle.committed(partitions).await.map_err(|e| chain(&e))?;
    let committed = committed.into_iter().filter_map(|(tp, o)| Some((tp, o?))).collect();
    Ok(Found { claims, committed })
}

/// A commit in our generation is the coordinator's word that the partitions are ours. What it says is no news: the store has it
/// already, or reading began there. A zombie is refused here, and never claims what another has claimed.
async fn claim_again<S: Sink>(
    writers: &mut Writers<S>,
    known: Vec<(TopicPartition, OffsetAndMetadata)>,
    partitions: &[TopicPartition],
    handle: &ConsumerHandle,
) -> Result<Vec<Claim>, String> {
    let confirmed = handle.commit(known).await;
    confirmed.map_err(|e| format!("the group does not confirm this member's partitions: {e}"))?;
    writers.sink.claim(partitions).await.map_err(|e| chain(&e))
}

pub(crate) fn longer(backoff: Duration) -> Duration {
    (backoff * 2).min(BACKOFF_MAX)
}

/// Between half of it and all of it: members that a store sent away together come back one by one.
pub(crate) fn jittered(backoff: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    let thousandths = u32::try_from(random % 500).unwrap_or(0);
    backoff / 2 + backoff * thousandths / 1000
}
