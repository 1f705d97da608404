//! The files' format. A field that is not known here fails the file: nothing is passed over in silence.

use std::collections::BTreeMap;

use kohort_group::messages::TopicPartition;
use serde::Deserialize;
use serde_json::Value;

/// A topic and a partition, as the files write it.
pub(crate) type Pair = (String, i32);

/// Member id to partitions.
pub(crate) type Assigned = BTreeMap<String, Vec<Pair>>;

/// What a round expects, by Kafka's or our own words; `check.rs` knows them.
pub(crate) type Expect = BTreeMap<String, Value>;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Case {
    pub(crate) name: String,
    #[serde(rename = "source")]
    pub(crate) _source: String,
    #[serde(rename = "run_as")]
    pub(crate) _run_as: Option<String>,
    pub(crate) variant: Option<String>,
    pub(crate) origin: Option<String>,
    #[serde(rename = "kafka_forced_rack_logic")]
    pub(crate) _kafka_forced_rack_logic: Option<bool>,
    #[serde(rename = "note")]
    pub(crate) _note: Option<String>,
    pub(crate) subscription_type: Option<String>,
    pub(crate) topic_order: Option<Vec<String>>,
    pub(crate) topics: Option<BTreeMap<String, TopicSpec>>,
    pub(crate) members: Option<Vec<MemberSpec>>,
    pub(crate) expect: Option<Expect>,
    pub(crate) steps: Option<Vec<Step>>,
    pub(crate) generate: Option<Generate>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Step {
    pub(crate) subscription_type: Option<String>,
    pub(crate) topic_order: Option<Vec<String>>,
    #[serde(rename = "note")]
    pub(crate) _note: Option<String>,
    pub(crate) topics: BTreeMap<String, TopicSpec>,
    pub(crate) members: Vec<MemberSpec>,
    pub(crate) expect: Expect,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum TopicSpec {
    Count(i32),
    Full(FullTopic),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct FullTopic {
    pub(crate) partitions: i32,
    #[serde(default)]
    pub(crate) racks: Vec<Vec<String>>,
    pub(crate) id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct MemberSpec {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) subscription: Vec<String>,
    pub(crate) owned: Option<Owned>,
    pub(crate) generation: i32,
    pub(crate) encoding: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(crate) enum Owned {
    Listed(Vec<Pair>),
    From { from: Given },
}

/// What a member got in a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Given {
    pub(crate) step: usize,
    pub(crate) member: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Generate {
    pub(crate) kind: String,
    pub(crate) repeat: Option<usize>,
    pub(crate) topics: Many,
    pub(crate) members: Many,
    pub(crate) subscription: String,
    pub(crate) racks: String,
    pub(crate) rounds: Vec<GeneratedRound>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Many {
    pub(crate) count: Value,
    pub(crate) name: String,
    pub(crate) first: usize,
    pub(crate) partitions: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct GeneratedRound {
    pub(crate) change: Option<String>,
    pub(crate) owned: String,
    pub(crate) expect: Option<Expect>,
    pub(crate) subscription: Option<String>,
}

/// A round with everything resolved.
#[derive(Clone, Debug, Default)]
pub(crate) struct Round {
    pub(crate) topics: BTreeMap<String, FullTopic>,
    pub(crate) members: Vec<Member>,
    pub(crate) subscription_type: Option<String>,
    pub(crate) topic_order: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) id: String,
    pub(crate) instance_id: Option<String>,
    pub(crate) rack: Option<String>,
    pub(crate) subscription: std::sync::Arc<std::collections::BTreeSet<String>>,
    /// `None` reports nothing.
    pub(crate) owned: Option<Vec<Pair>>,
    pub(crate) generation: i32,
    pub(crate) encoding: Option<String>,
}

impl Round {
    pub(crate) fn new(
        topics: &BTreeMap<String, TopicSpec>,
        members: &[MemberSpec],
        history: &[Assigned],
    ) -> Result<Self, String> {
        let topics = topics.iter().map(|(name, topic)| (name.clone(), topic.full())).collect();
        let resolve = |member: &MemberSpec| {
            let owned = match &member.owned {
                None => None,
                Some(Owned::Listed(owned)) => Some(owned.clone()),
                Some(Owned::From { from }) => Some(given(history, from)?.clone()),
            };
            Ok(Member {
                id: member.id.clone(),
                instance_id: member.instance_id.clone(),
                rack: member.rack.clone(),
                subscription: std::sync::Arc::new(member.subscription.iter().cloned().collect()),
                owned,
                generation: member.generation,
                encoding: member.encoding.clone(),
            })
        };
        let members = members.iter().map(resolve).collect::<Result<_, String>>()?;
        Ok(Self { topics, members, subscription_type: None, topic_order: None })
    }

    /// The round after this one in which every member owns what it got.
    pub(crate) fn followed_by(&self, result: &Assigned) -> Self {
        let mut next = self.clone();
        for member in &mut next.members {
            member.owned = Some(result.get(&member.id).cloned().unwrap_or_default());
            member.generation = 1;
        }
        next
    }
}

impl TopicSpec {
    fn full(&self) -> FullTopic {
        match self {
            Self::Count(partitions) => FullTopic { partitions: *partitions, racks: Vec::new(), id: None },
            Self::Full(full) => full.clone(),
        }
    }
}

pub(crate) fn given<'h>(history: &'h [Assigned], from: &Given) -> Result<&'h Vec<Pair>, String> {
    let step = history.get(from.step).ok_or_else(|| format!("there is no step {} yet", from.step))?;
    step.get(&from.member).ok_or_else(|| format!("step {} has no member `{}`", from.step, from.member))
}

pub(crate) fn pairs(partitions: &[TopicPartition]) -> Vec<Pair> {
    partitions.iter().map(|of| (of.topic.clone(), of.partition)).collect()
}

pub(crate) fn partitions(pairs: &[Pair]) -> Vec<TopicPartition> {
    pairs.iter().map(|(topic, partition)| TopicPartition::new(topic, *partition)).collect()
}
