//! `roundrobin` (Kafka's RoundRobinAssignor): all partitions in a row, dealt around the table.

use super::intern::{Group, Order, Place, index};
use super::{Assignments, Assignor, Subscriber, Topics};

/// Deals the partitions of all topics, by topic name and number, to the members in turn; who does not subscribe to
/// a topic is passed over, and the turn goes on after the member that took.
///
/// Balanced to one partition where all members want the same topics; else members that want less may get much less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RoundRobin;

impl RoundRobin {
    /// The name on the wire.
    pub const NAME: &'static str = "roundrobin";
}

impl Assignor for RoundRobin {
    fn name(&self) -> &'static str {
        Self::NAME
    }

    fn assign(&self, topics: &Topics, members: &[Subscriber]) -> Assignments {
        let group = Group::new(topics, members, Order::StaticFirst);
        let (audiences, audience_of) = group.audiences();
        let mut places: Vec<Vec<Place>> = vec![Vec::new(); group.members.len()];
        // The member whose turn it is, if it subscribes.
        let mut turn = 0;
        for topic in 0..group.topics.len() {
            let audience = &audiences[audience_of[topic] as usize];
            // The audience is a part of the ring: whoever in it sits at or after the turn, around the end.
            let mut seat = audience.partition_point(|member| *member < turn);
            for place in group.first[topic]..group.first[topic + 1] {
                let member = audience[seat % audience.len()];
                places[member as usize].push(place);
                turn = (member + 1) % index(group.members.len());
                seat = seat % audience.len() + 1;
            }
        }
        group.named(&places)
    }
}
