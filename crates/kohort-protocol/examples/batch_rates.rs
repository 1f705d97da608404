//! How fast batches are made and read: `cargo run --release -p kohort-protocol --example batch_rates [FOLDER]`.
//!
//! With a folder, one segment file per codec is written there, for Kafka's `DumpLogSegments` to check.

use std::hint::black_box;
use std::time::Instant;

use kohort_protocol::records::{Batch, BatchBuilder, BatchOptions, Codec, Compressor, Decompressor};

const BATCH_BYTES: usize = 256 * 1024;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let folder = std::env::args().nth(1);
    println!("{:>6} {:>7} {:>14} {:>14} {:>8}", "bytes", "codec", "encode rec/s", "decode rec/s", "ratio");
    for size in [100, 1000] {
        for codec in Codec::ALL {
            let bytes = run(size, codec)?;
            if let (Some(folder), 100) = (&folder, size) {
                let path = std::path::Path::new(folder).join(codec.name());
                std::fs::create_dir_all(&path)?;
                std::fs::write(path.join("00000000000000000000.log"), bytes)?;
            }
        }
    }
    Ok(())
}

fn run(size: usize, codec: Codec) -> Result<bytes::Bytes, Box<dyn std::error::Error>> {
    let value: Vec<u8> = (0..size).map(|i| b"0123456789abcdef"[(i * 7919 + i * i / 3) % 16]).collect();
    let (mut builder, mut compressor) = (BatchBuilder::with_capacity(BATCH_BYTES), Compressor::new());
    let mut decompressor = Decompressor::new();
    let rounds = if codec == Codec::None { 1000 } else { 50 };
    let options = BatchOptions { codec, ..BatchOptions::default() };
    let (mut made, mut uncompressed, mut last) = (0_u64, 0, bytes::Bytes::new());
    let begin = Instant::now();
    for _ in 0..rounds {
        let mut i = 0_u32;
        while builder.bytes() + size + 30 < BATCH_BYTES {
            builder.append(1_700_000_000_000 + i64::from(i), Some(&i.to_be_bytes()), Some(&value), &[])?;
            i += 1;
        }
        made += u64::from(i);
        uncompressed = builder.bytes();
        last = builder.finish(&options, &mut compressor)?;
    }
    let encode = made as f64 / begin.elapsed().as_secs_f64();
    let begin = Instant::now();
    let mut read = 0_u64;
    for _ in 0..rounds {
        let batch = Batch::parse(black_box(&last))?;
        batch.check_crc()?;
        for record in batch.records(&mut decompressor)? {
            black_box(record?);
            read += 1;
        }
    }
    let decode = read as f64 / begin.elapsed().as_secs_f64();
    let ratio = uncompressed as f64 / last.len() as f64;
    println!("{size:>6} {:>7} {encode:>14.0} {decode:>14.0} {ratio:>8.1}", codec.name());
    Ok(last)
}
