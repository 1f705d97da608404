//! One flush: what is not known is read, the parts are merged here, exactly, and one transaction writes.
//!
//! It writes only if nobody else has written the group since. A *version*, another after each flush, says so: it is read ahead of the
//! candles, and looked at again, with the positions, once both are watched (`WATCH`). Whoever changes one of them after that makes Redis
//! run nothing of the transaction. If somebody has, all is read again.
//!
//! What Redis has run of a transaction it does not take back when a command fails, so nothing in it may fail. Whether Redis may
//! write at all (memory, disk, replica) it checks itself ahead of the whole; that each key is what it should be is looked at beside the
//! watching. Sorted sets are not watched themselves, because others share them; who makes one into something else between the two
//! has destroyed its candles anyway.

use std::collections::{BTreeMap, HashMap};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::time::Duration;

use market_data::{Candle, Delta, Interval, PairKey};

use super::keys::{self, GroupKeys, candles_key, pair_field, partition_field};
use super::link::Link;
use super::series::Record;
use super::wire::{Commands, Reply, WireError};
use super::{member, publish};
use crate::retention::{Marks, Retention, place};
use crate::{Flush, FlushError, Flushed, StoreError};

/// Candles that are remembered between flushes, at most.
const REMEMBERED_MAX: usize = 100_000;
/// Series that are remembered between flushes, at most.
const SERIES_MAX: usize = 200_000;
/// How often a flush is tried while others write the same group.
const TRIES: u32 = 20;
/// The pause after a try that was overtaken is up to this.
const PAUSE: Duration = Duration::from_millis(20);
/// Commands that go out together at most, so that replies do not pile up.
const COMMANDS_MAX: usize = 2_000;
/// Fields of one `HMGET` or `HSET`, members of one `ZADD` or `ZREM`.
const FIELDS_MAX: usize = 1_000;
/// Removes what is too old.
const DROP: &str = include_str!("drop.lua");
/// Missing candles of one series are read with one command if no more than so many intervals lie between them.
const GAP_MAX: i64 = 8;

/// What a flush needs from one to the next. Nothing in it is the truth: Redis is.
#[derive(Debug, Default)]
pub(super) struct Flusher {
    groups: HashMap<String, Known>,
}

/// What is known of a group as of one version.
#[derive(Debug, Default)]
struct Known {
    version: Option<Vec<u8>>,
    newest: Option<i64>,
    numbers: HashMap<PairKey, u32, foldhash::fast::RandomState>,
    series: Vec<Series>,
    candles: HashMap<At, Remembered, foldhash::fast::RandomState>,
    flushes: u64,
}

/// Where a candle is: series, interval, start.
type At = (u32, Interval, i64);

#[derive(Debug)]
struct Series {
    field: String,
    record: Record,
}

#[derive(Debug)]
struct Remembered {
    candle: Candle,
    flush: u64,
}

/// How a try ended.
enum Tried {
    Done(Flushed),
    /// Somebody else wrote meanwhile.
    Moved,
}

/// The settings of a store.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) retention: Retention,
    pub(super) publish: bool,
}

impl Flusher {
    /// See [`crate::CandleStore::flush`].
    pub(super) fn flush(
        &mut self,
        link: &mut Link,
        settings: Settings,
        flush: &Flush<'_>,
    ) -> Result<Flushed, FlushError> {
        for _ in 0..TRIES {
            // What is learnt in a try that fails was never true: it comes back with success alone.
            let mut known = self.groups.remove(flush.group).unwrap_or_default();
            if let Tried::Done(flushed) = known.attempt(link, settings, flush)? {
                self.groups.insert(flush.group.to_owned(), known);
                return Ok(flushed);
            }
            let micros = u64::try_from(PAUSE.as_micros()).unwrap_or(u64::MAX);
            std::thread::sleep(Duration::from_micros(random() % micros));
        }
        let source = format!("other writers of group `{}` were quicker {TRIES} times", flush.group).into();
        Err(StoreError::Busy { store: link.address.to_string(), source }.into())
    }
}

