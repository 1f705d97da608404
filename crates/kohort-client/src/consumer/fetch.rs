//! The fetch path. An answer is taken in the task that read it, the next request leaves before the answer's records are
//! looked at, and decoding is left to `next`.
//!
//! Two lanes lead to each broker, each a connection with a session: usually the first carries all partitions. A broker holds up
//! a fetch that finds nothing, for `fetch.max.wait.ms`; a partition that is resumed or assigned meanwhile goes by the second.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use kohort_group::messages::{Offset, Partition};
use kohort_protocol::ErrorCode;
use kohort_protocol::records::BatchError;

use super::core::{Core, State};
use super::partitions::{Chunk, Phase};
use super::session::{FetchSession, Plan, SESSION_ERRORS};
use super::{HaltError, Isolation, OffsetReset, SeekTo};
use crate::net::cluster::Purpose;
use crate::net::connection::Lost;
use crate::net::wire::messages::fetch_request::{FetchPartition, FetchTopic, ForgottenTopic};
use crate::net::wire::messages::fetch_response::PartitionData;
use crate::net::wire::messages::{FetchRequest, FetchResponse};
use crate::net::wire::{AskError, BrokerId, Link, millis, topic_name};

/// A fetch that is unanswered for this long found nothing: the broker holds it up.
const HELD_UP: Duration = Duration::from_millis(50);

/// An answer of less than this is not worth asking for: the rest of the room is waited for.
const ROOM_BYTES_MIN: usize = 64 << 10;

/// One connection to a broker that fetches.
#[derive(Debug, Default)]
pub(crate) struct Lane {
    link: Option<Arc<Link>>,
    connecting: bool,
    /// The request that is under way, and since when.
    in_flight: Option<(u64, Instant)>,
    session: FetchSession,
}

#[cfg(test)]
impl Lane {
    /// As if a request had just left.
    pub(crate) fn under_way(&mut self, number: u64) {
        self.in_flight = Some((number, Instant::now()));
    }
}

/// Which lanes may begin a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lanes {
    /// The first.
    Usual,
    /// This one; the first before it.
    With(u8),
    /// Both: what is wanted must not wait behind a long poll.
    Urgent,
}

/// A request that is ready to leave.
struct Ready {
    node: i32,
    lane: u8,
    number: u64,
    link: Arc<Link>,
    request: FetchRequest,
    parts: Vec<usize>,
}

/// What `plan` found to do.
#[derive(Default)]
struct Plans {
    ready: Vec<Ready>,
    connect: Vec<(i32, u8)>,
    /// Connections that give their long poll up.
    close: Vec<Arc<Link>>,
}

/// One partition of an answer, cut before the lock is taken.
struct Told {
    topic: Arc<str>,
    partition: Partition,
    error: i16,
    high_watermark: Offset,
    diverged_at: Offset,
    chunk: Option<Chunk>,
    wrong: Option<BatchError>,
    bytes: usize,
}

impl Core {
    /// Sends whatever can be fetched now.
    pub(crate) fn fetch(self: &Arc<Self>, lanes: Lanes) {
        let plans = {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            self.plan(&mut state, lanes)
        };
        for link in plans.close {
            link.connection.close();
        }
        for (node, lane) in plans.connect {
            tokio::spawn(self.clone().open_lane(node, lane));
        }
        for ready in plans.ready {
            self.send(ready);
        }
    }

