//! A few readers of the store, lent to questions on threads that may block.

use std::sync::{Arc, Mutex, PoisonError};

use market_store::{CandleReader, StoreError};
use tokio::sync::Semaphore;

/// Questions that read the store at once; the others wait their turn.
const READERS_MAX: usize = 4;

type Open = dyn Fn() -> Result<Box<dyn CandleReader>, StoreError> + Send + Sync;

/// Readers, opened as they are needed and kept.
pub struct Readers {
    open: Box<Open>,
    idle: Mutex<Vec<Box<dyn CandleReader>>>,
    turns: Semaphore,
}

impl std::fmt::Debug for Readers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Readers")
    }
}

impl Readers {
    /// Readers that `open` opens.
    pub fn new(
        open: impl Fn() -> Result<Box<dyn CandleReader>, StoreError> + Send + Sync + 'static,
    ) -> Readers {
        Readers { open: Box::new(open), idle: Mutex::default(), turns: Semaphore::new(READERS_MAX) }
    }

    /// Asks a question on a thread that may block.
    ///
    /// # Errors
    /// What the store says.
    pub async fn ask<T: Send + 'static>(
        self: Arc<Self>,
        question: impl FnOnce(&mut dyn CandleReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let readers = Arc::clone(&self);
        // The semaphore is never closed, so the permit is only a turn.
        let _turn = self.turns.acquire().await;
        let task = tokio::task::spawn_blocking(move || {
            let idle = readers.idle.lock().unwrap_or_else(PoisonError::into_inner).pop();
            let mut reader = idle.map_or_else(|| (readers.open)(), Ok)?;
            let answer = question(&mut *reader);
            if answer.is_ok() {
                readers.idle.lock().unwrap_or_else(PoisonError::into_inner).push(reader);
            }
            answer
        });
        match task.await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Unreachable { store: "the store".into(), source: Box::new(error) }),
        }
    }
}
