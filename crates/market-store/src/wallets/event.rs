//! What a notification says. Amounts are texts, digit for digit.

use market_data::wallets::WalletTrade;
use serde::{Deserialize, Serialize};

use super::log::word_of;

/// One thing that is told: a trade and why it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// Why.
    #[serde(flatten)]
    pub what: What,
    /// The rule, in words.
    pub rule: String,
    /// The chain's number.
    pub chain_id: String,
    /// The token's address, or its pair's where the trade did not tell it.
    pub token: String,
    /// The token's symbol; empty if unknown. Written by whoever made the token: never to be trusted as markup.
    pub token_symbol: String,
    /// The pair's address.
    pub pair: String,
    /// The wallet.
    pub wallet: String,
    /// The wallet's label; empty if it has none.
    pub label: String,
    /// `buy`, `sell`, or empty.
    pub side: String,
    /// How many tokens.
    pub token_amount: String,
    /// For how many USD.
    pub total_usd: String,
    /// At which price in USD; empty if unknown.
    pub price_usd: String,
    /// When, unix seconds.
    pub block_time: i64,
    /// The transaction's hash; empty if unknown.
    pub tx_hash: String,
    /// The trade's identity in the log.
    pub trade_id: String,
}

/// Why something is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum What {
    /// A trade of some size.
    Trade,
    /// A wallet's first buy of a token.
    FirstBuy,
    /// Several wallets bought one token within a time.
    Cluster {
        /// Wallets in the cluster by now.
        wallets: u64,
        /// Within how many seconds.
        within_s: i64,
        /// The cluster's first buy, unix seconds.
        first_at: i64,
        /// The cluster's last buy, unix seconds.
        last_at: i64,
        /// Whether the cluster is new; else wallets joined one that was told before.
        opened: bool,
        /// Who joined, in the order of their buys; at most [`Event::JOINED_MAX`].
        joined: Vec<Joined>,
        /// How many more joined than are listed.
        more: u64,
    },
}

/// A wallet that joined a cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// The wallet.
    pub wallet: String,
    /// Its label; empty if it has none.
    pub label: String,
    /// Its first buy in the cluster, unix seconds.
    pub at: i64,
    /// That buy's size.
    pub total_usd: String,
}

impl Event {
    /// Wallets that an event lists, at most.
    pub const JOINED_MAX: usize = 50;

    /// The event as JSON, one object; [`Event::from_json`] reads it back.
    pub fn to_json(&self) -> String {
        serde_json::to_string(self).expect("texts and numbers under fixed names are always JSON")
    }

    /// Reads what [`Event::to_json`] wrote.
    ///
    /// # Errors
    /// A text that is anything else.
    pub fn from_json(text: &str) -> Result<Event, serde_json::Error> {
        serde_json::from_str(text)
    }

    pub(crate) fn new(rule: String, what: What, trade: &WalletTrade) -> Event {
        Event {
            what,
            rule,
            chain_id: trade.id.chain_id.clone(),
            token: trade.token_or_pair().to_owned(),
            token_symbol: trade.token_symbol.clone(),
            pair: trade.id.pair.clone(),
            wallet: trade.maker.to_string(),
            label: trade.label.to_string(),
            side: word_of(trade.side).to_owned(),
            token_amount: trade.token_amount.to_string(),
            total_usd: trade.total_usd.to_string(),
            price_usd: trade.price.map(|price| price.to_string()).unwrap_or_default(),
            block_time: trade.block_time,
            tx_hash: trade.tx_hash.clone(),
            trade_id: trade.id.to_string(),
        }
    }
}
