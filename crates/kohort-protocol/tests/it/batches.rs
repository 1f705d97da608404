//! Round trips, and what happens to bytes that no writer made.

use bytes::BytesMut;
use kohort_protocol::records::*;
use proptest::prelude::*;

type OwnedHeader = (String, Option<Vec<u8>>);

#[derive(Clone, Debug)]
struct Owned {
    timestamp: i64,
    key: Option<Vec<u8>>,
    value: Option<Vec<u8>>,
    headers: Vec<OwnedHeader>,
}

fn payload(max: usize) -> impl Strategy<Value = Option<Vec<u8>>> {
    prop_oneof![
        1 => Just(None),
        4 => prop::collection::vec(any::<u8>(), 0..max).prop_map(Some),
        // Repetitive, and now and then longer than a snappy or an LZ4 block.
        2 => (any::<u8>(), 0..max * 40).prop_map(|(b, n)| Some(vec![b; n])),
    ]
}

fn record() -> impl Strategy<Value = Owned> {
    let headers = prop::collection::vec(("[a-z]{0,8}", payload(20)), 0..3);
    let timestamp = prop_oneof![Just(-1), 0..2_000_000_000_000_i64, Just(i64::MAX), Just(0)];
    (timestamp, payload(40), payload(3000), headers).prop_map(|(timestamp, key, value, headers)| Owned {
        timestamp,
        key,
        value,
        headers,
    })
}

fn codec() -> impl Strategy<Value = Codec> {
    prop::sample::select(&Codec::ALL[..])
}

fn append(builder: &mut BatchBuilder, record: &Owned) -> usize {
    let headers: Vec<Header<'_>> = record.headers.iter().map(|(k, v)| (k.as_str(), v.as_deref())).collect();
    let foreseen =
        builder.bytes_with(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers);
    let size = builder
        .append(record.timestamp, record.key.as_deref(), record.value.as_deref(), &headers)
        .expect("fits");
    assert_eq!(builder.bytes(), foreseen);
    size
}

fn same(record: &Record<'_>, owned: &Owned) {
    assert_eq!(record.timestamp, owned.timestamp);
    assert_eq!(record.key, owned.key.as_deref());
    assert_eq!(record.value, owned.value.as_deref());
    let headers: Vec<_> = record.headers.map(|(k, v)| (k.to_vec(), v.map(<[u8]>::to_vec))).collect();
    let expected: Vec<_> = owned.headers.iter().map(|(k, v)| (k.clone().into_bytes(), v.clone())).collect();
    assert_eq!(headers, expected);
}

