//! What a pair is called where one word must do: in Binance's interfaces and in TradingView's.

use std::fmt;
use std::str::FromStr;

use market_data::PairKey;
use thiserror::Error;

/// `<chain_id>:<pair_addr>`. Letters count alike in either case, because Binance writes streams in lower and symbols in upper case;
/// it is kept in lower case.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Symbol {
    chain_id: String,
    pair: String,
}

/// A text that is no symbol.
#[derive(Debug, PartialEq, Eq, Error)]
#[error("not <chain_id>:<pair_addr>")]
pub struct NotASymbol;

impl Symbol {
    /// The symbol of a pair.
    pub fn of(pair: &PairKey) -> Symbol {
        Symbol { chain_id: pair.chain_id.to_ascii_lowercase(), pair: pair.pair.to_ascii_lowercase() }
    }

    /// The chain, in lower case.
    pub fn chain_id(&self) -> &str {
        &self.chain_id
    }

    /// The pair's address, in lower case.
    pub fn pair(&self) -> &str {
        &self.pair
    }

    /// As Binance's payloads have it.
    pub fn upper(&self) -> String {
        self.to_string().to_ascii_uppercase()
    }

    /// Reads a symbol as the pair with exactly these letters.
    pub fn exactly(text: &str) -> Result<PairKey, NotASymbol> {
        let (chain_id, pair) = text.split_once(':').ok_or(NotASymbol)?;
        if chain_id.is_empty() || pair.is_empty() || pair.contains(['@', '/']) {
            return Err(NotASymbol);
        }
        Ok(PairKey::new(chain_id, pair))
    }
}

impl fmt::Display for Symbol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.chain_id, self.pair)
    }
}

impl FromStr for Symbol {
    type Err = NotASymbol;

    fn from_str(text: &str) -> Result<Symbol, NotASymbol> {
        Symbol::exactly(text).map(|pair| Symbol::of(&pair))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_case_of_a_symbol_does_not_matter_and_a_pair_may_have_colons() {
        let symbol: Symbol = "0:binance-spot:BTCUSDT".parse().unwrap();
        assert_eq!((symbol.chain_id(), symbol.pair()), ("0", "binance-spot:btcusdt"));
        assert_eq!(symbol.upper(), "0:BINANCE-SPOT:BTCUSDT");
        assert_eq!("0:BINANCE-spot:btcusdt".parse(), Ok(symbol));
        for text in ["", "btcusdt", ":a", "1:", "1:a/b", "1:a@b"] {
            assert_eq!(text.parse::<Symbol>(), Err(NotASymbol), "{text}");
        }
    }
}
