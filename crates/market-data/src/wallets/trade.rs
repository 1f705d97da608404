//! What the log of known wallets keeps of a trade, and what a trade's identity is.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::{Place, Price, Side, Sum};

/// What tells one trade from another: the chain, the pair, the transaction, and where in the transaction.
///
/// A trade that is sent twice, in whatever message, partition or topic, has one id. The rule, in the order of what a trade gives:
///
/// 1. `tx_hash`: (`chain_id`, `pair_addr`, `tx_hash`, `log_index`). On EVM chains the log's index in its block, on Solana the
///    swap's in its transaction. The pair is part of it because exchanges number the trades of each pair by themselves, and because
///    a source that gives no `log_index` (0) still tells the legs of a routed swap apart by their pairs;
/// 2. else `hash_id` in the place of `tx_hash`;
/// 3. else the trade's place in the log: `topic-partition@offset`, and its index in the message in the place of `log_index`. Reading
///    it again changes nothing; a producer that sends it again sends another trade, for all that anybody can know.
///
/// Addresses and hashes are in their [canonical](super::canonical) form.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TradeId {
    /// `chain_id`; empty where the trade gives none.
    pub chain_id: String,
    /// `pair_addr`.
    pub pair: String,
    /// `tx_hash`, `hash_id` or the message's place. Up to 256 bytes.
    pub tx: String,
    /// `log_index`, or the index in the message.
    pub index: i64,
}

impl fmt::Display for TradeId {
    /// One text that is as good as the four parts: none of the first three holds a `/`, or it is written as `%2F`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for part in [&self.chain_id, &self.pair, &self.tx] {
            write!(f, "{}/", escaped(part))?;
        }
        write!(f, "{}", self.index)
    }
}

fn escaped(part: &str) -> Cow<'_, str> {
    if part.contains(['/', '%']) {
        return Cow::Owned(part.replace('%', "%25").replace('/', "%2F"));
    }
    Cow::Borrowed(part)
}

/// A trade of a known wallet, as the log keeps it. Amounts are exact; what a trade does not give is empty or 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WalletTrade {
    /// Its identity: the log has each once. `id.chain_id` is its chain, `id.pair` its pair.
    pub id: TradeId,
    /// The wallet, in its [canonical](super::canonical) form.
    pub maker: Arc<str>,
    /// The wallet's label in the address book when the trade was matched; empty if it has none.
    pub label: Arc<str>,
    /// Who took: `type`. Changes of liquidity are no trades and never get here.
    pub side: Side,
    /// `tx_hash`, [canonical](super::canonical); empty where the trade gives none.
    pub tx_hash: String,
    /// `pair_info.token_addr`, [canonical](super::canonical); empty where the trade gives none.
    pub token: String,
    /// `pair_info.token_symbol`.
    pub token_symbol: String,
    /// `pair_info.base_token_addr`, [canonical](super::canonical).
    pub base_token: String,
    /// `pair_info.base_token_symbol`.
    pub base_token_symbol: String,
    /// `token_amount`.
    pub token_amount: Sum,
    /// `base_token_amount`.
    pub base_token_amount: Sum,
    /// `total_usd`.
    pub total_usd: Sum,
    /// `token_price_usd`; `None` where it is missing or 0.
    pub price: Option<Price>,
    /// `block_time`, unix seconds, positive.
    pub block_time: i64,
    /// `block_num`.
    pub block_num: i64,
    /// `slot`.
    pub slot: i64,
    /// `transaction_index`.
    pub transaction_index: i64,
    /// `log_index`.
    pub log_index: i64,
    /// `swap_name`.
    pub swap_name: String,
    /// `clamp`: part of a sandwich attack.
    pub clamp: bool,
    /// The topic that it was read from.
    pub topic: Arc<str>,
    /// The message that it was read from.
    pub place: Place,
    /// Its index in the message's array.
    pub index: u32,
}

impl WalletTrade {
    /// What was bought or sold: the token's address or, where the trade does not tell it, the pair's. With the chain it is what rules
    /// about "one token" go by.
    pub fn token_or_pair(&self) -> &str {
        if self.token.is_empty() { &self.id.pair } else { &self.token }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_ids_are_never_one_text() {
        let id = |chain: &str, pair: &str, tx: &str, index| TradeId {
            chain_id: chain.into(),
            pair: pair.into(),
            tx: tx.into(),
            index,
        };
        assert_eq!(id("1", "0xab", "0xcd", 7).to_string(), "1/0xab/0xcd/7");
        assert_ne!(id("1/a", "b", "c", 0).to_string(), id("1", "a/b", "c", 0).to_string());
        assert_ne!(id("1", "a%2Fb", "c", 0).to_string(), id("1", "a/b", "c", 0).to_string());
    }
}
