//! The hub: merges what the lanes have in hand into live candles, and pushes them to whoever listens.
//!
//! One thread of its own: lanes hand over small deltas at once, before any flush, and never wait for it. What it shows is a
//! view: parts that it had to miss under load, or that another process stored, join at the next flush, and after a flush it
//! shows what the store has. While nobody listens it costs a lane one load of a flag.

pub mod live;
mod subscribers;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::time::{Duration, Instant};

use market_data::{Candle, Deltas, PairKey};
use market_store::{CandleQuery, CandleReader, StoredCandle};
pub use subscribers::{Changes, FILTERS_MAX, Filter, Subscriber, Subscribers, TooMany};

use live::{Key, Live, Source};

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
}

/// The lanes' and the listeners' end of the hub. Clones share it; the hub's thread ends with the last of them.
#[derive(Debug, Clone)]
pub struct Hub {
    news: SyncSender<News>,
    listening: Arc<AtomicBool>,
    subscribers: Subscribers,
}

impl Hub {
    /// Starts the hub's thread. `reader` tells what is stored of candles that the hub sees for the first time, in our own store and
    /// in those of other services that share our groups.
    pub fn start(reader: Box<dyn CandleReader>, groups: Vec<String>) -> std::io::Result<Hub> {
        let (news, incoming) = sync_channel(NEWS_MAX);
        let listening = Arc::new(AtomicBool::new(false));
        let subscribers = Subscribers::new(Arc::clone(&listening));
        let thread = Thread {
            live: Live::default(),
            reader,
            groups,
            subscribers: subscribers.clone(),
            looked_up_at: None,
        };
        std::thread::Builder::new().name("hub".to_owned()).spawn(move || thread.run(&incoming))?;
        Ok(Hub { news, listening, subscribers })
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
    reader: Box<dyn CandleReader>,
    groups: Vec<String>,
    subscribers: Subscribers,
    /// When the names of pairs were read last.
    looked_up_at: Option<Instant>,
}

impl Thread {
    fn run(mut self, incoming: &Receiver<News>) {
        let mut reread = Instant::now() + REREAD;
        loop {
            let wait = reread.saturating_duration_since(Instant::now());
            match incoming.recv_timeout(wait) {
                Ok(news) => {
                    self.take(news);
                    // What waits becomes one push: a slow listener gets fewer steps, not older ones.
                    let until = Instant::now() + GATHER_MAX;
                    while Instant::now() < until {
                        let Ok(news) = incoming.try_recv() else { break };
                        self.take(news);
                    }
                }
                Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
                Err(std::sync::mpsc::RecvTimeoutError::Disconnected) => return,
            }
            if !self.subscribers.any() {
                self.live.clear();
                reread = Instant::now() + REREAD;
                continue;
            }
            // Also while news never stop: what other processes stored would not be seen.
            if Instant::now() >= reread {
                reread = Instant::now() + REREAD;
                self.look_again();
            }
            for key in self.live.unknown() {
                let (own, others) = self.read(&key);
                self.live.stored(&key, own);
                self.live.elsewhere(&key, others);
            }
            let changed = self.live.take_changed();
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
        }
    }

    /// What our own store has of a candle, and what all others have. A store that cannot be read now is a view that is late.
    fn read(&mut self, (pair, interval, time): &Key) -> (Candle, Candle) {
        let query = CandleQuery {
            groups: &self.groups,
            pair,
            interval: *interval,
            from: Some(*time),
            before: Some(time + interval.seconds()),
            limit: 1,
        };
        let first =
            |candles: Vec<StoredCandle>| candles.first().map_or(Candle::EMPTY, |stored| stored.candle);
        match self.reader.own_and_others(&query) {
            Ok((own, others)) => (first(own), first(others)),
            Err(error) => {
                tracing::warn!(%error, "a live candle shows only what this process has seen");
                (Candle::EMPTY, Candle::EMPTY)
            }
        }
    }

    /// Reads the latest candles of the charts that somebody looks at: another process may have stored trades of theirs.
    fn look_again(&mut self) {
        self.look_up();
        let charts: BTreeSet<_> = self.subscribers.charts();
        for (pair, interval) in charts {
            let query = CandleQuery {
                groups: &self.groups,
                pair: &pair,
                interval,
                from: None,
                before: None,
                limit: 2,
            };
            let Ok((own, others)) = self.reader.own_and_others(&query) else { return };
            let pair = Arc::new(pair);
            for StoredCandle { time, candle } in own {
                self.live.stored(&(Arc::clone(&pair), interval, time), candle);
            }
            for StoredCandle { time, candle } in others {
                self.live.elsewhere(&(Arc::clone(&pair), interval, time), candle);
            }
        }
    }

    /// Finds pairs in the store that are followed in any case: only another process may have seen them.
    fn look_up(&mut self) {
        let unmet = self.subscribers.unmet();
        if unmet.is_empty() || self.looked_up_at.is_some_and(|at| at.elapsed() < LOOK_UP) {
            return;
        }
        self.looked_up_at = Some(Instant::now());
        let Ok(mut pairs) = self.reader.names(&self.groups) else { return };
        // Where two pairs differ in nothing but case, the one that traded last counts.
        pairs.sort_by_key(|name| name.last_trade_at);
        let lower = |text: &str| text.to_ascii_lowercase();
        let known: HashMap<(String, String), Arc<PairKey>> = pairs
            .into_iter()
            .map(|s| ((lower(&s.pair.chain_id), lower(&s.pair.pair)), Arc::new(s.pair)))
            .collect();
        for filter in unmet {
            let (Some(chain_id), Some(pair)) = (&filter.chain_id, &filter.pair) else { continue };
            if let Some(pair) = known.get(&(chain_id.clone(), pair.clone())) {
                self.subscribers.meet(&filter, pair);
            }
        }
    }
}
