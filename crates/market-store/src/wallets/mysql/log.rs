//! One transaction: positions checked and moved, trades written, rules asked, the outbox filled.

use std::sync::Arc;

use market_data::wallets::{TradeId, WalletTrade};
use market_data::{Place, Side};
use mysql::Value;

use super::history::MySqlHistory;
use super::schema::WALLETS;
use super::{Columns, MySqlWallets, Session, bytes};
use crate::mysql::claim;
use crate::wallets::log::{in_order, side_of, word_of};
use crate::wallets::rules::evaluate;
use crate::wallets::{LogFlush, Logged, LoggedTrade, Told, WalletLog};
use crate::{FlushError, StoreError};

impl WalletLog for MySqlWallets {
    fn log(&mut self, flush: &LogFlush<'_>) -> Result<Logged, FlushError> {
        self.transaction(|session| {
            session.ask("SELECT version FROM wallet_store WHERE id = 1 FOR UPDATE", vec![], |row| row.integer())?;
            session.change(
                "INSERT INTO wallet_groups (group_id, changes) VALUES (?, 1) ON DUPLICATE KEY UPDATE changes = changes + 1",
                vec![bytes(flush.group)],
            )?;
            let (group, advances) = (flush.group, flush.advances);
            claim::advance(session.connection, session.address, WALLETS.positions, group, advances)?;
            let mut logged = Logged::default();
            for at in in_order(flush.trades) {
                let trade = &flush.trades[at];
                let Some(number) = insert(session, flush, trade)? else { continue };
                logged.new.push(at);
                tell(session, flush, trade, number, &mut logged)?;
            }
            Ok(logged)
        })
    }

    fn logged(
        &mut self,
        wallet: Option<&str>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<LoggedTrade>, StoreError> {
        let mut values = vec![before.unwrap_or(i64::MAX).into()];
        values.extend(wallet.map(bytes));
        values.push(u64::try_from(limit).unwrap_or(u64::MAX).into());
        let of_wallet = if wallet.is_some() { "AND maker = ?" } else { "" };
        let sql = format!(
            "SELECT {COLUMNS}, number FROM wallet_trades WHERE number < ? {of_wallet} ORDER BY number DESC LIMIT ?"
        );
        self.transaction(|session| session.ask(&sql, values, read))
    }

    fn logged_count(&mut self) -> Result<u64, StoreError> {
        let count = self.transaction(|session| {
            session.ask("SELECT count(*) FROM wallet_trades", vec![], |row| row.small())
        })?;
        Ok(count.into_iter().next().unwrap_or(0))
    }
}

const COLUMNS: &str = "chain_id, pair_address, tx, tx_index, maker, label, type, tx_hash, token, token_symbol, base_token,
    base_token_symbol, token_amount, base_token_amount, total_usd, token_price_usd, block_time, block_num, slot,
    transaction_index, log_index, swap_name, clamp, topic, topic_partition, topic_offset, message_index, group_id, logged_at";

/// Writes a trade: its number, or `None` if it is there already.
fn insert(
    session: &mut Session<'_>,
    flush: &LogFlush<'_>,
    trade: &WalletTrade,
) -> Result<Option<i64>, StoreError> {
    let marks = crate::mysql::row::repeat("?", 30, ", ");
    let bought = (trade.side == Side::Buy).then(|| bytes(trade.token_or_pair()));
    let price = trade.price.map(|price| bytes(&price.to_string()));
    let written = session.change(
        &format!(
            "INSERT INTO wallet_trades ({COLUMNS}, bought) VALUES ({marks}) ON DUPLICATE KEY UPDATE number = number"
        ),
        vec![
            bytes(&trade.id.chain_id),
            bytes(&trade.id.pair),
            bytes(&trade.id.tx),
            trade.id.index.into(),
            bytes(&trade.maker),
            bytes(&trade.label),
            bytes(word_of(trade.side)),
            bytes(&trade.tx_hash),
            bytes(&trade.token),
            bytes(&trade.token_symbol),
            bytes(&trade.base_token),
            bytes(&trade.base_token_symbol),
            bytes(&trade.token_amount.to_string()),
            bytes(&trade.base_token_amount.to_string()),
            bytes(&trade.total_usd.to_string()),
            price.unwrap_or(Value::NULL),
            trade.block_time.into(),
            trade.block_num.into(),
            trade.slot.into(),
            trade.transaction_index.into(),
            trade.log_index.into(),
            bytes(&trade.swap_name),
            trade.clamp.into(),
            bytes(&trade.topic),
            trade.place.partition.into(),
            trade.place.offset.into(),
            trade.index.into(),
            bytes(flush.group),
            flush.now.into(),
            bought.unwrap_or(Value::NULL),
        ],
    )?;
    Ok((written > 0).then(|| session.last_insert_id()))
}

/// Asks all rules about a trade that is new, and writes what they say for each channel.
fn tell(
    session: &mut Session<'_>,
    flush: &LogFlush<'_>,
    trade: &WalletTrade,
    number: i64,
    logged: &mut Logged,
) -> Result<(), StoreError> {
    for (rule, channels) in flush.rules.iter() {
        let mut history = MySqlHistory { session, judged: number };
        let Some(told) = evaluate(rule, trade, &mut history)? else { continue };
        for channel in channels {
            if flush.rules.is_too_old(channel, trade, flush.now) {
                logged.too_old += 1;
                continue;
            }
            logged.notifications += post(session, channel, &told, flush.now)?;
        }
    }
    Ok(())
}

/// Puts a row into the outbox, unless the channel has its key.
fn post(session: &mut Session<'_>, channel: &str, told: &Told, now: i64) -> Result<usize, StoreError> {
    session.change(
        "INSERT INTO wallet_outbox (channel, key_hash, dedup_key, event, created_at) VALUES (?, UNHEX(SHA2(?, 256)), ?, ?, ?)
         ON DUPLICATE KEY UPDATE id = id",
        vec![bytes(channel), bytes(&told.key), bytes(&told.key), bytes(&told.event.to_json()), now.into()],
    )
}

/// Reads a row of [`COLUMNS`] and the number.
fn read(row: &mut Columns<'_>) -> Result<LoggedTrade, StoreError> {
    let id = TradeId { chain_id: row.text()?, pair: row.text()?, tx: row.text()?, index: row.integer()? };
    let (maker, label) = (row.text()?, row.text()?);
    let side = row.next(|row, at, address| {
        let word = crate::mysql::row::text(row, at, address)?;
        side_of(word).ok_or_else(|| crate::mysql::row::damaged(row, at, "type", address))
    })?;
    let (tx_hash, token, token_symbol) = (row.text()?, row.text()?, row.text()?);
    let (base_token, base_token_symbol) = (row.text()?, row.text()?);
    let (token_amount, base_token_amount) = (row.parsed("number")?, row.parsed("number")?);
    let total_usd = row.parsed("number")?;
    let price = row.text_or_null()?;
    let price = match price {
        None => None,
        Some(_) => {
            row.at -= 1;
            Some(row.parsed("price")?)
        }
    };
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
