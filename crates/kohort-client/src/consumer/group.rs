//! The shell of the group's member: its requests onto the coordinator's connection, its callbacks to the caller as
//! events, time as a number. What follows from what is decided in `kohort_group::member` alone.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kohort_group::Time;
use kohort_group::member::{
    AskId, CallbackId, CloseGroup, CommitError, Config, ConfigError, Effect, Event, FetchOffsetsError,
    LeftReason, Member, Request, RequestId, TopicMetadata, Versions,
};
use kohort_group::messages::{ErrorCode, OffsetFetchResponse, OffsetToCommit, TopicPartition};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::core::{Core, Heard};
use super::event::{RevokeAck, Start};
use super::group_wire::{self, Framed, Kind};
use super::partitions::Phase;
use super::{ConsumerBuilder, ConsumerEvent, LeaveReason};
use crate::net::cluster::{Cluster, Purpose, RouteError, Wanted};
use crate::net::connection::Lost;
use crate::net::metadata::Metadata;
use crate::net::wire::messages::{
    FindCoordinatorRequest, JoinGroupRequest, OffsetCommitRequest, SyncGroupRequest,
};
use crate::net::wire::{AskError, Link, text};

/// How long `close` waits for the coordinator: leaving is a courtesy.
const CLOSE_LIMIT: Duration = Duration::from_secs(3);

/// No timer looks further ahead.
const LONGEST: Duration = Duration::from_secs(365 * 24 * 3600);

/// What the member is told, by the consumer's handle and by the tasks that work for it.
#[derive(Debug)]
pub(crate) enum Command {
    Subscribe(BTreeSet<String>),
    Unsubscribe,
    Close(oneshot::Sender<()>),
    Commit {
        offsets: Vec<(TopicPartition, OffsetToCommit)>,
        retry: Option<Duration>,
        reply: Option<oneshot::Sender<Result<(), CommitError>>>,
    },
    FetchOffsets {
        partitions: Vec<TopicPartition>,
        retry: Duration,
        reply: oneshot::Sender<Result<OffsetFetchResponse, FetchOffsetsError>>,
    },
    /// `next` was called after the member had left for want of it.
    Polled,
    Found(Result<Coordinator, RouteError>, i16),
    Answer {
        link: u64,
        id: RequestId,
        answer: Result<Bytes, Lost>,
    },
    Done(CallbackId),
    /// The group waits for its end no longer.
    Overdue(CallbackId),
}

/// What waits for an outcome of the member.
enum Asked {
    Commit(Option<oneshot::Sender<Result<(), CommitError>>>),
    Offsets(oneshot::Sender<Result<OffsetFetchResponse, FetchOffsetsError>>),
}

/// The coordinator, over two connections. A broker answers what comes over one connection one after the other, and a join or
/// a heartbeat may wait there: behind it a commit would wait too, a goodbye would come after what it is to prevent, and a
/// coordinator that holds heartbeats would have to let one go at each commit, and could bring no news until the next.
#[derive(Clone, Debug)]
pub(crate) struct Coordinator {
    waits: Arc<Link>,
    answers: Arc<Link>,
}

impl Coordinator {
    fn link_for(&self, request: &Request) -> &Arc<Link> {
        match request {
            Request::JoinGroup(_) | Request::SyncGroup(_) | Request::Heartbeat(_) => &self.waits,
            Request::OffsetCommit(_) | Request::OffsetFetch(_) | Request::LeaveGroup(_) => &self.answers,
        }
    }

    fn close(&self) {
        self.waits.connection.close();
        self.answers.connection.close();
    }
}

/// The member of one consumer, and all that it needs of the world.
pub(crate) struct Host {
    core: Arc<Core>,
    member: Member,
    clock: Clock,
    /// To itself, from the tasks that work for it.
    itself: mpsc::WeakUnboundedSender<Command>,
    commands: mpsc::UnboundedReceiver<Command>,
    link: Option<Coordinator>,
    /// A join that waits until the commits before it are answered.
    held: Option<(RequestId, Request)>,
    /// Numbers connections, so that what a former one lost is not laid to the present one.
    link_number: u64,
    in_flight: HashMap<RequestId, (group_wire::Kind, i16)>,
    asked: HashMap<AskId, Asked>,
    asks: u64,
    watched: BTreeMap<String, TopicMetadata>,
    wanted: Option<(BTreeSet<String>, Wanted)>,
    closing: Option<oneshot::Sender<()>>,
    ended: bool,
}

