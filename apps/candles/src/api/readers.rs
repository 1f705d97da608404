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
    turns: Arc<Semaphore>,
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
        Readers { open: Box::new(open), idle: Mutex::default(), turns: Arc::new(Semaphore::new(READERS_MAX)) }
    }

    /// Asks a question on a thread that may block.
    ///
    /// # Errors
    /// What the store says.
    pub async fn ask<T: Send + 'static>(
        self: Arc<Self>,
        question: impl FnOnce(&mut dyn CandleReader) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        // The semaphore is never closed, so the permit is only a turn.
        let turn = Arc::clone(&self.turns).acquire_owned().await;
        let readers = self;
        let task = tokio::task::spawn_blocking(move || {
            // Whoever asked may go away; the turn lasts as long as the store is read.
            let _turn = turn;
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::sync::mpsc::channel;
    use std::time::{Duration, Instant};

    use market_store::{CandleStore, MemoryStore};

    use super::*;

    #[tokio::test]
    async fn a_question_has_its_turn_to_the_end_though_nobody_waits_for_the_answer() {
        let store = MemoryStore::new();
        let readers = Arc::new(Readers::new(move || store.reader()));
        let (reading, most) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicUsize::new(0)));
        let (leave, wait) = channel::<()>();
        let wait = Arc::new(Mutex::new(wait));
        // More than take turns ask, and go away again.
        let mut asked = Vec::new();
        for _ in 0..3 * READERS_MAX {
            let (reading, most, wait) = (Arc::clone(&reading), Arc::clone(&most), Arc::clone(&wait));
            let question = Arc::clone(&readers).ask(move |_| {
                most.fetch_max(reading.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                let _ = wait.lock().unwrap_or_else(PoisonError::into_inner).recv();
                reading.fetch_sub(1, Ordering::SeqCst);
                Ok(())
            });
            asked.push(tokio::time::timeout(Duration::from_millis(20), question).await.is_err());
        }
        assert!(asked.iter().all(|gone| *gone));
        drop(leave);
        readers.clone().ask(|_| Ok(())).await.unwrap();
        let until = Instant::now() + Duration::from_secs(60);
        while readers.turns.available_permits() < READERS_MAX {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(most.load(Ordering::SeqCst) <= READERS_MAX, "{most:?}");
        assert!(readers.idle.lock().unwrap_or_else(PoisonError::into_inner).len() <= READERS_MAX);
    }
}
