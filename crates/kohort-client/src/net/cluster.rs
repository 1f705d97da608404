//! The cluster as one thing: a connection to whichever broker is needed, and metadata that keeps itself fresh.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::connect::{ConnectError, connect};
use super::metadata::Metadata;
use super::pool::BufferPool;
use super::tls::Connector;
use super::wire::messages::MetadataRequest;
use super::wire::messages::metadata_request::MetadataRequestTopic;
use super::wire::{AskError, Link, Versions, topic_name};
use crate::config::ClientConfig;

/// Unused buffers that a client keeps, in bytes.
const POOL_BYTES: usize = 24 << 20;

/// What a connection is for. A parked answer (a long poll, a join) holds up what is behind it on its connection, so each
/// kind of waiting has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Purpose {
    /// Questions that are answered at once.
    General,
    /// Produce.
    Produce,
    /// Fetch, for one consumer (whose number it is), on one of its lanes.
    Fetch(u64, u8),
    /// What waits at the coordinator of one consumer's group: joins, syncs, heartbeats.
    Group(u64),
    /// What the coordinator answers one consumer at once: offsets, and goodbye.
    Offsets(u64),
}

/// Connections by address and purpose.
type Slots = HashMap<(Arc<str>, Purpose), Arc<Slot>>;

/// Connections and metadata of one client.
pub(crate) struct Cluster {
    pub(crate) config: Arc<ClientConfig>,
    tls: Option<Connector>,
    pub(crate) pool: Arc<BufferPool>,
    slots: Mutex<Slots>,
    versions: Mutex<HashMap<Arc<str>, Arc<Versions>>>,
    /// Addresses that could not be reached the last time.
    down: Mutex<BTreeMap<Arc<str>, Instant>>,
    metadata: watch::Sender<Arc<Metadata>>,
    wanted: Mutex<BTreeMap<Arc<str>, usize>>,
    refresh: Arc<Notify>,
    started: AtomicBool,
    rolls: AtomicU64,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("servers", &self.config.bootstrap_servers).finish_non_exhaustive()
    }
}

/// One connection's place: whoever needs it waits for the one attempt that is made.
#[derive(Debug, Default)]
struct Slot {
    state: tokio::sync::Mutex<SlotState>,
}

#[derive(Debug, Default)]
struct SlotState {
    link: Option<Arc<Link>>,
    failures: u32,
    next_try: Option<Instant>,
}

/// Keeps topics in the metadata as long as it lives.
#[derive(Debug)]
pub(crate) struct Wanted {
    cluster: Arc<Cluster>,
    topics: Vec<Arc<str>>,
}

