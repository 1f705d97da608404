//! Makes a report at each interval; asks the broker, beside that, for what only it knows.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use kohort_client::{Admin, AdminError, SeekTo, TopicPartition};
use kohort_runtime::{MemberState, Stats};
use kohort_service::Kq;
use kohort_service::metrics::Registry;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::flow::Flow;
use crate::handler::{Member, now_ms};
use crate::report::{BlockReport, FlowReport, MemberReport, Report};

/// One `Kq` block at work.
pub(crate) struct Block {
    pub(crate) name: String,
    group: String,
    pub(crate) topic: String,
    dead_letter_topic: String,
    pub(crate) members: Vec<Arc<Member>>,
    stats: Arc<Stats>,
    admin: Admin,
    /// What the broker said last; `None` while it does not answer.
    seen: Mutex<Option<Seen>>,
}

impl fmt::Debug for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "block `{}` of group `{}`", self.name, self.group)
    }
}

/// What only the broker knows.
#[derive(Debug, Clone)]
struct Seen {
    state: String,
    members: usize,
    ends: BTreeMap<i32, i64>,
    committed: BTreeMap<i32, i64>,
}

impl Block {
    pub(crate) fn new(kq: &Kq, members: Vec<Arc<Member>>, stats: Arc<Stats>, admin: Admin) -> Arc<Block> {
        Arc::new(Block {
            name: kq.name.clone(),
            group: kq.group.clone(),
            topic: kq.topic.clone(),
            dead_letter_topic: kq.dlq_topic.clone(),
            members,
            stats,
            admin,
            seen: Mutex::default(),
        })
    }

    async fn ask(&self) -> Result<Seen, AdminError> {
        let group = self.admin.describe_group(&self.group).await?;
        let topic = self.admin.describe_topic(&self.topic).await?;
        let name = |number| TopicPartition::new(self.topic.as_str(), number);
        let partitions: Vec<_> = topic.partitions.iter().map(|known| name(known.partition)).collect();
        let ends = self.admin.list_offsets(&partitions, SeekTo::Latest).await?;
        let committed = self.admin.group_offsets(&self.group).await?;
        let of_topic = |offsets: Vec<(TopicPartition, i64)>| {
            let ours = offsets.into_iter().filter(|(name, _)| name.topic == self.topic);
            ours.map(|(name, offset)| (name.partition, offset)).collect()
        };
        let members = group.members.len();
        Ok(Seen { state: group.state, members, ends: of_topic(ends), committed: of_topic(committed) })
    }

    /// Asks for ever.
    async fn keep_asking(self: Arc<Block>, every: Duration) {
        loop {
            let answer = self.ask().await;
            if let Err(error) = &answer {
                tracing::debug!("the broker does not say how far group `{}` is: {error}", self.group);
            }
            *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = answer.ok();
            tokio::time::sleep(every).await;
        }
    }

    fn report(&self, rates: &mut Rates) -> BlockReport {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let states = self.stats.members();
        let mut flows = Vec::new();
        let mut members = Vec::new();
        for (number, member) in self.members.iter().enumerate() {
            let state = states.get(number).cloned().unwrap_or_default();
            let owned: BTreeSet<i32> = state.partitions.iter().map(|name| name.partition).collect();
            let mut of_member = member.flows();
            for partition in &owned {
                of_member.entry(*partition).or_default();
            }
            for (partition, flow) in of_member {
                let per_second = rates.of((self.name.clone(), number, partition), &flow);
                let owned = owned.contains(&partition);
                flows.push(flow_report(number, partition, owned, flow, per_second, seen.as_ref()));
            }
            members.push(member_report(number, member, state, &owned));
        }
        BlockReport {
            block: self.name.clone(),
            group: self.group.clone(),
            topic: self.topic.clone(),
            state: seen.as_ref().map(|seen| seen.state.clone()),
            group_members: seen.as_ref().map(|seen| seen.members),
            retries: Stats::get(&self.stats.retries),
            dead_letters: Stats::get(&self.stats.dead_letters),
            dead_letter_topic: self.dead_letter_topic.clone(),
            members,
            flows,
        }
    }
}

fn member_report(number: usize, member: &Member, state: MemberState, owned: &BTreeSet<i32>) -> MemberReport {
    let joined = !state.member_id.is_empty();
    MemberReport {
        member: number,
        generation: state.generation,
        partitions: owned.iter().copied().collect(),
        idle: joined && owned.is_empty(),
        member_id: joined.then_some(state.member_id),
        in_hand: member.in_hand(),
        behaviour: member.behaviour(),
    }
}

