//! The sets that `up` plays: real trades that are in the binary, so that it works from any folder, or files of the user's.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use kohort_service::Complaint;

use super::files;
use super::live::Set;
use super::messages::Keying;

/// A set in the binary. Sources and licences: `crates/market-data/tests/data/SOURCES.md`.
struct Shipped {
    name: &'static str,
    zstd: &'static [u8],
    /// How many times as fast as it happened, at `--speed 1`: chosen so that each is worth looking at.
    times: f64,
    round_min: Duration,
}

macro_rules! shipped {
    ($name:literal, $times:literal, $round_min:expr) => {
        Shipped {
            name: $name,
            zstd: include_bytes!(concat!("../../../../crates/market-data/tests/data/", $name, ".jsonl.zst")),
            times: $times,
            round_min: $round_min,
        }
    };
}

static SHIPPED: &[Shipped] = &[
    // A day of three pools on Ethereum, a trade each 14 s: 144 minutes, and a trade each 1.4 s.
    shipped!("dex_eth_univ3_20240105", 10.0, Duration::ZERO),
    // Eleven minutes of six markets, 120 trades a second.
    shipped!("cex_binance_20240808", 1.0, Duration::ZERO),
    // One block of Solana: all of it at once, twice a minute.
    shipped!("dex_sol_slot_254170887", 1.0, Duration::from_secs(30)),
];

/// The shipped sets, or `files`; each `speed` times as fast. Reads and unpacks: not for a thread that must not wait.
///
/// # Errors
/// A file that cannot be read or holds no trades.
pub(crate) fn load(files: &[PathBuf], speed: f64) -> anyhow::Result<Vec<Set>> {
    if files.is_empty() {
        return SHIPPED.iter().map(|shipped| shipped.load(speed)).collect();
    }
    let set = |path: &PathBuf| {
        let messages = Arc::new(files::read(path, Keying::Slot)?);
        if messages.is_empty() {
            return Err(Complaint::new("the trade file holds no trades")
                .at(path.display().to_string())
                .hint("name a file with a trade in each line, or write `--no-feed`")
                .into());
        }
        Ok(Set {
            name: path.display().to_string(),
            messages,
            times: speed,
            round_min: Duration::from_secs(1),
        })
    };
    files.iter().map(set).collect()
}

impl Shipped {
    fn load(&self, speed: f64) -> anyhow::Result<Set> {
        let messages = files::from_reader(self.zstd, true, Keying::Slot)
            .with_context(|| format!("read {}", self.name))?;
        Ok(Set {
            name: self.name.to_owned(),
            messages: Arc::new(messages),
            times: self.times * speed,
            round_min: self.round_min,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shipped_sets_are_whole() {
        let sets = load(&[], 1.0).unwrap();
        let trades: Vec<u32> =
            sets.iter().map(|set| set.messages.iter().map(|message| message.trades).sum()).collect();
        assert_eq!(trades, [6354, 78_638, 45]);
        assert_eq!(
            sets.iter().flat_map(Set::topics).collect::<Vec<_>>(),
            ["eth-trades", "evm-trades-v4", "eth-trades", "evm-trades-v4", "sol-trades"]
        );
    }
}
