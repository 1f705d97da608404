//! What must be there when all trades are read, and the comparison.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use market_data::Interval;
use market_data::reference::{Key, Row, compare};
use market_store::wallets::{MySqlWallets, SqliteWallets, WalletLog};
use market_store::{
    CandleReader, CandleStore, MySqlAddress, MySqlStore, RedisAddress, RedisStore, SqliteStore,
};
use serde_json::Value;

use crate::feed::address_in;
use crate::platform::{PARTITIONS, Platform, TOPIC, Which};
use crate::rig::{Random, candles};

/// A loaded machine is no failure; so long without any progress is one. A dispatcher that died is replaced after 15 s.
const PATIENCE: Duration = Duration::from_secs(120);
/// How many questions Market is asked about its candles.
const QUESTIONS: usize = 20;

impl Platform {
    /// Waits until everything is read and told, and compares all that the services have with what they must have.
    ///
    /// `sent` says how often the trades of each lot were sent.
    pub(crate) fn drained(mut self, sent: &[u64], random: &mut Random) {
        let wanted = self.wanted(sent);
        self.until("messages are read", |it| {
            let end = it.watch.end(TOPIC, PARTITIONS);
            let read = it.read();
            (end.is_some() && read.iter().all(|read| *read == end), format!("{read:?} of {end:?}"))
        });
        // What a store takes back is read again, though the group committed more: until it is there, candles are behind.
        self.until("candles are there", |it| {
            let differ = [Which::Dataflow, Which::Market].map(|which| it.differing(which, &wanted));
            (differ == [0, 0], format!("{differ:?} differ"))
        });
        self.assert_served(&wanted, random);
        let lots = sent.iter().filter(|times| **times > 0).count();
        let trades = self.assert_logged(lots as u64);
        self.until("notifications have come", |it| {
            let come = it.receiver.keys();
            (come >= trades.len(), format!("{come} of {}", trades.len()))
        });
        for service in &mut self.services {
            service.stop();
        }
        // Nothing came behind it, and what each was told is what it keeps.
        for which in [Which::Dataflow, Which::Market] {
            assert_eq!(self.differing(which, &wanted), 0, "{}", self.says);
        }
        assert_eq!(self.assert_logged(lots as u64), trades, "{}", self.says);
        let taken = self.receiver.taken();
        assert!(taken.keys().eq(&trades), "each trade is told, and nothing else: {}", self.says);
        let again: u32 = taken.values().map(|times| times - 1).sum();
        println!(
            "{}: {} days of trades; {} candles of Dataflow and of Market, 0 differ; {} trades logged, each once; {} told, \
             {again} of them again under their own key",
            self.says,
            sent.iter().sum::<u64>(),
            wanted.len(),
            trades.len(),
            taken.len(),
        );
    }

    /// The candles that must be there: of each lot the reference under its addresses, with sums and counts as often as it was sent.
    fn wanted(&self, sent: &[u64]) -> BTreeMap<Key, Row> {
        let mut wanted = BTreeMap::new();
        for (lot, times) in sent.iter().enumerate().filter(|(_, times)| **times > 0) {
            for ((chain, pair, interval, time), one) in &self.set.reference {
                let mut row = *one;
                for _ in 1..*times {
                    row.sums.iter_mut().zip(&one.sums).for_each(|(sum, more)| sum.add(more));
                    row.counts.iter_mut().zip(&one.counts).for_each(|(count, more)| *count += more);
                }
                wanted.insert((chain.clone(), address_in(lot, pair), *interval, *time), row);
            }
        }
        wanted
    }

