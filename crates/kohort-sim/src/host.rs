//! A consumer process: the shell around a member, and an application that reads, works and commits.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use kohort_group::Time;
use kohort_group::coordinator::ConnectionId;
use kohort_group::member::{
    AskId, CallbackId, CloseGroup, Config, Effect, Event, FatalError, Member, TopicMetadata, Versions,
};
use kohort_group::messages::{
    ErrorCode, Offset, OffsetFetchResponse, OffsetToCommit, Partition, TopicPartition,
};

use crate::checkers::{Violation, broken, one_owner, sticky};
use crate::random::Random;
use crate::swarm::Drawn;
use crate::tale::{self, Tale};
use crate::world::{Happening, Local, World};

/// The request versions of brokers and clients as they are found together.
const VERSIONS: [(i16, i16, i16); 4] = [(9, 5, 9), (9, 5, 9), (7, 4, 8), (5, 3, 7)];

/// A place where one consumer process runs at a time.
#[derive(Debug)]
pub(crate) struct Host {
    pub(crate) group: String,
    pub(crate) instance: Option<String>,
    assignors: &'static [&'static str],
    pub(crate) topics: BTreeSet<String>,
    versions: Versions,
    /// Counts processes: what was meant for one must not reach the next.
    pub(crate) process: u32,
    /// `None` while the host is down.
    pub(crate) member: Option<Member>,
    pub(crate) frozen: bool,
    /// What happened while it was frozen.
    stash: VecDeque<Local>,
    connection: Option<ConnectionId>,
    /// No message passes before.
    pub(crate) cut_until: u64,
    /// When the last message that this host sent arrives, on whatever connection.
    pub(crate) sent_until: u64,
    watched: BTreeSet<String>,
    timer: Option<u64>,
    pub(crate) app: App,
}

/// What the application knows. Kept apart from what the member knows: the checkers compare them.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// Worked on: from `Assign` to the end of `Revoke`, or to `Lose`; and since which generation.
    pub(crate) held: BTreeMap<TopicPartition, i32>,
    positions: BTreeMap<TopicPartition, Offset>,
    /// Assigned, and the committed offset is not known yet.
    wanting: BTreeSet<TopicPartition>,
    fetching: BTreeMap<AskId, BTreeSet<TopicPartition>>,
    revoking: Option<(CallbackId, BTreeSet<TopicPartition>)>,
    /// Handed back since the last SyncGroup, for `Sticky`.
    pub(crate) handed_back: BTreeSet<TopicPartition>,
    last_ask: u64,
    /// The generation whose assignment the member has.
    pub(crate) synced: i32,
    /// A handler hangs: no progress before.
    pub(crate) stalled_until: u64,
}

impl Host {
    pub(crate) fn new(
        place: usize,
        drawn: &Drawn,
        topics: &BTreeMap<String, Partition>,
        r: &mut Random,
    ) -> Self {
        let group = place % drawn.groups;
        let fixed = r.chance(drawn.static_percent);
        let drawn_versions = r.pick(&VERSIONS);
        // Below version 9 a static leader that returns is not told that it leads, and nobody watches the topics
        // any more: Kafka's gap, which KIP-814 closed.
        let (join_group, sync_group, offset_commit) = if fixed { VERSIONS[0] } else { drawn_versions };
        let all: Vec<_> = topics.keys().cloned().collect();
        let mut wanted: BTreeSet<_> = all.iter().cloned().collect();
        if drawn.mixed_subscriptions {
            wanted.retain(|_| r.chance(60));
            wanted.insert(all[r.index(all.len())].clone());
        }
        Self {
            group: format!("g{group}"),
            instance: fixed.then(|| format!("i{place}")),
            assignors: drawn.assignors[group],
            topics: wanted,
            versions: Versions { join_group, sync_group, offset_commit },
            process: 0,
            member: None,
            frozen: false,
            stash: VecDeque::new(),
            connection: None,
            cut_until: 0,
            sent_until: 0,
            watched: BTreeSet::new(),
            timer: None,
            app: App::default(),
        }
    }

