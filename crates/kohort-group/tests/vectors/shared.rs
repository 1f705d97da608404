//! `common.json`: what several assignors have in common.

use std::collections::BTreeSet;

use kohort_group::assignor::{
    Assignor as _, CooperativeSticky, RoundRobin, Sticky, Subscriber, Topic, Topics, rack_aware,
};
use kohort_group::consumer_protocol::Subscription;
use serde::Deserialize;

use crate::format::{Pair, pairs, partitions};

#[derive(Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub(crate) enum Shared {
    MemberOrder(MemberOrder),
    RackDecision(RackDecision),
    MemberData(MemberData),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberOrder {
    name: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    members: Vec<Named>,
    expect: ExpectOrder,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Named {
    id: String,
    instance_id: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectOrder {
    order: Vec<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct RackDecision {
    name: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    member_racks: BTreeSet<String>,
    partition_racks_seen: BTreeSet<String>,
    replica_racks: Vec<BTreeSet<String>>,
    expect: ExpectRacks,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectRacks {
    rack_aware: bool,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberData {
    name: String,
    #[serde(rename = "source")]
    _source: String,
    #[serde(rename = "note")]
    _note: Option<String>,
    assignor: String,
    subscription: Said,
    user_data: Option<Said>,
    expect: ExpectData,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Said {
    owned: Option<Vec<Pair>>,
    generation: Option<i32>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExpectData {
    owned: Vec<Pair>,
    generation: Option<i32>,
}

impl Shared {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::MemberOrder(case) => &case.name,
            Self::RackDecision(case) => &case.name,
            Self::MemberData(case) => &case.name,
        }
    }

    pub(crate) fn run(&self) -> Result<(), String> {
        match self {
            Self::MemberOrder(case) => case.run(),
            Self::RackDecision(case) => case.run(),
            Self::MemberData(case) => case.run(),
        }
    }
}

impl MemberOrder {
    /// Seen from outside: round robin deals partition 0, 1, ... of one topic to the members in order.
    fn run(&self) -> Result<(), String> {
        let topics = Topics::from([("t".to_owned(), Topic::of(self.members.len() as i32))]);
        let subscriber = |member: &Named| Subscriber {
            id: member.id.clone(),
            instance_id: member.instance_id.clone(),
            subscription: Subscription::new(["t"]),
        };
        let members: Vec<Subscriber> = self.members.iter().map(subscriber).collect();
        let assigned = RoundRobin.assign(&topics, &members);
        let mut order: Vec<(i32, String)> =
            assigned.into_iter().map(|(id, of)| (of.first().map_or(-1, |of| of.partition), id)).collect();
        order.sort();
        let order: Vec<String> = order.into_iter().map(|(_, id)| id).collect();
        if order == self.expect.order { Ok(()) } else { Err(format!("order is {order:?}")) }
    }
}

impl RackDecision {
    fn run(&self) -> Result<(), String> {
        let list = |racks: &BTreeSet<String>| racks.iter().cloned().collect::<Vec<_>>();
        let each: Vec<Vec<String>> = self.replica_racks.iter().map(list).collect();
        let is = rack_aware(
            &list(&self.member_racks),
            &list(&self.partition_racks_seen),
            each.iter().map(Vec::as_slice),
        );
        if is == self.expect.rack_aware { Ok(()) } else { Err(format!("rack aware: {is}")) }
    }
}

impl MemberData {
    fn run(&self) -> Result<(), String> {
        let user_data = self.user_data.as_ref().map(|said| {
            match (self.assignor.as_str(), &said.owned, said.generation) {
                ("sticky", Some(owned), generation) => {
                    Ok(Sticky::encode_claim(&partitions(owned), generation))
                }
                ("cooperative-sticky", None, Some(generation)) => Ok(generation.to_be_bytes().to_vec()),
                _ => Err(format!("user data {said:?} of `{}`", self.assignor)),
            }
        });
        let said = Subscription {
            user_data: user_data.transpose()?,
            owned: partitions(self.subscription.owned.as_deref().unwrap_or_default()),
            generation: self.subscription.generation,
            ..Subscription::new(["t"])
        };
        let version = if said.generation.is_some() { 2 } else { 1 };
        let read = Subscription::decode(&said.encode_as(version)).map_err(|error| error.to_string())?;
        let claim = match self.assignor.as_str() {
            "sticky" => Sticky::claim(&read),
            "cooperative-sticky" => CooperativeSticky::claim(&read),
            other => return Err(format!("assignor `{other}`")),
        };
        let is = (pairs(&claim.owned), claim.generation);
        let said = (self.expect.owned.clone(), self.expect.generation);
        if is == said { Ok(()) } else { Err(format!("is {is:?}, not {said:?}")) }
    }
}