/// Walks whatever `bytes` are; that it returns at all is what is tested.
fn walk(bytes: &[u8], decompressor: &mut Decompressor) -> usize {
    let mut count = 0;
    for batch in Batches::new(bytes) {
        let Ok(batch) = batch else { break };
        let _ = batch.check_crc();
        let Ok(records) = batch.records(decompressor) else { continue };
        for record in records {
            let Ok(record) = record else { break };
            count += 1 + record.headers.count();
        }
    }
    count
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn what_is_written_is_read_with_every_codec(
        batches in prop::collection::vec((codec(), prop::collection::vec(record(), 1..20)), 1..4)
    ) {
        let (mut builder, mut compressor, mut decompressor) =
            (BatchBuilder::new(), Compressor::new(), Decompressor::new());
        let mut buffer = BytesMut::new();
        let mut offset = 7;
        for (codec, records) in &batches {
            let sizes: usize = records.iter().map(|r| append(&mut builder, r)).sum();
            prop_assert_eq!(builder.bytes(), HEADER_BYTES + sizes);
            let options = BatchOptions { codec: *codec, base_offset: offset, producer_id: 5, producer_epoch: 1,
                base_sequence: 9, ..BatchOptions::default() };
            buffer.extend_from_slice(&builder.finish(&options, &mut compressor).expect("finishes"));
            prop_assert!(builder.is_empty());
            offset += records.len() as i64;
        }
        let mut expected = batches.iter().flat_map(|(_, records)| records);
        let mut next = 7;
        let mut walked = Batches::new(&buffer);
        for (batch, (codec, records)) in walked.by_ref().zip(&batches) {
            let batch = batch.expect("whole");
            batch.check_crc().expect("sound");
            let header = *batch.header();
            prop_assert_eq!(header.attributes.codec(), Ok(*codec));
            prop_assert_eq!(header.base_timestamp, records[0].timestamp);
            prop_assert_eq!(Some(header.max_timestamp), records.iter().map(|r| r.timestamp).max());
            prop_assert_eq!(header.last_sequence(), 9 + records.len() as i32 - 1);
            for record in batch.records(&mut decompressor).expect("opens") {
                let record = record.expect("record");
                prop_assert_eq!(record.offset, next);
                next += 1;
                same(&record, expected.next().expect("as many as were written"));
            }
            prop_assert_eq!(header.next_offset(), next);
        }
        prop_assert!(walked.next().is_none() && walked.rest().is_empty() && expected.next().is_none());
    }

    #[test]
    fn random_bytes_are_refused_and_nothing_panics(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut decompressor = Decompressor::with_limit(1 << 20);
        walk(&bytes, &mut decompressor);
        for codec in Codec::ALL {
            let _ = decompressor.decompress(codec, &bytes);
        }
        let header = BatchHeader { base_offset: 0, length: 0, leader_epoch: 0, crc: 0, attributes: Attributes(0),
            last_offset_delta: 0, base_timestamp: 0, max_timestamp: 0, producer_id: -1, producer_epoch: -1,
            base_sequence: -1, record_count: i32::MAX };
        let records = Records::new(&header, &bytes);
        prop_assert!(records.size_hint().1 <= Some(bytes.len() / 7 + 1));
        prop_assert!(records.last().is_some_and(|last| last.is_err()));
    }

    #[test]
    fn a_batch_with_bytes_changed_never_panics_and_fails_its_checksum(
        codec in codec(), records in prop::collection::vec(record(), 1..6),
        at in any::<prop::sample::Index>(), byte in any::<u8>(), more in any::<[u8; 4]>(),
    ) {
        let mut builder = BatchBuilder::new();
        records.iter().for_each(|r| { append(&mut builder, r); });
        let options = BatchOptions { codec, ..BatchOptions::default() };
        let batch = builder.finish(&options, &mut Compressor::new()).expect("finishes");
        let mut bytes = batch.to_vec();
        let at = at.index(bytes.len());
        bytes[at] = byte;
        for (i, more) in more.into_iter().enumerate() {
            if let Some(place) = bytes.get_mut(at + 1 + i) { *place = more; }
        }
        walk(&bytes, &mut Decompressor::with_limit(1 << 20));
        // Length, offset, epoch and magic stand ahead of what the checksum covers.
        if at >= 21 && bytes != batch[..] {
            prop_assert!(Batch::parse(&bytes).is_ok_and(|b| b.check_crc().is_err()) || at < HEADER_BYTES);
        }
    }

    #[test]
    fn a_cut_batch_is_torn_wherever_the_cut_is(records in prop::collection::vec(record(), 1..4)) {
        let mut builder = BatchBuilder::new();
        records.iter().for_each(|r| { append(&mut builder, r); });
        let first = builder.finish(&BatchOptions::default(), &mut Compressor::new());
        let one = first.expect("finishes");
        let both = [&one[..], &one[..]].concat();
        for cut in one.len() + 1..both.len() {
            let mut batches = Batches::new(&both[..cut]);
            prop_assert!(batches.next().is_some_and(|b| b.is_ok()));
            match batches.next() {
                Some(Err(BatchError::Torn { have, need })) => {
                    prop_assert_eq!(have, cut - one.len());
                    prop_assert!(need == one.len() || (have < HEADER_BYTES && need == HEADER_BYTES));
                }
                other => prop_assert!(false, "{:?}", other),
            }
            prop_assert_eq!(batches.offset(), one.len());
            prop_assert!(batches.next().is_none());
        }
    }
}

