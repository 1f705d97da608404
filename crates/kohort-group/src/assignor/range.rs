//! `range` (Kafka's RangeAssignor): topic by topic, consecutive partitions to members in order.

use std::collections::BTreeMap;

use super::intern::{Group, Index, Order, Place, index};
use super::racks::Racks;
use super::{Assignments, Assignor, Subscriber, Topics};

/// Gives each member of a topic n/m consecutive partitions and the first n mod m one more. Topics with the same number
/// of partitions and the same members are thereby assigned alike (co-partitioned), at the price that the first
/// members have the extras of every topic.
///
/// Where members and replicas have racks and it makes a difference, a first pass gives what can be had nearby without
/// giving up balance or co-partitioning (KIP-881).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Range;

impl Range {
    /// The name on the wire.
    pub const NAME: &'static str = "range";
}

impl Assignor for Range {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn assign(&self, topics: &Topics, members: &[Subscriber]) -> Assignments {
        let group = Group::new(topics, members, Order::StaticFirst);
        let (audiences, audience_of) = group.audiences();
        let mut places: Vec<Vec<Place>> = vec![Vec::new(); group.members.len()];
        match near(&group, &audiences, &audience_of) {
            Some(mut nearby) => {
                nearby.assign(&mut places);
                for places in &mut places {
                    places.sort_unstable();
                }
            }
            None => plain(&group, &audiences, &audience_of, &mut places),
        }
        group.named(&places)
    }
}

/// Without racks: only as many members are visited as get something.
fn plain(group: &Group<'_>, audiences: &[Vec<Index>], audience_of: &[Index], places: &mut [Vec<Place>]) {
    for (topic, audience) in audience_of.iter().enumerate() {
        let audience = &audiences[*audience as usize];
        let (each, extra) = share(group.partitions_of(topic), audience.len());
        let mut next = group.first[topic];
        for (at, member) in audience.iter().enumerate() {
            let count = each + index(usize::from(at < extra));
            if count == 0 {
                break;
            }
            places[*member as usize].extend(next..next + count);
            next += count;
        }
    }
}

/// How many partitions each member gets, and how many members get one more.
fn share(partitions: usize, members: usize) -> (Index, usize) {
    (index(partitions / members), partitions % members)
}

/// The pass with racks, if any topic wants it.
fn near<'g>(group: &'g Group<'_>, audiences: &'g [Vec<Index>], audience_of: &[Index]) -> Option<Near<'g>> {
    let racks = Racks::of(group)?;
    let racks_of: Vec<Vec<Index>> =
        audiences.iter().map(|audience| racks.of_members(audience.iter().copied())).collect();
    let wants = |topic: usize| {
        racks.matter(&racks_of[audience_of[topic] as usize], group.first[topic]..group.first[topic + 1])
    };
    let wants: Vec<bool> = (0..group.topics.len()).map(wants).collect();
    if !wants.contains(&true) {
        return None;
    }
    let mut alike: BTreeMap<(Index, usize), Vec<usize>> = BTreeMap::new();
    for (topic, audience) in audience_of.iter().copied().enumerate() {
        // Members without racks are near everything: the plain rule serves them.
        if !racks_of[audience as usize].is_empty() {
            alike.entry((audience, group.partitions_of(topic))).or_default().push(topic);
        }
    }
    let states = (0..group.topics.len())
        .map(|topic| {
            let audience = &audiences[audience_of[topic] as usize];
            let partitions = group.partitions_of(topic);
            let (each, extra) = share(partitions, audience.len());
            State {
                audience,
                first: group.first[topic],
                wants: wants[topic],
                each,
                extra,
                assigned: vec![0; audience.len()],
                taken: vec![false; partitions],
            }
        })
        .collect();
    Some(Near { racks, alike: alike.into_values().collect(), states })
}

/// Range assignment under way, with racks.
#[derive(Debug)]
struct Near<'g> {
    racks: Racks,
    /// Topics with the same members and the same number of partitions.
    alike: Vec<Vec<usize>>,
    states: Vec<State<'g>>,
}

/// One topic's assignment under way.
#[derive(Debug)]
struct State<'g> {
    audience: &'g [Index],
    /// The place of partition 0.
    first: Place,
    /// Racks matter for it.
    wants: bool,
    /// What everybody gets.
    each: Index,
    /// How many may still get one more.
    extra: usize,
    /// How many each of the audience has.
    assigned: Vec<Index>,
    taken: Vec<bool>,
}

