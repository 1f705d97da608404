//! Moving what a group has committed: first a plan, then, if asked for, one commit of all of it.

use std::collections::BTreeMap;
use std::str::FromStr;

use kohort_client::{Admin, AdminError, Offset, SeekTo, TopicPartition};
use kohort_service::Complaint;

use super::known;
use crate::time;

/// Where to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    First,
    Last,
    /// Where it is: commits what it has, within what the log still has.
    Current,
    At(Offset),
    By(i64),
    /// Milliseconds since the epoch.
    Time(i64),
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let wrong = || {
            format!(
                "`{text}` is no place: write `first`, `last`, an offset, `+N`, `-N` or 2024-01-05T00:00:00Z"
            )
        };
        match text {
            "first" | "earliest" => return Ok(Target::First),
            "last" | "latest" => return Ok(Target::Last),
            "current" => return Ok(Target::Current),
            _ => {}
        }
        if text.starts_with(['+', '-']) {
            return text.parse().map(Target::By).map_err(|_| wrong());
        }
        if let Ok(offset) = text.parse::<u32>().map(Offset::from).or_else(|_| text.parse::<Offset>()) {
            return Ok(Target::At(offset));
        }
        time::parse_rfc3339(text).map(Target::Time).ok_or_else(wrong)
    }
}

/// Which topics, and which partitions of them (all, if none is named).
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Topics {
    /// All that the group has committed.
    All,
    /// These.
    Named(BTreeMap<String, Vec<i32>>),
}

impl Topics {
    /// Reads `t` and `t:0,2`.
    ///
    /// # Errors
    /// Something that is no number behind the colon.
    pub(crate) fn parse(texts: &[String]) -> Result<Topics, Complaint> {
        let mut named: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for text in texts {
            let (topic, numbers) = text.split_once(':').unwrap_or((text, ""));
            let entry = named.entry(topic.to_owned()).or_default();
            for number in numbers.split(',').filter(|number| !number.is_empty()) {
                let number = number.trim().parse().map_err(|_| {
                    Complaint::new(format!("`{number}` is no partition"))
                        .at(format!("--topic {text}"))
                        .hint("write `--topic TOPIC`, or `--topic TOPIC:0,1,2`")
                })?;
                entry.push(number);
            }
        }
        Ok(Topics::Named(named))
    }
}

/// What happens to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Move {
    pub(crate) partition: TopicPartition,
    pub(crate) from: Option<Offset>,
    pub(crate) to: Offset,
}

/// Plans where `group` goes on `topics`, and commits it if `execute`. A group that is not there yet may be given offsets
/// before its first member comes.
///
/// # Errors
/// A group with members, topics that are not there, a broker that refuses or does not answer.
pub(crate) async fn reset(
    admin: &Admin,
    group: &str,
    topics: &Topics,
    to: Target,
    execute: bool,
) -> anyhow::Result<Vec<Move>> {
    let description = match topics {
        Topics::All => known(admin, group).await?,
        Topics::Named(_) => admin.describe_group(group).await?,
    };
    if !description.members.is_empty() {
        let count = description.members.len();
        return Err(Complaint::new(format!("group `{group}` has {count} members"))
            .why("they would overwrite the offsets with where they are")
            .hint("end its consumers first; `kohort groups describe` says who they are")
            .into());
    }
    let committed: BTreeMap<TopicPartition, Offset> = admin.group_offsets(group).await?.into_iter().collect();
    let partitions = partitions(admin, topics, &committed).await?;
    let moves = plan(admin, &partitions, &committed, to).await?;
    if execute && !moves.is_empty() {
        let offsets: Vec<_> = moves.iter().map(|step| (step.partition.clone(), step.to)).collect();
        admin.alter_group_offsets(group, &offsets).await?;
    }
    Ok(moves)
}

async fn partitions(
    admin: &Admin,
    topics: &Topics,
    committed: &BTreeMap<TopicPartition, Offset>,
) -> anyhow::Result<Vec<TopicPartition>> {
    let Topics::Named(named) = topics else { return Ok(committed.keys().cloned().collect()) };
    let mut all = Vec::new();
    for (topic, numbers) in named {
        let found = admin.describe_topic(topic).await?;
        let has = |number: &i32| found.partitions.iter().any(|partition| partition.partition == *number);
        if let Some(missing) = numbers.iter().find(|number| !has(number)) {
            let complaint = Complaint::new(format!("topic `{topic}` has no partition {missing}"));
            return Err(complaint.hint(format!("it has {}, from 0", found.partitions.len())).into());
        }
        let numbers = match numbers.is_empty() {
            true => found.partitions.iter().map(|partition| partition.partition).collect(),
            false => numbers.clone(),
        };
        all.extend(numbers.into_iter().map(|number| TopicPartition::new(topic.as_str(), number)));
    }
    Ok(all)
}

async fn plan(
    admin: &Admin,
    partitions: &[TopicPartition],
    committed: &BTreeMap<TopicPartition, Offset>,
    to: Target,
) -> Result<Vec<Move>, AdminError> {
    let asked = |at| async move {
        let offsets = admin.list_offsets(partitions, at).await?;
        Ok::<BTreeMap<_, _>, AdminError>(offsets.into_iter().collect())
    };
    let (first, last) = (asked(SeekTo::Earliest).await?, asked(SeekTo::Latest).await?);
    let by_time = match to {
        Target::Time(ms) => asked(SeekTo::Timestamp(ms)).await?,
        _ => BTreeMap::new(),
    };
    let step = |partition: &TopicPartition| {
        let (first, last) = (*first.get(partition)?, *last.get(partition)?);
        let from = committed.get(partition).copied();
        let wanted = match to {
            Target::First => first,
            Target::Last => last,
            Target::At(offset) => offset,
            // Nothing committed has no place to go on from.
            Target::Current => from?,
            Target::By(n) => from?.saturating_add(n),
            // -1: nothing is that young.
            Target::Time(_) => by_time.get(partition).copied().filter(|at| *at >= 0).unwrap_or(last),
        };
        // What the log does not have cannot be read: the nearest that it has.
        Some(Move { partition: partition.clone(), from, to: wanted.clamp(first, last) })
    };
    Ok(partitions.iter().filter_map(step).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_a_word_a_number_a_step_or_a_time() {
        let table = [
            ("first", Target::First),
            ("latest", Target::Last),
            ("7", Target::At(7)),
            ("+7", Target::By(7)),
            ("-7", Target::By(-7)),
            ("1970-01-01T00:00:01Z", Target::Time(1000)),
        ];
        for (text, target) in table {
            assert_eq!(text.parse(), Ok(target), "{text}");
        }
        assert!("soon".parse::<Target>().is_err() && "+".parse::<Target>().is_err());
    }

    #[test]
    fn topics_may_name_their_partitions() {
        let named = Topics::parse(&["a".to_owned(), "b:0,2".to_owned(), "b:1".to_owned()]).unwrap();
        let wanted = BTreeMap::from([("a".to_owned(), vec![]), ("b".to_owned(), vec![0, 2, 1])]);
        assert_eq!(named, Topics::Named(wanted));
        assert!(Topics::parse(&["a:x".to_owned()]).is_err());
    }
}
