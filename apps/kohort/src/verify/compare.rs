//! The two sides of a comparison: the reference's candles and the store's.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use anyhow::Context;
use kohort_service::Complaint;
use market_data::reference::{self, Key, Row};
use market_store::{CandleStore, Scan, StoreError};
use serde::Deserialize;

fn open(path: &Path, what: &str) -> anyhow::Result<Box<dyn Read>> {
    let file = File::open(path).map_err(|e| {
        Complaint::new(format!("{what} cannot be read: {e}"))
            .at(path.display().to_string())
            .hint("name a file that exists")
    })?;
    if path.extension().is_some_and(|end| end == "zst") {
        return Ok(Box::new(zstd::Decoder::new(file).context("begin a zstd stream")?));
    }
    Ok(Box::new(file))
}

/// The reference's candles.
pub(super) fn read_reference(path: &Path) -> anyhow::Result<BTreeMap<Key, Row>> {
    let mut text = String::new();
    open(path, "the reference")?.read_to_string(&mut text).map_err(|e| {
        Complaint::new(format!("the reference cannot be read: {e}")).at(path.display().to_string())
    })?;
    let read = reference::read(&text);
    Ok(read.map_err(|e| {
        Complaint::new(format!("the reference is not one: {e}"))
            .at(path.display().to_string())
            .hint("it is a CSV with the columns that the error names")
    })?)
}

#[derive(Deserialize)]
struct Chain {
    #[serde(default)]
    chain: String,
    #[serde(default)]
    chain_id: String,
}

/// The names that the trades give their chains, by the chain's number: the reference has names, the candles have numbers. A number
/// without a name stands for itself.
pub(super) fn chain_names(trades: &Path) -> anyhow::Result<HashMap<String, String>> {
    let mut names = HashMap::new();
    for line in BufReader::new(open(trades, "the trade file")?).lines() {
        let line = line.context("read the trades")?;
        if let Ok(trade) = serde_json::from_str::<Chain>(&line)
            && !trade.chain.is_empty()
        {
            names.entry(trade.chain_id).or_insert(trade.chain);
        }
    }
    Ok(names)
}

/// Every candle that the store has of this group.
pub(super) fn stored(
    store: &dyn CandleStore,
    group: &str,
    chains: &HashMap<String, String>,
) -> Result<BTreeMap<Key, Row>, StoreError> {
    let mut rows = BTreeMap::new();
    let mut each = |pair: &market_data::PairKey, interval, time, candle: &market_data::Candle| {
        let chain = chains.get(&pair.chain_id).unwrap_or(&pair.chain_id).clone();
        if let Some(row) = Row::of(candle) {
            rows.insert((chain, pair.pair.clone(), interval, time), row);
        }
    };
    store.reader()?.scan(&Scan::all(group), &mut each)?;
    Ok(rows)
}
