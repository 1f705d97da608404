//! One lane: records to candle deltas, and what is new to the hub.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use kohort_client::{FetchedBatch, Record};
use kohort_runtime::{Reject, Worker};
use kohort_service::refused::partly_rejected;
use market_data::{Aggregator, Deltas, Place};

use crate::counters::Counters;
use crate::hub::Hub;
use crate::stages::{LaneWatch, ThreadClock};

/// Parts that are handed to the hub at once; with more in hand (a backlog is read) the hub hears every [`HUB_PAUSE`].
const HUB_PARTS: usize = 256;
/// A tenth of what an eye can follow.
const HUB_PAUSE: Duration = Duration::from_millis(20);

/// A lane's worker.
pub(crate) struct Lane {
    aggregator: Aggregator,
    /// What the hub has seen already and no flush has taken yet.
    shown: Vec<Deltas>,
    shown_at: Instant,
    hub: Hub,
    member: u32,
    /// Counts the flushes of the member: all lanes are asked for each.
    flush: u64,
    counters: Counters,
    watch: Option<LaneWatch>,
}

/// What a lane hands over at a flush.
pub(crate) struct LaneDeltas {
    pub(crate) deltas: Vec<Deltas>,
    pub(crate) member: u32,
    pub(crate) flush: u64,
    /// Set once they are in the store, and the hub knows.
    pub(crate) stored: AtomicBool,
    hub: Hub,
}

impl Lane {
    pub(crate) fn new(member: u32, hub: Hub, counters: Counters, watch: Option<LaneWatch>) -> Lane {
        Lane {
            aggregator: Aggregator::new(),
            shown: Vec::new(),
            shown_at: Instant::now(),
            hub,
            member,
            flush: 0,
            counters,
            watch,
        }
    }
}

impl Worker for Lane {
    type Delta = LaneDeltas;

    fn record(&mut self, batch: &FetchedBatch, record: &Record<'_>) -> Result<(), Reject> {
        // A record without a value (a tombstone, to Kafka) says nothing.
        let Some(value) = record.value else {
            self.counters.messages.add(1);
            return Ok(());
        };
        let place = Place { partition: batch.partition(), offset: record.offset };
        let begun = self.watch.as_mut().and_then(LaneWatch::message);
        let why = match self.aggregator.read_message(place, value) {
            Ok(counts) => {
                let decoded = begun.map(|_| Instant::now());
                self.aggregator.add_read();
                if let Some(watch) = &mut self.watch {
                    watch.trades(counts.trades);
                    if let (Some(begun), Some(decoded)) = (begun, decoded) {
                        watch.sampled(begun, decoded);
                    }
                }
                self.counters.message(value.len(), &counts);
                match counts.first_rejection {
                    // The good trades of the message are in the candles; the bad ones are not lost, they are in the
                    // dead letters with their message.
                    Some((index, why)) => partly_rejected(counts.elements, counts.rejected, index, &why),
                    None => return Ok(()),
                }
            }
            Err(why) => {
                self.counters.undecodable(value.len());
                why.to_string()
            }
        };
        self.counters.refused(place, &why);
        Err(Reject(why))
    }

    fn batch_done(&mut self) {
        if let Some(watch) = &mut self.watch {
            watch.batch_done();
        }
        if !self.hub.is_listening() || self.aggregator.waiting() == 0 {
            return;
        }
        if self.aggregator.waiting() > HUB_PARTS && self.shown_at.elapsed() < HUB_PAUSE {
            return;
        }
        self.shown_at = Instant::now();
        let fresh = self.aggregator.take_deltas();
        self.hub.parts(self.member, self.flush, fresh.clone());
        self.shown.push(fresh);
    }

    fn take(&mut self) -> LaneDeltas {
        let since = self.watch.as_ref().map(|_| ThreadClock::now());
        let mut deltas = std::mem::take(&mut self.shown);
        deltas.push(self.aggregator.take_deltas());
        if let (Some(watch), Some(since)) = (&self.watch, since) {
            watch.taken(since);
        }
        let flush = self.flush;
        self.flush += 1;
        LaneDeltas {
            deltas,
            member: self.member,
            flush,
            stored: AtomicBool::new(false),
            hub: self.hub.clone(),
        }
    }
}

impl Drop for LaneDeltas {
    /// Lost, fenced or given up: somebody else will store these trades, and until then nobody should see them.
    fn drop(&mut self) {
        if self.hub.is_listening() && !*self.stored.get_mut() {
            self.hub.dropped(self.member, self.flush);
        }
    }
}
