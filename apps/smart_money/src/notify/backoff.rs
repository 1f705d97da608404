//! When to try again.

use std::time::Duration;

use market_store::wallets::NEXT_TRY_MAX_MS;

const FIRST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(300);
/// What a channel may ask for; it will be asked again after that at the latest.
const ASKED_MAX: Duration = Duration::from_millis(NEXT_TRY_MAX_MS.unsigned_abs());

/// How long to wait after so many tries that failed (from 0): twice as long each time, up to five minutes, and by `seed` up to half of
/// it less, so that many do not come back in one moment. What the channel asked for is the least.
pub(crate) fn backoff(attempts: u32, asked: Option<Duration>, seed: u64) -> Duration {
    let whole = FIRST.saturating_mul(1 << attempts.min(16)).min(LONGEST);
    // The finaliser of splitmix64: neighbouring seeds give numbers that are far apart.
    let mut mixed = seed.wrapping_add(u64::from(attempts)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    let part = ((mixed >> 33) % 1000) as u32;
    let waited = whole / 2 + whole / 2 * part / 1000;
    waited.max(asked.unwrap_or_default().min(ASKED_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_doubles_up_to_its_end_and_takes_what_was_asked_for() {
        for attempts in 0..40 {
            let whole = Duration::from_secs((1u64 << attempts.min(20)).min(300));
            for seed in 0..50 {
                let waited = backoff(attempts, None, seed);
                assert!(waited >= whole / 2 && waited <= whole, "{attempts}: {waited:?}");
            }
        }
        assert_ne!(backoff(9, None, 1), backoff(9, None, 2));
        assert_eq!(backoff(0, Some(Duration::from_secs(30)), 1), Duration::from_secs(30));
        assert_eq!(backoff(0, Some(Duration::from_secs(90_000)), 1), ASKED_MAX);
    }
}
