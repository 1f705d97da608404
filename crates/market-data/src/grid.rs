//! How a chart cuts time into bars: any length, any offset from UTC, out of the seven intervals that are kept.

use crate::Interval;

/// The length of a bar.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// So many minutes, counted from the epoch; at least one.
    Minutes(u32),
    /// Weeks, which start on Monday.
    Week,
    /// Months of the calendar.
    Month,
}

/// Bars of one length, in a zone that is so far ahead of UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Grid {
    step: Step,
    /// Seconds, whole minutes.
    offset: i64,
}

const DAY: i64 = 86_400;
const WEEK: i64 = 7 * DAY;
/// 1970-01-05, a Monday.
const MONDAY: i64 = 4 * DAY;

impl Grid {
    /// Bars in UTC.
    pub fn new(step: Step) -> Grid {
        Grid { step, offset: 0 }
    }

    /// The candles of an interval, as bars.
    pub fn of(interval: Interval) -> Grid {
        Grid::new(Step::Minutes((interval.seconds() / 60) as u32))
    }

    /// The same bars in a zone that is so many minutes ahead of UTC (behind it, if negative).
    #[must_use]
    pub fn ahead_of_utc(self, minutes: i32) -> Grid {
        Grid { offset: i64::from(minutes) * 60, ..self }
    }

    /// The length of a bar in seconds, if all have one length.
    fn seconds(self) -> Option<i64> {
        match self.step {
            Step::Minutes(minutes) => Some(i64::from(minutes.max(1)) * 60),
            Step::Week => Some(WEEK),
            Step::Month => None,
        }
    }

    /// The start of the bar that holds `time`, unix seconds.
    pub fn start_of(self, time: i64) -> i64 {
        let local = time + self.offset;
        let start = match (self.step, self.seconds()) {
            (Step::Week, _) => local - (local - MONDAY).rem_euclid(WEEK),
            (_, Some(seconds)) => local - local.rem_euclid(seconds),
            (_, None) => month_start(month_of(local.div_euclid(DAY))) * DAY,
        };
        start - self.offset
    }

    /// The end of the bar that starts at `start`: the start of the next.
    pub fn end_of(self, start: i64) -> i64 {
        match self.seconds() {
            Some(seconds) => start + seconds,
            None => {
                let month = month_of((start + self.offset).div_euclid(DAY));
                month_start(month + 1) * DAY - self.offset
            }
        }
    }

    /// The start of the bar that is `bars` before the one that starts at `start`.
    pub fn back(self, start: i64, bars: usize) -> i64 {
        let bars = i64::try_from(bars).unwrap_or(i64::MAX);
        match self.seconds() {
            Some(seconds) => start.saturating_sub(bars.saturating_mul(seconds)),
            None => {
                let month = month_of((start + self.offset).div_euclid(DAY));
                month_start(month.saturating_sub(bars).max(MONTH_MIN)) * DAY - self.offset
            }
        }
    }

    /// The start of the bar that is `bars` after the one that starts at `start`.
    pub fn forth(self, start: i64, bars: usize) -> i64 {
        let bars = i64::try_from(bars).unwrap_or(i64::MAX);
        match self.seconds() {
            Some(seconds) => start.saturating_add(bars.saturating_mul(seconds)),
            None => {
                let month = month_of((start + self.offset).div_euclid(DAY));
                month_start(month.saturating_add(bars).min(-MONTH_MIN)) * DAY - self.offset
            }
        }
    }

    /// The longest interval whose candles never cross the border of a bar: bars are merges of these.
    pub fn source(self) -> Interval {
        let whole = |interval: &Interval| {
            let seconds = interval.seconds();
            // Weeks and months start at midnight of the zone.
            self.offset % seconds == 0 && self.seconds().unwrap_or(DAY) % seconds == 0
        };
        Interval::ALL.into_iter().rev().find(whole).unwrap_or(Interval::M1)
    }

    /// How many candles of the [source](Grid::source) a bar can hold.
    pub fn candles_max(self) -> usize {
        let longest = self.seconds().unwrap_or(31 * DAY);
        usize::try_from(longest / self.source().seconds()).unwrap_or(usize::MAX)
    }
}

/// Months are counted from 1970-01; this one lies far before anything that is asked for, and its days fit.
const MONTH_MIN: i64 = -12_000_000;

