//! What rules ask, within the transaction that writes the trade that they judge.

use market_data::Sum;
use mysql::Value;

use super::{Session, bytes};
use crate::StoreError;
use crate::wallets::log::Columns as _;
use crate::wallets::{Buy, Buys, Direction, History, Piece, Span, Token};

/// Buys of a wallet that are read at first: of a wallet that buys all day, the latest few mostly say it.
const PIECE: u64 = 16;
const PIECE_GROWS: u64 = 8;
const PIECE_MAX: u64 = 16_384;

/// The log, with the trade of number `judged` in it.
pub(super) struct MySqlHistory<'a, 'b> {
    pub(super) session: &'a mut Session<'b>,
    pub(super) judged: i64,
}

impl History for MySqlHistory<'_, '_> {
    type Error = StoreError;

    fn has_other_buy(&mut self, token: Token<'_>, wallet: &str, at_least: &Sum) -> Result<bool, StoreError> {
        let (mut below, mut limit) = (i64::MAX, PIECE);
        loop {
            let buys: Vec<(i64, Sum)> = self.session.ask(
                // Left to itself the server walks back through all trades of the wallet, whatever the token, to save a sort that this
                // index does not need either: its rows are in the order of their numbers.
                "SELECT number, total_usd FROM wallet_trades FORCE INDEX (bought_by)
                 WHERE chain_id = ? AND bought = ? AND maker = ? AND number < ? ORDER BY number DESC LIMIT ?",
                vec![bytes(token.chain_id), bytes(token.token), bytes(wallet), below.into(), limit.into()],
                |row| Ok((row.integer()?, row.parsed("size in USD")?)),
            )?;
            // Compared here and not in SQL: digit for digit.
            if buys.iter().any(|(number, size)| *number != self.judged && size >= at_least) {
                return Ok(true);
            }
            match buys.last() {
                Some((last, _)) if buys.len() as u64 == limit => below = *last,
                _ => return Ok(false),
            }
            limit = limit.saturating_mul(PIECE_GROWS).min(PIECE_MAX);
        }
    }

    fn buys(&mut self, token: Token<'_>, piece: Piece, at_least: &Sum) -> Result<Buys, StoreError> {
        let order = match piece.direction {
            Direction::Oldest => "ASC",
            Direction::Newest => "DESC",
        };
        let limit = u64::try_from(piece.limit).unwrap_or(u64::MAX);
        let buys = self.session.ask(
            &format!(
                "SELECT block_time, maker, label, total_usd FROM wallet_trades
                 WHERE chain_id = ? AND bought = ? AND block_time BETWEEN ? AND ? ORDER BY block_time {order} LIMIT ?"
            ),
            vec![
                bytes(token.chain_id),
                bytes(token.token),
                piece.from.into(),
                piece.until.into(),
                limit.into(),
            ],
            |row| {
                Ok(Buy {
                    time: row.integer()?,
                    wallet: row.text()?,
                    label: row.text()?,
                    total_usd: row.parsed("size in USD")?,
                })
            },
        )?;
        Ok(Buys::of(buys, piece.limit, at_least))
    }

    fn clusters(
        &mut self,
        rule: &str,
        token: Token<'_>,
        from: i64,
        until: i64,
    ) -> Result<Vec<Span>, StoreError> {
        self.session.ask(
            "SELECT id, first_at, last_at FROM wallet_clusters
             WHERE rule = ? AND chain_id = ? AND token = ? AND last_at >= ? AND first_at <= ? ORDER BY id",
            vec![bytes(rule), bytes(token.chain_id), bytes(token.token), from.into(), until.into()],
            |row| Ok(Span { id: row.integer()?, first_at: row.integer()?, last_at: row.integer()? }),
        )
    }

    fn open_cluster(
        &mut self,
        rule: &str,
        token: Token<'_>,
        first_at: i64,
        last_at: i64,
    ) -> Result<i64, StoreError> {
        self.session.change(
            "INSERT INTO wallet_clusters (rule, chain_id, token, first_at, last_at) VALUES (?, ?, ?, ?, ?)",
            vec![bytes(rule), bytes(token.chain_id), bytes(token.token), first_at.into(), last_at.into()],
        )?;
        Ok(self.session.last_insert_id())
    }

    fn merge_clusters(&mut self, into: Span, others: &[i64]) -> Result<(), StoreError> {
        self.session.change(
            "UPDATE wallet_clusters SET first_at = ?, last_at = ? WHERE id = ?",
            vec![into.first_at.into(), into.last_at.into(), into.id.into()],
        )?;
        for other in others {
            let other: Value = (*other).into();
            let members: Vec<String> = self.session.ask(
                "SELECT wallet FROM wallet_cluster_members WHERE cluster = ?",
                vec![other.clone()],
                |row| row.text(),
            )?;
            for wallet in &members {
                self.join_cluster(into.id, wallet)?;
            }
            self.session
                .change("DELETE FROM wallet_cluster_members WHERE cluster = ?", vec![other.clone()])?;
            self.session.change("DELETE FROM wallet_clusters WHERE id = ?", vec![other])?;
        }
        Ok(())
    }

    fn join_cluster(&mut self, cluster: i64, wallet: &str) -> Result<bool, StoreError> {
        let joined = self.session.change(
            "INSERT INTO wallet_cluster_members (cluster, wallet) VALUES (?, ?) ON DUPLICATE KEY UPDATE cluster = cluster",
            vec![cluster.into(), bytes(wallet)],
        )?;
        Ok(joined > 0)
    }

    fn cluster_wallets(&mut self, cluster: i64) -> Result<u64, StoreError> {
        let count = self.session.ask(
            "SELECT count(*) FROM wallet_cluster_members WHERE cluster = ?",
            vec![cluster.into()],
            |row| row.small(),
        )?;
        Ok(count.into_iter().next().unwrap_or(0))
    }
}
