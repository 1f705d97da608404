//! Unequal subscriptions (Kafka's GeneralAssignmentBuilder): free partitions to whoever has least, then moves from
//! who has more to who has less until none helps.
//!
//! Kafka asks before each partition whether everything is balanced, by looking at everything. Here nobody asks: a
//! partition moves only if its owner has two more than some subscriber, which is what that question comes to.
//! Members are kept in classes of the same subscription and rack, each sorted by load, so that the least loaded
//! subscriber is the least of a few.

use std::collections::{BTreeMap, BTreeSet};

use super::super::intern::{Group, Index, Place, index};
use super::super::racks::Racks;
use super::claims::Claims;
use super::movements::Movements;
use super::{NOBODY, Outcome};

/// Keeps what members own and want, gives the rest to the least loaded, and balances.
pub(super) fn assign(group: &Group<'_>, claims: &Claims, racks: Option<&Racks>) -> Outcome {
    let mut work = Work::new(group, claims, racks);
    let revoked = work.keep();
    let order = topic_order(group, &work.subscribers);
    let places = order.iter().flat_map(|topic| group.first[*topic]..group.first[*topic + 1]);
    let shared = |place: &Place| work.subscribers[group.topic_of[*place as usize] as usize] > 1;
    let movable: Vec<Place> = places.clone().filter(shared).collect();
    let free: Vec<Place> = places.filter(|place| work.owner[*place as usize] == NOBODY).collect();
    let free_movable: Vec<Place> = free.iter().copied().filter(shared).collect();

    let from_nothing = work.loads.iter().all(|load| *load == 0);
    work.give(&free);

    let before = work.snapshot();
    if !revoked {
        // What is new should move before what somebody has.
        work.balance(&free_movable);
    }
    let moved = work.balance(&movable);
    if !from_nothing && moved && work.imbalance() >= work.imbalance_of(&before) {
        work.restore(before);
    }
    work.outcome()
}

/// Topics with few subscribers first, then by name.
fn topic_order(group: &Group<'_>, subscribers: &[usize]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..group.topics.len()).collect();
    order.sort_by_key(|topic| subscribers[*topic]);
    order
}

/// Who owns what, at one moment.
struct Snapshot {
    owner: Vec<Index>,
    since: Vec<u64>,
    loads: Vec<usize>,
}

/// An assignment under way.
struct Work<'g> {
    group: &'g Group<'g>,
    claims: &'g Claims,
    racks: Option<&'g Racks>,
    /// Per topic how many members want it.
    subscribers: Vec<usize>,
    /// Per place its owner, and when it became so: the order of a member's list.
    owner: Vec<Index>,
    since: Vec<u64>,
    clock: u64,
    /// Per member how many places it owns.
    loads: Vec<usize>,
    classes: Classes,
    /// Per place who claimed it in an older generation than the newest, the latest of those.
    previous: Vec<Index>,
    movements: Movements,
    moves: u64,
}

impl<'g> Work<'g> {
    fn new(group: &'g Group<'g>, claims: &'g Claims, racks: Option<&'g Racks>) -> Self {
        let mut members_with = vec![0_usize; group.sets.len()];
        for set in &group.set_of {
            members_with[*set as usize] += 1;
        }
        let mut subscribers = vec![0; group.topics.len()];
        for (set, topics) in group.sets.iter().enumerate() {
            for topic in topics {
                subscribers[*topic as usize] += members_with[set];
            }
        }
        Self {
            group,
            claims,
            racks,
            subscribers,
            owner: vec![NOBODY; group.places()],
            since: vec![0; group.places()],
            clock: 0,
            loads: vec![0; group.members.len()],
            classes: Classes::default(),
            previous: previous_owners(group, claims),
            movements: Movements::default(),
            moves: 0,
        }
    }

    fn wants(&self, member: Index, topic: Index) -> bool {
        self.group.sets[self.group.set_of[member as usize] as usize].binary_search(&topic).is_ok()
    }

    /// Members keep their valid claims to what they still want and are near to. Says whether any had to be dropped.
    fn keep(&mut self) -> bool {
        let mut revoked = false;
        for member in 0..index(self.loads.len()) {
            for place in self.claims.valid(member) {
                let far = self.racks.is_some_and(|racks| racks.mismatch(member, place));
                if far || !self.wants(member, self.group.topic_of[place as usize]) {
                    revoked = true;
                    continue;
                }
                self.owner[place as usize] = member;
                self.since[place as usize] = self.clock;
                self.clock += 1;
                self.loads[member as usize] += 1;
            }
        }
        self.classes = Classes::new(self.group, self.racks, &self.loads);
        revoked
    }

