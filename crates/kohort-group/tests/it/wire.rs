//! The fake wire: requests and answers pass at once unless a test holds them; callbacks end at once unless a test
//! leaves them open; what is appended is durable at once.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kohort_group::Time;
use kohort_group::coordinator::{
    self, CallId, Client, Config as CoordinatorConfig, ConnectionId, Coordinator, Happened, Note, Record,
};
use kohort_group::member::{
    AskId, CallbackId, CloseGroup, CommitError, Config, Effect, Event, FatalError, LeftReason, Member,
    Request, RequestId, Response, TopicMetadata, Versions,
};
use kohort_group::messages::{OffsetToCommit, Partition, TopicPartition};

/// A consumer and what its shell knows.
pub(crate) struct Consumer {
    pub(crate) member: Member,
    connection: Option<ConnectionId>,
    /// What the application works on.
    pub(crate) held: BTreeSet<TopicPartition>,
    /// Callbacks end when the test says so.
    pub(crate) slow: bool,
    open: Vec<(CallbackId, BTreeSet<TopicPartition>)>,
    /// Nothing reaches it, nothing leaves it.
    pub(crate) frozen: bool,
    stash: VecDeque<Event>,
    pub(crate) revoked: Vec<BTreeSet<TopicPartition>>,
    pub(crate) lost: Vec<BTreeSet<TopicPartition>>,
    pub(crate) left: Vec<LeftReason>,
    pub(crate) commits: Vec<Result<(), CommitError>>,
    pub(crate) fatal: Option<FatalError>,
    pub(crate) closed: bool,
    watched: BTreeSet<String>,
}

/// The coordinator, its log, and the consumers.
pub(crate) struct Pair {
    pub(crate) now: u64,
    config: CoordinatorConfig,
    coordinator: Coordinator,
    log: Vec<Record>,
    pub(crate) notes: Vec<Note>,
    calls: BTreeMap<CallId, (usize, ConnectionId, RequestId)>,
    last: u64,
    pub(crate) consumers: Vec<Consumer>,
    topics: BTreeMap<String, Partition>,
    /// How many members were made: a seed for each.
    made: u64,
    /// Whoever sends its first request freezes with it.
    halfway: bool,
}

pub(crate) fn tp(topic: &str, partition: Partition) -> TopicPartition {
    TopicPartition::new(topic, partition)
}

pub(crate) fn set(partitions: &[(&str, Partition)]) -> BTreeSet<TopicPartition> {
    partitions.iter().map(|(topic, partition)| tp(topic, *partition)).collect()
}

impl Pair {
    /// A coordinator without initial delay that parks heartbeats, and these topics.
    pub(crate) fn new(topics: &[(&str, Partition)]) -> Self {
        Self::with(
            CoordinatorConfig { initial_rebalance_delay: Duration::ZERO, ..Default::default() },
            topics,
        )
    }

    pub(crate) fn with(config: CoordinatorConfig, topics: &[(&str, Partition)]) -> Self {
        let mut coordinator = Coordinator::new(config.clone(), 0);
        let now = 1_000_000;
        assert!(coordinator.loaded(Time::from_millis(now)).is_empty());
        Self {
            now,
            config,
            coordinator,
            log: Vec::new(),
            notes: Vec::new(),
            calls: BTreeMap::new(),
            last: 0,
            consumers: Vec::new(),
            topics: topics.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect(),
            made: 0,
            halfway: false,
        }
    }

    pub(crate) fn time(&self) -> Time {
        Time::from_millis(self.now)
    }

    /// A consumer of group `g`, subscribed to `topics`; whatever follows at once has happened.
    pub(crate) fn join(&mut self, config: Config, topics: &[&str]) -> usize {
        self.made += 1;
        let member = Member::new(config, self.made).expect("a valid configuration");
        self.consumers.push(Consumer {
            member,
            connection: None,
            held: BTreeSet::new(),
            slow: false,
            open: Vec::new(),
            frozen: false,
            stash: VecDeque::new(),
            revoked: Vec::new(),
            lost: Vec::new(),
            left: Vec::new(),
            commits: Vec::new(),
            fatal: None,
            closed: false,
            watched: BTreeSet::new(),
        });
        let place = self.consumers.len() - 1;
        self.subscribe(place, topics);
        place
    }

    pub(crate) fn subscribe(&mut self, place: usize, topics: &[&str]) {
        let topics = topics.iter().map(|name| (*name).to_owned()).collect();
        self.say(place, Event::Subscribe(topics));
    }

    pub(crate) fn close(&mut self, place: usize) {
        self.say(place, Event::Close(CloseGroup::Default));
    }

    /// kill -9; the connection closes, and the broker hears so.
    pub(crate) fn kill(&mut self, place: usize) {
        self.consumers[place].frozen = true;
        self.consumers[place].held.clear();
        if let Some(connection) = self.consumers[place].connection.take() {
            self.coordinator(coordinator::Event::Closed(connection));
        }
    }

