//! The candles of one pair and one interval: the newest as it is, all before it packed.
//!
//! A flush changes the newest candle nearly always, and that costs a merge. A part for an older candle unpacks it, merges and packs it
//! again. Packed candles lie in chunks of at most [`ROWS_MAX`] rows, so that a search or a change touches few of them.

use market_data::Candle;

use crate::StoredCandle;

/// Rows of a chunk. A row is found by stepping over those before it.
const ROWS_MAX: u32 = 64;

/// Candles by their start.
#[derive(Debug)]
pub(super) struct Run {
    /// The start of the newest candle; `i64::MIN` if there is none. Beside the others' of the pair, so that a run that has nothing of a time
    /// need not be looked into.
    last: i64,
    /// `None` if there is no candle, or if the run rests: then the newest is packed like the others.
    newest: Option<Box<(i64, Candle)>>,
    /// In order, none of them empty; all before `newest`.
    chunks: Vec<Chunk>,
}

/// Neighbouring candles, packed. A row is the distance from the start of the row before (0 in the first), the length of the packed candle,
/// and the packed candle.
#[derive(Debug)]
struct Chunk {
    first: i64,
    last: i64,
    rows: u32,
    bytes: Vec<u8>,
}

/// Where a row of a chunk lies.
struct Row {
    /// The start of its candle.
    time: i64,
    /// Its beginning, and that of its candle.
    at: usize,
    candle: usize,
    end: usize,
}

impl Default for Run {
    fn default() -> Run {
        Run { last: i64::MIN, newest: None, chunks: Vec::new() }
    }
}

impl Run {
    /// The start of the newest candle; `i64::MIN` if there is none.
    pub(super) fn last_time(&self) -> i64 {
        self.last
    }

    /// The newest candle.
    pub(super) fn last(&self) -> Option<(i64, Candle)> {
        match &self.newest {
            Some(newest) => Some(**newest),
            None => {
                let chunk = self.chunks.last()?;
                chunk.rows().last().map(|row| (row.time, chunk.candle(&row)))
            }
        }
    }

    /// Merges a part into its candle and gives the whole.
    pub(super) fn merge(&mut self, time: i64, part: &Candle) -> Candle {
        self.last = self.last.max(time);
        if let Some(newest) = &mut self.newest {
            if time == newest.0 {
                newest.1.merge(part);
                return newest.1;
            }
            if time > newest.0 {
                let (before, candle) = std::mem::replace(&mut **newest, (time, *part));
                self.append(before, &candle);
                return *part;
            }
        } else {
            match self.chunks.last().map(|chunk| chunk.last) {
                Some(last) if time < last => {}
                // A run that rested moves on.
                Some(last) if time == last => {
                    let mut candle = self.take(time).unwrap_or(Candle::EMPTY);
                    candle.merge(part);
                    self.newest = Some(Box::new((time, candle)));
                    return candle;
                }
                _ => {
                    self.newest = Some(Box::new((time, *part)));
                    return *part;
                }
            }
        }
        let mut candle = self.take(time).unwrap_or(Candle::EMPTY);
        candle.merge(part);
        self.insert(time, &candle);
        candle
    }

    /// Packs the newest candle too: nothing is expected soon.
    pub(super) fn rest(&mut self) {
        if let Some(newest) = self.newest.take() {
            self.append(newest.0, &newest.1);
        }
        self.chunks.shrink_to_fit();
        if let Some(last) = self.chunks.last_mut() {
            last.bytes.shrink_to_fit();
        }
    }

    /// Drops the candles that start before a time.
    pub(super) fn drop_before(&mut self, time: i64) {
        let whole = self.chunks.iter().take_while(|chunk| chunk.last < time).count();
        self.chunks.drain(..whole);
        if let Some(chunk) = self.chunks.first_mut().filter(|chunk| chunk.first < time) {
            chunk.drop_before(time);
        }
        if self.last < time {
            (self.last, self.newest) = (i64::MIN, None);
        }
    }

