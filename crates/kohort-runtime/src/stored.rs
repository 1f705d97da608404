//! What a member with workers and a sink does: batches to the lanes, what they gather to the store with the positions, claims before and
//! after.
//!
//! Who owns what: the sink is either here or in the one [`Job`] that is under way. While a flush is under way the lanes go on with the
//! next records; their deltas wait in the lanes for the next flush. Nothing here waits for a store.

use std::sync::Arc;
use std::time::Duration;

use kohort_client::{Client, ConsumerHandle, FetchedBatch, OffsetAndMetadata, SeekTo, Start, TopicPartition};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::group::{GroupConfig, Seat};
use crate::jobs::{BACKOFF, Ended, Found, Job, Order, Outcome, Writers, jittered, longer};
use crate::lane::Lanes;
use crate::lanes::{LaneGone, Pool};
use crate::ledger::{Came, Ledger};
use crate::letters::Letters;
use crate::member::{Drained, Work, at};
use crate::stats::Stats;
use crate::worker::{Claim, FlushBatch, Flushed, Progress, Sink, Worker};

/// What the job that is under way is about.
enum About {
    Flush { progress: Vec<Progress>, bytes: usize },
    Claim,
    ClaimAgain,
    GoBack { steps: Vec<Progress> },
}

/// The records that a member has in hand, and their way into the store.
pub(crate) struct Stored<W: Worker, S: Sink<Delta = W::Delta>> {
    index: usize,
    config: Arc<GroupConfig>,
    handle: ConsumerHandle,
    pool: Pool<W>,
    /// `None` while a job has them.
    writers: Option<Writers<S>>,
    job: Option<(About, Job<S>)>,
    ledger: Ledger,
    /// Assigned and not yet claimed.
    unclaimed: Vec<TopicPartition>,
    /// The consumer's permission to start them: each with those of its partitions that are not claimed yet.
    starts: Vec<(Vec<TopicPartition>, Start)>,
    claim_at: Instant,
    claim_backoff: Duration,
    /// Why what was put off did not succeed, as it was said: said again when it is something else.
    put_off: Option<String>,
    /// What the lanes have cannot be written any more: it is dropped and read again.
    spoilt: bool,
    /// Only what is in hand is finished.
    draining: bool,
    /// Bytes of the batches that the lanes have, and of those that a flush has.
    in_hand: usize,
    in_flush: usize,
    flush_at: Option<Instant>,
    stats: Arc<Stats>,
    stopping: watch::Receiver<bool>,
}

/// What there is to do.
pub(crate) enum Step<S> {
    Ended(Writers<S>, Ended),
    /// A time that was waited for has come.
    Wake,
}

impl<W: Worker, S: Sink<Delta = W::Delta>> Stored<W, S> {
    pub(crate) fn new(seat: &Seat, client: &Client, worker: impl FnMut(usize) -> W, sink: S) -> Self {
        let Seat { index, config, handle, stats, stopping } = seat;
        let pool = Pool::new(Lanes::new(config.order, config.processors), stats, worker);
        let letters = Letters::new(client.clone(), config.dead_letters(), config.group.clone());
        Self {
            index: *index,
            handle: handle.clone(),
            pool,
            ledger: Ledger::new(sink.may_go_back()),
            writers: Some(Writers { sink, letters }),
            job: None,
            unclaimed: Vec::new(),
            starts: Vec::new(),
            claim_at: Instant::now(),
            claim_backoff: BACKOFF,
            put_off: None,
            spoilt: false,
            draining: false,
            in_hand: 0,
            in_flush: 0,
            flush_at: None,
            stats: Arc::clone(stats),
            stopping: stopping.clone(),
            config: Arc::clone(config),
        }
    }

    /// When there is something to do for which the sink is needed, if it is here.
    fn wake_at(&self) -> Option<Instant> {
        if self.job.is_some() || self.draining {
            return None;
        }
        if self.spoilt || self.ledger.goes_back() {
            return Some(self.claim_at);
        }
        let claim_at = (!self.unclaimed.is_empty()).then_some(self.claim_at);
        claim_at.into_iter().chain(self.flush_at).min()
    }