/// The month of a day, both counted from 1970-01-01: the calendar is shifted to begin in March, so that leap days come last
/// (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
fn month_of(day: i64) -> i64 {
    let shifted = day + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    // March is 0.
    let month = (5 * day_of_year + 2) / 153;
    (era * 400 + year_of_era - 1970) * 12 + month + 2
}

/// The first day of a month.
fn month_start(month: i64) -> i64 {
    let from_march = month - 2;
    let (year, month) = (1970 + from_march.div_euclid(12), from_march.rem_euclid(12));
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: i64 = 3_600;

    #[test]
    fn weeks_start_on_monday_and_months_on_their_first() {
        // 2024-02-29 12:00 UTC, a Thursday.
        let time = 1_709_208_000;
        assert_eq!(Grid::new(Step::Week).start_of(time), 1_708_905_600);
        let month = Grid::new(Step::Month);
        assert_eq!(month.start_of(time), 1_706_745_600);
        assert_eq!(month.end_of(1_706_745_600), 1_709_251_200);
        assert_eq!(month.back(1_706_745_600, 14), 1_669_852_800, "2022-12-01");
        assert_eq!(month.forth(1_706_745_600, 11), 1_735_689_600, "2025-01-01");
        assert_eq!(Grid::new(Step::Minutes(3 * 1_440)).start_of(time), time / (3 * DAY) * 3 * DAY);
    }

    #[test]
    fn every_day_of_a_century_is_in_the_month_that_holds_it() {
        let (mut year, mut month, mut start) = (1970, 1, 0);
        for expected in 0..1_200 {
            let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
            let days = match month {
                2 => 28 + i64::from(leap),
                4 | 6 | 9 | 11 => 30,
                _ => 31,
            };
            assert_eq!(month_start(expected), start, "{year}-{month}");
            assert!((start..start + days).all(|day| month_of(day) == expected), "{year}-{month}");
            start += days;
            (year, month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
        }
        assert_eq!((month_of(-1), month_start(-1)), (-1, -31));
    }

    #[test]
    fn a_zone_moves_the_borders_and_may_need_shorter_candles() {
        let day = Grid::new(Step::Minutes(1_440));
        let noon = 20_000 * DAY + 12 * HOUR;
        for (minutes, start, source) in [
            (0, noon - 12 * HOUR, Interval::D1),
            (480, noon - 20 * HOUR, Interval::H4),
            (-720, noon, Interval::H12),
            (345, noon - 17 * HOUR - 2_700, Interval::M15),
            (37, noon - 12 * HOUR - 2_220, Interval::M1),
        ] {
            let grid = day.ahead_of_utc(minutes);
            assert_eq!((grid.start_of(noon), grid.source()), (start, source), "{minutes}");
        }
        assert_eq!(Grid::new(Step::Minutes(60)).ahead_of_utc(330).start_of(noon), noon - HOUR / 2);
        assert_eq!(Grid::new(Step::Month).ahead_of_utc(840).source(), Interval::H1);
        let sources = [
            (1, Interval::M1),
            (3, Interval::M1),
            (30, Interval::M15),
            (120, Interval::H1),
            (480, Interval::H4),
        ];
        for (minutes, source) in sources {
            assert_eq!(Grid::new(Step::Minutes(minutes)).source(), source);
        }
        assert_eq!(
            (Grid::new(Step::Week).source(), Grid::new(Step::Month).candles_max()),
            (Interval::D1, 31)
        );
    }

    #[test]
    fn bars_follow_one_another_without_gap() {
        for step in [Step::Minutes(3), Step::Minutes(360), Step::Minutes(4_320), Step::Week, Step::Month] {
            for minutes in [0, 330, -720, 840, -61] {
                let grid = Grid::new(step).ahead_of_utc(minutes);
                let mut start = grid.start_of(1_700_000_123);
                assert!(start <= 1_700_000_123 && 1_700_000_123 < grid.end_of(start));
                for bars in 1..50 {
                    let end = grid.end_of(start);
                    assert_eq!((grid.start_of(end - 1), grid.start_of(end)), (start, end));
                    assert_eq!((grid.back(end, 1), grid.forth(start, 1)), (start, end));
                    assert_eq!(grid.back(end, bars), grid.start_of(1_700_000_123));
                    assert_eq!(start.rem_euclid(grid.source().seconds()), 0);
                    start = end;
                }
            }
        }
    }
}