    /// Hands out the candles that start at or after `from` and before `before`, oldest first.
    pub(super) fn each(&self, from: i64, before: i64, mut each: impl FnMut(i64, &Candle)) {
        let first = self.chunks.partition_point(|chunk| chunk.last < from);
        for chunk in self.chunks[first..].iter().take_while(|chunk| chunk.first < before) {
            let wanted = chunk.rows().skip_while(|row| row.time < from).take_while(|row| row.time < before);
            wanted.for_each(|row| each(row.time, &chunk.candle(&row)));
        }
        if let Some(newest) = self.newest.as_ref().filter(|newest| (from..before).contains(&newest.0)) {
            each(newest.0, &newest.1);
        }
    }

    /// The latest of the candles that start at or after `from` and before `before`, oldest first.
    pub(super) fn latest(&self, from: i64, before: i64, limit: usize) -> Vec<StoredCandle> {
        let mut found = Vec::new();
        if let Some(newest) = self.newest.as_ref().filter(|newest| (from..before).contains(&newest.0)) {
            found.extend((limit > 0).then_some(StoredCandle { time: newest.0, candle: newest.1 }));
        }
        let in_time = self.chunks.iter().rev().skip_while(|chunk| chunk.first >= before);
        for chunk in in_time.take_while(|chunk| chunk.last >= from) {
            if found.len() >= limit {
                break;
            }
            let rows: Vec<Row> = chunk.rows().filter(|row| (from..before).contains(&row.time)).collect();
            let stored = |row: &Row| StoredCandle { time: row.time, candle: chunk.candle(row) };
            found.extend(rows.iter().rev().take(limit - found.len()).map(stored));
        }
        found.reverse();
        found
    }

    /// Adds a candle behind all packed ones.
    fn append(&mut self, time: i64, candle: &Candle) {
        match self.chunks.last_mut().filter(|chunk| chunk.rows < ROWS_MAX) {
            Some(chunk) => chunk.append(time, candle),
            None => {
                if let Some(full) = self.chunks.last_mut() {
                    full.bytes.shrink_to_fit();
                }
                // Most pairs have few candles: room for one chunk more, not for twice as many.
                self.chunks.reserve_exact(1 + self.chunks.len() / 8);
                self.chunks.push(Chunk::of(time, candle));
            }
        }
    }

    /// Takes a packed candle out, if it is there.
    fn take(&mut self, time: i64) -> Option<Candle> {
        let at = self.chunks.partition_point(|chunk| chunk.last < time);
        let chunk = self.chunks.get_mut(at)?;
        let row = chunk.rows().find(|row| row.time >= time).filter(|row| row.time == time)?;
        let candle = chunk.candle(&row);
        chunk.remove(row);
        if chunk.rows == 0 {
            self.chunks.remove(at);
        }
        Some(candle)
    }

    /// Packs a candle that is not there, before the newest.
    fn insert(&mut self, time: i64, candle: &Candle) {
        let at = self.chunks.partition_point(|chunk| chunk.last < time);
        let Some(chunk) = self.chunks.get_mut(at) else { return self.append(time, candle) };
        chunk.insert(time, candle);
        if chunk.rows > ROWS_MAX {
            let second = chunk.split();
            self.chunks.insert(at + 1, second);
        }
    }
}

impl Chunk {
    fn of(time: i64, candle: &Candle) -> Chunk {
        let mut chunk = Chunk { first: time, last: time, rows: 1, bytes: Vec::new() };
        pushed(0, time, candle, |row| {
            chunk.bytes.reserve_exact(row.len());
            chunk.bytes.extend_from_slice(row);
        });
        chunk
    }