    /// The requests to send, and the lanes to connect.
    fn plan(&self, state: &mut State, lanes: Lanes) -> Plans {
        let mut plans = Plans::default();
        let room = self.settings.prefetch_bytes.saturating_sub(state.parts.buffered);
        let of_partition = usize::try_from(self.settings.partition_max_bytes).unwrap_or(0);
        if room < ROOM_BYTES_MIN.min(self.settings.prefetch_bytes) {
            return plans;
        }
        let now = Instant::now();
        let mut free: BTreeMap<i32, Vec<usize>> = BTreeMap::new();
        for (id, part) in state.parts.iter() {
            let fetchable = part.phase == Phase::Fetching
                && !part.paused
                && part.leader >= 0
                && part.asked.is_none()
                && part.buffered < of_partition
                && part.retry_at.is_none_or(|at| at <= now);
            if fetchable {
                free.entry(part.leader).or_default().push(id);
            }
        }
        for (node, parts) in free {
            let both = state.lanes.entry(node).or_default();
            let allowed = |lane: usize| lane == 0 || lanes == Lanes::Urgent || lanes == Lanes::With(1);
            let Some(lane) = (0..2).find(|lane| allowed(*lane) && both[*lane].in_flight.is_none()) else {
                if lanes == Lanes::Urgent {
                    self.break_in(state, node, now, &mut plans);
                }
                continue;
            };
            let number = state.requests + 1;
            let Some(link) = both[lane].link.clone().filter(|link| link.connection.is_open()) else {
                if !both[lane].connecting {
                    both[lane].connecting = true;
                    plans.connect.push((node, lane as u8));
                }
                continue;
            };
            state.requests = number;
            both[lane].in_flight = Some((number, now));
            let mut wanted = Vec::with_capacity(parts.len());
            for id in &parts {
                if let Some(part) = state.parts.get_mut(*id) {
                    part.asked = Some(number);
                    let ask = part.ask(self.settings.partition_max_bytes);
                    wanted.push(((part.topic.clone(), part.partition), ask));
                }
            }
            let plan = both[lane].session.plan(wanted);
            plans.ready.push(Ready {
                node,
                lane: lane as u8,
                number,
                link,
                request: self.request(plan, room),
                parts,
            });
        }
        plans
    }

    /// Both lanes are under way. If the second finds nothing, it is given up: what is urgent goes on a new connection.
    fn break_in(&self, state: &mut State, node: i32, now: Instant, plans: &mut Plans) {
        let Some([_, second]) = state.lanes.get_mut(&node) else { return };
        let Some((number, since)) = second.in_flight else { return };
        if now < since + HELD_UP {
            // It may come back any moment, and takes along what waits; if not, the driver looks again.
            if state.look_at.replace(since + HELD_UP).is_none() {
                self.work.notify_one();
            }
            return;
        }
        plans.close.extend(second.link.take());
        second.in_flight = None;
        second.session.reset();
        second.connecting = true;
        plans.connect.push((node, 1));
        for (_, part) in state.parts.iter_mut() {
            if part.asked == Some(number) {
                part.asked = None;
            }
        }
    }

    fn request(&self, plan: Plan, room: usize) -> FetchRequest {
        let mut topics: Vec<FetchTopic> = Vec::new();
        for ((topic, partition), ask) in plan.changed {
            let entry = FetchPartition::default()
                .with_partition(partition)
                .with_fetch_offset(ask.offset)
                .with_current_leader_epoch(ask.leader_epoch)
                .with_last_fetched_epoch(ask.last_fetched_epoch)
                .with_partition_max_bytes(ask.max_bytes);
            match topics.last_mut() {
                Some(last) if last.topic.0.as_str() == &*topic => last.partitions.push(entry),
                _ => topics
                    .push(FetchTopic::default().with_topic(topic_name(&topic)).with_partitions(vec![entry])),
            }
        }
        let forgotten = plan.forgotten.into_iter().map(|(topic, partition)| {
            ForgottenTopic::default().with_topic(topic_name(&topic)).with_partitions(vec![partition])
        });
        let room = i32::try_from(room).unwrap_or(i32::MAX);
        FetchRequest::default()
            .with_replica_id(BrokerId(-1))
            .with_max_wait_ms(millis(self.settings.fetch_max_wait))
            .with_min_bytes(self.settings.fetch_min_bytes)
            .with_max_bytes(self.settings.fetch_max_bytes.min(room))
            .with_isolation_level(i8::from(self.settings.isolation == Isolation::ReadCommitted))
            .with_session_id(plan.session_id)
            .with_session_epoch(plan.session_epoch)
            .with_topics(topics)
            .with_forgotten_topics_data(forgotten.collect())
    }

    fn send(self: &Arc<Self>, ready: Ready) {
        let Ready { node, lane, number, link, request, parts } = ready;
        let timeout = self.cluster.config.request_timeout + self.settings.fetch_max_wait;
        let version = match link.version::<FetchRequest>() {
            Ok(version) => version,
            Err(error) => return self.lost(node, lane, number, &parts, &error),
        };
        let (core, of, asked) = (self.clone(), link.clone(), parts.clone());
        let then = move |answer: Result<Bytes, Lost>| {
            let answer = answer.map_err(AskError::from);
            match answer.and_then(|bytes| of.read::<FetchRequest>(bytes, version)) {
                Ok(answer) => core.take(node, lane, number, &asked, answer),
                Err(error) => core.lost(node, lane, number, &asked, &error),
            }
        };
        if let Err(error) = link.send(&request, version, timeout, Box::new(then)) {
            self.lost(node, lane, number, &parts, &error);
        }
    }

