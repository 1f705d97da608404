//! Uniform, unequal subscriptions (Kafka's UniformHeterogeneousAssignmentBuilder): free partitions level by level to
//! the least loaded subscribers, then topic by topic from the most to the least loaded.

use std::sync::Arc;

use super::super::intern::{Index, Place, index};
use super::Targets;
use super::intern::Interned;

/// Passes over all topics, at most: with overlapping subscriptions each about halves what is uneven.
const PASSES: usize = 16;

/// No member.
const NOBODY: Index = Index::MAX;

pub(super) fn assign<T: Ord + Clone>(group: &Interned<'_, T>) -> Targets<T> {
    let (audiences, audience_of) = group.audiences();
    let mut work = Work {
        group,
        audiences: &audiences,
        audience_of: &audience_of,
        owner: vec![NOBODY; group.places()],
        loads: vec![0; group.members.len()],
        changed: vec![false; group.members.len()],
        level: Levels::default(),
        by_owner: Vec::new(),
    };
    work.keep();
    let order = work.topic_order();
    for topic in &order {
        work.fill(*topic);
    }
    work.balance(&order);
    work.targets()
}

/// An assignment under way.
struct Work<'g, T> {
    group: &'g Interned<'g, T>,
    audiences: &'g [Vec<Index>],
    audience_of: &'g [Index],
    owner: Vec<Index>,
    loads: Vec<Index>,
    /// Members whose target is not what it was.
    changed: Vec<bool>,
    level: Levels,
    /// A topic's places with their owners, ascending; kept for its memory.
    by_owner: Vec<(Index, Place)>,
}

impl<T: Ord + Clone> Work<'_, T> {
    /// Members keep what they still want.
    fn keep(&mut self) {
        let mut hint = 0;
        for (number, member) in self.group.members.iter().enumerate() {
            let wanted = &self.group.sets[self.group.set_of[number] as usize];
            for (topic, partitions) in member.target.iter() {
                let topic = self.group.topic(topic, &mut hint);
                let topic = topic.filter(|topic| wanted.binary_search(&index(*topic)).is_ok());
                for partition in partitions {
                    let place = topic.and_then(|topic| self.group.place(topic, *partition));
                    match place.map(|place| &mut self.owner[place as usize]) {
                        Some(owner) if *owner == NOBODY => {
                            *owner = index(number);
                            self.loads[number] += 1;
                        }
                        _ => self.changed[number] = true,
                    }
                }
            }
        }
    }

    fn audience(&self, topic: usize) -> &[Index] {
        &self.audiences[self.audience_of[topic] as usize]
    }

    /// Most partitions a subscriber first, then fewest subscribers, then by name.
    fn topic_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = (0..self.group.topics.len()).collect();
        order.sort_by(|one, two| {
            let (partitions, subscribers) = (
                |topic: usize| self.group.topics[topic].1 as u64,
                |topic: usize| self.audience(topic).len() as u64,
            );
            // Fractions compared crosswise: exact, where Kafka divides.
            let (a, b) = (partitions(*one) * subscribers(*two), partitions(*two) * subscribers(*one));
            b.cmp(&a).then(subscribers(*one).cmp(&subscribers(*two)))
        });
        order
    }

    /// The topic's free places, ascending, to the least loaded.
    fn fill(&mut self, topic: usize) {
        let places = self.group.first[topic]..self.group.first[topic + 1];
        let free = places.clone().filter(|place| self.owner[*place as usize] == NOBODY).count();
        if free == 0 {
            return;
        }
        // No more than `free` members can come to anything: the least loaded ones.
        let audience = &self.audiences[self.audience_of[topic] as usize];
        self.level.least(audience, &self.loads, free);
        for place in places {
            if self.owner[place as usize] == NOBODY {
                let member = self.level.next_least(&self.loads);
                self.hand(place, member);
            }
        }
    }

    fn hand(&mut self, place: Place, to: Index) {
        let from = core::mem::replace(&mut self.owner[place as usize], to);
        if from != NOBODY {
            self.loads[from as usize] -= 1;
            self.changed[from as usize] = true;
        }
        self.loads[to as usize] += 1;
        self.changed[to as usize] = true;
    }

    /// Goes over the topics with two or more subscribers until a whole round moves nothing.
    fn balance(&mut self, order: &[usize]) {
        let order: Vec<usize> =
            order.iter().copied().filter(|topic| self.audience(*topic).len() > 1).collect();
        let mut last_moved = None;
        for _ in 0..PASSES {
            for topic in &order {
                if last_moved == Some(*topic) {
                    return;
                }
                let moved = self.even(*topic);
                if moved || last_moved.is_none() {
                    last_moved = Some(*topic);
                }
            }
        }
    }

    /// Moves the topic's partitions from the most to the least loaded of its subscribers until these differ by at most
    /// one, or those with more have none of it. Says whether any moved.
    fn even(&mut self, topic: usize) -> bool {
        let audience = &self.audiences[self.audience_of[topic] as usize];
        let loads = audience.iter().map(|member| self.loads[*member as usize]);
        let (least, most) =
            loads.fold((Index::MAX, 0), |(least, most), load| (least.min(load), most.max(load)));
        if most - least <= 1 {
            return false;
        }
        self.level.all(audience, &self.loads);
        let places = self.group.first[topic]..self.group.first[topic + 1];
        self.by_owner.clear();
        self.by_owner.extend(places.map(|place| (self.owner[place as usize], place)));
        self.by_owner.sort_unstable();
        // Per owner where its places end: it gives up the last first.
        let mut end: std::collections::BTreeMap<Index, (usize, usize)> = std::collections::BTreeMap::new();
        for (at, (owner, _)) in self.by_owner.iter().enumerate() {
            end.entry(*owner).or_insert((at, at)).1 = at + 1;
        }
        let mut any = false;
        while !self.level.even() {
            let Some(from) = self.level.next_most(&self.loads) else { break };
            let Some((_, last)) = end.get_mut(&from).filter(|(begin, end)| begin < end) else {
                self.level.exclude();
                continue;
            };
            *last -= 1;
            let (_, place) = self.by_owner[*last];
            let to = self.level.next_least(&self.loads);
            if self.level.even() {
                break;
            }
            self.hand(place, to);
            any = true;
        }
        any
    }

    fn targets(self) -> Targets<T> {
        let mut places: Vec<Vec<Place>> = vec![Vec::new(); self.loads.len()];
        for (place, owner) in self.owner.iter().enumerate() {
            if *owner != NOBODY && self.changed[*owner as usize] {
                places[*owner as usize].push(index(place));
            }
        }
        let target = |(number, places): (usize, Vec<Place>)| match self.changed[number] {
            true => self.group.target(places),
            false => Arc::clone(&self.group.members[number].target),
        };
        places.into_iter().enumerate().map(target).collect()
    }
}