    async fn wake(&mut self) -> Result<(), LaneGone> {
        let now = Instant::now();
        if self.spoilt {
            return self.begin_again().await;
        }
        if self.ledger.goes_back() {
            return self.go_back().await;
        }
        if !self.unclaimed.is_empty() && self.claim_at <= now {
            let order = Order::Claim { partitions: self.unclaimed.clone(), handle: self.handle.clone() };
            self.start(About::Claim, order);
        } else if self.flush_at.is_some_and(|at| at <= now) {
            self.begin_flush().await?;
        }
        Ok(())
    }

    fn start(&mut self, about: About, order: Order<S::Delta>) {
        if let Some(writers) = self.writers.take() {
            self.job = Some((about, Job::start(writers, order)));
        }
    }

    /// Starts a flush of everything that the lanes have, if there is something. The sink is here.
    async fn begin_flush(&mut self) -> Result<(), LaneGone> {
        self.flush_at = None;
        let taken = self.pool.take().await?;
        let progress = self.ledger.progress();
        let bytes = std::mem::take(&mut self.in_hand);
        if progress.is_empty() {
            return Ok(());
        }
        let mut dead = Vec::new();
        let deltas = taken
            .into_iter()
            .map(|t| {
                dead.extend(t.letters);
                t.delta
            })
            .collect();
        Stats::count(&self.stats.dead_letters, dead.len() as u64);
        self.in_flush = bytes;
        let order = Order::Flush {
            batch: Arc::new(FlushBatch { deltas, progress: progress.clone() }),
            dead,
            stopping: self.stopping.clone(),
            group: self.config.group.clone(),
        };
        self.start(About::Flush { progress, bytes }, order);
        Ok(())
    }

    /// Drops what the lanes have, and claims and reads again what is still ours. The sink is here.
    async fn begin_again(&mut self) -> Result<(), LaneGone> {
        drop(self.pool.take().await?);
        self.in_hand = 0;
        self.flush_at = None;
        if self.ledger.is_empty() {
            self.spoilt = false;
            return Ok(());
        }
        let order = Order::ClaimAgain {
            known: self.ledger.marked(self.ledger.resume(|_| None)),
            partitions: self.ledger.partitions(),
            handle: self.handle.clone(),
        };
        self.start(About::ClaimAgain, order);
        Ok(())
    }

    /// Lowers the stores below which a log begins anew, once what was read before is written. The sink is here.
    async fn go_back(&mut self) -> Result<(), LaneGone> {
        if self.in_hand > 0 {
            return self.begin_flush().await;
        }
        let steps = self.ledger.steps_back();
        for step in &steps {
            tracing::warn!(
                "group `{}`: the log of {}-{} begins anew at {}, below what the store has ({}): the topic was made anew or lost its end; \
                 reading goes on there",
                self.config.group,
                step.partition.topic,
                step.partition.partition,
                step.to,
                step.from.map_or_else(|| "nothing".to_owned(), |from| from.to_string()),
            );
        }
        self.start(About::GoBack { steps: steps.clone() }, Order::GoBack { steps });
        Ok(())
    }

    /// The stores are where the log begins anew, or somebody else has claimed since.
    fn went_back(&mut self, steps: Vec<Progress>, outcome: Flushed) {
        self.succeeded();
        if outcome == Flushed::Fenced {
            Stats::count(&self.stats.fenced, 1);
            return self.spoil();
        }
        let offsets = self.ledger.went_back(steps);
        for (partition, offset) in &offsets {
            self.handle.seek(partition, SeekTo::Offset(*offset));
        }
        self.handle.commit_async(self.ledger.marked(offsets));
    }

    /// Takes note of how a job ended.
    fn ended(&mut self, writers: Writers<S>, ended: Ended) {
        self.writers = Some(writers);
        let Some((about, job)) = self.job.take() else { return };
        match (about, ended) {
            (About::Flush { progress, bytes }, ended) => {
                self.in_flush = self.in_flush.saturating_sub(bytes);
                match ended {
                    Ended::Flushed(outcome) => self.flushed(progress, outcome),
                    _ => self.spoil(),
                }
            }
            // What it was about has changed meanwhile: it is asked anew.
            (About::Claim | About::ClaimAgain, _) if job.is_cancelled() => self.claim_at = Instant::now(),
            (_, Ended::Claimed(Ok(found))) => self.claimed(found),
            (_, Ended::ClaimedAgain(Ok(claims))) => self.claimed_again(&claims),
            (About::GoBack { steps }, Ended::WentBack(Ok(outcome))) => self.went_back(steps, outcome),
            (_, Ended::Claimed(Err(why)) | Ended::ClaimedAgain(Err(why))) => {
                self.put_off("claim its partitions", &why);
            }
            (_, Ended::WentBack(Err(why))) => self.put_off("lower its stores' positions", &why),
            (_, Ended::Flushed(_) | Ended::WentBack(_) | Ended::Cancelled) => {}
        }
    }

