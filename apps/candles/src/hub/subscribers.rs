//! Who listens to what, and what waits for them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use market_data::{Candle, Interval, PairKey};
use thiserror::Error;
use tokio::sync::Notify;

use super::live::Key;

/// Listeners at once; each is a socket and a small queue.
const SUBSCRIBERS_MAX: usize = 10_240;
/// Things that one listener may ask for.
pub const FILTERS_MAX: usize = 1024;

/// Changes that a listener leaves untaken before it is behind: then its changes are kept once for all who are behind with the same wish, and
/// a change costs no more for a hundred of them than for one.
const BEHIND_AT: usize = 1024;
/// Candles that wait before only the newest of each chart does. Who follows all pairs and reads nothing would otherwise have every candle
/// that ever began waiting for it.
const WAITING_MAX: usize = 16 * 1024;

/// Ways to leave fields of a [`Filter`] out, and the one of any case.
const KINDS: usize = 9;

/// A refusal: everything has a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum TooMany {
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
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Filter {
    /// The chain's number as text.
    pub chain_id: Option<String>,
    /// The pair's address or symbol.
    pub pair: Option<String>,
    /// The interval.
    pub interval: Option<Interval>,
    /// Whether letters of the pair count alike in either case. Then nothing is left out, and the texts are in lower case.
    pub any_case: bool,
}

impl Filter {
    fn wants(&self, (pair, interval, _): &Key) -> bool {
        let same = |wanted: &Option<String>, text: &str| {
            wanted.as_ref().is_none_or(|wanted| {
                if self.any_case { wanted.eq_ignore_ascii_case(text) } else { wanted == text }
            })
        };
        same(&self.chain_id, &pair.chain_id)
            && same(&self.pair, &pair.pair)
            && self.interval.is_none_or(|wanted| wanted == *interval)
    }

    /// Which fields are left out, as a number below [`KINDS`].
    fn kind(&self) -> usize {
        if self.any_case {
            return KINDS - 1;
        }
        usize::from(self.chain_id.is_none())
            | usize::from(self.pair.is_none()) << 1
            | usize::from(self.interval.is_none()) << 2
    }

    /// Every filter of these kinds that wants a candle of this chart.
    fn all_that_want(
        kinds: &[usize; KINDS],
        pair: &PairKey,
        interval: Interval,
    ) -> impl Iterator<Item = Filter> {
        let filter = move |left_out: u8| Filter {
            chain_id: (left_out & 1 == 0).then(|| pair.chain_id.clone()),
            pair: (left_out & 2 == 0).then(|| pair.pair.clone()),
            interval: (left_out & 4 == 0).then_some(interval),
            any_case: false,
        };
        let any_case = move || Filter {
            chain_id: Some(pair.chain_id.to_ascii_lowercase()),
            pair: Some(pair.pair.to_ascii_lowercase()),
            interval: Some(interval),
            any_case: true,
        };
        let asked = |kind: &u8| kinds[usize::from(*kind)] > 0;
        let any_case = (kinds[KINDS - 1] > 0).then(any_case);
        (0..8).filter(asked).map(filter).chain(any_case)
    }
}

/// The listeners. Clones share them.
#[derive(Debug, Clone)]
pub struct Subscribers {
    list: Arc<Mutex<List>>,
    listening: Arc<AtomicBool>,
}

/// Locked before the state of a listener, never after it.
#[derive(Debug, Default)]
struct List {
    /// Listeners.
    count: usize,
    /// The number of the next one.
    next: u64,
    /// Who wants what, so that a change costs those who want it and nobody else.
    wants: HashMap<Filter, Wanted>,
    /// How many of these filters are of each kind: a change asks only for kinds that there are.
    kinds: [usize; KINDS],
}

#[derive(Debug, Default)]
struct Wanted {
    by: BTreeMap<u64, Arc<Shared>>,
    /// Those of them that are behind, and what changed since the first of them was.
    behind: BTreeSet<u64>,
    missed: Waiting,
    /// For a filter of any case: the pair that it last met.
    met: Option<Arc<PairKey>>,
}

impl List {
    fn add(&mut self, filter: Filter, number: u64, subscriber: Arc<Shared>) {
        let kind = filter.kind();
        let wanted = self.wants.entry(filter).or_insert_with(|| {
            self.kinds[kind] += 1;
            Wanted::default()
        });
        wanted.by.insert(number, subscriber);
    }

