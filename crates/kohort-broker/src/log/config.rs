//! What a log is told: the topic configs that concern it, under Kafka's names.

use std::sync::Arc;

use super::recent::RecentBudget;

/// One week.
const WEEK_MS: i64 = 7 * 24 * 60 * 60 * 1000;

/// The settings of one partition's log. Defaults are Kafka 4's; `None` is Kafka's -1, unlimited.
#[derive(Clone, Debug)]
pub struct LogConfig {
    /// `segment.bytes`: a segment is closed before it would grow larger. At most `i32::MAX`.
    pub segment_bytes: u64,
    /// `segment.ms`: a segment is closed when its first record is this old.
    pub segment_ms: i64,
    /// `segment.index.bytes`: a segment is closed when its offset index would grow larger.
    pub segment_index_bytes: usize,
    /// `index.interval.bytes`: about one index entry for so many bytes of log.
    pub index_interval_bytes: u64,
    /// `retention.ms`: closed segments whose newest record is older are deleted.
    pub retention_ms: Option<i64>,
    /// `retention.bytes`: the oldest closed segments are deleted while the rest is at least so large.
    pub retention_bytes: Option<u64>,
    /// `cleanup.policy`.
    pub cleanup: CleanupPolicy,
    /// `delete.retention.ms`: how long compaction keeps a tombstone.
    pub delete_retention_ms: i64,
    /// `min.cleanable.dirty.ratio`: compaction starts when so much of the log was never compacted.
    pub min_cleanable_dirty_ratio: f64,
    /// `min.compaction.lag.ms`: younger records are not compacted.
    pub min_compaction_lag_ms: i64,
    /// `max.compaction.lag.ms`: older records are compacted whatever the ratio.
    pub max_compaction_lag_ms: Option<i64>,
    /// `max.message.bytes`: the largest batch a client may append.
    pub max_message_bytes: usize,
    /// `message.timestamp.type=LogAppendTime`: the broker's time replaces the producer's.
    pub log_append_time: bool,
    /// `message.timestamp.before.max.ms`: how far a producer's timestamp may lie in the past.
    pub timestamp_before_max_ms: Option<i64>,
    /// `message.timestamp.after.max.ms`: how far it may lie in the future.
    pub timestamp_after_max_ms: Option<i64>,
    /// `flush.messages`: force the log to disk after so many records.
    pub flush_messages: Option<u64>,
    /// `flush.ms`: force it after so long; looked at by [`super::Log::flush_due`].
    pub flush_ms: Option<i64>,
    /// `producer.id.expiration.ms` (a broker setting): a silent idempotent producer is forgotten after this.
    pub producer_id_expiration_ms: i64,
    /// How much of what was appended last is kept in memory for readers at the tail.
    pub recent_bytes_max: usize,
    /// The sum of that over all logs that share this.
    pub recent_budget: Arc<RecentBudget>,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self {
            segment_bytes: 1 << 30,
            segment_ms: WEEK_MS,
            segment_index_bytes: 10 * 1024 * 1024,
            index_interval_bytes: 4096,
            retention_ms: Some(WEEK_MS),
            retention_bytes: None,
            cleanup: CleanupPolicy::default(),
            delete_retention_ms: 24 * 60 * 60 * 1000,
            min_cleanable_dirty_ratio: 0.5,
            min_compaction_lag_ms: 0,
            max_compaction_lag_ms: None,
            max_message_bytes: 1024 * 1024 + 12,
            log_append_time: false,
            timestamp_before_max_ms: None,
            timestamp_after_max_ms: Some(60 * 60 * 1000),
            flush_messages: None,
            flush_ms: None,
            producer_id_expiration_ms: 24 * 60 * 60 * 1000,
            recent_bytes_max: 4 * 1024 * 1024,
            recent_budget: Arc::new(RecentBudget::default()),
        }
    }
}

/// `cleanup.policy`: what happens to old records. Both may be set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CleanupPolicy {
    /// Old segments are deleted by time and size.
    pub delete: bool,
    /// Of each key only the latest record stays.
    pub compact: bool,
}

impl Default for CleanupPolicy {
    fn default() -> Self {
        Self { delete: true, compact: false }
    }
}
