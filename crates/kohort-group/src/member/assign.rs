//! What the leader does: reads everybody's subscription, waits for metadata, assigns, and watches for changes after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ConfigError, Effect, Member, Phase, TopicMetadata};
use crate::Time;
use crate::assignor::{self, Assignments, Assignor, RebalanceProtocol, Subscriber, Topic, Topics};
use crate::consumer_protocol::{Assignment, DecodeError, Subscription, Subscriptions};
use crate::messages::{JoinGroupResponse, JoinedMember, Partition, TopicPartition};
use crate::wire::{Reader, Writer};

/// What a member knows of topics, and of the group if it leads.
#[derive(Debug, Default)]
pub(super) struct Leader {
    /// What the shell reported.
    known: BTreeMap<String, TopicMetadata>,
    /// What the shell was asked to watch.
    watched: BTreeSet<String>,
    /// While this member leads: what the group subscribes to, and what was known of it when it was assigned; `None`
    /// where that is not known, and the first report will do.
    group: Option<BTreeMap<String, Option<Snapshot>>>,
    /// It returned to lead a generation that another process assigned.
    inherits: bool,
    /// The assignment held partitions back for their present owners to hand over. If nobody has begun the
    /// rebalance that gives them on by then, the owner is gone without a rebalance (a static member that
    /// restarted), and the leader must.
    owed: Option<Time>,
}

/// What a topic was when it was assigned.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Snapshot {
    partitions: Option<Partition>,
    /// `None`: not known.
    racks: Option<Vec<Vec<String>>>,
}

impl Snapshot {
    fn of(metadata: &TopicMetadata) -> Self {
        Self { partitions: metadata.partitions, racks: Some(metadata.racks.clone()) }
    }
}

impl Leader {
    pub(super) const fn leads(&self) -> bool {
        self.group.is_some()
    }

    pub(super) fn forget(&mut self) {
        self.group = None;
        self.owed = None;
    }

    /// Whether partitions that were held back have waited long enough.
    pub(super) fn overdue(&self, now: Time) -> bool {
        self.owed.is_some_and(|at| now >= at)
    }

    /// Whether the group's topics are not any more what they were when they were assigned. Racks count only for a
    /// member that has one, as in Java.
    pub(super) fn metadata_changed(&self, racks: bool) -> bool {
        self.group.iter().flatten().any(|(topic, then)| {
            let (Some(now), Some(then)) = (self.known.get(topic), then) else { return false };
            let moved = || then.racks.as_ref().is_some_and(|racks| *racks != now.racks);
            now.partitions != then.partitions || racks && moved()
        })
    }

    /// What is known now is what was assigned; what is not known was assigned as if it did not exist.
    fn take_snapshot(&mut self) {
        for (topic, then) in self.group.iter_mut().flatten() {
            let unknown = Snapshot { partitions: None, racks: None };
            *then = Some(self.known.get(topic).map_or(unknown, Snapshot::of));
        }
    }

    /// Where nothing is known of the assignment, the first report is what later ones are measured against.
    fn adopt(&mut self) {
        for (topic, then) in self.group.iter_mut().flatten() {
            if then.is_none() {
                *then = self.known.get(topic).map(Snapshot::of);
            }
        }
    }

    /// The snapshot as the leader's own user data: whether something was held back, topics and partition counts
    /// (-1 for none).
    fn write(&self) -> Option<Vec<u8>> {
        let group = self.group.as_ref()?;
        let mut out = Writer::default();
        out.int32(SNAPSHOT_MARK);
        out.int16(i16::from(self.owed.is_some()));
        out.length(group.len());
        for (topic, then) in group {
            out.string(topic);
            out.int32(then.as_ref().and_then(|then| then.partitions).unwrap_or(-1));
        }
        Some(out.bytes())
    }

    /// Takes over the snapshot of the process that led before this one, as it stands in the assignment.
    pub(super) fn inherit(&mut self, now: Time, user_data: Option<&[u8]>) {
        if !core::mem::take(&mut self.inherits) {
            return;
        }
        if let Some((owes, counts)) = user_data.and_then(|bytes| read_snapshot(bytes).ok()?) {
            self.owed = owes.then_some(now);
            for (topic, count) in counts {
                if let Some(then) = self.group.as_mut().and_then(|group| group.get_mut(&topic)) {
                    *then =
                        Some(Snapshot { partitions: Some(count).filter(|count| *count >= 0), racks: None });
                }
            }
        }
        self.adopt();
    }
}

