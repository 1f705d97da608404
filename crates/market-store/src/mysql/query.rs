//! Reading, beside the flushes: a question sees one state of the database, whatever is written meanwhile.

use std::collections::HashMap;

use market_data::{Candle, Interval, PairKey};
use mysql::prelude::Queryable;
use mysql::{Conn, Value};

use super::address::MySqlAddress;
use super::link::{Link, failure};
use super::row::{self, integer, integer_or_null, repeat, series, text, text_or_null};
use crate::store::WindowSums;
use crate::{CandleQuery, CandleReader, PairName, PairParts, Scan, StoreError, StoredCandle, Window};

/// Candles that are looked for at once.
const TRIES: usize = 120;

/// A connection that only reads.
pub(super) struct Reader {
    link: Link,
}

impl Reader {
    pub(super) fn new(link: Link) -> Reader {
        Reader { link }
    }

    /// Asks within one transaction.
    fn ask<T>(
        &mut self,
        question: impl FnOnce(&mut Conn, &MySqlAddress) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let address = self.link.address().clone();
        self.link.transaction(|connection| question(connection, &address))
    }
}

impl CandleReader for Reader {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        self.ask(|connection, address| {
            let Some((series, first_day, last_day)) = latest_series(connection, address, query)? else {
                return Ok(Vec::new());
            };
            let end = last_day.saturating_add(Interval::D1.seconds());
            let from = query.from.unwrap_or(first_day).max(first_day);
            let before = query.before.unwrap_or(end).min(end);
            let (interval, limit) = (query.interval, query.limit);
            let mut search =
                Search { connection, address, series, interval, limit, from, before, found: Vec::new() };
            if from < before {
                search.within(Interval::ALL.len() - 1, &[(from, before)])?;
            }
            search.found.truncate(limit);
            search.found.reverse();
            Ok(search.found)
        })
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        self.ask(|connection, address| {
            let mut newest = None;
            for group in groups {
                let found: Option<mysql::Row> = connection
                    .exec_first(
                        "SELECT max(last_trade_at) FROM candle_spans JOIN candle_series ON id = series WHERE group_id = ?",
                        (group.as_bytes(),),
                    )
                    .map_err(|error| failure(address, error))?;
                if let Some(row) = found {
                    newest = newest.max(integer_or_null(&row, 0, address)?);
                }
            }
            Ok(newest)
        })
    }

    fn names(&mut self, groups: &[String]) -> Result<Vec<PairName>, StoreError> {
        self.ask(|connection, address| {
            let fail = |error| failure(address, error);
            let mut names = Vec::new();
            for group in groups {
                let rows = connection
                    .exec_iter(
                        "SELECT chain_id, pair_address, token_symbol, base_token_symbol, last_trade_at
                         FROM candle_series JOIN candle_spans ON candle_spans.series = id WHERE group_id = ?",
                        (group.as_bytes(),),
                    )
                    .map_err(fail)?;
                for row in rows {
                    let row = row.map_err(fail)?;
                    names.push(PairName {
                        pair: PairKey::new(text(&row, 0, address)?, text(&row, 1, address)?),
                        token_symbol: text_or_null(&row, 2, address)?,
                        base_token_symbol: text_or_null(&row, 3, address)?,
                        last_trade_at: integer(&row, 4, address)?,
                    });
                }
            }
            Ok(names)
        })
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        self.ask(|connection, address| {
            let mut all: HashMap<u32, PairParts> = HashMap::new();
            for group in groups {
                last_days(connection, address, group, &mut all)?;
            }
            let times = (window.start - (window.end - window.start), window.end);
            each_candle(connection, address, Interval::M15, times, &mut |series, time, candle| {
                if let Some(parts) = all.get_mut(&series) {
                    parts.sums.add(window, time, candle);
                }
            })?;
            Ok(all.into_values().collect())
        })
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        self.ask(|connection, address| {
            let fail = |error| failure(address, error);
            let mut pairs = HashMap::new();
            let rows = connection
                .exec_iter(
                    "SELECT id, chain_id, pair_address FROM candle_series WHERE group_id = ?",
                    (scan.group.as_bytes(),),
                )
                .map_err(fail)?;
            for row in rows {
                let row = row.map_err(fail)?;
                let key = PairKey::new(text(&row, 1, address)?, text(&row, 2, address)?);
                pairs.insert(series(&row, 0, address)?, key);
            }
            let times = (scan.from.unwrap_or(i64::MIN), scan.before.unwrap_or(i64::MAX));
            for interval in scan.intervals {
                each_candle(connection, address, *interval, times, &mut |series, time, candle| {
                    if let Some(pair) = pairs.get(&series) {
                        each(pair, *interval, time, candle);
                    }
                })?;
            }
            Ok(())
        })
    }
}