/// The wall clock when it was made, and the monotonic one since.
struct Clock {
    began: Instant,
    at: u64,
}

impl Clock {
    fn new() -> Self {
        let at = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { began: Instant::now(), at: u64::try_from(at.as_millis()).unwrap_or(u64::MAX) }
    }

    fn now(&self) -> Time {
        Time::from_millis(self.at) + self.began.elapsed()
    }

    fn instant(&self, time: Time) -> Instant {
        // Time is in whole milliseconds: waking within one would find nothing due.
        let wait = time.since(Time::from_millis(self.at)).min(LONGEST) + Duration::from_millis(1);
        self.began + wait
    }
}

/// The member's settings.
pub(crate) fn config(settings: &ConsumerBuilder, group: &str) -> Config {
    let client = &settings.client.cluster.config;
    Config {
        group_instance_id: settings.instance_id.clone(),
        session_timeout: settings.session_timeout,
        heartbeat_interval: settings.heartbeat_interval,
        rebalance_timeout: settings.rebalance_timeout,
        max_poll_interval: settings.max_poll_interval.unwrap_or(Duration::MAX),
        assignors: settings.assignors.clone(),
        retry_backoff: client.backoff.base,
        retry_backoff_max: client.backoff.max,
        request_timeout: client.request_timeout,
        ..Config::new(group)
    }
}

impl Host {
    pub(crate) fn new(
        core: Arc<Core>,
        config: Config,
        itself: mpsc::WeakUnboundedSender<Command>,
        commands: mpsc::UnboundedReceiver<Command>,
    ) -> Result<Self, ConfigError> {
        Ok(Self {
            member: Member::new(config, core.cluster.roll())?,
            core,
            clock: Clock::new(),
            itself,
            commands,
            link: None,
            held: None,
            link_number: 0,
            in_flight: HashMap::new(),
            asked: HashMap::new(),
            asks: 0,
            watched: BTreeMap::new(),
            wanted: None,
            closing: None,
            ended: false,
        })
    }

    /// Runs until the member is closed.
    pub(crate) async fn run(mut self) {
        let mut metadata = self.core.cluster.watch_metadata();
        while !self.ended {
            let wake = self.member.deadline().map(|at| self.clock.instant(at));
            let event = tokio::select! {
                biased;
                command = self.commands.recv() => match command {
                    Some(command) => self.event(command),
                    // The consumer was dropped without `close`: leave all the same.
                    None => Some(Event::Close(CloseGroup::Default)),
                },
                changed = metadata.changed() => match changed {
                    Ok(()) => {
                        let known = metadata.borrow_and_update().clone();
                        self.topics(&known)
                    }
                    Err(_) => return,
                },
                () = until(wake) => Some(Event::Wakeup),
            };
            if self.core.polled.swap(false, Ordering::Relaxed)
                || self.core.settings.max_poll_interval.is_none()
            {
                self.handle(Event::Polled);
            }
            if let Some(event) = event {
                self.handle(event);
            }
            if !self.send_held() {
                self.lost();
            }
        }
        if let Some(link) = self.link.take() {
            link.close();
        }
        if let Some(done) = self.closing.take() {
            let _ = done.send(());
        }
        self.core.shut();
    }

    /// What a command means to the member.
    fn event(&mut self, command: Command) -> Option<Event> {
        match command {
            Command::Subscribe(topics) => Some(Event::Subscribe(topics)),
            Command::Unsubscribe => Some(Event::Unsubscribe),
            Command::Close(done) => {
                self.closing = Some(done);
                Some(Event::Close(CloseGroup::Default))
            }
            Command::Commit { offsets, retry, reply } => {
                let id = self.ask(Asked::Commit(reply));
                let retry_until = retry.map(|limit| self.clock.now() + limit);
                Some(Event::Commit { id, offsets, retry_until })
            }
            Command::FetchOffsets { partitions, retry, reply } => {
                let id = self.ask(Asked::Offsets(reply));
                let retry_until = self.clock.now() + retry;
                Some(Event::FetchOffsets { id, partitions, retry_until })
            }
            Command::Polled => Some(Event::Polled),
            Command::Found(Ok(link), _) => {
                let versions = versions(&link.waits);
                self.link = Some(link);
                self.held = None;
                self.link_number += 1;
                Some(Event::CoordinatorFound(versions))
            }
            Command::Found(Err(error), code) => {
                tracing::debug!(error = &error as &dyn std::error::Error, code, "no coordinator");
                Some(Event::CoordinatorNotFound(group_wire::error(code)))
            }
            Command::Answer { link, id, answer } => self.answer(link, id, answer),
            Command::Done(id) => Some(Event::CallbackDone(id)),
            Command::Overdue(id) => Some(Event::CallbackOverdue(id)),
        }
    }

