//! What one partition's log costs: `cargo run --release -p kohort-broker --example log_rates [FOLDER [MB]]`.
//!
//! Processor time is this thread's (`/proc/thread-self/schedstat`; elsewhere the clock), system calls included.

use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;
use kohort_broker::log::{AppendOptions, Log, LogConfig, Origin, ReadBuffers};
use kohort_protocol::records::{BatchBuilder, BatchOptions, Compressor};

type Failure = Box<dyn std::error::Error>;

const NOW_MS: i64 = 1_700_000_000_000;

fn main() -> Result<(), Failure> {
    let mut args = std::env::args().skip(1);
    let dir = args.next().map_or_else(|| std::env::temp_dir().join("kohort-log-rates"), PathBuf::from);
    let megabytes: usize = args.next().map_or(Ok(512), |mb| mb.parse())?;
    println!(
        "{:>6} {:>9} {:>10} {:>8} {:>12} {:>16}",
        "record", "batch", "what", "GB/s", "records/s", "CPU ms/M records"
    );
    for (record, per_batch) in [(100, 1), (100, 100), (100, 5000), (1000, 1), (1000, 500)] {
        rates(&dir, record, per_batch, megabytes)?;
    }
    Ok(())
}

fn rates(dir: &PathBuf, record: usize, per_batch: usize, megabytes: usize) -> Result<(), Failure> {
    let _ = std::fs::remove_dir_all(dir);
    let mut builder = BatchBuilder::new();
    let value = vec![b'v'; record];
    for _ in 0..per_batch {
        builder.append(NOW_MS, None, Some(&value), &[])?;
    }
    let batch = builder.finish(&BatchOptions::default(), &mut Compressor::new())?;
    let wanted = if per_batch == 1 { megabytes / 8 } else { megabytes } << 20;
    let batches = wanted / batch.len();
    let records = (batches * per_batch) as u64;
    let report = |what: &str, cost: (f64, f64), bytes: usize| {
        println!(
            "{record:>6} {:>9} {what:>10} {:>8.2} {:>12.0} {:>16.1}",
            batch.len(),
            bytes as f64 / cost.0 / 1e9,
            records as f64 / cost.0,
            cost.1 * 1e9 / records as f64
        );
    };

    let config = LogConfig { max_message_bytes: 1 << 30, ..LogConfig::default() };
    let (mut log, _) = Log::open(dir, config.clone(), NOW_MS)?;
    let options = AppendOptions { origin: Origin::Client, leader_epoch: 0 };
    let cost = timed(|| {
        for _ in 0..batches {
            log.append(batch.clone(), NOW_MS, &options)?;
        }
        Ok(())
    })?;
    report("append", cost, batches * batch.len());

    let buffers = ReadBuffers::new();
    let cost = timed(|| consume(&log, &buffers))?;
    report("read file", cost, batches * batch.len());

    let cost = timed(|| {
        for i in 0..batches as i64 {
            let tail = log.end_offset() - per_batch as i64 * (1 + i % 8);
            std::hint::black_box(log.read(tail, 1, true)?.load(&buffers)?);
        }
        Ok(())
    })?;
    report("read tail", cost, batches * batch.len());

    drop(log);
    let cost = timed(|| Log::open(dir, config.clone(), NOW_MS).map(drop).map_err(Failure::from))?;
    report("recover", cost, batches * batch.len());
    std::fs::remove_dir_all(dir)?;
    Ok(())
}

/// Everything from the start, a megabyte at a time; the pieces are looked at, not copied.
fn consume(log: &Log, buffers: &ReadBuffers) -> Result<(), Failure> {
    let mut from = log.start_offset();
    while from < log.end_offset() {
        let mut next = from;
        for bytes in log.read(from, 1 << 20, true)?.load(buffers)? {
            next = next_offset(&bytes)?;
        }
        from = next;
    }
    Ok(())
}

fn next_offset(bytes: &Bytes) -> Result<i64, Failure> {
    let mut next = 0;
    for batch in kohort_protocol::records::Batches::new(bytes) {
        next = batch?.header().next_offset();
    }
    Ok(next)
}

/// Seconds on the clock and on the processor.
fn timed(work: impl FnOnce() -> Result<(), Failure>) -> Result<(f64, f64), Failure> {
    let (begin, busy) = (Instant::now(), busy_seconds());
    work()?;
    let elapsed = begin.elapsed().as_secs_f64();
    let busy = match (busy, busy_seconds()) {
        (Some(before), Some(after)) => after - before,
        _ => elapsed,
    };
    Ok((elapsed, busy))
}

fn busy_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    Some(stat.split(' ').next()?.parse::<f64>().ok()? / 1e9)
}
