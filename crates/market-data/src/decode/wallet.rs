//! Whose trade it is, cheaply, and all that the log keeps of it, where it matters.
//!
//! Few trades are a known wallet's. So of each only the maker is read, by the scanner, which checks the rest and reads none of it; the
//! few that are wanted are read whole by way of `serde_json`. What a field means is judged as it is for candles.

use std::sync::Arc;

use serde::Deserialize;

use super::{Value, amount, block_time, clamp, integer, name, price, side};
use super::{fallback, memo, scan};
use crate::wallets::{TradeId, WalletTrade, canonical};
use crate::{Place, Rejection, Undecodable};

/// Finds makers. What it keeps from one message to the next is how trades are written, never what they say.
#[derive(Debug, Clone, Default)]
pub(crate) struct Makers {
    memo: memo::Memo<scan::Maker>,
}

impl Makers {
    /// Calls `sink` with each element's index, its maker (empty where none is given) and its JSON as it stands.
    ///
    /// On an error the elements that were handed out before it must be forgotten by the caller.
    pub(crate) fn find(
        &mut self,
        value: &[u8],
        mut sink: impl FnMut(u32, Result<(&[u8], &[u8]), Rejection>),
    ) -> Result<(), Undecodable> {
        let mut judged = |index: u32, found: Option<(Value<'_>, &[u8])>| match found {
            None => sink(index, Err(Rejection::NotAnObject)),
            Some((Value::Text(maker), json)) => sink(index, Ok((maker, json))),
            Some((Value::Zero, json)) => sink(index, Ok((b"", json))),
            Some(_) => sink(index, Err(Rejection::WrongType("maker"))),
        };
        match scan::makers(value, &mut self.memo, &mut judged) {
            Ok(()) => Ok(()),
            // What the scanner has handed out is not handed out again.
            Err(given) => fallback::makers(value, given, &mut judged),
        }
    }
}

/// Where a trade was read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Read<'a> {
    pub(crate) topic: &'a Arc<str>,
    pub(crate) place: Place,
    pub(crate) index: u32,
}

/// Reads one element whole. `label` says what the wallet is called on the trade's chain.
///
/// `Ok(Err(_))`: not a trade of a known wallet after all.
pub(crate) fn read(
    json: &[u8],
    read: Read<'_>,
    label: impl FnOnce(&str, &str) -> Option<Arc<str>>,
) -> Result<Result<WalletTrade, Not>, Rejection> {
    fallback::object(json, |members| {
        // Of a field given twice the last counts.
        let field = |wanted: &str| {
            members.iter().rev().find(|(name, _)| *name == wanted).map_or(Value::Zero, |(_, value)| *value)
        };
        wallet_trade(field, read, label)
    })
    .unwrap_or(Err(Rejection::NotAnObject))
}

/// Why an element is no trade of a known wallet, though a known wallet is its maker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Not {
    /// `add_position` or `remove_position`.
    Liquidity,
    /// The wallet is known on another chain only.
    OtherChain,
}

fn wallet_trade<'a>(
    field: impl Fn(&'static str) -> Value<'a>,
    read: Read<'_>,
    label: impl FnOnce(&str, &str) -> Option<Arc<str>>,
) -> Result<Result<WalletTrade, Not>, Rejection> {
    let whole = |name: &'static str| integer(name, field(name));
    let Some(side) = side(field("type"))? else { return Ok(Err(Not::Liquidity)) };
    let pair = name("pair_addr", field("pair_addr"))?;
    if pair.is_empty() {
        return Err(Rejection::NoPair);
    }
    let chain_id = match name("chain_id", field("chain_id"))? {
        "" => match whole("chain_id_int")? {
            0 => String::new(),
            number => number.to_string(),
        },
        text => text.to_owned(),
    };
    let maker = text("maker", &field)?;
    let Some(label) = label(maker, &chain_id) else { return Ok(Err(Not::OtherChain)) };
    let tx_hash = canonical(text("tx_hash", &field)?).into_owned();
    let log_index = whole("log_index")?;
    let (tx, index) = match (tx_hash.as_str(), text("hash_id", &field)?) {
        ("", "") => {
            let Place { partition, offset } = read.place;
            (format!("{}-{partition}@{offset}", read.topic), i64::from(read.index))
        }
        ("", hash_id) => (canonical(hash_id).into_owned(), log_index),
        (tx_hash, _) => (tx_hash.to_owned(), log_index),
    };
    let info = Tokens::read(super::pair_info(field("pair_info")));
    let price = match price(field("token_price_usd")) {
        Ok(price) => Some(price),
        Err(Rejection::NoPrice) => None,
        Err(why) => return Err(why),
    };
    Ok(Ok(WalletTrade {
        id: TradeId { chain_id, pair: canonical(pair).into_owned(), tx, index },
        maker: canonical(maker).into(),
        label,
        side,
        tx_hash,
        token: info.token,
        token_symbol: info.token_symbol,
        base_token: info.base_token,
        base_token_symbol: info.base_token_symbol,
        token_amount: amount("token_amount", field("token_amount"))?,
        base_token_amount: amount("base_token_amount", field("base_token_amount"))?,
        total_usd: amount("total_usd", field("total_usd"))?,
        price,
        block_time: block_time(field("block_time"))?,
        block_num: whole("block_num")?,
        slot: whole("slot")?,
        transaction_index: whole("transaction_index")?,
        log_index,
        swap_name: for_people(field("swap_name")),
        clamp: clamp(field("clamp"))?,
        topic: Arc::clone(read.topic),
        place: read.place,
        index: read.index,
    }))
}

/// A text that is kept or compared, and so must be one.
fn text<'a>(field: &'static str, of: &impl Fn(&'static str) -> Value<'a>) -> Result<&'a str, Rejection> {
    name(field, of(field)).map_err(|why| match why {
        Rejection::BadPair => Rejection::BadText(field),
        why => why,
    })
}

/// The longest text for people that is believed.
const LABEL_BYTES_MAX: usize = 64;

/// A text for people: whatever it is, it spoils no trade.
fn for_people(value: Value<'_>) -> String {
    match value {
        Value::Text(text) if text.len() <= LABEL_BYTES_MAX => String::from_utf8_lossy(text).into_owned(),
        _ => String::new(),
    }
}

/// What `pair_info` says about the tokens; empty where it says nothing that can be believed.
#[derive(Debug, Default, Deserialize)]
struct Told {
    token_addr: Option<String>,
    token_symbol: Option<String>,
    base_token_addr: Option<String>,
    base_token_symbol: Option<String>,
}

#[derive(Debug, Default)]
struct Tokens {
    token: String,
    token_symbol: String,
    base_token: String,
    base_token_symbol: String,
}

impl Tokens {
    fn read(pair_info: &[u8]) -> Tokens {
        let told: Told = serde_json::from_slice(pair_info).unwrap_or_default();
        let address = |text: Option<String>| {
            let text = text.filter(|text| text.len() <= super::NAME_BYTES_MAX).unwrap_or_default();
            canonical(&text).into_owned()
        };
        let symbol =
            |text: Option<String>| text.filter(|symbol| symbol.len() <= LABEL_BYTES_MAX).unwrap_or_default();
        Tokens {
            token: address(told.token_addr),
            token_symbol: symbol(told.token_symbol),
            base_token: address(told.base_token_addr),
            base_token_symbol: symbol(told.base_token_symbol),
        }
    }
}
