//! Uniform, equal subscriptions (Kafka's UniformHomogeneousAssignmentBuilder): one pass to keep, one to fill up.

use std::sync::Arc;

use super::super::intern::{Place, index};
use super::Targets;
use super::intern::Interned;

/// The first members may have the extras; each keeps what it has up to that, in the order listed.
pub(super) fn assign<T: Ord + Clone>(group: &Interned<'_, T>) -> Targets<T> {
    let members = group.members.len();
    if members == 0 {
        return Vec::new();
    }
    let (each, extras) = (group.places() / members, group.places() % members);
    let mut held = vec![false; group.places()];
    let mut given_up: Vec<Place> = Vec::new();
    let mut targets = Vec::with_capacity(members);
    // Who has less than its share: how many are missing, and what it kept where that is not all of its old target.
    let mut below: Vec<(usize, usize, Option<Vec<Place>>)> = Vec::new();
    let mut hint = 0;
    for (number, member) in group.members.iter().enumerate() {
        let mut quota = each + usize::from(number < extras);
        let mut all = true;
        for (topic, partitions) in member.target.iter() {
            let Some(topic) = group.topic(topic, &mut hint) else {
                all = false;
                continue;
            };
            for partition in partitions {
                let place = group.place(topic, *partition).filter(|place| !held[*place as usize]);
                all &= place.is_some() && quota > 0;
                let Some(place) = place else { continue };
                held[place as usize] = true;
                match quota {
                    0 => given_up.push(place),
                    _ => quota -= 1,
                }
            }
        }
        let kept = (!all).then(|| kept(group, number, each + usize::from(number < extras)));
        if quota > 0 {
            below.push((number, quota, kept));
            targets.push(Arc::clone(&member.target));
        } else {
            targets.push(kept.map_or_else(|| Arc::clone(&member.target), |places| group.target(places)));
        }
    }
    let mut pool = (0..index(group.places())).filter(|place| !held[*place as usize]).chain(given_up);
    for (number, quota, kept) in below {
        let share = each + usize::from(number < extras);
        let changed = kept.is_some();
        let more: Vec<Place> = pool.by_ref().take(quota).collect();
        if changed || !more.is_empty() {
            let mut places = kept.unwrap_or_else(|| self::kept(group, number, share));
            places.extend(more);
            targets[number] = group.target(places);
        }
    }
    debug_assert!(pool.next().is_none(), "the shares add up to all partitions");
    targets
}

/// The first `quota` places that a member has and that exist.
fn kept<T: Ord + Clone>(group: &Interned<'_, T>, member: usize, quota: usize) -> Vec<Place> {
    let mut hint = 0;
    let mut kept = Vec::with_capacity(quota);
    for (topic, partitions) in group.members[member].target.iter() {
        if let Some(topic) = group.topic(topic, &mut hint) {
            kept.extend(partitions.iter().filter_map(|partition| group.place(topic, *partition)));
        }
    }
    kept.truncate(quota);
    kept
}
