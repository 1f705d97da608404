//! Starting and stopping the node, and what its parts share.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use kohort_group::Time;
use kohort_group::coordinator::ConnectionId;
use kohort_protocol::Uuid;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::api::fetch::Sessions;
use crate::catalog::{Catalog, CatalogError};
use crate::connection::{self, Peer};
use crate::dynamic::{Configs, Dynamic, Resource};
use crate::groups::Groups;
use crate::housekeeping;
use crate::log::{CleanupPolicy, LogConfig, ReadBuffers, RecentBudget};
use crate::producer_ids::ProducerIds;
use crate::settings::{Setting, Settings, TOPIC};

/// How long a stop waits for connections that are in the middle of an answer.
const STOP_GRACE: Duration = Duration::from_millis(500);

/// How long a stop closes logs, and how many at once.
const CLOSE_MAX: Duration = Duration::from_secs(2);
const CLOSERS: usize = 8;

/// What a node is started with.
#[derive(Clone, Debug)]
pub struct Config {
    /// Holds everything the broker keeps. Made if it is not there; one broker at a time.
    pub data: PathBuf,
    /// Where to listen, as `host:port`; port 0 is any free one.
    pub listen: String,
    /// Kafka's settings.
    pub settings: Settings,
}

impl Config {
    /// A node on any free port of the loopback interface.
    #[must_use]
    pub fn new(data: impl Into<PathBuf>) -> Self {
        Self { data: data.into(), listen: "127.0.0.1:0".to_owned(), settings: Settings::default() }
    }
}

/// Why a broker did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The folder cannot be made or written.
    #[error("cannot use the data folder `{}`; give another with --data, or make it writable", path.display())]
    Folder {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another broker runs on this folder.
    #[error("another broker, process {pid}, uses the data folder `{}`; stop it, or give another with --data", path.display())]
    InUse {
        /// Which.
        path: PathBuf,
        /// The other's process id, as far as it is known.
        pid: String,
    },
    /// The address cannot be listened on.
    #[error(
        "cannot listen on `{address}`; is another server there? Give another address with --listen, or port 0 for any free one"
    )]
    Listen {
        /// Which.
        address: String,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The topics cannot be opened.
    #[error("cannot open the topics")]
    Catalog(#[from] CatalogError),
    /// The groups cannot be read back.
    #[error("cannot read the groups back from `__consumer_offsets`")]
    Groups(#[from] crate::groups::RecoverError),
}

/// What all connections share.
pub(crate) struct Shared {
    /// What the broker was started with; what may change while it runs is in `dynamic`.
    pub(crate) settings: Settings,
    pub(crate) dynamic: Arc<Dynamic>,
    pub(crate) advertised: (String, i32),
    pub(crate) node_id: i32,
    pub(crate) cluster_id: String,
    pub(crate) request_bytes_max: usize,
    pub(crate) catalog: Catalog,
    pub(crate) buffers: ReadBuffers,
    pub(crate) sessions: Sessions,
    pub(crate) producer_ids: ProducerIds,
    pub(crate) groups: Groups,
    pub(crate) clock: Clock,
}

impl Shared {
    /// Changes the configuration of anything but a topic, and what follows from it for the logs.
    pub(crate) fn configure(&self, resource: &Resource, configs: Configs) -> io::Result<()> {
        self.dynamic.configure(resource, configs)?;
        if matches!(resource, Resource::Broker | Resource::Cluster) {
            self.catalog.configure_logs();
        }
        Ok(())
    }
}

/// Two clocks. Groups live by one that never runs backwards and stands still while the machine sleeps, so that no session
/// expires over a closed lid; it begins at the time of day. Records and logs live by the time of day itself: their times are
/// compared with the clients'.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    wall: Duration,
    since: Instant,
}

impl Clock {
    pub(crate) fn start() -> Self {
        Self { wall: time_of_day(), since: Instant::now() }
    }

    pub(crate) fn now(&self) -> Time {
        let now = self.wall + self.since.elapsed();
        Time::from_millis(u64::try_from(now.as_millis()).unwrap_or(u64::MAX))
    }

    /// When `time` is, for a timer.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        // One millisecond more: a timer that fires early finds nothing due and is armed again.
        let after = Duration::from_millis(time.as_millis()).saturating_sub(self.wall);
        self.since + after + Duration::from_millis(1)
    }
}

/// Milliseconds since the epoch, for records and logs.
pub(crate) fn now_ms() -> i64 {
    i64::try_from(time_of_day().as_millis()).unwrap_or(i64::MAX)
}

