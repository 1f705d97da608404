//! Trades that are written like one before: only what differs is read.
//!
//! A pattern is the text of a trade that was read whole, with the places of its members and what they meant. The next trade is compared
//! with it, eight bytes at a time; where the two part, the value there is read anew, and the comparison goes on behind that value in both.
//! Most of a trade's bytes (names, chain, pair, `pair_info`, an exchange's constant fields) are never read again, only compared.
//!
//! Why that is sound: a pattern was found to be JSON from its `{` to its `}`. Two texts that are equal up to a place have the same
//! meaning up to there, so behind a member that both have whole the grammar stands at the same point in both, whatever the members
//! before it held. A number is whole only if the byte behind it is equal too. Whatever is out of the ordinary (another order of the
//! members, another space, a value that spoils its trade or makes it none) is left to the scanner, which begins the trade again.

use super::memo::Memo;
use super::scan::Scanner;
use super::{
    Element, Field, Fields, Value, amount, block_time, clamp, integer, name, pair_info, price, side,
};
use crate::{Place, Trade};

/// Patterns that are kept: each is of another pair.
const PATTERNS: usize = 16;
/// The longest trade that becomes a pattern.
const TEXT_BYTES_MAX: usize = 4096;
/// The most members that it may have.
const MEMBERS_MAX: usize = 64;
/// Of the trades of pairs without a pattern, one in so many is read whole and becomes one.
const LEARNT: u32 = 4;
/// After so many trades in a row that were like no pattern, most are not compared any more...
const UNLIKE_MAX: u32 = 8;
/// ... but one in so many.
const UNLIKE_TRIED: u32 = 16;

/// A member of a trade: its field if it is one of ours, and where its value stands, from the trade's `{` on.
#[derive(Debug, Clone, Copy)]
pub(super) struct Member {
    pub(super) field: Option<Field>,
    pub(super) start: usize,
    pub(super) end: usize,
    /// A string without escapes.
    pub(super) plain: bool,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Patterns {
    all: Vec<Pattern>,
    /// Which one the last trade was like.
    last: usize,
    /// Which one is forgotten next.
    next: usize,
    /// Trades of pairs that have no pattern.
    strangers: u32,
    /// Trades in a row that were like no pattern.
    unlike: u32,
    /// The members of the trade that was read whole last.
    members: Vec<Member>,
}

#[derive(Debug, Clone)]
struct Pattern {
    text: Vec<u8>,
    members: Vec<Member>,
    trade: Trade,
    /// As it was given, also where a block number outdoes it.
    slot: i64,
    chain_id: String,
    pair: String,
    pair_info: std::ops::Range<usize>,
}

impl Patterns {
    /// Where the members of a trade that is read whole are to be noted.
    pub(super) fn members(&mut self) -> &mut Vec<Member> {
        &mut self.members
    }

    /// Whether the next trade is worth the comparison.
    #[inline]
    fn worth_it(&self) -> bool {
        self.unlike < UNLIKE_MAX || self.unlike.is_multiple_of(UNLIKE_TRIED)
    }

    fn of_pair(&self, pair: &str) -> Option<usize> {
        self.all.iter().position(|pattern| pattern.pair == pair)
    }

    /// Makes a pattern of a trade that was read whole.
    pub(super) fn note(&mut self, text: &[u8], fields: &Fields<'_>, element: &Element<'_>) {
        let worth_it = self.worth_it();
        self.unlike = self.unlike.wrapping_add(1).max(1);
        let Element::Trade { chain_id, pair, trade, pair_info } = element else { return };
        // Where the chain is given by its number alone, the number is not to be passed over.
        let named = matches!(fields.chain_id, Value::Text(text) if !text.is_empty());
        if !worth_it || !named || text.len() > TEXT_BYTES_MAX || self.members.len() > MEMBERS_MAX {
            return;
        }
        // Of a field given twice the last counts, which is more than a comparison can know.
        let mut given = self.members.iter().filter_map(|member| member.field);
        while let Some(field) = given.next() {
            if given.clone().any(|other| other == field) {
                return;
            }
        }
        let Ok(slot) = integer("slot", fields.slot) else { return };
        let described = self.members.iter().find(|member| member.field == Some(Field::PairInfo));
        let described = described.filter(|_| !pair_info.is_empty()).map_or(0..0, |info| info.start..info.end);
        let pattern = Pattern {
            text: text.to_vec(),
            members: self.members.clone(),
            trade: *trade,
            slot,
            chain_id: (*chain_id).to_owned(),
            pair: (*pair).to_owned(),
            pair_info: described,
        };
        self.last = self.of_pair(pair).unwrap_or_else(|| {
            self.next = (self.next + 1) % PATTERNS;
            self.next
        });
        match self.all.get_mut(self.last) {
            Some(known) => *known = pattern,
            None => {
                self.last = self.all.len();
                self.all.push(pattern);
            }
        }
    }
}

/// What a trade that is like a pattern says.
struct Alike<'a> {
    trade: Trade,
    slot: i64,
    chain_id: &'a str,
    pair: &'a str,
    pair_info: &'a [u8],
    /// Where the block time stands in the message and in the pattern, and its length, if it is another of the same length.
    time_at: Option<(usize, usize, usize)>,
}