/// The series of a pair in the group whose trade is the latest, and its first and last day.
fn latest_series(
    connection: &mut Conn,
    address: &MySqlAddress,
    query: &CandleQuery<'_>,
) -> Result<Option<(u32, i64, i64)>, StoreError> {
    let mut best: Option<(i64, (u32, i64, i64))> = None;
    for group in query.groups {
        let row: Option<mysql::Row> = connection
            .exec_first(
                "SELECT id, first_day, last_day, last_trade_at FROM candle_series JOIN candle_spans ON series = id
                 WHERE chain_id = ? AND pair_address = ? AND group_id = ?",
                (query.pair.chain_id.as_bytes(), query.pair.pair.as_bytes(), group.as_bytes()),
            )
            .map_err(|error| failure(address, error))?;
        if let Some(row) = row {
            let days = (integer(&row, 1, address)?, integer(&row, 2, address)?);
            let found = (integer(&row, 3, address)?, (series(&row, 0, address)?, days.0, days.1));
            best = best.max(Some(found));
        }
    }
    Ok(best.map(|(_, found)| found))
}

/// Looks for one pair's candles in a table that is clustered by time.
///
/// A shorter candle exists only inside of a longer one. So the search goes from day to day and into a day only if it has trades, then
/// into its halves, and so on. Each question looks for many candles at once: over a network it is the questions that cost.
struct Search<'a> {
    connection: &'a mut Conn,
    address: &'a MySqlAddress,
    series: u32,
    interval: Interval,
    limit: usize,
    from: i64,
    before: i64,
    /// Latest first.
    found: Vec<StoredCandle>,
}

