//! What a member is told to do with its records, and what follows for one. Pure.

use std::time::Duration;

use kohort_service::Complaint;
use kohort_service::config::{Found, Section};
use serde::{Deserialize, Serialize};

/// Slower than any session: a slip of the keyboard.
const SLOW_MS_MAX: u64 = 3_600_000;

/// How a member handles its records. The default handles them at once and well.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// Milliseconds that pass before each record.
    #[serde(skip_serializing_if = "is_zero")]
    pub slow_ms: u64,
    /// Each n-th record of a partition fails, at every try; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub fail_every: u64,
    /// So many tries of a hundred fail; the next one may work.
    #[serde(skip_serializing_if = "is_zero")]
    pub fail_percent: u64,
    /// Each n-th record of a partition can never be handled; 0: none.
    #[serde(skip_serializing_if = "is_zero")]
    pub reject_every: u64,
    /// No record is ever done, until it is told otherwise.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub hang: bool,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "what serde calls")]
fn is_zero(n: &u64) -> bool {
    *n == 0
}

/// What follows for one try of one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It is handled.
    Fine,
    /// This try fails, and why.
    Fails(String),
    /// It can never be handled, and why.
    Rejected(String),
}

impl Behaviour {
    /// What becomes of a try of the record at `offset`; `draw` is any number, different at each try.
    #[must_use]
    pub fn verdict(&self, offset: i64, draw: u64) -> Verdict {
        // Counted from 1, so that `n` records of a partition hold exactly one that is the n-th.
        let nth = |n: u64| n > 0 && (offset.unsigned_abs() + 1).is_multiple_of(n);
        if nth(self.reject_every) {
            return Verdict::Rejected(format!("told to reject each record number {}", self.reject_every));
        }
        if nth(self.fail_every) {
            return Verdict::Fails(format!("told to fail each record number {}", self.fail_every));
        }
        if draw % 100 < self.fail_percent {
            return Verdict::Fails(format!("told to fail {} of 100 tries", self.fail_percent));
        }
        Verdict::Fine
    }

    /// How long a record waits before it is handled.
    #[must_use]
    pub fn slow(&self) -> Duration {
        Duration::from_millis(self.slow_ms)
    }

    /// What is wrong with it, in words.
    fn wrong(&self) -> Option<String> {
        if self.fail_percent > 100 {
            return Some(format!("`fail_percent` is {}, it must be from 0 to 100", self.fail_percent));
        }
        let slow = self.slow_ms;
        (slow > SLOW_MS_MAX).then(|| format!("`slow_ms` is {slow}, it must be from 0 to {SLOW_MS_MAX}"))
    }
}

/// A behaviour, and whom it is told to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Told {
    /// The members that read this topic; `None`: whatever they read.
    pub topic: Option<String>,
    /// The member of this number, from 0, in its block; `None`: all.
    pub member: Option<usize>,
    /// What they are to do.
    pub behaviour: Behaviour,
}

/// [`Told`] as `POST /api/behave` takes it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Order {
    #[serde(default)]
    topic: Option<String>,
    #[serde(default)]
    member: Option<usize>,
    // `flatten` would let unknown fields pass.
    #[serde(default)]
    slow_ms: u64,
    #[serde(default)]
    fail_every: u64,
    #[serde(default)]
    fail_percent: u64,
    #[serde(default)]
    reject_every: u64,
    #[serde(default)]
    hang: bool,
}

impl TryFrom<Order> for Told {
    type Error = String;

    fn try_from(order: Order) -> Result<Told, String> {
        let Order { topic, member, slow_ms, fail_every, fail_percent, reject_every, hang } = order;
        let behaviour = Behaviour { slow_ms, fail_every, fail_percent, reject_every, hang };
        behaviour.wrong().map_or(Ok(Told { topic, member, behaviour }), Err)
    }
}

impl Told {
    /// Whether it is told to member `member` of a block that reads `topic`.
    #[must_use]
    pub fn concerns(&self, topic: &str, member: usize) -> bool {
        self.topic.as_deref().is_none_or(|wanted| wanted == topic)
            && self.member.is_none_or(|wanted| wanted == member)
    }

    /// Reads `Behave` of the service's file.
    ///
    /// # Errors
    /// What stands there and is not understood.
    pub(crate) fn read(found: Found<'_>) -> Result<Told, Complaint> {
        let mut section = Section::of(found)?;
        let topic = section.take("Topic").map(|found| found.name()).transpose()?;
        let member = section.take("Member").map(|found| found.integer(0, 1023)).transpose()?;
        let mut number = |key, most| section.take(key).map_or(Ok(0), |found| found.integer(0, most));
        let behaviour = Behaviour {
            fail_every: number("FailEvery", u64::MAX)?,
            fail_percent: number("FailPercent", 100)?,
            reject_every: number("RejectEvery", u64::MAX)?,
            slow_ms: match section.take("Slow") {
                Some(found) => {
                    let ms = u64::try_from(found.duration()?.as_millis()).unwrap_or(u64::MAX);
                    if ms > SLOW_MS_MAX {
                        return Err(found.complain("`Slow` is more than an hour").hint("write `Slow: 50ms`"));
                    }
                    ms
                }
                None => 0,
            },
            hang: section.take("Hang").map_or(Ok(false), |found| found.boolean())?,
        };
        section.finish()?;
        let member = member.map(|member| usize::try_from(member).unwrap_or(usize::MAX));
        Ok(Told { topic, member, behaviour })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_nth_record_counts_from_the_first_of_the_partition() {
        let every_third = Behaviour { fail_every: 3, ..Behaviour::default() };
        let fails: Vec<i64> = (0..9).filter(|o| every_third.verdict(*o, 0) != Verdict::Fine).collect();
        assert_eq!(fails, [2, 5, 8]);
        let rejects = Behaviour { reject_every: 1, fail_every: 1, ..Behaviour::default() };
        assert!(matches!(rejects.verdict(7, 0), Verdict::Rejected(why) if why.contains("number 1")));
    }

    #[test]
    fn a_share_of_tries_fails_whatever_the_record() {
        let some = Behaviour { fail_percent: 20, ..Behaviour::default() };
        let failed = (0..1000).filter(|draw| some.verdict(1, *draw) != Verdict::Fine).count();
        assert_eq!(failed, 200);
        assert_eq!(Behaviour::default().verdict(0, 0), Verdict::Fine);
    }

    #[test]
    fn it_is_told_to_all_or_to_those_that_are_named() {
        let one = Told { topic: Some("t".into()), member: Some(1), ..Told::default() };
        assert!(one.concerns("t", 1) && !one.concerns("t", 0) && !one.concerns("u", 1));
        assert!(Told::default().concerns("any", 7));
    }
}
