//! What is known of a pair beside its candles: names, last price, and the marks of retention.

use market_data::{Interval, Symbols};
use serde::{Deserialize, Serialize};

use crate::retention::{Marks, Retention};

/// A series' record, one JSON text in the group's hash.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Record {
    pub(super) token_symbol: Option<String>,
    pub(super) base_token_symbol: Option<String>,
    /// Unix seconds; 0 before the first trade.
    pub(super) last_trade_at: i64,
    newest: i64,
    since: [i64; 7],
    /// When the last flush with this pair was, by the writer's clock, unix seconds.
    touched: i64,
    /// When its keys' time to live was last renewed; 0 if they have none.
    renewed: i64,
}

/// The time to live of keys is renewed so often, in seconds: not at every flush.
const RENEW: i64 = 86_400;

impl Record {
    pub(super) fn new() -> Record {
        Record {
            token_symbol: None,
            base_token_symbol: None,
            last_trade_at: 0,
            newest: Marks::NEW.newest,
            since: Marks::NEW.since,
            touched: 0,
            renewed: 0,
        }
    }

    pub(super) fn read(text: &[u8]) -> Option<Record> {
        serde_json::from_slice(text).ok()
    }

    pub(super) fn write(&self) -> String {
        // A struct of texts and numbers is always JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(super) fn marks(&self) -> Marks {
        Marks { newest: self.newest, since: self.since }
    }

    pub(super) fn set_marks(&mut self, marks: Marks) {
        (self.newest, self.since) = (marks.newest, marks.since);
    }

    /// The marks as they are at `now`: if nobody traded the pair for so long that its keys may be gone, nothing up to its newest
    /// candle counts any more. Keys live twice as long, so none is ever gone before.
    pub(super) fn marks_at(&self, retention: Retention, now: i64) -> Marks {
        let mut marks = self.marks();
        // What was written when retention was off has no time to live, and is there.
        if self.renewed > 0 && retention.rest().is_some_and(|rest| now.saturating_sub(self.touched) >= rest) {
            marks.rested();
        }
        marks
    }

    /// A flush writes this pair. Whether the keys' time to live must be set with it.
    pub(super) fn touch(&mut self, retention: Retention, now: i64) -> bool {
        self.touched = now;
        let renew = retention.rest().is_some() && !(0..RENEW).contains(&now.saturating_sub(self.renewed));
        if renew {
            self.renewed = now;
        }
        renew
    }

    pub(super) fn learn(&mut self, symbols: Option<&Symbols>) {
        if let Some(symbols) = symbols {
            self.token_symbol = self.token_symbol.take().or_else(|| symbols.token.clone());
            self.base_token_symbol = self.base_token_symbol.take().or_else(|| symbols.base_token.clone());
        }
    }

    /// The candle whose close is the last price that is known: the latest day, which knows all its trades; or, where a pair rested
    /// and its day was forgotten, the latest minute.
    pub(super) fn last(&self) -> (Interval, i64) {
        let day = Interval::D1.start_of(self.newest);
        if self.marks().expired(Interval::D1, day) {
            (Interval::M1, self.newest)
        } else {
            (Interval::D1, day)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_that_rested_is_forgotten_before_its_keys_are() {
        let retention = Retention::ORIGINAL;
        let (week, start) = (7 * 86_400, 1_700_000_000);
        let mut record = Record::new();
        assert!(record.touch(retention, start));
        let mut marks = record.marks();
        marks.see(retention, 600, 600);
        record.set_marks(marks);
        assert!(!record.touch(retention, start + 60) && record.touch(retention, start + RENEW));
        assert_eq!(record.marks_at(retention, start + RENEW + week - 1), marks);
        assert!(record.marks_at(retention, start + RENEW + week).expired(Interval::D1, 0));
        assert_eq!(Record::read(record.write().as_bytes()), Some(record));
    }
}
