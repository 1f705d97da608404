//! What is plugged into a group: a worker for each lane, a sink for each member.

use std::future::Future;
use std::sync::Arc;

use kohort_client::{FetchedBatch, Offset, Record, TopicPartition};

/// Handles records of one lane and gathers what they come to. Owned by its lane: no lock, no task and no allocation for a record is
/// needed.
pub trait Worker: Send + 'static {
    /// What it gathers between two flushes.
    type Delta: Send + Sync + 'static;

    /// Handles one record, which is lent from `batch`.
    ///
    /// # Errors
    /// When the record can never be handled: it goes to the dead-letter topic with this reason.
    fn record(&mut self, batch: &FetchedBatch, record: &Record<'_>) -> Result<(), Reject>;

    /// A batch is over: the moment to show what is new, before any flush.
    fn batch_done(&mut self) {}

    /// Hands over what was gathered since the last time, and begins anew.
    fn take(&mut self) -> Self::Delta;
}

/// Why a record cannot be handled, ever.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reject(pub String);

/// Writes what a member's lanes gathered, together with how far they read. One for each member, asked for one thing at a time.
///
/// Both futures may be dropped before they end: the member stops, or its partitions are somebody else's. Whether what was asked for is
/// done is not known then; the sink is asked again, and a claim finds out.
pub trait Sink: Send + 'static {
    /// What the lanes hand over.
    type Delta: Send + Sync + 'static;
    /// Why it could not be reached; it is asked again, with backoff, for ever.
    type Error: std::error::Error + Send + Sync + 'static;

    /// What the sink's own store is called, if a crash may take its last writes back, positions among them. Then they are read again, though
    /// the group has committed more: each commit says that it only follows this store.
    fn may_go_back(&self) -> Option<String> {
        None
    }

    /// Takes the right to write for these partitions from whoever had it, in every store of the group, and says how far each is.
    /// A store that cannot be reached is an error: it delays the claim, and is never passed over.
    fn claim(
        &mut self,
        partitions: &[TopicPartition],
    ) -> impl Future<Output = Result<Vec<Claim>, Self::Error>> + Send;

    /// Writes everything in one transaction, or nothing. After an error the same batch is tried again.
    fn flush(
        &mut self,
        batch: Arc<FlushBatch<Self::Delta>>,
    ) -> impl Future<Output = Result<Flushed, Self::Error>> + Send;

    /// Lowers the positions of partitions to [`Progress::to`], in every store of the group that has more, and writes nothing else: their log was made
    /// anew, or lost its tail, and is read from there. Each store only if nobody has claimed since, and the one with the largest position last: it shows what is half done. After an error it
    /// is asked again: what is lowered already stays.
    fn go_back(&mut self, steps: Vec<Progress>) -> impl Future<Output = Result<Flushed, Self::Error>> + Send;
}

/// What a claim found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch that is ours until somebody else claims.
    pub epoch: i64,
    /// The sink's own store has everything below this that fell to it; `None` if it has nothing. It is what a flush states as
    /// [`Progress::from`].
    pub position: Option<Offset>,
    /// The largest position over all stores of the group, `position` among them: reading begins there, or at the group's committed
    /// offset if that is larger. Where there is one store, it is `position`.
    pub resume: Option<Offset>,
}

/// One partition's step in a flush.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The partition.
    pub partition: TopicPartition,
    /// The epoch that was claimed.
    pub epoch: i64,
    /// The position that the sink's own store has, as claimed or as the last flush left it. Reading may have begun above it: another
    /// store of the group has what lies between.
    pub from: Option<Offset>,
    /// The new position.
    pub to: Offset,
}

/// What one flush writes.
#[derive(Debug)]
pub struct FlushBatch<D> {
    /// What each lane gathered.
    pub deltas: Vec<D>,
    /// How far each partition is with it.
    pub progress: Vec<Progress>,
}

/// How a flush ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flushed {
    /// All is written.
    Done,
    /// Nothing is: somebody else claimed one of the partitions, or its position moved.
    Fenced,
}