    /// The connection breaks; the consumer opens the next one at once.
    pub(crate) fn reset(&mut self, place: usize) {
        if let Some(connection) = self.consumers[place].connection.take() {
            self.coordinator(coordinator::Event::Closed(connection));
            self.say(place, Event::CoordinatorLost);
        }
    }

    /// A consumer that gets its member id (79) and freezes before it comes back with it.
    pub(crate) fn join_halfway(&mut self, config: Config, topics: &[&str]) -> usize {
        self.halfway = true;
        let place = self.join(config, topics);
        self.halfway = false;
        place
    }

    /// The process stops; its connection stays.
    pub(crate) fn freeze(&mut self, place: usize) {
        self.consumers[place].frozen = true;
    }

    /// It goes on, with all that waited for it.
    pub(crate) fn thaw(&mut self, place: usize) {
        self.consumers[place].frozen = false;
        for event in core::mem::take(&mut self.consumers[place].stash) {
            self.say(place, event);
        }
    }

    pub(crate) fn commit(&mut self, place: usize, partition: TopicPartition, offset: i64) {
        let offset = OffsetToCommit { offset, leader_epoch: -1, metadata: None };
        let offsets = vec![(partition, offset)];
        self.say(place, Event::Commit { id: AskId(1), offsets, retry_until: None });
    }

    pub(crate) fn committed(&self, partition: &TopicPartition) -> Option<i64> {
        Some(self.coordinator.kept().offsets("g")?.get(partition)?.offset)
    }

    /// The topic grows, and whoever watches it hears so.
    pub(crate) fn grow(&mut self, topic: &str, partitions: Partition) {
        self.topics.insert(topic.to_owned(), partitions);
        for place in 0..self.consumers.len() {
            let known = self.metadata(place);
            self.say(place, Event::Metadata(known));
        }
    }

    /// kill -9 of the broker: everything but the log is gone. It starts again at once.
    pub(crate) fn crash_broker(&mut self) {
        self.last += 1;
        self.coordinator = Coordinator::new(self.config.clone(), self.last);
        for record in &self.log {
            self.coordinator.replay(record);
        }
        self.calls.clear();
        let effects = self.coordinator.loaded(self.time());
        self.perform(effects);
        for place in 0..self.consumers.len() {
            if self.consumers[place].connection.take().is_some() {
                self.say(place, Event::CoordinatorLost);
            }
        }
    }

    /// Lets time pass, with every deadline that falls due.
    pub(crate) fn pass(&mut self, ms: u64) {
        let end = self.now + ms;
        loop {
            let of_members = self.consumers.iter().enumerate().filter(|(_, it)| !it.frozen);
            let of_members = of_members.filter_map(|(place, it)| Some((it.member.deadline()?, Some(place))));
            let all = of_members.chain(self.coordinator.deadline().map(|at| (at, None)));
            let Some((at, who)) = all.min().filter(|(at, _)| at.as_millis() <= end) else { break };
            self.now = self.now.max(at.as_millis());
            match who {
                Some(place) => self.say(place, Event::Wakeup),
                None => self.coordinator(coordinator::Event::Wakeup),
            }
        }
        self.now = end;
    }

    /// As `pass`, and the applications make progress.
    pub(crate) fn work(&mut self, ms: u64) {
        for _ in 0..ms / 500 {
            self.pass(500);
            for place in 0..self.consumers.len() {
                self.say(place, Event::Polled);
            }
        }
    }

    /// Ends the callbacks that a slow consumer has open.
    pub(crate) fn end_callbacks(&mut self, place: usize) {
        for (id, partitions) in core::mem::take(&mut self.consumers[place].open) {
            self.consumers[place].held.retain(|it| !partitions.contains(it));
            self.say(place, Event::CallbackDone(id));
        }
    }

    /// Hands an event to a member and does all that follows from it.
    pub(crate) fn say(&mut self, place: usize, event: Event) {
        let now = self.time();
        let consumer = &mut self.consumers[place];
        if consumer.frozen {
            consumer.stash.push_back(event);
            return;
        }
        for effect in consumer.member.handle(now, event) {
            self.effect(place, effect);
        }
    }

