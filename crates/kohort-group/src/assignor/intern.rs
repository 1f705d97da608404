//! Names become numbers once, at the beginning; results become names once, at the end.
//!
//! Topics are numbered in name order and partitions straight through all topics, so that comparing two partition
//! numbers compares (topic, partition) as Kafka does. Members are numbered in the order that the assignor asks for.
//! Equal topic lists are one set.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::{Assignments, Subscriber, Topic, Topics};
use crate::messages::{Partition, TopicPartition};

/// A partition, numbered through all topics.
pub(super) type Place = u32;

/// A number of a member, topic or set.
pub(super) type Index = u32;

/// In which order members are numbered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// Static members first, by instance id, then the others by member id: range, round robin, broker range.
    StaticFirst,
    /// By member id alone: the sticky ones.
    MemberId,
}

/// A group in numbers.
#[derive(Debug)]
pub(super) struct Group<'a> {
    /// In the order asked for; their index is their number.
    pub(super) members: Vec<&'a Subscriber>,
    /// The subscribed topics that exist and have partitions, by name.
    pub(super) topics: Vec<(&'a str, &'a Topic)>,
    /// The number of each topic's partition 0, and at the end how many partitions there are.
    pub(super) first: Vec<Place>,
    /// Per place its topic.
    pub(super) topic_of: Vec<Index>,
    /// The different subscriptions, each ascending, only topics that exist.
    pub(super) sets: Vec<Vec<Index>>,
    /// Per member its subscription in `sets`.
    pub(super) set_of: Vec<Index>,
    /// How many different subscriptions there are, topics that do not exist included.
    pub(super) different_sets: usize,
}

/// A number for a thing that is counted here: no group has 2^32 of anything.
pub(super) fn index(count: usize) -> Index {
    Index::try_from(count).expect("a group has less than 2^32 members, topics and partitions")
}

impl<'a> Group<'a> {
    pub(super) fn new(topics: &'a Topics, members: &'a [Subscriber], order: Order) -> Self {
        let mut members: Vec<&Subscriber> = members.iter().collect();
        members.sort_by_key(|member| sort_key(&member.id, member.instance_id.as_deref(), order));
        let (distinct, set_of) = distinct_sets(&members);

        let subscribed: BTreeSet<&str> =
            distinct.iter().flat_map(|set| set.iter().map(String::as_str)).collect();
        let topics: Vec<(&str, &Topic)> = subscribed
            .into_iter()
            .filter_map(|name| topics.get_key_value(name))
            .filter(|(_, topic)| topic.partitions > 0)
            .map(|(name, topic)| (name.as_str(), topic))
            .collect();

        let mut first = Vec::with_capacity(topics.len() + 1);
        let mut topic_of = Vec::new();
        for (number, (_, topic)) in topics.iter().enumerate() {
            first.push(index(topic_of.len()));
            topic_of.resize(topic_of.len() + usize::try_from(topic.partitions).unwrap_or(0), index(number));
        }
        first.push(index(topic_of.len()));

        let find = |name: &String| topics.binary_search_by(|(known, _)| (*known).cmp(name)).ok().map(index);
        let sets = distinct.iter().map(|set| set.iter().filter_map(find).collect()).collect();
        Self { members, topics, first, topic_of, sets, set_of, different_sets: distinct.len() }
    }

    /// How many partitions a topic has.
    pub(super) fn partitions_of(&self, topic: usize) -> usize {
        (self.first[topic + 1] - self.first[topic]) as usize
    }

    /// How many partitions there are.
    pub(super) fn places(&self) -> usize {
        self.topic_of.len()
    }

