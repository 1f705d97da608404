//! `OneOwner`: within a group and generation, no partition has two owners: neither in what the leader assigned, nor in
//! what applications work on.

use std::collections::BTreeMap;

use kohort_group::consumer_protocol::{Assignment, Subscription};
use kohort_group::coordinator::{GroupMetadata, Record};
use kohort_group::invariants::{self, Owners};
use kohort_group::member::Member;
use kohort_group::messages::TopicPartition;

use super::{Violation, broken};
use crate::host::Host;

const NAME: &str = "OneOwner";

/// What the leader assigned.
pub(crate) fn check_record(record: &Record) -> Result<(), Violation> {
    let Record::GroupMetadata { group_id, value: Some(group) } = record else { return Ok(()) };
    let assigned = |bytes| Assignment::decode(bytes).unwrap_or_default().partitions;
    let owners: Owners =
        group.members.iter().map(|it| (it.member_id.clone(), assigned(&it.assignment))).collect();
    invariants::one_owner(&owners)?;
    if group.protocol.as_deref() == Some("cooperative-sticky") {
        check_handover(group_id, group, &owners)?;
    }
    Ok(())
}

/// KIP-429: what one member still works on is not given to another in the same rebalance.
fn check_handover(group_id: &str, group: &GroupMetadata, owners: &Owners) -> Result<(), Violation> {
    let mut owner_of: BTreeMap<&TopicPartition, &str> = BTreeMap::new();
    for (member, partitions) in owners {
        owner_of.extend(partitions.iter().map(|partition| (partition, member.as_str())));
    }
    let mut claims: BTreeMap<TopicPartition, Vec<&str>> = BTreeMap::new();
    for member in &group.members {
        for partition in Subscription::decode(&member.subscription).unwrap_or_default().owned {
            claims.entry(partition).or_default().push(&member.member_id);
        }
    }
    for (partition, claimants) in claims {
        // Claimed by two, somebody's claim is stale, and who is right is the assignor's to say.
        let [claimant] = claimants[..] else { continue };
        if let Some(owner) = owner_of.get(&partition)
            && *owner != claimant
        {
            let what = format!(
                "group `{group_id}` gives `{}-{}` to `{owner}` while `{claimant}` still works on it",
                partition.topic, partition.partition
            );
            return Err(broken(NAME, what));
        }
    }
    Ok(())
}

/// What the application at `place` was just given, beside what all others of its generation work on.
pub(crate) fn check_hosts(hosts: &[Host], place: usize, generation: i32) -> Result<(), Violation> {
    let mine = &hosts[place];
    for (other_place, other) in hosts.iter().enumerate() {
        let same_generation = other.app.synced == generation
            && other.member.as_ref().and_then(Member::generation) == Some(generation);
        if other_place == place || other.group != mine.group || !same_generation {
            continue;
        }
        let both = mine.app.held.keys().find(|partition| other.app.held.contains_key(*partition));
        if let Some(partition) = both {
            let what = format!(
                "hosts {place} and {other_place} both work on `{}-{}` in generation {generation}",
                partition.topic, partition.partition
            );
            return Err(broken(NAME, what));
        }
    }
    Ok(())
}
