use super::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Step {
    Append { count: usize, bytes: usize, codec: Codec },
    Crash { torn: usize },
    Close,
    Flush,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..5_usize, 0..200_usize, prop::sample::select(&Codec::ALL[..]))
            .prop_map(|(count, bytes, codec)| Step::Append { count, bytes, codec }),
        2 => (0..300_usize).prop_map(|torn| Step::Crash { torn }),
        1 => Just(Step::Close),
        1 => Just(Step::Flush),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    /// Whatever happens in between, the log is the batches that were appended, with the offsets they were given. A crash
    /// may add the beginning of an append that was under way; that is gone afterwards.
    #[test]
    fn the_log_is_what_was_appended(
        steps in prop::collection::vec(step(), 1..60), on_disk in any::<bool>(), max_bytes in 0..2000_usize,
    ) {
        let config = if on_disk { super::on_disk() } else { small() };
        let dir = TempDir::new().expect("a folder");
        let (mut log, _) = open(&dir, config.clone());
        let (mut expected, mut sequence) = (Vec::new(), 0);
        for step in steps {
            match step {
                Step::Append { count, bytes, codec } => {
                    let options = BatchOptions { codec, producer_id: 3, producer_epoch: 0, base_sequence: sequence,
                        ..BatchOptions::default() };
                    let sent = batch_with(count, bytes, NOW, &options);
                    let base = log.end_offset();
                    let mut stored = sent.to_vec();
                    let mut header = kohort_protocol::records::BatchMut::parse(&mut stored).expect("whole");
                    header.set_base_offset(base);
                    header.set_leader_epoch(0);
                    let info = append(&mut log, sent.clone());
                    prop_assert_eq!((info.base_offset, info.last_offset), (base, base + count as i64 - 1));
                    prop_assert!(append(&mut log, sent).duplicate);
                    sequence += count as i32;
                    expected.extend(stored);
                }
                Step::Crash { torn } => {
                    // The next append, of which the process only wrote so many bytes before it died.
                    let mut next = batch(4).to_vec();
                    kohort_protocol::records::BatchMut::parse(&mut next).expect("whole")
                        .set_base_offset(log.end_offset());
                    let torn = torn % next.len();
                    log.active.out.write(&next[..torn]).expect("writes");
                    drop(log);
                    let (again, found) = open(&dir, config.clone());
                    prop_assert_eq!(found.truncated_bytes, torn as u64);
                    log = again;
                }
                Step::Close => {
                    log.close().expect("closes");
                    let (again, found) = open(&dir, config.clone());
                    prop_assert!(found.clean && found.segments_checked == 0);
                    log = again;
                }
                Step::Flush => if let Some(flush) = log.flush_due(NOW) {
                    flush.run().expect("flushes");
                    log.flushed(&flush, NOW).expect("notes");
                },
            }
            prop_assert_eq!(log.bytes(), expected.len() as u64);
        }
        prop_assert_eq!(read_all(&log, 0, max_bytes), expected);
    }
}
