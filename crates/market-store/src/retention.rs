//! How long candles are kept, and from where on a series is whole.

use std::time::Duration;

use market_data::Interval;

const DAY: i64 = 86_400;
/// So far, in seconds, may trades be ahead of the clock on the wall before it is doubted that their time is right.
const AHEAD_MAX: i64 = 3_600;

/// How long a cache keeps candles, in the market's own time: measured from the newest candle of the same pair, so that a past that is
/// read again is not thrown away as it comes. A candle from the future (a trade with a wrong time) makes nobody older than the clock on the
/// wall does: what is true would be dropped for it until that time has come.
///
/// A part that comes for a candle that is gone is dropped and counted ([`crate::Flushed::expired`]): a candle is whole or not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// For how long one-minute candles are kept; `None` for ever.
    pub minutes: Option<Duration>,
    /// For how long candles of all other intervals are kept; `None` for ever.
    pub longer: Option<Duration>,
}

impl Retention {
    /// What the original's cache keeps: one-minute candles for three days, the others for seven.
    pub const ORIGINAL: Retention =
        Retention { minutes: Some(Duration::from_hours(72)), longer: Some(Duration::from_hours(168)) };

    /// Everything is kept.
    pub const OFF: Retention = Retention { minutes: None, longer: None };

    /// For how many seconds candles of an interval are kept; `None` for ever.
    pub fn keep(self, interval: Interval) -> Option<i64> {
        let keep = if interval == Interval::M1 { self.minutes } else { self.longer }?;
        Some(i64::try_from(keep.as_secs()).unwrap_or(i64::MAX))
    }

    /// After how many seconds *by the clock on the wall* a pair that nobody trades any more is forgotten; `None` for never. In the
    /// market's time it would never grow old, because its newest candle stays its newest.
    pub(crate) fn rest(self) -> Option<i64> {
        let longest = self.keep(Interval::M1)?.max(self.keep(Interval::M5)?);
        Some(longest.max(DAY))
    }
}

/// How far a series came, and from where on it is whole. Neither ever goes back, whatever the retention becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Marks {
    /// The start of the newest one-minute candle; `i64::MIN` if there is none.
    pub(crate) newest: i64,
    /// For each interval, the start of the first candle that may be there; `i64::MIN` if nothing was ever dropped.
    pub(crate) since: [i64; Interval::ALL.len()],
}

impl Marks {
    pub(crate) const NEW: Marks = Marks { newest: i64::MIN, since: [i64::MIN; Interval::ALL.len()] };

    /// A one-minute candle came at `now`, by the clock on the wall.
    pub(crate) fn see(&mut self, retention: Retention, time: i64, now: i64) {
        self.newest = self.newest.max(time);
        let present = self.newest.min(now.saturating_add(AHEAD_MAX));
        for (interval, since) in Interval::ALL.into_iter().zip(&mut self.since) {
            if let Some(keep) = retention.keep(interval) {
                let cut = present.saturating_sub(keep);
                let start = interval.start_of(cut);
                *since = (*since).max(if start < cut { start + interval.seconds() } else { start });
            }
        }
    }

    /// Everything up to the newest candle was dropped, because the pair rested.
    pub(crate) fn rested(&mut self) {
        if self.newest > i64::MIN {
            for (interval, since) in Interval::ALL.into_iter().zip(&mut self.since) {
                *since = (*since).max(interval.start_of(self.newest) + interval.seconds());
            }
        }
    }

    /// Whether a candle is older than what is kept.
    pub(crate) fn expired(&self, interval: Interval, time: i64) -> bool {
        time < self.since[place(interval)]
    }

    /// Whether a candle cannot be there yet: the series has nothing of its time or later.
    pub(crate) fn beyond(&self, interval: Interval, time: i64) -> bool {
        self.newest == i64::MIN || time > interval.start_of(self.newest)
    }

    /// From where on the series is whole; `None` if nothing was ever dropped.
    pub(crate) fn since(&self, interval: Interval) -> Option<i64> {
        Some(self.since[place(interval)]).filter(|since| *since > i64::MIN)
    }
}

/// An interval's place in [`Interval::ALL`].
pub(crate) fn place(interval: Interval) -> usize {
    Interval::ALL.iter().position(|of| *of == interval).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_700_000_000;

    #[test]
    fn a_candle_from_the_future_makes_none_older_than_the_clock_does() {
        let (mut marks, future) = (Marks::NEW, 4_000_000_020);
        marks.see(Retention::ORIGINAL, future, 20 * DAY);
        assert_eq!(marks.since(Interval::M1), Some(17 * DAY + AHEAD_MAX));
        assert!(!marks.beyond(Interval::M1, 20 * DAY), "there is something of a later time");
        // Time goes on, and the clock with it.
        marks.see(Retention::ORIGINAL, 21 * DAY, 21 * DAY);
        assert_eq!(marks.since(Interval::M1), Some(18 * DAY + AHEAD_MAX));
        marks.see(Retention::ORIGINAL, future, future);
        assert!(marks.expired(Interval::D1, 21 * DAY));
    }

    #[test]
    fn a_candle_is_kept_from_the_first_whole_one_of_the_time_on() {
        let mut marks = Marks::NEW;
        assert!(marks.beyond(Interval::M1, -60) && marks.since(Interval::D1).is_none());
        let newest = 20 * DAY + 3_660;
        marks.see(Retention::ORIGINAL, newest, newest);
        assert_eq!(marks.since(Interval::M1), Some(17 * DAY + 3_660));
        assert_eq!(marks.since(Interval::H1), Some(13 * DAY + 2 * 3_600));
        assert_eq!(marks.since(Interval::D1), Some(14 * DAY));
        assert!(marks.expired(Interval::D1, 13 * DAY) && !marks.expired(Interval::D1, 14 * DAY));
        assert!(marks.beyond(Interval::D1, 21 * DAY) && !marks.beyond(Interval::D1, 20 * DAY));
    }

    #[test]
    fn the_mark_never_goes_back() {
        let mut marks = Marks::NEW;
        marks.see(Retention::ORIGINAL, 20 * DAY, NOW);
        let since = marks.since;
        marks.see(Retention::ORIGINAL, 2 * DAY, NOW);
        marks.see(Retention::OFF, 3 * DAY, NOW);
        assert_eq!((marks.newest, marks.since), (20 * DAY, since));
        marks.rested();
        assert!(marks.expired(Interval::H4, 20 * DAY) && !marks.expired(Interval::H4, 20 * DAY + 14_400));
    }
}
