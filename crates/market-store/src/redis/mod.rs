//! The cache in Redis, with the original's keys.
//!
//! **Layout.** A sorted set `kline:{chain_id}:{pair_addr}:{interval}` for each series and interval; the score is the candle's start, the
//! member the whole candle as JSON, exact, with the group that made it ([`member`](self) in `member.rs`). Two groups in one Redis
//! keep two whole copies side by side in one key, and a reader takes those of its group. What is a group's own has keys of its own:
//! `kohort:{group}:positions`, `:state`, `:series`.
//!
//! **One step.** A claim is a script, and a flush is a transaction (`MULTI` to `EXEC`): Redis runs each as a whole. The candles are merged
//! here, because Redis has floating-point numbers only; `WATCH` sees to it that nobody wrote the group since they were read
//! (`flush.rs`). A flush was a script too: two fifths of Redis' time went into making Lua's strings of the candles.
//!
//! **What a crash of Redis takes back.** A Redis that does not write each change to disk before it answers goes back in time when it
//! crashes: candles and positions together, so they still agree. Whoever claims next begins at the position, though the group
//! committed more meanwhile ([`CandleStore::may_go_back`]). With `appendonly yes` and `appendfsync always` nothing is taken back; anything weaker is said in
//! the log at each connection. Epochs are never given twice even then (`restarted.lua`).
//!
//! **What is kept.** [`Retention`] by the market's own time, with a mark for each series below which nothing is begun anew. A pair that
//! nobody trades any more never grows old that way; so its keys also have a time to live, by the clock, twice as long as the
//! longest retention (at least two days), and its record says after half of it that they do not count any more. Positions, states and
//! records have no time to live.
//!
//! **What it refuses.** Redis Cluster, which has no step over keys on different nodes; a Redis that throws keys away when its memory is
//! full.

mod flush;
mod keys;
mod link;
mod member;
mod publish;
mod query;
mod series;
mod wire;

use market_data::{Candle, Deltas};

pub use link::RedisAddress;

use self::flush::{Flusher, Settings};
use self::keys::GroupKeys;
use self::link::Link;
use self::wire::{Commands, Reply};
use crate::{
    Advance, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, Positions, Retention, StoreError,
    TopicPartition,
};

/// A store in Redis.
///
/// Making one connects to nothing: a Redis that is away delays the first call, and every call after it went away.
#[derive(Debug)]
pub struct RedisStore {
    link: Link,
    flusher: Flusher,
    settings: Settings,
}

impl RedisStore {
    /// A store at an address, with the original's retention, that publishes what changes.
    pub fn new(address: RedisAddress) -> RedisStore {
        RedisStore {
            link: Link::new(address, true),
            flusher: Flusher::default(),
            settings: Settings { retention: Retention::ORIGINAL, publish: true },
        }
    }

    /// Keeps candles for another time.
    #[must_use]
    pub fn retention(mut self, retention: Retention) -> RedisStore {
        self.settings.retention = retention;
        self
    }

    /// Whether changed candles are published on `kline:updates`.
    #[must_use]
    pub fn publish(mut self, publish: bool) -> RedisStore {
        self.settings.publish = publish;
        self
    }

    /// Connects, if it is not connected: what is wrong with the server shows, and what endangers the candles is said in the log.
    pub fn probe(&mut self) -> Result<(), StoreError> {
        let mut ping = Commands::default();
        ping.push(&[b"PING"]);
        self.link.ask(&ping).map(drop)
    }

    /// Whether the database has no key at all, ours or another's.
    pub fn is_empty(&mut self) -> Result<bool, StoreError> {
        let mut size = Commands::default();
        size.push(&[b"DBSIZE"]);
        Ok(self.link.ask(&size)?.into_iter().all(|reply| reply == Reply::Int(0)))
    }
}

impl Positions for RedisStore {
    fn claim(&mut self, group: &str, partitions: &[TopicPartition]) -> Result<Vec<Claim>, StoreError> {
        // A connection that was closed while nobody used it is found now, when asking again does no harm.
        self.probe()?;
        let names = GroupKeys::of(group);
        let mut args = vec![self.link.run()?];
        args.extend(partitions.iter().map(keys::partition_field));
        let reply = self.link.claim([&names.positions, &names.state], &args)?;
        let found = reply.array().map_err(|error| self.link.failure(error))?;
        let claim = |(partition, found): (&TopicPartition, Reply)| {
            let found = found.text().map_err(|error| self.link.failure(error))?;
            self.claimed(partition.clone(), &found)
        };
        partitions.iter().zip(found).map(claim).collect()
    }

    fn positions(&mut self, group: &str) -> Result<Vec<Claim>, StoreError> {
        let mut commands = Commands::default();
        commands.push(&[b"HGETALL", GroupKeys::of(group).positions.as_bytes()]);
        let mut claims = Vec::new();
        for reply in self.link.ask(&commands)? {
            let mut items =
                reply.array().map_err(|error| self.link.failure(error))?.into_iter().map(Reply::text);
            while let (Some(field), Some(found)) = (items.next(), items.next()) {
                let field = field.map_err(|error| self.link.failure(error))?;
                let found = found.map_err(|error| self.link.failure(error))?;
                let partition =
                    keys::partition_of(&field).ok_or_else(|| self.damaged("partition", &field))?;
                claims.push(self.claimed(partition, &found)?);
            }
        }
        claims.sort_by(|a, b| a.partition.cmp(&b.partition));
        Ok(claims)
    }

    fn advance(&mut self, group: &str, advances: &[Advance]) -> Result<(), FlushError> {
        self.flush(&Flush { group, advances, deltas: &Deltas::default(), now: 0 }).map(drop)
    }
}

impl RedisStore {
    fn claimed(&self, partition: TopicPartition, found: &str) -> Result<Claim, StoreError> {
        let (epoch, position) = keys::read_claimed(found).ok_or_else(|| self.damaged("position", found))?;
        Ok(Claim { partition, epoch, position })
    }

    fn damaged(&self, what: &'static str, value: &str) -> StoreError {
        StoreError::Damaged { store: self.link.address.to_string(), what, value: value.to_owned() }
    }
}

impl CandleStore for RedisStore {
    fn flush(&mut self, flush: &Flush<'_>) -> Result<Flushed, FlushError> {
        self.flusher.flush(&mut self.link, self.settings, flush)
    }

    /// Whatever its settings are: they can be changed while it runs.
    fn may_go_back(&self) -> Option<String> {
        Some(self.link.address.to_string())
    }

    fn reader(&self) -> Result<Box<dyn CandleReader>, StoreError> {
        Ok(Box::new(query::Reader::new(Link::new(self.link.address.clone(), false), self.settings.retention)))
    }
}

fn read_member(address: &RedisAddress, text: &[u8]) -> Result<(i64, Candle), StoreError> {
    member::read(text).ok_or_else(|| StoreError::Damaged {
        store: address.to_string(),
        what: "candle",
        value: String::from_utf8_lossy(text).into_owned(),
    })
}
