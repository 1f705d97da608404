//! The tables of `smart_money.db`.

use crate::sqlite::schema::Schema;

/// The log of known wallets: "kohw".
pub(super) const WALLETS: Schema = Schema {
    application_id: 0x6b6f_6877,
    steps: &["
    CREATE TABLE positions (
        group_id  TEXT NOT NULL,
        topic     TEXT NOT NULL,
        partition INTEGER NOT NULL,
        position  INTEGER,
        epoch     INTEGER NOT NULL,
        PRIMARY KEY (group_id, topic, partition)
    ) STRICT, WITHOUT ROWID;

    -- What tells trades apart is (chain_id, pair_address, tx, tx_index). `bought` is the token that rules about buys go by, or null.
    CREATE TABLE wallet_trades (
        number            INTEGER PRIMARY KEY,
        chain_id          TEXT NOT NULL,
        pair_address      TEXT NOT NULL,
        tx                TEXT NOT NULL,
        tx_index          INTEGER NOT NULL,
        maker             TEXT NOT NULL,
        label             TEXT NOT NULL,
        type              TEXT NOT NULL,
        tx_hash           TEXT NOT NULL,
        token             TEXT NOT NULL,
        token_symbol      TEXT NOT NULL,
        base_token        TEXT NOT NULL,
        base_token_symbol TEXT NOT NULL,
        token_amount      TEXT NOT NULL,
        base_token_amount TEXT NOT NULL,
        total_usd         TEXT NOT NULL,
        token_price_usd   TEXT,
        block_time        INTEGER NOT NULL,
        block_num         INTEGER NOT NULL,
        slot              INTEGER NOT NULL,
        transaction_index INTEGER NOT NULL,
        log_index         INTEGER NOT NULL,
        swap_name         TEXT NOT NULL,
        clamp             INTEGER NOT NULL,
        topic             TEXT NOT NULL,
        topic_partition   INTEGER NOT NULL,
        topic_offset      INTEGER NOT NULL,
        message_index     INTEGER NOT NULL,
        group_id          TEXT NOT NULL,
        logged_at         INTEGER NOT NULL,
        bought            TEXT,
        UNIQUE (chain_id, pair_address, tx, tx_index)
    ) STRICT;
    CREATE INDEX wallet_trades_maker ON wallet_trades (maker, number);
    CREATE INDEX wallet_trades_bought ON wallet_trades (chain_id, bought, block_time) WHERE bought IS NOT NULL;
    CREATE INDEX wallet_trades_bought_by ON wallet_trades (chain_id, bought, maker) WHERE bought IS NOT NULL;

    CREATE TABLE clusters (
        id       INTEGER PRIMARY KEY,
        rule     TEXT NOT NULL,
        chain_id TEXT NOT NULL,
        token    TEXT NOT NULL,
        first_at INTEGER NOT NULL,
        last_at  INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX clusters_token ON clusters (rule, chain_id, token, last_at);

    CREATE TABLE cluster_wallets (
        cluster INTEGER NOT NULL,
        wallet  TEXT NOT NULL,
        PRIMARY KEY (cluster, wallet)
    ) STRICT, WITHOUT ROWID;

    -- Times are unix seconds in `created_at`, milliseconds elsewhere.
    CREATE TABLE outbox (
        id          INTEGER PRIMARY KEY AUTOINCREMENT,
        channel     TEXT NOT NULL,
        dedup_key   TEXT NOT NULL,
        event       TEXT NOT NULL,
        state       TEXT NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'sent', 'failed')),
        created_at  INTEGER NOT NULL,
        attempts    INTEGER NOT NULL DEFAULT 0,
        next_at     INTEGER NOT NULL DEFAULT 0,
        leased_by   TEXT,
        lease_until INTEGER,
        done_at     INTEGER,
        reason      TEXT,
        UNIQUE (channel, dedup_key)
    ) STRICT;
    CREATE INDEX outbox_pending ON outbox (channel, id) WHERE state = 'pending';
    CREATE INDEX outbox_leased ON outbox (channel, lease_until) WHERE leased_by IS NOT NULL;
    CREATE INDEX outbox_sent ON outbox (done_at) WHERE state = 'sent';

    -- A removed address stays as a note for those who knew it. `chain_id` is empty where it is known on any chain; `version` is the
    -- table's version at its last change.
    CREATE TABLE addresses (
        address    TEXT NOT NULL,
        chain_id   TEXT NOT NULL,
        label      TEXT NOT NULL,
        removed    INTEGER NOT NULL,
        version    INTEGER NOT NULL,
        changed_at INTEGER NOT NULL,
        PRIMARY KEY (address, chain_id)
    ) STRICT, WITHOUT ROWID;
    CREATE INDEX addresses_version ON addresses (version);

    CREATE TABLE address_version (version INTEGER NOT NULL) STRICT;
    INSERT INTO address_version VALUES (0);
    ", "
    CREATE INDEX outbox_states ON outbox (channel, state, done_at);
    "],
};
