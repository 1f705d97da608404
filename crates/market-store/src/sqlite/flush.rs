//! One transaction: positions checked and moved, deltas merged into candles.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::path::Path;

use market_data::{Candle, Delta, Interval, Pair, PairKey};
use rusqlite::{CachedStatement, Connection, Transaction, TransactionBehavior, params};

use super::row::{self, Texts};
use super::{StoreError, claim, failure, kept};
use crate::{Flush, FlushError, Flushed};

/// Candles that are remembered between flushes, at most.
const REMEMBERED_MAX: usize = 100_000;

/// What a flush needs from one to the next. Nothing in it is the truth: the file is.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    /// Numbers of series that are certainly in the file. They are never changed there.
    series: HashMap<(String, PairKey), i64>,
    /// The latest candles as the last flush left them, for as long as nobody else has written the file.
    remembered: HashMap<(Interval, i64, i64), Candle, foldhash::fast::RandomState>,
    /// SQLite's counter of other connections' commits when `remembered` was filled.
    data_version: i64,
    texts: Texts,
}

impl Flusher {
    /// See [`crate::CandleStore::flush`].
    pub(super) fn flush(
        &mut self,
        connection: &mut Connection,
        file: &Path,
        flush: &Flush<'_>,
        marks: &[(u32, Interval, i64)],
    ) -> Result<Flushed, FlushError> {
        // What is learnt in a transaction that is taken back, by an error or a panic, was never true: it comes back with the commit alone.
        let mut learning = std::mem::take(self);
        let flushed = learning.try_flush(connection, file, flush, marks)?;
        *self = learning;
        Ok(flushed)
    }

    /// These rows are no longer in the file.
    pub(super) fn forget(&mut self, gone: &[(Interval, i64, i64)]) {
        for key in gone {
            self.remembered.remove(key);
        }
    }

    fn try_flush(
        &mut self,
        connection: &mut Connection,
        file: &Path,
        flush: &Flush<'_>,
        marks: &[(u32, Interval, i64)],
    ) -> Result<Flushed, FlushError> {
        let fail = |error| failure(file, error);
        let transaction =
            connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(fail)?;
        claim::advance(&transaction, file, flush.group, flush.advances)?;
        let version = transaction.query_row("PRAGMA data_version", [], |row| row.get(0)).map_err(fail)?;
        if version != self.data_version || self.remembered.len() > REMEMBERED_MAX {
            self.data_version = version;
            self.remembered.clear();
        }
        let numbers = self.series_of(&transaction, flush).map_err(fail)?;
        let deltas = &flush.deltas.candles;
        // In the order of the table, so that rows of one page are written one after another.
        let mut order: Vec<u32> = (0..deltas.len() as u32).collect();
        let key = |d: &Delta| (d.interval, d.time, numbers[d.pair as usize]);
        order.sort_unstable_by_key(|at| key(&deltas[*at as usize]));
        let mut candles = vec![Candle::EMPTY; deltas.len()];
        let mut rows = Rows::prepare(&transaction, file, flush.now, &mut self.texts).map_err(fail)?;
        for at in order {
            let delta = &deltas[at as usize];
            candles[at as usize] = merge(&mut self.remembered, &mut rows, key(delta), &delta.candle)?;
        }
        drop(rows);
        let noted = marks.iter().map(|(pair, interval, since)| (numbers[*pair as usize], *interval, *since));
        kept::note(&transaction, noted).map_err(fail)?;
        note_days(&transaction, flush, &numbers, &candles, marks.is_empty()).map_err(fail)?;
        transaction.commit().map_err(fail)?;
        Ok(Flushed { candles, expired: 0 })
    }

