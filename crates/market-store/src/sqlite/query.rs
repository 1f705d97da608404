//! Reading, beside the flushes: WAL gives every read a whole state.

use std::collections::HashMap;
use std::path::PathBuf;

use market_data::{Candle, Interval, PairKey};
use rusqlite::{Connection, OptionalExtension, Transaction};

use super::{failure, kept, row};
use crate::retention::place;
use crate::store::WindowSums;
use crate::{CandleQuery, CandleReader, PairName, PairParts, Scan, StoreError, StoredCandle, Window};

/// Days in a row on which a pair did not trade before the search asks for one on which anybody did.
const DAYS_WITHOUT: u32 = 16;

/// A connection that only reads.
pub(super) struct Reader {
    connection: Connection,
    file: PathBuf,
}

impl Reader {
    pub(super) fn new(connection: Connection, file: PathBuf) -> Reader {
        Reader { connection, file }
    }
}

/// The series of a pair in the group whose trade is the latest, and its first and last day.
fn series(
    transaction: &Transaction<'_>,
    query: &CandleQuery<'_>,
) -> rusqlite::Result<Option<(i64, i64, i64)>> {
    let mut statement = transaction.prepare_cached(
        "SELECT id, first_day, last_day, last_trade_at FROM series
         WHERE chain_id = ?1 AND pair_address = ?2 AND group_id = ?3",
    )?;
    let mut best: Option<(i64, (i64, i64, i64))> = None;
    for group in query.groups {
        let found = statement
            .query_row((&query.pair.chain_id, &query.pair.pair, group), |row| {
                Ok((row.get(3)?, (row.get(0)?, row.get(1)?, row.get(2)?)))
            })
            .optional()?;
        best = best.max(found);
    }
    Ok(best.map(|(_, series)| series))
}

/// Looks for one pair's candles in a table that is clustered by time.
///
/// A shorter candle exists only inside of a longer one. So instead of trying every minute of the years, the search goes from day
/// to day and into a day only if it has trades, then into its halves, and so on: a few tries for each candle found, however
/// sparse the pair.
struct Search<'a> {
    transaction: &'a Transaction<'a>,
    file: &'a PathBuf,
    series: i64,
    interval: Interval,
    limit: usize,
    /// Where longer candles were dropped, nothing says whether there are shorter ones.
    since: kept::Since,
    /// Latest first.
    found: Vec<StoredCandle>,
}

impl Search<'_> {
    /// Collects the candles that start in `from..before`, which lies inside one candle of the interval above `Interval::ALL[level]`.
    fn within(&mut self, level: usize, from: i64, before: i64) -> Result<(), StoreError> {
        let interval = Interval::ALL[level];
        let mut time = interval.start_of(before - 1);
        let mut without = 0;
        while time + interval.seconds() > from && self.found.len() < self.limit {
            let there = if interval == self.interval {
                time >= from && self.fetch(time)?
            } else if time < self.since[level] || self.exists(interval, time)? {
                self.within(level - 1, from.max(time), before.min(time + interval.seconds()))?;
                true
            } else {
                false
            };
            without = if there { 0 } else { without + 1 };
            time -= interval.seconds();
            if without == DAYS_WITHOUT && interval == Interval::D1 {
                // Where days were dropped, there may be shorter candles all the same.
                let dropped = self.since[level].saturating_sub(interval.seconds());
                time = time.min(self.day_of_anybody(time)?.max(dropped));
                without = 0;
            }
        }
        Ok(())
    }

    /// The latest day, up to this one, on which anybody traded: between the true trades of a pair and one with a time of the future there
    /// may be three million days.
    fn day_of_anybody(&self, time: i64) -> Result<i64, StoreError> {
        let fail = |error| failure(self.file, error);
        let mut statement = self
            .transaction
            .prepare_cached(
                "SELECT candle_time FROM candles WHERE interval = ?1 AND candle_time <= ?2
                 ORDER BY candle_time DESC LIMIT 1",
            )
            .map_err(fail)?;
        let day = statement.query_row((Interval::D1.seconds(), time), |row| row.get(0)).optional();
        Ok(day.map_err(fail)?.unwrap_or(i64::MIN))
    }

    fn exists(&self, interval: Interval, time: i64) -> Result<bool, StoreError> {
        let fail = |error| failure(self.file, error);
        let mut statement = self
            .transaction
            .prepare_cached("SELECT 1 FROM candles WHERE interval = ?1 AND candle_time = ?2 AND series = ?3")
            .map_err(fail)?;
        statement.exists((interval.seconds(), time, self.series)).map_err(fail)
    }

    /// Collects a candle; `false` if it is not there.
    fn fetch(&mut self, time: i64) -> Result<bool, StoreError> {
        let fail = |error| failure(self.file, error);
        let mut statement = self
            .transaction
            .prepare_cached(&format!(
                "SELECT {} FROM candles WHERE interval = ?1 AND candle_time = ?2 AND series = ?3",
                row::COLUMNS
            ))
            .map_err(fail)?;
        let mut rows = statement.query((self.interval.seconds(), time, self.series)).map_err(fail)?;
        let row = rows.next().map_err(fail)?;
        if let Some(row) = row {
            self.found.push(StoredCandle { time, candle: row::read(row, 0, self.file)? });
        }
        Ok(row.is_some())
    }
}

