//! Sets of real trades: `crates/market-data/tests/data`.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use market_data::PairKey;
use market_data::reference::{self, Key, Row};
use market_store::{CandleReader, Scan};
use serde_json::Value;

/// Keys and values, in the order of their slots.
pub type Messages = Vec<(String, Vec<u8>)>;

/// A set: its messages, its chains' names by their numbers, and the candles that they make.
#[derive(Debug)]
pub struct Set {
    /// A key and a value each, in the order of their slots.
    pub messages: Messages,
    /// The name of each chain, by its number.
    pub chains: HashMap<String, String>,
    /// The reference.
    pub reference: BTreeMap<Key, Row>,
}

impl Set {
    /// Reads the set of this name.
    pub fn read(name: &str) -> Set {
        let (messages, chains) = messages(name);
        let reference = reference::read(&text(&format!("{name}.candles.csv.zst"))).unwrap();
        Set { messages, chains, reference }
    }

    /// The messages, to be produced.
    pub fn messages(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.messages.iter().map(|(key, value)| (key.as_str(), value.as_slice()))
    }
}

/// A set's messages, keyed as the platform keys them: one for each slot, block or second of a chain. And the chains' names.
pub fn messages(name: &str) -> (Messages, HashMap<String, String>) {
    let (mut messages, mut chains): (Messages, _) = (Vec::new(), HashMap::new());
    let mut index = HashMap::new();
    for line in text(&format!("{name}.jsonl.zst")).lines() {
        let trade: Value = serde_json::from_str(line).unwrap();
        let chain_id = trade["chain_id"].as_str().unwrap();
        chains.insert(chain_id.to_owned(), trade["chain"].as_str().unwrap().to_owned());
        let key = ["slot", "block_num", "block_time"].iter().find_map(|f| trade[f].as_i64()).unwrap();
        let at = *index.entry((chain_id.to_owned(), key)).or_insert_with(|| {
            messages.push((key.to_string(), Vec::new()));
            messages.len() - 1
        });
        let value = &mut messages[at].1;
        value.push(if value.is_empty() { b'[' } else { b',' });
        value.extend_from_slice(line.as_bytes());
    }
    messages.iter_mut().for_each(|(_, value)| value.push(b']'));
    (messages, chains)
}

/// All candles that a reader has of a group, as rows of a reference.
pub fn rows(
    reader: &mut dyn CandleReader,
    group: &str,
    chains: &HashMap<String, String>,
) -> BTreeMap<Key, Row> {
    let mut rows = BTreeMap::new();
    let add = &mut |pair: &PairKey, interval, time, candle: &_| {
        let key = (chains[&pair.chain_id].clone(), pair.pair.clone(), interval, time);
        rows.insert(key, Row::of(candle).unwrap());
    };
    reader.scan(&Scan::all(group), add).unwrap();
    rows
}

/// A file of the sets, as it is.
pub fn file(name: &str) -> Vec<u8> {
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/market-data/tests/data");
    std::fs::read(data.join(name)).unwrap()
}

/// A compressed file of the sets, as text.
pub fn text(name: &str) -> String {
    String::from_utf8(zstd::decode_all(&file(name)[..]).unwrap()).unwrap()
}
