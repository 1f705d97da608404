//! How often a channel may be sent to: plain numbers, no clock.

use std::collections::VecDeque;
use std::time::Duration;

/// At most `count` in any span of `per`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limit {
    pub(crate) count: usize,
    pub(crate) per: Duration,
}

impl Limit {
    pub(crate) const fn per_second(count: usize) -> Limit {
        Limit { count, per: Duration::from_secs(1) }
    }

    pub(crate) const fn per_minute(count: usize) -> Limit {
        Limit { count, per: Duration::from_secs(60) }
    }
}

/// Several limits that all hold. It remembers the latest sends, so that no span of time has more than its limit, wherever it begins:
/// a bucket that refills would allow twice as many around its edge.
#[derive(Debug)]
pub(crate) struct Rate {
    limits: Vec<(Limit, VecDeque<Duration>)>,
}

impl Rate {
    pub(crate) fn new(limits: &[Limit]) -> Rate {
        Rate { limits: limits.iter().map(|limit| (*limit, VecDeque::new())).collect() }
    }

    /// How long to wait at the time `now` (of any clock that only goes on) before the next send.
    pub(crate) fn wait(&self, now: Duration) -> Duration {
        let wait = |(limit, sent): &(Limit, VecDeque<Duration>)| {
            let oldest = sent.front().filter(|_| sent.len() >= limit.count)?;
            Some((*oldest + limit.per).saturating_sub(now))
        };
        self.limits.iter().filter_map(wait).max().unwrap_or_default()
    }

    /// Notes a send.
    pub(crate) fn sent(&mut self, now: Duration) {
        for (limit, sent) in &mut self.limits {
            if sent.len() >= limit.count {
                sent.pop_front();
            }
            sent.push_back(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_span_has_more_than_its_limit() {
        let limits = [Limit::per_second(1), Limit::per_minute(20)];
        let mut rate = Rate::new(&limits);
        let (mut now, mut sent) = (Duration::ZERO, Vec::new());
        for n in 0..200u64 {
            now += rate.wait(now);
            assert_eq!(rate.wait(now), Duration::ZERO);
            rate.sent(now);
            sent.push(now);
            // Now and then nothing is to be sent for a while.
            now += Duration::from_millis(if n % 37 == 0 { 30_000 } else { n % 7 });
        }
        for limit in limits {
            for (at, first) in sent.iter().enumerate() {
                let inside = sent[at..].iter().take_while(|time| **time < *first + limit.per).count();
                assert!(inside <= limit.count, "{inside} after {first:?}");
            }
        }
        // And it is used: 20 in each minute while there is something to send.
        assert!(now < Duration::from_secs(60 * 11 + 30 * 6), "{now:?}");
    }
}
