//! Trades, candles and their algebra, intervals. Pure: bytes and values in, values out; no clock, no file, no Kafka.
//!
//! The way of a trade through this crate:
//!
//! 1. [`decode`] reads the JSON array of a message in place and lends each [`Trade`], or says why one was [rejected](Rejection);
//! 2. an [`Aggregator`], one for each lane and shared with nobody, interns the pair and adds the trade to the pair's
//!    one-minute [`Candle`];
//! 3. at a flush, [`Aggregator::take_deltas`] hands over what has gathered as [`Deltas`]; the deltas of all lanes are
//!    [merged](Deltas::merge) and [rolled up](Deltas::roll_up) to all seven [`Interval`]s.
//!
//! A [`Candle`] is a value with a merge that is associative and commutative and has an identity: every split of the trades
//! over partitions, consumers, lanes and restarts gives the same candle to the last digit. Three things make that true:
//! sums are exact ([`Sum`], fixed point), prices are compared exactly and added never ([`Price`]), and open and close carry
//! the full [`Order`] of the trade that made them.
//!
//! What is asked for in other lengths is merged of these: [`Grid`] cuts time into the bars of a chart, [`cover`] finds the few
//! candles of any span of minutes.
//!
//! [`reference`](mod@reference) reads candles from the reference files and compares them digit for digit.

mod aggregator;
mod candle;
mod cover;
mod decimal;
pub mod decode;
mod deltas;
mod digits;
mod grid;
mod interval;
mod order;
mod packed;
mod pairs;
mod price;
pub mod reference;
mod sum;
mod trade;
pub mod wallets;

pub use aggregator::{Aggregator, Counts};
pub use candle::{Candle, Prices};
pub use cover::{Cover, cover};
pub use decimal::BadNumber;
pub use decode::Undecodable;
pub use deltas::{Delta, Deltas};
pub use grid::{Grid, Step};
pub use interval::{Interval, UnknownInterval};
pub use order::{Order, Place};
pub use pairs::{Pair, PairKey, Pairs, Symbols};
pub use price::Price;
pub use sum::Sum;
pub use trade::{Rejection, Side, Trade};
