//! Spans of minutes and bars of charts, against the minutes that they are made of.

use market_data::{Grid, Interval, Step, cover};
use proptest::prelude::*;

proptest! {
    #[test]
    fn a_cover_is_each_minute_of_the_span_once_in_few_stretches(start in 0i64..4_000_000, length in 0i64..40_000_000) {
        let covers = cover(start, start + length);
        let minute = |time| Interval::M1.start_of(time);
        let (mut at, end) = (minute(start), minute(start + length));
        for c in &covers {
            prop_assert_eq!((c.from, c.from % c.interval.seconds(), c.before % c.interval.seconds()), (at, 0, 0));
            prop_assert!(c.before > c.from);
            at = c.before;
        }
        prop_assert_eq!(at, end.max(minute(start)));
        prop_assert!(covers.len() <= 13, "{:?}", covers);
        // Up and down again: no shorter stretch between longer ones.
        let longest = covers.iter().map(|c| c.interval).max();
        let top = covers.iter().position(|c| Some(c.interval) == longest).unwrap_or(0);
        prop_assert!(covers[..top].is_sorted_by(|a, b| a.interval < b.interval));
        prop_assert!(covers[top..].is_sorted_by(|a, b| a.interval > b.interval));
    }

    #[test]
    fn every_time_is_in_one_bar_made_of_whole_candles(
        step in prop_oneof![(1u32..10_000).prop_map(Step::Minutes), Just(Step::Week), Just(Step::Month)],
        zone in -720i32..=840,
        time in 0i64..253_402_300_799,
    ) {
        let grid = Grid::new(step).ahead_of_utc(zone);
        let start = grid.start_of(time);
        let end = grid.end_of(start);
        prop_assert!(start <= time && time < end);
        prop_assert_eq!((grid.start_of(start), grid.start_of(end - 1), grid.start_of(end)), (start, start, end));
        prop_assert_eq!((grid.back(end, 1), grid.forth(start, 1)), (start, end));
        let seconds = grid.source().seconds();
        prop_assert_eq!((start.rem_euclid(seconds), end.rem_euclid(seconds)), (0, 0));
        prop_assert!((end - start) / seconds <= grid.candles_max() as i64);
    }
}
