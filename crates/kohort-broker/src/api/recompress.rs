//! `compression.type` of a topic: a batch in another codec than the topic's is written anew, as Kafka's `LogValidator` does.
//!
//! A batch that cannot be read is left as it is: the log says what is wrong with it.

use std::cell::RefCell;

use bytes::Bytes;
use kohort_protocol::records::{Batch, BatchBuilder, BatchOptions, Codec, Compressor, Decompressor, Header};

use crate::broker::Shared;
use crate::catalog::Topic;
use crate::settings::{Setting, TOPIC};

thread_local! {
    static TOOLS: RefCell<(Decompressor, BatchBuilder, Compressor)> =
        RefCell::new((Decompressor::new(), BatchBuilder::new(), Compressor::new()));
}

/// The codec that a topic's batches must have; `None` if the producer chooses.
fn wanted(shared: &Shared, topic: &Topic) -> Option<Codec> {
    let setting = TOPIC.iter().find(|s: &&Setting| s.name == "compression.type")?;
    let now = shared.dynamic.now();
    Some(match now.settings.topic(&topic.configs, setting) {
        "uncompressed" => Codec::None,
        "gzip" => Codec::Gzip,
        "snappy" => Codec::Snappy,
        "lz4" => Codec::Lz4,
        "zstd" => Codec::Zstd,
        _ => return None,
    })
}

/// `records`, one batch of a client, in the topic's codec.
pub(super) fn recompress(shared: &Shared, topic: &Topic, records: Bytes) -> Bytes {
    match wanted(shared, topic) {
        Some(codec) => rewrite(&records, codec).unwrap_or(records),
        None => records,
    }
}

/// `None` where there is nothing to do, or nothing that can be done.
fn rewrite(records: &[u8], codec: Codec) -> Option<Bytes> {
    let batch = Batch::parse(records).ok()?;
    let header = batch.header();
    let attributes = header.attributes;
    if attributes.codec().ok()? == codec || attributes.is_control() || header.base_offset != 0 {
        return None;
    }
    batch.check_crc().ok()?;
    TOOLS.with_borrow_mut(|(decompressor, builder, compressor)| {
        builder.clear();
        let mut n = 0;
        for record in batch.records(decompressor).ok()? {
            let record = record.ok()?;
            let headers: Option<Vec<Header<'_>>> =
                record.headers.map(|(key, value)| Some((std::str::from_utf8(key).ok()?, value))).collect();
            let delta = i32::try_from(record.offset).ok()?;
            builder.append_at(delta, record.timestamp, record.key, record.value, &headers?).ok()?;
            n += 1;
        }
        if n != header.record_count || header.last_offset_delta != n - 1 {
            return None;
        }
        let options = BatchOptions {
            codec,
            producer_id: header.producer_id,
            producer_epoch: header.producer_epoch,
            base_sequence: header.base_sequence,
            transactional: attributes.is_transactional(),
            last_offset_delta: Some(header.last_offset_delta),
            ..BatchOptions::default()
        };
        builder.finish(&options, compressor).ok()
    })
}
