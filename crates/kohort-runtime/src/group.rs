//! A group's members in this process: started together, stopped together.

use std::sync::Arc;
use std::time::Duration;

use kohort_client::{
    BuildError, Client, Consumer, ConsumerBuilder, ConsumerHandle, OffsetReset, SubscribeError,
};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::lane::Order;
use crate::member::{Ending, MemberLoop, Work};
use crate::stats::Stats;
use crate::stored::Stored;
use crate::worker::{Sink, Worker};

/// What is fetched of a partition at a time, Kafka's default (`max.partition.fetch.bytes`): partitions take turns by what was fetched, and
/// the more evenly they advance, the fewer candles are in two flushes because their trades come from several partitions.
const PARTITION_BYTES_MAX: i32 = 1 << 20;

/// What a group is started with.
#[derive(Clone, Debug)]
pub struct GroupConfig {
    /// `group.id`.
    pub group: String,
    /// What it reads.
    pub topics: Vec<String>,
    /// Members in this process. Those beyond the partitions stand idle.
    pub consumers: usize,
    /// Lanes of each member.
    pub processors: usize,
    /// What keeps its order.
    pub order: Order,
    /// Where a partition begins that neither the store nor the group knows.
    pub offset_reset: OffsetReset,
    /// How often what was gathered is flushed, while there is something.
    pub flush_interval: Duration,
    /// Reading stops while so many bytes of batches wait for their flush.
    pub unflushed_bytes_max: usize,
    /// `session.timeout.ms`.
    pub session_timeout: Duration,
    /// `heartbeat.interval.ms`.
    pub heartbeat_interval: Duration,
    /// How long a rebalance waits for this member to drain; it gives up what it could not flush a little before.
    pub rebalance_timeout: Duration,
    /// How long a stop waits for the last flush.
    pub drain_timeout: Duration,
    /// `group.instance.id` of the first member; further ones get `-1`, `-2`, ... behind it.
    pub instance_id: Option<String>,
    /// `partition.assignment.strategy`; empty: the client's default.
    pub assignors: Vec<String>,
    /// `fetch.min.bytes`.
    pub fetch_min_bytes: i32,
    /// `fetch.max.bytes`; of one partition at most Kafka's default, 1 MiB, or one batch, whatever its size.
    pub fetch_max_bytes: i32,
    /// The dead-letter topic; `None`: `<topic>.<group>.dlq` of the first topic.
    pub dead_letter_topic: Option<String>,
}

impl GroupConfig {
    /// `group` reads `topic`, with one member and one lane.
    #[must_use]
    pub fn new(group: impl Into<String>, topic: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            topics: vec![topic.into()],
            consumers: 1,
            processors: 1,
            order: Order::Key,
            offset_reset: OffsetReset::Latest,
            flush_interval: Duration::from_millis(500),
            unflushed_bytes_max: 256 << 20,
            session_timeout: Duration::from_secs(45),
            heartbeat_interval: Duration::from_secs(3),
            rebalance_timeout: Duration::from_secs(60),
            drain_timeout: Duration::from_millis(2500),
            instance_id: None,
            assignors: Vec::new(),
            fetch_min_bytes: 1,
            fetch_max_bytes: 10 << 20,
            dead_letter_topic: None,
        }
    }

    /// Where its dead letters go.
    #[must_use]
    pub fn dead_letters(&self) -> String {
        let own = || format!("{}.{}.dlq", self.topics.first().map_or("", String::as_str), self.group);
        self.dead_letter_topic.clone().unwrap_or_else(own)
    }

    /// The consumer of member `index`, subscribed.
    pub(crate) fn subscribed(&self, client: &Client, index: usize) -> Result<Consumer, StartError> {
        let group = || self.group.clone();
        let consumer = self
            .consumer(client, index)
            .build()
            .map_err(|source| StartError::Build { group: group(), source })?;
        consumer
            .handle()
            .subscribe(self.topics.iter().map(String::as_str))
            .map_err(|source| StartError::Subscribe { group: group(), source })?;
        Ok(consumer)
    }

    fn consumer(&self, client: &Client, index: usize) -> ConsumerBuilder {
        let mut builder = client
            .consumer()
            .group(&self.group)
            .offset_reset(self.offset_reset)
            .session_timeout(self.session_timeout)
            .heartbeat_interval(self.heartbeat_interval)
            .rebalance_timeout(self.rebalance_timeout)
            .fetch_min_bytes(self.fetch_min_bytes)
            .fetch_max_bytes(self.fetch_max_bytes)
            .partition_max_bytes(self.fetch_max_bytes.min(PARTITION_BYTES_MAX))
            .prefetch_bytes(usize::try_from(self.fetch_max_bytes).unwrap_or(0).max(8 << 20));
        if !self.assignors.is_empty() {
            builder = builder.assignors(&self.assignors);
        }
        match &self.instance_id {
            Some(id) if index == 0 => builder.instance_id(id),
            Some(id) => builder.instance_id(format!("{id}-{index}")),
            None => builder,
        }
    }
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The consumer's settings contradict each other.
    #[error("cannot make a consumer of group `{group}`")]
    Build {
        /// The group.
        group: String,
        /// What the client said.
        #[source]
        source: BuildError,
    },
    /// The topics cannot be subscribed to.
    #[error("cannot subscribe group `{group}`")]
    Subscribe {
        /// The group.
        group: String,
        /// What the client said.
        #[source]
        source: SubscribeError,
    },
}

