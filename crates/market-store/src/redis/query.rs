//! Reading: on a connection of its own, so that no query waits for a flush of this process.

use std::collections::HashMap;
use std::time::SystemTime;

use market_data::{Candle, Interval, PairKey};

use super::keys::{GroupKeys, candles_key, pair_field, pair_of};
use super::link::Link;
use super::member;
use super::series::Record;
use super::wire::{Commands, Reply};
use crate::retention::{Marks, Retention};
use crate::{
    CandleQuery, CandleReader, PairName, PairParts, Scan, StoreError, StoredCandle, Window, WindowSums,
};

/// Sorted sets that are asked for together.
const TOGETHER: usize = 256;
/// The first page of a query, in members.
const PAGE: usize = 128;

/// A store's reading side.
pub(super) struct Reader {
    link: Link,
    retention: Retention,
}

impl Reader {
    pub(super) fn new(link: Link, retention: Retention) -> Reader {
        Reader { link, retention }
    }

    /// The marks of a series as they are now.
    fn marks(&self, record: &Record) -> Marks {
        let now =
            SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |d| d.as_secs().cast_signed());
        record.marks_at(self.retention, now)
    }

    fn one(&mut self, args: &[&[u8]]) -> Result<Reply, StoreError> {
        let mut commands = Commands::default();
        commands.push(args);
        Ok(self.link.ask(&commands)?.into_iter().next().unwrap_or(Reply::Bulk(None)))
    }

    fn record(&self, text: &[u8]) -> Result<Record, StoreError> {
        Record::read(text).ok_or_else(|| StoreError::Damaged {
            store: self.link.address.to_string(),
            what: "record of a series",
            value: String::from_utf8_lossy(text).into_owned(),
        })
    }

    /// Of these groups, the one whose trade in this pair is the latest, with its record.
    fn latest<'a>(
        &mut self,
        groups: &'a [String],
        pair: &PairKey,
    ) -> Result<Option<(&'a str, Record)>, StoreError> {
        let field = pair_field(pair);
        let mut commands = Commands::default();
        for group in groups {
            commands.push(&[b"HGET", GroupKeys::of(group).series.as_bytes(), field.as_bytes()]);
        }
        let mut latest: Option<(&str, Record)> = None;
        for (group, reply) in groups.iter().zip(self.link.ask(&commands)?) {
            if let Some(text) = reply.bulk().map_err(|e| self.link.failure(e))? {
                let record = self.record(&text)?;
                if latest.as_ref().is_none_or(|(_, other)| other.last_trade_at <= record.last_trade_at) {
                    latest = Some((group, record));
                }
            }
        }
        Ok(latest)
    }

    /// Every series of a group. Asked for in parts, so that nobody else waits; one that comes while this is under way may be
    /// among them or not.
    fn series(&mut self, group: &str) -> Result<HashMap<String, Record>, StoreError> {
        let key = GroupKeys::of(group).series;
        let (mut series, mut cursor) = (HashMap::new(), "0".to_owned());
        loop {
            let reply = self.one(&[b"HSCAN", key.as_bytes(), cursor.as_bytes(), b"COUNT", b"1000"])?;
            let mut parts = reply.array().map_err(|e| self.link.failure(e))?.into_iter();
            let mut next = || parts.next().unwrap_or(Reply::Array(Vec::new()));
            cursor = next().text().map_err(|e| self.link.failure(e))?;
            let mut items = next().array().map_err(|e| self.link.failure(e))?.into_iter();
            while let (Some(field), Some(record)) = (items.next(), items.next()) {
                let field = field.text().map_err(|e| self.link.failure(e))?;
                let record = record.bulk().map_err(|e| self.link.failure(e))?.unwrap_or_default();
                series.insert(field, self.record(&record)?);
            }
            if cursor == "0" {
                return Ok(series);
            }
        }
    }

    /// Hands out the candles of these series that a group made, of each from a start on and before another.
    fn read(
        &mut self,
        group: &str,
        interval: Interval,
        spans: &[(&str, Option<i64>, Option<i64>)],
        each: &mut dyn FnMut(usize, i64, &Candle),
    ) -> Result<(), StoreError> {
        let ours = member::start(group);
        let mut key = String::new();
        for (part, spans) in spans.chunks(TOGETHER).enumerate() {
            let mut commands = Commands::default();
            for (field, from, before) in spans {
                let (from, before) = bounds(*from, *before);
                candles_key(field, interval, &mut key);
                commands.push(&[b"ZRANGEBYSCORE", key.as_bytes(), from.as_bytes(), before.as_bytes()]);
            }
            for (at, reply) in self.link.ask(&commands)?.into_iter().enumerate() {
                for text in reply.array().map_err(|e| self.link.failure(e))? {
                    let text = text.bulk().map_err(|e| self.link.failure(e))?.unwrap_or_default();
                    if text.starts_with(ours.as_bytes()) {
                        let (time, candle) = super::read_member(&self.link.address, &text)?;
                        each(part * TOGETHER + at, time, &candle);
                    }
                }
            }
        }
        Ok(())
    }
}

