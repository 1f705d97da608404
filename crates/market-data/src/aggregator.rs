//! One lane's candles between two flushes.

use std::sync::Arc;

use crate::decode::{Decoder, Element};
use crate::deltas::merge_equal;
use crate::{Candle, Delta, Deltas, Interval, Pairs, Place, Rejection, Trade, Undecodable};

/// What became of the elements of a message, or of many.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Elements of the arrays.
    pub elements: u64,
    /// Trades that are in a candle now.
    pub trades: u64,
    /// `add_position` and `remove_position`: no trades of the market.
    pub liquidity: u64,
    /// Trades without a price, or with the price 0: they make no candle.
    pub no_price: u64,
    /// Elements that could not be understood.
    pub rejected: u64,
    /// The first element that could not be understood, by its index, and why.
    pub first_rejection: Option<(u32, Rejection)>,
}

impl Counts {
    /// Adds the counts of another message.
    pub fn add(&mut self, other: &Counts) {
        self.elements += other.elements;
        self.trades += other.trades;
        self.liquidity += other.liquidity;
        self.no_price += other.no_price;
        self.rejected += other.rejected;
        self.first_rejection = self.first_rejection.or(other.first_rejection);
    }
}

const NONE: u32 = u32::MAX;

/// Adds trades to one-minute candles. One for each lane; nothing in it is shared.
///
/// The trade is added to one candle only, the pair's current minute: the other six intervals are merges of minutes and are
/// made once a flush ([`Deltas::roll_up`]), not once a trade. What is held is what changed since the last flush, so memory
/// follows the activity and not the history.
#[derive(Debug, Default)]
pub struct Aggregator {
    decoder: Decoder,
    pairs: Pairs,
    /// For each pair the index of its current minute in `current`, or `NONE`.
    current_of: Vec<u32>,
    current: Vec<Delta>,
    /// Minutes that a pair has moved on from. A pair that jumps back and forth may leave several parts of one minute here.
    closed: Vec<Delta>,
    /// The trades of the message in hand: a message whose end is broken must change nothing.
    pending: Vec<(u32, Trade)>,
}

impl Aggregator {
    /// An empty one.
    pub fn new() -> Aggregator {
        Aggregator::default()
    }

    /// Adds the trades of one message.
    ///
    /// A message that is no JSON array changes nothing and is returned as an error: it belongs in the dead-letter topic.
    pub fn add_message(&mut self, place: Place, value: &[u8]) -> Result<Counts, Undecodable> {
        let counts = self.read_message(place, value)?;
        self.add_read();
        Ok(counts)
    }

    /// The first half of [`Aggregator::add_message`]: reads the trades of a message, which wait for [`Aggregator::add_read`].
    ///
    /// Two halves for those who measure each; in between nothing has changed yet.
    pub fn read_message(&mut self, place: Place, value: &[u8]) -> Result<Counts, Undecodable> {
        let Aggregator { decoder, pairs, pending, .. } = self;
        pending.clear();
        let mut counts = Counts::default();
        let decoded = decoder.decode(value, place, |index, element| {
            counts.elements += 1;
            match element {
                Element::Trade { chain_id, pair, trade, pair_info } => {
                    pending.push((pairs.intern(chain_id, pair, pair_info), trade));
                }
                Element::Liquidity => counts.liquidity += 1,
                Element::Rejected(Rejection::NoPrice) => counts.no_price += 1,
                Element::Rejected(why) => {
                    counts.rejected += 1;
                    counts.first_rejection.get_or_insert((index, why));
                }
            }
        });
        if let Err(why) = decoded {
            pending.clear();
            return Err(why);
        }
        counts.trades = pending.len() as u64;
        Ok(counts)
    }

    /// The second half: adds the trades that were read last to their candles.
    pub fn add_read(&mut self) {
        self.current_of.resize(self.pairs.len(), NONE);
        for (pair, trade) in &self.pending {
            let time = Interval::M1.start_of(trade.order.block_time);
            let at = self.current_of[*pair as usize];
            if at == NONE {
                self.current_of[*pair as usize] = self.current.len() as u32;
                let candle = Candle::of(trade);
                self.current.push(Delta { pair: *pair, interval: Interval::M1, time, candle });
                continue;
            }
            let current = &mut self.current[at as usize];
            if current.time == time {
                current.candle.add(trade);
            } else {
                self.closed.push(*current);
                (current.time, current.candle) = (time, Candle::of(trade));
            }
        }
        self.pending.clear();
    }

    /// Parts of candles that wait for a flush: what the limit on unflushed work is measured in.
    pub fn waiting(&self) -> usize {
        self.current.len() + self.closed.len()
    }

    /// Hands over the one-minute parts that gathered since the last call, merged and sorted, and starts afresh.
    pub fn take_deltas(&mut self) -> Deltas {
        let mut parts = std::mem::take(&mut self.closed);
        for part in &self.current {
            self.current_of[part.pair as usize] = NONE;
        }
        parts.append(&mut self.current);
        let mut candles = merge_equal(parts);
        let mut keys = Vec::new();
        let mut last = NONE;
        for part in &mut candles {
            if part.pair != last {
                last = part.pair;
                keys.push(Arc::clone(self.pairs.pair(last)));
            }
            part.pair = keys.len() as u32 - 1;
        }
        Deltas { pairs: keys, candles }
    }
}