impl Drop for Wanted {
    fn drop(&mut self) {
        let mut wanted = lock(&self.cluster.wanted);
        for topic in &self.topics {
            if let Some(count) = wanted.get_mut(topic) {
                *count -= 1;
                if *count == 0 {
                    wanted.remove(topic);
                }
            }
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    pub(crate) fn new(config: Arc<ClientConfig>, tls: Option<Connector>) -> Arc<Self> {
        Arc::new(Self {
            config,
            tls,
            pool: BufferPool::new(POOL_BYTES),
            slots: Mutex::default(),
            versions: Mutex::default(),
            down: Mutex::default(),
            metadata: watch::Sender::new(Arc::new(Metadata::default())),
            wanted: Mutex::default(),
            refresh: Arc::new(Notify::new()),
            started: AtomicBool::new(false),
            rolls: AtomicU64::new(std::process::id().into()),
        })
    }

    /// The metadata now.
    pub(crate) fn metadata(&self) -> Arc<Metadata> {
        self.metadata.borrow().clone()
    }

    /// Follows the metadata.
    pub(crate) fn watch_metadata(&self) -> watch::Receiver<Arc<Metadata>> {
        self.metadata.subscribe()
    }

    /// A number for jitter; quality does not matter (a Weyl sequence).
    pub(crate) fn roll(&self) -> u64 {
        self.rolls.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed) >> 17
    }

    /// Wants these topics in the metadata from now on, and asks at once for those that are new.
    pub(crate) fn want(self: &Arc<Self>, topics: impl IntoIterator<Item = Arc<str>>) -> Wanted {
        let topics: Vec<Arc<str>> = topics.into_iter().collect();
        let known = self.metadata();
        let mut wanted = lock(&self.wanted);
        for topic in &topics {
            *wanted.entry(topic.clone()).or_default() += 1;
        }
        drop(wanted);
        if topics.iter().any(|topic| !known.topics.contains_key(topic)) {
            self.refresh();
        }
        Wanted { cluster: self.clone(), topics }
    }

    /// Asks for new metadata soon: a leader has changed, or a broker is gone.
    pub(crate) fn refresh(&self) {
        self.refresh.notify_one();
    }

    /// Begins to keep the metadata fresh, if that has not begun. Needs a runtime.
    pub(crate) fn start(self: &Arc<Self>) {
        if !self.started.swap(true, Ordering::Relaxed) {
            tokio::spawn(keep_fresh(Arc::downgrade(self), self.refresh.clone()));
        }
    }

    /// How long the metadata is good, after this many questions in a row that did not bring all that is wanted.
    fn good_for(&self, failures: u32) -> Duration {
        if failures == 0 {
            self.config.metadata_max_age
        } else {
            self.config.backoff.after(failures, self.roll())
        }
    }

    /// Whether a wanted topic was never asked for.
    fn wants_more(&self) -> bool {
        let known = self.metadata();
        lock(&self.wanted).keys().any(|topic| !known.topics.contains_key(topic))
    }

    async fn ask_metadata(&self) -> Result<(), RouteError> {
        let topics: Vec<Arc<str>> = lock(&self.wanted).keys().cloned().collect();
        let request = MetadataRequest::default()
            .with_topics(Some(
                topics
                    .iter()
                    .map(|topic| MetadataRequestTopic::default().with_name(Some(topic_name(topic))))
                    .collect(),
            ))
            .with_allow_auto_topic_creation(self.config.allow_auto_create_topics);
        let link = self.any().await?;
        let answer = link.ask(&request, self.config.request_timeout).await?;
        if !answer.brokers.is_empty() {
            self.metadata.send_modify(|known| *known = Arc::new(known.after(&answer)));
        }
        Ok(())
    }

    /// The metadata once it says what `enough` looks for, or `None` after `limit`.
    pub(crate) async fn metadata_when(
        &self,
        limit: Duration,
        enough: impl Fn(&Metadata) -> bool,
    ) -> Option<Arc<Metadata>> {
        let mut metadata = self.watch_metadata();
        let found = tokio::time::timeout(limit, metadata.wait_for(|known| enough(known))).await;
        found.ok()?.ok().map(|known| known.clone())
    }

    /// A connection to broker `id`. One attempt at most, after the backoff of those that failed before.
    pub(crate) async fn broker(&self, id: i32, purpose: Purpose) -> Result<Arc<Link>, ConnectError> {
        let address = self.metadata.borrow().brokers.get(&id).cloned();
        let Some(address) = address else {
            self.refresh();
            return Err(ConnectError::Unknown { id });
        };
        self.at(&address, purpose).await
    }

    /// A connection to whichever broker answers.
    pub(crate) async fn any(&self) -> Result<Arc<Link>, ConnectError> {
        let mut addresses: Vec<Arc<str>> = self.metadata.borrow().brokers.values().cloned().collect();
        addresses.extend(self.config.bootstrap_servers.iter().map(|server| Arc::from(server.as_str())));
        if let Some(link) = addresses.iter().find_map(|address| self.open(address, Purpose::General)) {
            return Ok(link);
        }
        {
            // Those that were reached the last time come first.
            let down = lock(&self.down);
            addresses.sort_by_key(|address| down.get(address).copied());
        }
        let mut failed = None;
        for address in addresses {
            match self.at(&address, Purpose::General).await {
                Ok(link) => return Ok(link),
                Err(error) => failed = Some(error),
            }
        }
        // A client without servers is not made.
        Err(failed.unwrap_or(ConnectError::Unknown { id: -1 }))
    }

    /// The open connection, if there is one and nobody is just making it.
    fn open(&self, address: &Arc<str>, purpose: Purpose) -> Option<Arc<Link>> {
        let slot = lock(&self.slots).get(&(address.clone(), purpose)).cloned()?;
        let state = slot.state.try_lock().ok()?;
        state.link.clone().filter(|link| link.connection.is_open())
    }

    /// A connection to `address`.
    pub(crate) async fn at(&self, address: &Arc<str>, purpose: Purpose) -> Result<Arc<Link>, ConnectError> {
        let slot = lock(&self.slots).entry((address.clone(), purpose)).or_default().clone();
        let mut state = slot.state.lock().await;
        if let Some(link) = &state.link {
            if link.connection.is_open() {
                return Ok(link.clone());
            }
            // It may speak something else when it returns.
            lock(&self.versions).remove(address);
            state.link = None;
        }
        if let Some(at) = state.next_try {
            tokio::time::sleep_until(at).await;
        }
        let known = lock(&self.versions).get(address).cloned();
        match connect(address, &self.config, self.tls.as_ref(), &self.pool, known).await {
            Ok(link) => {
                let link = Arc::new(link);
                (state.failures, state.next_try) = (0, None);
                state.link = Some(link.clone());
                lock(&self.versions).insert(address.clone(), link.versions.clone());
                if let Some(since) = lock(&self.down).remove(address) {
                    tracing::info!(broker = %address, gone = ?since.elapsed(), "broker is back");
                }
                Ok(link)
            }
            Err(error) => {
                state.failures = (state.failures + 1).min(16);
                state.next_try =
                    Some(Instant::now() + self.config.backoff.after(state.failures, self.roll()));
                lock(&self.versions).remove(address);
                let first = {
                    let mut down = lock(&self.down);
                    let first = !down.contains_key(address);
                    down.entry(address.clone()).or_insert_with(Instant::now);
                    first
                };
                if first {
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(broker = %address, error, "broker cannot be reached; trying again until it can");
                }
                Err(error)
            }
        }
    }

    /// Gives up the connections of a consumer that is closed.
    pub(crate) fn forget(&self, purposes: impl Fn(Purpose) -> bool) {
        lock(&self.slots).retain(|(_, purpose), _| !purposes(*purpose));
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        // The task that keeps the metadata fresh sees that nobody is left.
        self.refresh.notify_one();
    }
}

/// Keeps the metadata fresh until the cluster is dropped.
async fn keep_fresh(cluster: Weak<Cluster>, refresh: Arc<Notify>) {
    let mut failures = 0;
    let mut asked_at: Option<Instant> = None;
    loop {
        let Some(wait) = cluster.upgrade().map(|cluster| cluster.good_for(failures)) else { return };
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = refresh.notified() => {}
        }
        let Some(cluster) = cluster.upgrade() else { return };
        // Errors come in crowds: one question answers all of them. A new topic does not wait.
        let again = cluster.config.backoff.base;
        if let Some(at) = asked_at.filter(|at| at.elapsed() < again && !cluster.wants_more()) {
            tokio::time::sleep_until(at + again).await;
        }
        asked_at = Some(Instant::now());
        let complete = match cluster.ask_metadata().await {
            Ok(()) => !cluster.metadata.borrow().is_incomplete(),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "no metadata");
                false
            }
        };
        failures = if complete { 0 } else { (failures + 1).min(8) };
    }
}

/// Why a question to the cluster has no answer.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum RouteError {
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error(transparent)]
    Ask(#[from] AskError),
    #[error("refused with error code `{code}`")]
    Refused { code: i16 },
}
