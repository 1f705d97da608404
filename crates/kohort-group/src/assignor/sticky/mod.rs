//! `sticky` and `cooperative-sticky` (Kafka's AbstractStickyAssignor): as balanced as subscriptions permit, then as
//! little moved as possible.
//!
//! What members claim to own is sorted out first ([`claims`]). Equal subscriptions take a short way ([`equal`]),
//! any others the general one ([`unequal`]). Both say which partitions change hands, for the cooperative protocol.

mod claims;
mod equal;
mod movements;
mod unequal;

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use super::intern::{Group, Index, Order, Place};
use super::racks::Racks;
use super::{Assignments, Assignor, RebalanceProtocol, Subscriber, Topics};
use crate::consumer_protocol::{Subscription, read_partitions, write_partitions};
use crate::messages::TopicPartition;
use crate::wire::{Reader, Writer};
use claims::Claims;

/// What a member says it owns, and since which generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<'a> {
    /// The partitions.
    pub owned: Cow<'a, [TopicPartition]>,
    /// `None` where it was not said: older than any.
    pub generation: Option<i32>,
}

/// An assignment as a sticky assignor means it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Who is to have what in the end.
    pub assignments: Assignments,
    /// The partitions that change hands, with their new owners: a member of the group still claims them, or several
    /// claimed them in one generation.
    pub transferring: BTreeMap<TopicPartition, String>,
}

impl Plan {
    /// What can be given now under the cooperative protocol: a partition that changes hands is nobody's until the old
    /// owner has let go, which the next rebalance sees.
    #[must_use]
    pub fn withhold(mut self) -> Assignments {
        let mut withheld: BTreeMap<&str, BTreeSet<&TopicPartition>> = BTreeMap::new();
        for (partition, owner) in &self.transferring {
            withheld.entry(owner).or_default().insert(partition);
        }
        for (owner, partitions) in withheld {
            if let Some(assigned) = self.assignments.get_mut(owner) {
                assigned.retain(|partition| !partitions.contains(partition));
            }
        }
        self.assignments
    }
}

/// Eager and sticky: everything is given back before a rebalance, and mostly comes back. What a member had travels in
/// the assignor's user data (KIP-54, KIP-341).
#[derive(Clone, Debug, Default)]
pub struct Sticky {
    /// The last assignment and its generation.
    last: Option<(Vec<TopicPartition>, i32)>,
}

impl Sticky {
    /// The name on the wire.
    pub const NAME: &'static str = "sticky";

    /// What a member's subscription claims: user data alone counts, since an eager member owns nothing when it joins.
    /// User data that cannot be read claims nothing.
    #[must_use]
    pub fn claim(subscription: &Subscription) -> Claim<'_> {
        let nothing = Claim { owned: Cow::Borrowed(&[]), generation: None };
        let Some(bytes) = subscription.user_data.as_deref().filter(|bytes| !bytes.is_empty()) else {
            return nothing;
        };
        let mut from = Reader::new(bytes);
        let Ok(owned) = read_partitions(&mut from, "previous_assignment") else {
            return Claim { generation: Some(-1), ..nothing };
        };
        // The first schema ends here, without a generation.
        Claim { owned: Cow::Owned(owned), generation: from.int32("generation").ok() }
    }

    /// The bytes of a claim in user data; without a generation in the first schema.
    #[must_use]
    pub fn encode_claim(owned: &[TopicPartition], generation: Option<i32>) -> Vec<u8> {
        let mut out = Writer::default();
        write_partitions(&mut out, owned);
        if let Some(generation) = generation {
            out.int32(generation);
        }
        out.bytes()
    }

    /// The assignment, and what changes hands by it.
    #[must_use]
    pub fn plan(topics: &Topics, members: &[Subscriber]) -> Plan {
        plan(topics, members, Self::claim)
    }
}

impl Assignor for Sticky {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn user_data(&self, _topics: &BTreeSet<String>) -> Option<Vec<u8>> {
        self.last.as_ref().map(|(owned, generation)| Self::encode_claim(owned, Some(*generation)))
    }

    fn assign(&self, topics: &Topics, members: &[Subscriber]) -> Assignments {
        Self::plan(topics, members).assignments
    }

    fn on_assignment(&mut self, partitions: &[TopicPartition], generation: i32) {
        self.last = Some((partitions.to_vec(), generation));
    }
}

/// Sticky, and partitions that stay are never given back: those that move go from hand to hand in two rebalances
/// (KIP-429). What a member has travels in the subscription itself (KIP-792), before that the generation in user data.
#[derive(Clone, Debug)]
pub struct CooperativeSticky {
    generation: i32,
}

