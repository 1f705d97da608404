//! Leases and marks.

use mysql::Value;

use super::{MySqlWallets, Session, bytes};
use crate::StoreError;
use crate::wallets::log::Columns as _;
use crate::wallets::{ChannelSummary, LeaseRequest, Leased, Outbox, OutboxRow};

impl Outbox for MySqlWallets {
    fn lease(&mut self, request: &LeaseRequest<'_>) -> Result<Leased, StoreError> {
        // Asked without a lock first: mostly there is nothing to do.
        if let Some(wait) = self.transaction(|session| not_now(session, request))? {
            return Ok(wait);
        }
        self.transaction(|session| {
            session.change(
                "INSERT INTO wallet_channels (channel, leases) VALUES (?, 1) ON DUPLICATE KEY UPDATE leases = leases + 1",
                vec![bytes(request.channel)],
            )?;
            // Whoever held the row of the channel before us has committed, and we see what.
            if let Some(wait) = not_now(session, request)? {
                return Ok(wait);
            }
            let limit: Value = u64::try_from(request.limit).unwrap_or(u64::MAX).into();
            let rows = session.ask(
                "SELECT id, dedup_key, event, created_at, attempts FROM wallet_outbox
                 WHERE channel = ? AND state = 'pending' ORDER BY id LIMIT ?",
                vec![bytes(request.channel), limit],
                |row| {
                    Ok(OutboxRow {
                        id: row.integer()?,
                        key: row.text()?,
                        event: row.text()?,
                        created_at: row.integer()?,
                        attempts: row.small()?,
                    })
                },
            )?;
            for row in &rows {
                session.change(
                    "UPDATE wallet_outbox SET leased_by = ?, lease_until = ? WHERE id = ? AND state = 'pending'",
                    vec![bytes(request.owner), request.until_ms.into(), row.id.into()],
                )?;
            }
            Ok(Leased { rows, wait_until_ms: None })
        })
    }

    fn mark_sent(&mut self, id: i64, now_ms: i64) -> Result<(), StoreError> {
        self.change(
            "UPDATE wallet_outbox SET state = 'sent', done_at = ?, leased_by = NULL, lease_until = NULL, reason = NULL
             WHERE id = ? AND state <> 'sent'",
            vec![now_ms.into(), id.into()],
        )
        .map(drop)
    }

    fn mark_retry(&mut self, id: i64, owner: &str, next_at_ms: i64, why: &str) -> Result<(), StoreError> {
        self.change(
            "UPDATE wallet_outbox SET attempts = attempts + 1, next_at = ?, reason = ?, leased_by = NULL, lease_until = NULL
             WHERE id = ? AND state = 'pending' AND leased_by = ?",
            vec![next_at_ms.into(), bytes(why), id.into(), bytes(owner)],
        )
        .map(drop)
    }

    fn mark_failed(&mut self, id: i64, owner: &str, now_ms: i64, why: &str) -> Result<(), StoreError> {
        self.change(
            "UPDATE wallet_outbox SET state = 'failed', attempts = attempts + 1, done_at = ?, reason = ?, leased_by = NULL,
                 lease_until = NULL
             WHERE id = ? AND state = 'pending' AND leased_by = ?",
            vec![now_ms.into(), bytes(why), id.into(), bytes(owner)],
        )
        .map(drop)
    }

    fn release(&mut self, owner: &str) -> Result<(), StoreError> {
        self.change(
            "UPDATE wallet_outbox SET leased_by = NULL, lease_until = NULL WHERE leased_by = ?",
            vec![bytes(owner)],
        )
        .map(drop)
    }

    fn requeue(&mut self, channel: &str) -> Result<usize, StoreError> {
        self.change(
            "UPDATE wallet_outbox SET state = 'pending', attempts = 0, next_at = 0, done_at = NULL, reason = NULL
             WHERE channel = ? AND state = 'failed'",
            vec![bytes(channel)],
        )
    }

    fn forget_sent(&mut self, before_ms: i64) -> Result<usize, StoreError> {
        self.change("DELETE FROM wallet_outbox WHERE state = 'sent' AND done_at < ?", vec![before_ms.into()])
    }

    fn outbox(&mut self) -> Result<Vec<ChannelSummary>, StoreError> {
        self.transaction(|session| {
            session.ask(
                // Counted in an index: a week of what was sent is more than anybody should read each time.
                "SELECT channel, CAST(sum(IF(state = 'pending', n, 0)) AS SIGNED), CAST(sum(IF(state = 'sent', n, 0)) AS SIGNED),
                     CAST(sum(IF(state = 'failed', n, 0)) AS SIGNED),
                     (SELECT created_at FROM wallet_outbox AS one WHERE one.channel = counted.channel AND one.state = 'pending'
                          ORDER BY id LIMIT 1),
                     (SELECT reason FROM wallet_outbox AS one WHERE one.channel = counted.channel AND one.state = 'pending'
                          ORDER BY id LIMIT 1),
                     (SELECT reason FROM wallet_outbox AS one WHERE one.channel = counted.channel AND one.state = 'failed'
                          ORDER BY done_at DESC LIMIT 1)
                 FROM (SELECT channel, state, count(*) AS n FROM wallet_outbox GROUP BY channel, state) AS counted
                 GROUP BY channel ORDER BY channel",
                vec![],
                |row| {
                    Ok(ChannelSummary {
                        channel: row.text()?,
                        pending: row.small()?,
                        sent: row.small()?,
                        failed: row.small()?,
                        oldest_pending_at: row.integer_or_null()?,
                        last_error: row.text_or_null()?,
                        last_failure: row.text_or_null()?,
                    })
                },
            )
        })
    }
}

/// Why nothing can be leased now; `None` if something can.
fn not_now(session: &mut Session<'_>, request: &LeaseRequest<'_>) -> Result<Option<Leased>, StoreError> {
    let oldest = session.ask(
        "SELECT next_at FROM wallet_outbox WHERE channel = ? AND state = 'pending' ORDER BY id LIMIT 1",
        vec![bytes(request.channel)],
        |row| row.integer(),
    )?;
    let Some(next_at) = oldest.into_iter().next() else { return Ok(Some(Leased::default())) };
    let leased = session.ask(
        "SELECT max(lease_until) FROM wallet_outbox
         WHERE channel = ? AND leased_by IS NOT NULL AND leased_by <> ? AND lease_until > ? AND lease_until <= ?",
        vec![
            bytes(request.channel),
            bytes(request.owner),
            request.now_ms.into(),
            request.lease_max_ms().into(),
        ],
        |row| row.integer_or_null(),
    )?;
    Ok(request.wait(leased.into_iter().next().flatten(), next_at))
}
