//! A store in memory with trades in it, and a server above it.

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::Path;

use candles::api::Readers;
use market::api::Api;
use market_data::reference::{self, Key, Row};
use market_data::{Aggregator, Deltas, Place};
use market_store::{CandleStore, Flush, MemoryStore};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

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
    pub(crate) address: SocketAddr,
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
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    Server { address, store }
}

impl Server {
    /// The status and the body of an answer.
    pub(crate) async fn text(&self, path: &str) -> (u16, String) {
        let mut socket = TcpStream::connect(self.address).await.unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        socket.read_to_string(&mut answer).await.unwrap();
        let status = answer.split(' ').nth(1).unwrap().parse().unwrap();
        let (_, body) = answer.split_once("\r\n\r\n").unwrap();
        (status, body.to_owned())
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        let (status, body) = self.text(path).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

/// A set of real trades in a store, and its reference: chains by their numbers, not their names.
pub(crate) fn set(name: &str) -> (MemoryStore, BTreeMap<Key, Row>) {
    let mut chains: HashMap<String, String> = HashMap::new();
    let mut index: HashMap<(String, i64), usize> = HashMap::new();
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for line in read(&format!("{name}.jsonl.zst")).lines() {
        let trade: Value = serde_json::from_str(line).unwrap();
        let chain_id = trade["chain_id"].as_str().unwrap().to_owned();
        chains.insert(trade["chain"].as_str().unwrap().to_owned(), chain_id.clone());
        let key = ["slot", "block_num", "block_time"].iter().find_map(|f| trade[f].as_i64()).unwrap();
        let at = *index.entry((chain_id, key)).or_insert_with(|| {
            messages.push(Vec::new());
            messages.len() - 1
        });
        let value = &mut messages[at];
        value.push(if value.is_empty() { b'[' } else { b',' });
        value.extend_from_slice(line.as_bytes());
    }
    let mut aggregator = Aggregator::new();
    for (offset, mut value) in (0..).zip(messages) {
        value.push(b']');
        aggregator.add_message(Place { partition: 0, offset }, &value).unwrap();
    }
    let store = MemoryStore::new();
    flush(&store, GROUP, aggregator.take_deltas());
    let reference = reference::read(&read(&format!("{name}.candles.csv.zst"))).unwrap();
    let numbered =
        |((chain, pair, interval, time), row)| ((chains[&chain].clone(), pair, interval, time), row);
    (store, reference.into_iter().map(numbered).collect())
}

fn read(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/market-data/tests/data").join(file);
    String::from_utf8(zstd::decode_all(&std::fs::read(path).unwrap()[..]).unwrap()).unwrap()
}