    pub(crate) fn connection(&self) -> Option<ConnectionId> {
        self.connection
    }

    /// Whether the host's process should be a member of its group once all faults are over.
    pub(crate) fn expected(&self) -> bool {
        self.member.is_some() && !self.topics.is_empty()
    }

    pub(crate) fn cooperative(&self) -> bool {
        self.assignors == ["cooperative-sticky"]
    }

    fn config(&self, drawn: &Drawn) -> Config {
        Config {
            group_instance_id: self.instance.clone(),
            session_timeout: Duration::from_millis(drawn.session),
            heartbeat_interval: Duration::from_millis(drawn.heartbeat),
            rebalance_timeout: Duration::from_millis(drawn.rebalance),
            max_poll_interval: Duration::from_millis(drawn.poll),
            assignors: self.assignors.iter().map(|name| (*name).to_owned()).collect(),
            request_timeout: Duration::from_secs(10),
            ..Config::new(self.group.clone())
        }
    }
}

impl World {
    pub(crate) fn start_host(&mut self, place: usize) -> Result<(), Violation> {
        let seed = self.random.ids.next();
        let host = &mut self.hosts[place];
        if host.member.is_some() {
            return Ok(());
        }
        host.process += 1;
        host.app = App::default();
        host.stash.clear();
        host.timer = None;
        host.watched.clear();
        let config = host.config(&self.drawn);
        let member = Member::new(config, seed).map_err(|error| broken("Setup", error.to_string()))?;
        host.member = Some(member);
        let (topics, process) = (host.topics.clone(), host.process);
        self.trace.tell(self.now, format_args!("h{place}.{process} starts for {topics:?}"));
        self.after(self.drawn.tick, Happening::At(place, process, Local::Tick));
        self.feed(place, Event::Subscribe(topics))
    }

    /// The process is gone. `silently`: the whole machine, so that nobody hears of its connection.
    pub(crate) fn crash_host(&mut self, place: usize, silently: bool) {
        let host = &mut self.hosts[place];
        if host.member.take().is_none() {
            return;
        }
        self.trace
            .tell(self.now, format_args!("h{place} crashes{}", if silently { " silently" } else { "" }));
        host.frozen = false;
        host.stash.clear();
        host.app = App::default();
        if let Some(connection) = host.connection.take() {
            if silently {
                self.break_connection(connection, false);
            } else {
                self.close_from_host(connection);
            }
        }
    }

    pub(crate) fn freeze(&mut self, place: usize) {
        let host = &mut self.hosts[place];
        if host.member.is_some() {
            host.frozen = true;
            self.trace.tell(self.now, format_args!("h{place} freezes"));
        }
    }

    /// The zombie wakes up: all that waited for it reaches it now.
    pub(crate) fn thaw(&mut self, place: usize) -> Result<(), Violation> {
        let host = &mut self.hosts[place];
        if !core::mem::take(&mut host.frozen) {
            return Ok(());
        }
        self.trace.tell(self.now, format_args!("h{place} thaws"));
        let process = host.process;
        // Timers and sockets become ready together: which a real process serves first is chance.
        if self.random.faults.chance(50) {
            self.feed(place, Event::Wakeup)?;
        }
        for local in core::mem::take(&mut self.hosts[place].stash) {
            self.at_host(place, process, local)?;
        }
        self.feed(place, Event::Wakeup)
    }