fn time_of_day() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A running node. Dropping it stops it abruptly, as a crash would; [`Broker::shutdown`] stops it cleanly.
pub struct Broker {
    shared: Arc<Shared>,
    address: SocketAddr,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
    _lock: fs::File,
}

impl std::fmt::Debug for Broker {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Broker").field("address", &self.address).finish_non_exhaustive()
    }
}

impl Broker {
    /// Starts a node on the caller's runtime. When this returns it answers requests.
    ///
    /// # Errors
    /// When the folder, the address or what is in the folder cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let Config { data, listen, settings } = config;
        let lock = lock(&data)?;
        let listener = TcpListener::bind(&listen)
            .await
            .map_err(|source| StartError::Listen { address: listen.clone(), source })?;
        let address =
            listener.local_addr().map_err(|source| StartError::Listen { address: listen.clone(), source })?;
        let node = node_file(&data).map_err(|source| StartError::Folder { path: data.clone(), source })?;
        let shared = Arc::new(open(&data, settings, address, node)?);
        let (stop, stopped) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(Arc::clone(&shared), listener, stopped.clone()));
        tasks.spawn(housekeeping::tidy(Arc::clone(&shared), stopped.clone()));
        tasks.spawn(housekeeping::compact(Arc::clone(&shared), stopped.clone()));
        tasks.spawn(crate::groups::timers(Arc::clone(&shared), stopped));
        Ok(Self { shared, address, stop, tasks, _lock: lock })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What happened in groups and what they are now: for a console.
    #[must_use]
    pub fn groups(&self) -> &Groups {
        &self.shared.groups
    }

    /// Ends every connection, forces the logs to disk, and marks them as cleanly closed.
    pub async fn shutdown(mut self) {
        let _ = self.stop.send(true);
        let all = async { while self.tasks.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(STOP_GRACE, all).await;
        self.tasks.abort_all();
        while self.tasks.join_next().await.is_some() {}
        let shared = Arc::clone(&self.shared);
        // Our own panic in there would leave logs as a crash does.
        let _ = tokio::task::spawn_blocking(move || close_logs(&shared.catalog)).await;
    }
}

/// Closes the logs, several at once: most of it is waiting for the disk. What is not closed in time is as after a crash: nothing
/// is lost, and the next start reads the last segment.
fn close_logs(catalog: &Catalog) {
    let until = Instant::now() + CLOSE_MAX;
    let topics = catalog.all();
    let logs: Vec<_> = topics.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p))).collect();
    let (next, closed) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let work = || {
        while Instant::now() < until
            && let Some((topic, partition)) = logs.get(next.fetch_add(1, Ordering::Relaxed))
        {
            if let Err(e) = partition.close() {
                tracing::error!("cannot close the log of `{}-{}`: {e}", topic.name, partition.index());
            }
            closed.fetch_add(1, Ordering::Relaxed);
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..CLOSERS.min(logs.len()) {
            scope.spawn(work);
        }
    });
    let left = logs.len() - closed.into_inner();
    if left > 0 {
        tracing::warn!(
            "{left} of {} logs were not closed within {CLOSE_MAX:?}: the next start reads their ends",
            logs.len()
        );
    }
}

/// Takes the folder for this process alone.
fn lock(data: &Path) -> Result<fs::File, StartError> {
    let folder = |source| StartError::Folder { path: data.to_owned(), source };
    fs::create_dir_all(data).map_err(folder)?;
    let path = data.join("broker.lock");
    let mut file = fs::OpenOptions::new()
        .create(true)
        .read(true)
        .write(true)
        .truncate(false)
        .open(&path)
        .map_err(folder)?;
    match file.try_lock() {
        Ok(()) => {}
        Err(fs::TryLockError::WouldBlock) => {
            let pid = fs::read_to_string(&path).unwrap_or_default().trim().to_owned();
            return Err(StartError::InUse { path: data.to_owned(), pid });
        }
        Err(fs::TryLockError::Error(e)) => return Err(folder(e)),
    }
    file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(folder)?;
    Ok(file)
}

/// The cluster's id, made at the first start.
fn node_file(data: &Path) -> io::Result<String> {
    let path = data.join("cluster.id");
    match fs::read_to_string(&path) {
        Ok(id) if !id.trim().is_empty() => Ok(id.trim().to_owned()),
        _ => {
            let id: String = Uuid::new_v4().simple().to_string()[..22].to_owned();
            fs::write(&path, &id)?;
            Ok(id)
        }
    }
}

