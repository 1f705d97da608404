//! The tables and their version.
//!
//! Each definition commits by itself, so a process may die half-way: every statement may be run again, and the version is written behind
//! the last one. No version but the newest was ever released, so there is nothing yet that leads from one to the next.

use market_data::Interval;
use mysql::prelude::Queryable;
use mysql::{Conn, params};

use super::address::MySqlAddress;
use super::link::failure;
use super::row::{AS_OPEN, Field};
use crate::StoreError;

/// How long a process waits for another one that makes the tables, in seconds.
const LOCK_WAIT_S: u32 = 20;

/// The tables of one kind of store. Several kinds may share a database.
pub(crate) struct Schema {
    /// The table that marks the others as ours and holds their version; made first.
    pub(crate) mark: &'static str,
    /// The newest version that this program knows.
    pub(crate) known: i64,
    /// The tables, beside the mark and the views.
    pub(crate) tables: &'static [&'static str],
    /// What makes them.
    pub(crate) definitions: &'static [&'static str],
    /// Whether every text in them is bytes ([`super::link`] tells the server).
    pub(crate) bytes_only: bool,
    /// The views, by name.
    pub(crate) views: fn() -> Vec<(String, String)>,
    /// Where positions are.
    pub(crate) positions: PositionTables,
}

/// The tables of claims: [`super::claim`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct PositionTables {
    /// One row for each group: who writes for the group holds it.
    pub(crate) groups: &'static str,
    pub(crate) positions: &'static str,
}

/// Candles.
pub(super) const CANDLES: Schema = Schema {
    mark: "candle_store",
    known: 2,
    tables: &["candle_groups", "candle_positions", "candle_series", "candle_spans", "candles"],
    definitions: &DEFINITIONS,
    bytes_only: true,
    views: || Interval::ALL.map(|interval| (format!("kline_{interval}"), view(interval))).to_vec(),
    positions: PositionTables { groups: "candle_groups", positions: "candle_positions" },
};