    pub(crate) fn at_host(&mut self, place: usize, process: u32, local: Local) -> Result<(), Violation> {
        let host = &mut self.hosts[place];
        if host.member.is_none() || host.process != process {
            return Ok(());
        }
        if host.frozen {
            host.stash.push_back(local);
            return Ok(());
        }
        match local {
            Local::Answer(connection, id, response) => {
                if host.connection != Some(connection) || !self.reaches_host(connection) {
                    return Ok(());
                }
                self.trace.tell(self.now, format_args!("h{place}.{process} <- {}", Tale(&*response)));
                self.feed(place, Event::Response(id, *response))
            }
            Local::HearsClose(connection) => {
                if host.connection != Some(connection) {
                    return Ok(());
                }
                host.connection = None;
                self.close_from_host(connection);
                self.feed(place, Event::CoordinatorLost)
            }
            Local::Looked => {
                let reached = self.broker.up() && self.hosts[place].cut_until <= self.now;
                let versions = self.hosts[place].versions;
                self.feed(
                    place,
                    if reached {
                        Event::CoordinatorFound(versions)
                    } else {
                        Event::CoordinatorNotFound(ErrorCode::CoordinatorNotAvailable)
                    },
                )
            }
            Local::Metadata => {
                let known = |topic: &String| {
                    let metadata = self.topics.get(topic).map(|count| TopicMetadata::of(*count));
                    (topic.clone(), metadata.unwrap_or_default())
                };
                let metadata = self.hosts[place].watched.iter().map(known).collect();
                self.feed(place, Event::Metadata(metadata))
            }
            Local::Timer => {
                self.hosts[place].timer = None;
                let due = self.hosts[place].member.as_ref().and_then(Member::deadline);
                if due.is_some_and(|at| at <= self.time()) {
                    self.feed(place, Event::Wakeup)?;
                }
                self.set_host_timer(place);
                Ok(())
            }
            Local::Tick => self.tick(place),
            Local::CallbackOver(id) => self.callback_over(place, id),
        }
    }

