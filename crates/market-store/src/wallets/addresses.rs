//! The table of addresses that were added and removed while the service ran.

use market_data::wallets::Change;

use crate::StoreError;

/// What changed in the table since a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressChanges {
    /// The table's version now: what to ask with next.
    pub version: i64,
    /// The last change of each address (of each chain) that changed, oldest first.
    pub changes: Vec<Change>,
}

/// Who is known and who is known no more, for all processes of Smart Money: it stands above what a file of addresses says, so a removal
/// stays here as a note, also of an address that was never added. Each change raises the table's version by one, by which a process sees
/// what others changed without reading a million rows.
pub trait AddressTable: Send {
    /// Adds addresses, gives them another label, and removes them, in one transaction; addresses are canonical. How many rows were
    /// changed. Trades that are in the log stay there.
    fn change_addresses(&mut self, changes: &[Change], now: i64) -> Result<usize, StoreError>;

    /// What changed since `version`; everything since 0. Cheap if nothing did.
    fn address_changes(&mut self, version: i64) -> Result<AddressChanges, StoreError>;
}
