//! The log of known wallets' trades, what follows from them, and who is known: positions, trades and notifications in one
//! transaction.
//!
//! - [`WalletLog::log`] writes the trades of a range of offsets, each once, and decides by [`Rules`] what is told about them;
//! - what is told goes to the [`Outbox`] in the same transaction, once for each channel and subject, and stays there until a
//!   dispatcher has sent it: a trade is in the log exactly if what follows from it is in the outbox;
//! - [`AddressTable`] is what several processes share of the book of addresses: what was added and removed while they ran.
//!
//! It knows no channel but its name, and sends nothing.

mod addresses;
mod event;
mod history;
mod log;
mod mysql;
mod outbox;
mod rules;
mod sqlite;

pub use addresses::{AddressChanges, AddressTable};
pub use event::{Event, Joined, What};
pub use history::{Buy, Buys, Direction, History, Piece, Span, Token};
pub use log::{LogFlush, Logged, LoggedTrade, WalletLog};
pub use mysql::MySqlWallets;
pub use outbox::{ChannelSummary, LeaseRequest, Leased, NEXT_TRY_MAX_MS, Outbox, OutboxRow};
pub use rules::{Rule, RuleKind, Rules, Told, evaluate};
pub use sqlite::SqliteWallets;

/// Everything that Smart Money keeps in one place.
pub trait WalletStore: WalletLog + Outbox + AddressTable {}

impl<T: WalletLog + Outbox + AddressTable> WalletStore for T {}
