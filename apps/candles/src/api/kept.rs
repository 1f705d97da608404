//! Answers that many ask for and that cost something: made ahead of the questions, one at a time.

use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::{Duration, Instant};

use market_store::StoreError;

/// How long an answer is given again, at least.
const FRESH: Duration = Duration::from_secs(1);
/// And how many times the time that it took to make: making answers takes a tenth of a core at most, however much there is to read.
const FRESH_TIMES: u32 = 10;
/// An answer that is older than it should be by more than this (the store is away) is given no more.
/// (Its tests may run on a machine that stands still for longer.)
const GRACE: Duration = Duration::from_secs(if cfg!(test) { 60 } else { 3 });
/// So long after the last question answers are still made ahead.
const IDLE: Duration = Duration::from_secs(60);

type Making<T> = Pin<Box<dyn Future<Output = Result<T, StoreError>> + Send>>;

/// The last answer to one question.
///
/// While somebody asks now and then, the next answer is made before it is asked for: a question is answered at once, with what was true
/// a moment ago, and waits for no other. Only the first question after a minute without any waits until its answer is made.
pub struct Kept<T>(Arc<Inner<T>>);

struct Inner<T> {
    make: Box<dyn Fn() -> Making<T> + Send + Sync>,
    state: Mutex<State<T>>,
    /// One is made at a time.
    turn: tokio::sync::Mutex<()>,
}

struct State<T> {
    last: Option<Made<T>>,
    asked: Instant,
    /// A task makes the next answers.
    kept_up: bool,
}

struct Made<T> {
    answer: Arc<T>,
    begun: Instant,
    took: Duration,
}

impl<T> Clone for Kept<T> {
    fn clone(&self) -> Kept<T> {
        Kept(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for Kept<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Kept")
    }
}

impl<T> Made<T> {
    fn is_fresh(&self) -> bool {
        self.begun.elapsed() < self.took + self.fresh_for()
    }

    fn fresh_for(&self) -> Duration {
        FRESH.max(self.took * FRESH_TIMES)
    }

    /// Fresh, or not older than it gets while the next one is made.
    fn will_do(&self) -> bool {
        self.begun.elapsed() < self.took * 3 + self.fresh_for() + GRACE
    }
}

impl<T: Send + Sync + 'static> Kept<T> {
    /// The answers that `make` makes.
    pub fn new<F: Future<Output = Result<T, StoreError>> + Send + 'static>(
        make: impl Fn() -> F + Send + Sync + 'static,
    ) -> Kept<T> {
        let state = State { last: None, asked: Instant::now(), kept_up: false };
        Kept(Arc::new(Inner {
            make: Box::new(move || Box::pin(make())),
            state: Mutex::new(state),
            turn: Default::default(),
        }))
    }

    /// The last answer, or, where there is none or nobody asked for long, a new one. Needs a tokio runtime.
    ///
    /// # Errors
    /// What the store says.
    pub async fn get(&self) -> Result<Arc<T>, StoreError> {
        {
            let mut state = self.0.state();
            state.asked = Instant::now();
            if !state.kept_up {
                state.kept_up = true;
                tokio::spawn(keep_up(Arc::downgrade(&self.0)));
            }
            if let Some(made) = state.last.as_ref().filter(|made| made.will_do()) {
                return Ok(Arc::clone(&made.answer));
            }
        }
        // A task of its own: who asks may go away, and somebody else is waiting.
        let inner = Arc::clone(&self.0);
        match tokio::spawn(async move { inner.renewed().await }).await {
            Ok(answer) => answer,
            Err(error) => Err(StoreError::Unreachable { store: "the store".into(), source: Box::new(error) }),
        }
    }
}

impl<T> Inner<T> {
    fn state(&self) -> MutexGuard<'_, State<T>> {
        // What is changed under the lock is changed at once.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A fresh answer: that of somebody who made one meanwhile, or a new one.
    async fn renewed(&self) -> Result<Arc<T>, StoreError> {
        let _turn = self.turn.lock().await;
        if let Some(made) = self.state().last.as_ref().filter(|made| made.is_fresh()) {
            return Ok(Arc::clone(&made.answer));
        }
        let begun = Instant::now();
        let answer = Arc::new((self.make)().await?);
        self.state().last = Some(Made { answer: Arc::clone(&answer), begun, took: begun.elapsed() });
        Ok(answer)
    }
}

