//! How often a record is tried, how long between, and what then. Pure.

use std::time::Duration;

/// What happens to a record that cannot be handled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retries {
    /// Tries in all, the first one included. At least one.
    pub attempts_max: u32,
    /// Before the second try; doubled before each further one.
    pub backoff: Duration,
    /// It grows no longer than this.
    pub backoff_max: Duration,
    /// kq's `ForceCommit`: `true`: after the last try the record goes to the dead letters and its lane goes on; `false`: the lane waits
    /// and tries for ever.
    pub give_up: bool,
}

impl Default for Retries {
    fn default() -> Self {
        Self {
            attempts_max: 5,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_secs(10),
            give_up: true,
        }
    }
}

/// What to do after a failed try.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Try again after this.
    Again(Duration),
    /// To the dead letters.
    DeadLetter,
}

impl Retries {
    /// After try number `attempt` (the first is 1) failed.
    #[must_use]
    pub fn after(&self, attempt: u32) -> Next {
        if self.give_up && attempt >= self.attempts_max.max(1) {
            return Next::DeadLetter;
        }
        let doubled =
            self.backoff.saturating_mul(1u32.checked_shl(attempt.saturating_sub(1)).unwrap_or(u32::MAX));
        Next::Again(doubled.min(self.backoff_max))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tries_back_off_and_end_in_the_dead_letters() {
        let r = Retries {
            attempts_max: 4,
            backoff: Duration::from_millis(100),
            backoff_max: Duration::from_millis(250),
            give_up: true,
        };
        let ms = |n| Next::Again(Duration::from_millis(n));
        assert_eq!(
            [1, 2, 3, 4, 5].map(|n| r.after(n)),
            [ms(100), ms(200), ms(250), Next::DeadLetter, Next::DeadLetter]
        );
    }

    #[test]
    fn a_lane_that_may_not_give_up_waits_for_ever() {
        let r = Retries { give_up: false, ..Retries::default() };
        assert_eq!(r.after(u32::MAX), Next::Again(r.backoff_max));
    }
}