impl Known {
    fn attempt(
        &mut self,
        link: &mut Link,
        settings: Settings,
        flush: &Flush<'_>,
    ) -> Result<Tried, FlushError> {
        let keys = GroupKeys::of(flush.group);
        let numbers = self.read_series(link, &keys, flush)?;
        let before: HashMap<u32, Marks> = self.mark(settings.retention, flush, &numbers);
        let ours = member::start(flush.group);
        let candles = self.read_candles(link, &ours, &before, flush, &numbers)?;
        let mut merged = Merged { candles: Vec::with_capacity(candles.len()), old: Vec::new(), expired: 0 };
        for (delta, stored) in flush.deltas.candles.iter().zip(candles) {
            merged.add(delta, stored);
        }
        self.note_last_trades(flush, &numbers, &merged.candles);
        let changes = self.changes(settings, flush, &numbers, &before, &merged);
        match self.watch(link, &keys, flush, &changes)? {
            Watched::Ready => {}
            Watched::Moved => return Ok(Tried::Moved),
            Watched::Fenced(error) => return Err(error),
        }
        let version = format!("{:016x}", random()).into_bytes();
        let mut commands =
            self.transaction(settings, &keys, flush, &before, &ours, &merged, &version, &changes);
        let last = commands.len() - 1;
        if settings.publish {
            commands.append(&publish::who_listens());
        }
        let mut replies = link.execute(&commands)?;
        let listeners = replies.split_off((last + 1).min(replies.len()));
        if !executed(replies).map_err(|error| link.failure(error))? {
            return Ok(Tried::Moved);
        }
        self.version = Some(version);
        if settings.publish && publish::somebody_listens(&listeners) {
            publish::publish(link, flush, &merged.candles);
        }
        self.remember(flush, &numbers, &merged.candles);
        Ok(Tried::Done(Flushed { candles: merged.candles, expired: merged.expired }))
    }

    /// The number of each pair of the flush, with what Redis says about those that are not known. Forgets everything if somebody
    /// else wrote since.
    fn read_series(
        &mut self,
        link: &mut Link,
        keys: &GroupKeys,
        flush: &Flush<'_>,
    ) -> Result<Vec<u32>, StoreError> {
        loop {
            let unknown: Vec<&PairKey> = flush
                .deltas
                .pairs
                .iter()
                .map(|pair| &pair.key)
                .filter(|key| !self.numbers.contains_key(*key))
                .collect();
            let fields: Vec<String> = unknown.iter().map(|key| pair_field(key)).collect();
            let mut commands = Commands::default();
            commands.push(&[b"HMGET", keys.state.as_bytes(), b"version", b"newest"]);
            for fields in fields.chunks(FIELDS_MAX) {
                commands.begin(2 + fields.len());
                commands.arg("HMGET");
                commands.arg(&keys.series);
                fields.iter().for_each(|field| commands.arg(field));
            }
            let mut replies = link.ask(&commands)?.into_iter();
            let read = |reply: Option<Reply>| reply.unwrap_or(Reply::Array(Vec::new())).array();
            let mut state = read(replies.next()).map_err(|e| link.failure(e))?.into_iter();
            let mut next = || state.next().map_or(Ok(None), Reply::bulk);
            let version = next().map_err(|e| link.failure(e))?.unwrap_or_default();
            let newest = next().map_err(|e| link.failure(e))?;
            if self.version.as_ref() != Some(&version) || self.series.len() > SERIES_MAX {
                let known_nothing = self.series.is_empty();
                *self = Known { version: Some(version), ..Known::default() };
                if !known_nothing {
                    continue;
                }
            }
            self.newest = newest.and_then(|text| std::str::from_utf8(&text).ok()?.parse().ok());
            let mut fields = fields.into_iter();
            for reply in replies {
                for record in reply.array().map_err(|e| link.failure(e))? {
                    let record = record.bulk().map_err(|e| link.failure(e))?;
                    let Some(field) = fields.next() else { break };
                    let record = match record {
                        None => Record::new(),
                        Some(text) => Record::read(&text).ok_or_else(|| StoreError::Damaged {
                            store: link.address.to_string(),
                            what: "record of a series",
                            value: String::from_utf8_lossy(&text).into_owned(),
                        })?,
                    };
                    self.series.push(Series { field, record });
                }
            }
            let first = self.series.len() - unknown.len();
            self.numbers.extend(unknown.into_iter().cloned().zip(first as u32..));
            return Ok(flush.deltas.pairs.iter().map(|pair| self.numbers[&pair.key]).collect());
        }
    }

