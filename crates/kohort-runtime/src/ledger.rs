//! How far each partition of a member is: claimed, read, stored. Pure; it decides what a flush states and where reading goes on.

use std::collections::BTreeMap;

use kohort_client::{Offset, OffsetAndMetadata, TopicPartition};

use crate::worker::{Claim, Progress};

/// A partition that this member claimed.
#[derive(Debug)]
struct Owned {
    epoch: i64,
    /// What the sink's own store has.
    stored: Option<Offset>,
    /// Reading never goes on below this: what lies there was passed over on purpose, by an operator or because another store of the
    /// group has it. Where our store never goes back, it is where reading began.
    floor: Option<Offset>,
    /// The largest position of all stores, as claimed.
    highest: Option<Offset>,
    /// One past what was handed to the lanes.
    read: Option<Offset>,
    /// The log begins anew here, below what the stores have: nothing is read until they are lowered.
    back: Option<Offset>,
}

/// Whose a batch is that came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Came {
    /// Its partition is not ours.
    Strange,
    /// Ours, to be handed out.
    Ours,
    /// Ours, and below what the stores have: they are lowered first, and it is read again.
    Below,
}

impl Owned {
    /// Where the next owner has to begin if nothing more is flushed.
    fn resume(&self) -> Option<Offset> {
        self.stored.max(self.floor)
    }
}

/// What is committed with an offset that only follows a store which may go back: whose position it was, and the floor. A committed offset above
/// the store's position is a purpose, unless it says this: then the store has lost its last writes, and they are read again.
fn mark(store: &str, floor: Option<Offset>) -> String {
    floor.map_or_else(|| format!("store {store}"), |floor| format!("store {store} from {floor}"))
}

/// Where a log begins. What was dropped of it is not in range, and the group's reset goes on from there.
const BEGINNING: Offset = 0;

/// The floor that a committed offset stands for.
fn floor_of(store: &str, committed: &OffsetAndMetadata) -> Option<Offset> {
    let rest = committed.metadata.strip_prefix("store ").and_then(|rest| rest.strip_prefix(store));
    match rest {
        Some("") => Some(BEGINNING),
        Some(rest) => {
            rest.strip_prefix(" from ").and_then(|floor| floor.parse().ok()).or(Some(committed.offset))
        }
        None => Some(committed.offset),
    }
}

/// The partitions that a member claimed.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    /// The sink's own store, if it may go back.
    store: Option<String>,
    owned: BTreeMap<TopicPartition, Owned>,
}

impl Ledger {
    /// The ledger of a sink whose own store may go back (`store`), or never does.
    pub(crate) fn new(store: Option<String>) -> Ledger {
        Ledger { store, owned: BTreeMap::new() }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.owned.is_empty()
    }

    pub(crate) fn partitions(&self) -> Vec<TopicPartition> {
        self.owned.keys().cloned().collect()
    }

    /// Takes a first claim; says where reading begins, if anybody knows.
    pub(crate) fn begin(&mut self, claim: Claim, committed: Option<&OffsetAndMetadata>) -> Option<Offset> {
        let known = match &self.store {
            Some(store) => match committed {
                Some(committed) => floor_of(store, committed),
                // Whoever wrote first died before the commit that says where reading began. If the store loses all it has, everything
                // that there is must be read: neither where we are now nor what we commit from here is a place to begin.
                None => claim.position.map(|_| BEGINNING),
            },
            None => committed.map(|committed| committed.offset),
        };
        let floor = self.elsewhere(&claim).max(known);
        let highest = claim.position.max(claim.resume);
        let owned =
            Owned { epoch: claim.epoch, stored: claim.position, floor, highest, read: None, back: None };
        let began = owned.resume();
        self.owned.insert(claim.partition, owned);
        began
    }

    /// What of a claim reading never goes back below: of a store that may go back, what others have alone.
    fn elsewhere(&self, claim: &Claim) -> Option<Offset> {
        if self.store.is_some() {
            claim.resume.filter(|resume| claim.position.is_none_or(|position| *resume > position))
        } else {
            claim.position.max(claim.resume)
        }
    }

    /// What is committed for these offsets.
    pub(crate) fn marked(
        &self,
        offsets: Vec<(TopicPartition, Offset)>,
    ) -> Vec<(TopicPartition, OffsetAndMetadata)> {
        let marked = |(partition, offset): (TopicPartition, Offset)| {
            let follows = self.owned.get(&partition).filter(|owned| owned.stored == Some(offset));
            let metadata = match (&self.store, follows) {
                (Some(store), Some(owned)) => mark(store, owned.floor),
                _ => String::new(),
            };
            (partition, OffsetAndMetadata { metadata, ..offset.into() })
        };
        offsets.into_iter().map(marked).collect()
    }

