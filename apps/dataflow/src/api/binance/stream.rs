//! Names of streams: `<chain_id>:<pair_addr>@kline_<interval>`.

use std::fmt;
use std::str::FromStr;

use candles::api::{NotASymbol, Symbol};
use candles::hub::Filter;
use market_data::{Interval, PairKey};
use thiserror::Error;

/// A K-line stream. The pair is in lower case, as Binance writes its streams; whoever asks may write it in any case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Stream {
    symbol: Symbol,
    interval: Interval,
}

/// Why a name is no stream of ours.
#[derive(Debug, PartialEq, Eq, Error)]
pub(super) enum BadStream {
    /// It does not look like one.
    #[error("`{0}` is no stream here: use <chain_id>:<pair_addr>@kline_<interval>")]
    Form(String),
    /// Binance has intervals that we do not have, and case matters.
    #[error("`{0}` asks for an interval that is not kept: use one of 1m, 5m, 15m, 1h, 4h, 12h, 1d (UTC)")]
    Interval(String),
}

impl Stream {
    /// The stream that the candles of a pair belong to.
    pub(super) fn of(pair: &PairKey, interval: Interval) -> Stream {
        Stream { symbol: Symbol::of(pair), interval }
    }

    /// What to ask the hub for.
    pub(super) fn filter(&self) -> Filter {
        Filter {
            chain_id: Some(self.symbol.chain_id().to_owned()),
            pair: Some(self.symbol.pair().to_owned()),
            interval: Some(self.interval),
            any_case: true,
        }
    }

    /// The symbol as payloads have it: upper case.
    pub(super) fn symbol(&self) -> String {
        self.symbol.upper()
    }

    pub(super) fn interval(&self) -> Interval {
        self.interval
    }
}

impl fmt::Display for Stream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@kline_{}", self.symbol, self.interval)
    }
}

impl FromStr for Stream {
    type Err = BadStream;

    fn from_str(name: &str) -> Result<Stream, BadStream> {
        let form = || BadStream::Form(name.chars().take(200).collect());
        let (symbol, interval) = name.split_once("@kline_").ok_or_else(form)?;
        let symbol = symbol.parse().map_err(|NotASymbol| form())?;
        let interval = interval.parse().map_err(|_| BadStream::Interval(name.chars().take(200).collect()))?;
        Ok(Stream { symbol, interval })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_a_pair_does_not_matter_and_that_of_an_interval_does() {
        let stream: Stream = "1:0xAbC@kline_1m".parse().unwrap();
        assert_eq!(stream.to_string(), "1:0xabc@kline_1m");
        assert_eq!(stream.symbol(), "1:0XABC");
        assert_eq!(Stream::of(&PairKey::new("1", "0xABC"), Interval::M1), stream);
        for name in ["1:a@kline_1M", "1:a@kline_3m", "1:a@kline_1s", "1:a@kline_", "1:a@kline_1h@+08:00"] {
            assert_eq!(name.parse::<Stream>(), Err(BadStream::Interval(name.to_owned())));
        }
        for name in ["", "btcusdt@kline_1m", ":a@kline_1m", "1:@kline_1m", "1:a@trade", "!miniTicker@arr"] {
            assert_eq!(name.parse::<Stream>(), Err(BadStream::Form(name.to_owned())));
        }
    }
}