    /// Moves the marks of retention on; gives them as they were before.
    fn mark(&mut self, retention: Retention, flush: &Flush<'_>, numbers: &[u32]) -> HashMap<u32, Marks> {
        let mut before = HashMap::with_capacity(numbers.len());
        for (number, pair) in numbers.iter().zip(&flush.deltas.pairs) {
            let record = &mut self.series[*number as usize].record;
            record.learn(pair.symbols.as_ref());
            before.insert(*number, record.marks());
            let marks = record.marks_at(retention, flush.now);
            record.set_marks(marks);
        }
        for delta in flush.deltas.candles.iter().filter(|delta| delta.interval == Interval::M1) {
            let record = &mut self.series[numbers[delta.pair as usize] as usize].record;
            let mut marks = record.marks();
            marks.see(retention, delta.time, flush.now);
            record.set_marks(marks);
        }
        before
    }

    /// For each delta the candle that is stored; [`Stored::Expired`] if it is older than what is kept.
    fn read_candles(
        &self,
        link: &mut Link,
        ours: &str,
        before: &HashMap<u32, Marks>,
        flush: &Flush<'_>,
        numbers: &[u32],
    ) -> Result<Vec<Stored>, StoreError> {
        let mut wanted: Vec<At> = Vec::new();
        let mut stored: Vec<Stored> = Vec::with_capacity(flush.deltas.candles.len());
        for delta in &flush.deltas.candles {
            let number = numbers[delta.pair as usize];
            let at = (number, delta.interval, delta.time);
            stored.push(if self.series[number as usize].record.marks().expired(delta.interval, delta.time) {
                Stored::Expired
            } else if let Some(known) = self.candles.get(&at) {
                Stored::There(known.candle)
            } else if before[&number].beyond(delta.interval, delta.time) {
                Stored::Absent
            } else {
                wanted.push(at);
                Stored::Wanted
            });
        }
        if wanted.is_empty() {
            return Ok(stored);
        }
        wanted.sort_unstable();
        let found = self.find(link, ours, &wanted)?;
        for (stored, delta) in stored.iter_mut().zip(&flush.deltas.candles) {
            if matches!(stored, Stored::Wanted) {
                let at = (numbers[delta.pair as usize], delta.interval, delta.time);
                *stored = found.get(&at).map_or(Stored::Absent, |candle| Stored::There(*candle));
            }
        }
        Ok(stored)
    }

    /// Reads candles, sorted by where they are.
    fn find(&self, link: &mut Link, ours: &str, wanted: &[At]) -> Result<HashMap<At, Candle>, StoreError> {
        let mut found = HashMap::with_capacity(wanted.len());
        let near = |a: &At, b: &At| (a.0, a.1) == (b.0, b.1) && b.2 - a.2 <= GAP_MAX * a.1.seconds();
        let spans: Vec<&[At]> = wanted.chunk_by(near).collect();
        let mut key = String::new();
        for spans in spans.chunks(COMMANDS_MAX) {
            let mut commands = Commands::default();
            for span in spans {
                let (Some((number, interval, first)), Some((.., last))) = (span.first(), span.last()) else {
                    continue;
                };
                candles_key(&self.series[*number as usize].field, *interval, &mut key);
                let bounds = [first.to_string(), last.to_string()];
                commands.push(&[
                    b"ZRANGEBYSCORE",
                    key.as_bytes(),
                    bounds[0].as_bytes(),
                    bounds[1].as_bytes(),
                ]);
            }
            for (span, reply) in spans.iter().zip(link.ask(&commands)?) {
                for text in reply.array().map_err(|e| link.failure(e))? {
                    let text = text.bulk().map_err(|e| link.failure(e))?.unwrap_or_default();
                    if text.starts_with(ours.as_bytes()) {
                        let (time, candle) = super::read_member(&link.address, &text)?;
                        found.insert((span[0].0, span[0].1, time), candle);
                    }
                }
            }
        }
        Ok(found)
    }

