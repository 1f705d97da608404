//! Our assignors, as the cases address them: members go through their wire form.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kohort_group::assignor::{
    Assignments, Assignor as _, CooperativeSticky, Range, RoundRobin, Sticky, Subscriber, Topic, Topics,
    server,
};
use kohort_group::consumer_protocol::{Subscription, Subscriptions};
use kohort_group::messages::TopicPartition;

use crate::format::{Assigned, Member, Pair, Round, pairs, partitions};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Subject {
    Range,
    RoundRobin,
    Sticky,
    CooperativeSticky,
    ServerRange,
    ServerUniform,
}

/// A result, and what changes hands where the assignor says so.
pub(crate) struct Outcome {
    /// How long it took, the members' wire forms included.
    pub(crate) took: Duration,
    pub(crate) assigned: Assigned,
    pub(crate) transferring: Option<BTreeMap<Pair, String>>,
}

impl Subject {
    pub(crate) fn of_file(stem: &str) -> Option<Self> {
        Some(match stem {
            "range" => Self::Range,
            "roundrobin" => Self::RoundRobin,
            "sticky" => Self::Sticky,
            "cooperative_sticky" => Self::CooperativeSticky,
            "server_range" => Self::ServerRange,
            "server_uniform" => Self::ServerUniform,
            _ => return None,
        })
    }

    pub(crate) fn on_the_broker(self) -> bool {
        matches!(self, Self::ServerRange | Self::ServerUniform)
    }

    /// The error of the assignor is the inner one; the outer one is a case that is not understood.
    pub(crate) fn run(self, round: &Round) -> Result<Result<Outcome, server::AssignError>, String> {
        if self.on_the_broker() {
            return self.run_on_the_broker(round);
        }
        let began = Instant::now();
        let topics: Topics = round
            .topics
            .iter()
            .map(|(name, topic)| {
                (name.clone(), Topic { partitions: topic.partitions, racks: topic.racks.clone() })
            })
            .collect();
        let written = round
            .members
            .iter()
            .map(|member| {
                self.subscription(member).map(|(subscription, version)| subscription.encode_as(version))
            })
            .collect::<Result<Vec<_>, String>>()?;
        let mut reader = Subscriptions::default();
        let mut members = Vec::with_capacity(round.members.len());
        for (member, bytes) in round.members.iter().zip(&written) {
            let read =
                reader.decode(bytes).map_err(|error| format!("own subscription unreadable: {error}"))?;
            members.push(Subscriber {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                // Old wire forms have no rack, Kafka's tests with them do.
                subscription: Subscription { rack: member.rack.clone(), ..read },
            });
        }
        let (assignments, transferring) = match self {
            Self::Range => (Range.assign(&topics, &members), None),
            Self::RoundRobin => (RoundRobin.assign(&topics, &members), None),
            Self::Sticky => {
                let plan = Sticky::plan(&topics, &members);
                (plan.assignments, Some(plan.transferring))
            }
            _ => {
                let plan = CooperativeSticky::plan(&topics, &members);
                let transferring = plan.transferring.clone();
                (plan.withhold(), Some(transferring))
            }
        };
        let took = began.elapsed();
        Ok(Ok(Outcome { took, assigned: assigned(&assignments), transferring: transferring.map(named) }))
    }

    /// What the member sends, and in which version.
    fn subscription(self, member: &Member) -> Result<(Subscription, i16), String> {
        let mut subscription = Subscription { rack: member.rack.clone(), ..Subscription::default() };
        subscription.topics = Arc::clone(&member.subscription);
        let Some(owned) = &member.owned else {
            return match &member.encoding {
                None => Ok((subscription, 3)),
                Some(encoding) => Err(format!("`{encoding}` without a claim")),
            };
        };
        let owned = partitions(owned);
        let claim = Some(Sticky::encode_claim(&owned, Some(member.generation)));
        let generation = Some(member.generation.to_be_bytes().to_vec());
        let version = match (self, member.encoding.as_deref()) {
            (Self::Sticky, None) => {
                subscription.user_data = claim;
                subscription.owned = owned;
                subscription.generation = Some(member.generation);
                3
            }
            (Self::Sticky, Some("v0")) => {
                subscription.user_data = claim;
                0
            }
            (Self::Sticky, Some("v1")) => {
                subscription.user_data = claim;
                subscription.owned = owned;
                1
            }
            (Self::Sticky, Some("user-data-without-generation")) if member.generation == -1 => {
                subscription.user_data = Some(Sticky::encode_claim(&owned, None));
                1
            }
            (Self::CooperativeSticky, Some("v1")) => {
                subscription.user_data = generation;
                subscription.owned = owned;
                1
            }
            (Self::CooperativeSticky | Self::Range | Self::RoundRobin, None) => {
                subscription.owned = owned;
                subscription.generation = Some(member.generation);
                3
            }
            (_, encoding) => {
                return Err(format!("encoding {encoding:?} of generation {}", member.generation));
            }
        };
        Ok((subscription, version))
    }

