//! Answers that many ask for and that cost something.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

/// How long an answer is given again, at least.
const FRESH: Duration = Duration::from_secs(1);
/// And how many times the time that it took to make: making answers takes a tenth of a core at most, however much there is to read.
const FRESH_TIMES: u32 = 10;

/// The last answer. One is made at a time, and those who ask meanwhile wait for it.
#[derive(Debug)]
pub(super) struct Cached<T>(Mutex<Option<(Instant, Arc<T>)>>);

impl<T> Default for Cached<T> {
    fn default() -> Cached<T> {
        Cached(Mutex::new(None))
    }
}

impl<T> Cached<T> {
    /// The last answer, if it is fresh; else a new one.
    pub(super) async fn get<E, F: Future<Output = Result<T, E>>>(
        &self,
        make: impl FnOnce() -> F,
    ) -> Result<Arc<T>, E> {
        let mut last = self.0.lock().await;
        if let Some((until, answer)) = &*last
            && Instant::now() < *until
        {
            return Ok(Arc::clone(answer));
        }
        let begun = Instant::now();
        let answer = Arc::new(make().await?);
        *last = Some((Instant::now() + FRESH.max(begun.elapsed() * FRESH_TIMES), Arc::clone(&answer)));
        Ok(answer)
    }
}
