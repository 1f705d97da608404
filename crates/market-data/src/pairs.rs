//! Pairs and their small numbers.

use std::collections::HashMap;
use std::sync::Arc;

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

/// Interns pairs: each gets the next small number, for as long as this value lives.
#[derive(Debug, Default)]
pub struct Pairs {
    numbers: HashMap<Box<[u8]>, u32, foldhash::fast::RandomState>,
    keys: Vec<Arc<PairKey>>,
    scratch: Vec<u8>,
}

impl Pairs {
    /// The number of a pair, a new one at first sight.
    #[inline]
    pub fn intern(&mut self, chain_id: &str, pair: &str) -> u32 {
        // One key out of two texts. The length ahead makes it unambiguous whatever the texts hold.
        self.scratch.clear();
        self.scratch.extend_from_slice(&(chain_id.len() as u32).to_le_bytes());
        self.scratch.extend_from_slice(chain_id.as_bytes());
        self.scratch.extend_from_slice(pair.as_bytes());
        if let Some(number) = self.numbers.get(self.scratch.as_slice()) {
            return *number;
        }
        let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        assert!(
            number < u32::MAX,
            "four thousand million pairs do not fit in memory before they do not fit in a u32"
        );
        self.numbers.insert(self.scratch.as_slice().into(), number);
        self.keys.push(Arc::new(PairKey::new(chain_id, pair)));
        number
    }

    /// The pair of a number that [`Pairs::intern`] gave.
    pub fn key(&self, number: u32) -> &Arc<PairKey> {
        &self.keys[number as usize]
    }

    /// How many pairs were seen.
    pub fn len(&self) -> usize {
        self.keys.len()
    }

    /// Whether none was seen.
    pub fn is_empty(&self) -> bool {
        self.keys.is_empty()
    }
}
