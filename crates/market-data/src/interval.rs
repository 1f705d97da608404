//! The seven lengths of a candle.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

/// The length of a candle. Candles are aligned to the UTC epoch, and every interval is a multiple of the one before it,
/// so longer candles are merges of shorter ones.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Interval {
    /// One minute: the only one that trades are added to.
    M1,
    /// Five minutes.
    M5,
    /// Fifteen minutes.
    M15,
    /// One hour.
    H1,
    /// Four hours.
    H4,
    /// Twelve hours.
    H12,
    /// One day.
    D1,
}

impl Interval {
    /// All of them, shortest first.
    pub const ALL: [Interval; 7] =
        [Interval::M1, Interval::M5, Interval::M15, Interval::H1, Interval::H4, Interval::H12, Interval::D1];

    /// The length in seconds.
    #[inline]
    pub const fn seconds(self) -> i64 {
        match self {
            Interval::M1 => 60,
            Interval::M5 => 300,
            Interval::M15 => 900,
            Interval::H1 => 3_600,
            Interval::H4 => 14_400,
            Interval::H12 => 43_200,
            Interval::D1 => 86_400,
        }
    }

    /// The name in configuration, queries and reference files: `1m`.
    pub const fn name(self) -> &'static str {
        match self {
            Interval::M1 => "1m",
            Interval::M5 => "5m",
            Interval::M15 => "15m",
            Interval::H1 => "1h",
            Interval::H4 => "4h",
            Interval::H12 => "12h",
            Interval::D1 => "1d",
        }
    }

    /// The start of the candle that holds `time`, both in unix seconds.
    #[inline]
    pub const fn start_of(self, time: i64) -> i64 {
        time - time.rem_euclid(self.seconds())
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A name that is no interval.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("unknown interval `{0}`: use one of 1m, 5m, 15m, 1h, 4h, 12h, 1d")]
pub struct UnknownInterval(String);

impl FromStr for Interval {
    type Err = UnknownInterval;

    fn from_str(name: &str) -> Result<Interval, UnknownInterval> {
        Interval::ALL.into_iter().find(|i| i.name() == name).ok_or_else(|| UnknownInterval(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_interval_is_a_multiple_of_the_one_before() {
        for pair in Interval::ALL.windows(2) {
            assert_eq!(pair[1].seconds() % pair[0].seconds(), 0);
        }
    }

    #[test]
    fn candles_start_on_the_utc_grid() {
        assert_eq!(Interval::M1.start_of(1_723_161_255), 1_723_161_240);
        assert_eq!(Interval::D1.start_of(1_723_161_255), 1_723_075_200);
        assert_eq!(Interval::H12.start_of(43_199), 0);
        assert_eq!(Interval::H12.start_of(43_200), 43_200);
    }

    #[test]
    fn names_are_read_back() {
        for interval in Interval::ALL {
            assert_eq!(interval.name().parse(), Ok(interval));
        }
        assert!("2m".parse::<Interval>().is_err());
    }
}
