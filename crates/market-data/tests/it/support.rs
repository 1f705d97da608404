//! Reading the sets, and making messages of them as the platform's producers do.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use market_data::reference::{self, Key, Row};
use market_data::{Aggregator, Deltas, Place};

pub(crate) const SETS: [&str; 5] = [
    "dex_eth_univ3_20240105",
    "dex_sol_slot_254170887",
    "dex_evm_blocks_mixed",
    "cex_bitstamp_btcusd_2011",
    "cex_binance_20240808",
];

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// A file that is not packed.
pub(crate) fn text(file: &str) -> String {
    std::fs::read_to_string(data().join(file)).unwrap()
}

fn read(file: &str) -> String {
    let bytes = std::fs::read(data().join(file)).unwrap();
    String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap()
}

/// A set: its messages in the order of the file, the names of its chains, and its reference.
pub(crate) struct Set {
    /// The key of each message (block, slot or second) and its value.
    pub(crate) messages: Vec<(i64, Vec<u8>)>,
    /// From chain number to chain name.
    pub(crate) chains: HashMap<String, String>,
    pub(crate) reference: BTreeMap<Key, Row>,
}

pub(crate) fn set(name: &str) -> Set {
    let mut chains = HashMap::new();
    let mut index: HashMap<(String, i64), usize> = HashMap::new();
    let mut messages: Vec<(i64, Vec<u8>)> = Vec::new();
    for line in read(&format!("{name}.jsonl.zst")).lines() {
        let trade: serde_json::Value = serde_json::from_str(line).unwrap();
        let chain_id = trade["chain_id"].as_str().unwrap().to_owned();
        chains.insert(chain_id.clone(), trade["chain"].as_str().unwrap().to_owned());
        let number = |field: &str| trade[field].as_i64().filter(|n| *n != 0);
        let key = number("slot").or(number("block_num")).or(number("block_time")).unwrap();
        let at = *index.entry((chain_id, key)).or_insert_with(|| {
            messages.push((key, vec![b'[']));
            messages.len() - 1
        });
        let value = &mut messages[at].1;
        if value.len() > 1 {
            value.push(b',');
        }
        value.extend_from_slice(line.as_bytes());
    }
    messages.iter_mut().for_each(|(_, value)| value.push(b']'));
    let reference = reference::read(&read(&format!("{name}.candles.csv.zst"))).unwrap();
    Set { messages, chains, reference }
}

impl Set {
    /// All candles of some deltas, as rows of the reference.
    pub(crate) fn rows(&self, mut deltas: Deltas) -> BTreeMap<Key, Row> {
        deltas.roll_up();
        let key = |d: &market_data::Delta| {
            let pair = &deltas.pairs[d.pair as usize].key;
            (self.chains[&pair.chain_id].clone(), pair.pair.clone(), d.interval, d.time)
        };
        deltas.candles.iter().map(|d| (key(d), Row::of(&d.candle).unwrap())).collect()
    }

    /// The place of each message in a topic with so many partitions, keyed as the platform keys it.
    pub(crate) fn places(&self, partitions: i32) -> Vec<Place> {
        let mut ends = vec![0i64; partitions as usize];
        self.messages
            .iter()
            .map(|(key, _)| {
                let partition = (key.wrapping_mul(0x9e37_79b9) >> 7).rem_euclid(i64::from(partitions)) as i32;
                let offset = ends[partition as usize];
                ends[partition as usize] += 1;
                Place { partition, offset }
            })
            .collect()
    }

    /// Everything through one aggregator.
    pub(crate) fn aggregate(&self) -> (Deltas, market_data::Counts) {
        let mut aggregator = Aggregator::new();
        let mut counts = market_data::Counts::default();
        for (place, (_, value)) in self.places(1).into_iter().zip(&self.messages) {
            counts.add(&aggregator.add_message(place, value).unwrap());
        }
        (aggregator.take_deltas(), counts)
    }
}