fn flow_report(
    member: usize,
    partition: i32,
    owned: bool,
    flow: Flow,
    (messages_per_s, bytes_per_s): (f64, f64),
    seen: Option<&Seen>,
) -> FlowReport {
    let committed = seen.and_then(|seen| seen.committed.get(&partition).copied());
    let end = seen.and_then(|seen| seen.ends.get(&partition).copied());
    FlowReport {
        member,
        partition,
        owned,
        messages: flow.messages,
        messages_per_s,
        bytes: flow.bytes,
        bytes_per_s,
        size: flow.sizes.summary(),
        trades: flow.trades,
        trades_per_message: (flow.messages > 0).then(|| flow.trades as f64 / flow.messages as f64),
        decode_errors: flow.decode_errors,
        last_decode_error: flow.last_error,
        failed: flow.failed,
        rejected: flow.rejected,
        committed,
        end,
        lag: end.zip(committed).map(|(end, committed)| (end - committed).max(0)),
        sample: flow.sample,
    }
}

/// A block's name, a member's number, a partition.
type Place = (String, usize, i32);

/// What flowed until the last report.
struct Rates {
    before: BTreeMap<Place, (u64, u64)>,
    /// Seconds since then.
    seconds: f64,
}

impl Rates {
    /// Messages and bytes a second since the last report.
    fn of(&mut self, place: Place, flow: &Flow) -> (f64, f64) {
        let (messages, bytes) = self.before.insert(place, (flow.messages, flow.bytes)).unwrap_or_default();
        let rate = |now: u64, before: u64| (now - before) as f64 / self.seconds;
        (rate(flow.messages, messages), rate(flow.bytes, bytes))
    }
}

/// A report that comes once a minute shows how far the group is now, and not how far it was at the last one.
const ASK_MAX: Duration = Duration::from_secs(1);

/// Makes the reports.
pub(crate) struct Watch {
    blocks: Arc<[Arc<Block>]>,
    registry: Registry,
    rates: Rates,
    made_at: Instant,
}

impl Watch {
    /// Makes reports from here on, in tasks of `tasks`; the first is there at once.
    pub(crate) fn start(
        blocks: Arc<[Arc<Block>]>,
        registry: Registry,
        every: Duration,
        tasks: &mut JoinSet<()>,
    ) -> watch::Receiver<Arc<Report>> {
        for block in blocks.iter() {
            tasks.spawn(Arc::clone(block).keep_asking(every.min(ASK_MAX)));
        }
        let rates = Rates { before: BTreeMap::new(), seconds: 1.0 };
        let mut watch = Watch { blocks, registry, rates, made_at: Instant::now() };
        let (reports, reader) = watch::channel(Arc::new(watch.report()));
        tasks.spawn(async move {
            loop {
                tokio::time::sleep(every).await;
                reports.send_replace(Arc::new(watch.report()));
            }
        });
        reader
    }

    fn report(&mut self) -> Report {
        let interval = self.made_at.elapsed().max(Duration::from_millis(1));
        self.made_at = Instant::now();
        self.rates.seconds = interval.as_secs_f64();
        let report = Report {
            at_ms: now_ms(),
            interval_ms: u64::try_from(interval.as_millis()).unwrap_or(u64::MAX),
            blocks: self.blocks.iter().map(|block| block.report(&mut self.rates)).collect(),
        };
        report.blocks.iter().for_each(|block| self.publish(block));
        report
    }

    /// Brings the metrics up to a report.
    fn publish(&self, block: &BlockReport) {
        for flow in &block.flows {
            let (partition, member) = (flow.partition.to_string(), flow.member.to_string());
            let labels = [
                ("group", block.group.as_str()),
                ("topic", &block.topic),
                ("partition", &partition),
                ("member", &member),
            ];
            for (name, help, now) in [
                ("consumer_messages_total", "Records handled", flow.messages),
                ("consumer_bytes_total", "Bytes of their values", flow.bytes),
                ("consumer_trades_total", "Trades in them", flow.trades),
                (
                    "consumer_decode_errors_total",
                    "Elements or records that could not be understood",
                    flow.decode_errors,
                ),
                ("consumer_failed_total", "Tries that failed as told", flow.failed),
                ("consumer_rejected_total", "Records rejected as told", flow.rejected),
            ] {
                let counter = self.registry.counter(name, help, &labels);
                counter.add(now.saturating_sub(counter.value()));
            }
            // Also of a partition that went to another member: its lag goes on, and this one would stand still.
            if let Some(lag) = flow.lag {
                let help = "Records between the committed offset and the end of the log";
                self.registry.gauge("consumer_lag", help, &labels[..3]).set(lag);
            }
        }
        let idle = block.members.iter().filter(|member| member.idle).count();
        let labels = [("group", block.group.as_str()), ("topic", &block.topic)];
        self.registry
            .gauge("consumer_idle_members", "Members that joined and own no partition", &labels)
            .set(i64::try_from(idle).unwrap_or(i64::MAX));
    }
}
