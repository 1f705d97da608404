//! The hub: merges what the lanes have in hand into live candles, and pushes them to whoever listens.
//!
//! One thread of its own: lanes hand over small deltas at once, before any flush, and never wait for it. It waits for no store: what is
//! stored, another thread reads for it (`asker`). What it shows is a view: parts that it had to miss under load, or that another process
//! stored, join at the next flush, and after a flush it shows what the store has. While nobody listens it costs a lane one load of a flag.

mod asker;
pub mod live;
mod subscribers;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use market_data::{Candle, Deltas};
use market_store::CandleReader;
pub use subscribers::{Changes, FILTERS_MAX, Filter, Subscriber, Subscribers, TooMany};

use asker::{Answer, Asker, Wanted};
use live::{Live, Source};

/// News that may wait for the hub; a lane that finds more leaves its own out.
const NEWS_MAX: usize = 4096;
/// So long news are gathered for one push. Where they come faster than they are taken in, there would never be a push otherwise.
const GATHER_MAX: Duration = Duration::from_millis(10);
/// How often candles that listeners follow are read again, for what other processes stored.
const REREAD: Duration = Duration::from_secs(1);
/// How often the store is asked for pairs that are followed in any case, and that nobody here has met: it reads every pair's name.
const LOOK_UP: Duration = Duration::from_secs(5);

enum News {
    Parts(Source, Deltas),
    Flushed(Source, Arc<Deltas>, Vec<Candle>),
    Dropped(Source),
    Answer(Answer),
    End,
}

/// The lanes' and the listeners' end of the hub. Clones share it; the hub's threads end with the last of them.
#[derive(Debug, Clone)]
pub struct Hub {
    news: SyncSender<News>,
    listening: Arc<AtomicBool>,
    subscribers: Subscribers,
    _last: Arc<Last>,
}

/// Says the end with the last handle of the hub: the thread that reads for it has an end of the channel, too.
#[derive(Debug)]
struct Last(SyncSender<News>);

impl Drop for Last {
    fn drop(&mut self) {
        let _ = self.0.send(News::End);
    }
}

impl Hub {
    /// Starts the hub's threads. `reader` tells what is stored of candles that the hub sees for the first time, in our own store and
    /// in those of other services that share our groups.
    pub fn start(reader: Box<dyn CandleReader>, groups: Vec<String>) -> std::io::Result<Hub> {
        let (news, incoming) = sync_channel(NEWS_MAX);
        let listening = Arc::new(AtomicBool::new(false));
        let subscribers = Subscribers::new(Arc::clone(&listening));
        let asker = Asker::start(reader, groups, news.clone())?;
        let thread =
            Thread { live: Live::default(), asker, subscribers: subscribers.clone(), looked_up_at: None };
        std::thread::Builder::new().name("hub".to_owned()).spawn(move || thread.run(&incoming))?;
        let last = Arc::new(Last(news.clone()));
        Ok(Hub { news, listening, subscribers, _last: last })
    }

    /// Whether anybody listens: if not, lanes need not hand over anything.
    #[inline]
    pub fn is_listening(&self) -> bool {
        self.listening.load(Ordering::Relaxed)
    }

    /// Hands over one-minute parts that are not stored yet.
    pub fn parts(&self, member: u32, flush: u64, deltas: Deltas) {
        // A full hub is a slow view, never a slow lane.
        let _ = self.news.try_send(News::Parts(Source { member, flush }, deltas));
    }

    /// Says what a flush has stored. Called in the order of the commits.
    pub fn flushed(&self, member: u32, flush: u64, deltas: Arc<Deltas>, stored: Vec<Candle>) {
        if self.is_listening() {
            self.send(News::Flushed(Source { member, flush }, deltas, stored));
        }
    }

    /// Says that a member's unstored work is gone.
    pub fn dropped(&self, member: u32, flush: u64) {
        self.send(News::Dropped(Source { member, flush }));
    }

    fn send(&self, news: News) {
        // What corrects the view is worth a wait, though not for a hub that is gone.
        if let Err(TrySendError::Full(news)) = self.news.try_send(news) {
            let _ = self.news.send(news);
        }
    }

    /// Who listens.
    pub fn subscribers(&self) -> &Subscribers {
        &self.subscribers
    }
}

struct Thread {
    live: Live,
    asker: Asker,
    subscribers: Subscribers,
    /// When the names of pairs were asked for last.
    looked_up_at: Option<Instant>,
}

