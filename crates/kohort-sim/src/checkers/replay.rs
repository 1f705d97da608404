//! `ReplayEqualsState`: the state rebuilt from the records is the state: after every append for the groups it touched,
//! after every restart for all, and what a Stable group shows is what its record says.

use std::collections::BTreeMap;

use kohort_group::coordinator::{Coordinator, GroupView, Kept, Record, State};
use kohort_group::invariants;
use kohort_group::messages::{Offset, TopicPartition};

use super::{Violation, broken};

const NAME: &str = "ReplayEqualsState";

/// The state that the log makes.
#[derive(Debug, Default)]
pub(crate) struct Replay {
    kept: Kept,
}

impl Replay {
    pub(crate) fn appended(&mut self, record: &Record) {
        self.kept.apply(record);
    }

    pub(crate) fn stepped(&self, coordinator: &Coordinator, touched: &[String]) -> Result<(), Violation> {
        for id in touched {
            let (ours, theirs) = (&self.kept, coordinator.kept());
            if ours.group(id) != theirs.group(id) || ours.offsets(id) != theirs.offsets(id) {
                return Err(broken(NAME, format!("group `{id}` is not what its records say")));
            }
            if let Some(view) = coordinator.group(id) {
                self.stable_group(&view)?;
            }
        }
        Ok(())
    }

    /// A Stable group is its record.
    fn stable_group(&self, view: &GroupView<'_>) -> Result<(), Violation> {
        if view.state != State::Stable {
            return Ok(());
        }
        let id = view.group_id;
        let Some(record) = self.kept.group(id) else {
            return Err(broken(NAME, format!("group `{id}` is Stable and has no record")));
        };
        let shown = view.members.iter().map(|it| (it.member_id, it.assignment));
        let kept = record.members.iter().map(|it| (it.member_id.as_str(), it.assignment.as_slice()));
        let same = view.generation == record.generation
            && view.protocol == record.protocol.as_deref()
            && view.leader == record.leader.as_deref()
            && shown.eq(kept);
        if same {
            Ok(())
        } else {
            Err(broken(NAME, format!("Stable group `{id}` shows {view:?} and keeps {record:?}")))
        }
    }

    pub(crate) fn rebuild(&mut self, log: &[Record]) {
        self.kept = Kept::default();
        for record in log {
            self.kept.apply(record);
        }
    }

    pub(crate) fn recovered(&self, coordinator: &Coordinator) -> Result<(), Violation> {
        invariants::replay_equals_state(&self.kept, coordinator.kept())
    }

    pub(crate) fn offsets(&self) -> BTreeMap<(String, TopicPartition), Offset> {
        let of_group = |id: &str| {
            let offsets = self.kept.offsets(id).into_iter().flatten();
            offsets.map(|(tp, value)| ((id.to_owned(), tp.clone()), value.offset)).collect::<Vec<_>>()
        };
        self.kept.group_ids().flat_map(of_group).collect()
    }
}
