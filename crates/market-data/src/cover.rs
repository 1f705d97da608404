//! Any span of minutes, covered by the longest candles that are kept.

use crate::Interval;

/// Neighbouring candles of one interval: those that start at or after `from` and before `before`, unix seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cover {
    /// The candles' interval.
    pub interval: Interval,
    /// The start of the first.
    pub from: i64,
    /// The end of the last, which is where the next cover begins.
    pub before: i64,
}

/// The candles that together hold exactly the trades of `start..end`, oldest first: short ones up to the first border of a longer
/// interval, and so on up and down again. Merging them is merging the minutes of the span; at most thirteen stretches, however
/// long it is.
///
/// Both ends are taken at a grain of a minute, rounded down.
pub fn cover(start: i64, end: i64) -> Vec<Cover> {
    let (mut at, end) = (Interval::M1.start_of(start), Interval::M1.start_of(end));
    let mut covers: Vec<Cover> = Vec::new();
    while at < end {
        let fits = |interval: &Interval| interval.start_of(at) == at && end - at >= interval.seconds();
        // Both ends are whole minutes, so a minute always fits.
        let interval = Interval::ALL.into_iter().rev().find(fits).unwrap_or(Interval::M1);
        // As many as fit before a longer one could take over.
        let longer = Interval::ALL.into_iter().find(|longer| *longer > interval);
        let border = longer.map_or(end, |longer| longer.start_of(at) + longer.seconds()).min(end);
        let before = at + (border - at) / interval.seconds() * interval.seconds();
        match covers.last_mut() {
            Some(last) if last.interval == interval => last.before = before,
            _ => covers.push(Cover { interval, from: at, before }),
        }
        at = before;
    }
    covers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_that_starts_at_an_odd_minute_is_a_few_stretches() {
        let day = 20_000 * 86_400;
        let at = |h: i64, m: i64| day + h * 3_600 + m * 60;
        let covers = cover(at(9, 58) + 7, at(33, 58) + 59);
        let expected = [
            (Interval::M1, at(9, 58), at(10, 0)),
            (Interval::H1, at(10, 0), at(12, 0)),
            (Interval::H12, at(12, 0), at(24, 0)),
            (Interval::H4, at(24, 0), at(32, 0)),
            (Interval::H1, at(32, 0), at(33, 0)),
            (Interval::M15, at(33, 0), at(33, 45)),
            (Interval::M5, at(33, 45), at(33, 55)),
            (Interval::M1, at(33, 55), at(33, 58)),
        ];
        assert_eq!(covers, expected.map(|(interval, from, before)| Cover { interval, from, before }));
    }

    #[test]
    fn nothing_covers_an_empty_span() {
        assert_eq!(cover(60, 60), []);
        assert_eq!(cover(61, 119), []);
        assert_eq!(cover(120, 60), []);
    }
}
