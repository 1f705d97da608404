//! What a claim over several stores does next. Asks no store, waits for nothing: whoever drives it does.

use std::collections::BTreeMap;

use super::GroupClaim;
use crate::{Claim, TopicPartition};

/// Void rounds in a row after which a claim gives up.
const ROUNDS_MAX: u32 = 8;

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Claim [`Rounds::wanted`] in this store, and hand what it says to [`Rounds::claimed`].
    Claim { store: usize },
    /// Read the positions of this store, and hand them to [`Rounds::read`].
    Read { store: usize },
    /// Wait for a random time: so many rounds were void.
    Pause { void: u32 },
    /// Somebody else claims over and over, last seen in this store.
    GiveUp { store: usize, rounds: u32 },
    /// All is claimed, in the order that was asked for.
    Done(Vec<GroupClaim>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Claim(usize),
    Read(usize),
    Pause,
}

/// A claim under way.
#[derive(Debug)]
pub(super) struct Rounds {
    stores: usize,
    own: usize,
    /// As asked for.
    all: Vec<TopicPartition>,
    /// What no round was good for yet.
    wanted: Vec<TopicPartition>,
    phase: Phase,
    /// This round's claims in each store, by partition.
    found: Vec<BTreeMap<TopicPartition, Claim>>,
    /// The store in which each of these was claimed by somebody else since.
    moved: BTreeMap<TopicPartition, usize>,
    void: u32,
    good: BTreeMap<TopicPartition, GroupClaim>,
    /// The claims of the good rounds, in each store.
    held: BTreeMap<TopicPartition, Vec<Claim>>,
}

impl Rounds {
    pub(super) fn new(stores: usize, own: usize, partitions: &[TopicPartition]) -> Rounds {
        Rounds {
            stores,
            own,
            all: partitions.to_vec(),
            wanted: partitions.to_vec(),
            phase: Phase::Claim(0),
            found: Vec::new(),
            moved: BTreeMap::new(),
            void: 0,
            good: BTreeMap::new(),
            held: BTreeMap::new(),
        }
    }

    /// What the good rounds claimed, in each store by its order.
    pub(super) fn into_held(self) -> BTreeMap<TopicPartition, Vec<Claim>> {
        self.held
    }

    /// The partitions that the present round claims.
    pub(super) fn wanted(&self) -> &[TopicPartition] {
        &self.wanted
    }

    /// What to do now. Asked again after each step was done.
    pub(super) fn next(&mut self) -> Step {
        if self.wanted.is_empty() {
            let claims = self.all.iter().filter_map(|partition| self.good.get(partition).cloned());
            return Step::Done(claims.collect());
        }
        match self.phase {
            Phase::Claim(store) => Step::Claim { store },
            Phase::Read(store) => Step::Read { store },
            Phase::Pause if self.void >= ROUNDS_MAX => {
                Step::GiveUp { store: self.moved.values().copied().min().unwrap_or(0), rounds: self.void }
            }
            Phase::Pause => {
                self.phase = Phase::Claim(0);
                self.found.clear();
                self.moved.clear();
                Step::Pause { void: self.void }
            }
        }
    }

    /// A store has claimed what was wanted.
    pub(super) fn claimed(&mut self, claims: Vec<Claim>) {
        let store = self.found.len();
        let claims: BTreeMap<_, _> =
            claims.into_iter().map(|claim| (claim.partition.clone(), claim)).collect();
        // A store that leaves out what it was asked to claim has not claimed it.
        for partition in self.wanted.iter().filter(|partition| !claims.contains_key(partition)) {
            self.moved.entry(partition.clone()).or_insert(store);
        }
        self.found.push(claims);
        let store = store + 1;
        if store < self.stores {
            self.phase = Phase::Claim(store);
        } else if self.stores == 1 {
            // One store puts all claims in one order by itself.
            self.end();
        } else {
            self.phase = Phase::Read(0);
        }
    }

    /// A store says where it is after all of them were claimed.
    pub(super) fn read(&mut self, positions: &[Claim]) {
        let Phase::Read(store) = self.phase else { return };
        let epochs: BTreeMap<&TopicPartition, i64> =
            positions.iter().map(|claim| (&claim.partition, claim.epoch)).collect();
        for (partition, claim) in &self.found[store] {
            // One that is gone was moved too: somebody made the store anew.
            if epochs.get(partition) != Some(&claim.epoch) {
                self.moved.entry(partition.clone()).or_insert(store);
            }
        }
        if store + 1 < self.stores {
            self.phase = Phase::Read(store + 1);
        } else {
            self.end();
        }
    }

    /// What a store would say if nobody had claimed since.
    #[cfg(test)]
    pub(super) fn as_left(&self, store: usize) -> Vec<Claim> {
        self.found[store].values().cloned().collect()
    }

    /// The round is over: good for what nobody else claimed meanwhile.
    fn end(&mut self) {
        let (void, good): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wanted)
            .into_iter()
            .partition(|partition| self.moved.contains_key(partition));
        for partition in good {
            let own = &self.found[self.own][&partition];
            let resume = self.found.iter().filter_map(|of| of[&partition].position).max();
            let claim =
                GroupClaim { partition: partition.clone(), epoch: own.epoch, position: own.position, resume };
            self.held.insert(partition.clone(), self.found.iter().map(|of| of[&partition].clone()).collect());
            self.good.insert(partition, claim);
        }
        self.wanted = void;
        if !self.wanted.is_empty() {
            self.void += 1;
            self.phase = Phase::Pause;
        }
    }
}
