//! What flowed: sizes, trades, errors and a sample, of one partition at one member. Pure, but for the clock of the caller.

use serde::Serialize;

/// So much of a sample's value, key or reason is kept.
pub const SAMPLE_BYTES: usize = 200;

/// Sizes in buckets whose borders are an eighth of their power of two apart: a quantile is at most 12.5 % too high.
#[derive(Debug, Clone)]
pub struct Sizes {
    buckets: Vec<u64>,
    count: u64,
    sum: u64,
    min: u64,
    max: u64,
}

/// Steps within each power of two.
const STEPS: u64 = 8;
/// Sizes up to 2^31, the largest that Kafka's protocol can say.
const BUCKETS: usize = 32 * STEPS as usize;

impl Default for Sizes {
    fn default() -> Sizes {
        Sizes { buckets: vec![0; BUCKETS], count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Sizes {
    /// Counts a value of so many bytes.
    pub fn add(&mut self, bytes: u64) {
        self.buckets[bucket(bytes)] += 1;
        self.count += 1;
        self.sum += bytes;
        self.min = self.min.min(bytes);
        self.max = self.max.max(bytes);
    }

    /// The least, the mean, the size that 99 of 100 do not exceed, and the largest; `None` while there was nothing.
    #[must_use]
    pub fn summary(&self) -> Option<SizeSummary> {
        let rank = (self.count * 99).div_ceil(100);
        let mut seen = 0;
        let of_rank = self.buckets.iter().position(|n| {
            seen += n;
            seen >= rank
        });
        let p99 = of_rank.map_or(self.max, highest).clamp(self.min, self.max.max(self.min));
        (self.count > 0).then(|| SizeSummary {
            min: self.min,
            mean: self.sum / self.count,
            p99,
            max: self.max,
        })
    }
}

/// Bytes of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct SizeSummary {
    /// The smallest.
    pub min: u64,
    /// The mean, rounded down.
    pub mean: u64,
    /// 99 of 100 are at most so large: at most 12.5 % too high.
    pub p99: u64,
    /// The largest.
    pub max: u64,
}

/// Small sizes have a bucket each; above, the three bits behind the highest one choose the step.
fn bucket(bytes: u64) -> usize {
    if bytes < STEPS {
        return bytes as usize;
    }
    let power = u64::from(bytes.ilog2());
    let step = (bytes >> (power - 3)) & (STEPS - 1);
    (((power - 2) * STEPS + step) as usize).min(BUCKETS - 1)
}

/// The largest size of a bucket.
fn highest(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < STEPS {
        return bucket;
    }
    let (power, step) = (bucket / STEPS + 2, bucket % STEPS);
    (1 << power) + ((step + 1) << (power - 3)) - 1
}

/// A record as it is shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Sample {
    /// Its offset.
    pub offset: i64,
    /// Its time, in milliseconds since the epoch, as the record says.
    pub timestamp_ms: i64,
    /// The beginning of its key; what is no UTF-8 is replaced. Null where it has none.
    pub key: Option<String>,
    /// The beginning of its value, likewise.
    pub value: Option<String>,
    /// Bytes of its value.
    pub size: usize,
    /// Trades in it.
    pub trades: u64,
}

/// A record that is no array of trades, or not wholly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct DecodeError {
    /// When it was seen, in milliseconds since the epoch.
    pub at_ms: u64,
    /// Its offset.
    pub offset: i64,
    /// What is wrong.
    pub why: String,
}

/// What one record came to.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// Bytes of its value.
    pub bytes: usize,
    /// Trades in it, those without a price included.
    pub trades: u64,
    /// Elements that could not be understood; 1 for a record that is no array.
    pub errors: u64,
}

/// What flowed of one partition at one member since the start. It only grows.
#[derive(Debug, Clone, Default)]
pub struct Flow {
    /// Records handled. One that is read again (after a crash, a rebalance) counts again.
    pub messages: u64,
    /// Bytes of their values.
    pub bytes: u64,
    /// Trades in them.
    pub trades: u64,
    /// Elements or whole records that could not be understood.
    pub decode_errors: u64,
    /// Tries that failed because it was told.
    pub failed: u64,
    /// Records that were rejected because it was told.
    pub rejected: u64,
    /// Their sizes.
    pub sizes: Sizes,
    /// The newest of them.
    pub sample: Option<Sample>,
    /// The last that could not be understood.
    pub last_error: Option<DecodeError>,
}

impl Flow {
    /// Counts a record that was handled.
    pub fn record(&mut self, seen: Seen, sample: Sample) {
        self.messages += 1;
        self.bytes += seen.bytes as u64;
        self.trades += seen.trades;
        self.decode_errors += seen.errors;
        self.sizes.add(seen.bytes as u64);
        self.sample = Some(sample);
    }
}

/// The beginning of some bytes as a text.
#[must_use]
pub fn beginning(bytes: &[u8]) -> String {
    let cut = &bytes[..bytes.len().min(SAMPLE_BYTES)];
    // A character that the cut went through is left out, not replaced.
    let whole = match std::str::from_utf8(cut) {
        Err(error) if error.error_len().is_none() => &cut[..error.valid_up_to()],
        _ => cut,
    };
    String::from_utf8_lossy(whole).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_each_other_without_gap() {
        for bytes in (0..5000).chain([1 << 20, (10 << 20) + 7, i32::MAX as u64]) {
            let bucket = bucket(bytes);
            assert!(bytes <= highest(bucket), "{bytes} is above its bucket {bucket}");
            assert!(bucket == 0 || bytes > highest(bucket - 1), "{bytes} is below its bucket {bucket}");
        }
    }

    #[test]
    fn sizes_know_their_ends_exactly_and_their_quantile_nearly() {
        let mut sizes = Sizes::default();
        assert_eq!(sizes.summary(), None);
        (1..=1000).for_each(|n| sizes.add(n));
        let summary = sizes.summary().expect("some");
        assert_eq!((summary.min, summary.mean, summary.max), (1, 500, 1000));
        assert!((990..=1000).contains(&summary.p99), "{}", summary.p99);
        let mut one = Sizes::default();
        one.add(0);
        assert_eq!(one.summary(), Some(SizeSummary { min: 0, mean: 0, p99: 0, max: 0 }));
    }

    #[test]
    fn a_beginning_cuts_no_character_in_two() {
        let text = format!("{}é", "a".repeat(SAMPLE_BYTES - 1));
        assert_eq!(beginning(text.as_bytes()), "a".repeat(SAMPLE_BYTES - 1));
        assert_eq!(beginning(b"\xff!"), "\u{fffd}!");
    }
}