/// Begins the user data that a leader of ours puts into its own assignment ("KOH1"). Other clients pass it over.
const SNAPSHOT_MARK: i32 = 0x4b4f_4831;

type Inherited = (bool, Vec<(String, Partition)>);

fn read_snapshot(bytes: &[u8]) -> Result<Option<Inherited>, DecodeError> {
    let mut from = Reader::new(bytes);
    if from.int32("mark")? != SNAPSHOT_MARK {
        return Ok(None);
    }
    let owes = from.int16("owes")? != 0;
    let count = from.length("topics", 6)?;
    let topics = (0..count).map(|_| Ok((from.string("topic")?, from.int32("partitions")?)));
    Ok(Some((owes, topics.collect::<Result<_, _>>()?)))
}

/// A leader that waits for the metadata of the group's topics.
#[derive(Debug)]
pub(super) struct Waiting {
    members: Vec<Subscriber>,
    topics: BTreeSet<String>,
    /// Then it assigns what it knows: the others wait for it.
    until: Time,
}

/// One assignor of each name.
pub(super) fn assignors(names: &[String]) -> Result<Vec<Box<dyn Assignor>>, ConfigError> {
    let one =
        |name: &String| assignor::by_name(name).ok_or_else(|| ConfigError::UnknownAssignor(name.clone()));
    names.iter().map(one).collect()
}

/// The most advanced protocol that all assignors support (KIP-429). Eager is supported by all of ours.
pub(super) fn rebalance_protocol(assignors: &[Box<dyn Assignor>]) -> RebalanceProtocol {
    let cooperative = assignors
        .iter()
        .all(|assignor| assignor.rebalance_protocols().contains(&RebalanceProtocol::Cooperative));
    if cooperative { RebalanceProtocol::Cooperative } else { RebalanceProtocol::Eager }
}

impl Member {
    /// What this member offers: for each assignor its name and the subscription, with the claims of now.
    pub(super) fn subscriptions(&self, topics: &BTreeSet<String>) -> Vec<(String, Vec<u8>)> {
        // The generation that was joined last, even if its assignment never arrived: with the older one in which the
        // claims were made, leaders that drop stale claims would give away what is still worked on.
        let generation = (self.identity.generation >= 0).then_some(self.identity.generation);
        let mut subscription = Subscription {
            topics: Arc::new(topics.clone()),
            user_data: None,
            owned: self.owned.keys().cloned().collect(),
            generation,
            rack: self.config.rack_id.clone(),
        };
        let mut offers = Vec::with_capacity(self.assignors.len());
        for assignor in &self.assignors {
            subscription.user_data = assignor.user_data(topics);
            offers.push((assignor.name().to_owned(), subscription.encode()));
        }
        offers
    }

    /// Has the shell watch what is subscribed; a leader watches what its group subscribes to.
    pub(super) fn watch_topics(&mut self, out: &mut Vec<Effect>) {
        let own = self.wish.topics.iter().flatten();
        let group = self.leader.group.iter().flat_map(BTreeMap::keys);
        let topics: BTreeSet<String> = own.chain(group).cloned().collect();
        if topics != self.leader.watched {
            self.leader.known.retain(|topic, _| topics.contains(topic));
            self.leader.watched.clone_from(&topics);
            out.push(Effect::WatchTopics(topics));
        }
    }

    pub(super) fn metadata(&mut self, topics: BTreeMap<String, TopicMetadata>) {
        let watched = &self.leader.watched;
        self.leader.known.extend(topics.into_iter().filter(|(topic, _)| watched.contains(topic)));
        self.leader.adopt();
    }

