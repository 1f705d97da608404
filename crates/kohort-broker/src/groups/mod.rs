//! The shell around `kohort_group`'s coordinator: it hosts the core, performs its effects in order, and owns `__consumer_offsets`.
//!
//! One lock guards the core and the calls that wait for it. An event goes in, effects come out: records are appended to the group's
//! partition of `__consumer_offsets`, in Kafka's own key and value formats, and an answer leaves only behind the records ahead of it.
//! A heartbeat that is parked, a join that waits for others: each is a call whose answer comes in a later event's effects.
//!
//! If an append fails, what the core believes is no longer what the log says: everybody who waits gets Kafka's error for it, the core
//! is dropped, and a new one reads the log.

pub(crate) mod api;
mod codec;
mod events;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::Arc;

use kohort_group::Time;
use kohort_group::coordinator::{
    CallId, Client, Config as CoreConfig, ConnectionId, Coordinator, Effect, Event, Record, Request,
    Response, append_error,
};
use kohort_protocol::records::{BatchBuilder, BatchOptions, Batches, Compressor, Decompressor};
use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot, watch};

pub use events::{EventLog, GroupEvent};

use crate::broker::{Clock, Shared, now_ms};
use crate::catalog::{Catalog, CatalogError, OFFSETS_TOPIC, Topic};
use crate::log::{AppendOptions, Origin, ReadBuffers, ReadError};
use crate::partition::LEADER_EPOCH;
use crate::settings::Settings;

/// How much of the log is read at once at the start.
const REPLAY_BYTES: usize = 1 << 20;

/// Why the groups cannot be read back.
#[derive(Debug, thiserror::Error)]
pub enum RecoverError {
    /// The topic cannot be made.
    #[error("cannot make `{OFFSETS_TOPIC}`")]
    Topic(#[from] CatalogError),
    /// A partition cannot be read.
    #[error("cannot read `{OFFSETS_TOPIC}-{partition}`")]
    Read {
        /// Which.
        partition: i32,
        /// What the log said.
        #[source]
        source: ReadError,
    },
    /// The event log cannot be opened.
    #[error("cannot open the log of group events")]
    Events(#[source] io::Error),
}

/// How a call ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// With this answer.
    Answered(Response),
    /// With none: Kafka sends none.
    Dropped,
    /// The append ahead of its answer failed: Kafka's error code for that.
    Failed(i16),
}

/// The groups of this node.
pub struct Groups {
    host: Mutex<Host>,
    /// Rings when the deadline may have moved.
    moved: Notify,
    events: EventLog,
    clock: Clock,
}

struct Host {
    core: Coordinator,
    config: CoreConfig,
    topic: Arc<Topic>,
    calls: BTreeMap<CallId, oneshot::Sender<Ended>>,
    next_call: u64,
    builder: BatchBuilder,
    compressor: Compressor,
    deadline: Option<Time>,
}

impl std::fmt::Debug for Groups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Groups").finish_non_exhaustive()
    }
}

fn core_config(settings: &Settings) -> CoreConfig {
    CoreConfig {
        initial_rebalance_delay: settings.millis("group.initial.rebalance.delay.ms"),
        min_session_timeout: settings.millis("group.min.session.timeout.ms"),
        max_session_timeout: settings.millis("group.max.session.timeout.ms"),
        max_size: settings.size("group.max.size"),
        offset_metadata_max: settings.size("offset.metadata.max.bytes"),
        offsets_retention: settings.millis("offsets.retention.minutes") * 60_000,
        offsets_retention_check_interval: settings.millis("offsets.retention.check.interval.ms"),
        park_heartbeats: settings.flag("kohort.park.heartbeats"),
        lost_connection_grace: settings.millis("kohort.lost.connection.grace.ms"),
        ..CoreConfig::default()
    }
}

/// A seed for member ids that no other start has had.
fn seed() -> u64 {
    let (a, b) = kohort_protocol::Uuid::new_v4().as_u64_pair();
    a ^ b
}

