//! Small flushes to try a store with.

use market_data::{Aggregator, Candle, Deltas, Interval, PairKey, Place};
use market_store::{
    Advance, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, MySqlAddress, MySqlStore, Scan,
    TopicPartition,
};

use ::mysql::prelude::Queryable;
use ::mysql::{Conn, Opts};
use std::sync::atomic::{AtomicU32, Ordering};

pub(crate) const GROUP: &str = "candles";

pub(crate) fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("eth-trades", index)
}

/// Deltas of all intervals of some trades: (pair, time, price), each with a volume of 1 USD and 1 token.
pub(crate) fn deltas(trades: &[(&str, i64, &str)]) -> Deltas {
    let mut aggregator = Aggregator::new();
    for (offset, (pair, time, price)) in (0..).zip(trades) {
        let value = format!(
            r#"[{{"chain_id":"1","pair_addr":"{pair}","type":"buy","total_usd":1,"token_amount":1,"token_price_usd":{price},
            "block_time":{time},"block_num":{time},"pair_info":{{"token_symbol":"T{pair}","base_token_symbol":"USDC"}}}}]"#
        );
        let counts = aggregator.add_message(Place { partition: 0, offset }, value.as_bytes()).unwrap();
        assert_eq!(counts.trades, 1, "{counts:?}");
    }
    let mut deltas = aggregator.take_deltas();
    deltas.roll_up();
    deltas
}

pub(crate) fn advance(claim: &Claim, to: i64) -> Advance {
    Advance { partition: claim.partition.clone(), epoch: claim.epoch, from: claim.position, to }
}

pub(crate) fn flush(
    store: &mut dyn CandleStore,
    advances: &[Advance],
    deltas: &Deltas,
) -> Result<Flushed, FlushError> {
    flush_as(store, GROUP, advances, deltas)
}

pub(crate) fn flush_as(
    store: &mut dyn CandleStore,
    group: &str,
    advances: &[Advance],
    deltas: &Deltas,
) -> Result<Flushed, FlushError> {
    store.flush(&Flush { group, advances, deltas, now: 1_700_000_000 })
}

/// Every candle of a group, sorted.
pub(crate) fn dump(reader: &mut dyn CandleReader, group: &str) -> Vec<(PairKey, Interval, i64, Candle)> {
    let mut all = Vec::new();
    reader
        .scan(&Scan::all(group), &mut |pair, interval, time, candle| {
            all.push((pair.clone(), interval, time, *candle))
        })
        .unwrap();
    all.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    all
}

/// A database of its own on the server that `KOHORT_TEST_MYSQL` (a `mysql://` URL) names; gone with this value.
pub(crate) struct MySql {
    server: MySqlAddress,
    opts: Opts,
    login: Conn,
    name: String,
}

impl MySql {
    /// `None` without a server: what runs then is what needs none.
    pub(crate) fn new() -> Option<MySql> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let url = std::env::var("KOHORT_TEST_MYSQL").ok()?;
        let server = MySqlAddress::parse(&url).unwrap();
        let name = format!("kohort_test_{}_{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let opts = Opts::from_url(&url).unwrap();
        let mut login = Conn::new(opts.clone()).unwrap();
        login.query_drop(format!("CREATE DATABASE {name}")).unwrap();
        login.query_drop(format!("USE {name}")).unwrap();
        Some(MySql { server, opts, login, name })
    }

    /// For tests that are ignored where there is no server.
    pub(crate) fn required() -> MySql {
        MySql::new()
            .expect("KOHORT_TEST_MYSQL names no server: see tests/peers/mariadb and tests/peers/mysql")
    }

    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    pub(crate) fn port(&self) -> u16 {
        self.opts.get_tcp_port()
    }

    /// The same database through another port.
    pub(crate) fn address_at(&self, port: u16) -> MySqlAddress {
        let (user, pass) = (self.opts.get_user().unwrap_or(""), self.opts.get_pass().unwrap_or(""));
        MySqlAddress::parse(&format!("{user}:{pass}@tcp(127.0.0.1:{port})/{}", self.name)).unwrap()
    }

    /// Ends every other connection to the database.
    pub(crate) fn end_connections(&mut self) {
        let all =
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
        for id in self.login.query::<u64, _>(all).unwrap() {
            self.login.query_drop(format!("KILL CONNECTION {id}")).unwrap();
        }
    }

    pub(crate) fn address(&self) -> MySqlAddress {
        self.server.clone().with_database(&self.name)
    }

    pub(crate) fn store(&self) -> MySqlStore {
        MySqlStore::new(self.address())
    }

    /// A connection of a test's own to the database.
    pub(crate) fn login(&mut self) -> &mut Conn {
        &mut self.login
    }
}

impl Drop for MySql {
    fn drop(&mut self) {
        self.login.query_drop(format!("DROP DATABASE {}", self.name)).ok();
    }
}
