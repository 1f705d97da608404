//! The table of known addresses.

use market_data::wallets::{Change, Known};

use super::{MySqlWallets, bytes};
use crate::StoreError;
use crate::wallets::log::Columns as _;
use crate::wallets::{AddressChanges, AddressTable};

impl AddressTable for MySqlWallets {
    fn change_addresses(&mut self, changes: &[Change], now: i64) -> Result<usize, StoreError> {
        self.transaction(|session| {
            let version = session.ask(
                "SELECT version FROM wallet_address_version WHERE id = 1 FOR UPDATE",
                vec![],
                |row| row.integer(),
            )?;
            let version = version.into_iter().next().unwrap_or(0) + 1;
            let mut changed = 0;
            for change in changes {
                let (address, chain_id, label) = match change {
                    Change::Add(known) => (&known.address, &known.chain_id, Some(&known.label)),
                    Change::Remove { address, chain_id } => (address, chain_id, None),
                };
                let text = label.map_or("", String::as_str);
                // Assignments are made from left to right: what the row was is compared before it is changed.
                let rows = session.change(
                    "INSERT INTO wallet_addresses (address, chain_id, label, removed, version, changed_at) VALUES (?, ?, ?, ?, ?, ?)
                     ON DUPLICATE KEY UPDATE
                         version = IF(label <> VALUES(label) OR removed <> VALUES(removed), VALUES(version), version),
                         changed_at = IF(version = VALUES(version), VALUES(changed_at), changed_at),
                         label = VALUES(label), removed = VALUES(removed)",
                    vec![
                        bytes(address),
                        bytes(chain_id),
                        bytes(text),
                        label.is_none().into(),
                        version.into(),
                        now.into(),
                    ],
                )?;
                changed += usize::from(rows > 0);
            }
            if changed > 0 {
                session.change("UPDATE wallet_address_version SET version = ? WHERE id = 1", vec![version.into()])?;
            }
            Ok(changed)
        })
    }

    fn address_changes(&mut self, since: i64) -> Result<AddressChanges, StoreError> {
        self.transaction(|session| {
            let version =
                session.ask("SELECT version FROM wallet_address_version WHERE id = 1", vec![], |row| row.integer())?;
            let version = version.into_iter().next().unwrap_or(0);
            let mut changes = AddressChanges { version, ..AddressChanges::default() };
            if version != since {
                // A version that is ahead of the table's is of another table: everything is told. What is committed between the two
                // statements has a later version, and is told the next time.
                let since = if since > version { 0 } else { since };
                changes.changes = session.ask(
                    "SELECT address, chain_id, label, removed FROM wallet_addresses WHERE version > ? AND version <= ?
                     ORDER BY version, address, chain_id",
                    vec![since.into(), version.into()],
                    |row| {
                        let (address, chain_id, label) = (row.text()?, row.text()?, row.text()?);
                        Ok(match row.integer()? {
                            0 => Change::Add(Known { address, chain_id, label }),
                            _ => Change::Remove { address, chain_id },
                        })
                    },
                )?;
            }
            Ok(changes)
        })
    }
}