    fn run_on_the_broker(self, round: &Round) -> Result<Result<Outcome, server::AssignError>, String> {
        let key = |name: &String| key(round, name);
        let topics: BTreeMap<Key, i32> = round
            .topics
            .iter()
            .map(|(name, topic)| Ok((key(name)?, topic.partitions)))
            .collect::<Result<_, String>>()?;
        let members = round
            .members
            .iter()
            .map(|member| {
                let mut target: server::Target<Key> = Vec::new();
                for (topic, partition) in member.owned.iter().flatten() {
                    let topic = key(topic)?;
                    match target.iter_mut().find(|(known, _)| *known == topic) {
                        Some((_, partitions)) => partitions.push(*partition),
                        None => target.push((topic, vec![*partition])),
                    }
                }
                Ok(server::Member {
                    id: member.id.clone(),
                    instance_id: member.instance_id.clone(),
                    subscribed: Arc::new(member.subscription.iter().map(key).collect::<Result<_, String>>()?),
                    target: Arc::new(target),
                })
            })
            .collect::<Result<Vec<_>, String>>()?;
        let kind = match round.subscription_type.as_deref() {
            Some("homogeneous") => server::SubscriptionType::Homogeneous,
            Some("heterogeneous") => server::SubscriptionType::Heterogeneous,
            None => server::SubscriptionType::of(&members),
            Some(other) => return Err(format!("subscription type `{other}`")),
        };
        let began = Instant::now();
        let targets = match self {
            Self::ServerRange => server::range(&topics, &members),
            _ => server::uniform(&topics, &members, kind),
        };
        let took = began.elapsed();
        Ok(targets.map(|targets| {
            let flat = |target: &Arc<server::Target<Key>>| {
                let flat = target
                    .iter()
                    .flat_map(|(topic, of)| of.iter().map(|partition| (topic.2.clone(), *partition)));
                flat.collect()
            };
            let assigned =
                members.iter().map(|member| member.id.clone()).zip(targets.iter().map(flat)).collect();
            Outcome { took, assigned, transferring: None }
        }))
    }
}

/// Where Kafka goes by hash order the case gives the order; else by topic id, else by name.
type Key = (usize, [u8; 16], String);

fn key(round: &Round, name: &String) -> Result<Key, String> {
    let listed = round.topic_order.as_ref().and_then(|order| order.iter().position(|listed| listed == name));
    let id = round.topics.get(name).and_then(|topic| topic.id.as_deref());
    Ok((listed.unwrap_or(usize::MAX), id.map_or(Ok([0; 16]), topic_id)?, name.clone()))
}

/// Kafka's text of a topic id: URL-safe base64, 22 digits. (It compares its halves as signed numbers.)
fn topic_id(text: &str) -> Result<[u8; 16], String> {
    let digit = |byte: u8| match byte {
        b'A'..=b'Z' => Some(byte - b'A'),
        b'a'..=b'z' => Some(byte - b'a' + 26),
        b'0'..=b'9' => Some(byte - b'0' + 52),
        b'-' => Some(62),
        b'_' => Some(63),
        _ => None,
    };
    let bits = text
        .bytes()
        .try_fold((0_u128, 128_i32), |(bits, left), byte| {
            let digit = u128::from(digit(byte)?);
            let left = left - 6;
            Some((if left >= 0 { bits | digit << left } else { bits | digit >> -left }, left))
        })
        .filter(|(_, left)| (-6..32).contains(left))
        .ok_or_else(|| format!("topic id `{text}`"))?
        .0;
    let signed = (1 << 127) | (1 << 63);
    Ok((bits ^ signed).to_be_bytes())
}

fn assigned(assignments: &Assignments) -> Assigned {
    assignments.iter().map(|(member, partitions)| (member.clone(), pairs(partitions))).collect()
}

fn named(transferring: BTreeMap<TopicPartition, String>) -> BTreeMap<Pair, String> {
    transferring.into_iter().map(|(of, owner)| ((of.topic, of.partition), owner)).collect()
}
