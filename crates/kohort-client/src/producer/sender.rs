//! The way of batches to their leaders and of outcomes back: one task that looks at what may leave, and the answers' own
//! functions, which let the next leave at once.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use kohort_group::messages::{Offset, Partition};
use kohort_protocol::ErrorCode;
use kohort_protocol::records::Compressor;
use tokio::sync::Notify;

use super::ack::Outcome;
use super::builder::{Acks, ProducerBuilder};
use super::queue::{Batch, Identity, Queue};
use super::{Delivered, Delivery, ProduceError};
use crate::net::cluster::{Cluster, Purpose, Wanted};
use crate::net::connection::Lost;
use crate::net::metadata::Metadata;
use crate::net::wire::messages::produce_response::PartitionProduceResponse;
use crate::net::wire::messages::{InitProducerIdRequest, ProduceRequest, ProducerId};
use crate::net::wire::{AskError, Link, head, millis, seal};

/// The first version of Produce with compact lengths.
const PRODUCE_FLEXIBLE: i16 = 9;

/// What a producer's clones and tasks share.
pub(crate) struct Shared {
    pub(crate) cluster: Arc<Cluster>,
    pub(crate) settings: ProducerBuilder,
    state: Mutex<State>,
    /// The sender has something to look at.
    pub(crate) wake: Notify,
    /// Memory was given back, or the producer was closed.
    pub(crate) room: Notify,
    /// Batches were settled.
    pub(crate) settled: Notify,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Producer").finish_non_exhaustive()
    }
}

/// What the lock is around.
#[derive(Default)]
pub(crate) struct State {
    pub(crate) topics: Vec<Topic>,
    pub(crate) by_name: HashMap<Arc<str>, usize>,
    nodes: BTreeMap<i32, Node>,
    identity: Option<Identity>,
    identifying: bool,
    pub(crate) used: usize,
    pub(crate) orders: u64,
    pub(crate) unsettled: BTreeSet<u64>,
    pub(crate) delivered: Delivered,
    pub(crate) flushing: usize,
    pub(crate) closed: bool,
    metadata: u64,
    pub(crate) compressor: Compressor,
}

/// A topic's partitions.
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) queues: Vec<Queue>,
    /// Where records without a key go for now.
    pub(crate) sticky: usize,
    /// Bytes that went there since.
    pub(crate) stuck: usize,
    pub(crate) _wanted: Wanted,
}

#[derive(Default)]
struct Node {
    link: Option<Arc<Link>>,
    connecting: bool,
    in_flight: usize,
}

/// A batch in a request: where it belongs.
#[derive(Clone, Copy)]
struct Sent {
    topic: usize,
    partition: usize,
    order: u64,
}

/// Outcomes to be told once the lock is free.
#[derive(Default)]
pub(crate) struct Told(Vec<(Arc<Outcome>, i32, Result<Offset, ProduceError>)>);

