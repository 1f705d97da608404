//! Claims over all stores of a group.
//!
//! Two services that share a group see a part of the partitions each, partitions move between them, and each writes into a store of
//! its own. So whoever is assigned a partition claims it in *every* store of the group and begins at the largest position found.
//! What must hold is that each offset is counted in exactly one store, once, whoever is frozen, killed or woken when.
//!
//! # The rounds
//!
//! A round claims the partition in each store, in the order of the stores' names, and then reads the epochs in all of them again. If
//! one has moved, the round is void and another begins. A round that finds every epoch as it left it is *good*; only a good
//! round gives the right to flush, and only into the claimer's own store. How a round goes on is decided in `rounds`, which asks no store
//! itself; this module asks them.
//!
//! # Why a good round is enough
//!
//! Take one partition. Write `a(s)` for the moment of A's claim in store `s` in a good round. A store puts its claims and flushes in one
//! order, and raises the epoch at each claim.
//!
//! 1. *Two good rounds are in the same order in all stores.* Suppose `a(s) < b(s)` and `b(t) < a(t)`. A reads the epoch of `s` again after
//!    all its claims and finds its own, so that was before `b(s)`; hence `a(t) < b(s)`. In the same way B reads `t` again before
//!    `a(t)`, and after all its claims; hence `b(s) < a(t)`. Both cannot be. So good rounds are a sequence, the same everywhere.
//!    (Nothing here rests on the order in which a round visits the stores. It is fixed because two rounds that run in one order
//!    disturb each other less.)
//! 2. *An earlier owner writes nothing that a later one has not seen.* Let A's good round be before B's, and `o` A's own store. A's flushes
//!    before `b(o)` are in the position that B reads at `b(o)`. After it A's epoch is out of date and A writes nothing.
//! 3. *So each offset is counted once.* B begins at the largest position over all stores. By 2 it is at least the end of all that
//!    any earlier owner ever writes, and none of them writes after B has begun; by induction over the sequence everything below it is
//!    counted once, and B's own flushes go on from there: in its own store, stated as from the position found there, whatever larger
//!    position another store has.
//!
//! Void rounds, rounds that end in an error, and the claims of zombies raise epochs and do nothing else: they may fence an owner,
//! which costs it a rewind, and never let anybody write. If the claim of a set of partitions is void for some of them, only those
//! are claimed again: the argument is about each partition alone.
//!
//! A fixed order without the second reading would not do: A claims `s`, B claims `s` and `t`, A claims `t`. Each is the last in one store;
//! if these are their own stores, both would count the same records.
//!
//! # Going back
//!
//! A log that was made anew, or lost its tail, begins below the largest position: then the owner lowers the positions
//! ([`GroupStores::go_back`]), or the next owner would count records twice, or pass some over. It lowers one store after another, the one with
//! the largest position last, each on condition that the epoch there is still that of its good round, and flushes only after that.
//!
//! 1. *A zombie lowers nothing that a later owner has counted.* The later one's good round is later in every store, and from it on the
//!    zombie's epoch is out of date there.
//! 2. *What stands half done is found again.* As long as one store is not lowered, the largest position is what it was: the next owner begins
//!    there, beyond the log's end, and goes back itself. If the largest were lowered before a small one, the small one would be left
//!    where an owner dies in between, and pass for a position in the new log.
//!
//! # What it needs of a store
//!
//! [`Positions::positions`] sees every claim and flush that ended before it was called: it is no place for a replica that lags. A store that
//! cannot be reached ends the claim with an error, and is never passed over: it might be the one with the largest position.
//!
//! # What it refuses to know
//!
//! Who owns a partition. Two claimers that go on for ever void each other's rounds for ever; the group's coordinator lets only one of them
//! go on. For the moment at which both do, they pause for a random time between rounds, and give up after some
//! ([`StoreError::Contended`]), to be asked again later.

#[cfg(test)]
mod model;
mod rounds;

use std::collections::BTreeMap;
use std::fmt;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use self::rounds::{Rounds, Step};
use crate::{Advance, Claim, FlushError, Positions, StoreError, TopicPartition};

/// The pause after the first void round is up to this; it doubles with each.
const PAUSE: Duration = Duration::from_millis(4);

/// A store of a group, as far as claims go.
pub struct GroupStore {
    /// What it is called, the same in every process that names it: an address, or a file's path.
    pub name: String,
    /// Its positions.
    pub positions: Box<dyn Positions>,
}

impl fmt::Debug for GroupStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("GroupStore").field("name", &self.name).finish_non_exhaustive()
    }
}

