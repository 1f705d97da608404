//! Trades of known wallets: who is known, and what of a trade is kept.
//!
//! - [`WalletTrade`] is what the log keeps of a trade, [`TradeId`] what tells two trades apart, whoever sends them and how often.

mod trade;

pub use trade::{TradeId, WalletTrade, canonical};