    fn flushed(&mut self, progress: Vec<Progress>, outcome: Outcome) {
        match outcome {
            Outcome::Done => {
                Stats::count(&self.stats.flushes, 1);
                let offsets = self.ledger.flushed(progress);
                if !offsets.is_empty() {
                    // The store's position is the truth; the group's offset follows it, for lag and for tools.
                    self.handle.commit_async(self.ledger.marked(offsets));
                }
            }
            Outcome::Fenced => {
                Stats::count(&self.stats.fenced, 1);
                tracing::warn!(
                    "group `{}`: a flush was fenced, somebody else claimed a partition of member {}",
                    self.config.group,
                    self.index
                );
                self.spoil();
            }
            Outcome::GivenUp => self.spoil(),
        }
    }

    /// Starts what was claimed at the largest of the stores' positions and the group's committed offset.
    fn claimed(&mut self, found: Found) {
        self.succeeded();
        let mut ahead = Vec::new();
        for claim in found.claims {
            let partition = claim.partition.clone();
            let committed = found.committed.get(&partition);
            let began = self.ledger.begin(claim, committed);
            if let Some(began) =
                began.filter(|began| committed.is_none_or(|committed| committed.offset < *began))
            {
                ahead.push((partition.clone(), began));
            }
            for (waiting, start) in &mut self.starts {
                if let Some(began) = began.filter(|_| waiting.contains(&partition)) {
                    start.at(partition.clone(), began);
                }
            }
            self.no_more_unclaimed(|tp| *tp == partition);
        }
        if !ahead.is_empty() {
            // A crash came between the flush and its commit, or the group was moved back: else lag would say until the next record that
            // something waits.
            self.handle.commit_async(self.ledger.marked(ahead));
        }
    }

    /// Partitions that wait for no claim any more. A start that waits for none begins.
    fn no_more_unclaimed(&mut self, done: impl Fn(&TopicPartition) -> bool) {
        self.unclaimed.retain(|tp| !done(tp));
        for (waiting, _) in &mut self.starts {
            waiting.retain(|tp| !done(tp));
        }
        self.starts.retain(|(waiting, _)| !waiting.is_empty());
    }

    fn claimed_again(&mut self, claims: &[Claim]) {
        self.succeeded();
        for claim in claims {
            if let Some(from) = self.ledger.begin_again(claim) {
                self.handle.seek(&claim.partition, SeekTo::Offset(from));
            }
        }
        self.spoilt = false;
    }

    /// A claim or a step back did not succeed.
    fn put_off(&mut self, what: &str, why: &str) {
        let pause = jittered(self.claim_backoff);
        if self.put_off.as_deref() == Some(why) {
            tracing::debug!("group `{}` cannot {what}, trying again in {pause:?}", self.config.group);
        } else {
            tracing::error!("group `{}` cannot {what}, trying until it can: {why}", self.config.group);
            self.put_off = Some(why.to_owned());
        }
        self.claim_at = Instant::now() + pause;
        self.claim_backoff = longer(self.claim_backoff);
    }

    /// A claim or a step back succeeded.
    fn succeeded(&mut self) {
        self.claim_backoff = BACKOFF;
        if self.put_off.take().is_some() {
            tracing::info!("group `{}` has its partitions, and goes on", self.config.group);
        }
    }

    /// What the lanes have may not be written any more.
    fn spoil(&mut self) {
        self.spoilt = true;
        self.claim_at = Instant::now();
        self.claim_backoff = BACKOFF;
    }

