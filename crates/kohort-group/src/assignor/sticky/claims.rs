//! Whose claim counts.

use super::super::intern::{Group, Index, Place, index};
use super::{Claim, NOBODY};
use crate::consumer_protocol::Subscription;

/// What members claim, sorted out: a claim to what does not exist is dropped; of several claims to one partition the
/// one of the highest generation counts, and none where two are of that generation.
#[derive(Debug)]
pub(super) struct Claims {
    /// Per member all that it says, in its order, each once; only what exists.
    pub(super) said: Vec<Vec<Place>>,
    /// Per member its generation, -1 for none.
    pub(super) generation: Vec<i32>,
    /// Per place whose claim counts, or `NOBODY`.
    pub(super) owner: Vec<Index>,
    /// Per place whether several claimed it in the highest generation.
    pub(super) disputed: Vec<bool>,
}

impl Claims {
    pub(super) fn of(group: &Group<'_>, claim: fn(&Subscription) -> Claim<'_>) -> Self {
        let mut claims = Self {
            said: Vec::with_capacity(group.members.len()),
            generation: Vec::with_capacity(group.members.len()),
            owner: vec![NOBODY; group.places()],
            disputed: vec![false; group.places()],
        };
        let mut hint = 0;
        for (member, subscriber) in group.members.iter().enumerate() {
            let claim = claim(&subscriber.subscription);
            let generation = claim.generation.unwrap_or(-1).max(-1);
            let mut said: Vec<Place> = Vec::with_capacity(claim.owned.len());
            for partition in claim.owned.iter() {
                if let Some(place) = group.place(partition, &mut hint)
                    && claims.consider(place, index(member), generation)
                {
                    said.push(place);
                }
            }
            claims.said.push(said);
            claims.generation.push(generation);
        }
        claims
    }

    /// Notes a claim; `false` where the same member said the same before.
    fn consider(&mut self, place: Place, member: Index, generation: i32) -> bool {
        let at = place as usize;
        let owner = self.owner[at];
        if owner == member {
            return false;
        }
        let held = match owner {
            NOBODY => None,
            owner => Some(self.generation[owner as usize]),
        };
        if held.is_none_or(|held| generation > held) {
            self.owner[at] = member;
            self.disputed[at] = false;
        } else if held == Some(generation) {
            // The owner stays noted, for its generation, until the end of the comparison.
            self.disputed[at] = true;
        }
        true
    }

    /// The claims of a member that count, in its order.
    pub(super) fn valid(&self, member: Index) -> impl Iterator<Item = Place> {
        self.said[member as usize].iter().copied().filter(move |place| self.holds(member, *place))
    }

    /// Whether a member's claim to a place counts.
    pub(super) fn holds(&self, member: Index, place: Place) -> bool {
        self.owner[place as usize] == member && !self.disputed[place as usize]
    }
}
