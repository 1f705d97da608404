//! When a message is due, and which time its trades then carry: plain arithmetic on milliseconds.

/// How fast a file is sent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Speed {
    /// This many times as fast as it happened.
    Times(f64),
    /// As fast as the broker takes it.
    Max,
}

impl std::str::FromStr for Speed {
    type Err = String;

    fn from_str(text: &str) -> Result<Speed, String> {
        if text.eq_ignore_ascii_case("max") {
            return Ok(Speed::Max);
        }
        match text.trim_end_matches('x').parse::<f64>() {
            Ok(times) if times.is_finite() && times > 0.0 => Ok(Speed::Times(times)),
            _ => Err("write a number above 0, such as `10`, or `max`".to_owned()),
        }
    }
}

/// A set of messages played once: its first trade of `first_ms` happens at `start_ms`, and all that follows `times` as
/// fast as it did.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Play {
    /// The time of the set's first trade.
    pub(crate) first_ms: i64,
    /// When it is played, on the wall.
    pub(crate) start_ms: i64,
    /// How many times as fast.
    pub(crate) times: f64,
}

impl Play {
    /// When on the wall what happened at `ms` is due. What happened before the first is due at once.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_precision_loss,
        reason = "milliseconds of years are far below 2^52"
    )]
    pub(crate) fn due_ms(&self, ms: i64) -> i64 {
        self.start_ms + ((ms - self.first_ms).max(0) as f64 / self.times) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minute_at_sixty_times_takes_a_second() {
        let play = Play { first_ms: 1_000_000, start_ms: 5_000, times: 60.0 };
        assert_eq!(play.due_ms(1_000_000), 5_000);
        assert_eq!(play.due_ms(1_060_000), 6_000);
        assert_eq!(play.due_ms(0), 5_000);
    }

    #[test]
    fn speeds_are_numbers_above_zero_or_max() {
        assert_eq!("max".parse(), Ok(Speed::Max));
        assert_eq!("2.5".parse(), Ok(Speed::Times(2.5)));
        assert_eq!("10x".parse(), Ok(Speed::Times(10.0)));
        assert!(
            "0".parse::<Speed>().is_err()
                && "-1".parse::<Speed>().is_err()
                && "NaN".parse::<Speed>().is_err()
        );
    }
}
