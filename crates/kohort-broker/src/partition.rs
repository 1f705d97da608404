//! One partition as the broker shares it: its log behind a lock, and who waits for more.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use kohort_protocol::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::log::{AppendError, AppendInfo, AppendOptions, CompactionStats, Log, LogConfig, OpenError};

/// The leader epoch of every partition: one node, which leads from the beginning.
pub(crate) const LEADER_EPOCH: i32 = 0;

/// What a client believes the leader epoch to be; -1 where it does not say.
pub(crate) fn check_leader_epoch(believed: i32) -> Result<(), ErrorCode> {
    match believed {
        -1 | LEADER_EPOCH => Ok(()),
        past if past < LEADER_EPOCH => Err(ErrorCode::FENCED_LEADER_EPOCH),
        _ => Err(ErrorCode::UNKNOWN_LEADER_EPOCH),
    }
}

/// A fetch that waits. Woken by the first append to any partition it registered with.
pub(crate) type Waiter = Arc<Notify>;

/// A partition.
#[derive(Debug)]
pub(crate) struct Partition {
    index: i32,
    /// `None` once its topic is deleted or the broker is closed.
    log: Mutex<Option<Log>>,
    waiting: Mutex<Vec<Waiter>>,
    /// Its disk refused the last append.
    refusing: AtomicBool,
}

impl Partition {
    pub(crate) fn open(index: i32, folder: &Path, config: LogConfig, now_ms: i64) -> Result<Self, OpenError> {
        let (log, recovered) = Log::open(folder, config, now_ms)?;
        if recovered.truncated_bytes > 0 {
            let bytes = recovered.truncated_bytes;
            tracing::warn!("cut {bytes} bytes of a torn batch at the end of `{}`", folder.display());
        }
        Ok(Self {
            index,
            log: Mutex::new(Some(log)),
            waiting: Mutex::default(),
            refusing: AtomicBool::new(false),
        })
    }

    /// Its number.
    #[must_use]
    pub(crate) fn index(&self) -> i32 {
        self.index
    }

    /// Appends and wakes who waits: after the lock is free, so that whoever wakes finds the records readable.
    ///
    /// # Errors
    /// When nothing was appended; [`AppendError::Broken`] too once the topic is deleted.
    pub(crate) fn append(
        &self,
        batches: Bytes,
        now_ms: i64,
        options: &AppendOptions,
    ) -> Result<AppendInfo, AppendError> {
        let appended =
            self.with(|log| log.append(batches, now_ms, options)).unwrap_or(Err(AppendError::Broken))?;
        self.wake();
        Ok(appended)
    }

    /// Notes whether the disk takes appends; `true` if that is news. Producers try again many times a second, and a person needs one
    /// line when it goes and one when it returns.
    pub(crate) fn note_refusing(&self, refusing: bool) -> bool {
        self.refusing.load(Ordering::Relaxed) != refusing
            && self.refusing.swap(refusing, Ordering::Relaxed) != refusing
    }

    /// Something that needs the log for a moment; `None` once the topic is deleted. Not for reading data: take a slice and load it
    /// outside.
    pub(crate) fn with<T>(&self, what: impl FnOnce(&mut Log) -> T) -> Option<T> {
        self.log.lock().as_mut().map(what)
    }

    /// The high watermark, which on one node is the log end offset.
    #[must_use]
    pub(crate) fn end_offset(&self) -> i64 {
        self.with(|log| log.end_offset()).unwrap_or(0)
    }

    /// The log start offset.
    #[must_use]
    pub(crate) fn start_offset(&self) -> i64 {
        self.with(|log| log.start_offset()).unwrap_or(0)
    }

    /// Registers a waiter for the next append. Look at the log once more after this: what came before is not told.
    pub(crate) fn wait(&self, waiter: &Waiter) {
        self.waiting.lock().push(Arc::clone(waiter));
    }

    /// Takes a waiter away that waits no longer.
    pub(crate) fn leave(&self, waiter: &Waiter) {
        self.waiting.lock().retain(|w| !Arc::ptr_eq(w, waiter));
    }

    fn wake(&self) {
        for waiter in self.waiting.lock().drain(..) {
            waiter.notify_one();
        }
    }

    pub(crate) fn configure(&self, config: LogConfig) {
        self.with(|log| log.set_config(config));
    }

    /// Forces to disk what is due; the disk is waited for without the lock.
    pub(crate) fn flush(&self, now_ms: i64) -> io::Result<()> {
        let Some(flush) = self.with(|log| log.flush_due(now_ms)).flatten() else { return Ok(()) };
        flush.run()?;
        self.with(|log| log.flushed(&flush, now_ms)).unwrap_or(Ok(()))
    }

    /// Compacts if it is due; reads and writes without the lock, which is held only to plan and to put in place.
    pub(crate) fn compact(&self, now_ms: i64) -> io::Result<Option<CompactionStats>> {
        let Some(due) = self.with(|log| log.compaction_due(now_ms)).flatten() else { return Ok(None) };
        let compacted = due.run()?;
        self.with(|log| log.compacted(compacted)).transpose()
    }

    /// Its topic is deleted: its files go, and who waits learns it now. A reader that has a slice finishes.
    pub(crate) fn delete(&self) -> io::Result<()> {
        let log = self.log.lock().take();
        self.wake();
        log.map_or(Ok(()), Log::delete)
    }

    /// Forces everything to disk and marks the log as cleanly closed.
    pub(crate) fn close(&self) -> io::Result<()> {
        let log = self.log.lock().take();
        log.map_or(Ok(()), Log::close)
    }
}
