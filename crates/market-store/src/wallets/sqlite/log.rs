//! One transaction: positions checked and moved, trades written, rules asked, the outbox filled.

use std::path::Path;

use market_data::Side;
use market_data::wallets::WalletTrade;
use rusqlite::{Row, Transaction, TransactionBehavior, params};

use super::SqliteWallets;
use super::history::SqliteHistory;
use crate::sqlite::{claim, failure};
use crate::wallets::log::{COLUMNS, Columns, in_order, read, word_of};
use crate::wallets::rules::evaluate;
use crate::wallets::{LogFlush, Logged, LoggedTrade, Told, WalletLog};
use crate::{FlushError, StoreError};

impl WalletLog for SqliteWallets {
    fn log(&mut self, flush: &LogFlush<'_>) -> Result<Logged, FlushError> {
        let file = self.file.clone();
        let fail = |error| failure(&file, error);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        claim::advance(&transaction, &file, flush.group, flush.advances)?;
        let mut logged = Logged::default();
        for at in in_order(flush.trades) {
            let trade = &flush.trades[at];
            let Some(number) = insert(&transaction, flush, trade).map_err(fail)? else { continue };
            logged.new.push(at);
            tell(&transaction, &file, flush, trade, number, &mut logged)?;
        }
        transaction.commit().map_err(fail)?;
        Ok(logged)
    }

    fn logged(
        &mut self,
        wallet: Option<&str>,
        before: Option<i64>,
        limit: usize,
    ) -> Result<Vec<LoggedTrade>, StoreError> {
        let fail = |error| failure(&self.file, error);
        let sql = format!(
            "SELECT {COLUMNS}, number FROM wallet_trades WHERE number < ?1 {} ORDER BY number DESC LIMIT ?2",
            if wallet.is_some() { "AND maker = ?3" } else { "AND ?3 IS NULL" }
        );
        let mut statement = self.connection.prepare_cached(&sql).map_err(fail)?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let mut rows = statement.query((before.unwrap_or(i64::MAX), limit, wallet)).map_err(fail)?;
        let mut found = Vec::new();
        while let Some(row) = rows.next().map_err(fail)? {
            found.push(read(&mut Values { row, at: 0, file: &self.file })?);
        }
        Ok(found)
    }

    fn logged_count(&mut self) -> Result<u64, StoreError> {
        let count = self.connection.query_row("SELECT count(*) FROM wallet_trades", [], |row| row.get(0));
        count.map(i64::cast_unsigned).map_err(|error| self.failure(error))
    }
}

/// Writes a trade: its number, or `None` if it is there already.
fn insert(
    transaction: &Transaction<'_>,
    flush: &LogFlush<'_>,
    trade: &WalletTrade,
) -> rusqlite::Result<Option<i64>> {
    let mut statement = transaction.prepare_cached(&format!(
        "INSERT INTO wallet_trades ({COLUMNS}, bought) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15,
             ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26, ?27, ?28, ?29, ?30)
         ON CONFLICT (chain_id, pair_address, tx, tx_index) DO NOTHING"
    ))?;
    let bought = (trade.side == Side::Buy).then(|| trade.token_or_pair());
    let written = statement.execute(params![
        trade.id.chain_id,
        trade.id.pair,
        trade.id.tx,
        trade.id.index,
        trade.maker,
        trade.label,
        word_of(trade.side),
        trade.tx_hash,
        trade.token,
        trade.token_symbol,
        trade.base_token,
        trade.base_token_symbol,
        trade.token_amount.to_string(),
        trade.base_token_amount.to_string(),
        trade.total_usd.to_string(),
        trade.price.map(|price| price.to_string()),
        trade.block_time,
        trade.block_num,
        trade.slot,
        trade.transaction_index,
        trade.log_index,
        trade.swap_name,
        trade.clamp,
        trade.topic,
        trade.place.partition,
        trade.place.offset,
        trade.index,
        flush.group,
        flush.now,
        bought,
    ])?;
    Ok((written > 0).then(|| transaction.last_insert_rowid()))
}

/// Asks all rules about a trade that is new, and writes what they say for each channel.
fn tell(
    transaction: &Transaction<'_>,
    file: &Path,
    flush: &LogFlush<'_>,
    trade: &WalletTrade,
    number: i64,
    logged: &mut Logged,
) -> Result<(), StoreError> {
    let mut history = SqliteHistory { transaction, file, judged: number };
    for (rule, channels) in flush.rules.iter() {
        let Some(told) = evaluate(rule, trade, &mut history)? else { continue };
        for channel in channels {
            if flush.rules.is_too_old(channel, trade, flush.now) {
                logged.too_old += 1;
                continue;
            }
            let written = post(transaction, channel, &told, flush.now);
            logged.notifications += written.map_err(|error| failure(file, error))?;
        }
    }
    Ok(())
}

/// Puts a row into the outbox, unless the channel has its key.
fn post(transaction: &Transaction<'_>, channel: &str, told: &Told, now: i64) -> rusqlite::Result<usize> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO outbox (channel, dedup_key, event, created_at) VALUES (?1, ?2, ?3, ?4)
         ON CONFLICT (channel, dedup_key) DO NOTHING",
    )?;
    statement.execute((channel, &told.key, told.event.to_json(), now))
}

/// The values of a row, one after another.
struct Values<'a> {
    row: &'a Row<'a>,
    at: usize,
    file: &'a Path,
}

impl Values<'_> {
    fn next<T: rusqlite::types::FromSql>(&mut self) -> Result<T, StoreError> {
        let value = self.row.get(self.at).map_err(|error| failure(self.file, error));
        self.at += 1;
        value
    }
}

impl Columns for Values<'_> {
    fn integer(&mut self) -> Result<i64, StoreError> {
        self.next()
    }

    fn text(&mut self) -> Result<String, StoreError> {
        self.next()
    }

    fn text_or_null(&mut self) -> Result<Option<String>, StoreError> {
        self.next()
    }

    fn damaged(&self, what: &'static str, value: String) -> StoreError {
        StoreError::Damaged { store: self.file.display().to_string(), what, value }
    }
}