/// What a claim over all stores of a group found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupClaim {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch that is ours in our own store: what a flush states.
    pub epoch: i64,
    /// The position of our own store: what a flush states as its start. `None` if it has nothing.
    pub position: Option<i64>,
    /// The largest position over all stores: where reading begins. `None` if none has anything.
    pub resume: Option<i64>,
}

/// All stores of a group, one of them our own.
#[derive(Debug)]
pub struct GroupStores {
    /// Sorted by name.
    stores: Vec<GroupStore>,
    own: usize,
    /// What our last good round of each partition claimed, in each store.
    held: BTreeMap<TopicPartition, Vec<Claim>>,
}

impl GroupStores {
    /// Our own store, and the others. One of `others` that has the name of our own or of another is taken once, so that all
    /// services of a group may be told the same list.
    pub fn new(own: GroupStore, others: impl IntoIterator<Item = GroupStore>) -> GroupStores {
        let mut stores: BTreeMap<String, GroupStore> = BTreeMap::new();
        let name = own.name.clone();
        for store in std::iter::once(own).chain(others) {
            stores.entry(store.name.clone()).or_insert(store);
        }
        let own = stores.range(..name).count();
        GroupStores { stores: stores.into_values().collect(), own, held: BTreeMap::new() }
    }

    /// Their names, in the order in which they are claimed.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.stores.iter().map(|store| store.name.as_str())
    }

    /// Claims partitions in every store. Whoever claimed one of them earlier can flush it in none of them. Blocks, as the stores do.
    pub fn claim(
        &mut self,
        group: &str,
        partitions: &[TopicPartition],
    ) -> Result<Vec<GroupClaim>, StoreError> {
        let mut rounds = Rounds::new(self.stores.len(), self.own, partitions);
        loop {
            match rounds.next() {
                Step::Claim { store } => {
                    let claims = self.stores[store].positions.claim(group, rounds.wanted())?;
                    rounds.claimed(claims);
                }
                Step::Read { store } => {
                    let found = self.stores[store].positions.positions(group)?;
                    rounds.read(&found);
                }
                Step::Pause { void } => std::thread::sleep(pause(void)),
                Step::GiveUp { store, rounds } => {
                    return Err(StoreError::Contended { store: self.stores[store].name.clone(), rounds });
                }
                Step::Done(claims) => {
                    self.held.extend(rounds.into_held());
                    return Ok(claims);
                }
            }
        }
    }

    /// Lowers positions in every store that has more, for the owner whose log begins anew below them. `steps` state our own store's epoch and
    /// position, as a flush would, and where reading goes on. After an error it may be asked again: what is done stays done.
    ///
    /// # Errors
    /// [`FlushError::Fenced`] if somebody else has claimed since: then it is theirs to go back.
    pub fn go_back(&mut self, group: &str, steps: &[Advance]) -> Result<(), FlushError> {
        for step in steps {
            let Some(claims) = self.held.get_mut(&step.partition) else { return Err(never_claimed(step)) };
            (claims[self.own].epoch, claims[self.own].position) = (step.epoch, step.from);
            let mut order: Vec<usize> = (0..claims.len()).collect();
            order.sort_by_key(|store| claims[*store].position);
            for store in order {
                let claim = &mut claims[store];
                if claim.position.is_some_and(|position| position > step.to) {
                    lower(&mut *self.stores[store].positions, group, claim, step.to)?;
                    claim.position = Some(step.to);
                }
            }
        }
        Ok(())
    }
}

/// Lowers a position in one store. An answer that was lost may have been a yes: one that stands where it should is left alone.
fn lower(store: &mut dyn Positions, group: &str, claim: &Claim, to: i64) -> Result<(), FlushError> {
    let done = Claim { position: Some(to), ..claim.clone() };
    if store.positions(group)?.contains(&done) {
        return Ok(());
    }
    let Claim { partition, epoch, position } = claim.clone();
    store.advance(group, &[Advance { partition, epoch, from: position, to }])
}

fn never_claimed(step: &Advance) -> FlushError {
    FlushError::Fenced {
        partition: step.partition.clone(),
        epoch: step.epoch,
        from: step.from,
        found_epoch: 0,
        found: None,
    }
}