    fn remove(&mut self, filter: &Filter, number: u64) {
        if let Some(wanted) = self.wants.get_mut(filter) {
            wanted.by.remove(&number);
            wanted.caught_up(number);
            if wanted.by.is_empty() {
                self.wants.remove(filter);
                self.kinds[filter.kind()] -= 1;
            }
        }
    }
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    news: Notify,
}

#[derive(Debug, Default)]
struct State {
    filters: BTreeSet<Filter>,
    /// Those of the filters that it is behind with.
    behind: BTreeSet<Filter>,
    waiting: Waiting,
    /// Changes since it took some.
    untaken: usize,
}

/// Changes that nobody has taken yet.
#[derive(Debug, Default)]
struct Waiting {
    changes: Changes,
    /// Older candles are left out when so many wait, if that is more than [`WAITING_MAX`].
    max: usize,
}

/// What changed for a listener since it asked last.
#[derive(Debug, Clone, Default)]
pub struct Changes {
    /// The newest state of each candle that changed: a slow listener misses steps, never the last one, and a candle takes its place once
    /// however often it changes.
    pub candles: BTreeMap<Key, Candle>,
    /// The listener was so slow that of some charts only the newest candle is here, and what older ones came to is not.
    pub skipped: bool,
}

impl Waiting {
    fn put(&mut self, key: &Key, candle: &Candle) {
        self.changes.candles.insert(key.clone(), *candle);
        if self.changes.candles.len() > self.max.max(WAITING_MAX) {
            self.keep_newest();
        }
    }

    /// Leaves the newest candle of each chart.
    fn keep_newest(&mut self) {
        let mut newest: BTreeMap<Key, Candle> = BTreeMap::new();
        // In the order of charts, and of time within each.
        let mut all = std::mem::take(&mut self.changes.candles).into_iter().peekable();
        while let Some((key, candle)) = all.next() {
            let is_older =
                all.peek().is_some_and(|((pair, interval, _), _)| (pair, *interval) == (&key.0, key.1));
            if is_older {
                self.changes.skipped = true;
            } else {
                newest.insert(key, candle);
            }
        }
        // Gone through again only when there are twice as many: each candle pays for a step or two.
        self.max = 2 * newest.len();
        self.changes.candles = newest;
    }
}

impl Wanted {
    /// Puts a change before everyone.
    fn put(&mut self, filter: &Filter, key: &Key, candle: &Candle) {
        let mut fell = Vec::new();
        for (number, subscriber) in self.by.iter().filter(|(number, _)| !self.behind.contains(number)) {
            let mut state = lock(&subscriber.state);
            state.waiting.put(key, candle);
            state.untaken += 1;
            if state.untaken >= BEHIND_AT {
                state.behind.insert(filter.clone());
                fell.push(*number);
            }
            drop(state);
            subscriber.news.notify_one();
        }
        if !self.behind.is_empty() {
            self.missed.put(key, candle);
        }
        self.behind.extend(fell);
    }

    /// One is behind no more, or gone.
    fn caught_up(&mut self, number: u64) {
        self.behind.remove(&number);
        if self.behind.is_empty() {
            self.missed = Waiting::default();
        }
    }
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
    ///
    /// # Errors
    /// When too many listen already.
    pub fn join(&self) -> Result<Subscriber, TooMany> {
        let mut list = lock(&self.list);
        if list.count >= SUBSCRIBERS_MAX {
            return Err(TooMany::Subscribers);
        }
        let number = list.next;
        list.next += 1;
        list.count += 1;
        self.listening.store(true, Ordering::Relaxed);
        Ok(Subscriber { number, shared: Arc::default(), all: self.clone() })
    }