fn open(
    data: &Path,
    settings: Settings,
    address: SocketAddr,
    cluster_id: String,
) -> Result<Shared, StartError> {
    let clock = Clock::start();
    let budget = Arc::new(RecentBudget::default());
    let folder = |source| StartError::Folder { path: data.to_owned(), source };
    let dynamic = Arc::new(Dynamic::open(data, settings.clone()).map_err(folder)?);
    let for_logs = Arc::clone(&dynamic);
    let catalog = Catalog::open(data, move |own| log_config(&for_logs.now().settings, own, &budget))?;
    let producer_ids = ProducerIds::open(data).map_err(folder)?;
    let groups = Groups::recover(&settings, &catalog, data, clock)?;
    Ok(Shared {
        advertised: advertised(&settings, address),
        node_id: settings.int32("node.id"),
        cluster_id,
        request_bytes_max: settings.size("socket.request.max.bytes"),
        catalog,
        buffers: ReadBuffers::new(),
        sessions: Sessions::new(settings.size("max.incremental.fetch.session.cache.slots")),
        producer_ids,
        groups,
        clock,
        settings,
        dynamic,
    })
}

/// The host and port that clients are told.
fn advertised(settings: &Settings, address: SocketAddr) -> (String, i32) {
    let given = settings.text("advertised.listeners").rsplit("//").next().unwrap_or_default();
    let own = i32::from(address.port());
    match given.rsplit_once(':') {
        Some((host, port)) if !host.is_empty() => {
            let port = port.parse().ok().filter(|p| *p > 0).unwrap_or(own);
            (host.trim_matches(['[', ']']).to_owned(), port)
        }
        _ if address.ip().is_unspecified() => ("localhost".to_owned(), own),
        _ => (address.ip().to_string(), own),
    }
}

/// A log's settings from a topic's and the broker's.
fn log_config(settings: &Settings, own: &BTreeMap<String, String>, budget: &Arc<RecentBudget>) -> LogConfig {
    let text = |name: &str| {
        let setting =
            TOPIC.iter().find(|s: &&Setting| s.name == name).unwrap_or_else(|| panic!("no setting `{name}`"));
        settings.topic(own, setting)
    };
    let int = |name: &str| text(name).parse::<i64>().unwrap_or(i64::MAX);
    let limit = |name: &str| Some(int(name)).filter(|n| *n != i64::MAX && *n >= 0);
    let positive = |name: &str| u64::try_from(int(name)).unwrap_or(0);
    let policy = text("cleanup.policy");
    LogConfig {
        segment_bytes: positive("segment.bytes"),
        segment_ms: int("segment.ms"),
        segment_index_bytes: usize::try_from(int("segment.index.bytes")).unwrap_or(usize::MAX),
        index_interval_bytes: positive("index.interval.bytes"),
        retention_ms: limit("retention.ms"),
        retention_bytes: limit("retention.bytes").and_then(|n| u64::try_from(n).ok()),
        cleanup: CleanupPolicy { delete: policy.contains("delete"), compact: policy.contains("compact") },
        delete_retention_ms: int("delete.retention.ms"),
        min_cleanable_dirty_ratio: text("min.cleanable.dirty.ratio").parse().unwrap_or(0.5),
        min_compaction_lag_ms: int("min.compaction.lag.ms"),
        max_compaction_lag_ms: limit("max.compaction.lag.ms"),
        max_message_bytes: usize::try_from(int("max.message.bytes")).unwrap_or(0),
        log_append_time: text("message.timestamp.type") == "LogAppendTime",
        timestamp_before_max_ms: limit("message.timestamp.before.max.ms"),
        timestamp_after_max_ms: limit("message.timestamp.after.max.ms"),
        flush_messages: limit("flush.messages").and_then(|n| u64::try_from(n).ok()),
        flush_ms: limit("flush.ms"),
        producer_id_expiration_ms: settings.int("producer.id.expiration.ms"),
        recent_budget: Arc::clone(budget),
        ..LogConfig::default()
    }
}

async fn accept(shared: Arc<Shared>, listener: TcpListener, mut stopped: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    let mut next = 1u64;
    loop {
        tokio::select! {
            _ = stopped.changed() => break,
            accepted = listener.accept() => match accepted {
                Ok((socket, from)) => {
                    let peer = Peer {
                        connection: ConnectionId(next),
                        host: format!("/{}", from.ip()),
                        waits_for_beats: AtomicBool::new(false),
                    };
                    next += 1;
                    connections.spawn(connection::serve(Arc::clone(&shared), socket, peer));
                }
                Err(e) => {
                    // Out of file descriptors, most likely: others may be freed meanwhile.
                    tracing::error!("cannot accept a connection: {e}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
    // The listener closes with this task; connections end in the middle of nothing: what is being handled is handled.
    connections.abort_all();
    while connections.join_next().await.is_some() {}
}