    fn ask(&mut self, asked: Asked) -> AskId {
        self.asks += 1;
        let id = AskId(self.asks);
        self.asked.insert(id, asked);
        id
    }

    /// An answer, or the end of the connection: of many requests that it takes along, the first tells.
    fn answer(&mut self, number: u64, id: RequestId, answer: Result<Bytes, Lost>) -> Option<Event> {
        let (kind, version) = self.in_flight.remove(&id)?;
        let link = self.link.clone().filter(|_| number == self.link_number)?;
        let answer = answer.map_err(AskError::from);
        match answer.and_then(|answer| group_wire::response(&link.waits, kind, version, answer)) {
            Ok(response) => Some(Event::Response(id, response)),
            Err(error) => {
                tracing::debug!(error = &error as &dyn std::error::Error, "the coordinator is lost");
                link.close();
                self.link = None;
                Some(Event::CoordinatorLost)
            }
        }
    }

    fn handle(&mut self, event: Event) {
        let mut lost = false;
        for effect in self.member.handle(self.clock.now(), event) {
            lost |= !self.perform(effect);
        }
        if lost {
            self.lost();
        }
        let membership =
            self.member.generation().map(|generation| (self.member.member_id().to_owned(), generation));
        let mut state = self.core.lock();
        if state.membership != membership {
            state.membership = membership;
        }
    }

    /// The coordinator's connection turned out to be gone.
    fn lost(&mut self) {
        self.link = None;
        self.handle(Event::CoordinatorLost);
    }

    /// Carries out an effect; `false` if the coordinator's connection turns out to be gone.
    fn perform(&mut self, effect: Effect) -> bool {
        match effect {
            Effect::FindCoordinator => self.find(),
            Effect::Send { id, request } => return self.send(id, &request),
            Effect::Disconnect => {
                if let Some(link) = self.link.take() {
                    link.close();
                }
            }
            Effect::WatchTopics(topics) => self.watch(topics),
            Effect::Revoke { id, partitions } => self.revoke(id, partitions),
            Effect::Assign { id, added, all, .. } => self.assign(id, added, all),
            Effect::Lose { id, partitions } => self.lose(id, partitions),
            Effect::Committed { id, result } => {
                if let Some(Asked::Commit(reply)) = self.asked.remove(&id) {
                    match reply {
                        Some(reply) => drop(reply.send(result)),
                        None => {
                            if let Err(error) = result {
                                tracing::warn!(%error, "offsets were not committed");
                            }
                        }
                    }
                }
            }
            Effect::OffsetsFetched { id, result } => {
                if let Some(Asked::Offsets(reply)) = self.asked.remove(&id) {
                    let _ = reply.send(result);
                }
            }
            Effect::Joined { generation, member_id, assignor, leader } => {
                tracing::info!(
                    group = self.core.settings.group,
                    generation,
                    member_id,
                    assignor,
                    leader,
                    "joined"
                );
            }
            Effect::Left(reason) => self.left(&reason),
            Effect::Fatal(error) => {
                tracing::error!(%error, "the consumer cannot go on");
                self.core.fail(error.into());
            }
            Effect::Closed => self.ended = true,
        }
        true
    }

    /// Looks up the coordinator and connects, in a task of its own.
    fn find(&self) {
        let (cluster, itself) = (self.core.cluster.clone(), self.itself.clone());
        let (group, number) = (self.core.settings.group.clone().unwrap_or_default(), self.core.number);
        tokio::spawn(async move {
            let (found, code) = find_both(&cluster, &group, number).await;
            if let Some(itself) = itself.upgrade() {
                let _ = itself.send(Command::Found(found, code));
            }
        });
    }