    /// Hands an event to the member and does what follows; what the application says meanwhile comes after.
    pub(crate) fn feed(&mut self, place: usize, event: Event) -> Result<(), Violation> {
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            let now = self.time();
            let Some(member) = &mut self.hosts[place].member else { return Ok(()) };
            for effect in member.handle(now, event) {
                self.perform_host(place, effect, &mut events)?;
            }
        }
        self.set_host_timer(place);
        Ok(())
    }

    fn perform_host(
        &mut self,
        place: usize,
        effect: Effect,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Violation> {
        let process = self.hosts[place].process;
        match effect {
            Effect::FindCoordinator => {
                let there_and_back = self.round_trip(place);
                self.after(there_and_back, Happening::At(place, process, Local::Looked));
            }
            Effect::Send { id, request } => {
                let connection = match self.hosts[place].connection {
                    Some(connection) => connection,
                    None => self.connect(place),
                };
                self.hosts[place].connection = Some(connection);
                self.send_request(connection, id, request);
            }
            Effect::Disconnect => {
                if let Some(connection) = self.hosts[place].connection.take() {
                    self.close_from_host(connection);
                }
            }
            Effect::WatchTopics(topics) => {
                self.hosts[place].watched = topics;
                let there_and_back = self.round_trip(place);
                self.after(there_and_back, Happening::At(place, process, Local::Metadata));
            }
            Effect::Revoke { id, partitions } => self.revoke(place, id, partitions, events),
            Effect::Assign { id, added, all, generation } => {
                self.assign(place, id, added, &all, generation, events)?;
            }
            Effect::Lose { id, partitions } => {
                self.trace.tell(self.now, format_args!("h{place} loses {}", tale::partitions(&partitions)));
                self.hosts[place].app.revoking = None;
                self.hosts[place].app.drop(&partitions);
                self.end_callback(place, id);
            }
            Effect::OffsetsFetched { id, result } => self.hosts[place].app.fetched(id, result.ok()),
            Effect::Fatal(error) => return self.ended(place, &error),
            Effect::Closed => {
                self.trace.tell(self.now, format_args!("h{place} is closed"));
                self.crash_host(place, false);
                let at = self.random.faults.between(100, 8_000);
                self.after(at, Happening::HostStarts(place));
            }
            Effect::Left(reason) => self.trace.tell(self.now, format_args!("h{place} left: {reason:?}")),
            Effect::Joined { generation, .. } => {
                self.hosts[place].app.synced = generation;
                self.hosts[place].app.handed_back.clear();
            }
            Effect::Committed { .. } => {}
        }
        Ok(())
    }

    fn round_trip(&mut self, place: usize) -> u64 {
        let (low, high) = self.drawn.delay;
        let span = self.random.network.between(2 * low, 2 * high);
        let cut = self.hosts[place].cut_until.saturating_sub(self.now);
        // A lookup in a cut does not wait for its end: it asks elsewhere, in vain.
        span + cut.min(1_000)
    }

    fn ended(&mut self, place: usize, error: &FatalError) -> Result<(), Violation> {
        self.trace.tell(self.now, format_args!("h{place} ends: {error}"));
        let fenced = matches!(error, FatalError::Fenced { .. });
        if !fenced {
            return Err(broken("Progress", format!("the member of host {place} ended: {error}")));
        }
        self.crash_host(place, false);
        self.after(3_000, Happening::HostStarts(place));
        Ok(())
    }

    fn set_host_timer(&mut self, place: usize) {
        let host = &mut self.hosts[place];
        let Some(at) = host.member.as_ref().and_then(Member::deadline).map(Time::as_millis) else { return };
        if host.timer.is_none_or(|set| at < set) {
            host.timer = Some(at);
            let process = host.process;
            self.at(at, Happening::At(place, process, Local::Timer));
        }
    }

    fn revoke(
        &mut self,
        place: usize,
        id: CallbackId,
        partitions: BTreeSet<TopicPartition>,
        events: &mut VecDeque<Event>,
    ) {
        self.trace.tell(self.now, format_args!("h{place} revokes {}", tale::partitions(&partitions)));
        let until = self.time() + Duration::from_millis(self.drawn.rebalance);
        let app = &mut self.hosts[place].app;
        if let Some(commit) = app.commit(Some(until)) {
            events.push_back(commit);
        }
        app.revoking = Some((id, partitions));
        self.end_callback(place, id);
    }

    fn assign(
        &mut self,
        place: usize,
        id: CallbackId,
        added: BTreeSet<TopicPartition>,
        all: &BTreeSet<TopicPartition>,
        generation: i32,
        events: &mut VecDeque<Event>,
    ) -> Result<(), Violation> {
        self.trace.tell(
            self.now,
            format_args!("h{place} is assigned {} in {generation}", tale::partitions(&added)),
        );
        sticky::check_pause(&self.hosts[place], &added, place)?;
        let app = &mut self.hosts[place].app;
        app.handed_back.clear();
        app.held.extend(added.iter().map(|partition| (partition.clone(), generation)));
        if !app.held.keys().eq(all.iter()) {
            let what =
                format!("host {place} works on {:?} and is told that it owns {all:?}", app.held.keys());
            return Err(broken("OneOwner", what));
        }
        app.wanting.extend(added);
        let until = self.time() + Duration::from_secs(10);
        events.extend(self.hosts[place].app.fetch(until));
        one_owner::check_hosts(&self.hosts, place, generation)?;
        self.end_callback(place, id);
        Ok(())
    }

    fn end_callback(&mut self, place: usize, id: CallbackId) {
        // While there are faults, callbacks may well take longer than a rebalance waits. A group whose callbacks always
        // do never settles, and should not.
        let (low, mut high) = self.drawn.callback;
        if self.healed.is_some() {
            high = high.min(self.drawn.rebalance / 4);
        }
        let takes = self.random.application.between(low, high);
        let process = self.hosts[place].process;
        self.after(takes, Happening::At(place, process, Local::CallbackOver(id)));
    }

    fn callback_over(&mut self, place: usize, id: CallbackId) -> Result<(), Violation> {
        let app = &mut self.hosts[place].app;
        if let Some((_, partitions)) = app.revoking.take_if(|(open, _)| *open == id) {
            app.drop(&partitions);
            app.handed_back.extend(partitions);
        }
        self.feed(place, Event::CallbackDone(id))
    }

    /// The application's turn: read, work, now and then commit.
    fn tick(&mut self, place: usize) -> Result<(), Violation> {
        let process = self.hosts[place].process;
        self.after(self.drawn.tick, Happening::At(place, process, Local::Tick));
        if self.hosts[place].app.stalled_until > self.now {
            return Ok(());
        }
        self.feed(place, Event::Polled)?;
        let until = self.time() + Duration::from_secs(10);
        let retries = self.random.application.chance(30);
        let commits = self.random.application.chance(50);
        let r = &mut self.random.application;
        let app = &mut self.hosts[place].app;
        let busy = app.revoking.as_ref().map(|(_, partitions)| partitions);
        for (partition, position) in &mut app.positions {
            if busy.is_none_or(|busy| !busy.contains(partition)) {
                *position += i64::try_from(r.below(4)).unwrap_or(0);
            }
        }
        let fetch = app.fetch(until);
        let commit = if commits { app.commit(retries.then_some(until)) } else { None };
        for event in fetch.into_iter().chain(commit) {
            self.feed(place, event)?;
        }
        Ok(())
    }

    /// The application changes its mind about topics.
    pub(crate) fn resubscribe(&mut self, place: usize) -> Result<(), Violation> {
        let host = &mut self.hosts[place];
        // A static member that crashes and returns with another subscription than it had gets its old assignment and
        // no rebalance: Kafka's rule (KIP-345), and nobody would read what it added.
        if host.member.is_none() || host.frozen || host.instance.is_some() {
            return Ok(());
        }
        let all: Vec<_> = self.topics.keys().cloned().collect();
        let r = &mut self.random.faults;
        let mut topics: BTreeSet<_> = all.iter().filter(|_| r.chance(60)).cloned().collect();
        if r.chance(80) {
            topics.insert(all[r.index(all.len())].clone());
        }
        self.trace.tell(self.now, format_args!("h{place} subscribes to {topics:?}"));
        host.topics.clone_from(&topics);
        host.app.handed_back.clear();
        let event = if topics.is_empty() { Event::Unsubscribe } else { Event::Subscribe(topics) };
        self.feed(place, event)
    }

    pub(crate) fn close_host(&mut self, place: usize) -> Result<(), Violation> {
        if self.hosts[place].frozen {
            return Ok(());
        }
        self.trace.tell(self.now, format_args!("h{place} closes"));
        let how = self.random.faults.pick(&[CloseGroup::Default, CloseGroup::Leave, CloseGroup::Remain]);
        self.feed(place, Event::Close(how))
    }
}

