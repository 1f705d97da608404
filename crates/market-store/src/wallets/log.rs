//! The log itself.

use std::str::FromStr;
use std::sync::Arc;

use market_data::wallets::{TradeId, WalletTrade};
use market_data::{Order, Place, Side};

use super::Rules;
use crate::{Advance, FlushError, Positions, StoreError};

/// What one flush of the log writes, all or nothing.
#[derive(Debug, Clone, Copy)]
pub struct LogFlush<'a> {
    /// The group that read the trades.
    pub group: &'a str,
    /// The partitions that it has read on.
    pub advances: &'a [Advance],
    /// Trades of known wallets, in any order, each as often as it was read.
    pub trades: &'a [WalletTrade],
    /// The time now, unix seconds.
    pub now: i64,
    /// What is told about them, and to whom.
    pub rules: &'a Rules,
}

/// What a flush of the log made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logged {
    /// The trades that were new, as indexes into [`LogFlush::trades`], in the order of their events.
    pub new: Vec<usize>,
    /// Rows that went to the outbox.
    pub notifications: usize,
    /// What would have been told, had it not happened too long ago for its channel ([`Rules::set_max_age`]).
    pub too_old: usize,
}

/// A trade as the log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoggedTrade {
    /// Its number in the log: later for what was logged later, with gaps.
    pub number: i64,
    /// When it was logged, unix seconds.
    pub logged_at: i64,
    /// The group that logged it first.
    pub group: String,
    /// The trade.
    pub trade: WalletTrade,
}

/// A log of known wallets' trades.
///
/// The log has each trade once, by its [`TradeId`](market_data::wallets::TradeId): one that is there already, because its topic was
/// read again or because it was sent twice, changes nothing and tells nobody anything. Groups share the log.
pub trait WalletLog: Positions {
    /// Writes trades, what follows from them and the positions, in one transaction.
    ///
    /// Changes nothing if any partition's epoch or position is not what its [`Advance`] states. After an error that is
    /// retriable the same flush may be tried again: it is fenced if the first try did get through after all.
    fn log(&mut self, flush: &LogFlush<'_>) -> Result<Logged, FlushError>;

    /// Trades of the log, latest logged first: those with a number below `before`, at most `limit`; of one wallet if it is named.
    fn logged(
        &mut self,
        wallet: Option<&str>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<LoggedTrade>, StoreError>;

    /// How many trades the log has.
    fn logged_count(&mut self) -> Result<u64, StoreError>;
}

/// The full order of a trade among others.
pub(crate) fn order_of(trade: &WalletTrade) -> Order {
    Order {
        block_time: trade.block_time,
        block_num: trade.block_num,
        slot: if trade.block_num == 0 { trade.slot } else { 0 },
        transaction_index: trade.transaction_index,
        log_index: trade.log_index,
        offset: trade.place.offset,
        index: trade.index,
        partition: trade.place.partition,
    }
}

/// The trades' indexes in the order of their events, so that what a flush tells does not depend on the order in which lanes were done.
pub(crate) fn in_order(trades: &[WalletTrade]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..trades.len()).collect();
    order.sort_by(|a, b| {
        let key = |at: &usize| order_of(&trades[*at]);
        key(a).cmp(&key(b)).then_with(|| trades[*a].id.cmp(&trades[*b].id))
    });
    order
}

/// A side as stores write it.
pub(crate) fn word_of(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
        Side::Unknown => "",
    }
}

/// Reads what [`word_of`] wrote.
pub(crate) fn side_of(word: &str) -> Option<Side> {
    [Side::Buy, Side::Sell, Side::Unknown].into_iter().find(|side| word_of(*side) == word)
}

/// The columns of a logged trade, in the order in which [`read`] wants them.
pub(crate) const COLUMNS: &str = "chain_id, pair_address, tx, tx_index, maker, label, type, tx_hash, token, token_symbol, base_token,
    base_token_symbol, token_amount, base_token_amount, total_usd, token_price_usd, block_time, block_num, slot,
    transaction_index, log_index, swap_name, clamp, topic, topic_partition, topic_offset, message_index, group_id, logged_at";

/// The values of a row, one after another.
pub(crate) trait Columns {
    /// An integer.
    fn integer(&mut self) -> Result<i64, StoreError>;
    /// A text.
    fn text(&mut self) -> Result<String, StoreError>;
    /// A text, or nothing.
    fn text_or_null(&mut self) -> Result<Option<String>, StoreError>;
    /// The value that was read last cannot be what we wrote.
    fn damaged(&self, what: &'static str, value: String) -> StoreError;

    /// An integer of another type.
    fn small<T: TryFrom<i64>>(&mut self) -> Result<T, StoreError> {
        let value = self.integer()?;
        T::try_from(value).map_err(|_| self.damaged("whole number", value.to_string()))
    }

    /// A text that is the value of something.
    fn parsed<T: FromStr>(&mut self, what: &'static str) -> Result<T, StoreError> {
        let text = self.text()?;
        text.parse().map_err(|_| self.damaged(what, text))
    }
}

/// Reads [`COLUMNS`], and the trade's number behind them.
pub(crate) fn read(row: &mut impl Columns) -> Result<LoggedTrade, StoreError> {
    let id = TradeId { chain_id: row.text()?, pair: row.text()?, tx: row.text()?, index: row.integer()? };
    let (maker, label, side) = (row.text()?, row.text()?, row.text()?);
    let side = side_of(&side).ok_or_else(|| row.damaged("type", side))?;
    let (tx_hash, token, token_symbol) = (row.text()?, row.text()?, row.text()?);
    let (base_token, base_token_symbol) = (row.text()?, row.text()?);
    let (token_amount, base_token_amount) = (row.parsed("number")?, row.parsed("number")?);
    let total_usd = row.parsed("number")?;
    let price = row.text_or_null()?;
    let price = price.map(|text| text.parse().map_err(|_| row.damaged("price", text))).transpose()?;
    let (block_time, block_num, slot) = (row.integer()?, row.integer()?, row.integer()?);
    let (transaction_index, log_index) = (row.integer()?, row.integer()?);
    let (swap_name, clamp, topic) = (row.text()?, row.integer()? != 0, row.text()?);
    let place = Place { partition: row.small()?, offset: row.integer()? };
    let (index, group, logged_at, number) = (row.small()?, row.text()?, row.integer()?, row.integer()?);
    let trade = WalletTrade {
        id,
        maker: Arc::from(maker),
        label: Arc::from(label),
        side,
        tx_hash,
        token,
        token_symbol,
        base_token,
        base_token_symbol,
        token_amount,
        base_token_amount,
        total_usd,
        price,
        block_time,
        block_num,
        slot,
        transaction_index,
        log_index,
        swap_name,
        clamp,
        topic: Arc::from(topic),
        place,
        index,
    };
    Ok(LoggedTrade { number, logged_at, group, trade })
}