    /// The series of each pair of the flush, made where missing.
    fn series_of(&mut self, transaction: &Transaction<'_>, flush: &Flush<'_>) -> rusqlite::Result<Vec<i64>> {
        let mut numbers = Vec::with_capacity(flush.deltas.pairs.len());
        for pair in &flush.deltas.pairs {
            let key = (flush.group.to_owned(), pair.key.clone());
            let number = match self.series.get(&key) {
                Some(number) => *number,
                None => {
                    let number = series(transaction, flush.group, pair)?;
                    self.series.insert(key, number);
                    number
                }
            };
            numbers.push(number);
        }
        Ok(numbers)
    }
}

/// Merges a part into its candle and writes the whole.
fn merge(
    remembered: &mut HashMap<(Interval, i64, i64), Candle, foldhash::fast::RandomState>,
    rows: &mut Rows<'_>,
    key: (Interval, i64, i64),
    part: &Candle,
) -> Result<Candle, StoreError> {
    // A new candle is the usual case when history is read, a remembered one when trades are live: one statement each.
    match remembered.entry(key) {
        Entry::Occupied(mut known) => {
            known.get_mut().merge(part);
            let candle = *known.get();
            rows.update(key, &candle)?;
            Ok(candle)
        }
        Entry::Vacant(unknown) => {
            let mut candle = *part;
            if !rows.insert(key, &candle)? {
                candle.merge(&rows.stored(key)?);
                rows.update(key, &candle)?;
            }
            Ok(*unknown.insert(candle))
        }
    }
}

/// The rows of candles within one transaction: statements prepared once, texts kept from one row to the next.
struct Rows<'a> {
    insert: CachedStatement<'a>,
    update: CachedStatement<'a>,
    select: CachedStatement<'a>,
    texts: &'a mut Texts,
    file: &'a Path,
    now: i64,
}

impl<'a> Rows<'a> {
    fn prepare(
        transaction: &'a Transaction<'_>,
        file: &'a Path,
        now: i64,
        texts: &'a mut Texts,
    ) -> rusqlite::Result<Rows<'a>> {
        let select = format!(
            "SELECT {} FROM candles WHERE interval = ?1 AND candle_time = ?2 AND series = ?3",
            row::COLUMNS
        );
        Ok(Rows {
            insert: transaction.prepare_cached(INSERT)?,
            update: transaction.prepare_cached(UPDATE)?,
            select: transaction.prepare_cached(&select)?,
            texts,
            file,
            now,
        })
    }

    /// Writes a candle that is not there yet; `false` if it is.
    fn insert(&mut self, key: (Interval, i64, i64), candle: &Candle) -> Result<bool, StoreError> {
        let written = write(&mut self.insert, self.texts, self.now, key, candle);
        Ok(written.map_err(|error| failure(self.file, error))? > 0)
    }

    /// Writes a candle over the one that is there.
    fn update(&mut self, key: (Interval, i64, i64), candle: &Candle) -> Result<(), StoreError> {
        let written = write(&mut self.update, self.texts, self.now, key, candle);
        written.map(drop).map_err(|error| failure(self.file, error))
    }

    /// Reads a candle that is certainly there.
    fn stored(&mut self, (interval, time, series): (Interval, i64, i64)) -> Result<Candle, StoreError> {
        let fail = |error| failure(self.file, error);
        let mut rows = self.select.query((interval.seconds(), time, series)).map_err(fail)?;
        match rows.next().map_err(fail)? {
            Some(row) => row::read(row, 0, self.file),
            None => Err(fail(rusqlite::Error::QueryReturnedNoRows)),
        }
    }
}

/// Writes a candle with one of the two statements; returns how many rows changed.
fn write(
    statement: &mut CachedStatement<'_>,
    texts: &mut Texts,
    now: i64,
    (interval, time, series): (Interval, i64, i64),
    candle: &Candle,
) -> rusqlite::Result<usize> {
    // An empty part is no trade and no row.
    let Some(prices) = texts.fill(candle) else { return Ok(1) };
    let [o, h, l, c, v, t] = &texts.numbers;
    let [open_order, close_order] = &texts.orders;
    statement.execute(params![
        interval.seconds(),
        time,
        series,
        o,
        h,
        l,
        c,
        v,
        t,
        candle.count.cast_signed(),
        candle.buy_count.cast_signed(),
        candle.sell_count.cast_signed(),
        open_order,
        close_order,
        prices.open_order.block_time,
        prices.close_order.block_time,
        prices.clamped_only,
        now,
    ])
}

