//! What groups are now: members, owners, committed offsets, ends, lag, asked of the brokers at most once in a while.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kohort_client::admin::{Admin, AdminError, GroupDescription};
use kohort_client::{Client, Offset, SeekTo, TopicPartition};
use serde::Serialize;
use tokio::sync::Mutex;

/// An answer this young is given again: many pages ask, the brokers are asked once.
const FRESH: Duration = Duration::from_millis(700);
/// Groups whose lag is in one list; of what is beyond it the list says name and state only.
const LAGS_MAX: usize = 200;

#[derive(Debug)]
pub(crate) struct Groups {
    admin: Admin,
    list: Mutex<Option<(Instant, Vec<ListedGroup>)>>,
    shown: Mutex<BTreeMap<String, (Instant, Group)>>,
}

/// One line of `/api/groups`.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct ListedGroup {
    group: String,
    state: String,
    protocol_type: String,
    members: usize,
    topics: Vec<String>,
    lag: Option<Offset>,
}

/// `/api/groups/{group}`, but for what only our own broker knows.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Group {
    group: String,
    pub(crate) state: String,
    assignor: String,
    members: Vec<Member>,
    partitions: Vec<Partition>,
}

#[derive(Debug, Clone, Serialize)]
struct Member {
    member_id: String,
    instance_id: Option<String>,
    client_id: String,
    client_host: String,
    partitions: Vec<Owned>,
}

#[derive(Debug, Clone, Serialize)]
struct Owned {
    topic: String,
    partition: i32,
}

#[derive(Debug, Clone, Serialize)]
struct Partition {
    topic: String,
    partition: i32,
    member_id: Option<String>,
    committed: Option<Offset>,
    end: Option<Offset>,
    lag: Option<Offset>,
}

impl Groups {
    pub(crate) fn new(client: Client) -> Groups {
        Groups { admin: client.admin(), list: Mutex::default(), shown: Mutex::default() }
    }

    pub(crate) async fn list(&self) -> Result<Vec<ListedGroup>, AdminError> {
        let mut list = self.list.lock().await;
        if let Some((at, groups)) = &*list
            && at.elapsed() < FRESH
        {
            return Ok(groups.clone());
        }
        let mut groups = Vec::new();
        for (index, listing) in self.admin.list_groups().await?.into_iter().enumerate() {
            let group = match index < LAGS_MAX {
                true => Some(self.describe(&listing.group).await?),
                false => None,
            };
            groups.push(ListedGroup {
                group: listing.group,
                state: listing.state,
                protocol_type: listing.protocol_type,
                members: group.as_ref().map_or(0, |group| group.members.len()),
                topics: group.as_ref().map(Group::topics).unwrap_or_default(),
                lag: group.as_ref().and_then(Group::lag),
            });
        }
        *list = Some((Instant::now(), groups.clone()));
        Ok(groups)
    }

    pub(crate) async fn describe(&self, name: &str) -> Result<Group, AdminError> {
        let mut shown = self.shown.lock().await;
        shown.retain(|_, (at, _)| at.elapsed() < FRESH);
        if let Some((_, group)) = shown.get(name) {
            return Ok(group.clone());
        }
        let description = self.admin.describe_group(name).await?;
        let committed: BTreeMap<_, _> = self.admin.group_offsets(name).await?.into_iter().collect();
        let partitions = partitions_of(&description, &committed);
        let ends = match partitions.is_empty() {
            true => BTreeMap::new(),
            false => self.admin.list_offsets(&partitions, SeekTo::Latest).await?.into_iter().collect(),
        };
        let group = Group::new(description, &partitions, &committed, &ends);
        shown.insert(name.to_owned(), (Instant::now(), group.clone()));
        Ok(group)
    }
}

/// What the group owns or has committed, sorted.
fn partitions_of(
    group: &GroupDescription,
    committed: &BTreeMap<TopicPartition, Offset>,
) -> Vec<TopicPartition> {
    let owned = group.members.iter().flat_map(|member| &member.assignment);
    let mut partitions: Vec<TopicPartition> = owned.chain(committed.keys()).cloned().collect();
    partitions.sort();
    partitions.dedup();
    partitions
}

impl Group {
    fn new(
        description: GroupDescription,
        partitions: &[TopicPartition],
        committed: &BTreeMap<TopicPartition, Offset>,
        ends: &BTreeMap<TopicPartition, Offset>,
    ) -> Group {
        let mut owners = BTreeMap::new();
        for member in &description.members {
            owners.extend(member.assignment.iter().map(|partition| (partition, &member.member_id)));
        }
        let partition = |at: &TopicPartition| {
            let (committed, end) = (committed.get(at).copied(), ends.get(at).copied());
            Partition {
                topic: at.topic.clone(),
                partition: at.partition,
                member_id: owners.get(at).map(|&id| id.clone()),
                // Nothing committed is no number: it is neither 0 nor the whole log.
                lag: committed.zip(end).map(|(committed, end)| (end - committed).max(0)),
                committed,
                end,
            }
        };
        let partitions = partitions.iter().map(partition).collect();
        let member = |member: kohort_client::admin::MemberDescription| Member {
            partitions: member
                .assignment
                .into_iter()
                .map(|at| Owned { topic: at.topic, partition: at.partition })
                .collect(),
            member_id: member.member_id,
            instance_id: member.instance_id,
            client_id: member.client_id,
            client_host: member.client_host,
        };
        Group {
            partitions,
            group: description.group,
            state: description.state,
            assignor: description.assignor,
            members: description.members.into_iter().map(member).collect(),
        }
    }

    fn topics(&self) -> Vec<String> {
        let mut topics: Vec<String> =
            self.partitions.iter().map(|partition| partition.topic.clone()).collect();
        topics.dedup();
        topics
    }

    /// The sum over what is committed; none where nothing is.
    fn lag(&self) -> Option<Offset> {
        self.partitions.iter().filter_map(|partition| partition.lag).reduce(|sum, lag| sum + lag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_client::admin::MemberDescription;

    fn at(topic: &str, partition: i32) -> TopicPartition {
        TopicPartition { topic: topic.into(), partition }
    }

    #[test]
    fn a_group_shows_owners_and_lag_and_nothing_it_does_not_know() {
        let description = GroupDescription {
            group: "g".into(),
            state: "Stable".into(),
            protocol_type: "consumer".into(),
            assignor: "range".into(),
            members: vec![MemberDescription {
                member_id: "m".into(),
                instance_id: None,
                client_id: "c".into(),
                client_host: "/127.0.0.1".into(),
                assignment: vec![at("t", 0), at("t", 1)],
            }],
        };
        let committed = BTreeMap::from([(at("t", 0), 7), (at("u", 0), 9)]);
        let ends = BTreeMap::from([(at("t", 0), 10), (at("t", 1), 5), (at("u", 0), 4)]);
        let partitions = partitions_of(&description, &committed);
        let group = Group::new(description, &partitions, &committed, &ends);
        let rows: Vec<_> = group
            .partitions
            .iter()
            .map(|p| (p.topic.as_str(), p.member_id.as_deref(), p.committed, p.lag))
            .collect();
        assert_eq!(
            rows,
            [("t", Some("m"), Some(7), Some(3)), ("t", Some("m"), None, None), ("u", None, Some(9), Some(0))]
        );
        assert_eq!((group.lag(), group.topics()), (Some(3), vec!["t".to_owned(), "u".to_owned()]));
    }
}