    /// This member leads the generation it joined.
    pub(super) fn lead<'a>(&mut self, now: Time, response: &'a JoinGroupResponse, out: &mut Vec<Effect>) {
        let mut read = Subscriptions::default();
        let member = |joined: &'a JoinedMember| Subscriber {
            id: joined.member_id.clone(),
            instance_id: joined.group_instance_id.clone(),
            // Who cannot be read gets nothing; the others must not suffer for it. (Java's leader dies.)
            subscription: read.decode(&joined.metadata).unwrap_or_default(),
        };
        let members: Vec<_> = response.members.iter().map(member).collect();
        let topics: BTreeSet<String> =
            members.iter().flat_map(|member| member.subscription.topics.iter().cloned()).collect();
        self.leader.inherits = false;
        self.leader.owed = None;
        self.leader.group = Some(topics.iter().map(|topic| (topic.clone(), None)).collect());
        self.watch_topics(out);
        if response.skip_assignment {
            // KIP-814: a static leader returned, and everybody keeps what he has. Java measures later changes against
            // what it knows now, so a topic that grew while the leader was away stays unread. Ours inherits what its
            // predecessor knew, with its assignment.
            self.leader.inherits = true;
            self.sync(now, Vec::new());
            return;
        }
        let until = now + self.config.request_timeout;
        self.phase = Phase::Assigning(Waiting { members, topics, until });
    }

    /// Somebody else leads.
    pub(super) fn follow(&mut self, out: &mut Vec<Effect>) {
        self.leader.forget();
        self.watch_topics(out);
    }

    /// Assigns, as soon as the topics are known.
    pub(super) fn assign_when_known(&mut self, now: Time) -> bool {
        let Phase::Assigning(waiting) = &self.phase else { return false };
        let known = waiting.topics.iter().all(|topic| self.leader.known.contains_key(topic));
        if !known && now < waiting.until {
            return false;
        }
        let exists = |topic: &String| {
            let metadata = self.leader.known.get(topic)?;
            let racks = metadata.racks.clone();
            Some((topic.clone(), Topic { partitions: metadata.partitions?, racks }))
        };
        let topics: Topics = waiting.topics.iter().filter_map(exists).collect();
        let chosen = self.assignors.iter().find(|it| it.name() == self.assignor);
        let assignments = chosen.map(|it| it.assign(&topics, &waiting.members)).unwrap_or_default();
        let owes =
            self.protocol == RebalanceProtocol::Cooperative && held_back(waiting, &topics, &assignments);
        self.leader.owed = owes.then(|| now + self.config.rebalance_timeout);
        self.leader.take_snapshot();
        let mut snapshot = self.leader.write();
        let me = &self.identity.member_id;
        let encode = |(member, partitions): (String, _)| {
            let user_data = if member == *me { snapshot.take() } else { None };
            let bytes = Assignment { partitions, user_data }.encode();
            (member, bytes)
        };
        let assignments = assignments.into_iter().map(encode).collect();
        self.sync(now, assignments);
        true
    }

    /// Tells the assignor what this member got.
    pub(super) fn assignor_assigned(&mut self, partitions: &BTreeSet<TopicPartition>) {
        let partitions: Vec<_> = partitions.iter().cloned().collect();
        let generation = self.identity.generation;
        if let Some(chosen) = self.assignors.iter_mut().find(|it| it.name() == self.assignor) {
            chosen.on_assignment(&partitions, generation);
        }
    }

    pub(super) fn assign_deadline(&self) -> Option<Time> {
        match &self.phase {
            Phase::Assigning(waiting) => Some(waiting.until),
            // Not before what is open is done, which is an event of its own.
            Phase::Stable if self.wish.member() && self.can_prepare() && self.rejoin.is_none() => {
                self.leader.owed
            }
            _ => None,
        }
    }
}

/// Whether something that exists is claimed and was given to nobody.
fn held_back(waiting: &Waiting, topics: &Topics, assignments: &Assignments) -> bool {
    let given: BTreeSet<&TopicPartition> = assignments.values().flatten().collect();
    let exists =
        |tp: &TopicPartition| topics.get(&tp.topic).is_some_and(|topic| tp.partition < topic.partitions);
    let mut claims = waiting.members.iter().flat_map(|member| &member.subscription.owned);
    claims.any(|tp| exists(tp) && !given.contains(tp))
}
