//! From where on the candles of a series are whole, where the file is that of a cache: older ones were dropped, or lack what came late.
//!
//! A mark is written with what makes it true: in the transaction that deletes candles, or that leaves a late part out. So whoever reads the
//! file never takes a part for the whole.

use std::collections::HashMap;
use std::path::Path;

use market_data::{Interval, PairKey};
use rusqlite::{Connection, Transaction, TransactionBehavior};

use super::failure;
use crate::StoreError;
use crate::retention::place;

/// For each interval the start of the first candle that is whole; `i64::MIN` where nothing was ever dropped.
pub(super) type Since = [i64; Interval::ALL.len()];

/// What a mark says: the series, the interval, the start of the first candle that is whole.
pub(super) type Mark = (i64, Interval, i64);

/// Notes marks; one never goes back.
pub(super) fn note(
    transaction: &Transaction<'_>,
    marks: impl IntoIterator<Item = Mark>,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "INSERT INTO kept (series, interval, since) VALUES (?1, ?2, ?3)
         ON CONFLICT DO UPDATE SET since = max(since, excluded.since)",
    )?;
    for (series, interval, since) in marks {
        statement.execute((series, interval.seconds(), since))?;
    }
    Ok(())
}

/// The marks of one series.
pub(super) fn of_series(connection: &Connection, series: i64) -> rusqlite::Result<Since> {
    let mut statement = connection.prepare_cached("SELECT interval, since FROM kept WHERE series = ?1")?;
    let mut rows = statement.query([series])?;
    let mut all = [i64::MIN; Interval::ALL.len()];
    while let Some(row) = rows.next()? {
        let seconds: i64 = row.get(0)?;
        if let Some(interval) = Interval::ALL.into_iter().find(|interval| interval.seconds() == seconds) {
            all[place(interval)] = row.get(1)?;
        }
    }
    Ok(all)
}

/// The marks of an interval, by series: those that there are.
pub(super) fn of_interval(
    connection: &Connection,
    interval: Interval,
) -> rusqlite::Result<HashMap<i64, i64>> {
    let mut statement = connection.prepare_cached("SELECT series, since FROM kept WHERE interval = ?1")?;
    let marks = statement.query_map([interval.seconds()], |row| Ok((row.get(0)?, row.get(1)?)))?;
    marks.collect()
}

/// How far a walk through the file is that deletes what is no longer kept.
#[derive(Debug)]
pub(crate) struct Walk {
    /// The place of the interval in [`Interval::ALL`]; past its end when the walk is over.
    at: usize,
    /// The last row that was looked at: its start and its series.
    after: (i64, i64),
}

impl Walk {
    pub(crate) fn new() -> Walk {
        Walk { at: 0, after: (i64::MIN, i64::MIN) }
    }

    /// The interval that it is at; `None` when it is over.
    pub(crate) fn interval(&self) -> Option<Interval> {
        Interval::ALL.get(self.at).copied()
    }

    /// Looks at the next `rows` rows that start before a time, oldest first, and deletes in one transaction those that start before what
    /// `since` says of their group and pair. Gives what was deleted: (interval, start, series).
    pub(super) fn step(
        &mut self,
        connection: &mut Connection,
        file: &Path,
        rows: usize,
        before: i64,
        since: &mut dyn FnMut(&str, &PairKey, Interval) -> Option<i64>,
    ) -> Result<Vec<(Interval, i64, i64)>, StoreError> {
        let fail = |error| failure(file, error);
        let Some(interval) = self.interval() else { return Ok(Vec::new()) };
        let (mut gone, mut looked_at, mut last) = (Vec::new(), 0, self.after);
        let mut marks: HashMap<i64, i64> = HashMap::new();
        {
            // CROSS: candles lead, in the order of their table.
            let mut statement = connection
                .prepare_cached(
                    "SELECT candle_time, series, group_id, chain_id, pair_address
                     FROM candles CROSS JOIN series ON id = series
                     WHERE interval = ?1 AND (candle_time, series) > (?2, ?3) AND candle_time < ?4
                     ORDER BY candle_time, series LIMIT ?5",
                )
                .map_err(fail)?;
            let (time, series) = self.after;
            let mut found =
                statement.query((interval.seconds(), time, series, before, rows as i64)).map_err(fail)?;
            while let Some(row) = found.next().map_err(fail)? {
                let (time, series): (i64, i64) = (row.get(0).map_err(fail)?, row.get(1).map_err(fail)?);
                let group: String = row.get(2).map_err(fail)?;
                let pair = PairKey { chain_id: row.get(3).map_err(fail)?, pair: row.get(4).map_err(fail)? };
                if let Some(since) = since(&group, &pair, interval).filter(|since| time < *since) {
                    gone.push((interval, time, series));
                    marks.insert(series, since);
                }
                (last, looked_at) = ((time, series), looked_at + 1);
            }
        }
        if !gone.is_empty() {
            let transaction =
                connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
            note(&transaction, marks.into_iter().map(|(series, since)| (series, interval, since)))
                .map_err(fail)?;
            let mut delete = transaction
                .prepare_cached(
                    "DELETE FROM candles WHERE interval = ?1 AND candle_time = ?2 AND series = ?3",
                )
                .map_err(fail)?;
            for (interval, time, series) in &gone {
                delete.execute((interval.seconds(), time, series)).map_err(fail)?;
            }
            drop(delete);
            transaction.commit().map_err(fail)?;
        }
        if looked_at < rows {
            *self = Walk { at: self.at + 1, ..Walk::new() };
        } else {
            self.after = last;
        }
        Ok(gone)
    }
}
