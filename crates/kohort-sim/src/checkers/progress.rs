//! `Progress`: with messages flowing again, the group becomes stable in bounded time, and stays so.

use std::collections::BTreeSet;

use kohort_group::coordinator::State;
use kohort_group::member::Member;
use kohort_group::messages::TopicPartition;

use super::{Violation, broken, no_orphan};
use crate::world::{Happening, World};

const NAME: &str = "Progress";

/// How often to look.
pub(crate) const LOOK_EVERY: u64 = 250;
/// A group that is settled must stay so for this long.
const QUIET: u64 = 8_000;

impl World {
    /// After the heal: looks whether all is settled, and whether it took too long.
    pub(crate) fn judge(&mut self) -> Result<(), Violation> {
        let Some(healed) = self.healed else { return Ok(()) };
        match self.unsettled() {
            None => {
                let generations = self.generations();
                let since = match &self.settled {
                    Some((since, then)) if *then == generations => *since,
                    _ => self.now,
                };
                self.settled = Some((since, generations));
                let orphan = no_orphan::check(self);
                let late = self.now > healed + self.patience();
                // A leader that held partitions back for an owner who never handed them over takes its time to notice.
                if self.now - since >= QUIET && (orphan.is_ok() || late) {
                    self.trace.tell(self.now, format_args!("settled"));
                    self.finish();
                    return orphan;
                }
            }
            Some(why) => {
                self.settled = None;
                if self.now > healed + self.patience() {
                    return Err(self.stuck(&why));
                }
            }
        }
        self.after(LOOK_EVERY, Happening::Judge);
        Ok(())
    }

    /// How long healing may take: the dead must be noticed (a session, or a new member's time in JoinGroup), perhaps
    /// in the middle of a rebalance, whose members then take their time twice; and the members on the way must
    /// find the coordinator and hear of the topics.
    fn patience(&self) -> u64 {
        let drawn = &self.drawn;
        let dead = drawn.session.max(drawn.new_member) + drawn.grace;
        let rebalance = drawn.rebalance + drawn.initial_delay + 2 * drawn.callback.1;
        dead + 3 * rebalance + 2 * drawn.session + drawn.poll.min(15_000) + 60_000
    }

    pub(crate) fn stuck(&self, why: &str) -> Violation {
        let healed = self.healed.map_or_else(
            || "before the heal".to_owned(),
            |at| format!("{} ms after everything healed", self.now - at),
        );
        broken(NAME, format!("{why}, {healed}"))
    }

    fn generations(&self) -> Vec<i32> {
        let coordinator = self.broker.coordinator().into_iter();
        coordinator.flat_map(|it| it.groups().map(|group| group.generation).collect::<Vec<_>>()).collect()
    }

    /// Why a group is not settled; `None`: all are.
    fn unsettled(&self) -> Option<String> {
        let groups: BTreeSet<&str> = self.hosts.iter().map(|host| host.group.as_str()).collect();
        groups.into_iter().find_map(|group| self.unsettled_group(group))
    }

    fn unsettled_group(&self, id: &str) -> Option<String> {
        let Some(coordinator) = self.broker.coordinator() else {
            return Some("the broker is down".to_owned());
        };
        let expected: Vec<usize> = (0..self.hosts.len())
            .filter(|place| self.hosts[*place].group == id && self.hosts[*place].expected())
            .collect();
        let Some(view) = coordinator.group(id) else {
            return (!expected.is_empty()).then(|| format!("group `{id}` does not exist"));
        };
        if expected.is_empty() {
            let empty = view.state == State::Empty;
            return (!empty).then(|| format!("group `{id}` is {:?} without members", view.state));
        }
        if view.state != State::Stable {
            return Some(format!("group `{id}` is {:?}", view.state));
        }
        if view.members.len() != expected.len() {
            return Some(format!("group `{id}` has {} members of {}", view.members.len(), expected.len()));
        }
        for place in expected {
            let host = &self.hosts[place];
            let Some(member) = host.member.as_ref().filter(|_| !host.frozen) else {
                return Some(format!("host {place} does not run"));
            };
            if !member.is_stable() || Member::generation(member) != Some(view.generation) {
                return Some(format!("the member of host {place} is not stable"));
            }
            let Some(mine) = view.members.iter().find(|it| it.member_id == member.member_id()) else {
                return Some(format!("group `{id}` does not know the member of host {place}"));
            };
            let assigned: BTreeSet<TopicPartition> = mine.partitions().into_iter().flatten().collect();
            if !assigned.iter().eq(host.app.held.keys()) || !assigned.iter().eq(member.owned()) {
                return Some(format!("host {place} does not work on what group `{id}` gave it"));
            }
        }
        None
    }
}
