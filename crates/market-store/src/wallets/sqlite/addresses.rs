//! The table of addresses.

use market_data::wallets::{Change, Known};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::SqliteWallets;
use crate::StoreError;
use crate::wallets::{AddressChanges, AddressTable};

impl AddressTable for SqliteWallets {
    fn change_addresses(&mut self, changes: &[Change], now: i64) -> Result<usize, StoreError> {
        let make = |transaction: &Transaction<'_>, version: i64| {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO addresses VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT DO UPDATE SET label = excluded.label, removed = excluded.removed, version = excluded.version,
                     changed_at = excluded.changed_at
                 WHERE removed <> excluded.removed OR label <> excluded.label",
            )?;
            let mut changed = 0;
            for change in changes {
                let (address, chain_id, label) = match change {
                    Change::Add(known) => (&known.address, &known.chain_id, Some(&known.label)),
                    Change::Remove { address, chain_id } => (address, chain_id, None),
                };
                let text = label.map_or("", String::as_str);
                changed += statement.execute((address, chain_id, text, label.is_none(), version, now))?;
            }
            Ok(changed)
        };
        change(&mut self.connection, make).map_err(|error| self.failure(error))
    }

    fn address_changes(&mut self, version: i64) -> Result<AddressChanges, StoreError> {
        changes(&mut self.connection, version).map_err(|error| self.failure(error))
    }
}

/// Makes a change under the table's next version, which holds only if anything changed.
fn change(
    connection: &mut Connection,
    make: impl FnOnce(&Transaction<'_>, i64) -> rusqlite::Result<usize>,
) -> rusqlite::Result<usize> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    let version: i64 = transaction.query_row("SELECT version FROM address_version", [], |row| row.get(0))?;
    let changed = make(&transaction, version + 1)?;
    if changed > 0 {
        transaction.execute("UPDATE address_version SET version = ?1", [version + 1])?;
    }
    transaction.commit()?;
    Ok(changed)
}

fn changes(connection: &mut Connection, since: i64) -> rusqlite::Result<AddressChanges> {
    // Both as one commit left them.
    let transaction = connection.transaction()?;
    let version = transaction.query_row("SELECT version FROM address_version", [], |row| row.get(0))?;
    let mut changes = AddressChanges { version, ..AddressChanges::default() };
    if version != since {
        // A version that is ahead of the table's is of another table: everything is told.
        let since = if since > version { 0 } else { since };
        let mut statement = transaction.prepare_cached(
            "SELECT address, chain_id, label, removed FROM addresses WHERE version > ?1 ORDER BY version, address, chain_id",
        )?;
        let mut rows = statement.query([since])?;
        while let Some(row) = rows.next()? {
            let (address, chain_id) = (row.get(0)?, row.get(1)?);
            changes.changes.push(match row.get(3)? {
                true => Change::Remove { address, chain_id },
                false => Change::Add(Known { address, chain_id, label: row.get(2)? }),
            });
        }
    }
    Ok(changes)
}
