//! What is to be told, and by whom, until it is told.
//!
//! A row is written with the trade that it tells of, once for each channel and key. It is *pending* until it is *sent* or *failed* for
//! good. A channel is sent to in order, oldest first: nobody may lease a row while an older one of its channel is leased or
//! waits for its next try. A dispatcher leases rows, sends, and marks each; one that dies after a send and before the mark leaves a row
//! that is sent again when its lease ends: **at least once**, and the receiver knows a repetition by the row's key.
//!
//! Leases go by wall clocks: those of processes that share an outbox must agree to within a lease. A clock that is set back leaves times
//! that are too far off to have been meant: nobody waits for these (twice a lease, [`NEXT_TRY_MAX_MS`]).

use crate::StoreError;

/// No row waits longer than this for its next try: an hour.
pub const NEXT_TRY_MAX_MS: i64 = 3_600_000;

/// A row that was leased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutboxRow {
    /// Its number: smaller for what is older.
    pub id: i64,
    /// The key of what it tells: the same each time that it is sent.
    pub key: String,
    /// The [`Event`](super::Event) as JSON.
    pub event: String,
    /// When it was written, unix seconds.
    pub created_at: i64,
    /// Tries that failed.
    pub attempts: u32,
}

/// Who wants rows of which channel, and for how long.
#[derive(Debug, Clone, Copy)]
pub struct LeaseRequest<'a> {
    /// The channel.
    pub channel: &'a str,
    /// Who asks: different for each dispatcher of each process that ever ran.
    pub owner: &'a str,
    /// The time now, unix milliseconds.
    pub now_ms: i64,
    /// When the lease ends, unix milliseconds.
    pub until_ms: i64,
    /// How many rows at most.
    pub limit: usize,
}

impl LeaseRequest<'_> {
    /// The latest end of another's lease that is believed: leases are of one length, and clocks agree to within one.
    pub(crate) fn lease_max_ms(&self) -> i64 {
        self.until_ms.saturating_add(self.until_ms.saturating_sub(self.now_ms))
    }

    /// Why nothing can be leased now; `None` if something can. `leased`: the end of another's lease, if it is one that is believed;
    /// `next_at_ms`: when the oldest row is due.
    pub(crate) fn wait(&self, leased: Option<i64>, next_at_ms: i64) -> Option<Leased> {
        let meant = next_at_ms <= self.now_ms.saturating_add(NEXT_TRY_MAX_MS);
        let due = if meant { next_at_ms } else { self.now_ms };
        let wait_until_ms = leased.unwrap_or(i64::MIN).max(due);
        (leased.is_some() || due > self.now_ms)
            .then_some(Leased { rows: Vec::new(), wait_until_ms: Some(wait_until_ms) })
    }
}

/// What a dispatcher got.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Leased {
    /// The oldest pending rows of the channel, oldest first.
    pub rows: Vec<OutboxRow>,
    /// When to ask again, unix milliseconds: the end of another's lease, or the next try of the oldest row. `None`: nothing is pending.
    pub wait_until_ms: Option<i64>,
}

/// A channel's rows, for people.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ChannelSummary {
    /// The channel.
    pub channel: String,
    /// Rows to be sent.
    pub pending: u64,
    /// Rows that were sent and not yet forgotten.
    pub sent: u64,
    /// Rows that were refused for good.
    pub failed: u64,
    /// When the oldest pending row was written, unix seconds.
    pub oldest_pending_at: Option<i64>,
    /// Why the oldest pending row was not sent at its last try.
    pub last_error: Option<String>,
    /// Why the latest refused row was refused.
    pub last_failure: Option<String>,
}

/// The outbox, as dispatchers see it.
pub trait Outbox: Send {
    /// Leases the oldest rows of a channel, if no other of its rows is leased and the oldest is due.
    fn lease(&mut self, request: &LeaseRequest<'_>) -> Result<Leased, StoreError>;

    /// Marks a row as sent, whoever has it by now: it is.
    fn mark_sent(&mut self, id: i64, now_ms: i64) -> Result<(), StoreError>;

    /// Ends the owner's lease of a row that was not sent, to be tried again at a time.
    fn mark_retry(&mut self, id: i64, owner: &str, next_at_ms: i64, why: &str) -> Result<(), StoreError>;

    /// Marks a row as failed for good: it is sent no more, and blocks nobody.
    fn mark_failed(&mut self, id: i64, owner: &str, now_ms: i64, why: &str) -> Result<(), StoreError>;

    /// Ends all leases of an owner, without a failed try.
    fn release(&mut self, owner: &str) -> Result<(), StoreError>;

    /// Makes the failed rows of a channel pending again, in their places: how many.
    fn requeue(&mut self, channel: &str) -> Result<usize, StoreError>;

    /// Forgets rows that were sent before a time: how many. What they told is not told again, because the log has the trades.
    fn forget_sent(&mut self, before_ms: i64) -> Result<usize, StoreError>;

    /// All channels that have rows.
    fn outbox(&mut self) -> Result<Vec<ChannelSummary>, StoreError>;
}