    fn send(&mut self, id: RequestId, request: &Request) -> bool {
        let Some(link) = &self.link else { return false };
        if matches!(request, Request::LeaveGroup(_)) {
            self.held = None;
        }
        if matches!(request, Request::JoinGroup(_)) && self.commits_in_flight() {
            self.held = Some((id, request.clone()));
            return true;
        }
        let link = link.link_for(request);
        let Framed { frame, kind, version } = match group_wire::frame(link, request) {
            Ok(framed) => framed,
            Err(error) => {
                tracing::error!(error = &error as &dyn std::error::Error, "request cannot be written");
                return false;
            }
        };
        let (itself, number) = (self.itself.clone(), self.link_number);
        let then = move |answer| {
            if let Some(itself) = itself.upgrade() {
                let _ = itself.send(Command::Answer { link: number, id, answer });
            }
        };
        // The member watches the time itself.
        let patience = Duration::from_secs(24 * 3600);
        let sent = link.connection.send(frame, &[], patience, Box::new(then)).is_ok();
        if sent {
            self.in_flight.insert(id, (kind, version));
        }
        sent
    }

    /// A join overtakes no commit: what was sent in a generation is read in it, though over another connection.
    fn commits_in_flight(&self) -> bool {
        self.in_flight.values().any(|(kind, _)| *kind == Kind::OffsetCommit)
    }

    /// Sends the join that waited for commits, once they are answered; `false` if the connection turns out to be gone.
    fn send_held(&mut self) -> bool {
        if self.commits_in_flight() {
            return true;
        }
        self.held.take().is_none_or(|(id, request)| self.send(id, &request))
    }

    fn watch(&mut self, topics: BTreeSet<String>) {
        let shared: Vec<Arc<str>> = topics.iter().map(|topic| topic.as_str().into()).collect();
        self.watched.retain(|topic, _| topics.contains(topic));
        self.wanted = Some((topics, self.core.cluster.want(shared)));
        let known = self.core.cluster.metadata();
        if let Some(event) = self.topics(&known) {
            self.handle(event);
        }
    }

    /// What the metadata tells that the member has not been told.
    fn topics(&mut self, known: &Metadata) -> Option<Event> {
        let (wanted, _) = self.wanted.as_ref()?;
        let mut news = BTreeMap::new();
        for name in wanted {
            let Some(topic) = known.topics.get(name.as_str()) else { continue };
            let count = i32::try_from(topic.partitions.len()).unwrap_or(i32::MAX);
            let told = if topic.error == 0 && count > 0 {
                TopicMetadata::of(count)
            } else {
                TopicMetadata::default()
            };
            if self.watched.get(name) != Some(&told) {
                self.watched.insert(name.clone(), told.clone());
                news.insert(name.clone(), told);
            }
        }
        (!news.is_empty()).then_some(Event::Metadata(news))
    }

    fn revoke(&self, id: CallbackId, partitions: BTreeSet<TopicPartition>) {
        let (done, mut acked) = oneshot::channel();
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        {
            let mut state = self.core.lock();
            for name in &partitions {
                if let Some(part) = state.parts.id(name) {
                    state.parts.restart(part, Phase::Revoking);
                }
            }
            let ack = RevokeAck { done: Some(done) };
            state.tell(ConsumerEvent::Revoking { partitions: partitions.clone(), ack });
        }
        self.core.news.notify_one();
        let (core, itself, limit) =
            (self.core.clone(), self.itself.clone(), self.core.settings.rebalance_timeout);
        tokio::spawn(async move {
            let in_time = tokio::time::timeout(limit, &mut acked).await.is_ok();
            core.remove(&partitions);
            if !in_time {
                tracing::warn!(?limit, "revoked partitions were not let go in time");
                tell(&itself, Command::Overdue(id));
                // Until then nothing of them can be committed. An error: the ack was dropped, which says the same.
                let _ = acked.await;
            }
            tell(&itself, Command::Done(id));
        });
    }

