//! Making the log shorter: by age and size, on request, at both ends.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;

use kohort_protocol::records::Batch;
use thiserror::Error;

use super::producers::Producers;
use super::segment::{Active, Sealed, scan};
use super::{Log, files};

/// Why records cannot be deleted.
#[derive(Debug, Error)]
pub enum DeleteRecordsError {
    /// OFFSET_OUT_OF_RANGE (1).
    #[error("offset `{offset}` is beyond the high watermark `{end}`")]
    OffsetOutOfRange {
        /// What was asked for.
        offset: i64,
        /// The high watermark.
        end: i64,
    },
    /// KAFKA_STORAGE_ERROR (56).
    #[error("cannot write the log's checkpoint")]
    Io(#[from] io::Error),
}

impl Log {
    /// Forgets producers that expired, and gives back memory and file handles that nobody used lately. Cheap.
    pub fn rest(&mut self, now_ms: i64) {
        self.producers.expire(now_ms, self.config.producer_id_expiration_ms);
        self.recent.trim(now_ms);
        self.decompressor = None;
        self.sealed.iter().for_each(|sealed| sealed.close_if_idle());
    }

    /// Applies `retention.ms`, `retention.bytes` and earlier [`Log::delete_records_before`]. To be called now and then
    /// (`log.retention.check.interval.ms`). Returns how many segments went.
    pub fn retention(&mut self, now_ms: i64) -> io::Result<usize> {
        self.rest(now_ms);
        let mut gone = self.delete_oldest(|log, oldest| oldest.next_offset <= log.start_offset)?;
        if !self.config.cleanup.delete {
            return Ok(gone);
        }
        if let Some(ms) = self.config.retention_ms {
            let old = |newest: i64| now_ms.saturating_sub(newest) > ms;
            gone += self.delete_oldest(|_, oldest| old(oldest.newest_ms()))?;
            let newest = self.active.max_timestamp;
            if self.sealed.is_empty() && self.active.size > 0 && newest >= 0 && old(newest) {
                // The newest record is too old as well: close its segment, so that it can go.
                self.roll(now_ms)?;
                gone += self.delete_oldest(|_, oldest| old(oldest.newest_ms()))?;
            }
        }
        if let Some(bytes) = self.config.retention_bytes {
            gone += self.delete_oldest(|log, oldest| log.bytes() - oldest.size >= bytes)?;
        }
        Ok(gone)
    }

    fn delete_oldest(&mut self, too_old: impl Fn(&Self, &Sealed) -> bool) -> io::Result<usize> {
        let (mut gone, start_offset) = (0, self.start_offset);
        while let Some(oldest) = self.sealed.front() {
            if !too_old(self, oldest) {
                break;
            }
            let next_offset = oldest.next_offset;
            if next_offset > self.start_offset {
                self.start_offset = next_offset;
                self.epochs.truncate_front(next_offset);
            }
            if let Some(oldest) = self.sealed.pop_front() {
                oldest.delete()?;
            }
            gone += 1;
        }
        if self.start_offset > start_offset {
            // Last: a full disk has no room for it before, and a log without it begins with the first segment that is left.
            self.write_checkpoint()?;
        }
        Ok(gone)
    }

    /// DeleteRecords: nothing before `offset` is read any more; its segments go with the next [`Log::retention`]. -1 is the
    /// high watermark. Returns the new log start offset.
    pub fn delete_records_before(&mut self, offset: i64) -> Result<i64, DeleteRecordsError> {
        let offset = if offset == -1 { self.end_offset } else { offset };
        if offset < 0 || offset > self.end_offset {
            return Err(DeleteRecordsError::OffsetOutOfRange { offset, end: self.end_offset });
        }
        if offset > self.start_offset {
            self.start_offset = offset;
            self.epochs.truncate_front(offset);
            self.write_checkpoint()?;
        }
        Ok(self.start_offset)
    }

    /// Cuts everything from the batch with `offset` on, not below the first segment's base. What is known of producers is gathered anew from what stays.
    pub fn truncate(&mut self, offset: i64, now_ms: i64) -> io::Result<()> {
        if offset >= self.end_offset {
            return Ok(());
        }
        let mut base = self.active.base_offset;
        while base > offset
            && let Some(last) = self.sealed.pop_back()
        {
            for kind in [files::LOG, files::INDEX, files::TIME_INDEX, files::SNAPSHOT] {
                files::remove(&files::path(&self.dir, base, kind))?;
            }
            base = last.base_offset;
        }
        let mut active = Active::open(&self.dir, base, now_ms)?;
        let file = Arc::clone(&active.out.file);
        let size = file.metadata()?.len();
        let (interval, mut next) = (self.config.index_interval_bytes, base);
        let end = scan(&file, 0, size, |_, batch| {
            if batch.header().last_offset() >= offset {
                return ControlFlow::Break(());
            }
            next = batch.header().next_offset();
            active.note(batch.header(), interval);
            ControlFlow::Continue(())
        })?;
        file.set_len(end)?;
        self.active = active;
        self.end_offset = next.max(base);
        self.start_offset = self.start_offset.min(self.end_offset);
        self.recovery_point = self.recovery_point.min(self.end_offset);
        self.cleaned_to = self.cleaned_to.min(self.end_offset);
        self.recent.clear();
        self.epochs.truncate(self.end_offset);
        self.producers.clear();
        let states: Vec<_> = files::list(&self.dir)?.into_iter().filter(|f| f.1 == files::SNAPSHOT).collect();
        for (at, kind) in states {
            files::remove(&files::path(&self.dir, at, &kind))?;
        }
        for sealed in &self.sealed {
            gather(&mut self.producers, &sealed.open()?.file, sealed.size, now_ms)?;
        }
        gather(&mut self.producers, &file, end, now_ms)?;
        self.write_checkpoint()?;
        if let Some(hook) = &self.hook {
            hook(self.end_offset);
        }
        Ok(())
    }

    /// Removes the log and its folder. Readers that already found their slices finish.
    pub fn delete(self) -> io::Result<()> {
        for sealed in &self.sealed {
            if Arc::strong_count(sealed) > 1 {
                sealed.open()?;
            }
        }
        // One rename first: a crash while the files go must not leave half a log that looks like one.
        let gone = super::deleted_name(&self.dir);
        std::fs::rename(&self.dir, &gone)?;
        std::fs::remove_dir_all(&gone)
    }
}

fn gather(producers: &mut Producers, file: &File, size: u64, now_ms: i64) -> io::Result<()> {
    let each = |_, batch: &Batch<'_>| {
        producers.appended(batch.header(), now_ms);
        ControlFlow::Continue(())
    };
    scan(file, 0, size, each).map(|_| ())
}