    /// Waits for a condition, as long as there is progress towards it.
    fn until(&mut self, what: &str, mut look: impl FnMut(&mut Platform) -> (bool, String)) {
        let (mut last, mut since) = (String::new(), Instant::now());
        loop {
            let (done, at) = look(self);
            if done {
                return;
            }
            if at != last {
                (last, since) = (at, Instant::now());
            }
            self.assert_run();
            if since.elapsed() > PATIENCE {
                self.differ();
                panic!("{what}: {last}, and no more for {PATIENCE:?}: {}", self.says);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    fn reader(&self, which: Which) -> Box<dyn CandleReader> {
        let file = |name: &str| self.services[which as usize].data.join(name);
        match (&self.servers, which) {
            (None, Which::Market) => SqliteStore::open(&file("market.db")).unwrap().reader().unwrap(),
            (None, _) => SqliteStore::open(&file("candles.db")).unwrap().reader().unwrap(),
            (Some(servers), Which::Market) => {
                RedisStore::new(RedisAddress::new(servers.redis.address())).reader().unwrap()
            }
            (Some(servers), _) => {
                MySqlStore::new(MySqlAddress::parse(&servers.database).unwrap()).reader().unwrap()
            }
        }
    }

    /// How many candles of a service differ; it says which.
    fn differing(&mut self, which: Which, wanted: &BTreeMap<Key, Row>) -> usize {
        let compared = compare(wanted, &candles(&mut *self.reader(which), which.group()));
        let first = compared.differences.iter().take(3);
        self.differences[which as usize] = first.map(|one| format!("{}: {one:?}", which.name())).collect();
        compared.differing
    }

    /// Prints how the candles of the last comparison differed.
    fn differ(&self) {
        self.differences.iter().flatten().for_each(|one| println!("{one}"));
    }

    /// What Market answers about some of its candles has the reference's digits.
    fn assert_served(&self, wanted: &BTreeMap<Key, Row>, random: &mut Random) {
        let pairs: BTreeSet<&str> = wanted.keys().map(|(_, pair, _, _)| pair.as_str()).collect();
        let pairs: Vec<&str> = pairs.into_iter().collect();
        let (first, last) = wanted
            .keys()
            .map(|key| key.3)
            .fold((i64::MAX, i64::MIN), |(first, last), time| (first.min(time), last.max(time)));
        let mut bars = 0;
        for _ in 0..QUESTIONS {
            let (pair, interval) = (random.of(&pairs), random.of(&Interval::ALL));
            let from = first + i64::try_from(random.below(u64::try_from(last - first + 1).unwrap())).unwrap();
            let before = from + 1_000 * interval.seconds();
            let rows = wanted.iter().filter(|((_, of, kind, time), _)| {
                of == pair && *kind == interval && (from..before).contains(time)
            });
            let rows: Vec<Value> = rows.map(|((.., time), row)| bar(*time, interval, row)).collect();
            let served = self.ask(&format!(
                "/api/v3/klines?symbol=1:{pair}&interval={interval}&startTime={}&endTime={}&fill=false&limit=1000",
                from * 1000,
                before * 1000 - 1
            ));
            assert_eq!(served, Value::Array(rows.clone()), "{pair} {interval} from {from}: {}", self.says);
            bars += rows.len();
        }
        assert!(bars > 0, "the questions are about nothing: {}", self.says);
    }

    /// What Market answers.
    fn ask(&self, path: &str) -> Value {
        let address = self.services[Which::Market as usize].http();
        let mut stream = TcpStream::connect(&address).expect("Market is there");
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
        assert!(head.starts_with("HTTP/1.0 200"), "{path}: {answer}");
        serde_json::from_str(body).unwrap()
    }

    /// The log has what it must have, each trade once: the keys of what is told about them, sorted.
    fn assert_logged(&self, lots: u64) -> Vec<String> {
        let mut log: Box<dyn WalletLog> = match &self.servers {
            None => {
                let file = self.services[Which::SmartMoney as usize].data.join("smart_money.db");
                Box::new(SqliteWallets::open(&file).unwrap())
            }
            Some(servers) => Box::new(MySqlWallets::new(MySqlAddress::parse(&servers.database).unwrap())),
        };
        let all = log.logged(None, None, usize::MAX).unwrap();
        let mut keys: Vec<String> = all.iter().map(|logged| format!("trade|{}", logged.trade.id)).collect();
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), all.len(), "each trade is in the log once: {}", self.says);
        let mut counts: BTreeMap<String, u64> = BTreeMap::new();
        all.iter().for_each(|logged| *counts.entry(logged.trade.maker.to_string()).or_default() += 1);
        let wanted: BTreeMap<String, u64> =
            self.set.wallets.iter().map(|(wallet, trades)| (wallet.clone(), trades * lots)).collect();
        assert_eq!(counts, wanted, "trades of each wallet: {}", self.says);
        keys
    }
}

/// A bar as Binance writes it.
fn bar(time: i64, interval: Interval, row: &Row) -> Value {
    let [open, high, low, close] = row.prices.map(|price| price.to_string());
    let [usd, tokens] = row.sums.map(|sum| sum.to_string());
    let ends = (time + interval.seconds()) * 1000 - 1;
    serde_json::json!([time * 1000, open, high, low, close, tokens, ends, usd, row.counts[0], "0", "0", "0"])
}