    fn assign(&self, id: CallbackId, added: BTreeSet<TopicPartition>, all: BTreeSet<TopicPartition>) {
        let (done, mut started) = oneshot::channel();
        let (detach, detached) = oneshot::channel();
        let cluster = &self.core.cluster;
        let mut waiting = Vec::with_capacity(added.len());
        {
            let mut state = self.core.lock();
            let mut topics: Vec<Arc<str>> = all.iter().map(|name| name.topic.as_str().into()).collect();
            topics.dedup();
            state.wanted = Some(cluster.want(topics));
            let metadata = cluster.metadata();
            for name in added {
                let id = state.parts.add(&name, Phase::Waiting, &metadata);
                let incarnation = state.parts.get(id).map_or(0, |part| part.incarnation);
                waiting.push((name, incarnation));
            }
            let added = waiting.iter().map(|(name, _)| name.clone()).collect();
            let start = Start { positions: vec![], done: Some(done), detached: Some(detach) };
            let all = all.into_iter().collect();
            state.tell(ConsumerEvent::Assigned { added, all, start });
        }
        self.core.news.notify_one();
        let (core, itself) = (self.core.clone(), self.itself.clone());
        let limit = self.core.settings.rebalance_timeout;
        tokio::spawn(async move {
            // The caller needs long (a store that is away). The group waits no longer, and what is started then is read.
            let waited_enough = async {
                // An error: it is dropped, and has started.
                if let Ok(Err(_)) = tokio::time::timeout(limit, detached).await {
                    std::future::pending().await
                }
            };
            let positions = tokio::select! {
                biased;
                positions = &mut started => positions,
                () = waited_enough => {
                    tell(&itself, Command::Done(id));
                    started.await
                }
            };
            if let Ok(positions) = positions {
                core.begin(&waiting, &positions);
            }
            tell(&itself, Command::Done(id));
        });
    }

    fn lose(&self, id: CallbackId, partitions: BTreeSet<TopicPartition>) {
        let partitions: Vec<TopicPartition> = partitions.into_iter().collect();
        self.core.remove(&partitions);
        // The callback ends when the caller knows: what it commits before must count in no new generation, for it would turn back what
        // the next owner has committed.
        let heard = Heard { id, itself: self.itself.clone() };
        self.core.lock().tell_and_wait(ConsumerEvent::Lost { partitions }, heard);
        self.core.news.notify_one();
    }

    fn left(&self, reason: &LeftReason) {
        let reason = match reason {
            LeftReason::Unsubscribed | LeftReason::Closed => LeaveReason::Asked,
            LeftReason::PollIntervalExceeded => {
                self.core.awaits_poll.store(true, Ordering::Release);
                tracing::warn!(
                    limit = ?self.core.settings.max_poll_interval,
                    "left the group: `next` was not called for `max.poll.interval.ms`"
                );
                LeaveReason::PollTimeout
            }
            LeftReason::UnknownMember | LeftReason::IllegalGeneration => LeaveReason::Removed,
        };
        tracing::info!(group = self.core.settings.group, ?reason, "left the group");
        self.core.tell(ConsumerEvent::Left { reason });
    }
}

pub(crate) fn tell(itself: &mpsc::WeakUnboundedSender<Command>, command: Command) {
    if let Some(itself) = itself.upgrade() {
        let _ = itself.send(command);
    }
}

impl Core {
    /// Removes partitions that are somebody else's now.
    fn remove(&self, partitions: &[TopicPartition]) {
        let mut state = self.lock();
        for name in partitions {
            state.parts.remove(name);
        }
    }

    /// Starts assigned partitions: at the offsets given, the others at what is committed. Of a partition that was taken away
    /// meanwhile, and perhaps assigned anew, the late start of its former time says nothing.
    fn begin(&self, added: &[(TopicPartition, u64)], positions: &[(TopicPartition, i64)]) {
        let positions: HashMap<&TopicPartition, i64> =
            positions.iter().map(|(name, at)| (name, *at)).collect();
        {
            let mut state = self.lock();
            for (name, incarnation) in added {
                let Some(id) = state.parts.id(name) else { continue };
                let Some(part) = state.parts.same(id, *incarnation) else { continue };
                if part.phase != Phase::Waiting {
                    continue;
                }
                part.phase = Phase::Committed;
                if let Some(offset) = positions.get(name) {
                    state.parts.start_at(id, *offset);
                }
            }
        }
        self.work.notify_one();
    }
}

