//! What the service counts, as metrics that anybody may read.

use std::time::Instant;

use kohort_service::metrics::{Counter, Gauge, Registry};
use kohort_service::refused::LastRefused;
use market_data::Place;
use market_data::wallets::{AddressBook, Matched};
use market_store::wallets::Logged;

/// The numbers of one topic of one group.
#[derive(Debug, Clone)]
pub(crate) struct Counters {
    pub(crate) messages: Counter,
    pub(crate) bytes: Counter,
    pub(crate) trades: Counter,
    pub(crate) no_maker: Counter,
    pub(crate) probes: Counter,
    pub(crate) false_positives: Counter,
    pub(crate) matches: Counter,
    pub(crate) liquidity: Counter,
    pub(crate) other_chain: Counter,
    pub(crate) rejected: Counter,
    pub(crate) undecodable: Counter,
    pub(crate) dead_letters: Counter,
    pub(crate) logged: Counter,
    pub(crate) repeated: Counter,
    pub(crate) notifications: Counter,
    pub(crate) too_old: Counter,
    pub(crate) flushes: Counter,
    pub(crate) fenced: Counter,
    /// Microseconds, because a counter is whole.
    pub(crate) flush_us: Counter,
    pub(crate) last_refused: LastRefused,
}

impl Counters {
    pub(crate) fn new(registry: &Registry, group: &str, topic: &str) -> Counters {
        let labels = [("group", group), ("topic", topic)];
        let counter = |name, help| registry.counter(name, help, &labels);
        Counters {
            messages: counter("smart_money_messages_total", "Records read"),
            bytes: counter("smart_money_bytes_total", "Bytes of the values of records read"),
            trades: counter("smart_money_trades_total", "Elements of messages read, of whomever"),
            no_maker: counter("smart_money_no_maker_total", "Elements that say no maker"),
            probes: counter("smart_money_probes_total", "Makers that the filter was asked about"),
            false_positives: counter(
                "smart_money_false_positives_total",
                "Makers that the filter took for known ones and the exact book did not",
            ),
            matches: counter("smart_money_matches_total", "Trades of known wallets, each time they are read"),
            liquidity: counter(
                "smart_money_liquidity_total",
                "add_position and remove_position of known wallets: no trades",
            ),
            other_chain: counter(
                "smart_money_other_chain_total",
                "Trades of wallets that are known on another chain only",
            ),
            rejected: counter(
                "smart_money_rejected_total",
                "Elements of messages that could not be understood",
            ),
            undecodable: counter("smart_money_undecodable_total", "Records that are no array of trades"),
            dead_letters: counter(
                "smart_money_dead_letters_total",
                "Records that could not be handled, or not wholly: kept in the dead-letter topic",
            ),
            logged: counter("smart_money_logged_total", "Trades that are new in the log"),
            repeated: counter(
                "smart_money_repeated_total",
                "Trades of known wallets that the log had already: read again, or sent twice",
            ),
            notifications: counter(
                "smart_money_notifications_written_total",
                "Notifications that went to the outbox",
            ),
            too_old: counter(
                "smart_money_notifications_too_old_total",
                "What would have been told, had it not happened too long ago",
            ),
            flushes: counter("smart_money_flushes_total", "Transactions written"),
            fenced: counter(
                "smart_money_fenced_total",
                "Transactions refused because another member owns a partition",
            ),
            flush_us: counter("smart_money_flush_microseconds_total", "Time spent in transactions"),
            last_refused: LastRefused::default(),
        }
    }

    /// Counts what became of a message.
    pub(crate) fn message(&self, bytes: usize, counts: &Matched) {
        self.messages.add(1);
        self.bytes.add(bytes as u64);
        self.trades.add(counts.elements);
        self.probes.add(counts.probes);
        // Rare, so not worth an atomic addition each time.
        for (counter, n) in [
            (&self.no_maker, counts.no_maker),
            (&self.false_positives, counts.false_positives),
            (&self.matches, counts.matches),
            (&self.liquidity, counts.liquidity),
            (&self.other_chain, counts.other_chain),
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

    /// Counts a transaction of so many trades that began at `since`.
    pub(crate) fn flushed(&self, since: Instant, trades: usize, logged: &Logged) {
        self.flushes.add(1);
        self.logged.add(logged.new.len() as u64);
        self.repeated.add((trades - logged.new.len()) as u64);
        self.notifications.add(logged.notifications as u64);
        self.too_old.add(logged.too_old as u64);
        self.flush_us.add(u64::try_from(since.elapsed().as_micros()).unwrap_or(u64::MAX));
    }
}

/// The numbers of the address book.
#[derive(Debug, Clone)]
pub(crate) struct BookGauges {
    addresses: Gauge,
    bytes: Gauge,
    stated: Gauge,
    measured: Gauge,
}

/// Rates are told in millionths, because a gauge is whole.
const MILLION: f64 = 1e6;

impl BookGauges {
    pub(crate) fn new(registry: &Registry) -> BookGauges {
        let gauge = |name, help| registry.gauge(name, help, &[]);
        BookGauges {
            addresses: gauge("smart_money_addresses", "Addresses that are known"),
            bytes: gauge("smart_money_address_book_bytes", "Memory of the address book and its filter"),
            stated: gauge(
                "smart_money_false_positives_per_million_stated",
                "False positives of a million unknown makers that the filter is sized for",
            ),
            measured: gauge(
                "smart_money_false_positives_per_million",
                "False positives of a million unknown makers as measured since the start",
            ),
        }
    }

    /// Takes the numbers as they are now.
    pub(crate) fn update(&self, book: &AddressBook, sources: &[Counters]) {
        let snapshot = book.snapshot();
        let whole = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
        self.addresses.set(whole(snapshot.len()));
        self.bytes.set(whole(snapshot.bytes()));
        self.stated.set((book.rate().get() * MILLION).round() as i64);
        if let Some(measured) = measured_rate(sources) {
            self.measured.set((measured * MILLION).round() as i64);
        }
    }
}

/// False positives among makers that are not known; `None` where nobody was asked about.
pub(crate) fn measured_rate(sources: &[Counters]) -> Option<f64> {
    let sum = |of: fn(&Counters) -> u64| sources.iter().map(of).sum::<u64>();
    let known = sum(|c| c.matches.value() + c.liquidity.value() + c.other_chain.value());
    let unknown = sum(|c| c.probes.value()).saturating_sub(known);
    (unknown > 0).then(|| sum(|c| c.false_positives.value()) as f64 / unknown as f64)
}
