//! What must hold, whatever happens: one name and one sentence each, as functions over plain values. `debug_assert!`,
//! tests and the simulation call the same ones.
//!
//! | name | sentence |
//! | --- | --- |
//! | [`OneOwner`](one_owner) | Within a group and generation, no partition has two owners. |
//! | [`NoOrphan`](no_orphan) | Once stable, every partition of a topic that some member subscribes to has an owner. |
//! | [`NoCommitFromThePast`](no_commit_from_the_past) | A committed offset moves backward only by an explicit reset; a fenced member commits nothing. |
//! | [`Progress`](progress) | With messages flowing again, the group becomes stable in bounded time. |
//! | [`Sticky`](sticky) | A sticky assignor moves no partition without need; a cooperative rebalance pauses no partition that stays ([`uninterrupted`]). |
//! | [`ReplayEqualsState`](replay_equals_state) | The state rebuilt from the records is the state. |

use core::fmt::Debug;
use core::time::Duration;
use std::collections::{BTreeMap, BTreeSet};

use crate::Time;
use crate::messages::{ErrorCode, Offset, Partition, TopicPartition};

/// An invariant that does not hold, and where that shows.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{invariant}` is broken: {what}")]
pub struct Violation {
    /// The invariant's name.
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl Violation {
    fn new(invariant: &'static str, what: String) -> Result<(), Self> {
        Err(Self { invariant, what })
    }
}

/// Who owns what, in one group and one generation: member id to partitions.
pub type Owners = BTreeMap<String, Vec<TopicPartition>>;

/// **`OneOwner`**: within a group and generation (or member epoch), no partition has two owners.
///
/// # Errors
///
/// The partition and both owners.
pub fn one_owner(owners: &Owners) -> Result<(), Violation> {
    let mut seen: BTreeMap<&TopicPartition, &str> = BTreeMap::new();
    for (member, partitions) in owners {
        for partition in partitions {
            if let Some(other) = seen.insert(partition, member) {
                let what = format!("{partition:?} belongs to `{other}` and to `{member}`");
                return Violation::new("OneOwner", what);
            }
        }
    }
    Ok(())
}

/// **`NoOrphan`**: once stable, every partition of a topic that some member subscribes to has an owner.
///
/// `subscriptions` are the topics of each member, `topics` the partitions of those that exist. An owner who does not
/// subscribe is as bad as none.
///
/// # Errors
///
/// The partition that nobody reads, or that somebody reads who did not ask.
pub fn no_orphan(
    owners: &Owners,
    subscriptions: &BTreeMap<String, BTreeSet<String>>,
    topics: &BTreeMap<String, Partition>,
) -> Result<(), Violation> {
    let mut owned = BTreeSet::new();
    for (member, partitions) in owners {
        let wanted = subscriptions.get(member);
        for partition in partitions {
            if !wanted.is_some_and(|topics| topics.contains(&partition.topic)) {
                let what = format!("`{member}` owns {partition:?} and does not subscribe to it");
                return Violation::new("NoOrphan", what);
            }
            owned.insert(partition);
        }
    }
    let wanted: BTreeSet<_> = subscriptions.values().flatten().collect();
    for topic in wanted {
        for partition in 0..topics.get(topic).copied().unwrap_or(0) {
            let partition = TopicPartition::new(topic.clone(), partition);
            if !owned.contains(&partition) {
                return Violation::new("NoOrphan", format!("nobody owns {partition:?}"));
            }
        }
    }
    Ok(())
}

/// A commit, and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// Whose offset.
    pub partition: TopicPartition,
    /// The member that committed.
    pub member_id: String,
    /// The generation, or epoch, that it named.
    pub generation: i32,
    /// The group's own at that moment.
    pub current: i32,
    /// Whether the group counted it among its members at that moment.
    pub is_member: bool,
    /// What was committed before.
    pub before: Option<Offset>,
    /// What it asked for.
    pub offset: Offset,
    /// What it was told.
    pub outcome: ErrorCode,
    /// Somebody reset the offset on purpose (an administrator's tool, a seek).
    pub reset: bool,
}

