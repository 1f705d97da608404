//! What every assignment is, whatever the group: properties over random ones.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_group::assignor::{Assignments, NAMES, Subscriber, Topic, Topics, by_name, server};
use kohort_group::consumer_protocol::Subscription;
use kohort_group::messages::TopicPartition;
use proptest::prelude::*;

const RACKS: [&str; 3] = ["a", "b", "c"];

fn topics() -> impl Strategy<Value = Topics> {
    let racks = prop::collection::vec(prop::collection::vec(0..3_usize, 0..3), 0..9);
    let topic = (0..9_i32, racks).prop_map(|(partitions, racks)| Topic {
        partitions,
        racks: racks.iter().map(|of| of.iter().map(|rack| RACKS[*rack].to_owned()).collect()).collect(),
    });
    prop::collection::vec(topic, 1..6).prop_map(|topics| {
        topics.into_iter().enumerate().map(|(number, topic)| (format!("t{number}"), topic)).collect()
    })
}

/// A subscription by bits: t0 to t6, of which some do not exist.
fn subscription(bits: u8) -> Subscription {
    Subscription::new((0..7).filter(|bit| bits >> bit & 1 == 1).map(|bit| format!("t{bit}")))
}

fn members() -> impl Strategy<Value = Vec<Subscriber>> {
    let member = (any::<u8>(), prop::option::of(0..3_usize), any::<bool>());
    (prop::collection::vec(member, 1..9), prop::option::of(any::<u8>())).prop_map(|(members, equal)| {
        let subscriber = |(number, (bits, rack, fixed)): (usize, (u8, Option<usize>, bool))| Subscriber {
            id: format!("m{number}"),
            instance_id: fixed.then(|| format!("i{}", 9 - number)),
            subscription: Subscription {
                rack: rack.map(|rack| RACKS[rack].to_owned()),
                ..subscription(equal.unwrap_or(bits))
            },
        };
        members.into_iter().enumerate().map(subscriber).collect()
    })
}

/// What each member says of a result in the next round, to each assignor in its way.
fn owning(members: &[Subscriber], result: &Assignments, generation: i32) -> Vec<Subscriber> {
    let mut members = members.to_vec();
    for member in &mut members {
        let owned = &result[&member.id];
        member.subscription.owned.clone_from(owned);
        member.subscription.generation = Some(generation);
        member.subscription.user_data =
            Some(kohort_group::assignor::Sticky::encode_claim(owned, Some(generation)));
    }
    members
}

/// Each partition that somebody wants goes to exactly one member, who wants it.
fn complete(topics: &Topics, members: &[Subscriber], result: &Assignments) {
    let mut seen = BTreeSet::new();
    assert_eq!(result.len(), members.len());
    for member in members {
        for of in &result[&member.id] {
            assert!(member.subscription.topics.contains(&of.topic), "{} does not want {of:?}", member.id);
            assert!((0..topics[&of.topic].partitions).contains(&of.partition));
            assert!(seen.insert(of), "{of:?} twice");
        }
    }
    let wanted: BTreeSet<&String> =
        members.iter().flat_map(|member| member.subscription.topics.iter()).collect();
    let all: i32 = wanted.iter().filter_map(|name| topics.get(*name)).map(|topic| topic.partitions).sum();
    assert_eq!(seen.len() as i32, all);
}

fn spread(sizes: impl Iterator<Item = usize> + Clone) -> usize {
    sizes.clone().max().unwrap_or(0) - sizes.min().unwrap_or(0)
}

/// With racks a sticky assignor gives up what is far from its owner each time, hoping for a nearer one: so it is in
/// Kafka, and where a partition is near nobody it may wander for ever.
fn without_racks(mut members: Vec<Subscriber>) -> Vec<Subscriber> {
    for member in &mut members {
        member.subscription.rack = None;
    }
    members
}

