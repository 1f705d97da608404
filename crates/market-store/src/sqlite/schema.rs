//! The tables, and how an older file becomes a newer one.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::failure;
use crate::StoreError;

/// The tables of one kind of file.
pub(crate) struct Schema {
    /// Marks the file as ours, and as of this kind.
    pub(crate) application_id: i64,
    /// Step N brings a file from version N to N + 1. A released step is never changed; a new one is added.
    pub(crate) steps: &'static [&'static str],
}

/// Candles: "kohc".
pub(super) const CANDLES: Schema = Schema { application_id: 0x6b6f_6863, steps: &["
    CREATE TABLE positions (
        group_id  TEXT NOT NULL,
        topic     TEXT NOT NULL,
        partition INTEGER NOT NULL,
        position  INTEGER,
        epoch     INTEGER NOT NULL,
        PRIMARY KEY (group_id, topic, partition)
    ) STRICT, WITHOUT ROWID;

    CREATE TABLE series (
        id                INTEGER PRIMARY KEY,
        group_id          TEXT NOT NULL,
        chain_id          TEXT NOT NULL,
        pair_address      TEXT NOT NULL,
        token_symbol      TEXT,
        base_token_symbol TEXT,
        first_day         INTEGER NOT NULL,
        last_day          INTEGER NOT NULL,
        last_price        TEXT NOT NULL,
        last_trade_at     INTEGER NOT NULL,
        UNIQUE (chain_id, pair_address, group_id)
    ) STRICT;

    CREATE TABLE candles (
        interval     INTEGER NOT NULL,
        candle_time  INTEGER NOT NULL,
        series       INTEGER NOT NULL,
        o            TEXT NOT NULL,
        h            TEXT NOT NULL,
        l            TEXT NOT NULL,
        c            TEXT NOT NULL,
        v            TEXT NOT NULL,
        t            TEXT NOT NULL,
        count        INTEGER NOT NULL,
        buy_count    INTEGER NOT NULL,
        sell_count   INTEGER NOT NULL,
        open_order   BLOB NOT NULL,
        close_order  BLOB NOT NULL,
        open_at      INTEGER NOT NULL,
        close_at     INTEGER NOT NULL,
        clamped_only INTEGER NOT NULL,
        updated_at   INTEGER NOT NULL,
        PRIMARY KEY (interval, candle_time, series)
    ) STRICT, WITHOUT ROWID;

    CREATE VIEW kline AS SELECT
        series.group_id, series.chain_id, series.pair_address,
        CASE interval WHEN 60 THEN '1m' WHEN 300 THEN '5m' WHEN 900 THEN '15m' WHEN 3600 THEN '1h' WHEN 14400 THEN '4h'
            WHEN 43200 THEN '12h' ELSE '1d' END AS interval,
        candle_time, open_at, close_at, o, c, h, l, v, t,
        CASE WHEN CAST(t AS REAL) > 0 THEN CAST(v AS REAL) / CAST(t AS REAL) END AS a,
        count, buy_count, sell_count, clamped_only, updated_at
    FROM candles JOIN series ON series.id = candles.series;
", "
    CREATE TABLE kept (
        series   INTEGER NOT NULL,
        interval INTEGER NOT NULL,
        since    INTEGER NOT NULL,
        PRIMARY KEY (series, interval)
    ) STRICT, WITHOUT ROWID;
"] };

/// Brings the file to the newest version; refuses one that is newer still, or somebody else's.
///
/// Several processes may do so at once. SQLite waits for nobody while it turns a new file into WAL mode: one of them succeeds,
/// another is told [`StoreError::Busy`] without the busy timeout, and [`super::open`] lets it try again.
pub(super) fn prepare(connection: &mut Connection, file: &Path, schema: &Schema) -> Result<(), StoreError> {
    let fail = |error| failure(file, error);
    let known = schema.steps.len() as i64;
    let (found, application, tables) = identity(connection).map_err(fail)?;
    if application != schema.application_id && (tables > 0 || found != 0) {
        let source = "a SQLite file of another program".into();
        return Err(StoreError::NotAStore { store: file.display().to_string(), source });
    }
    if found > known {
        return Err(StoreError::Newer { store: file.display().to_string(), found, known });
    }
    // Kept in the file, so it must be outside of the transaction; setting it twice does no harm.
    connection.pragma_update(None, "journal_mode", "WAL").map_err(fail)?;
    if found == known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
    // Asked again under the lock: of several processes that start at once, one makes the steps.
    let found = pragma(&transaction, "user_version").map_err(fail)?;
    for step in schema.steps.iter().skip(usize::try_from(found).unwrap_or(0)) {
        transaction.execute_batch(step).map_err(fail)?;
    }
    transaction.pragma_update(None, "application_id", schema.application_id).map_err(fail)?;
    transaction.pragma_update(None, "user_version", known).map_err(fail)?;
    transaction.commit().map_err(fail)
}

/// The file's version, whose it is, and how many tables and views it has: as one process left them, never half of one and half of
/// another.
fn identity(connection: &mut Connection) -> rusqlite::Result<(i64, i64, i64)> {
    let transaction = connection.transaction()?;
    let tables = transaction.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok((pragma(&transaction, "user_version")?, pragma(&transaction, "application_id")?, tables))
}

fn pragma(connection: &Connection, name: &str) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, name, |row| row.get(0))
}
