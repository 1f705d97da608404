//! One transaction: positions checked and moved, trades written, rules asked, the outbox filled.

use market_data::Side;
use market_data::wallets::WalletTrade;
use mysql::Value;

use super::history::MySqlHistory;
use super::schema::WALLETS;
use super::{MySqlWallets, Session, bytes};
use crate::mysql::claim;
use crate::wallets::log::{COLUMNS, Columns as _, in_order, read, word_of};
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
        self.transaction(|session| session.ask(&sql, values, |row| read(row)))
    }

    fn logged_count(&mut self) -> Result<u64, StoreError> {
        let count = self.transaction(|session| {
            session.ask("SELECT count(*) FROM wallet_trades", vec![], |row| row.small())
        })?;
        Ok(count.into_iter().next().unwrap_or(0))
    }
}

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