    /// Takes a claim of a partition that was read already and is to be read again; says from where, if anybody knows. One that is ours
    /// no more is passed over.
    pub(crate) fn begin_again(&mut self, claim: &Claim) -> Option<Offset> {
        // Whoever had it meanwhile may have written into another store of the group.
        let elsewhere = self.elsewhere(claim);
        let owned = self.owned.get_mut(&claim.partition)?;
        (owned.epoch, owned.stored, owned.read) = (claim.epoch, claim.position, None);
        (owned.highest, owned.back) = (claim.position.max(claim.resume), None);
        owned.floor = owned.floor.max(elsewhere);
        owned.resume()
    }

    /// A batch came.
    pub(crate) fn came(&mut self, partition: &TopicPartition, first: Offset) -> Came {
        let Some(owned) = self.owned.get_mut(partition) else { return Came::Strange };
        // Below what is expected only if the log was cut or made anew: batches come in their order.
        let expected = owned.read.or(owned.resume());
        if expected.is_some_and(|expected| first < expected) && owned.highest.max(owned.stored) > Some(first)
        {
            owned.back = Some(first);
            return Came::Below;
        }
        // Where nobody knew, reading begins with what comes.
        owned.floor = match owned.floor {
            Some(floor) => Some(floor.min(first)),
            None => owned.stored.is_none().then_some(first),
        };
        Came::Ours
    }

    /// Whether a log begins anew below what the stores have.
    pub(crate) fn goes_back(&self) -> bool {
        self.owned.values().any(|owned| owned.back.is_some())
    }

    /// How the stores are to be lowered.
    pub(crate) fn steps_back(&self) -> Vec<Progress> {
        let step = |(partition, owned): (&TopicPartition, &Owned)| {
            let to = owned.back?;
            Some(Progress { partition: partition.clone(), epoch: owned.epoch, from: owned.stored, to })
        };
        self.owned.iter().filter_map(step).collect()
    }

    /// The stores are lowered; says where reading goes on. A partition that was let go, or claimed anew, is passed over.
    pub(crate) fn went_back(&mut self, steps: Vec<Progress>) -> Vec<(TopicPartition, Offset)> {
        let mut offsets = Vec::with_capacity(steps.len());
        for Progress { partition, epoch, to, .. } in steps {
            if let Some(owned) = self.owned.get_mut(&partition).filter(|owned| owned.epoch == epoch) {
                // A store that has less keeps what it has.
                owned.stored = owned.stored.map(|stored| stored.min(to));
                owned.floor =
                    owned.floor.map(|floor| floor.min(to)).or(Some(to).filter(|_| owned.stored != Some(to)));
                (owned.highest, owned.read, owned.back) = (Some(to), None, None);
                offsets.push((partition, to));
            }
        }
        offsets
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
        assert_eq!(ledger.begin(claim(1, Some(3), Some(7)), Some(&5.into())), Some(7));
        assert!(ledger.progress().is_empty(), "nothing was read");
        assert_eq!(ledger.came(&partition(), 7), Came::Ours);
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
        ledger.begin(claim(1, None, None), Some(&100.into()));
        assert_eq!(ledger.came(&partition(), 2), Came::Ours, "no store has anything");
        assert_eq!(ledger.resume(|_| None), [(partition(), 2)]);
        assert_eq!(ledger.came(&TopicPartition::new("t", 1), 0), Came::Strange);
    }

    #[test]
    fn stores_that_have_more_than_the_log_are_lowered_before_anything_is_read() {
        for store in [None, Some("cache".to_owned())] {
            let mut ledger = Ledger::new(store);
            // Our store has little, another one much: a small position must not pass for one of the new log.
            assert_eq!(ledger.begin(claim(1, Some(3), Some(50)), None), Some(50));
            assert_eq!(ledger.came(&partition(), 50), Came::Ours);
            ledger.handed_out(&partition(), 60);
            assert_eq!(ledger.came(&partition(), 60), Came::Ours);
            assert_eq!(ledger.came(&partition(), 0), Came::Below);
            assert!(ledger.goes_back());
            assert_eq!(ledger.steps_back(), [step(1, Some(3), 0)]);
            assert_eq!(ledger.went_back(ledger.steps_back()), [(partition(), 0)]);
            assert!(!ledger.goes_back());
            assert_eq!(ledger.resume(|_| None), [(partition(), 0)]);
            assert_eq!(ledger.came(&partition(), 0), Came::Ours);
            ledger.handed_out(&partition(), 2);
            assert_eq!(ledger.progress(), [step(1, Some(0), 2)]);
            ledger.flushed(ledger.progress());
            assert_eq!(ledger.came(&partition(), 2), Came::Ours);
        }
    }

