//! The live candles: what is stored, and what has not been stored yet, merged. Plain state: no thread, no socket.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use market_data::{Candle, Deltas, Interval, PairKey};

/// Which candle.
pub type Key = (Arc<PairKey>, Interval, i64);

/// Whose unstored work a part is: a member of this process, and the number of the flush that will store it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Source {
    /// The member.
    pub(crate) member: u32,
    /// Counts the member's flushes.
    pub(crate) flush: u64,
}

/// Candles that are held, at most; beyond it, those that have nothing unstored are forgotten and read again when needed.
const HELD_MAX: usize = 100_000;

/// Whether somebody follows a chart.
pub(crate) type Followed<'a> = &'a dyn Fn(&PairKey, Interval) -> bool;

/// Candles that changed lately.
#[derive(Debug, Default)]
pub(crate) struct Live {
    pairs: HashSet<Arc<PairKey>>,
    candles: HashMap<Key, Held>,
    changed: HashSet<Key>,
    /// Flushes that it heard of.
    flushes: u64,
}

#[derive(Debug, Default)]
struct Held {
    /// What our own store has; `None` until somebody looked.
    stored: Option<Candle>,
    /// What the stores of others that share the group have, when somebody looked last. A flush of ours says nothing about it.
    elsewhere: Option<Candle>,
    /// Parts that no flush has stored yet.
    parts: Vec<(Source, Candle)>,
    /// Which flush said last what our own store has: a question that was asked before it has an older answer.
    flushed: u64,
}

impl Live {
    fn key(&mut self, pair: &PairKey, interval: Interval, time: i64) -> Key {
        let pair = match self.pairs.get(pair) {
            Some(known) => Arc::clone(known),
            None => {
                let new = Arc::new(pair.clone());
                self.pairs.insert(Arc::clone(&new));
                new
            }
        };
        (pair, interval, time)
    }

    /// Adds parts that are not stored yet, of all intervals: of the charts that somebody follows. Whoever begins to follow one sees
    /// what was not stored by then with the flush that stores it.
    pub(crate) fn add(&mut self, source: Source, deltas: &Deltas, followed: Followed<'_>) {
        for delta in &deltas.candles {
            if !followed(&deltas.pairs[delta.pair as usize].key, delta.interval) {
                continue;
            }
            let key = self.key(&deltas.pairs[delta.pair as usize].key, delta.interval, delta.time);
            let held = self.candles.entry(key.clone()).or_default();
            match held.parts.iter_mut().find(|(of, _)| *of == source) {
                Some((_, part)) => part.merge(&delta.candle),
                None => held.parts.push((source, delta.candle)),
            }
            self.changed.insert(key);
        }
    }

    /// A flush has stored these: the store's candles replace the parts of it and of whatever was before it.
    ///
    /// Candles that are not held are taken too: somebody may follow them who has not seen their parts.
    pub(crate) fn flushed(
        &mut self,
        source: Source,
        deltas: &Deltas,
        stored: &[Candle],
        followed: Followed<'_>,
    ) {
        self.flushes += 1;
        for (delta, candle) in deltas.candles.iter().zip(stored) {
            if !followed(&deltas.pairs[delta.pair as usize].key, delta.interval) {
                continue;
            }
            let key = self.key(&deltas.pairs[delta.pair as usize].key, delta.interval, delta.time);
            let held = self.candles.entry(key.clone()).or_default();
            let before = held.whole();
            (held.stored, held.flushed) = (Some(*candle), self.flushes);
            held.parts.retain(|(of, _)| of.member != source.member || of.flush > source.flush);
            if held.whole() != before {
                self.changed.insert(key);
            }
        }
    }

    /// A member lost its unstored work, or its flush was refused: somebody else will store those trades.
    pub(crate) fn dropped(&mut self, source: Source) {
        for (key, held) in &mut self.candles {
            let before = held.parts.len();
            held.parts.retain(|(of, _)| of.member != source.member || of.flush > source.flush);
            if held.parts.len() < before {
                self.changed.insert(key.clone());
            }
        }
    }

    /// How many flushes it heard of, for [`Live::stored`].
    pub(crate) fn flushes(&self) -> u64 {
        self.flushes
    }