proptest! {
    #[test]
    fn every_partition_goes_to_one_subscriber_whatever_the_order_of_the_list(
        topics in topics(), members in members(), turn in 0..9_usize,
    ) {
        for name in NAMES {
            let assignor = by_name(name).expect("its own name");
            let result = assignor.assign(&topics, &members);
            complete(&topics, &members, &result);
            let mut turned = members.clone();
            turned.rotate_left(turn % members.len());
            prop_assert_eq!(&assignor.assign(&topics, &turned), &result, "{}", name);
        }
    }

    #[test]
    fn equal_subscriptions_are_balanced_to_one_partition(
        topics in topics(), members in members(), wanted in any::<u8>(),
    ) {
        let mut members = members;
        for member in &mut members {
            member.subscription.topics = subscription(wanted).topics;
        }
        for name in ["roundrobin", "sticky", "cooperative-sticky"] {
            let result = by_name(name).expect("its own name").assign(&topics, &members);
            prop_assert!(spread(result.values().map(Vec::len)) <= 1, "{}: {:?}", name, result);
        }
        let range = by_name("range").expect("its own name").assign(&topics, &members);
        for topic in topics.keys() {
            let sizes = range.values().map(|of| of.iter().filter(|of| of.topic == *topic).count());
            prop_assert!(spread(sizes) <= 1, "{}: {:?}", topic, range);
        }
    }

    #[test]
    fn no_single_move_would_balance_a_fresh_sticky_assignment(topics in topics(), members in members()) {
        let result = by_name("sticky").expect("its own name").assign(&topics, &members);
        for (owner, owned) in &result {
            for of in owned {
                let better = members.iter().find(|other| {
                    other.subscription.topics.contains(&of.topic) && result[&other.id].len() + 1 < owned.len()
                });
                prop_assert!(better.is_none(), "{:?} from {} to {:?} in {:?}", of, owner, better, result);
            }
        }
    }

    #[test]
    fn what_is_settled_stays(topics in topics(), members in members()) {
        let members = without_racks(members);
        for name in ["sticky", "cooperative-sticky"] {
            let assignor = by_name(name).expect("its own name");
            let first = assignor.assign(&topics, &members);
            let second = assignor.assign(&topics, &owning(&members, &first, 1));
            for (id, owned) in &first {
                let (was, is): (BTreeSet<_>, BTreeSet<_>) = (owned.iter().collect(), second[id].iter().collect());
                prop_assert_eq!(was, is, "{} of {}", id, name);
            }
        }
    }

    #[test]
    fn cooperative_hands_over_in_two_steps_and_settles(
        topics in topics(), members in members(), leaving in 0..9_usize, late in 0..9_usize,
    ) {
        let members = without_racks(members);
        let assignor = by_name("cooperative-sticky").expect("its own name");
        let owned = assignor.assign(&topics, &members);
        let mut now = owning(&members, &owned, 3);
        // One leaves, one comes back late from an older generation, and what it had is claimed twice.
        if let Some(late) = now.get_mut(late) {
            late.subscription.generation = Some(2);
            late.subscription.owned.clone_from(&owned[&members[0].id]);
        }
        if now.len() > 1 {
            now.remove(leaving % now.len());
        }
        for round in 0.. {
            prop_assert!(round < 5, "does not settle");
            let result = assignor.assign(&topics, &now);
            let held: BTreeMap<&String, BTreeSet<&TopicPartition>> =
                now.iter().map(|member| (&member.id, member.subscription.owned.iter().collect())).collect();
            let is = |id: &String| result[id].iter().collect::<BTreeSet<_>>();
            let gained: BTreeSet<_> = held.iter().flat_map(|(id, had)| is(id).difference(had).copied().collect::<Vec<_>>()).collect();
            let lost: BTreeSet<_> = held.iter().flat_map(|(id, had)| had.difference(&is(id)).copied().collect::<Vec<_>>()).collect();
            prop_assert!(gained.is_disjoint(&lost), "at once: {:?}", gained.intersection(&lost));
            let settled = lost.is_empty();
            now = owning(&now, &result, 4 + round);
            if settled {
                complete(&topics, &now, &result);
                break;
            }
        }
    }

    #[test]
    fn the_brokers_assignors_are_complete_balanced_and_stay(topics in topics(), members in members()) {
        let counts: BTreeMap<String, i32> =
            (0..7).map(|topic| format!("t{topic}")).map(|name| {
                let partitions = topics.get(&name).map_or(1, |topic| topic.partitions);
                (name, partitions)
            }).collect();
        let all: Topics = counts.iter().map(|(name, count)| (name.clone(), Topic::of(*count))).collect();
        let mut group: Vec<server::Member<String>> = members
            .iter()
            .map(|member| server::Member {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                subscribed: Arc::clone(&member.subscription.topics),
                target: Arc::default(),
            })
            .collect();
        let kind = server::SubscriptionType::of(&group);
        for name in [server::RANGE, server::UNIFORM] {
            let assign = |group: &[server::Member<String>]| match name {
                server::RANGE => server::range(&counts, group),
                _ => server::uniform(&counts, group, kind),
            };
            let targets = assign(&group).expect("all topics exist");
            let result: Assignments = group.iter().zip(&targets).map(|(member, target)| {
                let flat = target.iter().flat_map(|(topic, of)| of.iter().map(move |of| TopicPartition::new(topic, *of)));
                (member.id.clone(), flat.collect())
            }).collect();
            complete(&all, &members, &result);
            if name == server::UNIFORM && kind == server::SubscriptionType::Homogeneous {
                prop_assert!(spread(result.values().map(Vec::len)) <= 1);
            }
            for (member, target) in group.iter_mut().zip(&targets) {
                member.target = Arc::clone(target);
            }
            let again = assign(&group).expect("all topics exist");
            if name == server::RANGE || kind == server::SubscriptionType::Homogeneous {
                let same = targets.iter().zip(&again).all(|(one, two)| Arc::ptr_eq(one, two));
                prop_assert!(same, "{} moves what is settled", name);
            }
        }
    }
}
