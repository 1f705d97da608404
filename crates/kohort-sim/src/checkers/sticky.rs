//! `Sticky`: a sticky assignor moves no partition without need; a cooperative rebalance pauses none that stays.

use std::collections::{BTreeMap, BTreeSet};

use kohort_group::consumer_protocol::{Assignment, Subscription};
use kohort_group::coordinator::{GroupMetadata, Record};
use kohort_group::messages::TopicPartition;

use super::{Violation, broken};
use crate::host::Host;

const NAME: &str = "Sticky";

/// What a member still claims, and what it got.
struct Seen {
    member: String,
    claims: BTreeSet<TopicPartition>,
    assigned: BTreeSet<TopicPartition>,
}

/// Where all subscriptions are equal, everybody keeps of his own at least what everybody may have.
pub(crate) fn check_record(record: &Record) -> Result<(), Violation> {
    let Record::GroupMetadata { group_id, value: Some(group) } = record else { return Ok(()) };
    if group.protocol.as_deref() != Some("cooperative-sticky") {
        return Ok(());
    }
    let Some(seen) = equal_subscribers(group) else { return Ok(()) };
    let mut claimants: BTreeMap<&TopicPartition, usize> = BTreeMap::new();
    for partition in seen.iter().flat_map(|it| &it.claims) {
        *claimants.entry(partition).or_default() += 1;
    }
    let all: BTreeSet<_> = seen.iter().flat_map(|it| it.claims.union(&it.assigned)).collect();
    let share = all.len() / seen.len();
    for it in &seen {
        let valid = it.claims.iter().filter(|partition| claimants[partition] == 1).count();
        let kept = it.claims.intersection(&it.assigned).count();
        if kept < valid.min(share) {
            let what = format!(
                "group `{group_id}`: `{}` claims {valid}, everybody may have {share}, and it keeps {kept}",
                it.member
            );
            return Err(broken(NAME, what));
        }
    }
    Ok(())
}

/// Everybody, if all subscribe to the same topics. Claims of other topics do not count.
fn equal_subscribers(group: &GroupMetadata) -> Option<Vec<Seen>> {
    let mut topics = None;
    let mut seen = Vec::new();
    for member in &group.members {
        let subscription = Subscription::decode(&member.subscription).ok()?;
        if topics.get_or_insert_with(|| subscription.topics.clone()) != &subscription.topics {
            return None;
        }
        let mut claims: BTreeSet<_> = subscription.owned.into_iter().collect();
        claims.retain(|partition| subscription.topics.contains(&partition.topic));
        let assigned = Assignment::decode(&member.assignment).ok()?.partitions.into_iter().collect();
        seen.push(Seen { member: member.member_id.clone(), claims, assigned });
    }
    (!seen.is_empty()).then_some(seen)
}

/// A cooperative member that hands a partition back and is given it again by the same assignment was paused for
/// nothing.
pub(crate) fn check_pause(
    host: &Host,
    added: &BTreeSet<TopicPartition>,
    place: usize,
) -> Result<(), Violation> {
    if !host.cooperative() {
        return Ok(());
    }
    match added.intersection(&host.app.handed_back).next() {
        Some(partition) => {
            let what = format!(
                "host {place} handed `{}-{}` back and got it again in the same rebalance",
                partition.topic, partition.partition
            );
            Err(broken(NAME, what))
        }
        None => Ok(()),
    }
}
