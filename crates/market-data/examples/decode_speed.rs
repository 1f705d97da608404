//! How many trades a second one core decodes and aggregates, beside serde alone.
//!
//! `cargo run --release -p market-data --example decode_speed -- FILE.jsonl.zst [SECONDS]`; the file as in `tests/data`. Messages
//! are made as the platform's producers make them, one for each block, slot or second. Rounds are interleaved; what counts is the
//! processor's time of one thread, so run it on an idle machine and trust the ratio.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use market_data::decode::Decoder;
use market_data::{Aggregator, Deltas, Place};

fn messages(file: &str) -> Vec<Vec<u8>> {
    let bytes = std::fs::read(file).unwrap_or_else(|error| panic!("{file}: {error}"));
    let text = zstd::decode_all(&bytes[..]).unwrap_or_else(|error| panic!("{file}: {error}"));
    let mut index: HashMap<String, usize> = HashMap::new();
    let mut messages: Vec<Vec<u8>> = Vec::new();
    for line in text.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        let trade: serde_json::Value = serde_json::from_slice(line).unwrap_or_default();
        let key = ["slot", "block_num", "block_time"].iter().find_map(|f| trade[f].as_i64()).unwrap_or(0);
        let at = *index.entry(format!("{}/{key}", trade["chain_id"])).or_insert_with(|| {
            messages.push(vec![b'[']);
            messages.len() - 1
        });
        if messages[at].len() > 1 {
            messages[at].push(b',');
        }
        messages[at].extend_from_slice(line);
    }
    messages.iter_mut().for_each(|message| message.push(b']'));
    messages
}

/// Runs for about `time` and says trades and seconds.
fn rounds(messages: &[Vec<u8>], time: Duration, mut each: impl FnMut(Place, &[u8]) -> u64) -> (u64, f64) {
    let start = Instant::now();
    let mut trades = 0;
    let mut offset = 0;
    while start.elapsed() < time {
        for message in messages {
            trades += each(Place { partition: 0, offset }, message);
            offset += 1;
        }
    }
    (trades, start.elapsed().as_secs_f64())
}

fn main() {
    let mut arguments = std::env::args().skip(1);
    let file = arguments
        .next()
        .unwrap_or_else(|| "crates/market-data/tests/data/dex_eth_univ3_20240105.jsonl.zst".into());
    let seconds: u64 = arguments.next().and_then(|s| s.parse().ok()).unwrap_or(1);
    let messages = messages(&file);
    let bytes: usize = messages.iter().map(Vec::len).sum();
    let mut total = [(0u64, 0f64); 3];
    for _ in 0..5 {
        let time = Duration::from_millis(seconds * 200);
        for (n, serde_only) in [false, true].into_iter().enumerate() {
            let mut decoder = if serde_only { Decoder::serde_only() } else { Decoder::default() };
            let (trades, took) = rounds(&messages, time, |place, value| {
                let mut count = 0;
                let outcome = decoder.decode(value, place, |_, element| {
                    std::hint::black_box(&element);
                    count += 1;
                });
                outcome.map_or(0, |()| count)
            });
            total[n] = (total[n].0 + trades, total[n].1 + took);
        }
        let mut aggregator = Aggregator::new();
        let (trades, took) = rounds(&messages, time, |place, value| {
            let counts = aggregator.add_message(place, value).map_or(0, |counts| counts.trades);
            if aggregator.waiting() > 10_000 {
                let mut deltas = Deltas::merge(vec![aggregator.take_deltas()]);
                deltas.roll_up();
                std::hint::black_box(&deltas);
            }
            counts
        });
        total[2] = (total[2].0 + trades, total[2].1 + took);
    }
    let per_message = total[0].0 as f64 / total[0].1;
    println!("{} messages, {bytes} bytes", messages.len());
    for (name, (trades, took)) in ["scanner", "serde", "scanner + aggregator + roll-up"].iter().zip(total) {
        let rate = trades as f64 / took;
        println!("{name:30} {:6.2} M trades/s  {:.2} x", rate / 1e6, rate / per_message);
    }
}