    /// Takes an answer: chunks to their partitions, errors to their cures; then the next request leaves.
    fn take(self: &Arc<Self>, node: i32, lane: u8, number: u64, asked: &[usize], answer: FetchResponse) {
        let told = cut(&answer);
        {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            let at = &mut state.lanes.entry(node).or_default()[usize::from(lane)];
            if at.in_flight.is_none_or(|(under_way, _)| under_way != number) {
                return;
            }
            at.in_flight = None;
            match answer.error_code {
                0 => at.session.answered(answer.session_id),
                code => {
                    at.session.reset();
                    if !SESSION_ERRORS.contains(&code) {
                        self.back_off(&mut state, asked, code);
                    }
                }
            }
            // Of a partition that has moved meanwhile, the answer tells of another time. Sorted, as `asked` is.
            let mut fresh = asked.to_vec();
            fresh.retain(|id| match state.parts.get_mut(*id) {
                Some(part) if part.asked == Some(number) => {
                    part.asked = None;
                    true
                }
                _ => false,
            });
            for told in told {
                let id = state.parts.find(&told.topic, told.partition);
                let Some(id) = id.filter(|id| fresh.binary_search(id).is_ok()) else { continue };
                if state.parts.get(id).is_some_and(|part| part.phase == Phase::Fetching) {
                    self.take_partition(&mut state, id, told);
                }
            }
        }
        self.fetch(Lanes::With(lane));
        self.news.notify_one();
    }

    fn take_partition(&self, state: &mut State, id: usize, told: Told) {
        let Some(part) = state.parts.get_mut(id) else { return };
        if told.error != 0 {
            return self.take_error(state, id, told.error);
        }
        part.failures = 0;
        part.high_watermark = told.high_watermark;
        let offset = part.fetch_offset;
        if told.diverged_at >= 0 {
            // KIP-320: the log was cut below what we have read; what a new leader has there instead is another log.
            tracing::warn!(topic = %part.topic, partition = part.partition, offset, at = told.diverged_at,
                "the log was truncated below the fetch offset");
            let at = told.diverged_at.min(part.position.max(0));
            return match self.settings.offset_reset {
                OffsetReset::None => {
                    state.halt(id, HaltError::Truncated { offset, log_end: told.diverged_at })
                }
                _ => state.parts.start_at(id, at),
            };
        }
        let stuck = told.chunk.is_none() && told.bytes > 0;
        if let Some(chunk) = told.chunk {
            state.parts.push(id, chunk);
        }
        // Whole batches before a broken one are read first: it will be met again, alone.
        if stuck {
            let source: Arc<dyn std::error::Error + Send + Sync> = match told.wrong {
                Some(wrong) => Arc::new(wrong),
                None => Arc::new(BatchError::Torn { have: told.bytes, need: told.bytes + 1 }),
            };
            state.halt(id, HaltError::Corrupt { offset, source });
        }
    }

    /// What Kafka's clients do on each error of a fetch (the protocol's table of fetch errors).
    fn take_error(&self, state: &mut State, id: usize, code: i16) {
        let Some(part) = state.parts.get_mut(id) else { return };
        let error = ErrorCode(code);
        match error {
            ErrorCode::OFFSET_OUT_OF_RANGE => {
                let (offset, topic, partition) = (part.fetch_offset, part.topic.clone(), part.partition);
                if part.buffered > 0 {
                    // What lies fetched is good, and is returned first.
                    return part.retry(Instant::now() + self.cluster.config.backoff.base);
                }
                tracing::warn!(%topic, partition, offset, "offset is out of range; `auto.offset.reset` decides");
                match self.settings.reset_to() {
                    Some(to) => state.parts.restart(id, Phase::Reset(to)),
                    None => state.halt(id, HaltError::NoOffset),
                }
                self.work.notify_one();
            }
            ErrorCode::TOPIC_AUTHORIZATION_FAILED => {
                let topic = part.topic.clone();
                state.halt(id, HaltError::Unauthorized { topic });
            }
            // It may be gone, and another come under its name: only the metadata can tell the two apart.
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => {
                part.leader = -1;
                self.cluster.refresh();
                self.back_off(state, &[id], code);
            }
            // A broker's passing trouble is -1, too.
            error if error.is_retriable() || code == -1 => {
                if code != -1 && error != ErrorCode::UNKNOWN_LEADER_EPOCH {
                    self.cluster.refresh();
                }
                self.back_off(state, &[id], code);
            }
            _ => {
                let offset = part.fetch_offset;
                state.halt(id, HaltError::Refused { offset, code });
            }
        }
    }