/// **`NoCommitFromThePast`**: a committed offset moves backward only by an explicit reset; a fenced member commits
/// nothing.
///
/// # Errors
///
/// The commit that should not have been accepted.
pub fn no_commit_from_the_past(commit: &Commit) -> Result<(), Violation> {
    if commit.outcome != ErrorCode::None || commit.reset {
        return Ok(());
    }
    if !commit.is_member || commit.generation != commit.current {
        return Violation::new("NoCommitFromThePast", format!("a fenced member committed: {commit:?}"));
    }
    if commit.before.is_some_and(|before| commit.offset < before) {
        return Violation::new("NoCommitFromThePast", format!("an offset went back: {commit:?}"));
    }
    Ok(())
}

/// **`Progress`**: with messages flowing again (since `healed`), the group becomes stable in bounded time.
///
/// # Errors
///
/// How long it has not been.
pub fn progress(healed: Time, now: Time, within: Duration, stable: bool) -> Result<(), Violation> {
    if stable || now.since(healed) <= within {
        return Ok(());
    }
    let what = format!("not stable {:?} after everything was healed", now.since(healed));
    Violation::new("Progress", what)
}

/// **`Sticky`**, first half: a sticky assignor moves no partition without need.
///
/// Looks at members that all subscribe to the same topics. Taking a partition from a member that stays is needed only
/// to bring somebody up who has less: so whoever lost one must not end below whoever got it, and nobody both loses
/// and gets.
///
/// # Errors
///
/// The partition, who lost it, and who got it.
pub fn sticky(before: &Owners, after: &Owners) -> Result<(), Violation> {
    let owner_before = by_partition(before);
    let mut lost: BTreeSet<&str> = BTreeSet::new();
    let mut got: BTreeSet<&str> = BTreeSet::new();
    for (to, partitions) in after {
        for partition in partitions {
            let Some(from) = owner_before.get(partition).copied().filter(|from| from != to) else { continue };
            let Some(left) = after.get(from) else { continue };
            if left.len() < partitions.len() {
                let what = format!(
                    "{partition:?} went from `{from}` ({}) to `{to}` ({})",
                    left.len(),
                    partitions.len()
                );
                return Violation::new("Sticky", what);
            }
            lost.insert(from);
            got.insert(to);
        }
    }
    if let Some(both) = lost.intersection(&got).next() {
        return Violation::new("Sticky", format!("`{both}` lost partitions and got others for them"));
    }
    Ok(())
}

/// **`Sticky`**, second half: a cooperative rebalance pauses no partition that stays. `revoked` is what each member
/// gave back on the way from `before` to `after`.
///
/// # Errors
///
/// The partition, and who gave it back to get it again.
pub fn uninterrupted(before: &Owners, revoked: &Owners, after: &Owners) -> Result<(), Violation> {
    for (member, partitions) in revoked {
        for partition in partitions {
            let had = before.get(member).is_some_and(|owned| owned.contains(partition));
            let has = after.get(member).is_some_and(|owned| owned.contains(partition));
            if had && has {
                let what = format!("`{member}` gave {partition:?} back and has it again");
                return Violation::new("Sticky", what);
            }
        }
    }
    Ok(())
}

/// **`ReplayEqualsState`**: the state rebuilt from the records is the state.
///
/// # Errors
///
/// Both.
pub fn replay_equals_state<T: PartialEq + Debug>(replayed: &T, state: &T) -> Result<(), Violation> {
    if replayed == state {
        return Ok(());
    }
    Violation::new("ReplayEqualsState", format!("the records make {replayed:?}, the state is {state:?}"))
}