impl CandleReader for Reader {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        let fail = |error| failure(&self.file, error);
        let transaction = self.connection.transaction().map_err(fail)?;
        let Some((series, first_day, last_day)) = series(&transaction, query).map_err(fail)? else {
            return Ok(Vec::new());
        };
        let end = last_day.saturating_add(Interval::D1.seconds());
        let since = kept::of_series(&transaction, series).map_err(fail)?;
        let from = query.from.unwrap_or(first_day).max(first_day).max(since[place(query.interval)]);
        let before = query.before.unwrap_or(end).min(end);
        let (interval, limit) = (query.interval, query.limit);
        let mut search = Search {
            transaction: &transaction,
            file: &self.file,
            series,
            interval,
            limit,
            since,
            found: Vec::new(),
        };
        if from < before {
            search.within(Interval::ALL.len() - 1, from, before)?;
        }
        search.found.reverse();
        Ok(search.found)
    }

    fn kept_since(
        &mut self,
        group: &str,
        pair: &PairKey,
        interval: Interval,
    ) -> Result<Option<i64>, StoreError> {
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT since FROM series JOIN kept ON series = id
                 WHERE chain_id = ?1 AND pair_address = ?2 AND group_id = ?3 AND interval = ?4",
            )
            .map_err(|error| failure(&self.file, error))?;
        let since = statement
            .query_row((&pair.chain_id, &pair.pair, group, interval.seconds()), |row| row.get(0))
            .optional();
        since.map_err(|error| failure(&self.file, error))
    }

    fn names(&mut self, groups: &[String]) -> Result<Vec<PairName>, StoreError> {
        let fail = |error| failure(&self.file, error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT chain_id, pair_address, token_symbol, base_token_symbol, last_trade_at FROM series
                 WHERE group_id = ?1 AND last_price <> ''",
            )
            .map_err(fail)?;
        let mut names = Vec::new();
        for group in groups {
            let name = |row: &rusqlite::Row<'_>| {
                Ok(PairName {
                    pair: PairKey { chain_id: row.get(0)?, pair: row.get(1)? },
                    token_symbol: row.get(2)?,
                    base_token_symbol: row.get(3)?,
                    last_trade_at: row.get(4)?,
                })
            };
            for name in statement.query_map([group], name).map_err(fail)? {
                names.push(name.map_err(fail)?);
            }
        }
        Ok(names)
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        let fail = |error| failure(&self.file, error);
        let mut statement = self
            .connection
            .prepare_cached("SELECT max(last_trade_at) FROM series WHERE group_id = ?1 AND last_price <> ''")
            .map_err(fail)?;
        let mut newest = None;
        for group in groups {
            newest =
                newest.max(statement.query_row([group], |row| row.get::<_, Option<i64>>(0)).map_err(fail)?);
        }
        Ok(newest)
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        let fail = |error| failure(&self.file, error);
        let transaction = self.connection.transaction().map_err(fail)?;
        let since = kept::of_interval(&transaction, Interval::M15).map_err(fail)?;
        let mut series: HashMap<i64, PairParts> = HashMap::new();
        let mut statement = transaction
            .prepare_cached(&format!(
                "SELECT id, group_id, chain_id, pair_address, token_symbol, base_token_symbol, candle_time, {}
                 FROM series JOIN candles ON interval = ?1 AND candle_time = last_day AND series = id",
                row::COLUMNS
            ))
            .map_err(fail)?;
        let mut rows = statement.query([Interval::D1.seconds()]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let group: String = row.get(1).map_err(fail)?;
            if groups.contains(&group) {
                let parts = PairParts {
                    group,
                    pair: PairKey { chain_id: row.get(2).map_err(fail)?, pair: row.get(3).map_err(fail)? },
                    token_symbol: row.get(4).map_err(fail)?,
                    base_token_symbol: row.get(5).map_err(fail)?,
                    last_day: StoredCandle {
                        time: row.get(6).map_err(fail)?,
                        candle: row::read(row, 7, &self.file)?,
                    },
                    sums: WindowSums::new(),
                    kept_since: since.get(&row.get(0).map_err(fail)?).copied(),
                };
                series.insert(row.get(0).map_err(fail)?, parts);
            }
        }
        let mut statement = transaction
            .prepare_cached(&format!(
                "SELECT series, candle_time, {} FROM candles WHERE interval = ?1 AND candle_time >= ?2 AND candle_time < ?3",
                row::COLUMNS
            ))
            .map_err(fail)?;
        let earliest = window.start - (window.end - window.start);
        let mut rows = statement.query((Interval::M15.seconds(), earliest, window.end)).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let number: i64 = row.get(0).map_err(fail)?;
            let time: i64 = row.get(1).map_err(fail)?;
            if let Some(parts) =
                series.get_mut(&number).filter(|parts| parts.kept_since.is_none_or(|since| time >= since))
            {
                parts.sums.add(window, time, &row::read(row, 2, &self.file)?);
            }
        }
        Ok(series.into_values().collect())
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        let fail = |error| failure(&self.file, error);
        let transaction = self.connection.transaction().map_err(fail)?;
        let mut pairs = HashMap::new();
        let mut statement = transaction
            .prepare("SELECT id, chain_id, pair_address FROM series WHERE group_id = ?1")
            .map_err(fail)?;
        let mut rows = statement.query([scan.group]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let key = PairKey { chain_id: row.get(1).map_err(fail)?, pair: row.get(2).map_err(fail)? };
            pairs.insert(row.get::<_, i64>(0).map_err(fail)?, key);
        }
        let mut statement = transaction
            .prepare_cached(&format!(
                "SELECT series, candle_time, {} FROM candles WHERE interval = ?1 AND candle_time >= ?2 AND candle_time < ?3",
                row::COLUMNS
            ))
            .map_err(fail)?;
        let (from, before) = (scan.from.unwrap_or(i64::MIN), scan.before.unwrap_or(i64::MAX));
        for interval in scan.intervals {
            let since = kept::of_interval(&transaction, *interval).map_err(fail)?;
            let mut rows = statement.query((interval.seconds(), from, before)).map_err(fail)?;
            while let Some(row) = rows.next().map_err(fail)? {
                let (series, time): (i64, i64) = (row.get(0).map_err(fail)?, row.get(1).map_err(fail)?);
                let whole = since.get(&series).is_none_or(|since| time >= *since);
                if let Some(pair) = pairs.get(&series).filter(|_| whole) {
                    each(pair, *interval, time, &row::read(row, 2, &self.file)?);
                }
            }
        }
        Ok(())
    }
}
