//! The log as its caller sees it, on a real disk.

mod append;
mod compaction;
mod props;
mod reading;
mod recovery;
mod retention;

use bytes::Bytes;
use kohort_protocol::records::{BatchBuilder, BatchOptions, Batches, Codec, Compressor, Decompressor};
use tempfile::TempDir;

use super::*;

pub(super) const NOW: i64 = 1_700_000_000_000;
pub(super) const CLIENT: AppendOptions = AppendOptions { origin: Origin::Client, leader_epoch: 0 };

/// A batch of `count` records with values of `bytes` bytes and the time `timestamp`.
pub(super) fn batch_with(count: usize, bytes: usize, timestamp: i64, options: &BatchOptions) -> Bytes {
    let mut builder = BatchBuilder::new();
    for i in 0..count {
        let value = vec![b'a' + (i % 26) as u8; bytes];
        builder.append(timestamp, Some(b"key"), Some(&value), &[]).expect("fits");
    }
    builder.finish(options, &mut Compressor::new()).expect("finishes")
}

pub(super) fn batch(count: usize) -> Bytes {
    batch_with(count, 20, NOW, &BatchOptions::default())
}

pub(super) fn idempotent(producer_id: i64, epoch: i16, sequence: i32, count: usize) -> Bytes {
    let options = BatchOptions {
        producer_id,
        producer_epoch: epoch,
        base_sequence: sequence,
        codec: Codec::Lz4,
        ..BatchOptions::default()
    };
    batch_with(count, 20, NOW, &options)
}

/// Segments of a few batches, an index entry for nearly each.
pub(super) fn small() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 100, ..LogConfig::default() }
}

/// As `small`, and nothing kept in memory: every read goes to the file.
pub(super) fn on_disk() -> LogConfig {
    LogConfig { recent_bytes_max: 0, ..small() }
}

pub(super) fn open(dir: &TempDir, config: LogConfig) -> (Log, Recovered) {
    Log::open(dir.path(), config, NOW).expect("opens")
}

pub(super) fn append(log: &mut Log, batches: Bytes) -> AppendInfo {
    log.append(batches, NOW, &CLIENT).expect("appends")
}

/// Offsets of all records that a read gives.
pub(super) fn offsets(bytes: &[u8]) -> Vec<i64> {
    let mut decompressor = Decompressor::new();
    let mut out = Vec::new();
    for batch in Batches::new(bytes) {
        let batch = batch.expect("whole batches only");
        batch.check_crc().expect("sound");
        out.extend(batch.records(&mut decompressor).expect("opens").map(|r| r.expect("record").offset));
    }
    out
}

/// Everything from `from` to the end, as a consumer would get it.
pub(super) fn read_all(log: &Log, mut from: i64, max_bytes: usize) -> Vec<u8> {
    let (buffers, mut out) = (ReadBuffers::new(), Vec::new());
    while from < log.end_offset() {
        let bytes = log.read(from, max_bytes, true).expect("in range").load_one(&buffers).expect("reads");
        let last = *offsets(&bytes).last().expect("a reader below the end gets at least one batch");
        assert!(last >= from, "a read moves on");
        out.extend_from_slice(&bytes);
        from = last + 1;
    }
    out
}
