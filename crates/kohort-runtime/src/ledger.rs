//! How far each partition of a member is: claimed, read, stored. Pure; it decides what a flush states and where reading goes on.

use std::collections::BTreeMap;

use kohort_client::{Offset, TopicPartition};

use crate::worker::{Claim, Progress};

/// A partition that this member claimed.
#[derive(Debug)]
struct Owned {
    epoch: i64,
    /// What the sink's own store has.
    stored: Option<Offset>,
    /// Where reading began: the largest of all stores' positions and the group's offset, unless the log had nothing there.
    began: Option<Offset>,
    /// One past what was handed to the lanes.
    read: Option<Offset>,
}

impl Owned {
    /// Where the next owner has to begin if nothing more is flushed. Not the store's position alone: what lies between it and
    /// where reading began was passed over on purpose, by an operator or because another store of the group has it.
    fn resume(&self) -> Option<Offset> {
        self.stored.max(self.began)
    }
}

/// The partitions that a member claimed.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    owned: BTreeMap<TopicPartition, Owned>,
}

impl Ledger {
    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        self.owned.keys().cloned().collect()
    }

    /// Takes a first claim; says where reading begins, if anybody knows.
    pub(crate) fn begin(&mut self, claim: Claim, committed: Option<Offset>) -> Option<Offset> {
        let began = claim.position.max(claim.resume).max(committed);
        let owned = Owned { epoch: claim.epoch, stored: claim.position, began, read: None };
        self.owned.insert(claim.partition, owned);
        began
    }

    /// Takes a claim of a partition that was read already and is to be read again; says from where, if anybody knows. One that is ours
    /// no more is passed over.
    pub(crate) fn begin_again(&mut self, claim: &Claim) -> Option<Offset> {
        let owned = self.owned.get_mut(&claim.partition)?;
        (owned.epoch, owned.stored, owned.read) = (claim.epoch, claim.position, None);
        // Whoever had it meanwhile may have written into another store of the group.
        owned.began = owned.began.max(claim.resume);
        owned.resume()
    }

    /// A batch came: `false` if its partition is not ours.
    pub(crate) fn came(&mut self, partition: &TopicPartition, first: Offset) -> bool {
        let Some(owned) = self.owned.get_mut(partition) else { return false };
        // Below where it should have begun only if the log was cut or made anew.
        owned.began = Some(owned.began.map_or(first, |began| began.min(first)));
        true
    }

    /// What came is handed out, up to before `next`.
    pub(crate) fn handed_out(&mut self, partition: &TopicPartition, next: Offset) {
        if let Some(owned) = self.owned.get_mut(partition) {
            owned.read = Some(next);
        }
    }

    /// What a flush of all that was handed out states.
    pub(crate) fn progress(&self) -> Vec<Progress> {
        let step = |(partition, owned): (&TopicPartition, &Owned)| {
            let to = owned.read.filter(|read| Some(*read) != owned.stored)?;
            Some(Progress { partition: partition.clone(), epoch: owned.epoch, from: owned.stored, to })
        };
        self.owned.iter().filter_map(step).collect()
    }

    /// A flush was written; says what the group's offsets are with it. A partition that was let go, or claimed anew, is passed over.
    pub(crate) fn flushed(&mut self, progress: Vec<Progress>) -> Vec<(TopicPartition, Offset)> {
        let mut offsets = Vec::with_capacity(progress.len());
        for step in progress {
            if let Some(owned) = self.owned.get_mut(&step.partition).filter(|o| o.epoch == step.epoch) {
                owned.stored = Some(step.to);
                offsets.push((step.partition, step.to));
            }
        }
        offsets
    }

    /// Where the next owner of each partition has to begin; `elsewhere` is asked where this does not know.
    pub(crate) fn resume(
        &self,
        elsewhere: impl Fn(&TopicPartition) -> Option<Offset>,
    ) -> Vec<(TopicPartition, Offset)> {
        let place = |(partition, owned): (&TopicPartition, &Owned)| {
            Some((partition.clone(), owned.resume().or_else(|| elsewhere(partition))?))
        };
        self.owned.iter().filter_map(place).collect()
    }

    pub(crate) fn forget(&mut self, partitions: &[TopicPartition]) {
        for partition in partitions {
            self.owned.remove(partition);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn partition() -> TopicPartition {
        TopicPartition::new("t", 0)
    }

    fn claim(epoch: i64, position: Option<Offset>, resume: Option<Offset>) -> Claim {
        Claim { partition: partition(), epoch, position, resume }
    }

    fn step(epoch: i64, from: Option<Offset>, to: Offset) -> Progress {
        Progress { partition: partition(), epoch, from, to }
    }

    #[test]
    fn reading_begins_at_the_largest_position_and_a_flush_states_the_own_one() {
        let mut ledger = Ledger::default();
        assert_eq!(ledger.begin(claim(1, Some(3), Some(7)), Some(5)), Some(7));
        assert!(ledger.progress().is_empty(), "nothing was read");
        assert!(ledger.came(&partition(), 7));
        ledger.handed_out(&partition(), 9);
        assert_eq!(ledger.progress(), [step(1, Some(3), 9)]);
        assert_eq!(ledger.flushed(ledger.progress()), [(partition(), 9)]);
        assert!(ledger.progress().is_empty(), "nothing more was read");
    }

    #[test]
    fn a_flush_from_before_a_new_claim_says_nothing_of_it() {
        let mut ledger = Ledger::default();
        ledger.begin(claim(1, None, None), None);
        ledger.handed_out(&partition(), 4);
        let before = ledger.progress();
        assert_eq!(ledger.begin_again(&claim(2, Some(4), Some(6))), Some(6));
        assert_eq!(ledger.flushed(before), []);
        ledger.forget(&[partition()]);
        assert_eq!(ledger.begin_again(&claim(3, Some(9), None)), None, "ours no more");
        assert!(ledger.is_empty());
    }

    #[test]
    fn a_log_that_was_cut_is_read_from_where_it_begins() {
        let mut ledger = Ledger::default();
        ledger.begin(claim(1, None, None), Some(100));
        assert!(ledger.came(&partition(), 2));
        assert_eq!(ledger.resume(|_| None), [(partition(), 2)]);
        assert!(!ledger.came(&TopicPartition::new("t", 1), 0));
    }
}