fn one(codec: Codec, value: &[u8]) -> BytesMut {
    let mut builder = BatchBuilder::new();
    builder.append(5, Some(b"k"), Some(value), &[]).expect("fits");
    let options = BatchOptions { codec, ..BatchOptions::default() };
    BytesMut::from(builder.finish(&options, &mut Compressor::new()).expect("finishes"))
}

#[test]
fn a_broker_rewrites_offset_and_epoch_without_touching_the_checksum() {
    let mut bytes = one(Codec::None, b"v");
    let mut batch = BatchMut::parse(&mut bytes).expect("whole");
    batch.set_base_offset(1 << 40);
    batch.set_leader_epoch(3);
    let batch = Batch::parse(&bytes).expect("whole");
    batch.check_crc().expect("sound");
    assert_eq!((batch.header().base_offset, batch.header().leader_epoch), (1 << 40, 3));
}

#[test]
fn log_append_time_is_the_time_of_every_record() {
    let mut bytes = one(Codec::Zstd, b"v");
    BatchMut::parse(&mut bytes).expect("whole").set_log_append_time(777);
    let batch = Batch::parse(&bytes).expect("whole");
    batch.check_crc().expect("sound");
    let mut decompressor = Decompressor::new();
    let record = batch.records(&mut decompressor).expect("opens").next().expect("one").expect("record");
    assert_eq!((record.timestamp, record.value), (777, Some(&b"v"[..])));
}

#[test]
fn a_bomb_stops_at_the_limit_with_every_codec() {
    for codec in &Codec::ALL[1..] {
        let bytes = one(*codec, &vec![0; 4 << 20]);
        let batch = Batch::parse(&bytes).expect("whole");
        let mut small = Decompressor::with_limit(1 << 20);
        match batch.records(&mut small) {
            Err(RecordsError::Decompress(DecompressError::TooLarge { limit, .. })) => {
                assert_eq!(limit, 1 << 20)
            }
            other => panic!("{codec:?}: {other:?}"),
        }
        // The exact size is not too large, and a decompressor that refused goes on working.
        let exact = 1 + 4 + 1 + 1 + 1 + 1 + 4 + (4 << 20) + 1 + 1;
        assert_eq!(
            batch.records(&mut Decompressor::with_limit(exact)).expect("opens").count(),
            1,
            "{codec:?}"
        );
        assert!(batch.records(&mut Decompressor::with_limit(exact - 4)).is_err(), "{codec:?}");
        let bytes = one(*codec, &[1; 1000]);
        assert_eq!(Batch::parse(&bytes).expect("whole").records(&mut small).expect("opens").count(), 1);
    }
}

#[test]
fn raw_snappy_and_lz4_of_other_writers_are_read() {
    use std::io::Write;
    let body: Vec<u8> = (0..300_000_u32).flat_map(|i| (i % 977 * i).to_le_bytes()).collect();
    let mut decompressor = Decompressor::new();
    let raw = snap::raw::Encoder::new().compress_vec(&body).expect("compresses");
    assert_eq!(decompressor.decompress(Codec::Snappy, &raw).expect("opens"), body);
    use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};
    for mode in [BlockMode::Independent, BlockMode::Linked] {
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max4MB] {
            for checksums in [false, true] {
                let info = FrameInfo::new()
                    .block_mode(mode)
                    .block_size(size)
                    .block_checksums(checksums)
                    .content_checksum(checksums)
                    .content_size(checksums.then_some(body.len() as u64));
                let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
                encoder.write_all(&body).expect("writes");
                let frame = encoder.finish().expect("finishes");
                assert_eq!(decompressor.decompress(Codec::Lz4, &frame).expect("opens"), body);
                assert!(decompressor.decompress(Codec::Lz4, &frame[..frame.len() - 1]).is_err());
                let two = [&frame[..], &frame[..]].concat();
                assert_eq!(decompressor.decompress(Codec::Lz4, &two).expect("opens").len(), 2 * body.len());
            }
        }
    }
}