impl Shared {
    pub(crate) fn new(settings: ProducerBuilder) -> Arc<Self> {
        Arc::new(Self {
            cluster: settings.client.cluster.clone(),
            settings,
            state: Mutex::default(),
            wake: Notify::new(),
            room: Notify::new(),
            settled: Notify::new(),
        })
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs until the producer is closed and nothing is left.
    pub(crate) async fn run(self: Arc<Self>) {
        let mut metadata = self.cluster.watch_metadata();
        loop {
            let Some(again) = self.dispatch() else { return };
            tokio::select! {
                () = self.wake.notified() => {}
                changed = metadata.changed() => if changed.is_err() { return },
                () = tokio::time::sleep_until(again.into()) => {}
            }
        }
    }

    /// Sends all that may leave; returns when to look again, or `None` when it is over.
    fn dispatch(self: &Arc<Self>) -> Option<Instant> {
        let now = Instant::now();
        let mut told = Told::default();
        let again = {
            let mut state = self.lock();
            if state.closed && state.unsettled.is_empty() {
                return None;
            }
            let metadata = self.cluster.metadata();
            state.follow(&metadata, &self.settings);
            self.expire(&mut state, now, &mut told);
            self.identify(&mut state);
            self.send_due(&mut state, now, &mut told);
            state.next_look(now, &self.settings)
        };
        self.tell(told);
        Some(again)
    }

    /// Gives up what is too old. What is in flight is not waited for: a broker that does not answer must not hold its sender up for
    /// longer than was said.
    fn expire(&self, state: &mut State, now: Instant, told: &mut Told) {
        let Some(before) = now.checked_sub(self.settings.delivery_timeout) else { return };
        let after = self.settings.delivery_timeout;
        let State { topics, compressor, .. } = &mut *state;
        let mut expired = vec![];
        for queue in topics.iter_mut().flat_map(|topic| &mut topic.queues) {
            if queue.oldest().is_none_or(|oldest| oldest > before) {
                continue;
            }
            if !queue.has_waiting()
                && let Err(broken) = queue.close(self.settings.compression, compressor)
            {
                expired.push(broken.0);
            }
            while let Some(batch) = queue.expired(before) {
                queue.given_up(&batch);
                expired.push(batch);
            }
        }
        for batch in expired {
            state.settle(batch, Err(ProduceError::Timeout { after }), told);
        }
    }

    /// Asks for a producer id, where partitions wait for one.
    fn identify(self: &Arc<Self>, state: &mut State) {
        let known = state.identity;
        let mut missing = false;
        for queue in state.topics.iter_mut().flat_map(|topic| &mut topic.queues) {
            if queue.needs_identity() {
                if let Some(identity) = known {
                    queue.identify(identity);
                }
                missing |= queue.needs_identity();
            }
        }
        if missing && !state.identifying {
            (state.identity, state.identifying) = (None, true);
            tokio::spawn(self.clone().init_producer_id());
        }
    }

    async fn init_producer_id(self: Arc<Self>) {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(None)
            .with_transaction_timeout_ms(i32::MAX)
            .with_producer_id(ProducerId(-1))
            .with_producer_epoch(-1);
        let mut failures = 0;
        loop {
            let asked = async {
                let link = self.cluster.any().await.map_err(|error| error.to_string())?;
                let timeout = self.cluster.config.request_timeout;
                let answer = link.ask(&request, timeout).await.map_err(|error| error.to_string())?;
                match answer.error_code {
                    0 => Ok(Identity { producer_id: answer.producer_id.0, epoch: answer.producer_epoch }),
                    code => Err(ErrorCode(code).to_string()),
                }
            };
            match asked.await {
                Ok(identity) => {
                    let mut state = self.lock();
                    (state.identity, state.identifying) = (Some(identity), false);
                    break;
                }
                Err(error) => {
                    if self.lock().closed && self.lock().unsettled.is_empty() {
                        return;
                    }
                    tracing::debug!(error, "no producer id yet");
                    failures += 1;
                    tokio::time::sleep(self.cluster.config.backoff.after(failures, self.cluster.roll()))
                        .await;
                }
            }
        }
        self.wake.notify_one();
    }

    /// Fills requests for every broker that may get one more.
    fn send_due(self: &Arc<Self>, state: &mut State, now: Instant, told: &mut Told) {
        let mut leaders: BTreeSet<i32> = BTreeSet::new();
        for queue in state.topics.iter().flat_map(|topic| &topic.queues) {
            if queue.leader >= 0 && (queue.has_waiting() || queue.is_open()) {
                leaders.insert(queue.leader);
            }
        }
        for leader in leaders {
            loop {
                let node = state.nodes.entry(leader).or_default();
                if node.in_flight >= self.settings.max_in_flight {
                    break;
                }
                let link = node.link.clone().filter(|link| link.connection.is_open());
                let Some(link) = link else {
                    if !node.connecting {
                        node.connecting = true;
                        tokio::spawn(self.clone().connect(leader));
                    }
                    break;
                };
                let sent = self.drain(state, leader, now, told);
                if sent.is_empty() || !self.send(state, leader, &link, sent, told) {
                    break;
                }
            }
        }
    }

    async fn connect(self: Arc<Self>, node: i32) {
        let link = self.cluster.broker(node, Purpose::Produce).await;
        if link.is_err() {
            self.cluster.refresh();
            tokio::time::sleep(self.cluster.config.backoff.base).await;
        }
        {
            let mut state = self.lock();
            let node = state.nodes.entry(node).or_default();
            node.connecting = false;
            node.link = link.ok();
        }
        self.wake.notify_one();
    }

    /// One batch of each partition that may send, up to the size of a request.
    fn drain(&self, state: &mut State, leader: i32, now: Instant, told: &mut Told) -> Vec<Sent> {
        let hurried = state.flushing > 0 || state.closed || state.used >= self.settings.buffer_memory;
        let State { topics, compressor, .. } = &mut *state;
        let (mut sent, mut broken, mut size) = (vec![], vec![], 0);
        for (topic, of) in topics.iter_mut().enumerate() {
            for (partition, queue) in of.queues.iter_mut().enumerate() {
                if queue.leader != leader || !queue.may_send(now) || queue.needs_identity() {
                    continue;
                }
                let due = |since: Instant| hurried || now.duration_since(since) >= self.settings.linger;
                if !queue.has_waiting()
                    && queue.open_since().is_some_and(due)
                    && let Err(failed) = queue.close(self.settings.compression, compressor)
                {
                    tracing::error!(error = &failed.1 as &dyn std::error::Error, "batch cannot be closed");
                    broken.push(failed.0);
                    continue;
                }
                if let Some(batch) = queue.next() {
                    size += batch.bytes.len();
                    sent.push(Sent { topic, partition, order: batch.order });
                }
                if size >= self.settings.max_request_size {
                    break;
                }
            }
        }
        for batch in broken {
            state.settle(batch, Err(ProduceError::Refused { code: -1, message: None }), told);
        }
        sent
    }

    /// Sends a request; `false` if the connection turns out to be gone.
    fn send(
        self: &Arc<Self>,
        state: &mut State,
        node: i32,
        link: &Arc<Link>,
        sent: Vec<Sent>,
        told: &mut Told,
    ) -> bool {
        let framed = link
            .version::<ProduceRequest>()
            .map(|version| (version, self.frame(state, link, version, &sent)));
        let (version, (frame, parts)) = match framed {
            Ok(framed) => framed,
            Err(error) => {
                self.missed(state, node, &sent, &error);
                return false;
            }
        };
        if self.settings.acks == Acks::None {
            let written = link.connection.send_unanswered(frame, &parts);
            for of in sent {
                let queue = &mut state.topics[of.topic].queues[of.partition];
                let Some(batch) = queue.landed(of.order) else { continue };
                match &written {
                    Ok(()) => state.settle(batch, Ok(-1), told),
                    Err(_) => queue.again(batch, Instant::now(), |failures| self.backoff(failures)),
                }
            }
            return written.is_ok();
        }
        state.nodes.entry(node).or_default().in_flight += 1;
        let timeout = self.cluster.config.request_timeout + Duration::from_secs(1);
        let (shared, of, asked) = (self.clone(), link.clone(), sent.clone());
        let then = move |answer: Result<Bytes, Lost>| shared.answered(node, &of, version, &asked, answer);
        match link.connection.send(frame, &parts, timeout, Box::new(then)) {
            Ok(()) => true,
            Err(lost) => {
                state.nodes.entry(node).or_default().in_flight -= 1;
                self.missed(state, node, &sent, &lost.into());
                false
            }
        }
    }

    /// The request's bytes, the batches among them as they are: nothing of them is copied.
    fn frame(&self, state: &State, link: &Link, version: i16, sent: &[Sent]) -> (BytesMut, Vec<Bytes>) {
        let flexible = version >= PRODUCE_FLEXIBLE;
        let mut frame = head::<ProduceRequest>(version, &link.client_id);
        let mut parts: Vec<Bytes> = Vec::with_capacity(sent.len() * 2);
        let mut out = BytesMut::with_capacity(64 + 32 * sent.len());
        if flexible {
            out.put_u8(0)
        } else {
            out.put_i16(-1)
        }
        out.put_i16(self.settings.acks.code());
        out.put_i32(millis(self.cluster.config.request_timeout));
        let mut by_topic: BTreeMap<usize, Vec<Sent>> = BTreeMap::new();
        for of in sent {
            by_topic.entry(of.topic).or_default().push(*of);
        }
        put_length(&mut out, by_topic.len(), flexible, true);
        for (topic, sent) in by_topic {
            let topic = &state.topics[topic];
            put_length(&mut out, topic.name.len(), flexible, false);
            out.put_slice(topic.name.as_bytes());
            put_length(&mut out, sent.len(), flexible, true);
            for of in sent {
                let bytes = topic.queues[of.partition].in_flight_bytes(of.order).unwrap_or_default();
                out.put_i32(i32::try_from(of.partition).unwrap_or(i32::MAX));
                put_length(&mut out, bytes.len(), flexible, true);
                parts.push(out.split().freeze());
                parts.push(bytes);
                if flexible {
                    out.put_u8(0);
                }
            }
            if flexible {
                out.put_u8(0);
            }
        }
        if flexible {
            out.put_u8(0);
        }
        parts.push(out.freeze());
        // The first part joins the head: one slice less to write.
        if let Some(first) = parts.first_mut() {
            frame.put_slice(&std::mem::take(first));
        }
        seal(&mut frame, parts.iter().map(Bytes::len).sum());
        (frame, parts)
    }

    /// Takes an answer, in the task that read it; what may leave next does so from here.
    fn answered(
        self: &Arc<Self>,
        node: i32,
        link: &Link,
        version: i16,
        sent: &[Sent],
        answer: Result<Bytes, Lost>,
    ) {
        let answer = answer.map_err(AskError::from);
        let answer = answer.and_then(|bytes| link.read::<ProduceRequest>(bytes, version));
        let (now, mut told) = (Instant::now(), Told::default());
        {
            let mut state = self.lock();
            let in_flight = &mut state.nodes.entry(node).or_default().in_flight;
            *in_flight = in_flight.saturating_sub(1);
            match answer {
                Err(error) => self.missed(&mut state, node, sent, &error),
                Ok(answer) => {
                    for of in sent {
                        let name = &state.topics[of.topic].name;
                        let told_of = answer.responses.iter().find(|topic| topic.name.0.as_str() == &**name);
                        let told_of = told_of.and_then(|topic| {
                            topic
                                .partition_responses
                                .iter()
                                .find(|p| usize::try_from(p.index) == Ok(of.partition))
                        });
                        match told_of {
                            Some(answer) => self.landed(&mut state, *of, answer, now, &mut told),
                            None => self.again(&mut state, *of, now),
                        }
                    }
                    let metadata = self.cluster.metadata();
                    state.follow(&metadata, &self.settings);
                    self.send_due(&mut state, now, &mut told);
                }
            }
        }
        self.tell(told);
        self.wake.notify_one();
    }

    /// No answer: it may have been written or not. The sequence number lets the broker know it again.
    fn missed(&self, state: &mut State, node: i32, sent: &[Sent], error: &AskError) {
        tracing::debug!(node, error = error as &dyn std::error::Error, "produce has no answer");
        state.nodes.entry(node).or_default().link = None;
        for of in sent {
            self.again(state, *of, Instant::now());
        }
        self.cluster.refresh();
    }

    fn again(&self, state: &mut State, of: Sent, now: Instant) {
        let queue = &mut state.topics[of.topic].queues[of.partition];
        if let Some(batch) = queue.landed(of.order) {
            queue.again(batch, now, |failures| self.backoff(failures));
        }
    }

    fn backoff(&self, failures: u32) -> Duration {
        self.cluster.config.backoff.after(failures, self.cluster.roll())
    }

    /// The outcome of one batch (KIP-98 for what the sequence errors mean).
    fn landed(
        &self,
        state: &mut State,
        of: Sent,
        answer: &PartitionProduceResponse,
        now: Instant,
        told: &mut Told,
    ) {
        let code = ErrorCode(answer.error_code);
        let queue = &mut state.topics[of.topic].queues[of.partition];
        if !queue.awaits(of.order) {
            // It was given up meanwhile.
            return;
        }
        let result = match code {
            ErrorCode::NONE => Ok(answer.base_offset),
            // Written before, when its answer was lost; the broker does not remember where.
            ErrorCode::DUPLICATE_SEQUENCE_NUMBER => Ok(-1),
            ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER | ErrorCode::UNKNOWN_PRODUCER_ID
                if self.settings.idempotence =>
            {
                // Behind a batch that is sent again this is to be expected. The oldest was refused for itself: the
                // broker has lost what it knew of us, and it was not written.
                if queue.is_oldest(of.order) {
                    tracing::warn!(partition = of.partition, %code, "the broker has lost the producer's state: a new epoch begins");
                    queue.begin_anew();
                }
                return self.again(state, of, now);
            }
            ErrorCode::INVALID_PRODUCER_EPOCH | ErrorCode::PRODUCER_FENCED if self.settings.idempotence => {
                queue.forget_identity();
                state.identity = None;
                return self.again(state, of, now);
            }
            code if code.is_retriable() => {
                self.cluster.refresh();
                return self.again(state, of, now);
            }
            code => {
                let message = answer.error_message.as_ref().map(|text| Arc::from(text.as_str()));
                Err(ProduceError::Refused { code: code.0, message })
            }
        };
        let Some(batch) = queue.landed(of.order) else { return };
        match &result {
            Ok(_) => queue.written(),
            Err(_) => queue.given_up(&batch),
        }
        state.settle(batch, result, told);
    }

    /// Tells outcomes, with the lock free.
    pub(crate) fn tell(&self, told: Told) {
        if told.0.is_empty() {
            return;
        }
        for (outcome, records, result) in told.0 {
            if let Some(on_delivery) = &self.settings.on_delivery {
                on_delivery(&Delivery {
                    topic: outcome.topic().clone(),
                    partition: outcome.partition(),
                    records: records.unsigned_abs(),
                    result: result.clone(),
                });
            }
            outcome.settle(result);
        }
        self.room.notify_waiters();
        self.settled.notify_waiters();
    }

    /// Gives up everything that is left.
    pub(crate) fn abandon(&self) {
        let mut told = Told::default();
        {
            let mut state = self.lock();
            state.closed = true;
            let State { topics, compressor, .. } = &mut *state;
            let mut left = vec![];
            for queue in topics.iter_mut().flat_map(|topic| &mut topic.queues) {
                if let Err(broken) = queue.close(self.settings.compression, compressor) {
                    left.push(broken.0);
                }
                left.extend(queue.abandon());
            }
            for batch in left {
                state.settle(batch, Err(ProduceError::Closed), &mut told);
            }
        }
        self.tell(told);
        self.wake.notify_one();
    }
}

/// A length: compact ones are one more than it, so that 0 is null (KIP-482). Classic ones have two bytes for strings and four for the rest.
fn put_length(out: &mut BytesMut, length: usize, flexible: bool, long: bool) {
    if !flexible {
        if long {
            out.put_i32(i32::try_from(length).unwrap_or(i32::MAX));
        } else {
            out.put_i16(i16::try_from(length).unwrap_or(i16::MAX));
        }
        return;
    }
    let mut rest = length + 1;
    while rest >= 128 {
        out.put_u8((rest & 127) as u8 | 128);
        rest >>= 7;
    }
    out.put_u8(rest as u8);
}

impl State {
    /// Takes leaders and new partitions from the metadata.
    pub(crate) fn follow(&mut self, metadata: &Metadata, settings: &ProducerBuilder) {
        if self.metadata == metadata.version {
            return;
        }
        self.metadata = metadata.version;
        // Keys go by the number of partitions: a producer that stayed at a former one would write a key elsewhere than all others do.
        for index in 0..self.topics.len() {
            self.grow(index, metadata, settings);
        }
        for topic in &mut self.topics {
            for (partition, queue) in topic.queues.iter_mut().enumerate() {
                let leader =
                    Partition::try_from(partition).ok().and_then(|p| metadata.leader(&topic.name, p));
                let id = leader.map_or(-1, |leader| leader.id);
                if id != queue.leader {
                    (queue.leader, queue.retry_at) = (id, None);
                }
            }
        }
    }

