//! What has moved in this assignment so far, so that no topic's partitions pass each other between two members.

use std::collections::{BTreeMap, BTreeSet};

use super::super::intern::{Index, Place};

/// Net movements: from the member that had a partition at first to the one that has it now.
#[derive(Debug, Default)]
pub(super) struct Movements {
    of_place: BTreeMap<Place, (Index, Index)>,
    /// Topic, from, to.
    places: BTreeMap<(Index, Index, Index), BTreeSet<Place>>,
}

impl Movements {
    /// Notes that `place` of `topic` goes from one member to another. A partition that comes home has not moved.
    pub(super) fn note(&mut self, topic: Index, place: Place, from: Index, to: Index) {
        let mut origin = from;
        if let Some((first, last)) = self.of_place.remove(&place) {
            origin = first;
            let key = (topic, first, last);
            if let Some(places) = self.places.get_mut(&key) {
                places.remove(&place);
                if places.is_empty() {
                    self.places.remove(&key);
                }
            }
        }
        if origin != to {
            self.of_place.insert(place, (origin, to));
            self.places.entry((topic, origin, to)).or_default().insert(place);
        }
    }

    /// Which partition to move in place of `place` from `from` to `to`: if one of the topic went the opposite way, that
    /// one goes back. (Which of several is Java's hash order in Kafka; here the lowest.)
    pub(super) fn instead_of(&self, topic: Index, place: Place, from: Index, to: Index) -> Place {
        let origin = self.of_place.get(&place).map_or(from, |(origin, _)| *origin);
        self.places.get(&(topic, to, origin)).and_then(|places| places.first()).copied().unwrap_or(place)
    }
}
