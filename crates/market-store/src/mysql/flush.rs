//! One transaction: positions checked and moved, deltas merged into candles.

use std::collections::HashMap;

use market_data::{Candle, Delta, Interval, Pair, PairKey, Symbols};
use mysql::prelude::Queryable;
use mysql::{Conn, Params, Value};

use super::address::MySqlAddress;
use super::known::{Key, Memory, Series, Span};
use super::link::{Link, failure};
use super::row::{self, integer, repeat, series, text};
use super::{claim, schema};
use crate::{Flush, FlushError, Flushed, StoreError};

/// Rows that one statement writes or asks for. A few sizes, so that the statements of all sizes stay prepared; parsing a thousand rows of
/// text would cost the server as much again as writing them.
const SIZES: [usize; 7] = [1_000, 300, 100, 30, 10, 3, 1];
/// Rows that one bulk statement of a MariaDB carries. More are no cheaper, and the server has all of them in memory.
const BULK: usize = 2_000;
/// Conditions that one question has, at most: servers bound the memory in which they plan one.
const ASKED_MAX: usize = 300;
/// Bytes of values that one statement carries, at most: a small part of what servers take (`max_allowed_packet`, 16 or 64 MiB).
const STATEMENT_BYTES_MAX: usize = 512 << 10;

/// What the flushes of each group remember.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    groups: HashMap<String, Memory>,
    /// Whether the server takes many rows as one statement of one row (`COM_STMT_BULK_EXECUTE`): a MariaDB does. `None` until it was asked.
    pub(super) bulk: Option<bool>,
}

impl Flusher {
    /// See [`crate::CandleStore::flush`].
    pub(super) fn flush(&mut self, link: &mut Link, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        // What is learnt in a transaction that is taken back, by an error or a panic, was never true: it comes back with the commit alone.
        let mut memory = self.groups.remove(flush.group).unwrap_or_default();
        let address = link.address().clone();
        let candles = link.transaction(|connection| {
            let bulk = match self.bulk {
                Some(known) => known,
                None => *self.bulk.insert(is_mariadb(connection, &address)?),
            };
            let mut writer = Writer { connection, address: &address, flush, bulk };
            writer.flush(&mut memory)
        })?;
        memory.forget();
        self.groups.insert(flush.group.to_owned(), memory);
        Ok(Flushed { candles, expired: 0 })
    }
}

/// A flush under way.
struct Writer<'a> {
    connection: &'a mut Conn,
    address: &'a MySqlAddress,
    flush: &'a Flush<'a>,
    /// See [`Flusher::bulk`].
    bulk: bool,
}

/// A candle's row: its key, and which of the flush's candles it is.
type CandleRow = (Key, u32);

/// Whether the server is a MariaDB.
fn is_mariadb(connection: &mut Conn, address: &MySqlAddress) -> Result<bool, StoreError> {
    let version: Option<Vec<u8>> =
        connection.query_first("SELECT VERSION()").map_err(|error| failure(address, error))?;
    Ok(version.is_some_and(|version| String::from_utf8_lossy(&version).contains("MariaDB")))
}

