//! One partition's durable log: record batches in segment files, as the clients sent them.
//!
//! # For the caller
//!
//! - [`Log::open`] recovers; [`Log::close`] makes the next start fast. A log that is dropped instead is recovered like
//!   one whose process was killed.
//! - [`Log::append`] and the other `&mut` calls go under the partition's lock. They write, they never read records.
//! - [`Log::read`] under the lock only *finds*; [`Slice::load`] fetches outside it, from memory where it can
//!   ([`Slice::in_memory`]: it will not block), else with one read of the file into a buffer of the [`ReadBuffers`].
//! - [`Log::set_hook`]: called with the new end after every append, under the lock: wake waiting fetches from there.
//! - Every so often, per log: [`Log::rest`], [`Log::retention`], then [`Log::flush_due`] and, outside the lock, [`Flush::run`], then
//!   [`Log::flushed`]. For a compacted log also [`Log::compaction_due`], outside the lock [`Compaction::run`], then
//!   [`Log::compacted`].
//!
//! The high watermark is the log end offset: there are no replicas.
//!
//! # Files
//!
//! `<base offset>.log`, `.index`, `.timeindex`, `.snapshot` (producer states before that offset), `leader-epochs`,
//! `checkpoint` (log start offset, recovery point), `clean-shutdown`. Indexes of the active segment live in memory: a
//! crash reads that segment anyway.
//!
//! # Not here
//!
//! Transactions. Replication. Recompression (`compression.type` other than `producer`).

mod append;
mod compact;
mod config;
mod epochs;
mod files;
mod flush;
mod index;
mod producers;
mod read;
mod recent;
mod recover;
mod retention;
mod segment;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::records::Decompressor;

pub use append::{AppendError, AppendInfo, AppendOptions, Origin};
pub use compact::{Compacted, Compaction, CompactionStats};
pub use config::{CleanupPolicy, LogConfig};
pub use flush::Flush;
pub use producers::SequenceError;
pub use read::{ReadBuffers, ReadError, Slice, TimestampOffset};
pub use recent::RecentBudget;
pub use recover::{OpenError, Recovered};
pub use retention::DeleteRecordsError;
pub use validate::InvalidBatch;

use epochs::Epochs;
pub use producers::ActiveProducer;
use producers::Producers;
use recent::Recent;
use segment::{Active, Sealed};

/// Called with the new log end offset.
pub type Hook = Box<dyn Fn(i64) + Send + Sync>;

/// The log of one partition. See the module for how to use it.
pub struct Log {
    dir: PathBuf,
    config: LogConfig,
    /// Closed segments, oldest first; each begins where the one before ends.
    sealed: VecDeque<Arc<Sealed>>,
    active: Active,
    start_offset: i64,
    end_offset: i64,
    /// Below it everything is on disk.
    recovery_point: i64,
    /// Below it compaction has been.
    cleaned_to: i64,
    producers: Producers,
    epochs: Epochs,
    recent: Recent,
    /// Holds what the largest batch decompresses to, so not for longer than batches come.
    decompressor: Option<Decompressor>,
    unflushed_records: u64,
    flushed_ms: i64,
    /// A failed write could not be taken back: the file may not be what memory says.
    broken: bool,
    hook: Option<Hook>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Log")
            .field("dir", &self.dir)
            .field("start_offset", &self.start_offset)
            .field("end_offset", &self.end_offset)
            .field("segments", &(self.sealed.len() + 1))
            .finish_non_exhaustive()
    }
}

impl Log {
    /// The first offset that can be read.
    #[must_use]
    pub fn start_offset(&self) -> i64 {
        self.start_offset
    }

    /// The offset that the next record gets; also the high watermark.
    #[must_use]
    pub fn end_offset(&self) -> i64 {
        self.end_offset
    }

    /// Bytes of all segments, which is what `retention.bytes` counts.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.sealed.iter().map(|sealed| sealed.size).sum::<u64>() + self.active.size
    }

    /// How many segments there are, the active one included.
    #[must_use]
    pub fn segments(&self) -> usize {
        self.sealed.len() + 1
    }

    /// Its folder.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Its settings.
    #[must_use]
    pub fn config(&self) -> &LogConfig {
        &self.config
    }

    /// The idempotent producers that are remembered.
    #[must_use]
    pub fn active_producers(&self) -> Vec<ActiveProducer> {
        self.producers.active()
    }

    /// Other settings from now on (AlterConfigs). What is already written stays as it is.
    pub fn set_config(&mut self, config: LogConfig) {
        self.recent.set_bytes_max(config.recent_bytes_max);
        self.config = config;
    }

    /// Whom to tell of every new end, under the lock: it must be quick and must not touch the log.
    pub fn set_hook(&mut self, hook: Hook) {
        self.hook = Some(hook);
    }

    /// The leader epoch of the newest record.
    #[must_use]
    pub fn latest_epoch(&self) -> Option<i32> {
        self.epochs.latest()
    }

    /// OffsetForLeaderEpoch: the largest epoch not above `epoch`, and the offset where it ends; `None` if there is none.
    #[must_use]
    pub fn epoch_end_offset(&self, epoch: i32) -> Option<(i32, i64)> {
        self.epochs.end_of(epoch, self.end_offset)
    }
}

/// Beside a log's folder: what it is called while it is being deleted.
const DELETED_PREFIX: &str = ".deleted-";

fn deleted_name(dir: &Path) -> PathBuf {
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    let nanos =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |t| t.as_nanos());
    dir.with_file_name(format!("{DELETED_PREFIX}{name}-{nanos}"))
}

/// Finishes deletions of logs in `data_dir` that a crash interrupted. To be called once, before logs are opened.
pub fn remove_leftovers(data_dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(data_dir)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(DELETED_PREFIX) {
            std::fs::remove_dir_all(entry.path())?;
        }
    }
    Ok(())
}
