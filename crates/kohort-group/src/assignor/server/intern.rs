//! A broker's group in numbers; see [`crate::assignor`]'s own for the idea.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::super::intern::{Index, Place, audiences, index};
use super::{AssignError, Member, Target};
use crate::messages::Partition;

/// Members in the caller's order, topics in the order of their names.
#[derive(Debug)]
pub(super) struct Interned<'a, T> {
    pub(super) members: &'a [Member<T>],
    /// The subscribed topics and how many partitions each has.
    pub(super) topics: Vec<(&'a T, usize)>,
    /// The number of each topic's partition 0, and at the end how many partitions there are.
    pub(super) first: Vec<Place>,
    /// The different subscriptions, ascending.
    pub(super) sets: Vec<Vec<Index>>,
    /// Per member its subscription in `sets`.
    pub(super) set_of: Vec<Index>,
}

impl<'a, T: Ord + Clone> Interned<'a, T> {
    pub(super) fn new(
        topics: &'a BTreeMap<T, Partition>,
        members: &'a [Member<T>],
    ) -> Result<Self, AssignError> {
        let mut distinct: Vec<&BTreeSet<T>> = Vec::new();
        let mut by_address: BTreeMap<usize, Index> = BTreeMap::new();
        let mut by_names: BTreeMap<&BTreeSet<T>, Index> = BTreeMap::new();
        let mut subscribed: BTreeSet<&T> = BTreeSet::new();
        let mut set_of = Vec::with_capacity(members.len());
        for member in members {
            let address = Arc::as_ptr(&member.subscribed).addr();
            let set = match by_address.get(&address) {
                Some(set) => *set,
                None => {
                    let set = *by_names.entry(&member.subscribed).or_insert_with(|| {
                        distinct.push(&member.subscribed);
                        index(distinct.len() - 1)
                    });
                    if set as usize + 1 == distinct.len() {
                        if member.subscribed.iter().any(|topic| !topics.contains_key(topic)) {
                            return Err(AssignError::UnknownTopic { member: member.id.clone() });
                        }
                        subscribed.extend(member.subscribed.iter());
                    }
                    by_address.insert(address, set);
                    set
                }
            };
            set_of.push(set);
        }
        let topics: Vec<(&T, usize)> = subscribed
            .into_iter()
            .map(|topic| (topic, usize::try_from(topics[topic]).unwrap_or(0)))
            .collect();
        let mut first = vec![0];
        let mut places = 0;
        for (_, partitions) in &topics {
            places += partitions;
            first.push(index(places));
        }
        let find = |topic: &T| topics.binary_search_by(|(known, _)| (*known).cmp(topic)).ok().map(index);
        let sets = distinct.iter().map(|set| set.iter().filter_map(find).collect()).collect();
        Ok(Self { members, topics, first, sets, set_of })
    }

    pub(super) fn places(&self) -> usize {
        self.first.last().map_or(0, |places| *places as usize)
    }

    /// The number of a topic that anybody wants; `hint` is the one found last.
    pub(super) fn topic(&self, topic: &T, hint: &mut usize) -> Option<usize> {
        let known = |at: usize| self.topics.get(at).is_some_and(|(name, _)| *name == topic);
        if !known(*hint) {
            *hint = match known(*hint + 1) {
                true => *hint + 1,
                false => self.topics.binary_search_by(|(name, _)| (*name).cmp(topic)).ok()?,
            };
        }
        Some(*hint)
    }

    /// The place of a topic's partition, if there is one.
    pub(super) fn place(&self, topic: usize, partition: Partition) -> Option<Place> {
        let within = Place::try_from(partition).ok()?;
        (within < self.first[topic + 1] - self.first[topic]).then(|| self.first[topic] + within)
    }

    /// As the client's.
    pub(super) fn audiences(&self) -> (Vec<Vec<Index>>, Vec<Index>) {
        audiences(&self.sets, &self.set_of, self.topics.len())
    }

    /// A target of these places.
    pub(super) fn target(&self, mut places: Vec<Place>) -> Arc<Target<T>> {
        places.sort_unstable();
        let mut target: Target<T> = Vec::new();
        let mut topic = usize::MAX;
        for place in places {
            if topic == usize::MAX || place >= self.first[topic + 1] {
                topic = self.first.partition_point(|first| *first <= place) - 1;
                target.push((self.topics[topic].0.clone(), Vec::new()));
            }
            let within = Partition::try_from(place - self.first[topic]).unwrap_or(Partition::MAX);
            if let Some((_, partitions)) = target.last_mut() {
                partitions.push(within);
            }
        }
        Arc::new(target)
    }
}