    /// Each place to the least loaded subscriber: first those who have a near one, then the others.
    fn give(&mut self, free: &[Place]) {
        let mut far: Vec<Place> = Vec::new();
        if let Some(racks) = self.racks {
            for place in free {
                let near =
                    |rack: Option<Index>| rack.is_none_or(|rack| racks.of_place(*place).contains(&rack));
                match self.classes.least(self.group.topic_of[*place as usize], near) {
                    Some((_, member)) => self.hand(*place, member),
                    None => far.push(*place),
                }
            }
        }
        let rest = if self.racks.is_some() { &far } else { free };
        for place in rest {
            let least = self.classes.least(self.group.topic_of[*place as usize], |_| true);
            let (_, member) = least.expect("a topic of the group has a subscriber");
            self.hand(*place, member);
        }
    }

    /// Makes `member` the owner of a place.
    fn hand(&mut self, place: Place, member: Index) {
        let from = core::mem::replace(&mut self.owner[place as usize], member);
        if from != NOBODY {
            self.load(from, self.loads[from as usize] - 1);
        }
        self.load(member, self.loads[member as usize] + 1);
        self.since[place as usize] = self.clock;
        self.clock += 1;
    }

    fn load(&mut self, member: Index, load: usize) {
        let before = core::mem::replace(&mut self.loads[member as usize], load);
        self.classes.reload(member, before, load);
    }

    /// Passes over the places until one moves nothing. Says whether anything moved.
    fn balance(&mut self, places: &[Place]) -> bool {
        let mut any = false;
        loop {
            let mut moved = false;
            for place in places {
                moved |= self.improve(*place);
            }
            any |= moved;
            if !moved {
                return any;
            }
        }
    }

    /// Moves a place if that helps: back to who had it before, else to the least loaded.
    fn improve(&mut self, place: Place) -> bool {
        let topic = self.group.topic_of[place as usize];
        let owner = self.owner[place as usize];
        let load = self.loads[owner as usize];
        let previous = self.previous[place as usize];
        let back = previous != NOBODY
            && load > self.loads[previous as usize] + 1
            // Kafka does not ask this, and gives a topic to a member that does not want it any more.
            && self.wants(previous, topic);
        let to = match back {
            true => previous,
            false => match self.classes.least(topic, |_| true) {
                Some((least, member)) if load > least + 1 => member,
                _ => return false,
            },
        };
        // Moving another in its place keeps partitions from passing each other, but is not sure to bring the loads
        // nearer: without an end to it two members could play ball for ever.
        let patience = 16 * self.owner.len() as u64;
        let moving = match self.moves < patience {
            true => self.movements.instead_of(topic, place, owner, to),
            false => place,
        };
        self.moves += 1;
        self.movements.note(topic, moving, self.owner[moving as usize], to);
        self.hand(moving, to);
        true
    }

    fn snapshot(&self) -> Snapshot {
        Snapshot { owner: self.owner.clone(), since: self.since.clone(), loads: self.loads.clone() }
    }

    fn restore(&mut self, to: Snapshot) {
        self.owner = to.owner;
        self.since = to.since;
        self.loads = to.loads;
    }

    /// The sum of the differences of each two members' loads, of those that any move could touch.
    fn imbalance(&self) -> u128 {
        let touched = |member: &usize| {
            self.group.sets[self.group.set_of[*member] as usize]
                .iter()
                .any(|topic| self.subscribers[*topic as usize] > 1)
        };
        imbalance((0..self.loads.len()).filter(touched).map(|member| self.loads[member]))
    }

    fn imbalance_of(&mut self, of: &Snapshot) -> u128 {
        let now = core::mem::replace(&mut self.loads, of.loads.clone());
        let imbalance = self.imbalance();
        self.loads = now;
        imbalance
    }