    fn rows(&self) -> Rows<'_> {
        Rows { bytes: &self.bytes, at: 0, time: self.first }
    }

    fn candle(&self, row: &Row) -> Candle {
        let candle = Candle::unpack(row.time, &self.bytes[row.candle..row.end]);
        debug_assert!(candle.is_some(), "packed by this process");
        candle.unwrap_or(Candle::EMPTY)
    }

    fn append(&mut self, time: i64, candle: &Candle) {
        pushed(time.wrapping_sub(self.last), time, candle, |row| {
            let more = row.len() + self.bytes.len() / 8;
            if self.bytes.capacity() - self.bytes.len() < row.len() {
                self.bytes.reserve_exact(more);
            }
            self.bytes.extend_from_slice(row);
        });
        (self.last, self.rows) = (time, self.rows + 1);
    }

    /// Adds a candle that is not there; its place may be anywhere.
    fn insert(&mut self, time: i64, candle: &Candle) {
        let mut before = None;
        let after = self.rows().find(|row| {
            let later = row.time > time;
            if !later {
                before = Some(row.time);
            }
            later
        });
        let Some(after) = after else { return self.append(time, candle) };
        // The row behind it begins with the distance from it now.
        let mut rows = Vec::new();
        pushed(time.wrapping_sub(before.unwrap_or(time)), time, candle, |row| rows.extend_from_slice(row));
        push_varint(after.time.wrapping_sub(time).cast_unsigned(), &mut rows);
        let rest = self.bytes[after.at..].len() - after_distance(&self.bytes[after.at..]).len();
        self.bytes.splice(after.at..after.at + rest, rows);
        self.first = self.first.min(time);
        self.rows += 1;
    }

    fn remove(&mut self, row: Row) {
        let before = self.rows().take_while(|other| other.time < row.time).last().map(|row| row.time);
        let after = Rows { bytes: &self.bytes, at: row.end, time: row.time }.next();
        match &after {
            Some(after) => {
                let mut distance = Vec::new();
                push_varint(
                    after.time.wrapping_sub(before.unwrap_or(after.time)).cast_unsigned(),
                    &mut distance,
                );
                let old = self.bytes[after.at..].len() - after_distance(&self.bytes[after.at..]).len();
                self.bytes.splice(row.at..after.at + old, distance);
            }
            None => self.bytes.truncate(row.at),
        }
        if before.is_none() {
            self.first = after.as_ref().map_or(self.first, |after| after.time);
        }
        if after.is_none() {
            self.last = before.unwrap_or(self.last);
        }
        self.rows -= 1;
    }

    /// Drops the rows before a time that is not after the last one.
    fn drop_before(&mut self, time: i64) {
        let gone = self.rows().take_while(|row| row.time < time).count();
        let Some(row) = self.rows().nth(gone) else { return };
        *self = self.tail(gone, &row);
    }

    /// Cuts off the second half.
    fn split(&mut self) -> Chunk {
        let half = self.rows as usize / 2;
        let before = half.checked_sub(1).and_then(|last| self.rows().nth(last)).map(|row| row.time);
        let (Some(before), Some(row)) = (before, self.rows().nth(half)) else {
            unreachable!("a chunk that is split has many rows")
        };
        let second = self.tail(half, &row);
        self.bytes.truncate(row.at);
        self.bytes.shrink_to_fit();
        (self.last, self.rows) = (before, half as u32);
        second
    }

    /// The rows from one on, of which it is the first.
    fn tail(&self, before: usize, row: &Row) -> Chunk {
        let rest = after_distance(&self.bytes[row.at..]);
        let mut bytes = Vec::with_capacity(rest.len() + 1);
        push_varint(0, &mut bytes);
        bytes.extend_from_slice(rest);
        Chunk { first: row.time, last: self.last, rows: self.rows - before as u32, bytes }
    }
}

/// Steps over rows.
struct Rows<'a> {
    bytes: &'a [u8],
    at: usize,
    time: i64,
}

impl Iterator for Rows<'_> {
    type Item = Row;

    #[inline]
    fn next(&mut self) -> Option<Row> {
        let at = self.at;
        let rest = self.bytes.get(at..).filter(|rest| !rest.is_empty())?;
        let (distance, rest) = varint(rest);
        let (len, rest) = varint(rest);
        self.time = self.time.wrapping_add(distance.cast_signed());
        let candle = self.bytes.len() - rest.len();
        self.at = candle + len as usize;
        Some(Row { time: self.time, at, candle, end: self.at })
    }
}

/// Makes a row and hands it out.
fn pushed(distance: i64, time: i64, candle: &Candle, take: impl FnOnce(&[u8])) {
    let mut packed = Vec::with_capacity(384);
    candle.pack(time, &mut packed);
    let mut row = Vec::with_capacity(packed.len() + 12);
    push_varint(distance.cast_unsigned(), &mut row);
    push_varint(packed.len() as u64, &mut row);
    row.extend_from_slice(&packed);
    take(&row);
}

fn push_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number at the beginning of a row, and what follows it. Rows are whole: they were written here.
#[inline]
fn varint(bytes: &[u8]) -> (u64, &[u8]) {
    let (mut value, mut at) = (0u64, 0);
    loop {
        let byte = bytes[at];
        value |= u64::from(byte & 0x7f) << (7 * at).min(63);
        at += 1;
        if byte & 0x80 == 0 {
            return (value, &bytes[at..]);
        }
    }
}