    /// What our own store has of a candle, as it was asked when so many flushes were heard of.
    pub(crate) fn stored(&mut self, key: &Key, candle: Candle, after: u64) {
        self.learn(key, |held| {
            if held.flushed <= after {
                held.stored = Some(candle);
            }
        });
    }

    /// What the stores of others have of a candle.
    pub(crate) fn elsewhere(&mut self, key: &Key, candle: Candle) {
        self.learn(key, |held| held.elsewhere = Some(candle));
    }

    fn learn(&mut self, key: &Key, learn: impl FnOnce(&mut Held)) {
        let held = self.candles.entry(key.clone()).or_default();
        let before = held.whole();
        learn(held);
        if held.whole() != before {
            self.changed.insert(key.clone());
        }
    }

    /// Forgets everything: nobody listens.
    pub(crate) fn clear(&mut self) {
        *self = Live { flushes: self.flushes, ..Live::default() };
    }

    /// Candles that changed and of which nobody has said yet what is stored: so many of them at most.
    pub(crate) fn unknown(&self, max: usize) -> Vec<Key> {
        self.changed.iter().filter(|key| !self.is_known(key)).take(max).cloned().collect()
    }

    fn is_known(&self, key: &Key) -> bool {
        self.candles.get(key).is_none_or(|held| held.stored.is_some() && held.elsewhere.is_some())
    }

    /// The candles that changed since the last call, whole. `wait`: [unknown](Live::unknown) ones are told another time.
    pub(crate) fn take_changed(&mut self, wait: bool) -> Vec<(Key, Candle)> {
        let mut changed = std::mem::take(&mut self.changed);
        if wait {
            self.changed = changed.extract_if(|key| !self.is_known(key)).collect();
        }
        let whole = |key: Key| {
            let candle = self.candles.get(&key)?.whole();
            (!candle.is_empty()).then_some((key, candle))
        };
        let whole = changed.into_iter().filter_map(whole).collect();
        // Not before: what is forgotten with its change untold would not be told at all.
        if self.candles.len() > HELD_MAX {
            self.candles.retain(|key, held| !held.parts.is_empty() || self.changed.contains(key));
            // Those that are being told now go the next time.
            self.pairs.retain(|pair| Arc::strong_count(pair) > 1);
        }
        whole
    }
}

impl Held {
    fn whole(&self) -> Candle {
        let mut whole = self.stored.unwrap_or(Candle::EMPTY);
        whole.merge(&self.elsewhere.unwrap_or(Candle::EMPTY));
        for (_, part) in &self.parts {
            whole.merge(part);
        }
        whole
    }
}

#[cfg(test)]
mod tests {
    use market_data::{Aggregator, Place};

    use super::*;

    fn all(_: &PairKey, _: Interval) -> bool {
        true
    }

    fn deltas(offset: i64, price: &str) -> Deltas {
        let mut aggregator = Aggregator::new();
        let value = format!(
            r#"[{{"chain_id":"1","pair_addr":"a","total_usd":1,"token_price_usd":{price},"block_time":60}}]"#
        );
        aggregator.add_message(Place { partition: 0, offset }, value.as_bytes()).unwrap();
        let mut deltas = aggregator.take_deltas();
        deltas.roll_up();
        deltas
    }

    fn whole(deltas: &[&Deltas]) -> Vec<Candle> {
        let mut all = deltas[0].candles.iter().map(|d| d.candle).collect::<Vec<_>>();
        for more in &deltas[1..] {
            all.iter_mut().zip(&more.candles).for_each(|(candle, delta)| candle.merge(&delta.candle));
        }
        all
    }

    fn minute(live: &mut Live) -> Option<(u64, String)> {
        let changed = live.take_changed(false);
        let (_, candle) = changed.iter().find(|((_, interval, _), _)| *interval == Interval::M1)?;
        Some((candle.count, candle.prices().unwrap().close.to_string()))
    }