/// Scores as Redis wants them, the second one exclusive.
fn bounds(from: Option<i64>, before: Option<i64>) -> (String, String) {
    let from = from.map_or("-inf".to_owned(), |from| from.to_string());
    let before = before.map_or("+inf".to_owned(), |before| format!("({before}"));
    (from, before)
}

impl CandleReader for Reader {
    fn candles(&mut self, query: &CandleQuery<'_>) -> Result<Vec<StoredCandle>, StoreError> {
        let Some((group, _)) = self.latest(query.groups, query.pair)? else { return Ok(Vec::new()) };
        let ours = member::start(group);
        let mut key = String::new();
        candles_key(&pair_field(query.pair), query.interval, &mut key);
        let (from, mut before) = bounds(query.from, query.before);
        let mut found: Vec<StoredCandle> = Vec::new();
        // Other groups' candles lie between ours, so a page may give fewer than asked for. The next one begins at the start at which this
        // one ended, which may be seen twice: whatever is flushed meanwhile, no candle is passed over.
        let mut page = query.limit.clamp(1, PAGE);
        while found.len() < query.limit {
            let count = page.to_string();
            let reply = self.one(&[
                b"ZREVRANGEBYSCORE",
                key.as_bytes(),
                before.as_bytes(),
                from.as_bytes(),
                b"WITHSCORES",
                b"LIMIT",
                b"0",
                count.as_bytes(),
            ])?;
            let members = reply.array().map_err(|e| self.link.failure(e))?;
            let whole = members.len() < 2 * page;
            let mut last = before.clone();
            let mut members = members.into_iter();
            while let (Some(text), Some(score)) = (members.next(), members.next()) {
                last = score.text().map_err(|e| self.link.failure(e))?;
                let text = text.bulk().map_err(|e| self.link.failure(e))?.unwrap_or_default();
                if text.starts_with(ours.as_bytes()) {
                    let (time, candle) = super::read_member(&self.link.address, &text)?;
                    if found.last().is_none_or(|newer| time < newer.time) {
                        found.push(StoredCandle { time, candle });
                    }
                }
            }
            if whole {
                break;
            }
            before = last;
            page = page.saturating_mul(2);
        }
        found.truncate(query.limit);
        found.reverse();
        Ok(found)
    }

    fn kept_since(
        &mut self,
        group: &str,
        pair: &PairKey,
        interval: Interval,
    ) -> Result<Option<i64>, StoreError> {
        let groups = [group.to_owned()];
        let record = self.latest(&groups, pair)?;
        Ok(record.and_then(|(_, record)| self.marks(&record).since(interval)))
    }

    fn newest_trade(&mut self, groups: &[String]) -> Result<Option<i64>, StoreError> {
        let mut commands = Commands::default();
        for group in groups {
            commands.push(&[b"HGET", GroupKeys::of(group).state.as_bytes(), b"newest"]);
        }
        let mut newest = None;
        for reply in self.link.ask(&commands)? {
            if let Reply::Bulk(Some(_)) = reply {
                newest = newest.max(reply.text().map_err(|e| self.link.failure(e))?.parse().ok());
            }
        }
        Ok(newest)
    }

