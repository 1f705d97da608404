use super::*;
use kohort_protocol::records::{Batch, BatchError, BatchMut};

#[test]
fn offsets_run_on_and_only_the_header_is_rewritten() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, found) = open(&dir, LogConfig::default());
    assert_eq!((found.clean, found.segments, log.end_offset()), (false, 1, 0));
    let sent = batch(3);
    assert_eq!(append(&mut log, batch(2)).last_offset, 1);
    let info = log.append(sent.clone(), NOW, &AppendOptions { leader_epoch: 4, ..CLIENT }).expect("appends");
    assert_eq!(
        (info.base_offset, info.last_offset, info.log_append_time_ms, info.duplicate),
        (2, 4, None, false)
    );
    let read = log.read(2, 1 << 20, true).expect("in range").load_one(&ReadBuffers::new()).expect("reads");
    let mut expected = sent.to_vec();
    let mut changed = BatchMut::parse(&mut expected).expect("whole");
    changed.set_base_offset(2);
    changed.set_leader_epoch(4);
    assert_eq!(read, expected);
    assert_eq!(
        Batch::parse(&sent).expect("whole").header().base_offset,
        0,
        "what the caller holds stays as it is"
    );
    assert_eq!((log.latest_epoch(), log.epoch_end_offset(3)), (Some(4), Some((0, 2))));
}

#[test]
fn log_append_time_is_set_and_told() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, LogConfig { log_append_time: true, ..LogConfig::default() });
    let info = log.append(batch_with(1, 5, 7, &BatchOptions::default()), NOW, &CLIENT).expect("appends");
    assert_eq!(info.log_append_time_ms, Some(NOW));
    assert_eq!(log.max_timestamp().expect("reads").map(|found| found.timestamp), Some(NOW));
    offsets(&read_all(&log, 0, 1));
}

#[test]
fn what_a_client_may_not_append_is_refused_and_changes_nothing() {
    let dir = TempDir::new().expect("a folder");
    let compact = CleanupPolicy { delete: false, compact: true };
    let config = LogConfig { max_message_bytes: 1000, cleanup: compact, ..LogConfig::default() };
    let (mut log, _) = open(&dir, config);
    append(&mut log, batch(1));
    let edit = |at: usize, bytes: &[u8], mend: bool| {
        let mut batch = batch(2).to_vec();
        batch[at..at + bytes.len()].copy_from_slice(bytes);
        if mend {
            let crc = crc32c::crc32c(&batch[21..]);
            batch[17..21].copy_from_slice(&crc.to_be_bytes());
        }
        Bytes::from(batch)
    };
    let null_key = |codec| {
        let mut builder = BatchBuilder::new();
        builder.append(NOW, None, Some(b"v"), &[]).expect("fits");
        builder
            .finish(&BatchOptions { codec, ..BatchOptions::default() }, &mut Compressor::new())
            .expect("ok")
    };
    let future = NOW + 60 * 60 * 1000 + 1;
    let control = BatchOptions { control: true, ..BatchOptions::default() };
    let negative = BatchOptions { producer_id: 5, producer_epoch: 0, ..BatchOptions::default() };
    for (batches, code) in [
        (Bytes::new(), 87),
        (Bytes::from_static(b"garbage that is long enough to have a magic"), 2),
        ([batch(1), batch(1)].concat().into(), 87),
        (batch(2).slice(..80), 87),
        (edit(70, &[1], false), 2),
        (edit(57, &3_i32.to_be_bytes(), true), 87),
        (edit(23, &5_i32.to_be_bytes(), true), 87),
        (edit(0, &1_i64.to_be_bytes(), false), 87),
        (edit(16, &[1], false), 87),
        (edit(61, &[0x7f], true), 87),
        (edit(22, &[7], true), -1),
        (edit(22, &[3], true), -1),
        (batch_with(40, 30, NOW, &BatchOptions::default()), 10),
        (batch_with(1, 1, future, &BatchOptions::default()), 32),
        (batch_with(1, 1, NOW, &control), 87),
        (batch_with(1, 1, NOW, &negative), 87),
        (null_key(Codec::None), 87),
        (null_key(Codec::Zstd), 87),
    ] {
        let error = log.append(batches.clone(), NOW, &CLIENT).expect_err("refused");
        assert_eq!(error.code(), code, "{error:?} {batches:?}");
    }
    assert_eq!((log.end_offset(), log.bytes()), (1, batch(1).len() as u64));
    // The broker's own batches are trusted, and may be many.
    let own = AppendOptions { origin: Origin::Coordinator, ..CLIENT };
    let many: Bytes = [batch(1), null_key(Codec::None), batch(40)].concat().into();
    assert_eq!(log.append(many, NOW, &own).expect("appends").last_offset, 42);
    assert_eq!(offsets(&read_all(&log, 0, 1)), (0..43).collect::<Vec<_>>());
    let error = log.append(edit(70, &[1], false), NOW, &own).expect_err("refused");
    assert!(matches!(error, AppendError::Batch(BatchError::Crc { .. })));
}

