use super::*;

fn filled(dir: &TempDir, config: LogConfig, batches: usize) -> Log {
    let (mut log, _) = open(dir, config);
    for i in 0..batches {
        append(&mut log, batch(1 + i % 3));
    }
    log
}

#[test]
fn every_offset_is_found_in_memory_and_on_disk() {
    for config in [small(), on_disk()] {
        let dir = TempDir::new().expect("a folder");
        let log = filled(&dir, config, 60);
        assert!(log.segments() > 3);
        let buffers = ReadBuffers::new();
        for from in 0..log.end_offset() {
            for max_bytes in [0, 1, 150, 400, 1 << 20] {
                let slice = log.read(from, max_bytes, true).expect("in range");
                let bound = slice.bytes_max();
                let bytes = slice.load_one(&buffers).expect("reads");
                let found = offsets(&bytes);
                assert!(found[0] <= from && *found.last().expect("some") >= from);
                assert!(found[0] > from - 3, "begins with the batch that holds it");
                assert!(bytes.len() <= max_bytes || Batches::new(&bytes).count() == 1);
                assert!(bytes.len() <= bound.max(240));
                let strict =
                    log.read(from, max_bytes, false).expect("in range").load_one(&buffers).expect("reads");
                assert!(strict.len() <= max_bytes && bytes.starts_with(&strict));
            }
        }
        let all: Vec<i64> = (0..log.end_offset()).collect();
        for max_bytes in [1, 300, 1 << 20] {
            assert_eq!(offsets(&read_all(&log, 0, max_bytes)), all);
        }
    }
}

#[test]
fn outside_the_log_is_refused_and_its_end_is_empty() {
    let dir = TempDir::new().expect("a folder");
    let log = filled(&dir, small(), 3);
    let end = log.end_offset();
    assert!(log.read(end, 100, true).expect("at the end").is_empty());
    for offset in [-1, end + 1, i64::MAX, i64::MIN] {
        let refused = log.read(offset, 100, true).expect_err("refused");
        assert!(matches!(refused, ReadError::OffsetOutOfRange { start: 0, .. }));
    }
}

#[test]
fn memory_and_disk_give_the_same_bytes() {
    let (a, b) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let (a, b) = (filled(&a, small(), 50), filled(&b, on_disk(), 50));
    assert!(a.read(0, 1 << 20, true).expect("in range").in_memory());
    assert!(!b.read(0, 1 << 20, true).expect("in range").in_memory());
    assert_eq!(read_all(&a, 0, 700), read_all(&b, 0, 700));
}

#[test]
fn a_batch_larger_than_every_buffer_is_read() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, LogConfig { segment_bytes: 1 << 30, ..on_disk() });
    append(&mut log, batch(1));
    append(&mut log, batch_with(1, 1 << 19, NOW, &BatchOptions::default()));
    append(&mut log, batch(1));
    let buffers = ReadBuffers::new();
    assert_eq!(offsets(&read_all(&log, 0, 10)), [0, 1, 2]);
    let none = log.read(1, 100_000, false).expect("in range").load_one(&buffers).expect("reads");
    assert!(none.is_empty());
    let one = log.read(1, 100_000, true).expect("in range").load_one(&buffers).expect("reads");
    assert_eq!(offsets(&one), [1]);
    drop(log);
    let (log, found) = open(&dir, on_disk());
    assert_eq!((found.truncated_bytes, log.end_offset()), (0, 3));
}

#[test]
fn a_reader_of_a_deleted_segment_finishes() {
    let dir = TempDir::new().expect("a folder");
    drop(filled(&dir, on_disk(), 60));
    let (mut log, _) = open(&dir, on_disk());
    let slice = log.read(0, 500, true).expect("in range");
    log.set_config(LogConfig { retention_bytes: Some(0), ..on_disk() });
    assert!(log.retention(NOW).expect("deletes") > 2);
    assert!(!files::path(dir.path(), 0, files::LOG).exists());
    assert_eq!(offsets(&slice.load_one(&ReadBuffers::new()).expect("reads"))[0], 0);
    let (start, end) = (log.start_offset(), log.end_offset());
    let slice = log.read(start, 500, true).expect("in range");
    log.delete().expect("deletes");
    assert!(!dir.path().exists() && end > start);
    assert_eq!(offsets(&slice.load_one(&ReadBuffers::new()).expect("reads"))[0], start);
}

#[test]
fn a_time_leads_to_the_first_record_that_is_not_older() {
    for config in [small(), on_disk()] {
        let dir = TempDir::new().expect("a folder");
        let (mut log, _) = open(&dir, config);
        assert_eq!(log.max_timestamp().expect("reads"), None);
        // Times rise, with one straggler that is early and one that is ahead.
        let times: Vec<i64> = (0..80)
            .map(|i| {
                if i == 30 {
                    5000
                } else if i == 50 {
                    100
                } else {
                    1000 + i * 10
                }
            })
            .collect();
        for time in &times {
            let options = BatchOptions { codec: Codec::Snappy, ..BatchOptions::default() };
            append(&mut log, batch_with(1, 60, *time, &options));
        }
        assert!(log.segments() > 2);
        for asked in (0..5100).step_by(7) {
            let expected = times.iter().position(|time| *time >= asked);
            let found = log.offset_for_timestamp(asked).expect("reads");
            assert_eq!(found.map(|f| f.offset as usize), expected, "{asked}");
            assert_eq!(found.map(|f| f.timestamp), expected.map(|i| times[i]));
        }
        let newest = log.max_timestamp().expect("reads").expect("one");
        assert_eq!((newest.offset, newest.timestamp), (30, 5000));
        log.delete_records_before(40).expect("in range");
        assert_eq!(log.offset_for_timestamp(0).expect("reads").map(|f| f.offset), Some(40));
    }
}

#[test]
fn memory_is_bounded_per_log_and_over_all_logs() {
    let budget = Arc::new(RecentBudget::new(3000));
    let config =
        LogConfig { recent_bytes_max: 2000, recent_budget: Arc::clone(&budget), ..LogConfig::default() };
    let (a, b) = (TempDir::new().expect("a folder"), TempDir::new().expect("a folder"));
    let (mut log_a, _) = open(&a, config.clone());
    let (mut log_b, _) = open(&b, config.clone());
    for _ in 0..50 {
        append(&mut log_a, batch(1));
        assert!(budget.used() <= 2000);
    }
    for _ in 0..50 {
        append(&mut log_b, batch(1));
        assert!(budget.used() <= 3000);
    }
    for log in [&log_a, &log_b] {
        assert_eq!(offsets(&read_all(log, 0, 1 << 20)), (0..50).collect::<Vec<_>>());
    }
    log_a.retention(NOW + 9_999).expect("trims");
    assert!(log_a.read(49, 1, true).expect("in range").in_memory());
    log_a.retention(NOW + 10_000).expect("trims");
    assert!(!log_a.read(49, 1, true).expect("in range").in_memory());
    drop((log_a, log_b));
    assert_eq!(budget.used(), 0);
}