/// Builds a core from the records of the log.
fn load(config: &CoreConfig, topic: &Topic) -> Result<Coordinator, RecoverError> {
    let mut core = Coordinator::new(config.clone(), seed());
    let buffers = ReadBuffers::new();
    let mut decompressor = Decompressor::new();
    for partition in &topic.partitions {
        let failed = |source| RecoverError::Read { partition: partition.index(), source };
        let mut at = partition.start_offset();
        loop {
            let slice = partition.with(|log| log.read(at, REPLAY_BYTES, true));
            let Some(slice) = slice.transpose().map_err(failed)? else { break };
            let bytes = slice.load_one(&buffers).map_err(|e| failed(ReadError::Io(e)))?;
            if bytes.is_empty() {
                break;
            }
            for batch in Batches::new(&bytes) {
                let Ok(batch) = batch else { break };
                at = batch.header().last_offset() + 1;
                let Ok(records) = batch.records(&mut decompressor) else { continue };
                for record in records.map_while(Result::ok) {
                    match codec::decode(record.key, record.value) {
                        Ok(Some(record)) => core.replay(&record),
                        Ok(None) => {}
                        Err(why) => tracing::warn!(
                            "a record of `{OFFSETS_TOPIC}-{}` is passed over: {why}",
                            partition.index()
                        ),
                    }
                }
            }
        }
    }
    Ok(core)
}

/// Topics that have offsets and are gone: the last process ended between their deletion and that of the offsets. A topic that
/// is made under such a name would be read from where the old one was left.
fn gone_topics(core: &Coordinator, catalog: &Catalog) -> Vec<String> {
    let kept = core.kept();
    let offsets = kept.group_ids().filter_map(|id| kept.offsets(id));
    let topics: BTreeSet<&str> = offsets.flat_map(|of| of.keys()).map(|at| at.topic.as_str()).collect();
    topics.into_iter().filter(|topic| catalog.topic(topic).is_none()).map(str::to_owned).collect()
}

impl Groups {
    /// Reads the groups back; makes `__consumer_offsets` at the first start.
    pub(crate) fn recover(
        settings: &Settings,
        catalog: &Catalog,
        data: &Path,
        clock: Clock,
    ) -> Result<Self, RecoverError> {
        let topic = match catalog.topic(OFFSETS_TOPIC) {
            Some(topic) => topic,
            None => {
                let configs = [
                    ("cleanup.policy", "compact".to_owned()),
                    ("segment.bytes", settings.text("offsets.topic.segment.bytes").to_owned()),
                ];
                let configs = configs.into_iter().map(|(k, v)| (k.to_owned(), v)).collect();
                catalog.create(OFFSETS_TOPIC, settings.int32("offsets.topic.num.partitions"), configs)?
            }
        };
        let config = core_config(settings);
        let core = load(&config, &topic)?;
        let host = Host {
            core,
            config,
            topic,
            calls: BTreeMap::new(),
            next_call: 1,
            builder: BatchBuilder::new(),
            compressor: Compressor::new(),
            deadline: None,
        };
        let events = EventLog::open(data).map_err(RecoverError::Events)?;
        let groups = Self { host: Mutex::new(host), moved: Notify::new(), events, clock };
        {
            let mut host = groups.host.lock();
            let effects = host.core.loaded(clock.now());
            groups.perform(&mut host, effects);
            let gone = gone_topics(&host.core, catalog);
            if !gone.is_empty() {
                groups.handle(&mut host, Event::TopicsDeleted(gone));
            }
        }
        Ok(groups)
    }

    /// What happened in groups, oldest first.
    #[must_use]
    pub fn events(&self) -> &EventLog {
        &self.events
    }

    /// Asks the core and waits for its answer.
    pub(crate) async fn ask(&self, connection: ConnectionId, client: Client, request: Request) -> Ended {
        let answer = {
            let mut host = self.host.lock();
            let call = CallId(host.next_call);
            host.next_call += 1;
            let (sender, answer) = oneshot::channel();
            host.calls.insert(call, sender);
            self.handle(&mut host, Event::Call { call, connection, client, request });
            answer
        };
        // The sender is dropped only with the whole broker.
        answer.await.unwrap_or(Ended::Dropped)
    }

    /// Another request arrived on a connection that waits.
    pub(crate) fn busy(&self, connection: ConnectionId) {
        self.handle(&mut self.host.lock(), Event::Busy(connection));
    }

    /// A connection is gone.
    pub(crate) fn closed(&self, connection: ConnectionId) {
        self.handle(&mut self.host.lock(), Event::Closed(connection));
    }

    /// A client looks for the coordinator of a group: those who lost their connection do, if they live.
    pub(crate) fn sought(&self, client: Client, group_id: String) {
        self.handle(&mut self.host.lock(), Event::CoordinatorSought { client, group_id });
    }