fn by_partition(owners: &Owners) -> BTreeMap<&TopicPartition, &str> {
    let of = |(member, partitions)| {
        let member: &String = member;
        let partitions: &Vec<TopicPartition> = partitions;
        partitions.iter().map(move |partition| (partition, member.as_str()))
    };
    owners.iter().flat_map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn owners(list: &[(&str, &[Partition])]) -> Owners {
        let of = |(member, partitions): &(&str, &[Partition])| {
            ((*member).to_owned(), partitions.iter().map(|p| TopicPartition::new("t", *p)).collect())
        };
        list.iter().map(of).collect()
    }

    fn name(result: Result<(), Violation>) -> Option<&'static str> {
        result.err().map(|violation| violation.invariant)
    }

    #[test]
    fn one_owner_sees_two() {
        assert_eq!(name(one_owner(&owners(&[("a", &[0, 1]), ("b", &[2])]))), None);
        assert_eq!(name(one_owner(&owners(&[("a", &[0, 1]), ("b", &[1])]))), Some("OneOwner"));
    }

    #[test]
    fn no_orphan_sees_what_nobody_reads_and_what_nobody_wants() {
        let wants = |topics: &[&str]| topics.iter().map(|topic| (*topic).to_owned()).collect();
        let topics = BTreeMap::from([("t".to_owned(), 2), ("u".to_owned(), 1)]);
        let both = BTreeMap::from([("a".to_owned(), wants(&["t"])), ("b".to_owned(), wants(&["t", "gone"]))]);
        let whole = owners(&[("a", &[0]), ("b", &[1])]);
        assert_eq!(name(no_orphan(&whole, &both, &topics)), None);
        assert_eq!(name(no_orphan(&owners(&[("a", &[0])]), &both, &topics)), Some("NoOrphan"));
        let stranger = BTreeMap::from([("a".to_owned(), wants(&["t"])), ("b".to_owned(), wants(&["u"]))]);
        assert_eq!(name(no_orphan(&whole, &stranger, &topics)), Some("NoOrphan"));
    }

    #[test]
    fn no_commit_from_the_past_sees_zombies_and_steps_back() {
        let good = Commit {
            partition: TopicPartition::new("t", 0),
            member_id: "m".to_owned(),
            generation: 3,
            current: 3,
            is_member: true,
            before: Some(10),
            offset: 10,
            outcome: ErrorCode::None,
            reset: false,
        };
        let broken = Some("NoCommitFromThePast");
        assert_eq!(name(no_commit_from_the_past(&good)), None);
        let zombie = Commit { generation: 2, ..good.clone() };
        assert_eq!(name(no_commit_from_the_past(&zombie)), broken);
        let refused = Commit { outcome: ErrorCode::IllegalGeneration, ..zombie };
        assert_eq!(name(no_commit_from_the_past(&refused)), None);
        assert_eq!(name(no_commit_from_the_past(&Commit { is_member: false, ..good.clone() })), broken);
        let back = Commit { offset: 9, ..good };
        assert_eq!(name(no_commit_from_the_past(&back)), broken);
        assert_eq!(name(no_commit_from_the_past(&Commit { reset: true, ..back })), None);
    }

    #[test]
    fn progress_gives_time_and_not_more() {
        let at = Time::from_millis;
        let second = Duration::from_secs(1);
        assert_eq!(name(progress(at(0), at(1_000), second, false)), None);
        assert_eq!(name(progress(at(0), at(1_001), second, false)), Some("Progress"));
        assert_eq!(name(progress(at(0), at(9_000), second, true)), None);
    }

    #[test]
    fn sticky_sees_needless_moves() {
        let before = owners(&[("a", &[0, 1]), ("b", &[2, 3])]);
        let joined = owners(&[("a", &[0, 1]), ("b", &[2]), ("c", &[3])]);
        assert_eq!(name(sticky(&before, &joined)), None);
        let left = owners(&[("b", &[0, 1, 2, 3])]);
        assert_eq!(name(sticky(&before, &left)), None);
        let swapped = owners(&[("a", &[0, 2]), ("b", &[1, 3])]);
        assert_eq!(name(sticky(&before, &swapped)), Some("Sticky"));
        let worse = owners(&[("a", &[0]), ("b", &[1, 2, 3])]);
        assert_eq!(name(sticky(&before, &worse)), Some("Sticky"));
    }

    #[test]
    fn uninterrupted_sees_what_is_given_back_and_got_again() {
        let before = owners(&[("a", &[0, 1])]);
        let after = owners(&[("a", &[0]), ("b", &[1])]);
        assert_eq!(name(uninterrupted(&before, &owners(&[("a", &[1])]), &after)), None);
        assert_eq!(name(uninterrupted(&before, &owners(&[("a", &[0, 1])]), &after)), Some("Sticky"));
    }

    #[test]
    fn replay_equals_state_compares() {
        assert_eq!(name(replay_equals_state(&1, &1)), None);
        assert_eq!(name(replay_equals_state(&1, &2)), Some("ReplayEqualsState"));
    }
}
