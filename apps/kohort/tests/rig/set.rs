//! Real trades, and what an exact implementation makes of them.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use market_data::reference::{self, Key, Row};
use market_store::{CandleReader, Scan};

/// A day of three pools, 6,354 trades in 4,031 blocks.
const SET: &str = "../../crates/market-data/tests/data/dex_eth_univ3_20240105";

/// A set, read.
pub(crate) struct Set {
    /// A trade a line.
    pub(crate) lines: Vec<String>,
    /// The candles.
    pub(crate) reference: BTreeMap<Key, Row>,
    /// How many trades each known wallet has.
    pub(crate) wallets: BTreeMap<String, u64>,
}

impl Set {
    pub(crate) fn read() -> Set {
        let wallets: serde_json::Value =
            serde_json::from_slice(&std::fs::read(file("expected.json")).unwrap()).unwrap();
        let wallets = wallets["per_address"].as_object().unwrap().iter();
        Set {
            lines: unpacked("jsonl.zst").lines().map(str::to_owned).collect(),
            reference: reference::read(&unpacked("candles.csv.zst")).unwrap(),
            wallets: wallets.map(|(of, has)| (of.clone(), has["trades"].as_u64().unwrap())).collect(),
        }
    }
}

/// The set's file of this ending.
pub(crate) fn file(ending: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("{SET}.{ending}"))
}

fn unpacked(ending: &str) -> String {
    let bytes = std::fs::read(file(ending)).unwrap();
    String::from_utf8(zstd::decode_all(&bytes[..]).unwrap()).unwrap()
}

/// The block that a trade stands in, as its line has it.
pub(crate) fn block(line: &str) -> &str {
    line.split("\"block_num\":").nth(1).and_then(|rest| rest.split(',').next()).expect("a trade of a block")
}

/// So many parts, cut where a new block begins, so that a block stays one message.
pub(crate) fn parts(lines: &[String], count: usize) -> Vec<&[String]> {
    let mut parts = Vec::new();
    let mut from = 0;
    for part in 1..=count {
        let near = lines.len() * part / count;
        let to =
            (near..lines.len()).find(|i| block(&lines[*i]) != block(&lines[*i - 1])).unwrap_or(lines.len());
        parts.push(&lines[from..to]);
        from = to;
    }
    parts
}

/// All candles of a group, under the names of the reference.
pub(crate) fn candles(reader: &mut dyn CandleReader, group: &str) -> BTreeMap<Key, Row> {
    let chains = HashMap::from([("1", "eth")]);
    let mut rows = BTreeMap::new();
    reader
        .scan(&Scan::all(group), &mut |pair, interval, time, candle| {
            let key = (chains[pair.chain_id.as_str()].to_owned(), pair.pair.clone(), interval, time);
            rows.insert(key, Row::of(candle).unwrap());
        })
        .unwrap();
    rows
}