    /// Whether anybody listens.
    pub(super) fn any(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// The charts that somebody follows by name.
    pub(super) fn charts(&self) -> BTreeSet<(PairKey, Interval)> {
        let mut charts = BTreeSet::new();
        for (filter, wanted) in &lock(&self.list).wants {
            match (filter, &wanted.met) {
                (Filter { any_case: true, interval: Some(interval), .. }, met) => {
                    charts.extend(met.as_ref().map(|pair| (PairKey::clone(pair), *interval)));
                }
                (Filter { chain_id: Some(chain), pair: Some(pair), interval: Some(interval), .. }, _) => {
                    charts.insert((PairKey::new(chain, pair), *interval));
                }
                _ => {}
            }
        }
        charts
    }

    /// The filters of any case that have met no pair yet.
    pub(super) fn unmet(&self) -> Vec<Filter> {
        let list = lock(&self.list);
        let unmet = list.wants.iter().filter(|(filter, wanted)| filter.any_case && wanted.met.is_none());
        unmet.map(|(filter, _)| filter.clone()).collect()
    }

    /// A filter of any case has met this pair.
    pub(super) fn meet(&self, filter: &Filter, pair: &Arc<PairKey>) {
        if let Some(wanted) = lock(&self.list).wants.get_mut(filter) {
            wanted.met.get_or_insert_with(|| Arc::clone(pair));
        }
    }

    /// Hands out a question: whether anybody follows a chart. Nobody joins or leaves meanwhile.
    pub(super) fn ask<T>(&self, with: impl FnOnce(&dyn Fn(&PairKey, Interval) -> bool) -> T) -> T {
        let list = lock(&self.list);
        with(&|pair, interval| {
            Filter::all_that_want(&list.kinds, pair, interval).any(|filter| list.wants.contains_key(&filter))
        })
    }

    /// Puts changed candles before everyone who wants them.
    pub(super) fn publish(&self, changed: &[(Key, Candle)]) {
        let mut list = lock(&self.list);
        let kinds = list.kinds;
        for (key, candle) in changed {
            let (pair, interval, _) = key;
            for filter in Filter::all_that_want(&kinds, pair, *interval) {
                let Some(wanted) = list.wants.get_mut(&filter) else { continue };
                if filter.any_case {
                    wanted.met = Some(Arc::clone(pair));
                }
                wanted.put(&filter, key, candle);
            }
        }
    }
}

/// One listener; leaves when dropped.
#[derive(Debug)]
pub struct Subscriber {
    number: u64,
    shared: Arc<Shared>,
    all: Subscribers,
}

impl Subscriber {
    /// Wants this too.
    ///
    /// # Errors
    /// When this one wants too much already.
    pub fn subscribe(&self, filter: Filter) -> Result<(), TooMany> {
        let mut list = lock(&self.all.list);
        let mut state = lock(&self.shared.state);
        if state.filters.len() >= FILTERS_MAX && !state.filters.contains(&filter) {
            return Err(TooMany::Filters);
        }
        list.add(filter.clone(), self.number, Arc::clone(&self.shared));
        state.filters.insert(filter);
        Ok(())
    }

    /// Wants this no more; `false` if it never did.
    pub fn unsubscribe(&self, filter: &Filter) -> bool {
        let mut list = lock(&self.all.list);
        list.remove(filter, self.number);
        let mut state = lock(&self.shared.state);
        let removed = state.filters.remove(filter);
        state.behind.remove(filter);
        let State { filters, waiting, .. } = &mut *state;
        // Under the lock of all: asking every filter about every candle would keep the others waiting.
        waiting.changes.candles.retain(|key, _| {
            !filter.wants(key) || {
                let (pair, interval, _) = key;
                Filter::all_that_want(&[1; KINDS], pair, *interval).any(|other| filters.contains(&other))
            }
        });
        removed
    }

    /// Waits until something changed, and takes the newest state of all that did.
    pub async fn next(&self) -> Changes {
        loop {
            let taken = self.take();
            if !taken.candles.is_empty() {
                return taken;
            }
            self.shared.news.notified().await;
        }
    }

