//! From the bytes of a message to trades, lent in place.
//!
//! Two decoders of one meaning: a scanner for our one schema ([`scan`]), and `serde_json` ([`fallback`]), which takes what the
//! scanner gives up (escapes in what we read, absurd nesting) and is the oracle that the scanner is tested against. They only
//! find fields; what a field means is judged here, once.
//!
//! The schema is the original's (`type`, `pair_addr`, ...): a missing field or a null has its zero value, unknown fields are
//! ignored, of a field given twice the last counts. Amounts may be JSON strings that hold decimals, the EVM form. The literals
//! `NaN` and `Infinity`, which are not JSON but which Python's writer emits, spoil their trade and not its message.

mod fallback;
mod like;
mod memo;
mod scan;
pub(crate) mod wallet;

use thiserror::Error;

use crate::decimal::{BadNumber, Decimal};
use crate::{Order, Place, Price, Rejection, Side, Sum, Trade};

/// A message that is no array of anything: its record belongs in the dead-letter topic.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Undecodable {
    /// Not JSON.
    #[error("broken JSON: {0}")]
    Broken(String),
    /// JSON, but not an array.
    #[error("not a JSON array of trades")]
    NotAnArray,
}

/// One element of a message's array.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Element<'a> {
    /// A trade of the market.
    Trade {
        /// `chain_id`, or `chain_id_int` as text where that is missing.
        chain_id: &'a str,
        /// `pair_addr`.
        pair: &'a str,
        /// The rest.
        trade: Trade,
        /// The JSON of `pair_info`, if it is an object; empty if not. See [`Symbols::read`](crate::Symbols::read).
        pair_info: &'a [u8],
    },
    /// `add_position` or `remove_position`: counts in neither price nor volume.
    Liquidity,
    /// Something else.
    Rejected(Rejection),
}

/// The longest `pair_addr` and `chain_id`: far beyond any chain's addresses, and small enough to be a key.
pub const NAME_BYTES_MAX: usize = 256;
/// Block times end with the year 9999: beyond it lie milliseconds taken for seconds.
const BLOCK_TIME_MAX: i64 = 253_402_300_799;

/// Decodes messages. What it keeps from one to the next is how trades are written, never what they say.
#[derive(Debug, Clone, Default)]
pub struct Decoder {
    /// Never use the scanner: for tests and measurements.
    pub serde_only: bool,
    memo: memo::Memo,
    patterns: like::Patterns,
}

impl Decoder {
    /// A decoder that never uses the scanner.
    pub fn serde_only() -> Decoder {
        Decoder { serde_only: true, ..Decoder::default() }
    }

    /// Calls `sink` with each element of the array and its index.
    ///
    /// On an error the elements that were handed out before it must be forgotten by the caller.
    pub fn decode(
        &mut self,
        value: &[u8],
        place: Place,
        mut sink: impl FnMut(u32, Element<'_>),
    ) -> Result<(), Undecodable> {
        if self.serde_only {
            return fallback::decode(value, place, 0, &mut sink);
        }
        match scan::decode(value, place, &mut self.memo, &mut self.patterns, &mut sink) {
            Ok(()) => Ok(()),
            // What the scanner has handed out is not handed out again.
            Err(given) => fallback::decode(value, place, given, &mut sink),
        }
    }
}

/// A JSON value, as far as the schema cares.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
enum Value<'a> {
    /// Missing or null: the zero value.
    #[default]
    Zero,
    Bool(bool),
    Number(Result<Decimal, BadNumber>),
    /// The bytes of a string, without escapes.
    Text(&'a [u8]),
    /// An array or an object, as it stands.
    Other(&'a [u8]),
}

/// The fields of a trade that candles are made of.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Fields<'a> {
    slot: Value<'a>,
    chain_id: Value<'a>,
    chain_id_int: Value<'a>,
    pair: Value<'a>,
    pair_info: Value<'a>,
    kind: Value<'a>,
    token_amount: Value<'a>,
    total_usd: Value<'a>,
    price: Value<'a>,
    block_num: Value<'a>,
    block_time: Value<'a>,
    transaction_index: Value<'a>,
    log_index: Value<'a>,
    clamp: Value<'a>,
}

/// One of the fields of a trade that candles are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Slot,
    ChainId,
    ChainIdInt,
    Pair,
    PairInfo,
    Kind,
    TokenAmount,
    TotalUsd,
    Price,
    BlockNum,
    BlockTime,
    TransactionIndex,
    LogIndex,
    Clamp,
}

impl Field {
    /// The field of a name, if it is one of ours.
    #[inline]
    fn named(name: &[u8]) -> Option<Field> {
        Some(match name {
            b"slot" => Field::Slot,
            b"chain_id" => Field::ChainId,
            b"chain_id_int" => Field::ChainIdInt,
            b"pair_addr" => Field::Pair,
            b"pair_info" => Field::PairInfo,
            b"type" => Field::Kind,
            b"token_amount" => Field::TokenAmount,
            b"total_usd" => Field::TotalUsd,
            b"token_price_usd" => Field::Price,
            b"block_num" => Field::BlockNum,
            b"block_time" => Field::BlockTime,
            b"transaction_index" => Field::TransactionIndex,
            b"log_index" => Field::LogIndex,
            b"clamp" => Field::Clamp,
            _ => return None,
        })
    }
}