    fn outcome(self) -> Outcome {
        let mut places: Vec<Vec<Place>> = self.loads.iter().map(|load| Vec::with_capacity(*load)).collect();
        for (place, owner) in self.owner.iter().enumerate() {
            places[*owner as usize].push(index(place));
        }
        for places in &mut places {
            places.sort_unstable_by_key(|place| self.since[*place as usize]);
        }
        let mut transferring = Vec::new();
        // Changing hands: somebody says it owns the place, and it is meant for one who does not say so.
        let mut by_owner = vec![false; self.owner.len()];
        let mut by_other = vec![false; self.owner.len()];
        for (member, said) in self.claims.said.iter().enumerate() {
            for place in said {
                let by = match self.owner[*place as usize] == index(member) {
                    true => &mut by_owner,
                    false => &mut by_other,
                };
                by[*place as usize] = true;
            }
        }
        for (place, owner) in self.owner.iter().enumerate() {
            if by_other[place] && !by_owner[place] {
                transferring.push((index(place), *owner));
            }
        }
        Outcome { places, transferring }
    }
}

fn imbalance(loads: impl Iterator<Item = usize>) -> u128 {
    let mut loads: Vec<usize> = loads.collect();
    loads.sort_unstable();
    let mut sum = 0_u128;
    let mut below = 0_u128;
    for (count, load) in loads.iter().enumerate() {
        sum += (*load as u128) * (count as u128) - below;
        below += *load as u128;
    }
    sum
}

/// Per place the latest claimant of a generation before the newest.
fn previous_owners(group: &Group<'_>, claims: &Claims) -> Vec<Index> {
    let newest = claims.generation.iter().copied().max().unwrap_or(-1);
    let mut previous = vec![NOBODY; group.places()];
    for (member, said) in claims.said.iter().enumerate() {
        let generation = claims.generation[member];
        if generation == newest {
            continue;
        }
        for place in said {
            let held = &mut previous[*place as usize];
            if *held == NOBODY || generation > claims.generation[*held as usize] {
                *held = index(member);
            }
        }
    }
    previous
}

/// Members by load, in classes of the same subscription and rack.
#[derive(Debug, Default)]
struct Classes {
    class_of: Vec<Index>,
    racks: Vec<Option<Index>>,
    by_load: Vec<BTreeSet<(usize, Index)>>,
    /// Per topic the classes that want it.
    of_topic: Vec<Vec<Index>>,
    /// All members by load, and per class its topics: for topics with so many classes that looking through all members
    /// from the least loaded on is quicker.
    all: BTreeSet<(usize, Index)>,
    crowded: Vec<bool>,
    wanted: Vec<Vec<Index>>,
}

/// From so many classes on a topic is looked up in `all`.
const CROWD: usize = 32;

impl Classes {
    fn new(group: &Group<'_>, racks: Option<&Racks>, loads: &[usize]) -> Self {
        let mut numbers: BTreeMap<(Index, Option<Index>), Index> = BTreeMap::new();
        let mut classes = Self { of_topic: vec![Vec::new(); group.topics.len()], ..Self::default() };
        for (member, load) in loads.iter().enumerate() {
            let set = group.set_of[member];
            let rack = racks.and_then(|racks| racks.member[member]);
            let class = *numbers.entry((set, rack)).or_insert_with(|| {
                let class = index(classes.racks.len());
                for topic in &group.sets[set as usize] {
                    classes.of_topic[*topic as usize].push(class);
                }
                classes.racks.push(rack);
                classes.by_load.push(BTreeSet::new());
                classes.wanted.push(group.sets[set as usize].clone());
                class
            });
            classes.class_of.push(class);
            classes.by_load[class as usize].insert((*load, index(member)));
        }
        classes.crowded = classes.of_topic.iter().map(|of| of.len() > CROWD).collect();
        if classes.crowded.contains(&true) {
            classes.all = loads.iter().enumerate().map(|(member, load)| (*load, index(member))).collect();
        }
        classes
    }

    /// The load and number of the least loaded subscriber of a topic on a rack that will do.
    fn least(&self, topic: Index, near: impl Fn(Option<Index>) -> bool) -> Option<(usize, Index)> {
        if self.crowded[topic as usize] {
            let fits = |(_, member): &&(usize, Index)| {
                let class = self.class_of[*member as usize] as usize;
                self.wanted[class].binary_search(&topic).is_ok() && near(self.racks[class])
            };
            return self.all.iter().find(fits).copied();
        }
        let of = self.of_topic[topic as usize].iter().filter(|class| near(self.racks[**class as usize]));
        of.filter_map(|class| self.by_load[*class as usize].first()).min().copied()
    }

    fn reload(&mut self, member: Index, before: usize, load: usize) {
        let class = &mut self.by_load[self.class_of[member as usize] as usize];
        class.remove(&(before, member));
        class.insert((load, member));
        if !self.all.is_empty() {
            self.all.remove(&(before, member));
            self.all.insert((load, member));
        }
    }
}
