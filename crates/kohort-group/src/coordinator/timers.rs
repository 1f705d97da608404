//! Deadlines in order: the next one is at hand, and one that moves costs a logarithm, however many groups there are.

use std::collections::BTreeMap;

use super::CallId;
use crate::Time;

/// What a deadline is for. One key has one deadline: setting it again moves it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Timer {
    /// The join phase of a group, or its initial delay, is over.
    Join { group: String },
    /// The sync phase of a group is over.
    Sync { group: String },
    /// A member's session, a new member's patience, or a pending id's life: they replace each other, as they
    /// share one key in Kafka.
    Member { group: String, member: String },
    /// A member whose connection closed should have been back.
    Lost { group: String, member: String },
    /// A parked heartbeat is to be answered.
    Held(CallId),
    /// Time to look for expired offsets and groups.
    Retention,
}

/// All deadlines of the node.
#[derive(Debug, Default)]
pub(super) struct Timers {
    due: BTreeMap<(Time, u64), Timer>,
    keys: BTreeMap<Timer, (Time, u64)>,
    next: u64,
}

impl Timers {
    /// Sets or moves a deadline.
    pub(super) fn set(&mut self, timer: Timer, at: Time) {
        let due = (at, self.next);
        self.next += 1;
        if let Some(before) = self.keys.get_mut(&timer) {
            self.due.remove(before);
            *before = due;
        } else {
            self.keys.insert(timer.clone(), due);
        }
        self.due.insert(due, timer);
    }

    pub(super) fn cancel(&mut self, timer: &Timer) {
        if let Some(due) = self.keys.remove(timer) {
            self.due.remove(&due);
        }
    }

    /// The earliest deadline.
    pub(super) fn deadline(&self) -> Option<Time> {
        self.due.first_key_value().map(|((at, _), _)| *at)
    }

    /// A mark before which [`pop`](Self::pop) looks: what is set after it waits for the next round, so that a
    /// deadline that is set to `now` by another one cannot keep the round from ending.
    pub(super) const fn mark(&self) -> u64 {
        self.next
    }

    /// The next timer that is due at `now` and was set before `mark`.
    pub(super) fn pop(&mut self, now: Time, mark: u64) -> Option<Timer> {
        let due = self.due.range(..=(now, u64::MAX)).map(|(due, _)| *due).find(|(_, set)| *set < mark)?;
        let timer = self.due.remove(&due)?;
        self.keys.remove(&timer);
        Some(timer)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Time {
        Time::from_millis(ms)
    }

    #[test]
    fn a_timer_that_is_set_again_has_moved() {
        let mut timers = Timers::default();
        timers.set(Timer::Retention, at(5));
        timers.set(Timer::Retention, at(9));
        assert_eq!(timers.deadline(), Some(at(9)));
        assert_eq!(timers.pop(at(8), timers.mark()), None);
        assert_eq!(timers.pop(at(9), timers.mark()), Some(Timer::Retention));
        assert_eq!(timers.deadline(), None);
    }

    #[test]
    fn timers_of_one_moment_fire_in_the_order_they_were_set() {
        let mut timers = Timers::default();
        for call in [3, 1, 2] {
            timers.set(Timer::Held(CallId(call)), at(5));
        }
        let mark = timers.mark();
        let fired: Vec<_> = core::iter::from_fn(|| timers.pop(at(5), mark)).collect();
        assert_eq!(fired, [3, 1, 2].map(|call| Timer::Held(CallId(call))));
    }

    #[test]
    fn a_timer_set_in_a_round_waits_for_the_next() {
        let mut timers = Timers::default();
        let mark = timers.mark();
        timers.set(Timer::Retention, at(5));
        assert_eq!(timers.pop(at(5), mark), None);
        assert_eq!(timers.pop(at(5), timers.mark()), Some(Timer::Retention));
    }

    #[test]
    fn a_cancelled_timer_does_not_fire() {
        let mut timers = Timers::default();
        timers.set(Timer::Retention, at(5));
        timers.cancel(&Timer::Retention);
        timers.cancel(&Timer::Retention);
        assert_eq!(timers.deadline(), None);
    }
}