    fn effect(&mut self, place: usize, effect: Effect) {
        let consumer = &mut self.consumers[place];
        match effect {
            Effect::FindCoordinator => self.say(place, Event::CoordinatorFound(Versions::default())),
            Effect::Send { id, request } => self.send(place, id, request),
            Effect::Disconnect => {
                if let Some(connection) = consumer.connection.take() {
                    self.coordinator(coordinator::Event::Closed(connection));
                }
            }
            Effect::WatchTopics(topics) => {
                consumer.watched = topics;
                let known = self.metadata(place);
                self.say(place, Event::Metadata(known));
            }
            Effect::Revoke { id, partitions } => {
                consumer.revoked.push(partitions.clone());
                consumer.open.push((id, partitions));
                self.end_unless_slow(place);
            }
            Effect::Lose { id, partitions } => {
                consumer.held.retain(|it| !partitions.contains(it));
                consumer.lost.push(partitions);
                consumer.open.clear();
                self.say(place, Event::CallbackDone(id));
            }
            Effect::Assign { id, all, .. } => {
                consumer.held = all;
                self.say(place, Event::CallbackDone(id));
            }
            Effect::Committed { result, .. } => consumer.commits.push(result),
            Effect::Left(reason) => consumer.left.push(reason),
            Effect::Fatal(error) => consumer.fatal = Some(error),
            Effect::Closed => consumer.closed = true,
            Effect::Joined { .. } | Effect::OffsetsFetched { .. } => {}
        }
    }

    fn end_unless_slow(&mut self, place: usize) {
        if !self.consumers[place].slow {
            self.end_callbacks(place);
        }
    }

    fn metadata(&self, place: usize) -> BTreeMap<String, TopicMetadata> {
        let of = |topic: &String| {
            let count = self.topics.get(topic).copied();
            (topic.clone(), count.map(TopicMetadata::of).unwrap_or_default())
        };
        self.consumers[place].watched.iter().map(of).collect()
    }

    fn send(&mut self, place: usize, id: RequestId, request: Request) {
        self.consumers[place].frozen |= self.halfway;
        self.last += 1;
        let call = CallId(self.last);
        let connection = *self.consumers[place].connection.get_or_insert(ConnectionId(self.last));
        self.calls.insert(call, (place, connection, id));
        let request = match request {
            Request::JoinGroup(it) => coordinator::Request::Join(it),
            Request::SyncGroup(it) => coordinator::Request::Sync(it),
            Request::Heartbeat(it) => coordinator::Request::Heartbeat(it),
            Request::LeaveGroup(it) => coordinator::Request::Leave(it),
            Request::OffsetCommit(it) => coordinator::Request::OffsetCommit(it, BTreeMap::new()),
            Request::OffsetFetch(it) => coordinator::Request::OffsetFetch(it, BTreeMap::new()),
        };
        let client = Client { id: format!("c{place}"), host: "/127.0.0.1".to_owned() };
        self.coordinator(coordinator::Event::Busy(connection));
        self.coordinator(coordinator::Event::Call { call, connection, client, request });
    }

    fn coordinator(&mut self, event: coordinator::Event) {
        let now = self.time();
        let effects = self.coordinator.handle(now, event);
        self.perform(effects);
    }

    fn perform(&mut self, effects: Vec<coordinator::Effect>) {
        for effect in effects {
            match effect {
                coordinator::Effect::Append(record) => self.log.push(record),
                coordinator::Effect::Note(note) => self.notes.push(note),
                coordinator::Effect::Drop { call } => {
                    self.calls.remove(&call);
                }
                coordinator::Effect::Reply { call, response } => {
                    let Some((place, connection, id)) = self.calls.remove(&call) else { continue };
                    if self.consumers[place].connection == Some(connection) {
                        self.say(place, Event::Response(id, answer(response)));
                    }
                }
            }
        }
    }

    /// How many rebalances have begun.
    pub(crate) fn rebalances(&self) -> usize {
        self.notes.iter().filter(|note| matches!(note.what, Happened::RebalanceBegan { .. })).count()
    }

    /// Everybody is stable in one generation, and every partition of `topic` has one owner.
    pub(crate) fn assert_settled(&self, places: &[usize], topic: &str) {
        let generations: BTreeSet<_> =
            places.iter().map(|it| self.consumers[*it].member.generation()).collect();
        assert_eq!(generations.len(), 1, "{generations:?}");
        assert!(places.iter().all(|it| self.consumers[*it].member.is_stable()));
        let mut held: Vec<_> = places.iter().flat_map(|it| &self.consumers[*it].held).collect();
        held.retain(|it| it.topic == topic);
        held.sort();
        let all: Vec<_> = (0..self.topics[topic]).map(|partition| tp(topic, partition)).collect();
        assert_eq!(held, all.iter().collect::<Vec<_>>());
    }
}

fn answer(response: coordinator::Response) -> Response {
    match response {
        coordinator::Response::Join(it) => Response::JoinGroup(it),
        coordinator::Response::Sync(it) => Response::SyncGroup(it),
        coordinator::Response::Heartbeat(it) => Response::Heartbeat(it),
        coordinator::Response::Leave(it) => Response::LeaveGroup(it),
        coordinator::Response::OffsetCommit(it) => Response::OffsetCommit(it),
        coordinator::Response::OffsetFetch(it) => Response::OffsetFetch(it),
        other => panic!("no member asks for {other:?}"),
    }
}
