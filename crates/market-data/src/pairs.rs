//! Pairs and their small numbers.

use std::collections::HashMap;
use std::sync::Arc;

use serde::Deserialize;

/// A pair on a chain: what candles belong to.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PairKey {
    /// The chain's number as text: `1`, `100000`.
    pub chain_id: String,
    /// The pair's address as the trades write it; case matters on Solana, so it is never changed.
    pub pair: String,
}

impl PairKey {
    /// A pair of two texts.
    pub fn new(chain_id: impl Into<String>, pair: impl Into<String>) -> PairKey {
        PairKey { chain_id: chain_id.into(), pair: pair.into() }
    }
}

/// What people call the two tokens of a pair.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Symbols {
    /// The token that is priced.
    #[serde(rename = "token_symbol")]
    pub token: Option<String>,
    /// The token that it is priced in.
    #[serde(rename = "base_token_symbol")]
    pub base_token: Option<String>,
}

/// The longest symbol that is believed.
const SYMBOL_BYTES_MAX: usize = 64;

impl Symbols {
    /// Reads the symbols out of the JSON of a `pair_info`; `None` if it tells none.
    pub fn read(pair_info: &[u8]) -> Option<Symbols> {
        let mut symbols: Symbols = serde_json::from_slice(pair_info).ok()?;
        let believable = |symbol: &String| !symbol.is_empty() && symbol.len() <= SYMBOL_BYTES_MAX;
        symbols.token = symbols.token.filter(believable);
        symbols.base_token = symbols.base_token.filter(believable);
        (symbols.token.is_some() || symbols.base_token.is_some()).then_some(symbols)
    }
}

/// A pair and what is known about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// Which pair.
    pub key: PairKey,
    /// Its symbols, once a trade has told them.
    pub symbols: Option<Symbols>,
}

/// Trades of a pair that are asked for its symbols before it is left without.
const SYMBOL_TRIES: u8 = 8;

/// Interns pairs: each gets the next small number, for as long as this value lives.
#[derive(Debug, Default)]
pub struct Pairs {
    numbers: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    pairs: Vec<Arc<Pair>>,
    /// Tries that are left to learn the symbols.
    tries: Vec<u8>,
    scratch: Vec<u8>,
    /// The number that was given last: trades of a pair come in runs.
    last: u32,
}

impl Pairs {
    /// The number of a pair, a new one at first sight. `pair_info` is read only until it has told the symbols.
    #[inline]
    pub fn intern(&mut self, chain_id: &str, pair: &str, pair_info: &[u8]) -> u32 {
        let known = self.pairs.get(self.last as usize);
        if known.is_some_and(|known| known.key.pair == pair && known.key.chain_id == chain_id) {
            if self.tries[self.last as usize] > 0 && !pair_info.is_empty() {
                self.learn(self.last, pair_info);
            }
            return self.last;
        }
        // One key out of two texts. The length ahead makes it unambiguous whatever the texts hold.
        self.scratch.clear();
        self.scratch.extend_from_slice(&(chain_id.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(chain_id.as_bytes());
        self.scratch.extend_from_slice(pair.as_bytes());
        let number = match self.numbers.get(self.scratch.as_slice()) {
            Some(number) => *number,
            None => self.insert(chain_id, pair),
        };
        self.last = number;
        if self.tries[number as usize] > 0 && !pair_info.is_empty() {
            self.learn(number, pair_info);
        }
        number
    }

    #[cold]
    fn insert(&mut self, chain_id: &str, pair: &str) -> u32 {
        let number = u32::try_from(self.pairs.len()).unwrap_or(u32::MAX);
        assert!(number < u32::MAX, "memory ends before the numbers of pairs do");
        self.numbers.insert(self.scratch.as_slice().into(), number);
        self.pairs.push(Arc::new(Pair { key: PairKey::new(chain_id, pair), symbols: None }));
        self.tries.push(SYMBOL_TRIES);
        number
    }

    #[cold]
    fn learn(&mut self, number: u32, pair_info: &[u8]) {
        let (pair, tries) = (&mut self.pairs[number as usize], &mut self.tries[number as usize]);
        *tries -= 1;
        if let Some(symbols) = Symbols::read(pair_info) {
            *tries = 0;
            *pair = Arc::new(Pair { key: pair.key.clone(), symbols: Some(symbols) });
        }
    }

    /// The pair of a number that [`Pairs::intern`] gave.
    pub fn pair(&self, number: u32) -> &Arc<Pair> {
        &self.pairs[number as usize]
    }

    /// How many pairs were seen.
    pub fn len(&self) -> usize {
        self.pairs.len()
    }

    /// Whether none was seen.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty()
    }
}
