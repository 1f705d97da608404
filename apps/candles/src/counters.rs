//! What the service counts, as metrics that anybody may read.

use std::time::Instant;

use kohort_service::metrics::{Counter, Gauge, Registry};
use kohort_service::refused::LastRefused;
use market_data::{Counts, Place};
use market_store::Flushed;

/// The numbers of one topic of one group.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    pub(crate) messages: Counter,
    pub(crate) bytes: Counter,
    pub(crate) trades: Counter,
    pub(crate) liquidity: Counter,
    pub(crate) no_price: Counter,
    pub(crate) rejected: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) flushes: Counter,
    pub(crate) fenced: Counter,
    pub(crate) candles: Counter,
    pub(crate) expired: Counter,
    /// Microseconds, because a counter is whole.
    pub(crate) flush_us: Counter,
    pub(crate) last_trade_at: Gauge,
    pub(crate) last_refused: LastRefused,
}

impl Counters {
    /// The numbers of `topic` in `group`; `service` stands before the name of each.
    pub(crate) fn new(registry: &Registry, service: &str, group: &str, topic: &str) -> Counters {
        let labels = [("group", group), ("topic", topic)];
        let counter = |name, help| registry.counter(format!("{service}_{name}"), help, &labels);
        Counters {
            messages: counter("messages_total", "Records read"),
            bytes: counter("bytes_total", "Bytes of the values of records read"),
            trades: counter("trades_total", "Trades that are in candles"),
            liquidity: counter("liquidity_total", "add_position and remove_position: in no candle"),
            no_price: counter("no_price_total", "Trades without a price or with price 0: in no candle"),
            rejected: counter("rejected_total", "Elements of messages that could not be understood"),
            undecodable: counter("undecodable_total", "Records that are no array of trades"),
            dead_letters: counter(
                "dead_letters_total",
                "Records that could not be handled, or not wholly: kept in the dead-letter topic",
            ),
            flushes: counter("flushes_total", "Transactions written"),
            fenced: counter("fenced_total", "Transactions refused because another member owns a partition"),
            candles: counter("candles_written_total", "Candles written, each time they are"),
            expired: counter(
                "expired_total",
                "Parts of candles that the cache keeps no longer: they came too late, and were dropped",
            ),
            flush_us: counter("flush_microseconds_total", "Time spent in transactions"),
            last_trade_at: registry.gauge(
                format!("{service}_last_trade_at"),
                "Time of the newest trade, unix seconds",
                &labels,
            ),
            last_refused: LastRefused::default(),
        }
    }

    /// Counts what became of a message.
    pub(crate) fn message(&self, bytes: usize, counts: &Counts) {
        self.messages.add(1);
        self.bytes.add(bytes as u64);
        self.trades.add(counts.trades);
        // Rare, so not worth an atomic addition each time.
        for (counter, n) in [
            (&self.liquidity, counts.liquidity),
            (&self.no_price, counts.no_price),
            (&self.rejected, counts.rejected),
        ] {
            if n > 0 {
                counter.add(n);
            }
        }
    }

    /// Counts a record that is no array of trades.
    pub(crate) fn undecodable(&self, bytes: usize) {
        self.messages.add(1);
        self.bytes.add(bytes as u64);
        self.undecodable.add(1);
    }

    /// Counts a record that goes to the dead letters, and remembers it as the last.
    pub(crate) fn refused(&self, place: Place, why: &str) {
        self.dead_letters.add(1);
        self.last_refused.set(place.partition, place.offset, why);
    }

    /// Counts a transaction that began at `since`.
    pub(crate) fn flushed(&self, since: Instant, flushed: &Flushed) {
        self.flushes.add(1);
        self.candles.add((flushed.candles.len() as u64).saturating_sub(flushed.expired));
        self.expired.add(flushed.expired);
        self.flush_us.add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}