impl App {
    fn drop(&mut self, partitions: &BTreeSet<TopicPartition>) {
        for partition in partitions {
            self.held.remove(partition);
            self.positions.remove(partition);
            self.wanting.remove(partition);
            for asked in self.fetching.values_mut() {
                asked.remove(partition);
            }
        }
    }

    fn ask(&mut self) -> AskId {
        self.last_ask += 1;
        AskId(self.last_ask)
    }

    /// Asks for the committed offsets that are wanted.
    fn fetch(&mut self, retry_until: Time) -> Option<Event> {
        let wanting = core::mem::take(&mut self.wanting);
        if wanting.is_empty() {
            return None;
        }
        let id = self.ask();
        let partitions = wanting.iter().cloned().collect();
        self.fetching.insert(id, wanting);
        Some(Event::FetchOffsets { id, partitions, retry_until })
    }

    fn fetched(&mut self, id: AskId, response: Option<OffsetFetchResponse>) {
        let Some(mut asked) = self.fetching.remove(&id) else { return };
        for (partition, fetched) in response.into_iter().flat_map(|it| it.partitions) {
            if fetched.error == ErrorCode::None && asked.remove(&partition) {
                self.positions.insert(partition, fetched.offset.max(0));
            }
        }
        // What was not answered is asked again, with the next turn.
        self.wanting.extend(asked);
    }

    /// Commits every position.
    fn commit(&mut self, retry_until: Option<Time>) -> Option<Event> {
        if self.positions.is_empty() {
            return None;
        }
        let id = self.ask();
        let offset = |offset: &Offset| OffsetToCommit { offset: *offset, leader_epoch: -1, metadata: None };
        let offsets = self.positions.iter().map(|(tp, position)| (tp.clone(), offset(position))).collect();
        Some(Event::Commit { id, offsets, retry_until })
    }
}
