//! What rules ask, within the transaction that writes the trade that they judge.

use std::path::Path;

use market_data::Sum;
use rusqlite::Transaction;

use crate::StoreError;
use crate::sqlite::failure;
use crate::wallets::{Buy, Buys, Direction, History, Piece, Span, Token};

/// The log, with the trade of number `judged` in it.
pub(super) struct SqliteHistory<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) file: &'a Path,
    pub(super) judged: i64,
}

impl SqliteHistory<'_> {
    fn sum(&self, text: String) -> Result<Sum, StoreError> {
        let store = || self.file.display().to_string();
        text.parse().map_err(|_| StoreError::Damaged { store: store(), what: "size in USD", value: text })
    }
}

impl History for SqliteHistory<'_> {
    type Error = StoreError;

    fn has_other_buy(&mut self, token: Token<'_>, wallet: &str, at_least: &Sum) -> Result<bool, StoreError> {
        let fail = |error| failure(self.file, error);
        let mut statement = self
            .transaction
            .prepare_cached(
                "SELECT total_usd FROM wallet_trades
                 WHERE chain_id = ?1 AND bought = ?2 AND maker = ?3 AND bought IS NOT NULL AND number <> ?4
                 ORDER BY number DESC",
            )
            .map_err(fail)?;
        let mut rows = statement.query((token.chain_id, token.token, wallet, self.judged)).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            // Compared here and not in SQL, which would make a float of it.
            if self.sum(row.get(0).map_err(fail)?)? >= *at_least {
                return Ok(true);
            }
        }
        Ok(false)
    }

    fn buys(&mut self, token: Token<'_>, piece: Piece, at_least: &Sum) -> Result<Buys, StoreError> {
        let fail = |error| failure(self.file, error);
        let order = match piece.direction {
            Direction::Oldest => "ASC",
            Direction::Newest => "DESC",
        };
        let mut statement = self
            .transaction
            .prepare_cached(&format!(
                "SELECT block_time, maker, label, total_usd FROM wallet_trades
                 WHERE chain_id = ?1 AND bought = ?2 AND bought IS NOT NULL AND block_time BETWEEN ?3 AND ?4
                 ORDER BY block_time {order} LIMIT ?5"
            ))
            .map_err(fail)?;
        let limit = i64::try_from(piece.limit).unwrap_or(i64::MAX);
        let mut rows =
            statement.query((token.chain_id, token.token, piece.from, piece.until, limit)).map_err(fail)?;
        let mut buys = Vec::new();
        while let Some(row) = rows.next().map_err(fail)? {
            buys.push(Buy {
                time: row.get(0).map_err(fail)?,
                wallet: row.get(1).map_err(fail)?,
                label: row.get(2).map_err(fail)?,
                total_usd: self.sum(row.get(3).map_err(fail)?)?,
            });
        }
        Ok(Buys::of(buys, piece.limit, at_least))
    }

    fn clusters(
        &mut self,
        rule: &str,
        token: Token<'_>,
        from: i64,
        until: i64,
    ) -> Result<Vec<Span>, StoreError> {
        let find = || {
            let mut statement = self.transaction.prepare_cached(
                "SELECT id, first_at, last_at FROM clusters
                 WHERE rule = ?1 AND chain_id = ?2 AND token = ?3 AND last_at >= ?4 AND first_at <= ?5 ORDER BY id",
            )?;
            let span = |row: &rusqlite::Row<'_>| {
                Ok(Span { id: row.get(0)?, first_at: row.get(1)?, last_at: row.get(2)? })
            };
            statement
                .query_map((rule, token.chain_id, token.token, from, until), span)?
                .collect::<rusqlite::Result<Vec<_>>>()
        };
        find().map_err(|error| failure(self.file, error))
    }

    fn open_cluster(
        &mut self,
        rule: &str,
        token: Token<'_>,
        first_at: i64,
        last_at: i64,
    ) -> Result<i64, StoreError> {
        let open = || {
            let mut statement = self.transaction.prepare_cached(
                "INSERT INTO clusters (rule, chain_id, token, first_at, last_at) VALUES (?1, ?2, ?3, ?4, ?5)",
            )?;
            statement.insert((rule, token.chain_id, token.token, first_at, last_at))
        };
        open().map_err(|error| failure(self.file, error))
    }

    fn merge_clusters(&mut self, into: Span, others: &[i64]) -> Result<(), StoreError> {
        let merge = || {
            let mut extend = self
                .transaction
                .prepare_cached("UPDATE clusters SET first_at = ?2, last_at = ?3 WHERE id = ?1")?;
            extend.execute((into.id, into.first_at, into.last_at))?;
            for other in others {
                self.transaction.execute(
                    "INSERT INTO cluster_wallets SELECT ?1, wallet FROM cluster_wallets WHERE cluster = ?2
                     ON CONFLICT DO NOTHING",
                    (into.id, other),
                )?;
                self.transaction.execute("DELETE FROM cluster_wallets WHERE cluster = ?1", [other])?;
                self.transaction.execute("DELETE FROM clusters WHERE id = ?1", [other])?;
            }
            Ok(())
        };
        merge().map_err(|error| failure(self.file, error))
    }

    fn join_cluster(&mut self, cluster: i64, wallet: &str) -> Result<bool, StoreError> {
        let join = || {
            let mut statement = self
                .transaction
                .prepare_cached("INSERT INTO cluster_wallets VALUES (?1, ?2) ON CONFLICT DO NOTHING")?;
            statement.execute((cluster, wallet))
        };
        join().map(|joined| joined > 0).map_err(|error| failure(self.file, error))
    }

    fn cluster_wallets(&mut self, cluster: i64) -> Result<u64, StoreError> {
        let count = || {
            let mut statement =
                self.transaction.prepare_cached("SELECT count(*) FROM cluster_wallets WHERE cluster = ?1")?;
            statement.query_row([cluster], |row| row.get(0))
        };
        count().map(i64::cast_unsigned).map_err(|error| failure(self.file, error))
    }
}
