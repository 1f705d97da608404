//! Where a group stands: owners, committed offsets, ends.

use std::collections::BTreeMap;

use kohort_client::admin::GroupDescription;
use kohort_client::{Admin, AdminError, Offset, SeekTo, TopicPartition};

/// Kafka's UNKNOWN_TOPIC_OR_PARTITION.
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;

/// Where a group stands on one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Position {
    pub(crate) partition: TopicPartition,
    pub(crate) committed: Option<Offset>,
    pub(crate) end: Option<Offset>,
    /// The index of the member that owns it.
    pub(crate) owner: Option<usize>,
}

impl Position {
    /// Records between the committed offset and the end; none where nothing is committed: that is no number.
    pub(crate) fn lag(&self) -> Option<Offset> {
        Some((self.end? - self.committed?).max(0))
    }
}

/// All partitions that the group owns or has committed, sorted.
///
/// # Errors
/// A broker that does not answer.
pub(crate) async fn positions(admin: &Admin, group: &GroupDescription) -> Result<Vec<Position>, AdminError> {
    let committed: BTreeMap<TopicPartition, Offset> =
        admin.group_offsets(&group.group).await?.into_iter().collect();
    let mut owners = BTreeMap::new();
    for (index, member) in group.members.iter().enumerate() {
        owners.extend(member.assignment.iter().map(|partition| (partition.clone(), index)));
    }
    let mut partitions: Vec<TopicPartition> = committed.keys().chain(owners.keys()).cloned().collect();
    partitions.sort();
    partitions.dedup();
    let ends = ends(admin, &partitions).await?;
    let position = |partition: TopicPartition| Position {
        committed: committed.get(&partition).copied(),
        end: ends.get(&partition).copied(),
        owner: owners.get(&partition).copied(),
        partition,
    };
    Ok(partitions.into_iter().map(position).collect())
}

/// The ends of those that are there: a topic may be deleted and its offsets still be committed.
async fn ends(
    admin: &Admin,
    partitions: &[TopicPartition],
) -> Result<BTreeMap<TopicPartition, Offset>, AdminError> {
    match admin.list_offsets(partitions, SeekTo::Latest).await {
        Ok(ends) => Ok(ends.into_iter().collect()),
        Err(AdminError::Refused { code: UNKNOWN_TOPIC_OR_PARTITION, .. }) => {
            let mut ends = BTreeMap::new();
            for partition in partitions {
                match admin.list_offsets(std::slice::from_ref(partition), SeekTo::Latest).await {
                    Ok(one) => ends.extend(one),
                    Err(AdminError::Refused { code: UNKNOWN_TOPIC_OR_PARTITION, .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            Ok(ends)
        }
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_committed_is_no_lag_and_a_cut_log_is_none_behind() {
        let at =
            |committed, end| Position { partition: TopicPartition::new("t", 0), committed, end, owner: None };
        assert_eq!(at(None, Some(9)).lag(), None);
        assert_eq!(at(Some(4), None).lag(), None);
        assert_eq!(at(Some(4), Some(9)).lag(), Some(5));
        assert_eq!(at(Some(9), Some(4)).lag(), Some(0));
    }
}
