//! Forcing the log to disk, and what a clean shutdown leaves for a fast start.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use super::{Log, files};

/// Files to force to disk. Made under the log's lock, run outside it.
#[derive(Debug)]
#[must_use = "a flush that does not run forces nothing"]
pub struct Flush {
    files: Vec<PathBuf>,
    active: Option<Arc<File>>,
    end: i64,
    records: u64,
}

impl Flush {
    /// Forces them; blocks until the disk has them. Then call [`Log::flushed`].
    pub fn run(&self) -> io::Result<()> {
        for path in &self.files {
            match File::open(path) {
                Ok(file) => file.sync_data()?,
                // Retention was faster: what is gone needs no disk.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        self.active.as_ref().map_or(Ok(()), |file| file.sync_data())
    }
}

impl Log {
    /// What should be forced to disk now: closed segments that were not yet, and the active one if `flush.ms` has passed. Once
    /// a closed segment is on disk, a start after a crash does not look at it.
    pub fn flush_due(&self, now_ms: i64) -> Option<Flush> {
        let due = self.config.flush_ms.is_some_and(|ms| now_ms.saturating_sub(self.flushed_ms) >= ms);
        let active = due && self.unflushed_records > 0;
        let closed = self.sealed.back().is_some_and(|last| last.next_offset > self.recovery_point);
        (active || closed).then(|| self.flush_plan(active))
    }

    fn flush_plan(&self, active: bool) -> Flush {
        let files = self
            .sealed
            .iter()
            .rev()
            .take_while(|sealed| sealed.next_offset > self.recovery_point)
            .flat_map(|sealed| [files::LOG, files::INDEX, files::TIME_INDEX].map(|kind| sealed.path(kind)))
            .collect();
        Flush {
            files,
            active: active.then(|| Arc::clone(&self.active.out.file)),
            end: if active { self.end_offset } else { self.active.base_offset },
            records: if active { self.unflushed_records } else { 0 },
        }
    }

    /// Takes note that `flush` ran.
    pub fn flushed(&mut self, flush: &Flush, now_ms: i64) -> io::Result<()> {
        self.recovery_point = self.recovery_point.max(flush.end.min(self.end_offset));
        self.unflushed_records = self.unflushed_records.saturating_sub(flush.records);
        self.flushed_ms = now_ms;
        self.write_checkpoint()
    }

    /// `flush.messages`: forces everything now.
    pub(super) fn flush_now(&mut self, now_ms: i64) -> io::Result<()> {
        let flush = self.flush_plan(true);
        if let Err(error) = flush.run() {
            // What a failed flush leaves in the system's cache is not known: a restart reads what is really there.
            self.broken = true;
            return Err(error);
        }
        self.recovery_point = self.end_offset;
        self.unflushed_records = 0;
        self.flushed_ms = now_ms;
        Ok(())
    }

    /// Forces everything to disk and leaves indexes, producer states and a mark, so that the next start reads no records.
    /// Without it (a crash) the next start reads the active segment.
    pub fn close(mut self) -> io::Result<()> {
        if self.broken {
            return Ok(());
        }
        self.flush_plan(true).run()?;
        self.active.write_indexes(&self.dir)?;
        self.write_states(self.end_offset)?;
        self.recovery_point = self.end_offset;
        self.write_checkpoint()?;
        let mark = format!("{} {} {}\n", self.active.base_offset, self.active.size, self.end_offset);
        files::replace(&self.dir.join(files::CLEAN), mark.as_bytes())
    }

    pub(super) fn write_checkpoint(&self) -> io::Result<()> {
        let text = format!("{} {} {}\n", self.start_offset, self.recovery_point, self.cleaned_to);
        files::replace(&self.dir.join(files::CHECKPOINT), text.as_bytes())
    }

    /// Writes what recovery would otherwise have to gather from the records before `offset`.
    pub(super) fn write_states(&self, offset: i64) -> io::Result<()> {
        std::fs::write(files::path(&self.dir, offset, files::SNAPSHOT), self.producers.encode())?;
        std::fs::write(self.dir.join(files::EPOCHS), self.epochs.encode())
    }

    /// Keeps the two newest snapshots: the newest may be ahead of a log that a power failure cut.
    pub(super) fn remove_old_snapshots(&self) -> io::Result<()> {
        let mut snapshots = files::list(&self.dir)?;
        snapshots.retain(|(_, kind)| kind == files::SNAPSHOT);
        for (offset, kind) in snapshots.iter().rev().skip(2) {
            files::remove(&files::path(&self.dir, *offset, kind))?;
        }
        Ok(())
    }
}