/// Starts groups.
#[derive(Debug)]
pub struct Group;

/// A group that runs. Dropping it ends it abruptly, as a crash would; [`Running::stop`] drains it.
#[derive(Debug)]
pub struct Running {
    stop: watch::Sender<bool>,
    members: JoinSet<Ending>,
    stats: Arc<Stats>,
}

/// How a group ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stopped {
    /// Everything that was read is flushed and committed. If not, it is read again at the next start: nothing is lost.
    pub drained: bool,
}

impl Group {
    /// Starts the members: each with a sink of its own, and a worker for each of its lanes. Needs a tokio runtime.
    ///
    /// # Errors
    /// When the configuration contradicts itself.
    pub fn start<W: Worker, S: Sink<Delta = W::Delta>>(
        client: &Client,
        config: GroupConfig,
        mut worker: impl FnMut(usize, usize) -> W,
        mut sink: impl FnMut(usize) -> S,
    ) -> Result<Running, StartError> {
        Running::start(client, config, |seat| {
            Stored::new(seat, client, |lane| worker(seat.index, lane), sink(seat.index))
        })
    }
}

/// What the work of a member has to know of it.
pub(crate) struct Seat {
    pub(crate) index: usize,
    pub(crate) config: Arc<GroupConfig>,
    pub(crate) handle: ConsumerHandle,
    pub(crate) stats: Arc<Stats>,
    pub(crate) stopping: watch::Receiver<bool>,
}

impl Running {
    /// Starts the members, each with its work.
    pub(crate) fn start<K: Work + 'static>(
        client: &Client,
        config: GroupConfig,
        mut work: impl FnMut(&Seat) -> K,
    ) -> Result<Self, StartError> {
        let (stop, stopping) = watch::channel(false);
        let stats = Arc::new(Stats::with_members(config.consumers));
        let config = Arc::new(config);
        let mut members = JoinSet::new();
        for index in 0..config.consumers.max(1) {
            let consumer = config.subscribed(client, index)?;
            let seat = Seat {
                index,
                config: Arc::clone(&config),
                handle: consumer.handle(),
                stats: Arc::clone(&stats),
                stopping: stopping.clone(),
            };
            let work = work(&seat);
            members.spawn(MemberLoop::new(seat, consumer, work).run());
        }
        Ok(Self { stop, members, stats })
    }

    /// Its numbers.
    #[must_use]
    pub fn stats(&self) -> Arc<Stats> {
        Arc::clone(&self.stats)
    }

    /// Waits until a member ends by itself, which only happens when it can do nothing more; the reason in words.
    pub async fn failed(&mut self) -> String {
        loop {
            match self.members.join_next().await {
                Some(Ok(Ending::Failed(why))) => return why,
                Some(Err(e)) => return e.to_string(),
                Some(Ok(Ending::Stopped { .. })) => {}
                None => std::future::pending().await,
            }
        }
    }

    /// Stops reading, finishes what is in hand, flushes, commits, and leaves the group.
    pub async fn stop(mut self) -> Stopped {
        let _ = self.stop.send(true);
        let mut all = true;
        while let Some(ended) = self.members.join_next().await {
            all &= matches!(ended, Ok(Ending::Stopped { drained: true }));
        }
        Stopped { drained: all }
    }
}