/// Texts that come from outside are bytes: a collation would take `A` for `a`, or `a` for `a` with a space behind it.
///
/// Rows of `candles` lie by time, then by pair: see the layout in [`super`]. What is in a `candle`: [`super::row`].
const DEFINITIONS: [&str; 5] = [
    "CREATE TABLE IF NOT EXISTS candle_groups (
        group_id VARBINARY(512) NOT NULL PRIMARY KEY,
        changes  BIGINT NOT NULL
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS candle_positions (
        group_id     VARBINARY(512) NOT NULL,
        topic        VARBINARY(249) NOT NULL,
        partition_id INT NOT NULL,
        position     BIGINT,
        epoch        BIGINT NOT NULL,
        PRIMARY KEY (group_id, topic, partition_id)
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS candle_series (
        id                INT UNSIGNED NOT NULL AUTO_INCREMENT PRIMARY KEY,
        group_id          VARBINARY(512) NOT NULL,
        chain_id          VARBINARY(256) NOT NULL,
        pair_address      VARBINARY(256) NOT NULL,
        token_symbol      VARBINARY(64),
        base_token_symbol VARBINARY(64),
        UNIQUE (chain_id, pair_address, group_id)
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS candle_spans (
        series        INT UNSIGNED NOT NULL PRIMARY KEY,
        first_day     BIGINT NOT NULL,
        last_day      BIGINT NOT NULL,
        last_trade_at BIGINT NOT NULL
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS candles (
        interval_s  MEDIUMINT UNSIGNED NOT NULL,
        candle_time BIGINT NOT NULL,
        series      INT UNSIGNED NOT NULL,
        candle      VARBINARY(2500) NOT NULL,
        PRIMARY KEY (interval_s, candle_time, series)
    ) ENGINE = InnoDB",
];

/// The view of one interval, for programs that read the original's tables: its names, its columns, its decimals.
fn view(interval: Interval) -> String {
    let text = |field: Field| {
        format!("SUBSTRING_INDEX(SUBSTRING_INDEX(candles.candle, ' ', {}), ' ', -1)", field as usize)
    };
    let decimal = |text: &str| format!("CAST({text} AS DECIMAL(65,30))");
    let number = |field: Field| decimal(&text(field));
    let price = |field: Field| {
        let (own, open) = (text(field), text(Field::Open));
        decimal(&format!("IF({own} = '{AS_OPEN}', {open}, {own})"))
    };
    let time = |field: Field| format!("candles.candle_time + CAST({} AS SIGNED)", text(field));
    let count = |field: Field| format!("CAST({} AS UNSIGNED)", text(field));
    let (v, t) = (number(Field::VolumeUsd), number(Field::TokenVolume));
    // Addresses of Solana differ in case, and a server's own collation does not tell that.
    let name = |column: &str| {
        format!("CONVERT(candle_series.{column} USING utf8mb4) COLLATE utf8mb4_bin AS {column}")
    };
    format!(
        "CREATE OR REPLACE VIEW kline_{interval} AS SELECT
            {}, {}, candles.candle_time, {} AS open_at, {} AS close_at,
            {} AS o, {} AS c, {} AS h, {} AS l, {v} AS v, {t} AS t, CAST({v} / NULLIF({t}, 0) AS DECIMAL(65,30)) AS a,
            {} AS count, {} AS buy_count, {} AS sell_count, CAST({} AS SIGNED) AS updated_at,
            {}
         FROM candles JOIN candle_series ON candle_series.id = candles.series WHERE candles.interval_s = {}",
        name("chain_id"),
        name("pair_address"),
        time(Field::OpenAfter),
        time(Field::CloseAfter),
        number(Field::Open),
        price(Field::Close),
        price(Field::High),
        price(Field::Low),
        count(Field::Count),
        count(Field::BuyCount),
        count(Field::SellCount),
        text(Field::UpdatedAt),
        name("group_id"),
        interval.seconds()
    )
}

/// Makes the tables; refuses those of another version, or of another program.
pub(super) fn prepare(
    connection: &mut Conn,
    address: &MySqlAddress,
    schema: &Schema,
) -> Result<(), StoreError> {
    let (mark, known) = (schema.mark, schema.known);
    if version(connection, address, schema)? == known {
        return Ok(());
    }
    let fail = |error| failure(address, error);
    // One process makes the steps. The name of a lock is of the whole server and has 64 characters, as the name of a database may have.
    // MySQL 9.6 has no MD5() and no SHA1() any more.
    let lock = "CONCAT('kohort/', LEFT(SHA2(DATABASE(), 256), 32))";
    let locked: Option<i64> =
        connection.query_first(format!("SELECT GET_LOCK({lock}, {LOCK_WAIT_S})")).map_err(fail)?.flatten();
    if locked != Some(1) {
        let source = format!("another process has been making its tables for {LOCK_WAIT_S} s").into();
        return Err(StoreError::Busy { store: address.to_string(), source });
    }
    // Asked again under the lock.
    if version(connection, address, schema)? < known {
        let make_mark = format!(
            "CREATE TABLE IF NOT EXISTS {mark} (id TINYINT NOT NULL PRIMARY KEY, version INT NOT NULL) ENGINE = InnoDB"
        );
        connection.query_drop(make_mark).map_err(fail)?;
        for step in schema.definitions {
            connection.query_drop(step).map_err(fail)?;
        }
        for (_, view) in (schema.views)() {
            connection.query_drop(view).map_err(fail)?;
        }
        connection
            .exec_drop(
                format!("INSERT INTO {mark} (id, version) VALUES (1, :version) ON DUPLICATE KEY UPDATE version = :version"),
                params! { "version" => known },
            )
            .map_err(fail)?;
    }
    connection.query_drop(format!("DO RELEASE_LOCK({lock})")).map_err(fail)
}

/// The version of our tables; 0 if there are none, or if whoever made them did not come to the end.
fn version(connection: &mut Conn, address: &MySqlAddress, schema: &Schema) -> Result<i64, StoreError> {
    let (mark, known) = (schema.mark, schema.known);
    let fail = |error| failure(address, error);
    let store = || address.to_string();
    let views = (schema.views)();
    let views = views.iter().map(|(name, _)| name.as_str());
    let ours: Vec<&str> = schema.tables.iter().copied().chain([mark]).chain(views).collect();
    let names = ours.join("', '");
    let found: Vec<String> = connection
        .query(format!(
            "SELECT table_name FROM information_schema.tables WHERE table_schema = DATABASE() AND table_name IN ('{names}')"
        ))
        .map_err(fail)?;
    if !found.iter().any(|name| name == mark) {
        return match found.into_iter().next() {
            Some(table) => Err(StoreError::Foreign { store: store(), table }),
            None => Ok(0),
        };
    }
    let version: Option<i64> = connection
        .query_first(format!("SELECT version FROM {mark} WHERE id = 1"))
        .map_err(|error| match error {
            // ER_BAD_FIELD_ERROR: a table of that name with other columns.
            mysql::Error::MySqlError(error) if error.code == 1054 => {
                StoreError::Foreign { store: store(), table: mark.to_owned() }
            }
            error => fail(error),
        })?;
    match version.unwrap_or(0) {
        newer if newer > known => Err(StoreError::Newer { store: store(), found: newer, known }),
        older if older > 0 && older < known => Err(StoreError::Unsuitable {
            store: store(),
            why: format!(
                "its tables are of version {older}, which no release wrote, and this program writes version {known}: name a new, empty \
                 database; its candles are made anew from the topics"
            ),
        }),
        version => Ok(version),
    }
}