    /// Topics are gone: so are their offsets.
    pub(crate) fn topics_deleted(&self, _shared: &Shared, topics: Vec<String>) {
        self.handle(&mut self.host.lock(), Event::TopicsDeleted(topics));
    }

    fn handle(&self, host: &mut Host, event: Event) {
        let effects = host.core.handle(self.clock.now(), event);
        self.perform(host, effects);
    }

    /// Performs effects in order. Records that stand next to each other and belong to one group are one append.
    fn perform(&self, host: &mut Host, effects: Vec<Effect>) {
        let mut pending: Vec<Record> = Vec::new();
        let mut failed = None;
        for effect in effects {
            match effect {
                Effect::Append(record) => {
                    if pending.first().is_some_and(|first| first.group_id() != record.group_id()) {
                        failed = failed.or(self.append(host, &mut pending).err());
                    }
                    pending.push(record);
                }
                Effect::Reply { call, response } => {
                    failed = failed.or(self.append(host, &mut pending).err());
                    let ended = failed.map_or(Ended::Answered(response), Ended::Failed);
                    if let Some(waiting) = host.calls.remove(&call) {
                        // The connection may be gone: then nobody wants it.
                        let _ = waiting.send(ended);
                    }
                }
                Effect::Drop { call } => {
                    if let Some(waiting) = host.calls.remove(&call) {
                        let _ = waiting.send(Ended::Dropped);
                    }
                }
                Effect::Note(note) => self.events.add(note),
            }
        }
        failed = failed.or(self.append(host, &mut pending).err());
        if let Some(code) = failed {
            self.start_over(host, code);
        }
        let deadline = host.core.deadline();
        if deadline != host.deadline {
            host.deadline = deadline;
            self.moved.notify_one();
        }
    }

    /// Appends records of one group as one batch.
    fn append(&self, host: &mut Host, records: &mut Vec<Record>) -> Result<(), i16> {
        let Some(first) = records.first() else { return Ok(()) };
        let partitions = host.topic.partitions.len();
        let partition = &host.topic.partitions[codec::partition_of(first.group_id(), partitions)];
        let now = now_ms();
        let written = (|| {
            for record in records.iter() {
                let (key, value) = codec::encode(record);
                host.builder
                    .append(now, Some(&key), value.as_deref(), &[])
                    .map_err(|e| (10, e.to_string()))?;
            }
            let batch = host
                .builder
                .finish(&BatchOptions::default(), &mut host.compressor)
                .map_err(|e| (-1, e.to_string()))?;
            let options = AppendOptions { origin: Origin::Coordinator, leader_epoch: LEADER_EPOCH };
            partition
                .append(batch, now, &options)
                .map_err(|e| (e.code(), format!("{e}: {:?}", std::error::Error::source(&e))))
        })();
        records.clear();
        match written {
            Ok(_) => Ok(()),
            Err((code, why)) => {
                host.builder.clear();
                tracing::error!(
                    "cannot keep the state of groups in `{OFFSETS_TOPIC}-{}`: {why}",
                    partition.index()
                );
                Err(append_error(code))
            }
        }
    }

    /// Answers everybody with the error and reads the log anew.
    fn start_over(&self, host: &mut Host, code: i16) {
        for (_, waiting) in std::mem::take(&mut host.calls) {
            let _ = waiting.send(Ended::Failed(code));
        }
        match load(&host.config, &host.topic) {
            Ok(mut core) => {
                let effects = core.loaded(self.clock.now());
                host.core = core;
                for effect in effects {
                    if let Effect::Note(note) = effect {
                        self.events.add(note);
                    }
                }
            }
            Err(e) => {
                tracing::error!("cannot read the groups back, they stay as they were before the failure: {e}")
            }
        }
    }
}

/// Wakes the core when its deadline passes.
pub(crate) async fn timers(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
    let groups = &shared.groups;
    loop {
        let deadline = groups
            .host
            .lock()
            .deadline
            .map(|time| tokio::time::Instant::from_std(shared.clock.instant(time)));
        let due = async {
            match deadline {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            _ = stopped.changed() => return,
            () = groups.moved.notified() => {}
            () = due => {
                let mut host = groups.host.lock();
                groups.handle(&mut host, Event::Wakeup);
            }
        }
    }
}
