//! The part of a trade that candles are made of.

use thiserror::Error;

use crate::{BadNumber, Order, Price, Sum};

/// A market trade, ready to be added to a candle. Decoding has made sure that it has a pair, a time and a price.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trade {
    /// When, and in which order among others. `order.block_time` is positive.
    pub order: Order,
    /// `token_price_usd`.
    pub price: Price,
    /// `total_usd`.
    pub total_usd: Sum,
    /// `token_amount`.
    pub token_amount: Sum,
    /// Who took: `type`.
    pub side: Side,
    /// Part of a sandwich attack: counts, but makes no price.
    pub clamp: bool,
}

/// The side of a trade. Sources without sides leave the type out; such trades are counted in neither.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// `buy`: the user pays base and receives the token.
    Buy,
    /// `sell`.
    Sell,
    /// Not given, or a word we do not know.
    Unknown,
}

/// Why one element of a message made no candle. The others of its message do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Rejection {
    /// Not an object: a null, a number, a nested array.
    #[error("not a trade object")]
    NotAnObject,
    /// A field has another JSON type than the schema gives it.
    #[error("`{0}` has the wrong type")]
    WrongType(&'static str),
    /// A number that cannot be kept exactly.
    #[error("`{0}` is {1}")]
    Number(&'static str, BadNumber),
    /// No `token_price_usd`, or 0: such a trade makes no candle.
    #[error("`token_price_usd` is 0 or missing")]
    NoPrice,
    /// No `pair_addr`: nobody knows whose candle it is.
    #[error("`pair_addr` is missing")]
    NoPair,
    /// A `pair_addr` or `chain_id` that is longer than any address, or not UTF-8.
    #[error("`pair_addr` or `chain_id` is too long or not text")]
    BadPair,
    /// A text that is longer than any of its kind, or not UTF-8.
    #[error("`{0}` is too long or not text")]
    BadText(&'static str),
    /// No `block_time`, or one outside the years 1970 to 9999 (milliseconds instead of seconds?).
    #[error("`block_time` is missing or not unix seconds")]
    BadTime,
}
