//! Batches that Apache Kafka's and librdkafka's producers made; `tests/fixtures/README.md` says how.

use kohort_protocol::records::{Batches, Codec, Decompressor, NO_PRODUCER_ID};

macro_rules! fixtures {
    ($who:literal: $($codec:literal),+) => {
        [$((
            Codec::from_name($codec).expect("a codec"),
            &include_bytes!(concat!("../fixtures/", $who, "-", $codec, ".batch"))[..],
        )),+]
    };
}

#[test]
fn batches_of_librdkafka_are_read_to_the_last_header() {
    let mut decompressor = Decompressor::new();
    for (codec, bytes) in fixtures!("librdkafka": "none", "gzip", "snappy", "lz4", "zstd") {
        let mut next = 0_i64;
        for batch in Batches::new(bytes) {
            let batch = batch.expect("a whole batch");
            batch.check_crc().expect("a sound batch");
            assert_eq!(batch.header().attributes.codec(), Ok(codec));
            assert_eq!(batch.header().has_producer_id(), codec != Codec::None);
            for record in batch.records(&mut decompressor).expect("opens") {
                let record = record.expect("a record");
                let i = next;
                next += 1;
                assert_eq!((record.offset, record.timestamp), (i, 1_700_000_000_000 + i * 1000));
                let key = (i != 3).then(|| format!("key-{i}"));
                assert_eq!(record.key, key.as_ref().map(String::as_bytes));
                let value = match i {
                    5 => None,
                    6 => Some(String::new()),
                    _ => Some(format!("value-{i} ").repeat(i as usize + 1)),
                };
                assert_eq!(record.value, value.as_ref().map(String::as_bytes));
                let trace = format!("t{i}");
                let headers: Vec<_> = record.headers.collect();
                if i % 4 == 0 {
                    let expected: [(&[u8], Option<&[u8]>); 3] =
                        [(b"trace", Some(trace.as_bytes())), (b"empty", Some(b"")), (b"null", None)];
                    assert_eq!(headers, expected);
                    assert_eq!(record.headers.last_value("null"), Some(None));
                } else {
                    assert!(headers.is_empty());
                }
            }
        }
        assert_eq!(next, 20, "{codec:?}");
    }
}

#[test]
fn batches_of_java_with_many_blocks_are_read() {
    let mut decompressor = Decompressor::new();
    for (codec, bytes) in fixtures!("java": "gzip", "snappy", "lz4", "zstd") {
        let batches: Vec<_> = Batches::new(bytes).collect::<Result<_, _>>().expect("whole batches");
        let [batch] = batches[..] else { panic!("one batch, not {}", batches.len()) };
        batch.check_crc().expect("a sound batch");
        let header = batch.header();
        assert_eq!((header.attributes.codec(), header.record_count), (Ok(codec), 1200));
        assert!(
            header.producer_id > NO_PRODUCER_ID
                && header.base_sequence == 0
                && header.last_sequence() == 1199
        );
        let records: Vec<_> =
            batch.records(&mut decompressor).expect("opens").collect::<Result<_, _>>().expect("records");
        assert_eq!(records.len(), 1200);
        for (i, record) in records.iter().enumerate() {
            assert_eq!(record.offset, i as i64);
            assert_eq!(record.key, Some(format!("key-{i}").as_bytes()));
            let value = format!("value-{i} ") + &format!("{} ", i * 7919 % 10007).repeat(20);
            assert_eq!(record.value, Some(value.as_bytes()));
        }
    }
}
