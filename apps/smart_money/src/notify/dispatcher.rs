//! Sends what is in the outbox: one task for each channel, so that one that is down holds up nobody.
//!
//! A task leases the oldest rows of its channel, sends one after another as the channel's limits allow, and marks each before the next is
//! sent. Several dispatchers, in one process or in several, may serve one outbox: a channel's rows are leased by one at a time, and a row
//! whose lease may end before its request could is not sent under it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use kohort_service::complaint::chain;
use kohort_service::metrics::{Counter, Gauge, Registry};
use market_store::StoreError;
use market_store::wallets::{ChannelSummary, Event, LeaseRequest, Leased, Outbox, OutboxRow};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::backoff::backoff;
use super::channel::{Message, Verdict};
use super::config::Channel;
use super::http::{Http, TlsError};
use super::rate::Rate;

/// How long things may take.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// A request and its answer, the connection included.
    pub request: Duration,
    /// How long a lease holds, longer than a request: a dispatcher that died is replaced after that.
    pub lease: Duration,
}

impl Default for Timing {
    fn default() -> Timing {
        Timing { request: Duration::from_secs(10), lease: Duration::from_secs(15) }
    }
}

/// Rows that are leased at a time.
const LEASED_MAX: usize = 16;
/// Between two looks at the outbox where nobody wakes us: rows of other processes, and leases that end.
const LOOK_INTERVAL: Duration = Duration::from_secs(1);
/// Between two tries to reach an outbox that is away.
const OUTBOX_RETRY: Duration = Duration::from_secs(1);
/// How long sent rows are kept for people to see.
const SENT_KEPT: Duration = Duration::from_secs(7 * 24 * 3600);
const COUNT_INTERVAL: Duration = Duration::from_secs(15);
const FORGET_EVERY: u32 = 40;
/// What a stop waits for a request that is under way. One that is cut off is sent again at the next start.
const STOP_GRACE: Duration = Duration::from_secs(2);

pub(super) type SharedOutbox = Arc<Mutex<Box<dyn Outbox>>>;

/// The channels' tasks, running. Dropped, they end at once, as in a crash.
#[derive(Debug)]
pub struct Notifier {
    wake: Wake,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Says that the outbox has new rows.
#[derive(Debug, Clone)]
pub struct Wake(Arc<watch::Sender<()>>);

impl Wake {
    /// Lets all channels look at once.
    pub fn wake(&self) {
        self.0.send_replace(());
    }
}

/// What a channel counts.
#[derive(Debug, Clone)]
struct Counts {
    sent: Counter,
    retries: Counter,
    refused: Counter,
}

impl Counts {
    fn new(registry: &Registry, channel: &str) -> Counts {
        let counter = |name, help| registry.counter(name, help, &[("channel", channel)]);
        Counts {
            sent: counter("smart_money_notifications_sent_total", "Notifications that the channel took."),
            retries: counter(
                "smart_money_notification_retries_total",
                "Tries that failed and are made again.",
            ),
            refused: counter(
                "smart_money_notifications_refused_total",
                "Notifications that the channel refused for good.",
            ),
        }
    }
}

impl Notifier {
    /// Starts a task for each channel. `outbox` is this notifier's own connection. Needs a tokio runtime.
    ///
    /// # Errors
    /// Where a channel needs TLS and the system trusts nobody.
    pub fn start(
        channels: &[Channel],
        outbox: Box<dyn Outbox>,
        registry: &Registry,
    ) -> Result<Notifier, TlsError> {
        Notifier::start_with(Timing::default(), channels, outbox, registry)
    }

    /// As [`Notifier::start`], with other times.
    ///
    /// # Errors
    /// As [`Notifier::start`].
    pub fn start_with(
        timing: Timing,
        channels: &[Channel],
        outbox: Box<dyn Outbox>,
        registry: &Registry,
    ) -> Result<Notifier, TlsError> {
        let http = Http::new(timing.request, channels.iter().map(|channel| &channel.endpoint))?;
        let wake = Wake(Arc::new(watch::Sender::new(())));
        let stop = watch::Sender::new(false);
        let outbox: SharedOutbox = Arc::new(Mutex::new(outbox));
        let process = uuid::Uuid::new_v4();
        let mut tasks = JoinSet::new();
        for channel in channels {
            let seed = process.as_u64_pair().0;
            let task = Dispatcher {
                rate: Rate::new(&channel.limits),
                counts: Counts::new(registry, &channel.name),
                owner: format!("{process}/{}", channel.name),
                channel: channel.clone(),
                http: http.clone(),
                outbox: OutboxTask { outbox: Arc::clone(&outbox), away: false },
                wake: wake.0.subscribe(),
                stop: stop.subscribe(),
                timing,
                since: Instant::now(),
                seed,
                down: false,
            };
            tasks.spawn(task.run());
        }
        if !channels.is_empty() {
            tasks.spawn(keep_house(outbox, registry.clone(), stop.subscribe()));
        }
        Ok(Notifier { wake, stop, tasks })
    }