    /// Notes in each series, and in the group, when the last trade was.
    fn note_last_trades(&mut self, flush: &Flush<'_>, numbers: &[u32], candles: &[Candle]) {
        for (delta, candle) in flush.deltas.candles.iter().zip(candles) {
            let Some(prices) = candle.prices() else { continue };
            let record = &mut self.series[numbers[delta.pair as usize] as usize].record;
            if (delta.interval, delta.time) == record.last() {
                record.last_trade_at = prices.close_order.block_time;
                self.newest = self.newest.max(Some(record.last_trade_at));
            }
        }
    }

    /// What changes in each sorted set, and with which series' keys the time to live is renewed.
    fn changes(
        &mut self,
        settings: Settings,
        flush: &Flush<'_>,
        numbers: &[u32],
        before: &HashMap<u32, Marks>,
        merged: &Merged,
    ) -> BTreeMap<(u32, Interval), Change> {
        let mut changes: BTreeMap<(u32, Interval), Change> = BTreeMap::new();
        for (number, before) in before {
            let series = &mut self.series[*number as usize];
            let renew = series.record.touch(settings.retention, flush.now);
            for interval in Interval::ALL {
                let moved = before.newest > i64::MIN
                    && series.record.marks().since(interval) != before.since(interval);
                if moved || renew {
                    let change = changes.entry((*number, interval)).or_default();
                    change.renew = renew;
                    change.drop =
                        moved.then(|| (before.since(interval), series.record.marks().since[place(interval)]));
                }
            }
        }
        for (at, delta) in flush.deltas.candles.iter().enumerate() {
            if !merged.candles[at].is_empty() {
                changes.entry((numbers[delta.pair as usize], delta.interval)).or_default().deltas.push(at);
            }
        }
        changes
    }

    /// Watches the group's positions and state, and sees whether they are what the flush rests on, and each key what it should be.
    fn watch(
        &self,
        link: &mut Link,
        keys: &GroupKeys,
        flush: &Flush<'_>,
        changes: &BTreeMap<(u32, Interval), Change>,
    ) -> Result<Watched, StoreError> {
        let mut commands = Commands::default();
        // Of a try that ended here.
        commands.push(&[b"UNWATCH"]);
        commands.push(&[b"WATCH", keys.positions.as_bytes(), keys.state.as_bytes()]);
        commands.push(&[b"HMGET", keys.state.as_bytes(), b"run", b"version"]);
        commands.push(&[b"HLEN", keys.series.as_bytes()]);
        for advance in flush.advances {
            let field = partition_field(&advance.partition);
            commands.push(&[b"HGET", keys.positions.as_bytes(), field.as_bytes()]);
        }
        let mut key = String::new();
        for (number, interval) in changes.keys() {
            candles_key(&self.series[*number as usize].field, *interval, &mut key);
            commands.push(&[b"ZCARD", key.as_bytes()]);
        }
        let mut replies = link.ask(&commands)?.into_iter().skip(2);
        let failure = |error| link.failure(error);
        let state = replies.next().unwrap_or(Reply::Array(Vec::new())).array().map_err(failure)?;
        let mut state = state.into_iter().map(|reply| Ok(reply.bulk()?.unwrap_or_default()));
        let mut field = || state.next().unwrap_or(Ok(Vec::new())).map_err(failure);
        let (run, version) = (field()?, field()?);
        let ours = link.run()?;
        if run != ours.as_bytes() {
            // Another run of the server than the one of the claims: their epochs are no longer good (`restarted.lua`).
            link.claim([&keys.positions, &keys.state], &[ours])?;
            return Ok(Watched::Moved);
        }
        for (advance, found) in flush.advances.iter().zip(replies.skip(1)) {
            let found = found.text().map_err(|error| link.failure(error))?;
            let found = if found.is_empty() { "0 -" } else { found.as_str() };
            if found != keys::claimed(advance.epoch, advance.from) {
                let (found_epoch, found) = keys::read_claimed(found).unwrap_or_default();
                return Ok(Watched::Fenced(FlushError::Fenced {
                    partition: advance.partition.clone(),
                    epoch: advance.epoch,
                    from: advance.from,
                    found_epoch,
                    found,
                }));
            }
        }
        let same = self.version.as_deref().unwrap_or_default() == version;
        Ok(if same { Watched::Ready } else { Watched::Moved })
    }

