//! The table of known addresses.

use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::SqliteWallets;
use crate::StoreError;
use crate::wallets::{AddressChanges, AddressTable, KnownAddress};

impl AddressTable for SqliteWallets {
    fn add_addresses(&mut self, addresses: &[KnownAddress], now: i64) -> Result<usize, StoreError> {
        let add = |transaction: &Transaction<'_>, version: i64| {
            let mut statement = transaction.prepare_cached(
                "INSERT INTO addresses VALUES (?1, ?2, 0, ?3, ?4)
                 ON CONFLICT DO UPDATE SET label = excluded.label, removed = 0, version = excluded.version,
                     changed_at = excluded.changed_at
                 WHERE removed <> 0 OR label <> excluded.label",
            )?;
            let mut changed = 0;
            for known in addresses {
                changed += statement.execute((&known.address, &known.label, version, now))?;
            }
            Ok(changed)
        };
        change(&mut self.connection, add).map_err(|error| self.failure(error))
    }

    fn remove_addresses(&mut self, addresses: &[String], now: i64) -> Result<usize, StoreError> {
        let remove = |transaction: &Transaction<'_>, version: i64| {
            let mut statement = transaction.prepare_cached(
                "UPDATE addresses SET removed = 1, version = ?2, changed_at = ?3 WHERE address = ?1 AND removed = 0",
            )?;
            let mut changed = 0;
            for address in addresses {
                changed += statement.execute((address, version, now))?;
            }
            Ok(changed)
        };
        change(&mut self.connection, remove).map_err(|error| self.failure(error))
    }

    fn address_changes(&mut self, version: i64) -> Result<AddressChanges, StoreError> {
        changes(&mut self.connection, version).map_err(|error| self.failure(error))
    }

    fn addresses(&mut self, after: &str, limit: usize) -> Result<Vec<KnownAddress>, StoreError> {
        let list = || {
            let mut statement = self.connection.prepare_cached(
                "SELECT address, label FROM addresses WHERE address > ?1 AND removed = 0 ORDER BY address LIMIT ?2",
            )?;
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            let known =
                |row: &rusqlite::Row<'_>| Ok(KnownAddress { address: row.get(0)?, label: row.get(1)? });
            statement.query_map((after, limit), known)?.collect::<rusqlite::Result<Vec<_>>>()
        };
        list().map_err(|error| self.failure(error))
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
            "SELECT address, label, removed FROM addresses WHERE version > ?1 AND (removed = 0 OR ?1 > 0)
             ORDER BY version, address",
        )?;
        let mut rows = statement.query([since])?;
        while let Some(row) = rows.next()? {
            let address = row.get(0)?;
            if row.get(2)? {
                changes.removed.push(address);
            } else {
                changes.known.push(KnownAddress { address, label: row.get(1)? });
            }
        }
    }
    Ok(changes)
}
