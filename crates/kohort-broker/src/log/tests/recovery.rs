use std::fs::File;

use super::*;

fn crash_copy(from: &TempDir) -> TempDir {
    let to = TempDir::new().expect("a folder");
    for entry in std::fs::read_dir(from.path()).expect("reads") {
        let entry = entry.expect("reads");
        std::fs::copy(entry.path(), to.path().join(entry.file_name())).expect("copies");
    }
    to
}

#[test]
fn a_torn_tail_is_cut_at_every_byte_of_the_last_batch() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, LogConfig::default());
    append(&mut log, idempotent(1, 0, 0, 2));
    let kept = read_all(&log, 0, 1 << 20);
    append(&mut log, idempotent(1, 0, 2, 3));
    let whole = log.bytes();
    drop(log);
    for size in kept.len() as u64..whole {
        let torn = crash_copy(&dir);
        let path = files::path(torn.path(), 0, files::LOG);
        File::options().write(true).open(&path).expect("opens").set_len(size).expect("cuts");
        let (mut log, found) = open(&torn, LogConfig::default());
        assert_eq!((log.end_offset(), found.truncated_bytes), (2, size - kept.len() as u64));
        assert_eq!(read_all(&log, 0, 1 << 20), kept);
        assert_eq!(path.metadata().expect("there").len(), kept.len() as u64);
        // The batch that was torn was never acknowledged: it comes again and is new.
        let info = append(&mut log, idempotent(1, 0, 2, 3));
        assert_eq!((info.duplicate, info.base_offset), (false, 2));
        assert!(append(&mut log, idempotent(1, 0, 0, 2)).duplicate);
    }
}

#[test]
fn a_damaged_batch_and_all_behind_it_is_cut() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, small());
    (0..60).for_each(|_| {
        append(&mut log, batch(2));
    });
    let segments = log.segments();
    let second = log.sealed[1].base_offset;
    drop(log);
    let path = files::path(dir.path(), second, files::LOG);
    let mut bytes = std::fs::read(&path).expect("reads");
    let at = batch(2).len() * 3 + 80;
    bytes[at] ^= 1;
    std::fs::write(&path, bytes).expect("writes");
    let (log, found) = open(&dir, small());
    assert!(segments > 3 && found.segments == 2 && found.truncated_bytes > 0);
    assert_eq!(log.end_offset(), second + 6);
    assert_eq!(offsets(&read_all(&log, 0, 1 << 20)), (0..second + 6).collect::<Vec<_>>());
    drop(log);
    let (_, found) = open(&dir, small());
    assert_eq!(found.truncated_bytes, 0);
}

#[test]
fn a_clean_shutdown_checks_no_segment_and_a_reopened_log_is_equal() {
    for config in [small(), on_disk()] {
        let dir = TempDir::new().expect("a folder");
        let (mut log, _) = open(&dir, config.clone());
        for i in 0..40 {
            append(&mut log, idempotent(i64::from(i % 2), 0, i / 2 * 2, 2));
        }
        let (all, producers) = (read_all(&log, 0, 500), log.producers.clone());
        let (index, times) = (log.active.index.clone(), log.active.max_timestamp);
        log.close().expect("closes");
        let (log, found) = open(&dir, config.clone());
        assert!(found.clean && found.segments_checked == 0 && found.segments > 2, "{found:?}");
        assert_eq!((read_all(&log, 0, 500), &log.producers), (all.clone(), &producers));
        assert_eq!((&log.active.index, log.active.max_timestamp), (&index, times));
        drop(log);
        // Not closed this time: what was forced to disk before is still trusted.
        let (mut log, found) = open(&dir, config.clone());
        assert!(!found.clean && found.segments_checked == 1, "{found:?}");
        assert_eq!((read_all(&log, 0, 500), &log.active.index), (all, &index));
        assert!(append(&mut log, idempotent(1, 0, 38, 2)).duplicate);
    }
}

#[test]
fn a_mark_of_a_shutdown_that_is_not_the_last_is_not_believed() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, small());
    append(&mut log, batch(1));
    log.close().expect("closes");
    let mark = std::fs::read(dir.path().join(files::CLEAN)).expect("there");
    let (mut log, _) = open(&dir, small());
    append(&mut log, batch(1));
    drop(log);
    std::fs::write(dir.path().join(files::CLEAN), mark).expect("writes");
    let (log, found) = open(&dir, small());
    assert_eq!((found.clean, log.end_offset()), (false, 2));
}

#[test]
fn indexes_are_rebuilt_when_missing_or_damaged() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, on_disk());
    for i in 0..60 {
        append(&mut log, batch_with(2, 20, NOW + i, &BatchOptions::default()));
    }
    let all = read_all(&log, 0, 300);
    log.close().expect("closes");
    for damage in [None, Some(&b"12345"[..]), Some(&[0xff; 24][..]), Some(&[][..])] {
        for kind in [files::INDEX, files::TIME_INDEX] {
            for (offset, found) in files::list(dir.path()).expect("lists") {
                if found == kind {
                    let path = files::path(dir.path(), offset, kind);
                    std::fs::remove_file(&path).expect("removes");
                    if let Some(bytes) = damage {
                        std::fs::write(&path, bytes).expect("writes");
                    }
                }
            }
            let (log, found) = open(&dir, on_disk());
            assert_eq!(found.truncated_bytes, 0);
            assert_eq!(read_all(&log, 0, 300), all);
            assert_eq!(log.offset_for_timestamp(NOW + 33).expect("reads").map(|f| f.offset), Some(66));
            log.close().expect("closes");
        }
    }
}

#[test]
fn producer_states_come_back_from_the_snapshot_or_else_from_the_log() {
    for (remove, damage) in [(false, false), (true, false), (false, true)] {
        let dir = TempDir::new().expect("a folder");
        let (mut log, _) = open(&dir, small());
        (0..60).for_each(|i| {
            append(&mut log, idempotent(i64::from(i % 3), 0, i / 3, 1));
        });
        let flush = log.flush_due(NOW).expect("closed segments");
        flush.run().expect("flushes");
        log.flushed(&flush, NOW).expect("notes");
        let expected = log.producers.clone();
        assert!(log.segments() > 2);
        drop(log);
        for (offset, kind) in files::list(dir.path()).expect("lists") {
            let path = files::path(dir.path(), offset, &kind);
            if kind == files::SNAPSHOT && remove {
                std::fs::remove_file(path).expect("removes");
            } else if kind == files::SNAPSHOT && damage {
                std::fs::write(path, b"x").expect("writes");
            }
        }
        let (log, found) = open(&dir, small());
        assert_eq!((log.producers.clone(), found.segments_checked), (expected, 1));
    }
}

#[test]
fn the_epochs_survive_a_crash() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, small());
    for epoch in [0, 3, 4] {
        for _ in 0..20 {
            log.append(batch(1), NOW, &AppendOptions { leader_epoch: epoch, ..CLIENT }).expect("appends");
        }
    }
    drop(log);
    let (log, _) = open(&dir, small());
    for (asked, found) in
        [(-1, None), (0, Some((0, 20))), (2, Some((0, 20))), (3, Some((3, 40))), (9, Some((4, 60)))]
    {
        assert_eq!(log.epoch_end_offset(asked), found);
    }
}

#[test]
fn a_folder_that_cannot_be_made_is_named_in_the_error() {
    let dir = TempDir::new().expect("a folder");
    let file = dir.path().join("file");
    std::fs::write(&file, b"").expect("writes");
    let error = Log::open(&file.join("topic-0"), LogConfig::default(), NOW).expect_err("not a folder");
    assert!(error.to_string().contains("topic-0"));
}