/// A random time after so many void rounds: two claimers in step fall out of it.
fn pause(void: u32) -> Duration {
    let limit = PAUSE.saturating_mul(1 << void.min(6));
    let random = RandomState::new().build_hasher().finish();
    let micros = u64::try_from(limit.as_micros()).unwrap_or(u64::MAX);
    Duration::from_micros(random % micros.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::MemoryStore;

    const GROUP: &str = "g";

    fn store(name: &str, store: &MemoryStore) -> GroupStore {
        GroupStore { name: name.to_owned(), positions: Box::new(store.clone()) }
    }

    #[test]
    fn a_store_that_is_named_twice_is_claimed_once_and_the_order_is_that_of_the_names() {
        let (a, b) = (MemoryStore::new(), MemoryStore::new());
        let others = [store("a", &a), store("b", &b), store("a", &a)];
        let mut stores = GroupStores::new(store("b", &b), others);
        assert_eq!(stores.names().collect::<Vec<_>>(), ["a", "b"]);
        let partition = TopicPartition::new("t", 0);
        let claims = stores.claim(GROUP, std::slice::from_ref(&partition)).unwrap();
        assert_eq!(claims, [GroupClaim { partition, epoch: 1, position: None, resume: None }]);
    }

    #[test]
    fn one_store_under_two_names_is_an_error_that_says_so() {
        let a = MemoryStore::new();
        let mut stores = GroupStores::new(store("a", &a), [store("alias", &a)]);
        let refused = stores.claim(GROUP, &[TopicPartition::new("t", 0)]).unwrap_err();
        assert!(matches!(&refused, StoreError::Contended { store, .. } if store == "a"), "{refused}");
        assert!(refused.is_retriable() && refused.to_string().contains("two names"), "{refused}");
    }

    #[test]
    fn claimers_in_many_threads_all_get_through() {
        let all: Vec<MemoryStore> = (0..3).map(|_| MemoryStore::new()).collect();
        let partitions: Vec<TopicPartition> = (0..4).map(|index| TopicPartition::new("t", index)).collect();
        std::thread::scope(|scope| {
            for own in 0..3 {
                let (all, partitions) = (&all, &partitions);
                scope.spawn(move || {
                    let name = |at: usize| ["a", "b", "c"][at];
                    let others = (0..3).filter(|at| *at != own).map(|at| store(name(at), &all[at]));
                    let mut stores = GroupStores::new(store(name(own), &all[own]), others);
                    let (mut good, mut contended) = (0, 0);
                    while good < 200 {
                        match stores.claim(GROUP, partitions) {
                            Ok(claims) => {
                                assert_eq!(claims.len(), partitions.len());
                                good += 1;
                            }
                            Err(StoreError::Contended { .. }) => contended += 1,
                            Err(error) => panic!("{error}"),
                        }
                        assert!(contended < 2_000, "livelock: {good} claims got through");
                    }
                });
            }
        });
    }

    #[test]
    fn a_step_back_lowers_what_has_more_and_may_be_asked_again() {
        let (a, b, c) = (MemoryStore::new(), MemoryStore::new(), MemoryStore::new());
        let partition = TopicPartition::new("t", 0);
        let all = std::slice::from_ref(&partition);
        for (store, to) in [(&a, 9), (&b, 40)] {
            let claim = store.clone().claim(GROUP, all).unwrap().remove(0);
            let step = Advance { partition: partition.clone(), epoch: claim.epoch, from: None, to };
            store.clone().advance(GROUP, &[step]).unwrap();
        }
        let mut stores = GroupStores::new(store("a", &a), [store("b", &b), store("c", &c)]);
        let claim = stores.claim(GROUP, all).unwrap().remove(0);
        assert_eq!((claim.position, claim.resume), (Some(9), Some(40)));
        let back =
            |from, to| [Advance { partition: partition.clone(), epoch: claim.epoch, from: Some(from), to }];
        let positions =
            || [&a, &b, &c].map(|store| store.clone().positions(GROUP).unwrap().remove(0).position);
        stores.go_back(GROUP, &back(9, 20)).unwrap();
        assert_eq!(positions(), [Some(9), Some(20), None], "our own store has less, and keeps it");
        // The answer was lost: asked again, nothing is found to do.
        stores.go_back(GROUP, &back(9, 2)).unwrap();
        stores.go_back(GROUP, &back(9, 2)).unwrap();
        assert_eq!(positions(), [Some(2), Some(2), None]);
        // Somebody else has claimed, in one store.
        b.clone().claim(GROUP, all).unwrap();
        let refused = stores.go_back(GROUP, &back(2, 0)).unwrap_err();
        assert!(matches!(refused, FlushError::Fenced { .. }), "{refused}");
        assert_eq!(positions(), [Some(0), Some(2), None], "the one that is left shows that it is not done");
    }
}
