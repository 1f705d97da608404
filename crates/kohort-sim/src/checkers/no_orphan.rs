//! `NoOrphan`: once stable, every partition of a topic that some member subscribes to has an owner.

use std::collections::{BTreeMap, BTreeSet};

use kohort_group::invariants::{self, Owners};

use super::Violation;
use crate::world::World;

/// Everybody's applications, beside the topics that exist.
pub(crate) fn check(world: &World) -> Result<(), Violation> {
    let groups: BTreeSet<&str> = world.hosts.iter().map(|host| host.group.as_str()).collect();
    for group in groups {
        let mut owners = Owners::new();
        let mut subscriptions = BTreeMap::new();
        for host in world.hosts.iter().filter(|host| host.group == group && host.expected()) {
            let id = host.member.as_ref().map(|it| it.member_id().to_owned()).unwrap_or_default();
            owners.insert(id.clone(), host.app.held.keys().cloned().collect());
            subscriptions.insert(id, host.topics.clone());
        }
        invariants::no_orphan(&owners, &subscriptions, &world.topics)?;
    }
    Ok(())
}
