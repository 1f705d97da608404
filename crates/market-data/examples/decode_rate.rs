//! How fast messages are read: `cargo run --release -p market-data --example decode_rate FILE.jsonl.zst [ROUNDS]`.
//!
//! Trades of one second (or block) in a row make a message. The best of the rounds by the wall clock, so that
//! what else the machine does matters little.

use std::time::Instant;

use market_data::{Aggregator, Place};

fn key(line: &str) -> &str {
    let name = if line.contains("\"block_num\":") { "\"block_num\":" } else { "\"block_time\":" };
    let rest = line.split_once(name).map_or("", |(_, rest)| rest);
    rest.split_once(',').map_or(rest, |(value, _)| value)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let file = args.next().ok_or("name a file of trades, `.jsonl.zst`")?;
    let rounds: u32 = args.next().map_or(Ok(10), |n| n.parse())?;
    let text = String::from_utf8(zstd::decode_all(std::fs::File::open(file)?)?)?;
    let mut messages: Vec<String> = Vec::new();
    let (mut trades, mut last) = (0u64, "");
    for line in text.lines() {
        trades += 1;
        match messages.last_mut() {
            Some(message) if key(line) == last => message.push_str(&format!(",{line}")),
            _ => messages.push(format!("[{line}")),
        }
        last = key(line);
    }
    messages.iter_mut().for_each(|message| message.push(']'));
    let bytes: usize = messages.iter().map(String::len).sum();
    let mut best = [f64::MAX; 2];
    for _ in 0..rounds {
        let mut aggregator = Aggregator::new();
        let began = Instant::now();
        for (offset, message) in (0..).zip(&messages) {
            aggregator.read_message(Place { partition: 0, offset }, message.as_bytes())?;
        }
        let read = began.elapsed().as_secs_f64();
        let began = Instant::now();
        for (offset, message) in (0..).zip(&messages) {
            aggregator.add_message(Place { partition: 0, offset }, message.as_bytes())?;
        }
        let added = began.elapsed().as_secs_f64();
        best = [best[0].min(read), best[1].min(added)];
    }
    println!(
        "{trades} trades in {} messages, {:.0} bytes a trade: read {:.3} s per million ({:.2} GB/s), read and added {:.3}",
        messages.len(),
        bytes as f64 / trades as f64,
        best[0] * 1e6 / trades as f64,
        bytes as f64 / best[0] / 1e9,
        best[1] * 1e6 / trades as f64
    );
    Ok(())
}