    /// For the one who writes the outbox.
    pub fn wake(&self) -> Wake {
        self.wake.clone()
    }

    /// Ends all tasks: what is being sent is finished, for two seconds at most; nothing is lost.
    pub async fn stop(mut self) {
        self.stop.send_replace(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(STOP_GRACE, all).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

/// One channel.
struct Dispatcher {
    channel: Channel,
    http: Http,
    outbox: OutboxTask,
    rate: Rate,
    counts: Counts,
    owner: String,
    timing: Timing,
    wake: watch::Receiver<()>,
    stop: watch::Receiver<bool>,
    /// The zero of the clock that `rate` goes by.
    since: Instant,
    seed: u64,
    /// Whether the last try failed: said once.
    down: bool,
}

impl Dispatcher {
    async fn run(mut self) {
        while !self.is_stopping() {
            self.wake.mark_unchanged();
            let leased_at = Instant::now();
            let Some(leased) = self.lease().await else { break };
            if leased.rows.is_empty() {
                self.idle(leased.wait_until_ms).await;
            } else if !self.send_all(leased.rows, leased_at + self.timing.lease).await {
                break;
            }
        }
        let owner = self.owner.clone();
        // Somebody else may go on at once. If it cannot be said now, the lease ends by itself.
        let _ = self.outbox.call(move |outbox| outbox.release(&owner)).await;
    }

    fn is_stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// The oldest rows; `None` at the end.
    async fn lease(&mut self) -> Option<Leased> {
        let (channel, owner) = (self.channel.name.clone(), self.owner.clone());
        let lease = self.timing.lease;
        self.outbox
            .insist(&mut self.stop, move |outbox| {
                let now_ms = now_ms();
                let until_ms = now_ms + millis(lease);
                let request =
                    LeaseRequest { channel: &channel, owner: &owner, now_ms, until_ms, limit: LEASED_MAX };
                outbox.lease(&request)
            })
            .await
    }

    async fn idle(&mut self, until_ms: Option<i64>) {
        let left = until_ms.map(|until| u64::try_from(until - now_ms()).unwrap_or(0));
        let wait = left.map_or(LOOK_INTERVAL, |left| Duration::from_millis(left.max(1)).min(LOOK_INTERVAL));
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            _ = self.wake.changed() => {}
            _ = self.stop.wait_for(|stop| *stop) => {}
        }
    }

    /// Sends rows while the lease holds; `false` at the end.
    async fn send_all(&mut self, rows: Vec<OutboxRow>, lease_ends: Instant) -> bool {
        for row in rows {
            let wait = self.rate.wait(self.since.elapsed());
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = self.stop.wait_for(|stop| *stop) => return false,
            }
            // By the clock that goes on while the process is frozen: what another may have sent by now is not ours to send.
            if Instant::now() + self.timing.request > lease_ends {
                return true;
            }
            self.rate.sent(self.since.elapsed());
            let verdict = self.send(&row).await;
            let (id, owner) = (row.id, self.owner.clone());
            let marked = match verdict {
                Verdict::Sent => {
                    self.counts.sent.add(1);
                    self.is_up();
                    self.outbox.insist_through_stop(move |outbox| outbox.mark_sent(id, now_ms())).await
                }
                Verdict::Refused { why } => {
                    self.counts.refused.add(1);
                    let why = self.channel.scrub(&why);
                    tracing::error!(
                        channel = self.channel.name,
                        key = row.key,
                        "a notification was refused for good: {why}"
                    );
                    self.outbox
                        .insist(&mut self.stop, move |outbox| outbox.mark_failed(id, &owner, now_ms(), &why))
                        .await
                }
                Verdict::Again { after, why } => {
                    self.counts.retries.add(1);
                    let wait = backoff(row.attempts, after, self.seed);
                    let why = self.channel.scrub(&why);
                    self.is_down(&why);
                    let next_at = now_ms() + millis(wait);
                    let marked = self
                        .outbox
                        .insist(&mut self.stop, move |outbox| {
                            outbox.mark_retry(id, &owner, next_at, &why)?;
                            outbox.release(&owner)
                        })
                        .await;
                    // Those behind it wait for their turn.
                    return marked.is_some();
                }
            };
            if marked.is_none() {
                return false;
            }
        }
        true
    }

    async fn send(&self, row: &OutboxRow) -> Verdict {
        let event = match Event::from_json(&row.event) {
            Ok(event) => event,
            Err(error) => return Verdict::Refused { why: format!("the outbox holds no event: {error}") },
        };
        let channel = &self.channel;
        let message =
            Message { channel: &channel.name, key: &row.key, created_at: row.created_at, event: &event };
        let request = channel.form.request(message, now_ms() / 1000);
        match self.http.post(&channel.endpoint, request).await {
            Ok(answer) => channel.form.judge(&answer),
            Err(error) => Verdict::Again { after: None, why: chain(&error) },
        }
    }

    fn is_down(&mut self, why: &str) {
        if !std::mem::replace(&mut self.down, true) {
            tracing::warn!(channel = self.channel.name, "notifications wait, and are tried again: {why}");
        }
    }

    fn is_up(&mut self) {
        if std::mem::replace(&mut self.down, false) {
            tracing::info!(channel = self.channel.name, "notifications are sent again");
        }
    }
}

/// The outbox on a thread that may block.
struct OutboxTask {
    outbox: SharedOutbox,
    /// Whether the last call failed: said once.
    away: bool,
}

impl OutboxTask {
    async fn call<T: Send + 'static>(
        &mut self,
        work: impl FnOnce(&mut dyn Outbox) -> Result<T, StoreError> + Send + 'static,
    ) -> Option<T> {
        let outbox = Arc::clone(&self.outbox);
        let done = tokio::task::spawn_blocking(move || {
            work(&mut **outbox.lock().unwrap_or_else(PoisonError::into_inner))
        });
        match done.await {
            Ok(Ok(value)) => {
                if std::mem::replace(&mut self.away, false) {
                    tracing::info!("the outbox is back");
                }
                Some(value)
            }
            Ok(Err(error)) => {
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!("the outbox does not answer, and is asked again: {}", chain(&error));
                }
                None
            }
            // The runtime ends, or we panicked: our own mistake, said by the panic itself.
            Err(_) => None,
        }
    }