    /// Adds the partitions that a topic has now.
    pub(crate) fn grow(&mut self, index: usize, metadata: &Metadata, settings: &ProducerBuilder) {
        let topic = &mut self.topics[index];
        let count = metadata.topics.get(&topic.name).map_or(0, |known| known.partitions.len());
        while topic.queues.len() < count {
            let idempotent = settings.idempotence && settings.acks == Acks::All;
            let mut queue = Queue::new(settings.batch_size, idempotent);
            let partition = Partition::try_from(topic.queues.len()).unwrap_or(Partition::MAX);
            queue.leader = metadata.leader(&topic.name, partition).map_or(-1, |leader| leader.id);
            topic.queues.push(queue);
        }
    }

    /// Books an outcome.
    pub(crate) fn settle(&mut self, batch: Batch, result: Result<Offset, ProduceError>, told: &mut Told) {
        self.used = self.used.saturating_sub(batch.memory);
        self.unsettled.remove(&batch.order);
        let records = u64::from(batch.records.unsigned_abs());
        match &result {
            Ok(_) => self.delivered.acked += records,
            Err(_) => self.delivered.failed += records,
        }
        told.0.push((batch.outcome, batch.records, result));
    }

    /// When something may be due that no event announces.
    fn next_look(&self, now: Instant, settings: &ProducerBuilder) -> Instant {
        let mut at = now + Duration::from_secs(3600);
        for queue in self.topics.iter().flat_map(|topic| &topic.queues) {
            if let Some(since) = queue.open_since()
                && !queue.has_waiting()
                && queue.may_send(now)
                && !settings.linger.is_zero()
            {
                at = at.min(since + settings.linger);
            }
            if let Some(retry) = queue.retry_at.filter(|retry| *retry > now) {
                at = at.min(retry);
            }
            if let Some(expires) =
                queue.oldest().and_then(|oldest| oldest.checked_add(settings.delivery_timeout))
            {
                at = at.min(expires);
            }
        }
        // What is due already has just been looked at: it waits for something that wakes us anyway.
        at.max(now + Duration::from_micros(100))
    }
}
