//! The files' format. A field that is not known here fails the file: nothing is passed over in silence.

use std::collections::BTreeMap;

use kohort_group::messages::TopicPartition;
use serde::Deserialize;
use serde_json::Value;

/// A topic and a partition, as the files write it.
pub type Pair = (String, i32);

/// Member id to partitions.
pub type Assigned = BTreeMap<String, Vec<Pair>>;

/// What a round expects, by Kafka's or our own words; `check.rs` knows them.
pub type Expect = BTreeMap<String, Value>;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Case {
    pub name: String,
    #[serde(rename = "source")]
    pub _source: String,
    #[serde(rename = "run_as")]
    pub _run_as: Option<String>,
    pub variant: Option<String>,
    pub origin: Option<String>,
    #[serde(rename = "kafka_forced_rack_logic")]
    pub _kafka_forced_rack_logic: Option<bool>,
    #[serde(rename = "note")]
    pub _note: Option<String>,
    pub subscription_type: Option<String>,
    pub topic_order: Option<Vec<String>>,
    pub topics: Option<BTreeMap<String, TopicSpec>>,
    pub members: Option<Vec<MemberSpec>>,
    pub expect: Option<Expect>,
    pub steps: Option<Vec<Step>>,
    pub generate: Option<Generate>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    pub subscription_type: Option<String>,
    pub topic_order: Option<Vec<String>>,
    #[serde(rename = "note")]
    pub _note: Option<String>,
    pub topics: BTreeMap<String, TopicSpec>,
    pub members: Vec<MemberSpec>,
    pub expect: Expect,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum TopicSpec {
    Count(i32),
    Full(FullTopic),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FullTopic {
    pub partitions: i32,
    #[serde(default)]
    pub racks: Vec<Vec<String>>,
    pub id: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemberSpec {
    pub id: String,
    pub instance_id: Option<String>,
    pub rack: Option<String>,
    pub subscription: Vec<String>,
    pub owned: Option<Owned>,
    pub generation: i32,
    pub encoding: Option<String>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Owned {
    Listed(Vec<Pair>),
    From { from: Given },
}

/// What a member got in a step.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Given {
    pub step: usize,
    pub member: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Generate {
    pub kind: String,
    pub repeat: Option<usize>,
    pub topics: Many,
    pub members: Many,
    pub subscription: String,
    pub racks: String,
    pub rounds: Vec<GeneratedRound>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Many {
    pub count: Value,
    pub name: String,
    pub first: usize,
    pub partitions: Option<Value>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeneratedRound {
    pub change: Option<String>,
    pub owned: String,
    pub expect: Option<Expect>,
    pub subscription: Option<String>,
}

/// A round with everything resolved.
#[derive(Clone, Debug, Default)]
pub struct Round {
    pub topics: BTreeMap<String, FullTopic>,
    pub members: Vec<Member>,
    pub subscription_type: Option<String>,
    pub topic_order: Option<Vec<String>>,
}

#[derive(Clone, Debug)]
pub struct Member {
    pub id: String,
    pub instance_id: Option<String>,
    pub rack: Option<String>,
    pub subscription: std::sync::Arc<std::collections::BTreeSet<String>>,
    /// `None` reports nothing.
    pub owned: Option<Vec<Pair>>,
    pub generation: i32,
    pub encoding: Option<String>,
}

impl Round {
    pub fn new(
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
    pub fn followed_by(&self, result: &Assigned) -> Self {
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

pub fn given<'h>(history: &'h [Assigned], from: &Given) -> Result<&'h Vec<Pair>, String> {
    let step = history.get(from.step).ok_or_else(|| format!("there is no step {} yet", from.step))?;
    step.get(&from.member).ok_or_else(|| format!("step {} has no member `{}`", from.step, from.member))
}

pub fn pairs(partitions: &[TopicPartition]) -> Vec<Pair> {
    partitions.iter().map(|of| (of.topic.clone(), of.partition)).collect()
}

pub fn partitions(pairs: &[Pair]) -> Vec<TopicPartition> {
    pairs.iter().map(|(topic, partition)| TopicPartition::new(topic, *partition)).collect()
}