/// A row without the distance that it begins with.
fn after_distance(row: &[u8]) -> &[u8] {
    varint(row).1
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::LazyLock;

    use market_data::{Aggregator, Place};
    use proptest::prelude::*;

    use super::*;

    /// Candles of one trade each, to choose from: small ones, so that equal prices and orders meet.
    fn parts() -> &'static [Candle] {
        static PARTS: LazyLock<Vec<Candle>> = LazyLock::new(|| {
            let mut aggregator = Aggregator::new();
            let part = |number: i64| {
                let (price, clamp, offset) = (1 + number * 7 % 90, number % 3 == 0, number / 2);
                let value = format!(
                    r#"[{{"chain_id":"1","pair_addr":"p","type":"buy","total_usd":0.{price},"token_amount":2.5,
                    "token_price_usd":1.{price},"block_time":60,"clamp":{clamp}}}]"#
                );
                aggregator.add_message(Place { partition: 0, offset }, value.as_bytes()).unwrap();
                aggregator.take_deltas().candles[0].candle
            };
            (0..64).map(part).collect()
        });
        &PARTS
    }

    #[derive(Debug, Clone)]
    enum Step {
        Merge { slot: i64, part: usize },
        Empty { slot: i64 },
        DropBefore { slot: i64 },
        Rest,
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            20 => (0i64..400, 0usize..64).prop_map(|(slot, part)| Step::Merge { slot, part }),
            1 => (0i64..400).prop_map(|slot| Step::Empty { slot }),
            1 => (0i64..400).prop_map(|slot| Step::DropBefore { slot }),
            1 => Just(Step::Rest),
        ]
    }

    fn assert_same(run: &Run, model: &BTreeMap<i64, Candle>, from: i64, before: i64) {
        let before = before.max(from);
        let stored = |(time, candle): (&i64, &Candle)| StoredCandle { time: *time, candle: *candle };
        let wanted: Vec<StoredCandle> = model.range(from..before).map(stored).collect();
        let mut found = Vec::new();
        run.each(from, before, |time, candle| found.push(StoredCandle { time, candle: *candle }));
        assert_eq!(found, wanted);
        for limit in [0, 1, 3, 70, usize::MAX] {
            let latest = run.latest(from, before, limit);
            assert_eq!(latest, wanted[wanted.len().saturating_sub(limit)..], "{limit}");
        }
    }

    proptest! {
        #[test]
        fn a_run_is_the_plain_map_whatever_comes_when(
            steps in prop::collection::vec(step(), 1..400),
            mostly_in_order in any::<bool>(),
            span in (0i64..500, 0i64..500),
        ) {
            let (mut run, mut model) = (Run::default(), BTreeMap::<i64, Candle>::new());
            let mut now = 0;
            for step in steps {
                let mut time = |slot: i64| {
                    // Most parts are for the newest candle or the next one; some are late, as far as may be.
                    now += slot % 3;
                    60 * if mostly_in_order && slot % 7 != 0 { now } else { slot }
                };
                match step {
                    Step::Merge { slot, part } => {
                        let (time, part) = (time(slot), parts()[part]);
                        let whole = model.entry(time).or_insert(Candle::EMPTY);
                        whole.merge(&part);
                        prop_assert_eq!(run.merge(time, &part), *whole);
                    }
                    Step::Empty { slot } => {
                        let time = time(slot);
                        model.entry(time).or_insert(Candle::EMPTY);
                        run.merge(time, &Candle::EMPTY);
                    }
                    Step::DropBefore { slot } => {
                        model = model.split_off(&(slot * 60));
                        run.drop_before(slot * 60);
                    }
                    Step::Rest => run.rest(),
                }
                prop_assert_eq!(run.last(), model.last_key_value().map(|(time, candle)| (*time, *candle)));
                prop_assert_eq!(run.last_time(), model.keys().last().copied().unwrap_or(i64::MIN));
            }
            assert_same(&run, &model, i64::MIN, i64::MAX);
            assert_same(&run, &model, span.0 * 60, span.1 * 60);
            assert_same(&run, &model, span.0 * 60 + 1, i64::MAX);
        }
    }
}