/// Makes answers for as long as somebody asks. Holds nothing of the store while it sleeps.
async fn keep_up<T: Send + Sync + 'static>(inner: Weak<Inner<T>>) {
    let mut failed = false;
    loop {
        let pause = {
            let Some(inner) = inner.upgrade() else { return };
            let mut state = inner.state();
            if state.asked.elapsed() > IDLE {
                state.kept_up = false;
                return;
            }
            // A store that says no is not asked all the time.
            state.last.as_ref().filter(|_| !failed).map_or(FRESH, |made| {
                (made.took + made.fresh_for()).saturating_sub(made.begun.elapsed()).max(FRESH / 10)
            })
        };
        tokio::time::sleep(pause).await;
        let Some(inner) = inner.upgrade() else { return };
        let renewed = inner.renewed().await;
        failed = renewed.is_err();
        if let Err(error) = renewed {
            // Whoever asks is told, and it is logged there.
            tracing::debug!(error = &error as &dyn std::error::Error, "an answer could not be made ahead");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use tokio::sync::Semaphore;

    use super::*;

    /// Counts what is made; each waits for leave.
    fn counting() -> (Kept<usize>, Arc<AtomicUsize>, Arc<Semaphore>) {
        let (made, leave) = (Arc::new(AtomicUsize::new(0)), Arc::new(Semaphore::new(0)));
        let (count, gate) = (Arc::clone(&made), Arc::clone(&leave));
        let kept = Kept::new(move || {
            let (count, gate) = (Arc::clone(&count), Arc::clone(&gate));
            async move {
                gate.acquire().await.map(|permit| permit.forget()).ok();
                Ok(count.fetch_add(1, Ordering::SeqCst))
            }
        });
        (kept, made, leave)
    }

    #[tokio::test]
    async fn the_first_wait_for_one_answer_and_all_others_for_none() {
        let (kept, made, leave) = counting();
        let asking: Vec<_> = (0..8)
            .map(|_| {
                let kept = kept.clone();
                tokio::spawn(async move { *kept.get().await.unwrap() })
            })
            .collect();
        leave.add_permits(1);
        for asked in asking {
            assert_eq!(asked.await.unwrap(), 0);
        }
        // The next one is being made, and gets no leave: nobody waits for it.
        let until = Instant::now() + FRESH + Duration::from_millis(500);
        while Instant::now() < until {
            assert_eq!(*kept.get().await.unwrap(), 0);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        leave.add_permits(1);
        // Made though nobody waits for it, and told then.
        while *kept.get().await.unwrap() == 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert_eq!(made.load(Ordering::SeqCst), 2);
    }

    #[tokio::test]
    async fn who_goes_away_takes_no_answer_with_him_and_nothing_is_held_in_the_end() {
        let (kept, made, leave) = counting();
        let gone = tokio::time::timeout(Duration::from_millis(20), kept.get()).await;
        assert!(gone.is_err(), "it waits for leave");
        leave.add_permits(1);
        while made.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert_eq!(*kept.get().await.unwrap(), 0);
        let inner = Arc::downgrade(&kept.0);
        drop(kept);
        leave.add_permits(10);
        while inner.upgrade().is_some() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    #[tokio::test]
    async fn a_store_that_says_no_is_asked_again() {
        let tries = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&tries);
        let kept: Kept<usize> = Kept::new(move || {
            let tried = count.fetch_add(1, Ordering::SeqCst);
            let away = StoreError::Busy { store: "s".into(), source: "away".into() };
            std::future::ready(if tried == 0 { Err(away) } else { Ok(tried) })
        });
        assert!(kept.get().await.is_err());
        assert!(*kept.get().await.unwrap() > 0);
    }
}