    /// A claim under way is for partitions that were ours when it began.
    fn cancel_claim(&mut self) {
        if let Some((About::Claim | About::ClaimAgain, job)) = &mut self.job {
            job.cancel();
        }
    }

    fn forget(&mut self, partitions: &[TopicPartition]) {
        self.ledger.forget(partitions);
        self.no_more_unclaimed(|tp| partitions.contains(tp));
    }
}

impl<W: Worker, S: Sink<Delta = W::Delta>> Work for Stored<W, S> {
    type Step = Step<S>;

    fn reads(&self) -> bool {
        self.in_hand + self.in_flush < self.config.unflushed_bytes_max
            && !self.spoilt
            && !self.ledger.goes_back()
    }

    async fn next(&mut self) -> Result<Step<S>, String> {
        let wake_at = self.wake_at();
        match &mut self.job {
            Some((_, job)) => job.ended().await.map(|(writers, ended)| Step::Ended(writers, ended)),
            None => {
                at(wake_at).await;
                Ok(Step::Wake)
            }
        }
    }

    async fn step(&mut self, step: Step<S>) -> Result<(), String> {
        match step {
            Step::Ended(writers, ended) => {
                self.ended(writers, ended);
                Ok(())
            }
            Step::Wake => self.wake().await.map_err(|e| e.to_string()),
        }
    }

    async fn batch(&mut self, batch: FetchedBatch) -> Result<(), String> {
        let partition = batch.topic_partition();
        if self.spoilt {
            // Read again after the rewind, which goes back to where reading began at the latest.
            return Ok(());
        }
        match self.ledger.came(&partition, batch.first_offset()) {
            Came::Ours => {}
            Came::Strange => return Ok(()),
            Came::Below => {
                self.claim_at = Instant::now();
                return Ok(());
            }
        }
        self.ledger.handed_out(&partition, batch.next_offset());
        self.in_hand += batch.size();
        Stats::count(&self.stats.bytes, batch.size() as u64);
        let flush_at = self.flush_at.get_or_insert_with(|| Instant::now() + self.config.flush_interval);
        if self.in_hand >= self.config.unflushed_bytes_max / 2 {
            // Ahead of the interval, so that reading goes on while this half is written.
            *flush_at = Instant::now();
        }
        self.pool.batch(batch).await.map_err(|e| e.to_string())
    }

    fn assigned(&mut self, added: Vec<TopicPartition>, mut start: Start) {
        if added.is_empty() {
            return;
        }
        // A store that is away must not hold the group up.
        start.detach();
        self.unclaimed.extend(added.iter().cloned());
        self.starts.push((added, start));
        self.claim_at = Instant::now();
    }

    fn lost(&mut self, partitions: &[TopicPartition]) {
        self.cancel_claim();
        self.forget(partitions);
        // The lanes' deltas hold parts of what is lost: none of them may be written.
        self.spoil();
    }

    async fn drain(&mut self) -> Result<Drained, String> {
        self.draining = true;
        // Nothing that is in hand waits for a claim.
        self.cancel_claim();
        match &self.job {
            Some((About::Flush { .. }, _)) => return Ok(Drained::NotYet),
            _ if self.spoilt => return Ok(Drained::Never),
            Some(_) => return Ok(Drained::NotYet),
            None => self.begin_flush().await.map_err(|e| e.to_string())?,
        }
        Ok(if self.job.is_some() { Drained::NotYet } else { Drained::All })
    }

    /// Where nothing came yet, the place at which the consumer waits: a group that began at the end must go on there, or what is written
    /// until its next owner comes would be before *its* end.
    fn committable(&mut self, drained: bool) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        // What was flushed is committed already.
        if drained {
            self.ledger.marked(self.ledger.resume(|tp| self.handle.position(tp)))
        } else {
            Vec::new()
        }
    }

    fn let_go(&mut self, partitions: &[TopicPartition], drained: bool) {
        self.draining = false;
        if !drained && !self.ledger.is_empty() {
            tracing::error!(
                "group `{}`: what was read of the partitions that are revoked could not be flushed in time; their next owner reads it again",
                self.config.group
            );
            // What the store makes of it, nobody waits for any more: the next claim finds out.
            if let Some((_, job)) = &mut self.job {
                job.cancel();
            }
            self.spoil();
        }
        self.forget(partitions);
    }
}