/// What both sides speak of the APIs whose rules depend on it.
fn versions(link: &Link) -> Versions {
    Versions {
        join_group: link.versions.pick::<JoinGroupRequest>().unwrap_or(0),
        sync_group: link.versions.pick::<SyncGroupRequest>().unwrap_or(0),
        offset_commit: link.versions.pick::<OffsetCommitRequest>().unwrap_or(0),
    }
}

/// Finds the coordinator of `group` and connects to it; with an error, Kafka's code for it.
pub(crate) async fn find(
    cluster: &Arc<Cluster>,
    group: &str,
    purpose: Purpose,
) -> (Result<Arc<Link>, RouteError>, i16) {
    let unreachable = ErrorCode::CoordinatorNotAvailable.code();
    let link = match cluster.any().await {
        Ok(link) => link,
        Err(error) => return (Err(error.into()), unreachable),
    };
    let question = FindCoordinatorRequest::default().with_key(text(group));
    let answer = match link.ask(&question, cluster.config.request_timeout).await {
        Ok(answer) => answer,
        Err(error) => return (Err(error.into()), unreachable),
    };
    if answer.error_code != 0 {
        return (Err(RouteError::Refused { code: answer.error_code }), answer.error_code);
    }
    let address = format!("{}:{}", answer.host.as_str(), answer.port).into();
    match cluster.at(&address, purpose).await {
        Ok(link) => (Ok(link), 0),
        Err(error) => (Err(error.into()), unreachable),
    }
}

/// Finds the coordinator of the group of consumer `number`, and makes both connections to it.
async fn find_both(
    cluster: &Arc<Cluster>,
    group: &str,
    number: u64,
) -> (Result<Coordinator, RouteError>, i16) {
    let (waits, code) = find(cluster, group, Purpose::Group(number)).await;
    let waits = match waits {
        Ok(waits) => waits,
        Err(error) => return (Err(error), code),
    };
    match cluster.at(waits.connection.peer(), Purpose::Offsets(number)).await {
        Ok(answers) => (Ok(Coordinator { waits, answers }), 0),
        Err(error) => (Err(error.into()), ErrorCode::CoordinatorNotAvailable.code()),
    }
}

/// Waits until then; for ever without a time.
async fn until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

/// Closes the member: waits until it has left, not for ever.
pub(crate) async fn close(core: &Core) {
    let (done, closed) = oneshot::channel();
    if core.command(Command::Close(done)) {
        let _ = tokio::time::timeout(CLOSE_LIMIT, closed).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Client, ClientConfig};

    /// A consumer's core, and a partition that waits to be started: its name, its slot, its incarnation.
    fn waiting(core: &Core) -> (TopicPartition, usize, u64) {
        let name = TopicPartition::new("t", 0);
        let mut state = core.lock();
        let id = state.parts.add(&name, Phase::Waiting, &Metadata::default());
        let incarnation = state.parts.get(id).unwrap().incarnation;
        (name, id, incarnation)
    }

    fn core() -> Arc<Core> {
        let client = Client::new(ClientConfig::new(["127.0.0.1:1"])).unwrap();
        Core::new(client.consumer(), None)
    }

    #[test]
    fn a_late_start_says_nothing_of_a_partition_that_was_assigned_anew() {
        let core = core();
        let (name, _, former) = waiting(&core);
        let (_, id, present) = waiting(&core);
        core.begin(&[(name.clone(), former)], &[(name.clone(), 7)]);
        assert_eq!(core.lock().parts.get(id).unwrap().phase, Phase::Waiting, "nobody claimed it yet");
        core.begin(&[(name.clone(), present)], &[(name.clone(), 9)]);
        let state = core.lock();
        let part = state.parts.get(id).unwrap();
        assert_eq!((part.phase, part.position), (Phase::Fetching, 9));
    }

    #[test]
    fn a_start_moves_nothing_that_a_seek_has_started() {
        let core = core();
        let (name, id, incarnation) = waiting(&core);
        core.lock().parts.start_at(id, 5);
        core.begin(&[(name.clone(), incarnation)], &[(name, 7)]);
        assert_eq!(core.lock().parts.get(id).unwrap().position, 5);
    }
}