    #[test]
    fn a_candle_is_what_is_stored_and_what_is_not_yet() {
        let mut live = Live::default();
        let (first, second, third) = (deltas(1, "1"), deltas(2, "2"), deltas(3, "3"));
        let source = |flush| Source { member: 0, flush };
        live.add(source(0), &first, &all);
        assert_eq!(live.unknown(usize::MAX).len(), 7);
        assert_eq!(minute(&mut live), Some((1, "1".into())));
        // Another part arrives while the first is on its way to the store.
        live.add(source(1), &second, &all);
        assert_eq!(minute(&mut live), Some((2, "2".into())));
        live.flushed(source(0), &first, &whole(&[&first]), &all);
        assert_eq!(minute(&mut live), None, "storing changes nothing that a viewer sees");
        // Somebody else's trade was in the store already.
        live.flushed(source(1), &second, &whole(&[&first, &second, &third]), &all);
        assert_eq!(minute(&mut live), Some((3, "3".into())));
        assert!(live.unknown(usize::MAX).is_empty());
    }

    #[test]
    fn what_is_forgotten_for_room_is_told_first() {
        let mut live = Live::default();
        let pair = |n: usize| {
            let mut deltas = deltas(1, "1");
            deltas.candles.retain(|delta| delta.interval == Interval::M1);
            Arc::make_mut(&mut deltas.pairs[0]).key.pair = n.to_string();
            deltas
        };
        for n in 0..=HELD_MAX {
            let deltas = pair(n);
            live.flushed(Source { member: 0, flush: 0 }, &deltas, &whole(&[&deltas]), &all);
        }
        assert_eq!(live.take_changed(false).len(), HELD_MAX + 1);
        assert!(live.candles.is_empty());
    }

    #[test]
    fn what_nobody_follows_is_not_held() {
        let mut live = Live::default();
        let (part, source) = (deltas(1, "1"), Source { member: 0, flush: 0 });
        let daily: Followed<'_> = &|_, interval| interval == Interval::D1;
        live.add(source, &part, daily);
        live.flushed(source, &part, &whole(&[&part]), daily);
        assert_eq!((live.candles.len(), live.take_changed(false).len()), (1, 1));
    }

    #[test]
    fn what_another_store_of_the_group_has_stays_when_ours_is_flushed() {
        let mut live = Live::default();
        let (ours, theirs) = (deltas(1, "1"), deltas(2, "2"));
        let source = Source { member: 0, flush: 0 };
        live.add(source, &ours, &all);
        for (key, candle) in live.take_changed(false) {
            live.stored(&key, Candle::EMPTY, live.flushes());
            let part = theirs.candles.iter().find(|delta| delta.interval == key.1).unwrap();
            live.elsewhere(&key, part.candle);
            assert_eq!(candle.count, 1);
        }
        assert_eq!(minute(&mut live), Some((2, "2".into())));
        live.flushed(source, &ours, &whole(&[&ours]), &all);
        assert_eq!(minute(&mut live), None, "the same whole");
        assert!(live.unknown(usize::MAX).is_empty());
    }

    #[test]
    fn work_that_was_lost_is_shown_no_more() {
        let mut live = Live::default();
        let (first, second) = (deltas(1, "1"), deltas(2, "2"));
        live.flushed(Source { member: 1, flush: 0 }, &first, &whole(&[&first]), &all);
        live.add(Source { member: 0, flush: 4 }, &second, &all);
        assert_eq!(minute(&mut live), Some((2, "2".into())));
        live.dropped(Source { member: 0, flush: 4 });
        assert_eq!(minute(&mut live), Some((1, "1".into())));
    }

    #[test]
    fn a_new_candle_is_told_once_it_is_known_and_a_flush_knows_better_than_an_older_question() {
        let mut live = Live::default();
        let (ours, theirs) = (deltas(1, "1"), deltas(2, "2"));
        let source = Source { member: 0, flush: 0 };
        live.add(source, &ours, &all);
        let asked = live.flushes();
        let unknown = live.unknown(usize::MAX);
        assert_eq!((live.take_changed(true).len(), unknown.len()), (0, 7));
        // The answer is of before the flush, and comes after it.
        live.flushed(source, &ours, &whole(&[&ours, &theirs]), &all);
        for key in &unknown {
            live.stored(key, Candle::EMPTY, asked);
            live.elsewhere(key, Candle::EMPTY);
        }
        let told = live.take_changed(true);
        assert_eq!((told.len(), told[0].1.count), (7, 2));
        assert!(live.unknown(usize::MAX).is_empty() && live.take_changed(true).is_empty());
    }
}