    fn names(&mut self, groups: &[String]) -> Result<Vec<PairName>, StoreError> {
        let mut names = Vec::new();
        for group in groups {
            for (field, record) in self.series(group)? {
                let (interval, time) = record.last();
                // One that rested until its keys were gone has no candle.
                if record.last_trade_at == 0 || self.marks(&record).expired(interval, time) {
                    continue;
                }
                names.extend(pair_of(&field).map(|pair| PairName {
                    pair,
                    token_symbol: record.token_symbol,
                    base_token_symbol: record.base_token_symbol,
                    last_trade_at: record.last_trade_at,
                }));
            }
        }
        Ok(names)
    }

    fn pair_parts(&mut self, groups: &[String], window: Window) -> Result<Vec<PairParts>, StoreError> {
        let earliest = window.start - (window.end - window.start);
        let mut parts: Vec<PairParts> = Vec::new();
        for group in groups {
            let series = self.series(group)?;
            let first = parts.len();
            for interval in [Interval::D1, Interval::M1] {
                let of_interval = series.iter().filter(|(_, record)| record.last().0 == interval);
                let wanted: Vec<(&str, &Record)> =
                    of_interval.map(|(field, record)| (field.as_str(), record)).collect();
                let mut last: Vec<Option<StoredCandle>> = vec![None; wanted.len()];
                let spans =
                    wanted.iter().map(|(field, record)| (*field, record.last().1, record.last().1 + 1));
                let spans: Vec<_> =
                    spans.map(|(field, from, before)| (field, Some(from), Some(before))).collect();
                self.read(group, interval, &spans, &mut |at, time, candle| {
                    last[at] = Some(StoredCandle { time, candle: *candle });
                })?;
                for ((field, record), last) in wanted.into_iter().zip(last) {
                    // Without it, the pair rested until its keys were gone.
                    let (Some(pair), Some(last_day)) = (pair_of(field), last) else { continue };
                    parts.push(PairParts {
                        group: group.clone(),
                        pair,
                        token_symbol: record.token_symbol.clone(),
                        base_token_symbol: record.base_token_symbol.clone(),
                        last_day,
                        sums: WindowSums::new(),
                        kept_since: self.marks(record).since(Interval::M15),
                    });
                }
            }
            // A pair that has rested since before the window has nothing in it, and need not be asked for.
            let traded = |parts: &PairParts| {
                parts.last_day.candle.prices().is_some_and(|prices| prices.close_order.block_time >= earliest)
            };
            let asked: Vec<usize> = (first..parts.len()).filter(|at| traded(&parts[*at])).collect();
            let fields: Vec<String> = asked.iter().map(|at| pair_field(&parts[*at].pair)).collect();
            let spans = fields.iter().map(|field| (field.as_str(), Some(earliest), Some(window.end)));
            self.read(group, Interval::M15, &spans.collect::<Vec<_>>(), &mut |at, time, candle| {
                parts[asked[at]].sums.add(window, time, candle);
            })?;
        }
        Ok(parts)
    }

    fn scan(
        &mut self,
        scan: &Scan<'_>,
        each: &mut dyn FnMut(&PairKey, Interval, i64, &Candle),
    ) -> Result<(), StoreError> {
        let series = self.series(scan.group)?;
        let fields: Vec<&str> = series.keys().map(String::as_str).collect();
        let pairs: Vec<PairKey> = fields.iter().filter_map(|field| pair_of(field)).collect();
        if pairs.len() != fields.len() {
            return Err(StoreError::Damaged {
                store: self.link.address.to_string(),
                what: "pair",
                value: fields
                    .into_iter()
                    .find(|field| pair_of(field).is_none())
                    .unwrap_or_default()
                    .to_owned(),
            });
        }
        let spans: Vec<_> = fields.into_iter().map(|field| (field, scan.from, scan.before)).collect();
        for interval in scan.intervals {
            self.read(scan.group, *interval, &spans, &mut |at, time, candle| {
                each(&pairs[at], *interval, time, candle);
            })?;
        }
        Ok(())
    }
}