    /// From `MULTI` to `EXEC`: positions, the version that the flush leaves, records of series, candles.
    #[expect(clippy::too_many_arguments, reason = "called at one place, which has them all")]
    fn transaction(
        &self,
        settings: Settings,
        keys: &GroupKeys,
        flush: &Flush<'_>,
        before: &HashMap<u32, Marks>,
        ours: &str,
        merged: &Merged,
        version: &[u8],
        changes: &BTreeMap<(u32, Interval), Change>,
    ) -> Commands {
        let mut commands = Commands::default();
        commands.push(&[b"MULTI"]);
        for advance in flush.advances {
            let field = partition_field(&advance.partition);
            let moved = keys::claimed(advance.epoch, Some(advance.to));
            commands.push(&[b"HSET", keys.positions.as_bytes(), field.as_bytes(), moved.as_bytes()]);
        }
        let newest = self.newest.unwrap_or(0).to_string();
        commands.push(&[b"HSET", keys.state.as_bytes(), b"version", version, b"newest", newest.as_bytes()]);
        let numbers: Vec<u32> = before.keys().copied().collect();
        for numbers in numbers.chunks(FIELDS_MAX) {
            commands.begin(2 + 2 * numbers.len());
            commands.arg("HSET");
            commands.arg(&keys.series);
            for number in numbers {
                let series = &self.series[*number as usize];
                commands.arg(&series.field);
                commands.arg(series.record.write());
            }
        }
        let time_to_live = settings.retention.rest().map_or(0, |rest| rest.saturating_mul(2)).to_string();
        let (mut key, mut text) = (String::new(), String::new());
        for ((number, interval), change) in changes {
            candles_key(&self.series[*number as usize].field, *interval, &mut key);
            change.write(&key, ours, flush, merged, &time_to_live, &mut commands, &mut text);
        }
        commands.push(&[b"EXEC"]);
        commands
    }

    fn remember(&mut self, flush: &Flush<'_>, numbers: &[u32], candles: &[Candle]) {
        self.flushes += 1;
        for (delta, candle) in
            flush.deltas.candles.iter().zip(candles).filter(|(_, candle)| !candle.is_empty())
        {
            let at = (numbers[delta.pair as usize], delta.interval, delta.time);
            self.candles.insert(at, Remembered { candle: *candle, flush: self.flushes });
        }
        // The latest flush's are those that the next one changes.
        if self.candles.len() > REMEMBERED_MAX {
            self.candles.retain(|_, known| known.flush == self.flushes);
        }
        if self.candles.len() > REMEMBERED_MAX {
            self.candles = HashMap::default();
        }
    }
}

/// What is stored where a delta belongs.
#[expect(clippy::large_enum_variant, reason = "lives between two steps of a flush; most are candles")]
enum Stored {
    There(Candle),
    Absent,
    Expired,
    Wanted,
}

/// The whole candles of a flush.
struct Merged {
    candles: Vec<Candle>,
    /// Which members go: the delta's place, and the candle as it was.
    old: Vec<Option<Box<Candle>>>,
    expired: u64,
}

impl Merged {
    fn add(&mut self, delta: &Delta, stored: Stored) {
        let (candle, old) = match stored {
            Stored::Expired => {
                self.expired += 1;
                (Candle::EMPTY, None)
            }
            Stored::Absent | Stored::Wanted => (delta.candle, None),
            Stored::There(old) => {
                let mut candle = old;
                candle.merge(&delta.candle);
                (candle, (candle != old).then(|| Box::new(old)))
            }
        };
        self.candles.push(candle);
        self.old.push(old);
    }
}