impl Thread {
    fn run(mut self, incoming: &Receiver<News>) {
        let mut reread = Instant::now() + REREAD;
        loop {
            let until = self.asker.patience_ends().map_or(reread, |ends| ends.min(reread));
            match incoming.recv_timeout(until.saturating_duration_since(Instant::now())) {
                Ok(News::End) | Err(RecvTimeoutError::Disconnected) => return,
                Ok(news) => {
                    self.take(news);
                    // What waits becomes one push: a slow listener gets fewer steps, not older ones.
                    let until = Instant::now() + GATHER_MAX;
                    while Instant::now() < until {
                        match incoming.try_recv() {
                            Ok(News::End) => return,
                            Ok(news) => self.take(news),
                            Err(_) => break,
                        }
                    }
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
            if !self.subscribers.any() {
                self.live.clear();
                reread = Instant::now() + REREAD;
                continue;
            }
            // Also while news never stop: what other processes stored would not be seen.
            let again = Instant::now() >= reread;
            if again {
                reread = Instant::now() + REREAD;
            }
            self.ask(again);
            let changed = self.live.take_changed(self.asker.is_prompt());
            if !changed.is_empty() {
                self.subscribers.publish(&changed);
            }
        }
    }

    fn take(&mut self, news: News) {
        match news {
            News::Parts(source, mut deltas) => {
                deltas.roll_up();
                self.subscribers.ask(|followed| self.live.add(source, &deltas, followed));
            }
            News::Flushed(source, deltas, stored) => {
                self.subscribers.ask(|followed| self.live.flushed(source, &deltas, &stored, followed));
            }
            News::Dropped(source) => self.live.dropped(source),
            News::Answer(answer) => self.answered(&answer),
            News::End => {}
        }
    }

    /// Asks what is stored: of the charts that somebody looks at, if it is time for that, or of candles that are new here.
    fn ask(&mut self, again: bool) {
        if !self.asker.is_free() {
            return;
        }
        let after = self.live.flushes();
        if again {
            let charts = self.subscribers.charts();
            let unmet = self.unmet();
            if !charts.is_empty() || !unmet.is_empty() {
                return self.asker.ask(Wanted::Charts(charts, unmet), after);
            }
        }
        let unknown = self.live.unknown(asker::CANDLES_MAX);
        if !unknown.is_empty() {
            self.asker.ask(Wanted::Candles(unknown), after);
        }
    }

    /// The filters of any case that have met no pair yet, now and then.
    fn unmet(&mut self) -> Vec<Filter> {
        if self.looked_up_at.is_some_and(|at| at.elapsed() < LOOK_UP) {
            return Vec::new();
        }
        let unmet = self.subscribers.unmet();
        if !unmet.is_empty() {
            self.looked_up_at = Some(Instant::now());
        }
        unmet
    }

    fn answered(&mut self, answer: &Answer) {
        self.asker.answered(answer.failed.as_ref());
        for (key, own, others) in &answer.candles {
            if let Some(own) = own {
                self.live.stored(key, *own, answer.after);
            }
            if let Some(others) = others {
                self.live.elsewhere(key, *others);
            }
        }
        for (filter, pair) in &answer.met {
            self.subscribers.meet(filter, pair);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use market_data::{Aggregator, Interval, PairKey, Place};
    use market_store::{CandleQuery, PairParts, Scan, StoreError, StoredCandle, Window};

    use super::*;

    /// A busy machine is no failure; this long is one.
    const LONG: Duration = Duration::from_secs(60);

    /// Hangs with the first question until the other end of the channel is gone.
    struct Hanging {
        until: Receiver<()>,
        _alive: Arc<()>,
    }

    impl CandleReader for Hanging {
        fn candles(&mut self, _: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
            let _ = self.until.recv();
            Ok(Vec::new())
        }
        fn newest_trade(&mut self, _: &[String]) -> Result<Option<i64>, StoreError> {
            Ok(None)
        }
        fn pair_parts(&mut self, _: &[String], _: Window) -> Result<Vec<PairParts>, StoreError> {
            Ok(Vec::new())
        }
        fn scan(
            &mut self,
            _: &Scan<'_>,
            _: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
        ) -> Result<(), StoreError> {
            Ok(())
        }
    }

    fn deltas() -> Deltas {
        let mut aggregator = Aggregator::new();
        let value =
            br#"[{"chain_id":"1","pair_addr":"a","total_usd":1,"token_price_usd":2,"block_time":60}]"#;
        aggregator.add_message(Place { partition: 0, offset: 0 }, value).unwrap();
        aggregator.take_deltas()
    }

    #[tokio::test]
    async fn a_store_that_hangs_holds_up_neither_flushes_nor_listeners() {
        let (hangs, until) = channel();
        let alive = Arc::new(());
        let store = Hanging { until, _alive: Arc::clone(&alive) };
        let hub = Hub::start(Box::new(store), vec!["g".to_owned()]).unwrap();
        let listener = hub.subscribers().join().unwrap();
        let all = Filter { chain_id: None, pair: None, interval: None, any_case: false };
        listener.subscribe(all).unwrap();
        hub.parts(0, 0, deltas());
        // It asks what is stored of the new candle, and hangs. A lane is told that its work is done, again and again.
        let (told, done) = channel();
        let (flushes, stored) = (hub.clone(), deltas());
        std::thread::spawn(move || {
            let candles: Vec<Candle> = stored.candles.iter().map(|delta| delta.candle).collect();
            let stored = Arc::new(stored);
            for flush in 0..2 * NEWS_MAX as u64 {
                flushes.flushed(0, flush, Arc::clone(&stored), candles.clone());
            }
            told.send(()).unwrap();
        });
        tokio::task::spawn_blocking(move || done.recv_timeout(LONG)).await.unwrap().unwrap();
        let changes = tokio::time::timeout(LONG, listener.next()).await.unwrap();
        assert!(changes.candles.values().all(|candle| candle.count == 1), "{changes:?}");
        drop((hangs, hub, listener));
        // Both threads end.
        let until = Instant::now() + LONG;
        while Arc::strong_count(&alive) > 1 {
            assert!(Instant::now() < until);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}
