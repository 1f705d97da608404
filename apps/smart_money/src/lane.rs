//! One lane: records to trades of known wallets.

use std::sync::Arc;

use kohort_client::{FetchedBatch, Record};
use kohort_runtime::{Reject, Worker};
use kohort_service::refused::partly_rejected;
use market_data::Place;
use market_data::wallets::{AddressBook, Matcher, WalletTrade};

use crate::counters::Counters;

/// A lane's worker.
pub(crate) struct Lane {
    matcher: Matcher,
    topic: Arc<str>,
    found: Vec<WalletTrade>,
    counters: Counters,
}

impl Lane {
    pub(crate) fn new(book: &AddressBook, topic: Arc<str>, counters: Counters) -> Lane {
        Lane { matcher: Matcher::new(book), topic, found: Vec::new(), counters }
    }
}

impl Worker for Lane {
    type Delta = Vec<WalletTrade>;

    fn record(&mut self, batch: &FetchedBatch, record: &Record<'_>) -> Result<(), Reject> {
        // A record without a value (a tombstone, to Kafka) says nothing.
        let Some(value) = record.value else {
            self.counters.messages.add(1);
            return Ok(());
        };
        let place = Place { partition: batch.partition(), offset: record.offset };
        let why = match self.matcher.read_message(&self.topic, place, value, &mut self.found) {
            Ok(counts) => {
                self.counters.message(value.len(), &counts);
                match counts.first_rejection {
                    // The good trades of the message are logged; the bad ones are not lost, they are in the dead letters with
                    // their message.
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

    fn take(&mut self) -> Vec<WalletTrade> {
        std::mem::take(&mut self.found)
    }
}
