//! Fetch (1), versions 4 to 18.
//!
//! 5: log start offset. 7: sessions (KIP-227). 9: leader epoch of the reader (KIP-320). 11: preferred replica. 12: flexible, diverging
//! epochs. 13: topic ids (KIP-516). 15: replica state. 16 to 18: node endpoints, directory ids, high watermarks.
//! Not supported: replicas, transactions (`read_committed` reads to the high watermark: nothing is ever undecided).
//!
//! A fetch that finds less than it asked for registers with its partitions and is woken by an append; it never sleeps and looks
//! again. Batches are handed to the socket as the log has them, in pieces.

mod answer;
mod session;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kohort_protocol::messages::FetchRequest;
use kohort_protocol::{ErrorCode, StrBytes, Uuid};
use tokio::sync::Notify;

pub(crate) use session::Sessions;

use self::answer::{Answer, PartitionAnswer};
use self::session::{Context, Wanted};
use super::{Call, Outcome};
use crate::broker::Shared;
use crate::connection::HangUp;
use crate::log::{ReadError, Slice};
use crate::partition::{LEADER_EPOCH, Partition, Waiter, check_leader_epoch};

/// A partition of a fetch, by name or by id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    pub(crate) name: StrBytes,
    pub(crate) id: Uuid,
    pub(crate) partition: i32,
}

/// Handles a fetch, waiting if it may.
pub(crate) async fn handle(mut call: Call<'_>) -> Result<Outcome, HangUp> {
    let request: FetchRequest = call.request()?;
    let version = call.version();
    if !matches!(request.isolation_level, 0 | 1) {
        // Only the two levels that there are; Kafka fails inside on others.
        let (error, wanted) = (ErrorCode::UNKNOWN_SERVER_ERROR, session::named(&request, version >= 13));
        let refused = Answer::refused_with(version, call.header.correlation_id, error, &wanted);
        return Ok(refused.finish(&mut call));
    }
    let mut context = match call.shared.sessions.open(&request, version) {
        Ok(context) => context,
        Err(error) => {
            return Ok(Answer::refused(version, call.header.correlation_id, error).finish(&mut call));
        }
    };
    let limits = Limits {
        min: usize::try_from(request.min_bytes).unwrap_or(0),
        max: usize::try_from(request.max_bytes)
            .unwrap_or(0)
            .min(call.shared.settings.size("fetch.max.bytes")),
        negative: request.max_bytes < 0,
        replica: (if version >= 15 { request.replica_state.replica_id.0 } else { request.replica_id.0 }) >= 0,
    };
    let wait = Duration::from_millis(u64::try_from(request.max_wait_ms).unwrap_or(0));
    let mut found = look(call.shared, &context, limits, None);
    let missing = Some(found.missing);
    if !found.enough && !wait.is_zero() {
        let waiting = Waiting::register(call.shared, &context);
        let deadline = tokio::time::Instant::now() + wait;
        loop {
            // Once more after registering: what came in between is not told.
            found = look(call.shared, &context, limits, missing);
            if found.enough || tokio::time::timeout_at(deadline, waiting.waiter.notified()).await.is_err() {
                break;
            }
            waiting.again();
        }
        if !found.enough {
            found = look(call.shared, &context, limits, missing);
        }
    }
    let session_id = context.session_id();
    let mut answer = Answer::new(version, call.header.correlation_id, session_id);
    for (wanted, read) in context.wanted().iter().zip(found.reads) {
        let partition = read.load(call.shared, wanted);
        answer.add(wanted, partition);
    }
    context.settle(&mut answer);
    Ok(answer.finish(&mut call))
}

#[derive(Clone, Copy)]
struct Limits {
    min: usize,
    max: usize,
    /// Less than nothing is asked for: Kafka fails inside.
    negative: bool,
    /// Another broker asks: nobody here has replicas.
    replica: bool,
}

struct Found {
    reads: Vec<Read>,
    /// How many partitions are not there.
    missing: usize,
    enough: bool,
}

enum Read {
    Records { slice: Slice, end: i64, start: i64 },
    Nothing(ErrorCode),
}

