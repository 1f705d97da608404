//! Who listens to what, and what waits for them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use market_data::{Candle, Interval, PairKey};
use thiserror::Error;
use tokio::sync::Notify;

use super::live::Key;

/// Listeners at once; each is a socket and a small queue.
const SUBSCRIBERS_MAX: usize = 1024;
/// Things that one listener may ask for.
pub(crate) const FILTERS_MAX: usize = 256;

/// A refusal: everything has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum TooMany {
    /// Too many listeners.
    #[error("{SUBSCRIBERS_MAX} connections listen already: close one, or ask another process")]
    Subscribers,
    /// One listener asks for too many things.
    #[error(
        "a connection can follow {FILTERS_MAX} things: unsubscribe from one, or leave `pair` out to follow all"
    )]
    Filters,
}

/// What a listener wants; a field that is left out stands for all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Filter {
    pub(crate) chain_id: Option<String>,
    pub(crate) pair: Option<String>,
    pub(crate) interval: Option<Interval>,
}

impl Filter {
    fn wants(&self, (pair, interval, _): &Key) -> bool {
        self.chain_id.as_ref().is_none_or(|chain| *chain == pair.chain_id)
            && self.pair.as_ref().is_none_or(|wanted| *wanted == pair.pair)
            && self.interval.is_none_or(|wanted| wanted == *interval)
    }
}

/// The listeners. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Subscribers {
    list: Arc<Mutex<Vec<Arc<Shared>>>>,
    listening: Arc<AtomicBool>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    filters: BTreeSet<Filter>,
    /// The newest state of each candle that waits: a slow listener misses steps, never the last one, and a candle takes its
    /// place once however often it changes.
    waiting: BTreeMap<Key, Candle>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Every change under these locks is one insertion or removal: a panic elsewhere leaves nothing half done.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Subscribers {
    pub(super) fn new(listening: Arc<AtomicBool>) -> Subscribers {
        Subscribers { list: Arc::default(), listening }
    }

    /// A new listener, who wants nothing yet.
    pub(crate) fn join(&self) -> Result<Subscriber, TooMany> {
        let mut list = lock(&self.list);
        if list.len() >= SUBSCRIBERS_MAX {
            return Err(TooMany::Subscribers);
        }
        let shared = Arc::new(Shared::default());
        list.push(Arc::clone(&shared));
        self.listening.store(true, Ordering::Relaxed);
        Ok(Subscriber { shared, all: self.clone() })
    }

    /// Whether anybody listens.
    pub(super) fn any(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// The charts that somebody follows by name.
    pub(super) fn charts(&self) -> BTreeSet<(PairKey, Interval)> {
        let mut charts = BTreeSet::new();
        for subscriber in lock(&self.list).iter() {
            for filter in &lock(&subscriber.state).filters {
                if let Filter { chain_id: Some(chain), pair: Some(pair), interval: Some(interval) } = filter {
                    charts.insert((PairKey::new(chain, pair), *interval));
                }
            }
        }
        charts
    }

    /// Puts changed candles before everyone who wants them.
    pub(super) fn publish(&self, changed: &[(Key, Candle)]) {
        for subscriber in lock(&self.list).iter() {
            let mut state = lock(&subscriber.state);
            let State { filters, waiting } = &mut *state;
            for (key, candle) in changed {
                if filters.iter().any(|filter| filter.wants(key)) {
                    waiting.insert(key.clone(), *candle);
                }
            }
            if !waiting.is_empty() {
                subscriber.news.notify_one();
            }
        }
    }
}

/// One listener; leaves when dropped.
#[derive(Debug)]
pub(crate) struct Subscriber {
    shared: Arc<Shared>,
    all: Subscribers,
}

impl Subscriber {
    /// Wants this too.
    pub(crate) fn subscribe(&self, filter: Filter) -> Result<(), TooMany> {
        let mut state = lock(&self.shared.state);
        if state.filters.len() >= FILTERS_MAX && !state.filters.contains(&filter) {
            return Err(TooMany::Filters);
        }
        state.filters.insert(filter);
        Ok(())
    }

    /// Wants this no more; `false` if it never did.
    pub(crate) fn unsubscribe(&self, filter: &Filter) -> bool {
        let mut state = lock(&self.shared.state);
        let removed = state.filters.remove(filter);
        let State { filters, waiting } = &mut *state;
        waiting.retain(|key, _| filters.iter().any(|filter| filter.wants(key)));
        removed
    }

    /// Waits until something changed, and takes the newest state of all that did.
    pub(crate) async fn next(&self) -> BTreeMap<Key, Candle> {
        loop {
            let waiting = std::mem::take(&mut lock(&self.shared.state).waiting);
            if !waiting.is_empty() {
                return waiting;
            }
            self.shared.news.notified().await;
        }
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut list = lock(&self.all.list);
        list.retain(|other| !Arc::ptr_eq(other, &self.shared));
        self.all.listening.store(!list.is_empty(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pair: &str, interval: Interval) -> Key {
        (Arc::new(PairKey::new("1", pair)), interval, 60)
    }

    fn filter(pair: Option<&str>, interval: Option<Interval>) -> Filter {
        Filter { chain_id: Some("1".into()), pair: pair.map(Into::into), interval }
    }

    #[tokio::test]
    async fn a_slow_listener_gets_the_newest_state_once() {
        let subscribers = Subscribers::new(Arc::default());
        let slow = subscribers.join().unwrap();
        slow.subscribe(filter(Some("a"), Some(Interval::M1))).unwrap();
        let candle = |count| {
            let mut candle = Candle::EMPTY;
            candle.count = count;
            candle
        };
        for count in 1..=1000 {
            let others = [(key("b", Interval::M1), candle(7)), (key("a", Interval::M5), candle(7))];
            subscribers.publish(&others);
            subscribers.publish(&[(key("a", Interval::M1), candle(count))]);
        }
        let waiting = slow.next().await;
        assert_eq!(waiting.len(), 1);
        assert_eq!(waiting.into_values().next().unwrap().count, 1000);
    }

    #[tokio::test]
    async fn what_is_left_out_stands_for_all_until_it_is_unsubscribed() {
        let subscribers = Subscribers::new(Arc::default());
        let listener = subscribers.join().unwrap();
        listener.subscribe(filter(None, None)).unwrap();
        let changed = [(key("a", Interval::M1), Candle::EMPTY), (key("b", Interval::D1), Candle::EMPTY)];
        subscribers.publish(&changed);
        assert_eq!(listener.next().await.len(), 2);
        assert!(listener.unsubscribe(&filter(None, None)));
        assert!(!listener.unsubscribe(&filter(None, None)));
        listener.subscribe(filter(Some("b"), None)).unwrap();
        subscribers.publish(&changed);
        assert_eq!(listener.next().await.into_keys().next().unwrap().0.pair, "b");
    }

    #[test]
    fn listeners_and_their_wishes_are_limited_and_go_with_them() {
        let listening: Arc<AtomicBool> = Arc::default();
        let subscribers = Subscribers::new(Arc::clone(&listening));
        let all: Vec<_> = (0..SUBSCRIBERS_MAX).map(|_| subscribers.join().unwrap()).collect();
        assert_eq!(subscribers.join().err(), Some(TooMany::Subscribers));
        for n in 0..FILTERS_MAX {
            all[0].subscribe(filter(Some(&n.to_string()), None)).unwrap();
        }
        assert_eq!(all[0].subscribe(filter(None, None)), Err(TooMany::Filters));
        assert!(listening.load(Ordering::Relaxed));
        drop(all);
        assert!(!listening.load(Ordering::Relaxed));
        subscribers.join().unwrap();
    }
}
