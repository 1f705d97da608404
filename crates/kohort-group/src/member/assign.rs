//! What the leader does: reads everybody's subscription, waits for metadata, assigns, and watches for changes after.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{ConfigError, Effect, Member, Phase, TopicMetadata};
use crate::Time;
use crate::assignor::{self, Assignor, RebalanceProtocol, Subscriber, Topic, Topics};
use crate::consumer_protocol::{Assignment, Subscription, Subscriptions};
use crate::messages::{JoinGroupResponse, JoinedMember, TopicPartition};

/// What a member knows of topics, and of the group if it leads.
#[derive(Debug, Default)]
pub(super) struct Leader {
    /// What the shell reported.
    known: BTreeMap<String, TopicMetadata>,
    /// What the shell was asked to watch.
    watched: BTreeSet<String>,
    /// While this member leads: what the group subscribes to, and what was known of it when it was assigned.
    group: Option<BTreeMap<String, Option<TopicMetadata>>>,
}

impl Leader {
    pub(super) const fn leads(&self) -> bool {
        self.group.is_some()
    }

    pub(super) fn forget(&mut self) {
        self.group = None;
    }

    /// Whether the group's topics are not any more what they were when they were assigned. Racks count only for a
    /// member that has one, as in Java.
    pub(super) fn metadata_changed(&self, racks: bool) -> bool {
        self.group.iter().flatten().any(|(topic, then)| {
            let now = self.known.get(topic);
            let count = |metadata: Option<&TopicMetadata>| metadata.and_then(|it| it.partitions);
            let differs = count(now) != count(then.as_ref());
            differs || racks && now.map(|it| &it.racks) != then.as_ref().map(|it| &it.racks)
        })
    }
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
        self.leader.group = Some(topics.iter().map(|topic| (topic.clone(), None)).collect());
        self.watch_topics(out);
        if response.skip_assignment {
            // KIP-814: a static leader returned, and everybody keeps what he has. What changed while it was away is
            // not known; what is known now is what later changes are measured against.
            self.take_snapshot();
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

    fn take_snapshot(&mut self) {
        for (topic, snapshot) in self.leader.group.iter_mut().flatten() {
            *snapshot = self.leader.known.get(topic).cloned();
        }
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
        let encode = |(member, partitions)| (member, Assignment::new(partitions).encode());
        let assignments = assignments.into_iter().map(encode).collect();
        self.take_snapshot();
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
            _ => None,
        }
    }
}
