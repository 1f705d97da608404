//! A store in memory with trades in it, and a server above it.

use std::collections::{BTreeMap, HashMap};
use std::ops::Deref;

use candles::api::Readers;
use market::api::Api;
use market_data::reference::{self, Key, Row};
use market_data::{Aggregator, Deltas, Place};
use market_store::{CandleStore, Flush, MemoryStore};
use test_world::{Http, messages, text};

pub(crate) const GROUP: &str = "g";

/// A trade by hand: pair, time, price. Of 10 US dollars and 2 tokens, and a purchase.
pub(crate) type Trade<'a> = (&'a str, i64, &'a str);

/// The deltas of some trades, the first of them with this offset.
pub(crate) fn deltas(first: i64, trades: &[Trade<'_>]) -> Deltas {
    let mut aggregator = Aggregator::new();
    for (offset, (pair, time, price)) in (first..).zip(trades) {
        let value = format!(
            r#"[{{"chain_id":"1","pair_addr":"{pair}","type":"buy","total_usd":10,"token_amount":2,"token_price_usd":{price},
            "block_time":{time},"pair_info":{{"token_symbol":"T{pair}","base_token_symbol":"USDC"}}}}]"#
        );
        let counts = aggregator.add_message(Place { partition: 0, offset }, value.as_bytes()).unwrap();
        assert_eq!(counts.trades, 1);
    }
    aggregator.take_deltas()
}

pub(crate) fn flush(store: &MemoryStore, group: &str, mut deltas: Deltas) {
    deltas.roll_up();
    store.clone().flush(&Flush { group, advances: &[], deltas: &deltas, now: 0 }).unwrap();
}

pub(crate) struct Server {
    http: Http,
    pub(crate) store: MemoryStore,
}

/// A server whose store has these trades.
pub(crate) async fn server(trades: &[Trade<'_>]) -> Server {
    let store = MemoryStore::new();
    flush(&store, GROUP, deltas(0, trades));
    serve(store).await
}

pub(crate) async fn serve(store: MemoryStore) -> Server {
    let shared = store.clone();
    let readers = std::sync::Arc::new(Readers::new(move || shared.reader()));
    let router = Api::new(readers, vec!["of another topic".into(), GROUP.into()]).router();
    Server { http: Http::serve(router).await, store }
}

impl Deref for Server {
    type Target = Http;
    fn deref(&self) -> &Http {
        &self.http
    }
}

/// A set of real trades in a store, and its reference: chains by their numbers, not their names.
pub(crate) fn set(name: &str) -> (MemoryStore, BTreeMap<Key, Row>) {
    let (messages, chains) = messages(name);
    let mut aggregator = Aggregator::new();
    for (offset, (_, value)) in (0..).zip(messages) {
        aggregator.add_message(Place { partition: 0, offset }, &value).unwrap();
    }
    let store = MemoryStore::new();
    flush(&store, GROUP, aggregator.take_deltas());
    let chains: HashMap<String, String> = chains.into_iter().map(|(number, name)| (name, number)).collect();
    let reference = reference::read(&text(&format!("{name}.candles.csv.zst"))).unwrap();
    let numbered =
        |((chain, pair, interval, time), row)| ((chains[&chain].clone(), pair, interval, time), row);
    (store, reference.into_iter().map(numbered).collect())
}
