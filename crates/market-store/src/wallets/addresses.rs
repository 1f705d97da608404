//! The table of known addresses.

use crate::StoreError;

/// An address that is known.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KnownAddress {
    /// The address, [`canonical`](market_data::wallets::canonical).
    pub address: String,
    /// What people call it; empty if nothing.
    pub label: String,
}

/// What changed in the table since a version.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AddressChanges {
    /// The table's version now: what to ask with next.
    pub version: i64,
    /// Addresses that are new or have another label.
    pub known: Vec<KnownAddress>,
    /// Addresses that are known no more.
    pub removed: Vec<String>,
}

/// The addresses that all processes of Smart Money know. Each change raises the table's version by one, by which a process
/// sees what others changed without reading a million rows.
pub trait AddressTable: Send {
    /// Adds addresses, or gives them another label, in their canonical form: how many were changed.
    fn add_addresses(&mut self, addresses: &[KnownAddress], now: i64) -> Result<usize, StoreError>;

    /// Removes addresses: how many were known. Trades that are in the log stay there.
    fn remove_addresses(&mut self, addresses: &[String], now: i64) -> Result<usize, StoreError>;

    /// What changed since `version`; everything since 0. Cheap if nothing did.
    fn address_changes(&mut self, version: i64) -> Result<AddressChanges, StoreError>;

    /// Known addresses in their order, after `after` (exclusive; empty for the first), at most `limit`.
    fn addresses(&mut self, after: &str, limit: usize) -> Result<Vec<KnownAddress>, StoreError>;
}