impl State<'_> {
    /// How many more this one of the audience may have now.
    fn room(&self, seat: usize) -> Index {
        (self.each + index(usize::from(self.extra > 0))).saturating_sub(self.assigned[seat])
    }

    fn give(&mut self, seat: usize, partitions: &[usize], places: &mut [Vec<Place>]) {
        let to = &mut places[self.audience[seat] as usize];
        for partition in partitions {
            self.taken[*partition] = true;
            to.push(self.first + index(*partition));
        }
        self.assigned[seat] += index(partitions.len());
        if self.assigned[seat] > self.each {
            self.extra -= 1;
        }
    }
}

impl Near<'_> {
    fn assign(&mut self, places: &mut [Vec<Place>]) {
        for topics in core::mem::take(&mut self.alike) {
            match topics.as_slice() {
                [topic] if self.states[*topic].wants => self.alone(*topic, places),
                [_] => {}
                // Co-partitioning comes first, also where none of the topics wants racks by itself.
                _ => self.together(&topics, places),
            }
        }
        for state in &mut self.states {
            let mut left =
                (0..state.taken.len()).filter(|partition| !state.taken[*partition]).collect::<Vec<_>>();
            let mut left = left.drain(..);
            for seat in 0..state.audience.len() {
                let room = state.room(seat) as usize;
                let partitions: Vec<usize> = left.by_ref().take(room).collect();
                if !partitions.is_empty() {
                    state.give(seat, &partitions, places);
                }
            }
        }
    }

    /// A topic by itself: each member takes the first partitions near to it.
    fn alone(&mut self, topic: usize, places: &mut [Vec<Place>]) {
        let state = &mut self.states[topic];
        let all = state.taken.len();
        // Per rack its partitions, and from where on they may be free; one more for members without rack.
        let mut lines: Vec<(Vec<usize>, usize)> = vec![(Vec::new(), 0); self.racks.count + 1];
        for partition in 0..all {
            for rack in self.racks.of_place(state.first + index(partition)) {
                lines[*rack as usize].0.push(partition);
            }
        }
        lines[self.racks.count].0 = (0..all).collect();
        let mut partitions = Vec::new();
        for (seat, member) in state.audience.iter().enumerate() {
            let rack = self.racks.member[*member as usize].map_or(self.racks.count, |rack| rack as usize);
            let (line, next) = &mut lines[rack];
            let room = state.room(seat) as usize;
            partitions.clear();
            while partitions.len() < room && *next < line.len() {
                if !state.taken[line[*next]] {
                    partitions.push(line[*next]);
                }
                *next += 1;
            }
            if !partitions.is_empty() {
                state.give(seat, &partitions, places);
            }
        }
    }

    /// Topics alike: partition by partition, of all topics at once, to the first member with room that is near each.
    fn together(&mut self, topics: &[usize], places: &mut [Vec<Place>]) {
        // All topics give the same seat the same numbers, so the first one's room is everybody's. Room never grows:
        // the first seat of each rack that may have some only moves on.
        let lead = topics[0];
        let mut lines: Vec<(Vec<usize>, usize)> = vec![(Vec::new(), 0); self.racks.count + 1];
        for (seat, member) in self.states[lead].audience.iter().enumerate() {
            let rack = self.racks.member[*member as usize].map_or(self.racks.count, |rack| rack as usize);
            lines[rack].0.push(seat);
        }
        for partition in 0..self.states[lead].taken.len() {
            let mut nearest: Option<usize> = None;
            for (rack, (line, next)) in lines.iter_mut().enumerate() {
                let everywhere = |topic: &usize| {
                    let racks = self.racks.of_place(self.states[*topic].first + index(partition));
                    racks.contains(&index(rack))
                };
                while line.get(*next).is_some_and(|seat| self.states[lead].room(*seat) == 0) {
                    *next += 1;
                }
                let Some(seat) = line.get(*next).copied() else { continue };
                if nearest.is_none_or(|nearest| seat < nearest)
                    && (rack == self.racks.count || topics.iter().all(everywhere))
                {
                    nearest = Some(seat);
                }
            }
            if let Some(seat) = nearest {
                for topic in topics {
                    self.states[*topic].give(seat, &[partition], places);
                }
            }
        }
    }
}