#[test]
fn what_we_compress_is_what_the_libraries_read() {
    use std::io::Read;
    let body: Vec<u8> = (0..300_000_u32).flat_map(|i| (i % 977 * i).to_le_bytes()).collect();
    let mut compressor = Compressor::new();
    let mut pack = |codec| {
        let mut out = BytesMut::new();
        compressor.compress(codec, &body, &mut out).expect("compresses");
        out
    };
    for _ in 0..2 {
        let mut read = Vec::new();
        lz4_flex::frame::FrameDecoder::new(&pack(Codec::Lz4)[..]).read_to_end(&mut read).expect("lz4");
        assert!(read == body);
        read.clear();
        flate2::read::GzDecoder::new(&pack(Codec::Gzip)[..]).read_to_end(&mut read).expect("gzip");
        assert!(read == body);
        assert!(zstd::bulk::decompress(&pack(Codec::Zstd), body.len()).expect("zstd") == body);
    }
}

#[test]
fn cut_compressed_bodies_are_errors() {
    let mut decompressor = Decompressor::new();
    for codec in &Codec::ALL[1..] {
        let bytes = one(*codec, &[7; 5000]);
        let payload = Batch::parse(&bytes).expect("whole").payload().to_vec();
        let whole = decompressor.decompress(*codec, &payload).expect("opens").len();
        for cut in 1..payload.len() {
            let opened = decompressor.decompress(*codec, &payload[..cut]);
            assert!(opened.is_err() || opened.is_ok_and(|b| b.len() < whole), "{codec:?} {cut}");
        }
    }
}

#[test]
fn sequences_start_again_at_zero_after_the_largest() {
    assert_eq!(next_sequence(5, 2), 7);
    assert_eq!(next_sequence(i32::MAX, 1), 0);
    assert_eq!(next_sequence(i32::MAX - 1, 3), 1);
}

#[test]
fn gaps_of_compaction_are_kept() {
    let mut builder = BatchBuilder::new();
    builder.append_at(2, 10, Some(b"a"), None, &[]).expect("fits");
    builder.append_at(9, 11, Some(b"b"), Some(b"1"), &[]).expect("fits");
    assert_eq!(builder.append_at(9, 11, None, None, &[]), Err(AppendError::Offset { delta: 9, last: 9 }));
    let options = BatchOptions { base_offset: 100, last_offset_delta: Some(11), ..BatchOptions::default() };
    let bytes = builder.finish(&options, &mut Compressor::new()).expect("finishes");
    let batch = Batch::parse(&bytes).expect("whole");
    assert_eq!((batch.header().last_offset(), batch.header().record_count), (111, 2));
    let mut decompressor = Decompressor::new();
    let offsets: Vec<i64> =
        batch.records(&mut decompressor).expect("opens").map(|r| r.expect("record").offset).collect();
    assert_eq!(offsets, [102, 109]);
}

#[test]
fn other_magics_and_short_lengths_are_refused() {
    let mut bytes = one(Codec::None, b"v");
    bytes[16] = 1;
    assert!(matches!(Batch::parse(&bytes), Err(BatchError::Magic(1))));
    bytes[16] = 2;
    bytes[8..12].copy_from_slice(&48_i32.to_be_bytes());
    assert!(matches!(Batch::parse(&bytes), Err(BatchError::Length(48))));
    bytes[8..12].copy_from_slice(&(-1_i32).to_be_bytes());
    assert!(matches!(Batch::parse(&bytes), Err(BatchError::Length(-1))));
    bytes[8..12].copy_from_slice(&i32::MAX.to_be_bytes());
    assert!(matches!(Batch::parse(&bytes), Err(BatchError::Torn { .. })));
}