impl Search<'_> {
    /// Collects the candles that start in these spans, which are given and searched latest first, and each of which lies inside of one
    /// candle of the interval above `Interval::ALL[level]`.
    fn within(&mut self, level: usize, spans: &[(i64, i64)]) -> Result<(), StoreError> {
        let interval = Interval::ALL[level];
        let seconds = interval.seconds();
        let mut spans = spans.iter();
        let mut current: Option<(i64, i64)> = None;
        while self.found.len() < self.limit {
            let mut starts = Vec::with_capacity(TRIES);
            while starts.len() < TRIES {
                let Some((from, time)) = current else {
                    let Some((from, before)) = spans.next() else { break };
                    current = Some((*from, interval.start_of(before - 1)));
                    continue;
                };
                if time.saturating_add(seconds) <= from {
                    current = None;
                    continue;
                }
                starts.push(time);
                current = Some((from, time - seconds));
            }
            if starts.is_empty() {
                return Ok(());
            }
            let none = if interval == self.interval {
                let before = self.found.len();
                self.fetch(&starts)?;
                self.found.len() == before
            } else {
                let (from, before) = (self.from, self.before);
                let inside: Vec<(i64, i64)> = self
                    .existing(interval, &starts)?
                    .into_iter()
                    .map(|time| (from.max(time), before.min(time + seconds)))
                    .collect();
                self.within(level - 1, &inside)?;
                inside.is_empty()
            };
            if let Some((from, time)) = current.filter(|_| none && interval == Interval::D1) {
                current = self.day_of_anybody(time)?.map(|day| (from, day));
            }
        }
        Ok(())
    }

    /// The latest day, up to this one, on which anybody traded: between the true trades of a pair and one with a time of the future there
    /// may be three million days.
    fn day_of_anybody(&mut self, time: i64) -> Result<Option<i64>, StoreError> {
        let address = self.address;
        let sql = "SELECT candle_time FROM candles WHERE interval_s = ? AND candle_time <= ? ORDER BY candle_time DESC LIMIT 1";
        let values = (Interval::D1.seconds(), time);
        let row: Option<mysql::Row> =
            self.connection.exec_first(sql, values).map_err(|error| failure(address, error))?;
        row.map(|row| integer(&row, 0, address)).transpose()
    }

    /// Which of the candles exist, latest first.
    fn existing(&mut self, interval: Interval, starts: &[i64]) -> Result<Vec<i64>, StoreError> {
        let mut found = Vec::new();
        let address = self.address;
        self.ask("candle_time", interval, starts, &mut |row| {
            found.push(integer(row, 0, address)?);
            Ok(())
        })?;
        Ok(found)
    }

    fn fetch(&mut self, starts: &[i64]) -> Result<(), StoreError> {
        let (address, from) = (self.address, self.from);
        let columns = format!("candle_time, {}", row::COLUMNS);
        let mut found = Vec::new();
        self.ask(&columns, self.interval, starts, &mut |row| {
            let time = integer(row, 0, address)?;
            if time >= from {
                found.push(StoredCandle { time, candle: row::read(row, 1, address)? });
            }
            Ok(())
        })?;
        self.found.append(&mut found);
        Ok(())
    }

    fn ask(
        &mut self,
        columns: &str,
        interval: Interval,
        starts: &[i64],
        each: &mut dyn FnMut(&mysql::Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let fail = |error| failure(self.address, error);
        // The list is filled up, so that one prepared statement serves all.
        let list = repeat("?", TRIES, ", ");
        let sql = format!(
            "SELECT {columns} FROM candles WHERE interval_s = ? AND candle_time IN ({list}) AND series = ? ORDER BY candle_time DESC"
        );
        let last = starts.last().copied().unwrap_or(0);
        let times = starts.iter().copied().chain(std::iter::repeat(last)).take(TRIES).map(Value::from);
        let values: Vec<Value> =
            [interval.seconds().into()].into_iter().chain(times).chain([self.series.into()]).collect();
        for row in self.connection.exec_iter(sql, values).map_err(fail)? {
            each(&row.map_err(fail)?)?;
        }
        Ok(())
    }
}

/// The pairs of a group that have a candle, and their latest day.
fn last_days(
    connection: &mut Conn,
    address: &MySqlAddress,
    group: &str,
    all: &mut HashMap<u32, PairParts>,
) -> Result<(), StoreError> {
    let fail = |error| failure(address, error);
    let sql = format!(
        "SELECT id, chain_id, pair_address, token_symbol, base_token_symbol, candle_time, {}
         FROM candle_series JOIN candle_spans ON candle_spans.series = id
             JOIN candles ON interval_s = ? AND candle_time = last_day AND candles.series = id
         WHERE group_id = ?",
        row::COLUMNS
    );
    for row in connection.exec_iter(sql, (Interval::D1.seconds(), group.as_bytes())).map_err(fail)? {
        let row = row.map_err(fail)?;
        let parts = PairParts {
            group: group.to_owned(),
            pair: PairKey::new(text(&row, 1, address)?, text(&row, 2, address)?),
            token_symbol: text_or_null(&row, 3, address)?,
            base_token_symbol: text_or_null(&row, 4, address)?,
            last_day: StoredCandle { time: integer(&row, 5, address)?, candle: row::read(&row, 6, address)? },
            sums: WindowSums::new(),
            kept_since: None,
        };
        all.insert(series(&row, 0, address)?, parts);
    }
    Ok(())
}

/// Hands out the candles of an interval that start in a span of time, row by row as they come.
fn each_candle(
    connection: &mut Conn,
    address: &MySqlAddress,
    interval: Interval,
    (from, before): (i64, i64),
    each: &mut dyn FnMut(u32, i64, &Candle),
) -> Result<(), StoreError> {
    let fail = |error| failure(address, error);
    let sql = format!(
        "SELECT series, candle_time, {} FROM candles WHERE interval_s = ? AND candle_time >= ? AND candle_time < ?",
        row::COLUMNS
    );
    for row in connection.exec_iter(sql, (interval.seconds(), from, before)).map_err(fail)? {
        let row = row.map_err(fail)?;
        each(series(&row, 0, address)?, integer(&row, 1, address)?, &row::read(&row, 2, address)?);
    }
    Ok(())
}
