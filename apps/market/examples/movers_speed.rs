//! How long movers take, and what they remember, with many active pairs in a store in memory.
//!
//! `cargo run --release -p market --example movers_speed -- [PAIRS] [TRADES A PAIR]`

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use market::movers::{Movers, WINDOWS};
use market_data::{Aggregator, Deltas, Place};
use market_store::{CandleStore, Flush, MemoryStore, Scan, Window};

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
    let (before, begun) = (memory(), Instant::now());
    fill(&store, pairs, trades)?;
    let filled = memory();
    let mut candles = 0u64;
    store.reader()?.scan(&Scan::all(GROUP), &mut |_, _, _, _| candles += 1)?;
    let each = (filled - before) / candles.max(1);
    println!(
        "{pairs} pairs of {trades} trades, {candles} candles: {} MiB, {each} bytes a candle; filled in {:.1} s",
        (filled - before) >> 20,
        begun.elapsed().as_secs_f64()
    );
    let (mut reader, mut movers) = (store.reader()?, Movers::new(&[GROUP.to_owned()]));
    // Each time a minute later, as on a page that stays open; the first finds the past too.
    for minute in 0..5 {
        let begun = Instant::now();
        let tables = movers.find(&mut *reader, END + minute * 60)?;
        let took = begun.elapsed().as_secs_f64() * 1e3;
        let found = WINDOWS.iter().zip(&tables).map(|((name, _), table)| format!("{name} {}", table.len()));
        let more = memory().saturating_sub(filled) >> 20;
        println!(
            "all windows: {took:.0} ms; movers {}; {more} MiB more",
            found.collect::<Vec<_>>().join(", ")
        );
    }
    let groups = [GROUP.to_owned()];
    for _ in 0..3 {
        let begun = Instant::now();
        let listed = reader.pairs(&groups, Window { start: END - DAY, end: END })?.len();
        println!("the list of {listed} pairs: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        let named = reader.names(&groups)?.len();
        println!("the names of {named} pairs: {:.0} ms", begun.elapsed().as_secs_f64() * 1e3);
        let begun = Instant::now();
        reader.newest_trade(&groups)?;
        println!("the newest trade: {:.2} ms", begun.elapsed().as_secs_f64() * 1e3);
    }
    held_up(&store, &groups)?;
    // Nobody trades for an hour, but for one pair: the others are packed whole.
    for _ in 0..pairs / 256 {
        store.clone().flush(&Flush {
            group: GROUP,
            advances: &[],
            deltas: &Default::default(),
            now: 3_600,
        })?;
    }
    let tables = movers.find(&mut *reader, END)?;
    println!(
        "at rest: {} MiB with {} movers of a day",
        memory().saturating_sub(before) >> 20,
        tables[6].len()
    );
    Ok(())
}

/// The longest that a flush takes while everything is read again and again.
fn held_up(store: &MemoryStore, groups: &[String]) -> Result<(), Box<dyn std::error::Error>> {
    let (mut reader, mut store, over) = (store.reader()?, store.clone(), AtomicBool::new(false));
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                // It cannot fail: it is in memory.
                let _ = reader.pairs(groups, Window { start: END - DAY, end: END });
            }
        });
        let mut took = Vec::new();
        let deltas = Deltas::default();
        for _ in 0..500 {
            let begun = Instant::now();
            let flushed = store.flush(&Flush { group: GROUP, advances: &[], deltas: &deltas, now: 0 });
            took.push(begun.elapsed());
            flushed.map_err(|error| error.to_string())?;
            std::thread::sleep(Duration::from_millis(2));
        }
        over.store(true, Ordering::Relaxed);
        took.sort_unstable();
        println!(
            "a flush of nothing beside the list: median {:.2?}, the longest of 500 {:.2?}",
            took[250], took[499]
        );
        Ok(())
    })
}
