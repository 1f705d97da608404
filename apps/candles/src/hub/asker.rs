//! What the hub asks the stores, on a thread of its own: a store that hangs, one of another service perhaps, is waited for there. The hub goes
//! on, and so do the flushes that tell it what they stored.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::{Duration, Instant};

use market_data::{Candle, Interval, PairKey};
use market_store::{CandleQuery, CandleReader, StoreError, StoredCandle};

use super::live::Key;
use super::{Filter, News};

/// So long the hub keeps a candle back that it has never seen, until it knows what is stored of it: told before, it would lack that.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// After an answer that failed, the stores are left alone for so long.
const PAUSE: Duration = Duration::from_secs(1);
/// Candles of one question, at most.
pub(super) const CANDLES_MAX: usize = 512;

/// What the hub wants to know.
pub(super) enum Wanted {
    /// What is stored of these candles.
    Candles(Vec<Key>),
    /// The latest candles of these charts; and which pairs these filters mean that nobody here has met.
    Charts(BTreeSet<(PairKey, Interval)>, Vec<Filter>),
}

struct Question {
    wanted: Wanted,
    /// How many flushes the hub had heard of.
    after: u64,
}

/// What the stores say. What could not be read is not in it.
#[derive(Default)]
pub(super) struct Answer {
    /// Of each candle what our own store has, and what all others have; `None` for what was not asked.
    pub(super) candles: Vec<(Key, Option<Candle>, Option<Candle>)>,
    pub(super) met: Vec<(Filter, Arc<PairKey>)>,
    /// How many flushes the hub had heard of when it asked.
    pub(super) after: u64,
    pub(super) failed: Option<StoreError>,
}

/// The hub's end of it. One question at a time; the answer is [`News::Answer`].
pub(super) struct Asker {
    questions: SyncSender<Question>,
    /// When the one under way was asked.
    asked_at: Option<Instant>,
    /// The stores answered the last one with an error.
    failed: bool,
    /// Nothing is asked before.
    again_at: Instant,
}

impl Asker {
    /// Starts the thread. It ends with this value, once what it waits for has ended.
    pub(super) fn start(
        reader: Box<dyn CandleReader>,
        groups: Vec<String>,
        news: SyncSender<News>,
    ) -> std::io::Result<Asker> {
        let (questions, asked) = sync_channel(1);
        let stores = Stores { reader, groups };
        std::thread::Builder::new().name("hub-reader".to_owned()).spawn(move || stores.run(&asked, &news))?;
        Ok(Asker { questions, asked_at: None, failed: false, again_at: Instant::now() })
    }

    /// Whether a question may be asked now.
    pub(super) fn is_free(&self) -> bool {
        self.asked_at.is_none() && Instant::now() >= self.again_at
    }

    /// Asks; [`Asker::is_free`] was true.
    pub(super) fn ask(&mut self, wanted: Wanted, after: u64) {
        if self.questions.try_send(Question { wanted, after }).is_ok() {
            self.asked_at = Some(Instant::now());
        } else {
            // Our own mistake: the thread panicked.
            self.failed = true;
        }
    }

    /// The answer is here.
    pub(super) fn answered(&mut self, failed: Option<&StoreError>) {
        self.asked_at = None;
        if let Some(error) = failed {
            self.again_at = Instant::now() + PAUSE;
            if !self.failed {
                let error = error as &dyn std::error::Error;
                tracing::warn!(error, "live candles show only what this process has seen");
            }
        } else if self.failed {
            tracing::info!("live candles are whole again");
        }
        self.failed = failed.is_some();
    }

    /// Whether an answer will come soon, so that it is worth waiting for.
    pub(super) fn is_prompt(&self) -> bool {
        !self.failed && self.asked_at.is_none_or(|at| at.elapsed() < PATIENCE)
    }

    /// When [`Asker::is_prompt`] may end.
    pub(super) fn patience_ends(&self) -> Option<Instant> {
        self.asked_at.filter(|_| self.is_prompt()).map(|at| at + PATIENCE)
    }
}

/// The other end: readers, on a thread that may be held up.
struct Stores {
    reader: Box<dyn CandleReader>,
    groups: Vec<String>,
}

impl Stores {
    fn run(mut self, questions: &Receiver<Question>, news: &SyncSender<News>) {
        while let Ok(Question { wanted, after }) = questions.recv() {
            let mut answer = Answer { after, ..Answer::default() };
            answer.failed = self.read(wanted, &mut answer).err();
            if news.send(News::Answer(answer)).is_err() {
                return;
            }
        }
    }

    fn read(&mut self, wanted: Wanted, answer: &mut Answer) -> Result<(), StoreError> {
        match wanted {
            Wanted::Candles(keys) => {
                for key in keys {
                    let (own, others) = self.candle(&key)?;
                    answer.candles.push((key, Some(own), Some(others)));
                }
            }
            Wanted::Charts(charts, unmet) => {
                for (pair, interval) in charts {
                    self.chart(pair, interval, answer)?;
                }
                self.look_up(unmet, answer)?;
            }
        }
        Ok(())
    }

    /// What our own store has of a candle, and what all others have.
    fn candle(&mut self, (pair, interval, time): &Key) -> Result<(Candle, Candle), StoreError> {
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
        let (own, others) = self.reader.own_and_others(&query)?;
        Ok((first(own), first(others)))
    }

    /// The latest candles of a chart that somebody looks at: another process may have stored trades of theirs.
    fn chart(&mut self, pair: PairKey, interval: Interval, answer: &mut Answer) -> Result<(), StoreError> {
        let groups = &self.groups;
        let query = CandleQuery { groups, pair: &pair, interval, from: None, before: None, limit: 2 };
        let (own, others) = self.reader.own_and_others(&query)?;
        let pair = Arc::new(pair);
        let key = |time| (Arc::clone(&pair), interval, time);
        answer.candles.extend(own.iter().map(|stored| (key(stored.time), Some(stored.candle), None)));
        answer.candles.extend(others.iter().map(|stored| (key(stored.time), None, Some(stored.candle))));
        Ok(())
    }

    /// Finds pairs in the store that are followed in any case: only another process may have seen them.
    fn look_up(&mut self, unmet: Vec<Filter>, answer: &mut Answer) -> Result<(), StoreError> {
        if unmet.is_empty() {
            return Ok(());
        }
        let mut pairs = self.reader.names(&self.groups)?;
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
                let pair = Arc::clone(pair);
                answer.met.push((filter, pair));
            }
        }
        Ok(())
    }
}
