//! The candle: a commutative monoid.

use crate::{Order, Price, Side, Sum, Trade};

/// What the trades of one pair in one span of time add up to.
///
/// [`Candle::merge`] is associative and commutative, and [`Candle::EMPTY`] is its identity; adding a trade is merging the
/// candle of that one trade. Property tests hold it.
///
/// **Clamped trades** (parts of a sandwich attack) count in volumes and counts and do not touch the prices, unless a candle
/// has no others: then they give its prices until the first other trade arrives. So prices come with a *rank* (none,
/// clamped, real), the higher rank wins a merge whole, and equal ranks merge: still a monoid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Candle {
    pub(crate) rank: Rank,
    pub(crate) open: Price,
    pub(crate) high: Price,
    pub(crate) low: Price,
    pub(crate) close: Price,
    pub(crate) open_order: Order,
    pub(crate) close_order: Order,
    /// Sum of `total_usd`.
    pub volume_usd: Sum,
    /// Sum of `token_amount`.
    pub token_volume: Sum,
    /// All trades.
    pub count: u64,
    /// Trades whose type is `buy`.
    pub buy_count: u64,
    /// Trades whose type is `sell`.
    pub sell_count: u64,
}

/// Whose prices a candle shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(crate) enum Rank {
    Empty,
    Clamped,
    Real,
}

pub(crate) const NO_ORDER: Order = Order {
    block_time: 0,
    block_num: 0,
    slot: 0,
    transaction_index: 0,
    log_index: 0,
    offset: 0,
    index: 0,
    partition: 0,
};

/// The prices of a candle and whose they are: what a store reads and writes beside the public sums and counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Prices {
    /// The first price.
    pub open: Price,
    /// The highest price.
    pub high: Price,
    /// The lowest price.
    pub low: Price,
    /// The last price.
    pub close: Price,
    /// The order of the trade that opened.
    pub open_order: Order,
    /// The order of the trade that closed.
    pub close_order: Order,
    /// Whether the prices are those of clamped trades, for want of others.
    pub clamped_only: bool,
}

impl Candle {
    /// The candle without trades.
    pub const EMPTY: Candle = Candle {
        rank: Rank::Empty,
        open: Price::NONE,
        high: Price::NONE,
        low: Price::NONE,
        close: Price::NONE,
        open_order: NO_ORDER,
        close_order: NO_ORDER,
        volume_usd: Sum::ZERO,
        token_volume: Sum::ZERO,
        count: 0,
        buy_count: 0,
        sell_count: 0,
    };

    /// The candle of one trade.
    #[inline]
    pub fn of(trade: &Trade) -> Candle {
        Candle {
            rank: if trade.clamp { Rank::Clamped } else { Rank::Real },
            open: trade.price,
            high: trade.price,
            low: trade.price,
            close: trade.price,
            open_order: trade.order,
            close_order: trade.order,
            volume_usd: trade.total_usd,
            token_volume: trade.token_amount,
            count: 1,
            buy_count: u64::from(trade.side == Side::Buy),
            sell_count: u64::from(trade.side == Side::Sell),
        }
    }

    /// Puts together a candle that was stored.
    pub fn from_parts(prices: &Prices, volume_usd: Sum, token_volume: Sum, counts: [u64; 3]) -> Candle {
        let [count, buy_count, sell_count] = counts;
        Candle {
            rank: if prices.clamped_only { Rank::Clamped } else { Rank::Real },
            open: prices.open,
            high: prices.high,
            low: prices.low,
            close: prices.close,
            open_order: prices.open_order,
            close_order: prices.close_order,
            volume_usd,
            token_volume,
            count,
            buy_count,
            sell_count,
        }
    }

    /// The prices; `None` for the empty candle.
    pub fn prices(&self) -> Option<Prices> {
        (self.rank != Rank::Empty).then_some(Prices {
            open: self.open,
            high: self.high,
            low: self.low,
            close: self.close,
            open_order: self.open_order,
            close_order: self.close_order,
            clamped_only: self.rank == Rank::Clamped,
        })
    }

    /// Adds one trade: the same as merging [`Candle::of`] it, without building that candle.
    #[inline]
    pub fn add(&mut self, trade: &Trade) {
        self.volume_usd.add(&trade.total_usd);
        self.token_volume.add(&trade.token_amount);
        self.count += 1;
        self.buy_count += u64::from(trade.side == Side::Buy);
        self.sell_count += u64::from(trade.side == Side::Sell);
        let rank = if trade.clamp { Rank::Clamped } else { Rank::Real };
        if rank < self.rank {
            return;
        }
        if rank > self.rank {
            self.rank = rank;
            (self.open, self.high, self.low, self.close) =
                (trade.price, trade.price, trade.price, trade.price);
            (self.open_order, self.close_order) = (trade.order, trade.order);
            return;
        }
        self.high = self.high.max(trade.price);
        self.low = self.low.min(trade.price);
        // One order, two prices: only a trade read twice under one offset could do that. The price decides, so that even
        // then the merge commutes.
        if (trade.order, trade.price) < (self.open_order, self.open) {
            (self.open_order, self.open) = (trade.order, trade.price);
        }
        if (trade.order, trade.price) > (self.close_order, self.close) {
            (self.close_order, self.close) = (trade.order, trade.price);
        }
    }

    /// Merges another candle of the same pair into this one: of another part of the same span, or of a part of a longer one.
    #[inline]
    pub fn merge(&mut self, other: &Candle) {
        self.volume_usd.add(&other.volume_usd);
        self.token_volume.add(&other.token_volume);
        self.count += other.count;
        self.buy_count += other.buy_count;
        self.sell_count += other.sell_count;
        if other.rank < self.rank || other.rank == Rank::Empty {
            return;
        }
        if other.rank > self.rank {
            self.rank = other.rank;
            (self.open, self.high, self.low, self.close) = (other.open, other.high, other.low, other.close);
            (self.open_order, self.close_order) = (other.open_order, other.close_order);
            return;
        }
        self.high = self.high.max(other.high);
        self.low = self.low.min(other.low);
        if (other.open_order, other.open) < (self.open_order, self.open) {
            (self.open_order, self.open) = (other.open_order, other.open);
        }
        if (other.close_order, other.close) > (self.close_order, self.close) {
            (self.close_order, self.close) = (other.close_order, other.close);
        }
    }

    /// Whether no trade was added.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The average price by volume, `volume_usd / token_volume`; `None` where no token changed hands.
    ///
    /// A view for people (the original's column `a`): a quotient is not exact and is never merged or stored.
    pub fn average(&self) -> Option<f64> {
        (!self.token_volume.is_zero()).then(|| self.volume_usd.to_f64() / self.token_volume.to_f64())
    }
}
