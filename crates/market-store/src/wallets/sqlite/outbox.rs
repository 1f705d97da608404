//! Leases and marks.

use rusqlite::{Connection, OptionalExtension, TransactionBehavior};

use super::SqliteWallets;
use crate::StoreError;
use crate::wallets::{ChannelSummary, LeaseRequest, Leased, Outbox, OutboxRow};

impl Outbox for SqliteWallets {
    fn lease(&mut self, request: &LeaseRequest<'_>) -> Result<Leased, StoreError> {
        lease(&mut self.connection, request).map_err(|error| self.failure(error))
    }

    fn mark_sent(&mut self, id: i64, now_ms: i64) -> Result<(), StoreError> {
        self.change(
            "UPDATE outbox SET state = 'sent', done_at = ?2, leased_by = NULL, lease_until = NULL, reason = NULL
             WHERE id = ?1 AND state <> 'sent'",
            (id, now_ms),
        )
        .map(drop)
    }

    fn mark_retry(&mut self, id: i64, owner: &str, next_at_ms: i64, why: &str) -> Result<(), StoreError> {
        self.change(
            "UPDATE outbox SET attempts = attempts + 1, next_at = ?3, reason = ?4, leased_by = NULL, lease_until = NULL
             WHERE id = ?1 AND state = 'pending' AND leased_by = ?2",
            (id, owner, next_at_ms, why),
        )
        .map(drop)
    }

    fn mark_failed(&mut self, id: i64, owner: &str, now_ms: i64, why: &str) -> Result<(), StoreError> {
        self.change(
            "UPDATE outbox SET state = 'failed', attempts = attempts + 1, done_at = ?3, reason = ?4, leased_by = NULL,
                 lease_until = NULL
             WHERE id = ?1 AND state = 'pending' AND leased_by = ?2",
            (id, owner, now_ms, why),
        )
        .map(drop)
    }

    fn release(&mut self, owner: &str) -> Result<(), StoreError> {
        self.change("UPDATE outbox SET leased_by = NULL, lease_until = NULL WHERE leased_by = ?1", [owner])
            .map(drop)
    }

    fn requeue(&mut self, channel: &str) -> Result<usize, StoreError> {
        self.change(
            "UPDATE outbox SET state = 'pending', attempts = 0, next_at = 0, done_at = NULL, reason = NULL
             WHERE channel = ?1 AND state = 'failed'",
            [channel],
        )
    }

    fn forget_sent(&mut self, before_ms: i64) -> Result<usize, StoreError> {
        self.change("DELETE FROM outbox WHERE state = 'sent' AND done_at < ?1", [before_ms])
    }

    fn outbox(&mut self) -> Result<Vec<ChannelSummary>, StoreError> {
        summary(&self.connection).map_err(|error| self.failure(error))
    }
}

impl SqliteWallets {
    fn change(&mut self, sql: &str, values: impl rusqlite::Params) -> Result<usize, StoreError> {
        let changed = self.connection.prepare_cached(sql).and_then(|mut change| change.execute(values));
        changed.map_err(|error| self.failure(error))
    }
}

fn lease(connection: &mut Connection, request: &LeaseRequest<'_>) -> rusqlite::Result<Leased> {
    // Asked without a lock first: mostly there is nothing to do.
    if let Some(wait) = not_now(connection, request)? {
        return Ok(wait);
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if let Some(wait) = not_now(&transaction, request)? {
        return Ok(wait);
    }
    let mut rows = Vec::new();
    {
        let mut select = transaction.prepare_cached(
            "SELECT id, dedup_key, event, created_at, attempts FROM outbox WHERE channel = ?1 AND state = 'pending'
             ORDER BY id LIMIT ?2",
        )?;
        let mut take = transaction.prepare_cached(
            "UPDATE outbox SET leased_by = ?2, lease_until = ?3 WHERE id = ?1 AND state = 'pending'",
        )?;
        let limit = i64::try_from(request.limit).unwrap_or(i64::MAX);
        let row = |row: &rusqlite::Row<'_>| {
            Ok(OutboxRow {
                id: row.get(0)?,
                key: row.get(1)?,
                event: row.get(2)?,
                created_at: row.get(3)?,
                attempts: row.get(4)?,
            })
        };
        for found in select.query_map((request.channel, limit), row)? {
            let found = found?;
            take.execute((found.id, request.owner, request.until_ms))?;
            rows.push(found);
        }
    }
    transaction.commit()?;
    Ok(Leased { rows, wait_until_ms: None })
}

/// Why nothing can be leased now; `None` if something can.
fn not_now(connection: &Connection, request: &LeaseRequest<'_>) -> rusqlite::Result<Option<Leased>> {
    let mut oldest = connection.prepare_cached(
        "SELECT next_at FROM outbox WHERE channel = ?1 AND state = 'pending' ORDER BY id LIMIT 1",
    )?;
    let Some(next_at) = oldest.query_row([request.channel], |row| row.get::<_, i64>(0)).optional()? else {
        return Ok(Some(Leased::default()));
    };
    let mut others = connection.prepare_cached(
        "SELECT max(lease_until) FROM outbox
         WHERE channel = ?1 AND leased_by IS NOT NULL AND leased_by <> ?2 AND lease_until > ?3 AND lease_until <= ?4",
    )?;
    let leased: Option<i64> = others
        .query_row((request.channel, request.owner, request.now_ms, request.lease_max_ms()), |row| {
            row.get(0)
        })?;
    Ok(request.wait(leased, next_at))
}

/// Counted in an index: a week of what was sent is more than anybody should read each time.
fn summary(connection: &Connection) -> rusqlite::Result<Vec<ChannelSummary>> {
    let mut statement = connection.prepare_cached(
        "SELECT channel, sum(iif(state = 'pending', n, 0)), sum(iif(state = 'sent', n, 0)), sum(iif(state = 'failed', n, 0)),
             (SELECT created_at FROM outbox AS one WHERE one.channel = counted.channel AND one.state = 'pending'
                  ORDER BY id LIMIT 1),
             (SELECT reason FROM outbox AS one WHERE one.channel = counted.channel AND one.state = 'pending'
                  ORDER BY id LIMIT 1),
             (SELECT reason FROM outbox AS one WHERE one.channel = counted.channel AND one.state = 'failed'
                  ORDER BY done_at DESC LIMIT 1)
         FROM (SELECT channel, state, count(*) AS n FROM outbox GROUP BY channel, state) AS counted
         GROUP BY channel ORDER BY channel",
    )?;
    let count = |row: &rusqlite::Row<'_>, at| row.get(at).map(i64::cast_unsigned);
    let channel = |row: &rusqlite::Row<'_>| {
        Ok(ChannelSummary {
            channel: row.get(0)?,
            pending: count(row, 1)?,
            sent: count(row, 2)?,
            failed: count(row, 3)?,
            oldest_pending_at: row.get(4)?,
            last_error: row.get(5)?,
            last_failure: row.get(6)?,
        })
    };
    statement.query_map([], channel)?.collect()
}
