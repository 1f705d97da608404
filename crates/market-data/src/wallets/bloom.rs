//! A Bloom filter: says "not known" for certain, and "known" with a stated probability of being wrong.
//!
//! Sized by the textbook: `m = -n ln p / (ln 2)^2` bits and `k = m/n ln 2` probes for `n` items and a false-positive rate `p`. The probes
//! are made of one 64-bit hash by double hashing (Kirsch and Mitzenmacher, 2006): `h1 + i*h2` is as good as `k` independent hashes.

use thiserror::Error;

/// The probability that a filter says "known" of what it does not know.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct FalsePositiveRate(f64);

/// A rate that no filter is sized for.
#[derive(Debug, Clone, Copy, PartialEq, Error)]
#[error("a false-positive rate is between 0.000001 and 0.5, and `{0}` is not")]
pub struct BadRate(pub f64);

impl FalsePositiveRate {
    /// One in a thousand: 14.4 bits an item.
    pub const DEFAULT: FalsePositiveRate = FalsePositiveRate(0.001);

    /// A rate between one in a million and one half.
    ///
    /// # Errors
    /// [`BadRate`] for anything else.
    pub fn new(rate: f64) -> Result<FalsePositiveRate, BadRate> {
        if (0.000_001..=0.5).contains(&rate) { Ok(FalsePositiveRate(rate)) } else { Err(BadRate(rate)) }
    }

    /// The rate as a number.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The filter. Items are given as 64-bit hashes that must be good in all their bits.
#[derive(Debug, Clone)]
pub struct BloomFilter {
    words: Vec<u64>,
    bits: u64,
    probes: u32,
}

impl BloomFilter {
    /// An empty filter that keeps the rate with up to `items` items in it.
    pub fn new(items: usize, rate: FalsePositiveRate) -> BloomFilter {
        let items = items.max(1) as f64;
        let ln2 = std::f64::consts::LN_2;
        let bits = (-items * rate.get().ln() / (ln2 * ln2)).ceil();
        let probes = (bits / items * ln2).round().clamp(1.0, 32.0) as u32;
        let words = (bits as u64).div_ceil(64);
        BloomFilter { words: vec![0; words as usize], bits: words * 64, probes }
    }

    /// Adds an item.
    pub fn insert(&mut self, hash: u64) {
        let mut probe = Probes::of(hash);
        for _ in 0..self.probes {
            let bit = probe.next(self.bits);
            self.words[(bit / 64) as usize] |= 1 << (bit % 64);
        }
    }

    /// Whether the item may be in the filter; `false` is certain.
    #[inline]
    pub fn may_contain(&self, hash: u64) -> bool {
        let mut probe = Probes::of(hash);
        for _ in 0..self.probes {
            let bit = probe.next(self.bits);
            if self.words[(bit / 64) as usize] & 1 << (bit % 64) == 0 {
                return false;
            }
        }
        true
    }

    /// Bytes of memory.
    pub fn bytes(&self) -> usize {
        self.words.len() * 8
    }
}

/// `h1`, `h1 + h2`, `h1 + 2*h2`, ..., each cut to a bit's number.
struct Probes {
    at: u64,
    step: u64,
}

impl Probes {
    #[inline]
    fn of(hash: u64) -> Probes {
        // The finalizer of SplitMix64: a second hash out of the first. Odd, so that the probes do not come back to where they were.
        let mut step = hash ^ (hash >> 30);
        step = step.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        step = (step ^ (step >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        Probes { at: hash, step: (step ^ (step >> 31)) | 1 }
    }

    #[inline]
    fn next(&mut self, bits: u64) -> u64 {
        // The high half of the product: a number below `bits` without a division (Lemire).
        let bit = (u128::from(self.at) * u128::from(bits)) >> 64;
        self.at = self.at.wrapping_add(self.step);
        bit as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// SplitMix64.
    fn hashes(seed: u64, n: usize) -> impl Iterator<Item = u64> {
        (0..n as u64).map(move |i| {
            let mut z = seed.wrapping_add(i.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        })
    }

    #[test]
    fn what_was_put_in_is_found_and_the_rest_at_the_stated_rate() {
        for rate in [0.1, 0.01, 0.001] {
            let items = 20_000;
            let mut filter = BloomFilter::new(items, FalsePositiveRate::new(rate).unwrap());
            hashes(1, items).for_each(|hash| filter.insert(hash));
            assert!(hashes(1, items).all(|hash| filter.may_contain(hash)));
            let asked = 1_000_000;
            let wrong = hashes(0x5eed_0000_0000, asked).filter(|hash| filter.may_contain(*hash)).count();
            let measured = wrong as f64 / asked as f64;
            assert!(measured < rate * 1.3 && measured > rate * 0.7, "{measured} for {rate}");
        }
    }

    #[test]
    fn a_filter_is_as_large_as_the_textbook_says() {
        let filter = BloomFilter::new(1_000_000, FalsePositiveRate::new(0.001).unwrap());
        assert_eq!((filter.bytes() * 8 / 10_000, filter.probes), (1437, 10));
        assert!(!BloomFilter::new(0, FalsePositiveRate::DEFAULT).may_contain(7));
    }

    #[test]
    fn a_rate_that_cannot_be_is_refused() {
        for rate in [0.0, -1.0, 1.0, f64::NAN, 1e-9] {
            assert!(FalsePositiveRate::new(rate).is_err(), "{rate}");
        }
    }
}