/// The subscribers of a topic by load, with two ranges of equal load that grow towards each other: the least loaded, who
/// get one each before the next level, and the most loaded, who give one each.
#[derive(Debug, Default)]
struct Levels {
    sorted: Vec<(Index, Index)>,
    least_end: usize,
    least: i64,
    least_next: usize,
    most: core::ops::Range<usize>,
    most_load: i64,
    /// One above the next to give.
    most_next: usize,
}

impl Levels {
    fn sort(&mut self, members: &[Index], loads: &[Index], count: usize) {
        self.sorted.clear();
        self.sorted.extend(members.iter().map(|member| (loads[*member as usize], *member)));
        if count < self.sorted.len() {
            self.sorted.select_nth_unstable(count);
            self.sorted.truncate(count);
        }
        self.sorted.sort_unstable();
        let (first, last) = (self.sorted.first(), self.sorted.last());
        self.least_end = 0;
        self.least = first.map_or(0, |(load, _)| i64::from(*load)) - 1;
        self.least_next = 0;
        self.most = self.sorted.len()..self.sorted.len();
        self.most_load = last.map_or(0, |(load, _)| i64::from(*load)) + 1;
        self.most_next = self.sorted.len();
    }

    /// All of them.
    fn all(&mut self, members: &[Index], loads: &[Index]) {
        self.sort(members, loads, members.len());
    }

    /// Only the `count` least loaded.
    fn least(&mut self, members: &[Index], loads: &[Index], count: usize) {
        self.sort(members, loads, count);
    }

    fn load(&self, at: usize, loads: &[Index]) -> i64 {
        i64::from(loads[self.sorted[at].1 as usize])
    }

    fn next_least(&mut self, loads: &[Index]) -> Index {
        if self.least_next >= self.least_end {
            self.least += 1;
            while self.least_end < self.sorted.len() && self.load(self.least_end, loads) == self.least {
                self.least_end += 1;
            }
            self.least_next = 0;
        }
        self.least_next += 1;
        self.sorted[self.least_next - 1].1
    }

    fn next_most(&mut self, loads: &[Index]) -> Option<Index> {
        if self.most_next <= self.most.start {
            self.most_load = match self.most.start {
                start @ 1.. if self.most.end <= start => self.load(start - 1, loads),
                _ => self.most_load - 1,
            };
            while self.most.start > 0 && self.load(self.most.start - 1, loads) == self.most_load {
                self.most.start -= 1;
            }
            self.most_next = self.most.end;
        }
        self.most_next = self.most_next.checked_sub(1)?;
        Some(self.sorted[self.most_next].1)
    }

    /// Takes the one just given by `next_most` out of the range: it has nothing to give.
    fn exclude(&mut self) {
        self.most.end -= 1;
        self.sorted.swap(self.most_next, self.most.end);
    }

    fn even(&self) -> bool {
        self.most_load - self.least <= 1
    }
}