impl<'a> Alike<'a> {
    /// Takes a field's new value; `None` if that makes more of the trade than another trade of the market.
    #[inline]
    fn set(&mut self, field: Field, value: Value<'a>) -> Option<()> {
        let Alike { trade, slot, chain_id, pair, .. } = self;
        let order = &mut trade.order;
        match field {
            Field::Slot => *slot = integer("slot", value).ok()?,
            Field::ChainId => *chain_id = name("chain_id", value).ok().filter(|name| !name.is_empty())?,
            // Not read where there is a `chain_id`, and there is one.
            Field::ChainIdInt => {}
            Field::Pair => *pair = name("pair_addr", value).ok().filter(|name| !name.is_empty())?,
            Field::PairInfo => self.pair_info = pair_info(value),
            Field::Kind => trade.side = side(value).ok()??,
            Field::TokenAmount => trade.token_amount = amount("token_amount", value).ok()?,
            Field::TotalUsd => trade.total_usd = amount("total_usd", value).ok()?,
            Field::Price => trade.price = price(value).ok()?,
            Field::BlockNum => order.block_num = integer("block_num", value).ok()?,
            Field::BlockTime => order.block_time = block_time(value).ok()?,
            Field::TransactionIndex => order.transaction_index = integer("transaction_index", value).ok()?,
            Field::LogIndex => order.log_index = integer("log_index", value).ok()?,
            Field::Clamp => trade.clamp = clamp(value).ok()?,
        }
        Some(())
    }
}

/// Why a trade was not followed to its end.
enum Unlike {
    /// There is a pattern of its pair.
    Better(usize),
    /// It is to be read whole.
    Whole,
}

impl<'a> Scanner<'a> {
    /// Hands out the trade that begins here if it is like one before. `false`: it is not, and nothing was handed out.
    #[inline]
    pub(super) fn like(
        &mut self,
        patterns: &mut Patterns,
        memo: &mut Memo,
        place: Place,
        index: u32,
        sink: &mut impl FnMut(u32, Element<'_>),
    ) -> bool {
        if patterns.all.is_empty() || !patterns.worth_it() {
            return false;
        }
        let start = self.at;
        let mut followed = self.follow(patterns, patterns.last, true, memo);
        if let Err(Unlike::Better(other)) = followed {
            patterns.last = other;
            self.at = start;
            followed = self.follow(patterns, other, false, memo);
        }
        let Ok(alike) = followed else {
            patterns.strangers = patterns.strangers.wrapping_add(1);
            return false;
        };
        let mut trade = alike.trade;
        trade.order.slot = if trade.order.block_num == 0 { alike.slot } else { 0 };
        (trade.order.offset, trade.order.index, trade.order.partition) =
            (place.offset, index, place.partition);
        let stranger = !std::ptr::eq(alike.pair, patterns.all[patterns.last].pair.as_str());
        let Alike { chain_id, pair, pair_info, time_at, .. } = alike;
        sink(index, Element::Trade { chain_id, pair, trade, pair_info });
        patterns.strangers = patterns.strangers.wrapping_add(u32::from(stranger));
        patterns.unlike = 0;
        if let Some((at, start, len)) = time_at {
            // The next trades are most likely of the same block or second.
            let pattern = &mut patterns.all[patterns.last];
            pattern.text[start..start + len].copy_from_slice(&self.bytes[at..at + len]);
            pattern.trade.order.block_time = trade.order.block_time;
        }
        true
    }

    /// Compares the trade that begins here with a pattern, and reads what differs.
    #[inline]
    fn follow<'p>(
        &mut self,
        patterns: &'p Patterns,
        which: usize,
        may_change: bool,
        memo: &mut Memo,
    ) -> Result<Alike<'p>, Unlike>
    where
        'a: 'p,
    {
        let pattern = &patterns.all[which];
        let text = pattern.text.as_slice();
        let mut alike = Alike {
            trade: pattern.trade,
            slot: pattern.slot,
            chain_id: &pattern.chain_id,
            pair: &pattern.pair,
            pair_info: &text[pattern.pair_info.clone()],
            time_at: None,
        };
        let mut members = pattern.members.iter();
        // Where the comparison goes on, in the pattern's text.
        let mut at = 0;
        loop {
            let equal = equal_bytes(&text[at..], &self.bytes[self.at..]);
            let differs = at + equal;
            if differs == text.len() {
                self.at += equal;
                return Ok(alike);
            }
            // The first that is not there whole. Not even begun, if it is not the value that differs.
            let member = members.find(|member| member.end >= differs).ok_or(Unlike::Whole)?;
            if differs < member.start {
                return Err(Unlike::Whole);
            }
            self.at += member.start - at;
            at = member.end;
            let Some(field) = member.field else {
                if member.plain && (member.start + 1..member.end).contains(&differs) {
                    // Equal so far and without escapes: the string goes on from where it differs.
                    self.at += differs - member.start;
                    self.skip_rest_of_string()
                } else {
                    self.skip_value()
                }
                .map_err(|_| Unlike::Whole)?;
                continue;
            };
            let start = self.at;
            let value = self.value_mostly_number(memo).map_err(|_| Unlike::Whole)?;
            if field == Field::BlockTime && self.at - start == member.end - member.start {
                alike.time_at = Some((start, member.start, member.end - member.start));
            }
            alike.set(field, value).ok_or(Unlike::Whole)?;
            if field == Field::Pair && may_change {
                if let Some(other) = patterns.of_pair(alike.pair).filter(|other| *other != which) {
                    return Err(Unlike::Better(other));
                }
                if patterns.all.len() < PATTERNS || patterns.strangers.is_multiple_of(LEARNT) {
                    return Err(Unlike::Whole);
                }
            }
        }
    }
}

/// How many bytes two texts have in common at their beginning.
#[inline]
fn equal_bytes(a: &[u8], b: &[u8]) -> usize {
    let mut at = 0;
    for (a, b) in a.as_chunks::<8>().0.iter().zip(b.as_chunks::<8>().0) {
        let differ = u64::from_le_bytes(*a) ^ u64::from_le_bytes(*b);
        if differ != 0 {
            return at + (differ.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    at + a[at..].iter().zip(&b[at..]).take_while(|(a, b)| a == b).count()
}
