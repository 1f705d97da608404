//! Equal subscriptions (Kafka's ConstrainedAssignmentBuilder): everybody has q partitions, and r of them one more.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::super::intern::{Group, Index, Place, index};
use super::super::racks::Racks;
use super::claims::Claims;
use super::{NOBODY, Outcome};

/// Keeps what members own up to their share, then deals out the rest: near members first where racks matter.
pub(super) fn assign(group: &Group<'_>, claims: &Claims, racks: Option<&Racks>) -> Outcome {
    let members = group.members.len();
    if members == 0 {
        return Outcome { places: Vec::new(), transferring: Vec::new() };
    }
    let mut deal = Deal {
        group,
        claims,
        each: group.places() / members,
        extras: group.places() % members,
        places: vec![Vec::new(); members],
        given_up_by: vec![NOBODY; group.places()],
        transferring: Vec::new(),
        below: Vec::new(),
        at: VecDeque::new(),
    };
    deal.keep(racks);
    let mut kept = vec![false; group.places()];
    for place in deal.places.iter().flatten() {
        kept[*place as usize] = true;
    }
    let mut free: Vec<Place> = (0..index(group.places())).filter(|place| !kept[*place as usize]).collect();
    if let Some(racks) = racks {
        free = deal.nearby(free, racks);
    }
    deal.round(&free);
    Outcome { places: deal.places, transferring: deal.transferring }
}

/// An assignment under way.
struct Deal<'g> {
    group: &'g Group<'g>,
    claims: &'g Claims,
    /// What every member has in the end.
    each: usize,
    /// How many more members may have one more.
    extras: usize,
    places: Vec<Vec<Place>>,
    /// Per place the member whose valid claim was not kept.
    given_up_by: Vec<Index>,
    transferring: Vec<(Place, Index)>,
    /// The members with fewer than `each`, ascending.
    below: Vec<Index>,
    /// The members with exactly `each` that may still get one more, in the order in which they do.
    at: VecDeque<Index>,
}

impl Deal<'_> {
    /// Each member keeps what it owns, up to its share: partitions ascending, then topics.
    fn keep(&mut self, racks: Option<&Racks>) {
        for member in 0..index(self.places.len()) {
            let mut owned: Vec<Place> = Vec::with_capacity(self.each + 1);
            for place in self.claims.valid(member) {
                match racks.is_some_and(|racks| racks.mismatch(member, place)) {
                    true => self.given_up_by[place as usize] = member,
                    false => owned.push(place),
                }
            }
            let within = |place: &Place| {
                let topic = self.group.topic_of[*place as usize];
                (place - self.group.first[topic as usize], topic)
            };
            owned.sort_unstable_by_key(within);
            if owned.len() < self.each {
                self.below.push(member);
            } else {
                let more = owned.len() > self.each && self.extras > 0;
                self.extras -= usize::from(more);
                for place in owned.drain(self.each + usize::from(more)..) {
                    self.given_up_by[place as usize] = member;
                }
                if !more {
                    self.at.push_back(member);
                }
            }
            self.places[member as usize] = owned;
        }
    }

    fn give(&mut self, place: Place, member: Index) {
        self.places[member as usize].push(place);
        let given_up_by = self.given_up_by[place as usize];
        if (given_up_by != NOBODY && given_up_by != member) || self.claims.disputed[place as usize] {
            self.transferring.push((place, member));
        }
    }

    /// In turn, one each, to those below their share; each leaves the turn when it has it. Then one each to those who
    /// have it: first who had it from the start, then the others as they came to it.
    fn round(&mut self, free: &[Place]) {
        let mut turn: VecDeque<Index> = core::mem::take(&mut self.below).into();
        for place in free {
            let member = match turn.pop_front() {
                Some(member) => member,
                None => {
                    let member = self.at.pop_front();
                    member.expect("the shares add up to all partitions")
                }
            };
            self.give(*place, member);
            match self.places[member as usize].len() {
                few if few < self.each => turn.push_back(member),
                enough if enough == self.each => self.at.push_back(member),
                _ => {}
            }
        }
    }

    /// Gives each free partition to the next near member below its share, else to the first near one at it, those that
    /// the fewest members are near to before the others. Returns what nobody near can take.
    fn nearby(&mut self, mut free: Vec<Place>, racks: &Racks) -> Vec<Place> {
        let mut on = vec![0_usize; racks.count];
        for rack in racks.member.iter().flatten() {
            on[*rack as usize] += 1;
        }
        let near =
            |place: Place| -> usize { racks.of_place(place).iter().map(|rack| on[*rack as usize]).sum() };
        free.sort_by_key(|place| near(*place));

        let mut below = Line::new(racks);
        for member in core::mem::take(&mut self.below) {
            below.push(member);
        }
        let mut at = Line::new(racks);
        for member in core::mem::take(&mut self.at) {
            at.push(member);
        }
        let mut next = 0;
        free.retain(|place| {
            if let Some(seat) = below.near(*place, next).or_else(|| below.near(*place, 0)) {
                let member = below.seats[&seat];
                self.give(*place, member);
                next = seat + 1;
                if self.places[member as usize].len() >= self.each {
                    below.remove(seat);
                    at.push(member);
                }
                return false;
            }
            if self.extras > 0
                && let Some(seat) = at.near(*place, 0)
            {
                let member = at.seats[&seat];
                self.give(*place, member);
                at.remove(seat);
                self.extras -= 1;
                return false;
            }
            true
        });
        self.below = below.seats.into_values().collect();
        self.at = at.seats.into_values().collect();
        free
    }
}

/// Members in line, found by rack.
struct Line<'r> {
    racks: &'r Racks,
    seats: BTreeMap<usize, Index>,
    on: Vec<BTreeSet<usize>>,
    next: usize,
}

impl<'r> Line<'r> {
    fn new(racks: &'r Racks) -> Self {
        Self { racks, seats: BTreeMap::new(), on: vec![BTreeSet::new(); racks.count], next: 0 }
    }

    fn push(&mut self, member: Index) {
        self.seats.insert(self.next, member);
        if let Some(rack) = self.racks.member[member as usize] {
            self.on[rack as usize].insert(self.next);
        }
        self.next += 1;
    }

    fn remove(&mut self, seat: usize) {
        if let Some(member) = self.seats.remove(&seat)
            && let Some(rack) = self.racks.member[member as usize]
        {
            self.on[rack as usize].remove(&seat);
        }
    }

    /// The first seat from `from` on that has a rack on which `place` has a replica.
    fn near(&self, place: Place, from: usize) -> Option<usize> {
        let racks = self.racks.of_place(place).iter();
        racks.filter_map(|rack| self.on[*rack as usize].range(from..).next()).min().copied()
    }
}