impl Writer<'_> {
    fn flush(&mut self, memory: &mut Memory) -> Result<Vec<Candle>, FlushError> {
        memory.begin(self.lock_group()?);
        let (group, advances) = (self.flush.group, self.flush.advances);
        claim::advance(self.connection, self.address, schema::CANDLES.positions, group, advances)?;
        let numbers = self.series_of_pairs(memory)?;
        self.learn_spans(memory, &numbers)?;
        let deltas = &self.flush.deltas.candles;
        let key = |delta: &Delta| (delta.interval, delta.time, numbers[delta.pair as usize]);
        // In the order of the table, so that rows of one page are written one after another.
        let mut order: Vec<(Key, u32)> = deltas.iter().map(key).zip(0..).collect();
        order.sort_unstable();
        self.learn_candles(memory, &order)?;
        let mut candles = vec![Candle::EMPTY; deltas.len()];
        let (mut new, mut changed): (Vec<CandleRow>, Vec<CandleRow>) = (Vec::new(), Vec::new());
        for (key, at) in order {
            let Some((candle, is_new)) = memory.merge(key, &deltas[at as usize].candle) else {
                return Err(self.lost(key).into());
            };
            candles[at as usize] = candle;
            // An empty part is no trade and no row.
            if candle.is_empty() {
                continue;
            }
            let row = (key, at);
            // A second part of a candle that the first one made or changed: one row.
            let mut before = new.last_mut().into_iter().chain(changed.last_mut());
            if let Some(before) = before.find(|before| before.0 == key) {
                *before = row;
            } else if is_new {
                new.push(row);
            } else {
                changed.push(row);
            }
        }
        // New rows are inserted and not "inserted or updated": if one were there after all, it must not be written over.
        self.write(&new, &candles, "")?;
        self.write(&changed, &candles, " ON DUPLICATE KEY UPDATE candle = VALUES(candle)")?;
        self.note_spans(memory, &numbers, &candles)?;
        Ok(candles)
    }

    /// Locks the row of the group, for claims and flushes of others, until the transaction ends. Returns the number of this change.
    fn lock_group(&mut self) -> Result<i64, StoreError> {
        self.execute(
            "INSERT INTO candle_groups (group_id, changes) VALUES (?, LAST_INSERT_ID(1))
             ON DUPLICATE KEY UPDATE changes = LAST_INSERT_ID(changes + 1)",
            vec![self.flush.group.as_bytes().into()],
        )?;
        Ok(self.connection.last_insert_id().cast_signed())
    }

    /// The number of each pair's series, made where missing.
    fn series_of_pairs(&mut self, memory: &mut Memory) -> Result<Vec<u32>, StoreError> {
        let pairs = &self.flush.deltas.pairs;
        let unknown = |memory: &Memory| -> Vec<&Pair> {
            pairs.iter().map(|pair| &**pair).filter(|pair| !memory.series.contains_key(&pair.key)).collect()
        };
        self.find_series(memory, &unknown(memory))?;
        let new = unknown(memory);
        for some in batches(&new, SIZES[0]) {
            let rows = repeat("(?, ?, ?, ?, ?)", some.len(), ", ");
            let values = |pair: &&Pair| {
                let key = &pair.key;
                let group = self.flush.group.as_bytes();
                let [token, base] = symbols(pair);
                [group.into(), key.chain_id.as_bytes().into(), key.pair.as_bytes().into(), token, base]
            };
            let values = some.iter().flat_map(values).collect();
            self.execute(
                &format!(
                    "INSERT INTO candle_series (group_id, chain_id, pair_address, token_symbol, base_token_symbol) VALUES {rows}"
                ),
                values,
            )?;
        }
        self.find_series(memory, &new)?;
        let mut numbers = Vec::with_capacity(pairs.len());
        for pair in pairs {
            let Some(series) = memory.series.get_mut(&pair.key) else {
                return Err(
                    self.damaged("pair", format!("{:?}, which was just written and is not there", pair.key))
                );
            };
            numbers.push(series.id);
            // A later trade may tell what the first ones did not.
            if !series.told && pair.symbols.is_some() {
                series.told = true;
                let ([token, base], id) = (symbols(pair), series.id);
                self.execute(
                    "UPDATE candle_series SET token_symbol = coalesce(token_symbol, ?),
                         base_token_symbol = coalesce(base_token_symbol, ?) WHERE id = ?",
                    vec![token, base, id.into()],
                )?;
            }
        }
        Ok(numbers)
    }

    /// Asks for the numbers of pairs and remembers those that are there.
    fn find_series(&mut self, memory: &mut Memory, pairs: &[&Pair]) -> Result<(), StoreError> {
        for some in batches(pairs, ASKED_MAX) {
            let any = repeat("(chain_id = ? AND pair_address = ?)", some.len(), " OR ");
            let key = |pair: &&Pair| [pair.key.chain_id.as_bytes().into(), pair.key.pair.as_bytes().into()];
            let mut values: Vec<Value> = some.iter().flat_map(key).collect();
            values.push(self.flush.group.as_bytes().into());
            let sql = format!(
                "SELECT id, chain_id, pair_address, token_symbol IS NOT NULL AND base_token_symbol IS NOT NULL
                 FROM candle_series WHERE ({any}) AND group_id = ?"
            );
            let address = self.address;
            self.ask(&sql, values, &mut |row| {
                let key = PairKey::new(text(row, 1, address)?, text(row, 2, address)?);
                let told = integer(row, 3, address)? != 0;
                memory.series.insert(key, Series { id: series(row, 0, address)?, told });
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Remembers the span of each series of the flush.
    fn learn_spans(&mut self, memory: &mut Memory, numbers: &[u32]) -> Result<(), StoreError> {
        let unknown: Vec<u32> = numbers.iter().copied().filter(|id| !memory.spans.contains_key(id)).collect();
        for some in batches(&unknown, ASKED_MAX) {
            memory.spans.extend(some.iter().map(|id| (*id, None)));
            let list = repeat("?", some.len(), ", ");
            let sql = format!(
                "SELECT series, first_day, last_day, last_trade_at FROM candle_spans WHERE series IN ({list})"
            );
            let address = self.address;
            self.ask(&sql, some.iter().map(|id| (*id).into()).collect(), &mut |row| {
                let span = Span {
                    first_day: integer(row, 1, address)?,
                    last_day: integer(row, 2, address)?,
                    last_trade_at: integer(row, 3, address)?,
                };
                memory.spans.insert(series(row, 0, address)?, Some(span));
                Ok(())
            })?;
        }
        Ok(())
    }

    /// Remembers every candle of the flush as the database has it. `order` is sorted.
    fn learn_candles(&mut self, memory: &mut Memory, order: &[(Key, u32)]) -> Result<(), StoreError> {
        let mut end = order.len();
        for interval in Interval::ALL.into_iter().rev() {
            let start = order[..end].partition_point(|((of, ..), _)| *of < interval);
            let mut unknown: Vec<Key> = Vec::new();
            for (key, _) in &order[start..end] {
                if !memory.recall(*key) && unknown.last() != Some(key) {
                    unknown.push(*key);
                }
            }
            end = start;
            for some in batches(&unknown, ASKED_MAX) {
                some.iter().for_each(|key| memory.learn_new(*key));
                let any = repeat("(candle_time = ? AND series = ?)", some.len(), " OR ");
                let sql = format!(
                    "SELECT candle_time, series, {} FROM candles WHERE interval_s = ? AND ({any})",
                    row::COLUMNS
                );
                let mut values = Vec::with_capacity(1 + 2 * some.len());
                values.push(interval.seconds().into());
                values.extend(
                    some.iter().flat_map(|(_, time, series)| [Value::from(*time), Value::from(*series)]),
                );
                let address = self.address;
                self.ask(&sql, values, &mut |row| {
                    let key = (interval, integer(row, 0, address)?, series(row, 1, address)?);
                    memory.learn(key, row::read(row, 2, address)?);
                    Ok(())
                })?;
            }
        }
        Ok(())
    }

    /// Writes rows of candles; `clause` says what happens to one that is there.
    fn write(&mut self, rows: &[CandleRow], candles: &[Candle], clause: &str) -> Result<(), StoreError> {
        let now = self.flush.now;
        let values = |&((interval, time, series), at): &CandleRow| {
            let candle = &candles[at as usize];
            let column = row::write(time, candle, &candle.prices()?, now);
            Some([interval.seconds().into(), time.into(), series.into(), Value::Bytes(column)])
        };
        let one = format!("({})", repeat("?", row::WRITTEN.len(), ", "));
        let insert = format!("INSERT INTO candles ({}) VALUES ", row::WRITTEN.join(", "));
        if self.bulk {
            for some in rows.chunks(BULK) {
                let rows = some.iter().filter_map(values).map(|row| Params::Positional(row.into()));
                self.connection
                    .exec_batch(format!("{insert}{one}{clause}"), rows)
                    .map_err(|error| failure(self.address, error))?;
            }
            return Ok(());
        }
        let mut rest = rows;
        while !rest.is_empty() {
            let mut sizes = SIZES.into_iter().filter(|size| *size <= rest.len());
            let mut size = sizes.next().unwrap_or(1);
            let mut rows: Vec<Value> = Vec::with_capacity(size * row::WRITTEN.len());
            rows.extend(rest[..size].iter().filter_map(values).flatten());
            while bytes(&rows) > STATEMENT_BYTES_MAX
                && let Some(smaller) = sizes.next()
            {
                size = smaller;
                rows.truncate(size * row::WRITTEN.len());
            }
            self.execute(&format!("{insert}{}{clause}", repeat(&one, size, ", ")), rows)?;
            rest = &rest[size..];
        }
        Ok(())
    }

    /// Notes in each series its first and last day and the time of its last trade: where a chart begins to look, and what is newest.
    fn note_spans(
        &mut self,
        memory: &mut Memory,
        numbers: &[u32],
        candles: &[Candle],
    ) -> Result<(), StoreError> {
        let mut changed: Vec<u32> = Vec::new();
        let days =
            self.flush.deltas.candles.iter().zip(candles).filter(|(delta, _)| delta.interval == Interval::D1);
        for (delta, candle) in days {
            let (series, day) = (numbers[delta.pair as usize], delta.time);
            let Some(prices) = candle.prices() else { continue };
            let last_trade_at = prices.close_order.block_time;
            let span = memory.spans.entry(series).or_default();
            let before = *span;
            let now = match before {
                Some(before) => Span {
                    first_day: before.first_day.min(day),
                    last_day: before.last_day.max(day),
                    last_trade_at: if day >= before.last_day { last_trade_at } else { before.last_trade_at },
                },
                None => Span { first_day: day, last_day: day, last_trade_at },
            };
            *span = Some(now);
            if before != Some(now) {
                changed.push(series);
            }
        }
        changed.sort_unstable();
        changed.dedup();
        for some in batches(&changed, SIZES[0]) {
            let rows = repeat("(?, ?, ?, ?)", some.len(), ", ");
            let mut values: Vec<Value> = Vec::with_capacity(4 * some.len());
            for (series, span) in some.iter().filter_map(|id| Some((*id, (*memory.spans.get(id)?)?))) {
                values.extend([series.into(), span.first_day.into()]);
                values.extend([span.last_day.into(), span.last_trade_at.into()]);
            }
            self.execute(
                &format!(
                    "INSERT INTO candle_spans (series, first_day, last_day, last_trade_at) VALUES {rows}
                     ON DUPLICATE KEY UPDATE first_day = VALUES(first_day), last_day = VALUES(last_day),
                         last_trade_at = VALUES(last_trade_at)"
                ),
                values,
            )?;
        }
        Ok(())
    }

    fn execute(&mut self, sql: &str, values: Vec<Value>) -> Result<(), StoreError> {
        self.connection.exec_drop(sql, values).map_err(|error| failure(self.address, error))
    }

    /// Asks a question and hands out the rows of its answer.
    fn ask(
        &mut self,
        sql: &str,
        values: Vec<Value>,
        each: &mut dyn FnMut(&mysql::Row) -> Result<(), StoreError>,
    ) -> Result<(), StoreError> {
        let fail = |error| failure(self.address, error);
        for row in self.connection.exec_iter(sql, values).map_err(fail)? {
            each(&row.map_err(fail)?)?;
        }
        Ok(())
    }

    fn damaged(&self, what: &'static str, value: String) -> StoreError {
        StoreError::Damaged { store: self.address.to_string(), what, value }
    }

    fn lost(&self, key: Key) -> StoreError {
        self.damaged("candle", format!("{key:?}, which was just read and is not remembered"))
    }
}

/// Cuts a list into parts of the sizes for which statements are kept, none above `most`.
fn batches<T>(items: &[T], most: usize) -> impl Iterator<Item = &[T]> {
    let mut rest = items;
    std::iter::from_fn(move || {
        let size = SIZES.into_iter().find(|size| *size <= most && *size <= rest.len())?;
        let some;
        (some, rest) = rest.split_at(size);
        Some(some)
    })
}

fn bytes(values: &[Value]) -> usize {
    values.iter().map(|value| if let Value::Bytes(bytes) = value { bytes.len() + 3 } else { 8 }).sum()
}

fn symbols(pair: &Pair) -> [Value; 2] {
    let value = |of: fn(&Symbols) -> &Option<String>| {
        pair.symbols.as_ref().and_then(|symbols| of(symbols).as_ref()).map(|symbol| symbol.as_bytes()).into()
    };
    [value(|symbols| &symbols.token), value(|symbols| &symbols.base_token)]
}