    #[test]
    fn a_store_that_has_less_than_a_log_without_its_tail_keeps_its_position() {
        let mut ledger = Ledger::default();
        ledger.begin(claim(1, Some(3), Some(50)), None);
        assert_eq!(ledger.came(&partition(), 40), Came::Below);
        assert_eq!(ledger.went_back(ledger.steps_back()), [(partition(), 40)]);
        assert_eq!(ledger.resume(|_| None), [(partition(), 40)]);
        assert_eq!(ledger.came(&partition(), 40), Came::Ours);
        ledger.handed_out(&partition(), 41);
        assert_eq!(ledger.progress(), [step(1, Some(3), 41)]);
    }

    #[test]
    fn a_claim_overtakes_a_step_back() {
        let mut ledger = Ledger::default();
        ledger.begin(claim(1, Some(9), Some(9)), None);
        assert_eq!(ledger.came(&partition(), 0), Came::Below);
        let steps = ledger.steps_back();
        assert_eq!(ledger.begin_again(&claim(2, Some(4), Some(4))), Some(9), "the floor is where it began");
        assert_eq!(ledger.went_back(steps), []);
        assert!(!ledger.goes_back());
    }

    /// A crash of a store that does not write each change to disk takes its last writes back, positions among them.
    #[test]
    fn what_a_store_lost_is_read_again_by_the_same_owner_and_by_the_next() {
        let ledger = || Ledger::new(Some("cache".to_owned()));
        let mut first = ledger();
        // An operator moved the group here, on purpose.
        assert_eq!(first.begin(claim(1, Some(3), Some(3)), Some(&10.into())), Some(10));
        assert_eq!(first.came(&partition(), 10), Came::Ours);
        first.handed_out(&partition(), 500);
        let progress = first.progress();
        let flushed = first.flushed(progress);
        let committed = first.marked(flushed).remove(0).1;
        assert_eq!((committed.offset, committed.metadata.as_str()), (500, "store cache from 10"));
        // The store is back at 480: fenced, the owner begins there, though it had 500.
        assert_eq!(first.begin_again(&claim(9, Some(480), Some(480))), Some(480));
        // So does another process; and where everything is lost, reading begins where it once began.
        assert_eq!(ledger().begin(claim(2, Some(480), Some(480)), Some(&committed)), Some(480));
        assert_eq!(ledger().begin(claim(1, None, None), Some(&committed)), Some(10));
        // What another store of the group has is passed over, and so is what another store's mark says.
        assert_eq!(ledger().begin(claim(2, Some(480), Some(490)), Some(&committed)), Some(490));
        assert_eq!(
            Ledger::new(Some("cac".to_owned())).begin(claim(2, Some(480), None), Some(&committed)),
            Some(500)
        );
        assert_eq!(Ledger::new(None).begin(claim(2, Some(480), Some(480)), Some(&committed)), Some(500));
    }

    /// The first owner wrote, and died before it had committed anything.
    #[test]
    fn a_store_that_loses_everything_is_filled_from_the_beginning_if_nobody_knows_another() {
        let ledger = || Ledger::new(Some("cache".to_owned()));
        let mut second = ledger();
        assert_eq!(second.begin(claim(2, Some(30), Some(30)), None), Some(30));
        assert_eq!(second.came(&partition(), 30), Came::Ours);
        second.handed_out(&partition(), 500);
        let progress = second.progress();
        let flushed = second.flushed(progress);
        let committed = second.marked(flushed).remove(0).1;
        // The same owner and the next one find an empty store.
        assert_eq!(second.begin_again(&claim(1, None, None)), Some(0));
        assert_eq!(ledger().begin(claim(1, None, None), Some(&committed)), Some(0));
        let unplaced = OffsetAndMetadata { metadata: "store cache".to_owned(), ..500.into() };
        assert_eq!(ledger().begin(claim(1, None, None), Some(&unplaced)), Some(0));
        assert_eq!(ledger().begin(claim(3, Some(400), Some(400)), Some(&unplaced)), Some(400));
        // A new group begins where it is told to.
        assert_eq!(ledger().begin(claim(1, None, None), None), None);
    }

    #[test]
    fn a_place_that_nothing_is_stored_of_is_committed_as_a_purpose() {
        let mut ledger = Ledger::new(Some("cache".to_owned()));
        ledger.begin(claim(1, Some(3), Some(3)), Some(&10.into()));
        let committed = ledger.marked(ledger.resume(|_| None)).remove(0).1;
        assert_eq!((committed.offset, committed.metadata.as_str()), (10, ""));
    }
}