    /// The place of a partition, if its topic is subscribed to by anybody and has it. `hint` is the topic found
    /// last: lists come sorted, so the next name mostly is the same or the next.
    pub(super) fn place(&self, of: &TopicPartition, hint: &mut usize) -> Option<Place> {
        let known = |at: usize| self.topics.get(at).is_some_and(|(name, _)| *name == of.topic);
        if !known(*hint) {
            *hint = match known(*hint + 1) {
                true => *hint + 1,
                false => self.topics.binary_search_by(|(name, _)| (*name).cmp(&of.topic)).ok()?,
            };
        }
        let within = Place::try_from(of.partition).ok()?;
        (within < self.first[*hint + 1] - self.first[*hint]).then(|| self.first[*hint] + within)
    }

    /// The members subscribed to each topic, ascending; topics with the same ones share a list: the lists, and per
    /// topic which one.
    pub(super) fn audiences(&self) -> (Vec<Vec<Index>>, Vec<Index>) {
        audiences(&self.sets, &self.set_of, self.topics.len())
    }

    /// The partition at a place.
    pub(super) fn partition(&self, place: Place) -> TopicPartition {
        let topic = self.topic_of[place as usize] as usize;
        let within = place - self.first[topic];
        let partition = Partition::try_from(within).expect("a topic's partitions are counted by an i32");
        TopicPartition { topic: self.topics[topic].0.to_owned(), partition }
    }

    /// Places by member back to names.
    pub(super) fn named(&self, places: &[Vec<Place>]) -> Assignments {
        let partitions =
            places.iter().map(|places| places.iter().map(|place| self.partition(*place)).collect());
        self.members.iter().map(|member| member.id.clone()).zip(partitions).collect()
    }
}

/// Per topic the members that want it, as [`Group::audiences`] has it.
pub(super) fn audiences(
    sets: &[Vec<Index>],
    set_of: &[Index],
    topics: usize,
) -> (Vec<Vec<Index>>, Vec<Index>) {
    let mut members_of: Vec<Vec<Index>> = vec![Vec::new(); sets.len()];
    for (member, set) in set_of.iter().enumerate() {
        members_of[*set as usize].push(index(member));
    }
    let mut sets_with: Vec<Vec<Index>> = vec![Vec::new(); topics];
    for (set, topics) in sets.iter().enumerate() {
        for topic in topics {
            sets_with[*topic as usize].push(index(set));
        }
    }
    let mut audiences = Vec::new();
    let mut numbers: BTreeMap<&[Index], Index> = BTreeMap::new();
    let audience_of = sets_with
        .iter()
        .map(|sets| {
            *numbers.entry(sets).or_insert_with(|| {
                let mut audience: Vec<Index> =
                    sets.iter().flat_map(|set| members_of[*set as usize].iter().copied()).collect();
                audience.sort_unstable();
                audiences.push(audience);
                index(audiences.len() - 1)
            })
        })
        .collect();
    (audiences, audience_of)
}

/// Kafka's order of members: an instance id goes before none.
pub(super) fn sort_key<'a>(
    id: &'a str,
    instance_id: Option<&'a str>,
    order: Order,
) -> (bool, &'a str, &'a str) {
    match instance_id {
        Some(instance_id) if order == Order::StaticFirst => (false, instance_id, id),
        _ => (true, id, ""),
    }
}

/// The different topic sets, in the order of their first member, and which one each member has.
fn distinct_sets<'a>(members: &[&'a Subscriber]) -> (Vec<&'a BTreeSet<String>>, Vec<Index>) {
    let mut distinct: Vec<&BTreeSet<String>> = Vec::new();
    // Shared sets are recognised by their address; only others are compared name by name.
    let mut by_address: BTreeMap<usize, Index> = BTreeMap::new();
    let mut by_names: BTreeMap<&BTreeSet<String>, Index> = BTreeMap::new();
    let set_of = members
        .iter()
        .map(|member| {
            let topics = &member.subscription.topics;
            *by_address.entry(Arc::as_ptr(topics).addr()).or_insert_with(|| {
                *by_names.entry(topics).or_insert_with(|| {
                    distinct.push(topics);
                    index(distinct.len() - 1)
                })
            })
        })
        .collect();
    (distinct, set_of)
}
