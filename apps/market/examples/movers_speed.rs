//! What many active pairs take in a store in memory, how long movers and lists take, and how long those wait who ask for them.
//!
//! `cargo run --release -p market --example movers_speed -- [PAIRS] [TRADES A PAIR]`

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use candles::api::Readers;
use market::api::Api;
use market::movers::{Movers, WINDOWS};
use market_data::{Aggregator, Deltas, Place};
use market_store::{CandleStore, Flush, MemoryStore, Scan, Window};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

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
        let watch = Watch::new();
        let tables = movers.find(&mut *reader, END + minute * 60)?;
        let took = watch.took();
        let found = WINDOWS.iter().zip(&tables).map(|((name, _), table)| format!("{name} {}", table.len()));
        println!("movers of all windows: {took}; {}", found.collect::<Vec<_>>().join(", "));
    }
    let groups = [GROUP.to_owned()];
    for _ in 0..3 {
        let watch = Watch::new();
        let listed = reader.pairs(&groups, Window { start: END - DAY, end: END })?.len();
        println!("the list of {listed} pairs: {}", watch.took());
        let watch = Watch::new();
        let named = reader.names(&groups)?.len();
        println!("the names of {named} pairs: {}", watch.took());
        let watch = Watch::new();
        reader.newest_trade(&groups)?;
        println!("the newest trade: {}", watch.took());
    }
    held_up(&store, &groups)?;
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(questions(store))
}

/// What a thread took, by the clock and in time of its processor.
struct Watch(Instant, u64);

impl Watch {
    fn new() -> Watch {
        Watch(Instant::now(), Watch::processor_ns())
    }

    fn processor_ns() -> u64 {
        let stat = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
        stat.split(' ').next().and_then(|ns| ns.parse().ok()).unwrap_or(0)
    }

    fn took(&self) -> String {
        let processor = (Watch::processor_ns() - self.1) as f64 / 1e6;
        format!("{:.1} ms ({processor:.1} ms of processor time)", self.0.elapsed().as_secs_f64() * 1e3)
    }
}

/// Asks Market's interface for ten seconds, as some open pages do, while trades are flushed.
async fn questions(store: MemoryStore) -> Result<(), Box<dyn std::error::Error>> {
    let shared = store.clone();
    let router = Api::new(Arc::new(Readers::new(move || shared.reader())), vec![GROUP.to_owned()]).router();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    tokio::spawn(async move { axum::serve(listener, router).await });
    let paths = ["/api/movers?window=24h", "/api/movers?window=5m", "/search?query=f7e", "/api/pairs"];
    let mut asking = tokio::task::JoinSet::new();
    for path in paths {
        asking.spawn(async move {
            let (mut took, mut first) = (Vec::new(), None);
            let until = Instant::now() + Duration::from_secs(10);
            while Instant::now() < until {
                let begun = Instant::now();
                let bytes = get(address, path).await.unwrap_or(0);
                took.push(begun.elapsed());
                first.get_or_insert((begun.elapsed(), bytes));
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
            (path, took, first)
        });
    }
    while let Some(asked) = asking.join_next().await {
        let (path, mut took, first) = asked?;
        took.remove(0);
        took.sort_unstable();
        let (median, slow, last) = (took[took.len() / 2], took[took.len() * 99 / 100], took[took.len() - 1]);
        println!(
            "{path}: first {first:.0?}, then {} times: median {median:.1?}, p99 {slow:.1?}, longest {last:.1?}",
            took.len()
        );
    }
    Ok(())
}

/// How many bytes an answer has.
async fn get(address: SocketAddr, path: &str) -> std::io::Result<usize> {
    let mut socket = tokio::net::TcpStream::connect(address).await?;
    socket.write_all(format!("GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").as_bytes()).await?;
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await
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
