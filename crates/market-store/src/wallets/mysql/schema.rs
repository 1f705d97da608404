//! The tables of the log in a MySQL or MariaDB database. Candles may be in the same one.

use crate::mysql::schema::{PositionTables, Schema};

pub(super) const WALLETS: Schema = Schema {
    mark: "wallet_store",
    known: 1,
    tables: &[
        "wallet_groups",
        "wallet_positions",
        "wallet_trades",
        "wallet_clusters",
        "wallet_cluster_members",
        "wallet_channels",
        "wallet_outbox",
        "wallet_addresses",
        "wallet_address_version",
    ],
    definitions: &DEFINITIONS,
    bytes_only: false,
    views: Vec::new,
    positions: PositionTables { groups: "wallet_groups", positions: "wallet_positions" },
};

/// Texts that come from outside are bytes: a collation would take `A` for `a`. What they may be long, the reader of trades says
/// (`market_data::decode`).
const DEFINITIONS: [&str; 10] = [
    "CREATE TABLE IF NOT EXISTS wallet_groups (
        group_id VARBINARY(512) NOT NULL PRIMARY KEY,
        changes  BIGINT NOT NULL
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS wallet_positions (
        group_id     VARBINARY(512) NOT NULL,
        topic        VARBINARY(249) NOT NULL,
        partition_id INT NOT NULL,
        position     BIGINT,
        epoch        BIGINT NOT NULL,
        PRIMARY KEY (group_id, topic, partition_id)
    ) ENGINE = InnoDB",
    // What tells trades apart is (chain_id, pair_address, tx, tx_index). `bought` is the token that rules about buys go by, or null.
    "CREATE TABLE IF NOT EXISTS wallet_trades (
        number            BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        chain_id          VARBINARY(256) NOT NULL,
        pair_address      VARBINARY(512) NOT NULL,
        tx                VARBINARY(512) NOT NULL,
        tx_index          BIGINT NOT NULL,
        maker             VARBINARY(256) NOT NULL,
        label             VARBINARY(512) NOT NULL,
        type              VARBINARY(8) NOT NULL,
        tx_hash           VARBINARY(512) NOT NULL,
        token             VARBINARY(512) NOT NULL,
        token_symbol      VARBINARY(256) NOT NULL,
        base_token        VARBINARY(512) NOT NULL,
        base_token_symbol VARBINARY(256) NOT NULL,
        token_amount      VARBINARY(100) NOT NULL,
        base_token_amount VARBINARY(100) NOT NULL,
        total_usd         VARBINARY(100) NOT NULL,
        token_price_usd   VARBINARY(400),
        block_time        BIGINT NOT NULL,
        block_num         BIGINT NOT NULL,
        slot              BIGINT NOT NULL,
        transaction_index BIGINT NOT NULL,
        log_index         BIGINT NOT NULL,
        swap_name         VARBINARY(256) NOT NULL,
        clamp             TINYINT NOT NULL,
        topic             VARBINARY(249) NOT NULL,
        topic_partition   INT NOT NULL,
        topic_offset      BIGINT NOT NULL,
        message_index     BIGINT NOT NULL,
        group_id          VARBINARY(512) NOT NULL,
        logged_at         BIGINT NOT NULL,
        bought            VARBINARY(512),
        UNIQUE KEY once (chain_id, pair_address, tx, tx_index),
        KEY of_maker (maker, number),
        KEY bought_at (chain_id, bought, block_time),
        KEY bought_by (chain_id, bought, maker)
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS wallet_clusters (
        id       BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        rule     VARBINARY(512) NOT NULL,
        chain_id VARBINARY(256) NOT NULL,
        token    VARBINARY(512) NOT NULL,
        first_at BIGINT NOT NULL,
        last_at  BIGINT NOT NULL,
        KEY of_token (rule, chain_id, token, last_at)
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS wallet_cluster_members (
        cluster BIGINT NOT NULL,
        wallet  VARBINARY(256) NOT NULL,
        PRIMARY KEY (cluster, wallet)
    ) ENGINE = InnoDB",
    // One row for each channel: who leases holds it.
    "CREATE TABLE IF NOT EXISTS wallet_channels (
        channel VARBINARY(256) NOT NULL PRIMARY KEY,
        leases  BIGINT NOT NULL
    ) ENGINE = InnoDB",
    // Times are unix seconds in `created_at`, milliseconds elsewhere. A key may be longer than what an index takes.
    "CREATE TABLE IF NOT EXISTS wallet_outbox (
        id          BIGINT NOT NULL AUTO_INCREMENT PRIMARY KEY,
        channel     VARBINARY(256) NOT NULL,
        key_hash    BINARY(32) NOT NULL,
        dedup_key   BLOB NOT NULL,
        event       MEDIUMBLOB NOT NULL,
        state       ENUM('pending', 'sent', 'failed') NOT NULL DEFAULT 'pending',
        created_at  BIGINT NOT NULL,
        attempts    BIGINT NOT NULL DEFAULT 0,
        next_at     BIGINT NOT NULL DEFAULT 0,
        leased_by   VARBINARY(400),
        lease_until BIGINT,
        done_at     BIGINT,
        reason      BLOB,
        UNIQUE KEY once (channel, key_hash),
        KEY in_order (channel, state, id),
        KEY leased (channel, leased_by),
        KEY lessee (leased_by),
        KEY done (state, done_at)
    ) ENGINE = InnoDB",
    // A removed address stays as a note for those who knew it. `version` is the table's version at its last change.
    "CREATE TABLE IF NOT EXISTS wallet_addresses (
        address    VARBINARY(256) NOT NULL,
        chain_id   VARBINARY(256) NOT NULL,
        label      VARBINARY(512) NOT NULL,
        removed    TINYINT NOT NULL,
        version    BIGINT NOT NULL,
        changed_at BIGINT NOT NULL,
        PRIMARY KEY (address, chain_id),
        KEY changed (version)
    ) ENGINE = InnoDB",
    "CREATE TABLE IF NOT EXISTS wallet_address_version (
        id      TINYINT NOT NULL PRIMARY KEY,
        version BIGINT NOT NULL
    ) ENGINE = InnoDB",
    "INSERT INTO wallet_address_version (id, version) VALUES (1, 0) ON DUPLICATE KEY UPDATE version = version",
];