#[test]
fn two_idempotent_producers_do_not_disturb_each_other() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, small());
    for i in 0..20 {
        for producer in [1, 2] {
            assert!(!append(&mut log, idempotent(producer, 0, i * 3, 3)).duplicate);
        }
    }
    let end = log.end_offset();
    let again = append(&mut log, idempotent(1, 0, 57, 3));
    assert_eq!((again.duplicate, again.base_offset, again.last_offset), (true, end - 6, end - 4));
    for (sequence, epoch, code) in [(60 + 1, 0, 45), (0, 0, 45), (60, 1, 45)] {
        let refused = log.append(idempotent(1, epoch, sequence, 3), NOW, &CLIENT).expect_err("refused");
        assert_eq!(refused.code(), code);
    }
    append(&mut log, idempotent(1, 1, 0, 1));
    assert_eq!(log.append(idempotent(1, 0, 60, 3), NOW, &CLIENT).expect_err("fenced").code(), 47);
    append(&mut log, idempotent(2, 0, 60, 1));
    assert_eq!(log.end_offset(), end + 2);
}

#[test]
fn a_full_disk_takes_nothing_and_leaves_the_log_usable() {
    for room in 0..2 * batch(2).len() as u64 {
        let dir = TempDir::new().expect("a folder");
        let (mut log, _) = open(&dir, on_disk());
        append(&mut log, batch(2));
        let before = read_all(&log, 0, 1 << 20);
        log.active.out.room = Some(room);
        let mut taken = 0;
        let error = loop {
            match log.append(idempotent(9, 0, taken, 1), NOW, &CLIENT) {
                Ok(_) => taken += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(error.code(), 56);
        assert_eq!(log.end_offset(), 2 + i64::from(taken));
        assert_eq!(log.active.out.file.metadata().expect("there").len(), log.bytes());
        assert!(read_all(&log, 0, 1 << 20).starts_with(&before));
        // Somebody makes room: the same batch is taken now, and was not remembered as seen.
        log.active.out.room = None;
        assert!(!append(&mut log, idempotent(9, 0, taken, 1)).duplicate);
        let all = read_all(&log, 0, 1 << 20);
        drop(log);
        let (log, found) = open(&dir, on_disk());
        assert_eq!((found.truncated_bytes, read_all(&log, 0, 1 << 20)), (0, all));
    }
}

#[test]
fn the_hook_hears_of_every_new_end_and_of_nothing_else() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, small());
    let heard = Arc::new(parking_lot::Mutex::new(Vec::new()));
    let ears = Arc::clone(&heard);
    log.set_hook(Box::new(move |end| ears.lock().push(end)));
    append(&mut log, idempotent(1, 0, 0, 2));
    append(&mut log, idempotent(1, 0, 0, 2));
    log.append(idempotent(1, 0, 9, 2), NOW, &CLIENT).expect_err("a gap");
    append(&mut log, batch(1));
    assert_eq!(*heard.lock(), [2, 3]);
}

#[test]
fn segments_close_by_size_and_by_age() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, LogConfig { segment_ms: 1000, ..small() });
    let one = batch(1).len() as u64;
    let fit = 2000 / one;
    (0..fit).for_each(|_| {
        append(&mut log, batch(1));
    });
    assert_eq!(log.segments(), 1);
    append(&mut log, batch(1));
    assert_eq!((log.segments(), log.active.base_offset), (2, fit as i64));
    log.append(batch_with(1, 20, NOW + 1000, &BatchOptions::default()), NOW, &CLIENT).expect("appends");
    assert_eq!(log.segments(), 2);
    log.append(batch_with(1, 20, NOW + 1001, &BatchOptions::default()), NOW, &CLIENT).expect("appends");
    assert_eq!(log.segments(), 3);
    let large = batch_with(1, 3000, NOW, &BatchOptions::default());
    assert_eq!(log.append(large, NOW, &CLIENT).expect_err("refused").code(), 18);
}

#[test]
fn flush_messages_raises_the_recovery_point() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) =
        open(&dir, LogConfig { flush_messages: Some(3), flush_ms: Some(1000), ..LogConfig::default() });
    append(&mut log, batch(2));
    assert_eq!(log.recovery_point, 0);
    append(&mut log, batch(1));
    assert_eq!(log.recovery_point, 3);
    append(&mut log, batch(1));
    assert!(log.flush_due(NOW + 999).is_none());
    let flush = log.flush_due(NOW + 1000).expect("due");
    flush.run().expect("flushes");
    log.flushed(&flush, NOW + 1000).expect("notes");
    assert_eq!(log.recovery_point, 4);
    assert!(log.flush_due(NOW + 5000).is_none());
}

#[test]
fn a_log_that_rests_holds_no_opened_batch() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, LogConfig::default());
    append(&mut log, idempotent(1, 0, 0, 3));
    assert!(log.decompressor.is_some());
    log.rest(NOW);
    assert!(log.decompressor.is_none());
    append(&mut log, idempotent(1, 0, 3, 3));
}