    /// Asks until it is done, or until we are to stop.
    async fn insist<T: Send + 'static>(
        &mut self,
        stop: &mut watch::Receiver<bool>,
        work: impl Fn(&mut dyn Outbox) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Option<T> {
        loop {
            if let Some(value) = self.call(work.clone()).await {
                return Some(value);
            }
            tokio::select! {
                () = tokio::time::sleep(OUTBOX_RETRY) => {}
                _ = stop.wait_for(|stop| *stop) => return None,
            }
        }
    }

    /// Asks until it is done: a row that was sent is to be marked while we can.
    async fn insist_through_stop<T: Send + 'static>(
        &mut self,
        work: impl Fn(&mut dyn Outbox) -> Result<T, StoreError> + Clone + Send + 'static,
    ) -> Option<T> {
        loop {
            if let Some(value) = self.call(work.clone()).await {
                return Some(value);
            }
            tokio::time::sleep(OUTBOX_RETRY).await;
        }
    }
}

/// Counts what is in the outbox, and forgets what was sent long ago.
async fn keep_house(outbox: SharedOutbox, registry: Registry, mut stop: watch::Receiver<bool>) {
    let mut outbox = OutboxTask { outbox, away: false };
    let gauge = |name, help, channel: &str| -> Gauge { registry.gauge(name, help, &[("channel", channel)]) };
    for round in 0u32.. {
        let channels: Vec<ChannelSummary> = outbox.call(|outbox| outbox.outbox()).await.unwrap_or_default();
        for ChannelSummary { channel, pending, failed, .. } in &channels {
            let set = |name, help, value: &u64| gauge(name, help, channel).set(value.cast_signed());
            set("smart_money_notifications_pending", "Notifications to be sent.", pending);
            set(
                "smart_money_notifications_failed",
                "Notifications in the outbox that were refused for good.",
                failed,
            );
        }
        if round.is_multiple_of(FORGET_EVERY) {
            outbox.call(|outbox| outbox.forget_sent(now_ms() - millis(SENT_KEPT))).await;
        }
        tokio::select! {
            () = tokio::time::sleep(COUNT_INTERVAL) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

fn now_ms() -> i64 {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    millis(now)
}

fn millis(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}