impl<'a> Fields<'a> {
    #[inline]
    fn of(&mut self, field: Field) -> &mut Value<'a> {
        match field {
            Field::Slot => &mut self.slot,
            Field::ChainId => &mut self.chain_id,
            Field::ChainIdInt => &mut self.chain_id_int,
            Field::Pair => &mut self.pair,
            Field::PairInfo => &mut self.pair_info,
            Field::Kind => &mut self.kind,
            Field::TokenAmount => &mut self.token_amount,
            Field::TotalUsd => &mut self.total_usd,
            Field::Price => &mut self.price,
            Field::BlockNum => &mut self.block_num,
            Field::BlockTime => &mut self.block_time,
            Field::TransactionIndex => &mut self.transaction_index,
            Field::LogIndex => &mut self.log_index,
            Field::Clamp => &mut self.clamp,
        }
    }

    /// Says what the fields amount to.
    #[inline]
    fn judge<R>(&self, place: Place, index: u32, sink: impl FnOnce(Element<'_>) -> R) -> R {
        let mut digits = itoa_buffer();
        match self.element(place, index, &mut digits) {
            Ok(element) => sink(element),
            Err(why) => sink(Element::Rejected(why)),
        }
    }

    fn element<'b>(
        &'b self,
        place: Place,
        index: u32,
        digits: &'b mut String,
    ) -> Result<Element<'b>, Rejection> {
        let Some(side) = side(self.kind)? else { return Ok(Element::Liquidity) };
        let pair = name("pair_addr", self.pair)?;
        if pair.is_empty() {
            return Err(Rejection::NoPair);
        }
        let mut chain_id = name("chain_id", self.chain_id)?;
        if chain_id.is_empty() {
            let number = integer("chain_id_int", self.chain_id_int)?;
            if number != 0 {
                *digits = number.to_string();
                chain_id = digits;
            }
        }
        let block_time = block_time(self.block_time)?;
        let block_num = integer("block_num", self.block_num)?;
        let slot = integer("slot", self.slot)?;
        let order = Order {
            block_time,
            block_num,
            slot: if block_num == 0 { slot } else { 0 },
            transaction_index: integer("transaction_index", self.transaction_index)?,
            log_index: integer("log_index", self.log_index)?,
            offset: place.offset,
            index,
            partition: place.partition,
        };
        let clamp = clamp(self.clamp)?;
        let price = price(self.price)?;
        let total_usd = amount("total_usd", self.total_usd)?;
        let token_amount = amount("token_amount", self.token_amount)?;
        let trade = Trade { order, price, total_usd, token_amount, side, clamp };
        Ok(Element::Trade { chain_id, pair, trade, pair_info: pair_info(self.pair_info) })
    }
}

/// An empty string allocates nothing; it is filled only where a chain is given as a number alone.
fn itoa_buffer() -> String {
    String::new()
}

/// The side of a trade; `None` if it is about liquidity.
#[inline]
fn side(value: Value<'_>) -> Result<Option<Side>, Rejection> {
    match value {
        Value::Text(b"buy") => Ok(Some(Side::Buy)),
        Value::Text(b"sell") => Ok(Some(Side::Sell)),
        Value::Text(b"add_position" | b"remove_position") => Ok(None),
        Value::Text(_) | Value::Zero => Ok(Some(Side::Unknown)),
        _ => Err(Rejection::WrongType("type")),
    }
}

#[inline]
fn block_time(value: Value<'_>) -> Result<i64, Rejection> {
    let time = integer("block_time", value)?;
    if (1..=BLOCK_TIME_MAX).contains(&time) { Ok(time) } else { Err(Rejection::BadTime) }
}

#[inline]
fn clamp(value: Value<'_>) -> Result<bool, Rejection> {
    match value {
        Value::Zero => Ok(false),
        Value::Bool(clamp) => Ok(clamp),
        _ => Err(Rejection::WrongType("clamp")),
    }
}

#[inline]
fn price(value: Value<'_>) -> Result<Price, Rejection> {
    let price = decimal("token_price_usd", value)?;
    let price = Price::from_decimal(price).map_err(|why| Rejection::Number("token_price_usd", why))?;
    price.ok_or(Rejection::NoPrice)
}

/// What describes the pair is for people: whatever it is, it spoils no trade.
#[inline]
fn pair_info(value: Value<'_>) -> &[u8] {
    if let Value::Other(json @ [b'{', ..]) = value { json } else { &[] }
}

#[inline]
fn name<'a>(field: &'static str, value: Value<'a>) -> Result<&'a str, Rejection> {
    match value {
        Value::Zero => Ok(""),
        Value::Text(text) if text.len() > NAME_BYTES_MAX => Err(Rejection::BadPair),
        Value::Text(text) => match std::str::from_utf8(text) {
            // The replacement character is what the other decoder makes of bytes that are no text.
            Ok(text) if text.is_ascii() || !text.contains('\u{fffd}') => Ok(text),
            _ => Err(Rejection::BadPair),
        },
        _ => Err(Rejection::WrongType(field)),
    }
}

#[inline]
fn integer(field: &'static str, value: Value<'_>) -> Result<i64, Rejection> {
    match value {
        Value::Zero => Ok(0),
        Value::Number(number) => {
            let number = number.map_err(|why| Rejection::Number(field, why))?;
            number.to_i64().ok_or(Rejection::WrongType(field))
        }
        _ => Err(Rejection::WrongType(field)),
    }
}

#[inline]
fn decimal(field: &'static str, value: Value<'_>) -> Result<Decimal, Rejection> {
    let number = match value {
        Value::Zero => Ok(Decimal { negative: false, mantissa: 0, digits: 0, exponent: 0 }),
        Value::Number(number) => number,
        Value::Text(text) => Decimal::parse(text),
        _ => return Err(Rejection::WrongType(field)),
    };
    number.map_err(|why| Rejection::Number(field, why))
}

#[inline]
fn amount(field: &'static str, value: Value<'_>) -> Result<Sum, Rejection> {
    Sum::from_decimal(decimal(field, value)?).map_err(|why| Rejection::Number(field, why))
}
