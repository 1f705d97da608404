//! Groups as they are now, for those who look: the console, the simulation, tests.

use super::classic::{ClassicGroup, State, owned_partitions};
use crate::messages::TopicPartition;

/// One group as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupView<'a> {
    /// Its id.
    pub group_id: &'a str,
    /// Its state.
    pub state: State,
    /// Its generation.
    pub generation: i32,
    /// `None` for a simple group.
    pub protocol_type: Option<&'a str>,
    /// The chosen assignor.
    pub protocol: Option<&'a str>,
    /// The leader's member id.
    pub leader: Option<&'a str>,
    /// Its members, by id.
    pub members: Vec<MemberView<'a>>,
}

/// One member as it is now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberView<'a> {
    /// Its id.
    pub member_id: &'a str,
    /// Its instance id, if static.
    pub group_instance_id: Option<&'a str>,
    /// The client id of its first join.
    pub client_id: &'a str,
    /// Its host, as Java writes addresses.
    pub client_host: &'a str,
    /// Its subscription for the chosen protocol.
    pub subscription: &'a [u8],
    /// What the leader assigned to it; void while the group is not Stable.
    pub assignment: &'a [u8],
}

impl MemberView<'_> {
    /// The partitions that the assignment names, sorted; `None` if its bytes are not a consumer's assignment.
    #[must_use]
    pub fn partitions(&self) -> Option<Vec<TopicPartition>> {
        owned_partitions(self.assignment)
    }
}

impl ClassicGroup {
    pub(super) fn view(&self) -> GroupView<'_> {
        let protocol = self.protocol.as_deref();
        let members = self.members.values().map(|member| MemberView {
            member_id: &member.id,
            group_instance_id: member.instance_id.as_deref(),
            client_id: &member.client.id,
            client_host: &member.client.host,
            subscription: member.metadata(protocol),
            assignment: &member.assignment,
        });
        GroupView {
            group_id: &self.id,
            state: self.state,
            generation: self.generation,
            protocol_type: self.protocol_type.as_deref(),
            protocol,
            leader: self.leader.as_deref(),
            members: members.collect(),
        }
    }
}
