use super::*;

const OLD: i64 = NOW - 10_000;

/// Segments of ten batches each, the batches a millisecond apart.
fn aged(dir: &TempDir, config: LogConfig) -> Log {
    let (mut log, _) = open(dir, LogConfig { segment_bytes: batch(1).len() as u64 * 10, ..config });
    for i in 0..45 {
        append(&mut log, batch_with(1, 20, OLD + i, &BatchOptions::default()));
    }
    assert_eq!(log.segments(), 5);
    log
}

#[test]
fn a_segment_goes_when_its_newest_record_is_too_old_and_not_a_moment_before() {
    let dir = TempDir::new().expect("a folder");
    let mut log = aged(&dir, LogConfig { retention_ms: Some(1000), ..on_disk() });
    assert_eq!(log.retention(OLD + 9 + 1000).expect("looks"), 0);
    assert_eq!(log.retention(OLD + 9 + 1001).expect("deletes"), 1);
    assert_eq!((log.start_offset(), log.segments()), (10, 4));
    assert!(matches!(log.read(9, 1, true), Err(ReadError::OffsetOutOfRange { start: 10, .. })));
    // The newest record too: even the active segment is emptied, and offsets go on.
    assert_eq!(log.retention(NOW).expect("deletes"), 4);
    assert_eq!((log.start_offset(), log.end_offset(), log.bytes()), (45, 45, 0));
    drop(log);
    let (mut log, _) = open(&dir, on_disk());
    assert_eq!((log.start_offset(), log.end_offset()), (45, 45));
    assert_eq!(append(&mut log, batch(1)).base_offset, 45);
}

#[test]
fn a_disk_without_room_for_a_checkpoint_is_given_room() {
    let dir = TempDir::new().expect("a folder");
    let mut log = aged(&dir, LogConfig { retention_ms: Some(1000), ..on_disk() });
    let in_the_way = dir.path().join(format!("{}.{}", files::CHECKPOINT, files::PART));
    std::fs::create_dir(&in_the_way).expect("makes");
    assert!(log.retention(OLD + 9 + 1001).is_err(), "it is said");
    assert_eq!((log.start_offset(), log.segments()), (10, 4));
    assert!(!files::path(dir.path(), 0, files::LOG).exists(), "and its room is free");
    drop(log);
    std::fs::remove_dir(&in_the_way).expect("removes");
    let (log, _) = open(&dir, on_disk());
    assert_eq!((log.start_offset(), log.end_offset()), (10, 45), "a crash right then changes nothing");
}

#[test]
fn retention_by_size_keeps_at_least_so_much() {
    let dir = TempDir::new().expect("a folder");
    let mut log = aged(&dir, on_disk());
    let all = log.bytes();
    let one = batch(1).len() as u64;
    log.set_config(LogConfig { retention_bytes: Some(all - one * 10 + 1), retention_ms: None, ..on_disk() });
    assert_eq!(log.retention(NOW).expect("looks"), 0);
    log.set_config(LogConfig { retention_bytes: Some(all - one * 10), retention_ms: None, ..on_disk() });
    assert_eq!(log.retention(NOW).expect("deletes"), 1);
    log.set_config(LogConfig { retention_bytes: Some(0), retention_ms: None, ..on_disk() });
    assert_eq!(log.retention(NOW).expect("deletes"), 3);
    assert_eq!((log.start_offset(), log.segments()), (40, 1));
    assert_eq!(offsets(&read_all(&log, 40, 1)), (40..45).collect::<Vec<_>>());
}

#[test]
fn a_compacted_log_is_not_deleted_from() {
    let dir = TempDir::new().expect("a folder");
    let compact = CleanupPolicy { delete: false, compact: true };
    let mut log = aged(&dir, LogConfig { retention_ms: Some(1), cleanup: compact, ..on_disk() });
    assert_eq!(log.retention(NOW).expect("looks"), 0);
}

#[test]
fn deleted_records_stay_deleted_after_a_crash() {
    let dir = TempDir::new().expect("a folder");
    let mut log = aged(&dir, LogConfig { retention_ms: None, ..on_disk() });
    assert!(matches!(
        log.delete_records_before(46),
        Err(DeleteRecordsError::OffsetOutOfRange { end: 45, .. })
    ));
    assert_eq!(log.delete_records_before(13).expect("in range"), 13);
    assert_eq!(log.delete_records_before(5).expect("in range"), 13);
    assert_eq!(log.segments(), 5);
    drop(log);
    let (mut log, _) = open(&dir, LogConfig { retention_ms: None, ..on_disk() });
    assert_eq!(log.start_offset(), 13);
    assert_eq!(log.retention(NOW).expect("deletes"), 1);
    assert_eq!(offsets(&read_all(&log, 13, 1)), (13..45).collect::<Vec<_>>());
    assert_eq!(log.delete_records_before(-1).expect("in range"), 45);
    assert!(log.read(45, 1, true).expect("at the end").is_empty());
}

#[test]
fn truncation_cuts_at_the_batch_and_forgets_its_producers() {
    for to in [0, 1, 9, 10, 11, 30, 44] {
        let dir = TempDir::new().expect("a folder");
        let (mut log, _) = open(&dir, on_disk());
        (0..45).for_each(|i| {
            append(&mut log, idempotent(1, 0, i, 1));
        });
        let all = read_all(&log, 0, 1 << 20);
        log.truncate(to, NOW).expect("cuts");
        assert_eq!(log.end_offset(), to);
        assert!(all.starts_with(&read_all(&log, 0, 1 << 20)));
        let info = append(&mut log, idempotent(1, 0, to as i32, 1));
        assert_eq!((info.base_offset, info.duplicate), (to, false));
        let kept = read_all(&log, 0, 1 << 20);
        drop(log);
        let (log, found) = open(&dir, on_disk());
        assert_eq!((found.truncated_bytes, read_all(&log, 0, 1 << 20)), (0, kept));
    }
}

#[test]
fn leftovers_of_a_deletion_are_removed() {
    let dir = TempDir::new().expect("a folder");
    std::fs::create_dir(dir.path().join(".deleted-topic-0-1")).expect("makes");
    std::fs::create_dir(dir.path().join("topic-1")).expect("makes");
    remove_leftovers(dir.path()).expect("removes");
    let left: Vec<_> =
        std::fs::read_dir(dir.path()).expect("reads").map(|e| e.expect("reads").file_name()).collect();
    assert_eq!(left, ["topic-1"]);
}
