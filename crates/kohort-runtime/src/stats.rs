//! What a group does, in numbers that anybody may read at any time.

use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use kohort_client::TopicPartition;

/// Counters of one group in this process, over all its members. They only rise.
#[derive(Debug, Default)]
pub struct Stats {
    /// Records handled, rejected ones included.
    pub records: AtomicU64,
    /// Bytes of the batches that they came in.
    pub bytes: AtomicU64,
    /// Records that went to the dead letters.
    pub dead_letters: AtomicU64,
    /// Tries that failed and were followed by another.
    pub retries: AtomicU64,
    /// Flushes that were written.
    pub flushes: AtomicU64,
    /// Flushes that were fenced.
    pub fenced: AtomicU64,
    members: Mutex<Vec<MemberState>>,
}

/// What one member has now.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct MemberState {
    /// Its id in the group, once it has one.
    pub member_id: String,
    /// The generation.
    pub generation: i32,
    /// Its partitions. A member that joined and has none stands idle.
    pub partitions: Vec<TopicPartition>,
}

impl Stats {
    pub(crate) fn with_members(count: usize) -> Self {
        Self { members: Mutex::new(vec![MemberState::default(); count]), ..Self::default() }
    }

    pub(crate) fn count(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn set_member(&self, index: usize, state: MemberState) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = members.get_mut(index) {
            *member = state;
        }
    }

    /// A member lost partitions without having been asked: it does not have them until it is assigned some again.
    pub(crate) fn lost(&self, index: usize, partitions: &[TopicPartition]) {
        let mut members = self.members.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(member) = members.get_mut(index) {
            member.partitions.retain(|owned| !partitions.contains(owned));
        }
    }

    /// The members of this process, by their number.
    #[must_use]
    pub fn members(&self) -> Vec<MemberState> {
        self.members.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A counter's value.
    #[must_use]
    pub fn get(counter: &AtomicU64) -> u64 {
        counter.load(Ordering::Relaxed)
    }
}