const INSERT: &str = "INSERT INTO candles VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18)
    ON CONFLICT DO NOTHING";

const UPDATE: &str = "UPDATE candles SET o = ?4, h = ?5, l = ?6, c = ?7, v = ?8, t = ?9, count = ?10, buy_count = ?11,
    sell_count = ?12, open_order = ?13, close_order = ?14, open_at = ?15, close_at = ?16, clamped_only = ?17, updated_at = ?18
    WHERE interval = ?1 AND candle_time = ?2 AND series = ?3";

/// The number of a series, a new one where it is missing.
fn series(transaction: &Transaction<'_>, group: &str, pair: &Pair) -> rusqlite::Result<i64> {
    let symbol =
        |of: fn(&market_data::Symbols) -> &Option<String>| pair.symbols.as_ref().and_then(|s| of(s).clone());
    let mut statement = transaction.prepare_cached(
        // The days and the price are set by the same flush, in `note_days`.
        "INSERT INTO series (group_id, chain_id, pair_address, token_symbol, base_token_symbol, first_day, last_day,
             last_price, last_trade_at)
         VALUES (?1, ?2, ?3, ?4, ?5, 9223372036854775807, -9223372036854775808, '', 0)
         ON CONFLICT DO UPDATE SET token_symbol = coalesce(token_symbol, excluded.token_symbol),
             base_token_symbol = coalesce(base_token_symbol, excluded.base_token_symbol)
         RETURNING id",
    )?;
    let (token, base) = (symbol(|s| &s.token), symbol(|s| &s.base_token));
    statement.query_row((group, &pair.key.chain_id, &pair.key.pair, token, base), |row| row.get(0))
}

/// What a flush tells of the days of a series.
struct Days {
    first: i64,
    /// The day, interval and start of the longest of the latest candles. Where days were left out, what they hold tells of them.
    last: (i64, Interval, i64),
    /// That candle's place in the flush.
    at: usize,
}

/// Notes in each series its first and last day and its last price: where a chart begins to look, and what a list shows.
fn note_days(
    transaction: &Transaction<'_>,
    flush: &Flush<'_>,
    numbers: &[i64],
    candles: &[Candle],
    has_all_days: bool,
) -> rusqlite::Result<()> {
    let mut statement = transaction.prepare_cached(
        "UPDATE series SET first_day = min(first_day, ?2),
             last_price = CASE WHEN ?3 >= last_day THEN ?4 ELSE last_price END,
             last_trade_at = CASE WHEN ?3 >= last_day THEN ?5 ELSE last_trade_at END,
             last_day = max(last_day, ?3)
         WHERE id = ?1",
    )?;
    let mut days: HashMap<i64, Days> = HashMap::new();
    let tells = |delta: &Delta| delta.interval == Interval::D1 || !has_all_days;
    for (at, delta) in flush.deltas.candles.iter().enumerate().filter(|(_, delta)| tells(delta)) {
        let day = Interval::D1.start_of(delta.time);
        let last = (day, delta.interval, delta.time);
        let of = days.entry(numbers[delta.pair as usize]).or_insert(Days { first: day, last, at });
        of.first = of.first.min(day);
        if last >= of.last {
            (of.last, of.at) = (last, at);
        }
    }
    let mut price = String::new();
    for (series, Days { first, last: (last, ..), at }) in days {
        let Some(prices) = candles[at].prices() else { continue };
        price.clear();
        prices.close.write_to(&mut price);
        statement.execute((series, first, last, &price, prices.close_order.block_time))?;
    }
    Ok(())
}
