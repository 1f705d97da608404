//! How long movers take, and what they remember, with many active pairs in a store in memory.
//!
//! `cargo run --release -p market --example movers_speed -- [PAIRS] [TRADES A PAIR]`

use std::time::Instant;

use market::movers::{Movers, WINDOWS};
use market_data::{Aggregator, Place};
use market_store::{CandleStore, Flush, MemoryStore, Window};

const GROUP: &str = "movers";
const DAY: i64 = 86_400;
const END: i64 = 19_723 * DAY + 13 * 3_600 + 37 * 60;

/// Bytes that the process has in memory.
fn memory() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// Trades of all pairs at random times of the 25 hours before the end.
fn fill(store: &MemoryStore, pairs: u64, trades: u64) -> Result<(), Box<dyn std::error::Error>> {
    let mut seed = 1u64;
    let mut next = |below: u64| {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 33) % below
    };
    let mut aggregator = Aggregator::new();
    for pair in 0..pairs {
        for _ in 0..trades {
            let (time, price) = (END - 1 - next(25 * 3_600).cast_signed(), 1 + next(100_000));
            let value = format!(
                r#"[{{"chain_id":"1","pair_addr":"0x88e6a0c2ddd26feeb64f039a2c41296f{pair:08x}","type":"buy","total_usd":12.5,
                "token_amount":2,"token_price_usd":0.0{price},"block_time":{time}}}]"#
            );
            let place = Place { partition: 0, offset: time };
            aggregator.add_message(place, value.as_bytes()).map_err(|error| error.to_string())?;
        }
        if pair % 1_000 == 999 || pair + 1 == pairs {
            let mut deltas = aggregator.take_deltas();
            deltas.roll_up();
            store.clone().flush(&Flush { group: GROUP, advances: &[], deltas: &deltas, now: 0 })?;
        }
    }
    Ok(())
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let mut number = |default| arguments.next().map_or(Ok(default), |text| text.parse::<u64>());
    let (pairs, trades) = (number(100_000)?, number(4)?);
    let store = MemoryStore::new();
    let before = memory();
    fill(&store, pairs, trades)?;
    let filled = memory();
    println!("{pairs} pairs of {trades} trades: the store has {} MiB", (filled - before) >> 20);
    let (mut reader, mut movers) = (store.reader()?, Movers::new(&[GROUP.to_owned()]));
    for (window, (name, _)) in WINDOWS.iter().enumerate().rev() {
        let mut took = Vec::new();
        let mut found = 0;
        // Each time a minute later, as on a page that stays open.
        for minute in 0..4 {
            let begun = Instant::now();
            found = movers.find(&mut *reader, window, END + minute * 60)?.len();
            took.push(format!("{:.0}", begun.elapsed().as_secs_f64() * 1e3));
        }
        let more = memory().saturating_sub(filled) >> 20;
        println!(
            "{name:>4}: {found:>6} movers, {} ms (the first finds the past too); {more} MiB more",
            took.join(", ")
        );
    }
    let begun = Instant::now();
    let listed = reader.pairs(&[GROUP.to_owned()], Window { start: END - DAY, end: END })?.len();
    println!("the list of {listed} pairs: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
    Ok(())
}
