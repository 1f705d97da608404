//! Racks as numbers: who is near what (KIP-881).

use std::collections::BTreeMap;

use super::Subscriber;
use super::intern::{Group, Index, Place, index};

/// Whether racks are worth looking at: some member is on a rack that partitions are on, and not every partition is
/// on all of them (Kafka's `useRackAwareAssignment`).
///
/// All lists are sorted and free of repetitions: the members' racks, the racks of any partition, those of each.
pub fn rack_aware<'r, R: Ord + 'r>(
    members: &[R],
    partitions: &[R],
    mut each: impl Iterator<Item = &'r [R]>,
) -> bool {
    members.iter().any(|rack| partitions.binary_search(rack).is_ok())
        && !each.all(|racks| racks == partitions)
}

/// The racks of a group's members and of its partitions' replicas.
#[derive(Debug)]
pub(super) struct Racks {
    /// Per member its rack.
    pub(super) member: Vec<Option<Index>>,
    /// How many racks there are: their numbers are below it.
    pub(super) count: usize,
    /// Per place where its racks begin in `racks`, and at the end their number.
    begin: Vec<Index>,
    /// Ascending within a place, each once.
    racks: Vec<Index>,
}

impl Racks {
    /// `None` where no member has a rack: then nothing about racks matters.
    pub(super) fn of(group: &Group<'_>) -> Option<Self> {
        let mut numbers: BTreeMap<&str, Index> = BTreeMap::new();
        let rack_of = |member: usize| {
            let member: &Subscriber = group.members[member];
            member.subscription.rack.as_deref().filter(|rack| !rack.is_empty())
        };
        if !(0..group.members.len()).any(|member| rack_of(member).is_some()) {
            return None;
        }
        let member = (0..group.members.len())
            .map(|member| {
                let next = index(numbers.len());
                Some(*numbers.entry(rack_of(member)?).or_insert(next))
            })
            .collect();

        let mut begin = Vec::with_capacity(group.places() + 1);
        let mut racks: Vec<Index> = Vec::new();
        let mut of_place: Vec<Index> = Vec::new();
        for (number, (_, topic)) in group.topics.iter().enumerate() {
            for partition in 0..group.partitions_of(number) {
                begin.push(index(racks.len()));
                for rack in topic.racks.get(partition).map(Vec::as_slice).unwrap_or_default() {
                    let next = index(numbers.len());
                    of_place.push(*numbers.entry(rack).or_insert(next));
                }
                of_place.sort_unstable();
                of_place.dedup();
                racks.append(&mut of_place);
            }
        }
        begin.push(index(racks.len()));
        Some(Self { member, count: numbers.len(), begin, racks })
    }

    /// The racks of a place's replicas, ascending.
    pub(super) fn of_place(&self, place: Place) -> &[Index] {
        let place = place as usize;
        &self.racks[self.begin[place] as usize..self.begin[place + 1] as usize]
    }

    /// Whether a member has a rack and none of the place's replicas is on it.
    pub(super) fn mismatch(&self, member: Index, place: Place) -> bool {
        self.member[member as usize].is_some_and(|rack| !self.of_place(place).contains(&rack))
    }

    /// The racks of these members, ascending, each once.
    pub(super) fn of_members(&self, members: impl Iterator<Item = Index>) -> Vec<Index> {
        let mut racks: Vec<Index> = members.filter_map(|member| self.member[member as usize]).collect();
        racks.sort_unstable();
        racks.dedup();
        racks
    }

    /// Whether racks are worth looking at for these places and members on these racks.
    pub(super) fn matter(&self, members: &[Index], places: core::ops::Range<Place>) -> bool {
        let mut seen = vec![false; self.count];
        for place in places.clone() {
            for rack in self.of_place(place) {
                seen[*rack as usize] = true;
            }
        }
        let seen: Vec<Index> = (0..index(self.count)).filter(|rack| seen[*rack as usize]).collect();
        rack_aware(members, &seen, places.map(|place| self.of_place(place)))
    }
}