/// What changes in one sorted set.
#[derive(Default)]
struct Change {
    /// Ours from (everything, if not given) and below these starts are too old.
    drop: Option<(Option<i64>, i64)>,
    renew: bool,
    /// Places in the flush's deltas.
    deltas: Vec<usize>,
}

impl Change {
    #[expect(clippy::too_many_arguments, reason = "called at one place, which has them all")]
    fn write(
        &self,
        key: &str,
        ours: &str,
        flush: &Flush<'_>,
        merged: &Merged,
        time_to_live: &str,
        commands: &mut Commands,
        text: &mut String,
    ) {
        let time = |at: usize| flush.deltas.candles[at].time;
        if let Some((from, below)) = self.drop {
            let from = from.map_or_else(|| "-inf".to_owned(), |from| from.to_string());
            let below = below.to_string();
            let args = ["EVAL", DROP, "1", key, &from, &below, ours];
            commands.push(&args.map(str::as_bytes));
        }
        let old: Vec<(usize, &Candle)> =
            self.deltas.iter().filter_map(|at| Some((*at, merged.old[*at].as_deref()?))).collect();
        for old in old.chunks(FIELDS_MAX) {
            commands.begin(2 + old.len());
            commands.arg("ZREM");
            commands.arg(key);
            for (at, candle) in old {
                text.clear();
                member::write(ours, time(*at), candle, text);
                commands.arg(&*text);
            }
        }
        for deltas in self.deltas.chunks(FIELDS_MAX) {
            commands.begin(2 + 2 * deltas.len());
            commands.arg("ZADD");
            commands.arg(key);
            for at in deltas {
                text.clear();
                member::write(ours, time(*at), &merged.candles[*at], text);
                commands.arg(time(*at).to_string());
                commands.arg(&*text);
            }
        }
        if self.renew {
            commands.push(&[b"EXPIRE", key.as_bytes(), time_to_live.as_bytes()]);
        }
    }
}

/// What was found where a flush is about to write.
enum Watched {
    Ready,
    /// Somebody else wrote meanwhile.
    Moved,
    Fenced(FlushError),
}

/// Whether a transaction was run; `false` if what it watched had changed. The replies are those from `MULTI` to `EXEC`.
fn executed(mut replies: Vec<Reply>) -> Result<bool, WireError> {
    let executed = replies.pop();
    // One that is refused while Redis queues it says why; `EXEC` says then only that nothing was run.
    for reply in replies {
        if let Reply::Error(why) = reply {
            return Err(WireError::Refused(why));
        }
    }
    match executed {
        Some(Reply::Bulk(None)) => Ok(false),
        Some(Reply::Array(replies)) => {
            for reply in replies {
                if let Reply::Error(why) = reply {
                    return Err(WireError::Refused(why));
                }
            }
            Ok(true)
        }
        Some(Reply::Error(why)) => Err(WireError::Refused(why)),
        other => Err(WireError::Protocol(format!("`EXEC` was answered with `{other:?}`"))),
    }
}

fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transaction_was_run_or_not_or_could_not_be() {
        let ok = || Reply::Status("OK".to_owned());
        let queued = || Reply::Status("QUEUED".to_owned());
        let run = |last| executed(vec![ok(), queued(), last]);
        assert!(run(Reply::Array(vec![Reply::Int(1)])).unwrap());
        assert!(!run(Reply::Bulk(None)).unwrap());
        let refused = |text: &str| Reply::Error(text.to_owned());
        let why = executed(vec![ok(), refused("OOM full"), refused("EXECABORT")]).unwrap_err();
        assert!(why.to_string().contains("OOM full"), "{why}");
        let why = run(Reply::Array(vec![Reply::Int(1), refused("WRONGTYPE x")])).unwrap_err();
        assert!(why.to_string().contains("WRONGTYPE"), "{why}");
        assert!(matches!(run(ok()), Err(WireError::Protocol(_))));
        assert!(matches!(executed(Vec::new()), Err(WireError::Protocol(_))));
    }
}