    fn take(&self) -> Changes {
        {
            let mut state = lock(&self.shared.state);
            if state.behind.is_empty() {
                state.untaken = 0;
                return std::mem::take(&mut state.waiting).changes;
            }
        }
        // The list first: its owner adds to what was missed.
        let mut list = lock(&self.all.list);
        let mut state = lock(&self.shared.state);
        state.untaken = 0;
        let mut taken = std::mem::take(&mut state.waiting).changes;
        for filter in std::mem::take(&mut state.behind) {
            let Some(wanted) = list.wants.get_mut(&filter) else { continue };
            // Newer than what it has itself, or the same; of what came before it was behind it sees the newest state again.
            taken
                .candles
                .extend(wanted.missed.changes.candles.iter().map(|(key, candle)| (key.clone(), *candle)));
            taken.skipped |= wanted.missed.changes.skipped;
            wanted.caught_up(self.number);
        }
        let mut taken = Waiting { changes: taken, max: 0 };
        if taken.changes.skipped {
            // An older candle that waited here may have changed since, and was left out there.
            taken.keep_newest();
        }
        taken.changes
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let mut list = lock(&self.all.list);
        for filter in &lock(&self.shared.state).filters {
            list.remove(filter, self.number);
        }
        list.count -= 1;
        self.all.listening.store(list.count > 0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(pair: &str, interval: Interval) -> Key {
        (Arc::new(PairKey::new("1", pair)), interval, 60)
    }

    fn filter(pair: Option<&str>, interval: Option<Interval>) -> Filter {
        Filter { chain_id: Some("1".into()), pair: pair.map(Into::into), interval, any_case: false }
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
        let waiting = slow.next().await.candles;
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
        assert_eq!(listener.next().await.candles.len(), 2);
        assert!(listener.unsubscribe(&filter(None, None)));
        assert!(!listener.unsubscribe(&filter(None, None)));
        listener.subscribe(filter(Some("b"), None)).unwrap();
        subscribers.publish(&changed);
        assert_eq!(listener.next().await.candles.into_keys().next().unwrap().0.pair, "b");
    }

    #[tokio::test]
    async fn leaving_a_thousand_charts_keeps_nobody_waiting() {
        let subscribers = Subscribers::new(Arc::default());
        let listener = subscribers.join().unwrap();
        let name = |n: usize| format!("{n:044}");
        let wish = |n: usize| filter(Some(&name(n)), Some(Interval::M1));
        (0..FILTERS_MAX).for_each(|n| listener.subscribe(wish(n)).unwrap());
        for n in 0..FILTERS_MAX {
            let pair = Arc::new(PairKey::new("1", name(n)));
            let waiting: Vec<_> =
                (0..15).map(|at| ((Arc::clone(&pair), Interval::M1, 60 * at), Candle::EMPTY)).collect();
            // As if it had not come to the point of being behind.
            waiting.iter().for_each(|(key, candle)| lock(&listener.shared.state).waiting.put(key, candle));
        }
        let began = std::time::Instant::now();
        for n in 1..FILTERS_MAX {
            assert!(listener.unsubscribe(&wish(n)));
        }
        assert_eq!(listener.next().await.candles.len(), 15, "those of the one that it still follows");
        assert!(began.elapsed().as_secs() < 60, "{:?}", began.elapsed());
    }

    #[tokio::test]
    async fn a_filter_of_any_case_meets_the_pair_as_it_is_written() {
        let subscribers = Subscribers::new(Arc::default());
        let listener = subscribers.join().unwrap();
        let wish = Filter { any_case: true, ..filter(Some("abc"), Some(Interval::M1)) };
        listener.subscribe(wish.clone()).unwrap();
        assert!(subscribers.charts().is_empty(), "nobody has seen the pair yet");
        subscribers
            .publish(&[(key("aBC", Interval::M1), Candle::EMPTY), (key("abd", Interval::M1), Candle::EMPTY)]);
        assert_eq!(listener.next().await.candles.into_keys().collect::<Vec<_>>(), [key("aBC", Interval::M1)]);
        assert_eq!(subscribers.charts(), BTreeSet::from([(PairKey::new("1", "aBC"), Interval::M1)]));
        assert!(listener.unsubscribe(&wish));
        let list = lock(&subscribers.list);
        assert!(list.wants.is_empty() && list.kinds == [0; KINDS]);
    }

    #[tokio::test]
    async fn thousands_listen_and_the_slow_ones_hold_up_nobody() {
        const LISTENERS: usize = 4000;
        const STATES: u64 = 200;
        let subscribers = Subscribers::new(Arc::default());
        let mut fast = tokio::task::JoinSet::new();
        let mut slow = Vec::new();
        for n in 0..LISTENERS {
            let listener = subscribers.join().unwrap();
            let pair = (n % 10).to_string();
            listener.subscribe(filter(Some(&pair), Some(Interval::M1))).unwrap();
            if n % 4 == 3 {
                slow.push((pair, listener));
                continue;
            }
            fast.spawn(async move {
                let mut newest = 0;
                while newest < STATES {
                    for ((of, ..), candle) in listener.next().await.candles {
                        assert_eq!(of.pair, pair);
                        assert!(candle.count > newest, "a state comes once and in order");
                        newest = candle.count;
                    }
                }
            });
        }
        for count in 1..=STATES {
            let mut candle = Candle::EMPTY;
            candle.count = count;
            let changed: Vec<_> =
                (0..10).map(|pair| (key(&pair.to_string(), Interval::M1), candle)).collect();
            subscribers.publish(&changed);
            tokio::task::yield_now().await;
        }
        while let Some(done) = fast.join_next().await {
            done.unwrap();
        }
        // Nobody has asked for these yet: one state waits, the last.
        for (pair, listener) in slow {
            let waiting: Vec<_> = listener.next().await.candles.into_iter().collect();
            assert_eq!((waiting.len(), waiting[0].1.count), (1, STATES));
            assert_eq!(waiting[0].0.0.pair, pair);
        }
    }

    #[tokio::test]
    async fn who_reads_nothing_for_long_has_the_newest_candle_of_each_chart_waiting() {
        const PAIRS: i64 = 100;
        const MINUTES: i64 = 10 * WAITING_MAX as i64 / PAIRS;
        let subscribers = Subscribers::new(Arc::default());
        let slow = subscribers.join().unwrap();
        slow.subscribe(filter(None, None)).unwrap();
        let pairs: Vec<_> = (0..PAIRS).map(|pair| Arc::new(PairKey::new("1", pair.to_string()))).collect();
        for minute in 0..MINUTES {
            for pair in &pairs {
                let key = (Arc::clone(pair), Interval::M1, minute * 60);
                subscribers.publish(&[(key, Candle::EMPTY)]);
            }
            assert!(lock(&slow.shared.state).waiting.changes.candles.len() <= BEHIND_AT);
            let list = lock(&subscribers.list);
            assert!(list.wants[&filter(None, None)].missed.changes.candles.len() <= WAITING_MAX);
        }
        let waiting = slow.next().await;
        assert!(waiting.skipped);
        for pair in pairs {
            let newest = (pair, Interval::M1, (MINUTES - 1) * 60);
            assert!(waiting.candles.contains_key(&newest), "{newest:?}");
        }
        // From here on it is as quick as others.
        subscribers.publish(&[(key("a", Interval::M1), Candle::EMPTY)]);
        let next = slow.next().await;
        assert_eq!((next.candles.len(), next.skipped), (1, false));
    }

    #[tokio::test]
    async fn who_is_behind_has_the_newest_state_waiting_once_for_all_of_them() {
        let subscribers = Subscribers::new(Arc::default());
        let everything = filter(None, None);
        let slow: Vec<_> = (0..100).map(|_| subscribers.join().unwrap()).collect();
        slow.iter().for_each(|listener| listener.subscribe(everything.clone()).unwrap());
        let counted = |count| {
            let mut candle = Candle::EMPTY;
            candle.count = count;
            candle
        };
        let pairs = ["a", "b", "c"].map(|pair| key(pair, Interval::M1));
        let changed = |count| pairs.clone().map(|key| (key, counted(count)));
        let newest = |changes: &Changes| changes.candles.values().map(|c| c.count).collect::<Vec<_>>();
        let steps = BEHIND_AT as u64;
        (1..=steps).for_each(|count| subscribers.publish(&changed(count)));
        // One takes what there is, and is behind no more; another leaves; one follows something else as well.
        assert_eq!(newest(&slow[0].next().await), [steps; 3]);
        slow[2].subscribe(filter(Some("a"), Some(Interval::M1))).unwrap();
        let mut rest = slow.into_iter();
        let (first, _) = (rest.next().unwrap(), rest.next());
        subscribers.publish(&changed(steps + 1));
        assert_eq!(newest(&first.next().await), [steps + 1; 3]);
        {
            let list = lock(&subscribers.list);
            let wanted = &list.wants[&everything];
            assert_eq!((wanted.by.len(), wanted.behind.len()), (99, 98));
            let untouched = lock(&wanted.by[&5].state).waiting.changes.candles[&pairs[0]].count;
            assert!(untouched < steps, "a change costs one place for all of them");
        }
        for listener in rest {
            assert_eq!(newest(&listener.next().await), [steps + 1; 3]);
        }
        assert!(lock(&subscribers.list).wants[&everything].missed.changes.candles.is_empty());
        subscribers.publish(&changed(steps + 2));
        assert_eq!(newest(&first.next().await), [steps + 2; 3]);
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