    /// These wait before they are asked for again.
    fn back_off(&self, state: &mut State, ids: &[usize], code: i16) {
        let backoff = self.cluster.config.backoff;
        for id in ids {
            if let Some(part) = state.parts.get_mut(*id) {
                let wait = backoff.after(part.failures + 1, self.cluster.roll());
                part.retry(Instant::now() + wait);
                tracing::debug!(topic = %part.topic, partition = part.partition, code, ?wait, "fetch is tried again");
            }
        }
        self.work.notify_one();
    }

    /// The request has no answer: the connection is gone, or the broker speaks nothing that we do.
    fn lost(&self, node: i32, lane: u8, number: u64, asked: &[usize], error: &AskError) {
        {
            let mut state = self.lock();
            let closed = state.closed;
            let lane = &mut state.lanes.entry(node).or_default()[usize::from(lane)];
            if closed || lane.in_flight.is_none_or(|(under_way, _)| under_way != number) {
                // It was given up here.
                return;
            }
            (lane.in_flight, lane.link) = (None, None);
            lane.session.reset();
            for id in asked {
                if let Some(part) = state.parts.get_mut(*id).filter(|part| part.asked == Some(number)) {
                    part.asked = None;
                }
            }
        }
        tracing::debug!(node, error = error as &dyn std::error::Error, "fetch has no answer");
        self.cluster.refresh();
        self.work.notify_one();
    }

    /// Connects a lane; if that fails, the driver tries again as long as somebody leads there.
    async fn open_lane(self: Arc<Self>, node: i32, lane: u8) {
        let link = self.cluster.broker(node, Purpose::Fetch(self.number, lane)).await;
        let failed = link.is_err();
        if failed {
            self.cluster.refresh();
            tokio::time::sleep(self.cluster.config.backoff.base).await;
        }
        {
            let mut state = self.lock();
            if state.closed {
                return;
            }
            let lane = &mut state.lanes.entry(node).or_default()[usize::from(lane)];
            lane.connecting = false;
            lane.session.reset();
            lane.link = link.ok();
        }
        if failed {
            self.work.notify_one();
        } else {
            self.fetch(Lanes::With(lane));
        }
    }
}

/// Cuts an answer into chunks: of each batch only the header is looked at.
fn cut(answer: &FetchResponse) -> Vec<Told> {
    let mut all = Vec::with_capacity(answer.responses.len());
    for topic in &answer.responses {
        let name: Arc<str> = topic.topic.0.as_str().into();
        all.extend(topic.partitions.iter().map(|data| tell(&name, data)));
    }
    all
}

fn tell(topic: &Arc<str>, data: &PartitionData) -> Told {
    let aborted = data.aborted_transactions.as_deref().unwrap_or_default();
    let mut aborted: Vec<_> = aborted.iter().map(|gone| (gone.first_offset, gone.producer_id.0)).collect();
    aborted.sort_unstable();
    let (chunk, wrong) = match &data.records {
        Some(bytes) => Chunk::cut(bytes, VecDeque::from(aborted)),
        None => (None, None),
    };
    Told {
        topic: topic.clone(),
        partition: data.partition_index,
        error: data.error_code,
        high_watermark: data.high_watermark,
        diverged_at: if data.diverging_epoch.epoch >= 0 { data.diverging_epoch.end_offset } else { -1 },
        chunk,
        wrong,
        bytes: data.records.as_ref().map_or(0, Bytes::len),
    }
}

impl super::ConsumerBuilder {
    /// Where `auto.offset.reset` leads; `None` if it forbids to guess.
    pub(crate) fn reset_to(&self) -> Option<SeekTo> {
        match self.offset_reset {
            OffsetReset::Earliest => Some(SeekTo::Earliest),
            OffsetReset::Latest => Some(SeekTo::Latest),
            OffsetReset::By(age) => {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                Some(SeekTo::Timestamp(
                    i64::try_from(now.saturating_sub(age).as_millis()).unwrap_or(i64::MAX),
                ))
            }
            OffsetReset::None => None,
        }
    }
}