impl Default for CooperativeSticky {
    fn default() -> Self {
        Self { generation: -1 }
    }
}

impl CooperativeSticky {
    /// The name on the wire.
    pub const NAME: &'static str = "cooperative-sticky";

    /// What a member's subscription claims. The generation of user data counts where the subscription has none;
    /// user data that cannot be read means the oldest.
    #[must_use]
    pub fn claim(subscription: &Subscription) -> Claim<'_> {
        let from_user_data = || {
            subscription
                .user_data
                .as_deref()
                .map(|bytes| Reader::new(bytes).int32("generation").unwrap_or(-1))
        };
        Claim {
            owned: Cow::Borrowed(&subscription.owned),
            generation: subscription.generation.or_else(from_user_data),
        }
    }

    /// The assignment as it is meant, before what changes hands is withheld.
    #[must_use]
    pub fn plan(topics: &Topics, members: &[Subscriber]) -> Plan {
        plan(topics, members, Self::claim)
    }
}

impl Assignor for CooperativeSticky {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn rebalance_protocols(&self) -> &'static [RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative, RebalanceProtocol::Eager]
    }

    fn user_data(&self, _topics: &BTreeSet<String>) -> Option<Vec<u8>> {
        Some(self.generation.to_be_bytes().to_vec())
    }

    fn assign(&self, topics: &Topics, members: &[Subscriber]) -> Assignments {
        Self::plan(topics, members).withhold()
    }

    fn on_assignment(&mut self, _partitions: &[TopicPartition], generation: i32) {
        self.generation = generation;
    }
}

/// No member: in tables with a member per place.
const NOBODY: Index = Index::MAX;

/// What both ways return: places per member, and the places that change hands.
struct Outcome {
    places: Vec<Vec<Place>>,
    transferring: Vec<(Place, Index)>,
}

fn plan(topics: &Topics, members: &[Subscriber], claim: fn(&Subscription) -> Claim<'_>) -> Plan {
    let group = Group::new(topics, members, Order::MemberId);
    let claims = Claims::of(&group, claim);
    let racks = Racks::of(&group).filter(|racks| {
        let members = 0..super::intern::index(group.members.len());
        racks.matter(&racks.of_members(members), 0..super::intern::index(group.places()))
    });
    let outcome = match group.different_sets {
        0 | 1 => equal::assign(&group, &claims, racks.as_ref()),
        _ => unequal::assign(&group, &claims, racks.as_ref()),
    };
    let owner = |member: Index| group.members[member as usize].id.clone();
    Plan {
        transferring: outcome
            .transferring
            .iter()
            .map(|(place, member)| (group.partition(*place), owner(*member)))
            .collect(),
        assignments: group.named(&outcome.places),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_data(user_data: Option<Vec<u8>>) -> Subscription {
        Subscription { user_data, ..Subscription::new(["t"]) }
    }

    #[test]
    fn sticky_remembers_its_last_assignment_in_user_data() {
        let mut sticky = Sticky::default();
        assert_eq!(sticky.user_data(&BTreeSet::new()), None);
        let owned = [TopicPartition::new("t", 0), TopicPartition::new("t", 2)];
        sticky.on_assignment(&owned, 7);
        let subscription = with_data(sticky.user_data(&BTreeSet::new()));
        let claim = Sticky::claim(&subscription);
        assert_eq!((claim.owned.as_ref(), claim.generation), (owned.as_slice(), Some(7)));
    }

    #[test]
    fn sticky_user_data_without_generation_is_the_first_schema() {
        let owned = [TopicPartition::new("t", 1)];
        let subscription = with_data(Some(Sticky::encode_claim(&owned, None)));
        let claim = Sticky::claim(&subscription);
        assert_eq!((claim.owned.as_ref(), claim.generation), (owned.as_slice(), None));
    }

    #[test]
    fn user_data_that_cannot_be_read_claims_nothing() {
        let subscription = with_data(Some(vec![1, 2, 3]));
        assert!(Sticky::claim(&subscription).owned.is_empty());
        assert_eq!(CooperativeSticky::claim(&subscription).generation, Some(-1));
    }

    #[test]
    fn cooperative_user_data_is_the_generation() {
        let mut assignor = CooperativeSticky::default();
        assert_eq!(assignor.user_data(&BTreeSet::new()), Some(vec![0xff; 4]));
        assignor.on_assignment(&[], 3);
        let subscription = with_data(assignor.user_data(&BTreeSet::new()));
        assert_eq!(CooperativeSticky::claim(&subscription).generation, Some(3));
    }
}
