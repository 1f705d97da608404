//! What survives a restart. It changes by records and by nothing else, in the running coordinator and in recovery alike.

use std::collections::BTreeMap;

use super::{GroupMetadata, OffsetAndMetadata, Record};
use crate::messages::TopicPartition;

/// Committed offsets of one group.
pub type Offsets = BTreeMap<TopicPartition, OffsetAndMetadata>;

/// The state that the records of `__consumer_offsets` make, one after the other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Kept {
    groups: BTreeMap<String, GroupMetadata>,
    offsets: BTreeMap<String, Offsets>,
}

impl Kept {
    /// Takes one record in. The last of a key wins; a tombstone is the end of it.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::GroupMetadata { group_id, value: Some(value) } => {
                self.groups.insert(group_id.clone(), value.clone());
            }
            Record::GroupMetadata { group_id, value: None } => {
                self.groups.remove(group_id);
            }
            Record::OffsetCommit { group_id, partition, value: Some(value) } => {
                if let Some(offsets) = self.offsets.get_mut(group_id) {
                    offsets.insert(partition.clone(), value.clone());
                } else {
                    let offsets = Offsets::from([(partition.clone(), value.clone())]);
                    self.offsets.insert(group_id.clone(), offsets);
                }
            }
            Record::OffsetCommit { group_id, partition, value: None } => {
                if let Some(offsets) = self.offsets.get_mut(group_id) {
                    offsets.remove(partition);
                    if offsets.is_empty() {
                        self.offsets.remove(group_id);
                    }
                }
            }
        }
    }

    /// A group's last record.
    #[must_use]
    pub fn group(&self, group_id: &str) -> Option<&GroupMetadata> {
        self.groups.get(group_id)
    }

    /// A group's committed offsets.
    #[must_use]
    pub fn offsets(&self, group_id: &str) -> Option<&Offsets> {
        self.offsets.get(group_id)
    }

    /// Every group that has a record or an offset, by id; one with offsets alone is a simple group.
    pub fn group_ids(&self) -> impl Iterator<Item = &str> {
        let simple = self.offsets.keys().filter(|id| !self.groups.contains_key(*id));
        let mut ids: Vec<_> = self.groups.keys().chain(simple).map(String::as_str).collect();
        ids.sort_unstable();
        ids.into_iter()
    }

    /// Every group that has offsets, by id.
    pub(super) fn all_offsets(&self) -> impl Iterator<Item = (&str, &Offsets)> {
        self.offsets.iter().map(|(id, offsets)| (id.as_str(), offsets))
    }

    /// The fewest records that make this state: what a compacted log holds.
    pub fn records(&self) -> impl Iterator<Item = Record> + '_ {
        let groups = self
            .groups
            .iter()
            .map(|(id, value)| Record::GroupMetadata { group_id: id.clone(), value: Some(value.clone()) });
        let offsets = self.offsets.iter().flat_map(|(id, offsets)| {
            offsets.iter().map(|(partition, value)| Record::OffsetCommit {
                group_id: id.clone(),
                partition: partition.clone(),
                value: Some(value.clone()),
            })
        });
        groups.chain(offsets)
    }
}