/// Finds what each partition has, without reading it. Whole batches; the first batch of the answer even if it is larger than
/// everything asked for, so that a reader gets past it (KIP-74).
///
/// Partitions that were `missing` before do not end a wait for the others (Kafka answers for them without asking its logs);
/// without that, a reader that goes on asking for a deleted topic would never wait again.
fn look(shared: &Shared, context: &Context<'_>, limits: Limits, missing: Option<usize>) -> Found {
    let mut left = limits.max;
    let (mut bytes, mut news, mut any, mut gone) = (0, false, false, 0);
    let mut reads = Vec::with_capacity(context.wanted().len());
    for wanted in context.wanted() {
        let read = find(shared, wanted, limits, left, !any);
        match &read {
            Read::Records { slice, .. } => {
                let n = slice.bytes_max();
                any |= n > 0;
                bytes += n;
                left = left.saturating_sub(n);
            }
            Read::Nothing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID) => gone += 1,
            Read::Nothing(_) => news = true,
        }
        reads.push(read);
    }
    // Any other error is news at once, and so is a fetch of nothing at all.
    let nothing = gone == context.wanted().len() && (gone > 0 || !context.is_incremental());
    let vanished = missing.is_some_and(|before| gone > before);
    Found { reads, missing: gone, enough: news || nothing || vanished || bytes >= limits.min }
}

fn find(shared: &Shared, wanted: &Wanted, limits: Limits, left: usize, first: bool) -> Read {
    let nothing = Read::Nothing;
    let Some(partition) = partition(shared, &wanted.key) else {
        return nothing(if wanted.by_id && topic_is_unknown(shared, wanted) {
            ErrorCode::UNKNOWN_TOPIC_ID
        } else {
            ErrorCode::UNKNOWN_TOPIC_OR_PARTITION
        });
    };
    if limits.replica {
        return nothing(ErrorCode::NOT_LEADER_OR_FOLLOWER);
    }
    if let Err(error) = check_leader_epoch(wanted.leader_epoch.max(-1)) {
        return nothing(error);
    }
    if limits.negative || wanted.max_bytes < 0 {
        return nothing(ErrorCode::UNKNOWN_SERVER_ERROR);
    }
    if wanted.last_fetched_epoch > LEADER_EPOCH {
        // Records of an epoch that never was: the reader is not one of this log.
        return nothing(ErrorCode::OFFSET_OUT_OF_RANGE);
    }
    let max = usize::try_from(wanted.max_bytes).unwrap_or(0).min(left);
    let found = partition.with(|log| {
        let (start, end) = (log.start_offset(), log.end_offset());
        match log.read(wanted.offset, max, first) {
            Ok(slice) => Read::Records { slice, end, start },
            Err(ReadError::OffsetOutOfRange { .. }) => Read::Nothing(ErrorCode::OFFSET_OUT_OF_RANGE),
            Err(e) => {
                tracing::error!("cannot read `{}-{}`: {e}", &*wanted.key.name, wanted.key.partition);
                Read::Nothing(ErrorCode::KAFKA_STORAGE_ERROR)
            }
        }
    });
    found.unwrap_or_else(|| nothing(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))
}

fn topic_is_unknown(shared: &Shared, wanted: &Wanted) -> bool {
    shared.catalog.topic_by_id(wanted.key.id).is_none()
}

fn partition(shared: &Shared, key: &Key) -> Option<Arc<Partition>> {
    let topic =
        if key.id.is_nil() { shared.catalog.topic(&key.name) } else { shared.catalog.topic_by_id(key.id) }?;
    topic.partition(key.partition).cloned()
}

impl Read {
    /// Reads what was found.
    fn load(self, shared: &Shared, wanted: &Wanted) -> PartitionAnswer {
        match self {
            Self::Nothing(error) => PartitionAnswer::refused(
                error,
                !matches!(error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID),
            ),
            Self::Records { slice, end, start } => match slice.load(&shared.buffers) {
                Ok(records) => PartitionAnswer {
                    error: ErrorCode::NONE,
                    high_watermark: end,
                    log_start: start,
                    records,
                    asked: true,
                },
                Err(e) => {
                    tracing::error!("cannot read `{}-{}`: {e}", &*wanted.key.name, wanted.key.partition);
                    PartitionAnswer::refused(ErrorCode::KAFKA_STORAGE_ERROR, true)
                }
            },
        }
    }
}

/// A fetch's place in the queues of its partitions; it leaves them when it is dropped.
struct Waiting {
    waiter: Waiter,
    partitions: Vec<Arc<Partition>>,
}

impl Waiting {
    fn register(shared: &Shared, context: &Context<'_>) -> Self {
        let waiting = Self {
            waiter: Arc::new(Notify::new()),
            partitions: context.wanted().iter().filter_map(|w| partition(shared, &w.key)).collect(),
        };
        for partition in &waiting.partitions {
            partition.wait(&waiting.waiter);
        }
        waiting
    }

    /// A wake-up took it out of one queue; which one is not known.
    fn again(&self) {
        for partition in &self.partitions {
            partition.leave(&self.waiter);
            partition.wait(&self.waiter);
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        for partition in &self.partitions {
            partition.leave(&self.waiter);
        }
    }
}

/// The pieces of a partition's records and their length.
pub(super) fn length(records: &[Bytes]) -> usize {
    records.iter().map(Bytes::len).sum()
}
