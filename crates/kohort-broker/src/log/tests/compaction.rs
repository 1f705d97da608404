use std::collections::BTreeMap;

use super::*;

fn compacting() -> LogConfig {
    let cleanup = CleanupPolicy { delete: false, compact: true };
    LogConfig { cleanup, delete_retention_ms: 1000, min_cleanable_dirty_ratio: 0.01, ..on_disk() }
}

fn put(log: &mut Log, codec: Codec, records: &[(u32, Option<u32>)]) {
    let mut builder = BatchBuilder::new();
    for (key, value) in records {
        let value = value.map(|v| format!("value {v} of some length"));
        let headers = [("h", Some(&b"x"[..]))];
        builder
            .append(NOW, Some(&key.to_be_bytes()), value.as_ref().map(String::as_bytes), &headers)
            .expect("fits");
    }
    let options = BatchOptions { codec, ..BatchOptions::default() };
    append(log, builder.finish(&options, &mut Compressor::new()).expect("finishes"));
}

/// (offset, key, value) of every record.
fn records(log: &Log) -> Vec<(i64, Vec<u8>, Option<Vec<u8>>)> {
    let (mut out, mut from, buffers) = (Vec::new(), log.start_offset(), ReadBuffers::new());
    let mut decompressor = Decompressor::new();
    loop {
        let bytes = log.read(from, 300, true).expect("in range").load_one(&buffers).expect("reads");
        if bytes.is_empty() {
            return out;
        }
        for batch in Batches::new(&bytes) {
            let batch = batch.expect("whole");
            batch.check_crc().expect("sound");
            for record in batch.records(&mut decompressor).expect("opens") {
                let record = record.expect("sound");
                assert_eq!((record.timestamp, record.headers.len()), (NOW, 1));
                if record.offset >= from {
                    out.push((
                        record.offset,
                        record.key.expect("a key").to_vec(),
                        record.value.map(<[u8]>::to_vec),
                    ));
                }
            }
            from = batch.header().next_offset();
        }
    }
}

fn compact(log: &mut Log, now_ms: i64) -> CompactionStats {
    let compaction = log.compaction_due(now_ms).expect("due");
    log.compacted(compaction.run().expect("runs")).expect("is put in place")
}

fn fill(log: &mut Log, rounds: u32) {
    for round in 0..rounds {
        let codec = Codec::ALL[round as usize % 5];
        let value = |key: u32| if key == 3 && round == 5 { None } else { Some(round * 10 + key) };
        let batch: Vec<_> = (0..4).map(|i| (round + i) % 7).map(|key| (key, value(key))).collect();
        put(log, codec, &batch);
    }
}

#[test]
fn the_latest_record_of_each_key_stays_at_its_offset() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, compacting());
    fill(&mut log, 60);
    let before = records(&log);
    let bound = log.active.base_offset;
    let stats = compact(&mut log, NOW);
    assert!(stats.bytes_after < stats.bytes_before / 3, "{stats:?}");
    let mut latest = BTreeMap::new();
    before.iter().filter(|r| r.0 < bound).for_each(|r| drop(latest.insert(r.1.clone(), r.clone())));
    let expected: Vec<_> = before
        .iter()
        .filter(|r| r.0 >= bound || latest.get(&r.1).is_some_and(|l| l.0 == r.0))
        .cloned()
        .collect();
    assert_eq!(records(&log), expected);
    assert!(log.compaction_due(NOW).is_none());
    // The end, every offset on the way, and the next start are as before.
    for from in 0..log.end_offset() {
        let slice = log.read(from, 1, true).expect("in range");
        let bytes = slice.load_one(&ReadBuffers::new()).expect("reads");
        // As in Kafka: the batch that holds it, be it that the record itself is gone.
        let last = Batches::new(&bytes).map(|batch| batch.expect("whole").header().last_offset()).last();
        let next = expected.iter().find(|r| r.0 >= from).expect("the end is not compacted");
        assert!(last.is_some_and(|last| last >= from && last <= next.0 + 3), "{from}");
    }
    let end = log.end_offset();
    for clean in [false, true, false] {
        if clean {
            log.close().expect("closes")
        } else {
            drop(log)
        }
        (log, _) = open(&dir, compacting());
        assert_eq!((records(&log), log.start_offset(), log.end_offset()), (expected.clone(), 0, end));
    }
    fill(&mut log, 60);
    let keys: std::collections::BTreeSet<_> = expected.iter().map(|r| r.1.clone()).collect();
    compact(&mut log, NOW);
    let closed = records(&log).iter().filter(|r| r.0 < log.active.base_offset).count();
    assert_eq!(closed, keys.len());
}

#[test]
fn what_compaction_took_away_is_not_given_from_memory() {
    let dir = TempDir::new().expect("a folder");
    let config = LogConfig { recent_bytes_max: 1 << 20, ..compacting() };
    let (mut log, _) = open(&dir, config);
    fill(&mut log, 60);
    assert!(log.read(0, 300, true).expect("in range").in_memory());
    compact(&mut log, NOW);
    let given = records(&log);
    let closed: Vec<_> = given.iter().filter(|r| r.0 < log.active.base_offset).map(|r| r.1.clone()).collect();
    let keys: std::collections::BTreeSet<_> = closed.iter().cloned().collect();
    assert_eq!(closed.len(), keys.len(), "one record of each key");
    let tail = log.active.base_offset;
    assert!(log.read(tail, 300, true).expect("in range").in_memory(), "the rest stays");
}

#[test]
fn a_tombstone_goes_with_a_later_compaction_after_its_retention() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, compacting());
    put(&mut log, Codec::None, &[(1, Some(1)), (2, Some(2)), (1, None)]);
    let others = |log: &mut Log, from: u32| {
        (from..from + 40).for_each(|key| put(log, Codec::None, &[(key, Some(key))]))
    };
    let is_there = |log: &Log| records(log).iter().any(|r| r.2.is_none());
    others(&mut log, 100);
    compact(&mut log, NOW);
    assert!(is_there(&log) && !records(&log).iter().any(|r| r.0 == 0));
    others(&mut log, 100);
    compact(&mut log, NOW + 1000);
    assert!(is_there(&log));
    others(&mut log, 100);
    compact(&mut log, NOW + 1001);
    assert!(!is_there(&log));
    assert_eq!(records(&log)[0].0, 1);
}

#[test]
fn a_crash_in_the_middle_of_a_swap_is_finished_by_the_next_start() {
    for step in 0..3 {
        let dir = TempDir::new().expect("a folder");
        let (mut log, _) = open(&dir, compacting());
        fill(&mut log, 60);
        let all = records(&log);
        let compacted = log.compaction_due(NOW).expect("due").run().expect("runs");
        let group = &compacted.groups[0];
        let (base, next) = (group.old[0].base_offset, group.old.last().expect("some").next_offset);
        // 0: only the part file is there. 1: it stands for the others. 2: some of those are gone.
        if step > 0 {
            let swap = files::path(dir.path(), base, &format!("{next:020}.{}", files::SWAP));
            std::fs::rename(&group.part, swap).expect("renames");
        }
        if step > 1 {
            std::fs::remove_file(group.old[0].path(files::LOG)).expect("removes");
            std::fs::remove_file(group.old[1].path(files::INDEX)).expect("removes");
        }
        drop(log);
        let (mut log, found) = open(&dir, compacting());
        assert_eq!(found.truncated_bytes, 0);
        let names: Vec<_> = files::list(dir.path()).expect("lists").into_iter().map(|f| f.1).collect();
        assert!(names.iter().all(|kind| !kind.contains(files::SWAP) && !kind.contains(files::PART)));
        if step == 0 {
            assert_eq!(records(&log), all);
            compact(&mut log, NOW);
        }
        let (reference, other) = (TempDir::new().expect("a folder"), compacting());
        let (mut whole, _) = open(&reference, other);
        fill(&mut whole, 60);
        compact(&mut whole, NOW);
        assert_eq!(compacted.groups.len(), 1, "the reference is compacted in one piece");
        assert_eq!(records(&log), records(&whole));
    }
}

#[test]
fn what_retention_deleted_meanwhile_is_not_put_back() {
    let dir = TempDir::new().expect("a folder");
    let both = CleanupPolicy { delete: true, compact: true };
    let config = LogConfig { cleanup: both, retention_bytes: Some(0), ..compacting() };
    let (mut log, _) = open(&dir, config);
    fill(&mut log, 60);
    let compacted = log.compaction_due(NOW).expect("due").run().expect("runs");
    assert!(log.retention(NOW).expect("deletes") > 0);
    let left = records(&log);
    assert_eq!(log.compacted(compacted).expect("drops"), CompactionStats::default());
    assert_eq!((records(&log), log.segments()), (left, 1));
}

#[test]
fn a_swap_that_fails_hides_no_records() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, compacting());
    fill(&mut log, 60);
    let all = records(&log);
    let compacted = log.compaction_due(NOW).expect("due").run().expect("runs");
    let in_the_way = log.sealed[1].path(files::INDEX);
    std::fs::remove_file(&in_the_way).expect("removes");
    std::fs::create_dir(&in_the_way).expect("makes");
    assert!(log.compacted(compacted).is_err());
    assert_eq!(records(&log), all, "readers have what they had");
    std::fs::remove_dir(&in_the_way).expect("removes");
    drop(log);
    let (log, found) = open(&dir, compacting());
    let keys: std::collections::BTreeSet<_> = all.into_iter().map(|r| r.1).collect();
    let left: std::collections::BTreeSet<_> = records(&log).into_iter().map(|r| r.1).collect();
    assert_eq!((left, found.truncated_bytes), (keys, 0), "and the next start goes on with it");
}

#[test]
fn what_was_compacted_in_vain_is_compacted_again() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, compacting());
    fill(&mut log, 60);
    let compacted = log.compaction_due(NOW).expect("due").run().expect("runs");
    // Meanwhile the oldest segment goes, and with it the place of what was written.
    log.delete_records_before(log.sealed[1].base_offset).expect("in range");
    assert_eq!(log.retention(NOW).expect("deletes"), 1);
    assert_eq!(log.compacted(compacted).expect("drops"), CompactionStats::default());
    compact(&mut log, NOW);
    let closed = records(&log).into_iter().filter(|r| r.0 < log.active.base_offset).map(|r| r.1);
    let closed: Vec<_> = closed.collect();
    let keys: std::collections::BTreeSet<_> = closed.iter().collect();
    assert_eq!(closed.len(), keys.len(), "one record of each key");
}

#[test]
fn compaction_waits_for_the_ratio_the_lag_and_the_policy() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, compacting());
    fill(&mut log, 60);
    let with = |f: &dyn Fn(&mut LogConfig)| {
        let mut config = compacting();
        f(&mut config);
        config
    };
    log.set_config(with(&|c| c.cleanup.compact = false));
    assert!(log.compaction_due(NOW).is_none());
    log.set_config(with(&|c| c.min_compaction_lag_ms = 100));
    assert!(log.compaction_due(NOW + 99).is_none() && log.compaction_due(NOW + 100).is_some());
    log.set_config(with(&|c| c.min_cleanable_dirty_ratio = 1.1));
    assert!(log.compaction_due(NOW).is_none());
    log.set_config(with(&|c| (c.min_cleanable_dirty_ratio, c.max_compaction_lag_ms) = (1.1, Some(50))));
    assert!(log.compaction_due(NOW + 50).is_none() && log.compaction_due(NOW + 51).is_some());
}

#[test]
fn keys_that_do_not_fit_memory_wait_for_the_next_run() {
    let dir = TempDir::new().expect("a folder");
    let (mut log, _) = open(&dir, compacting());
    fill(&mut log, 60);
    let mut compaction = log.compaction_due(NOW).expect("due");
    compaction.keys_bytes_max = 1;
    let newest: BTreeMap<_, _> = records(&log).into_iter().map(|r| (r.1, r.2)).collect();
    log.compacted(compaction.run().expect("runs")).expect("is put in place");
    assert_eq!(log.cleaned_to, 4);
    assert_eq!(records(&log).into_iter().map(|r| (r.1, r.2)).collect::<BTreeMap<_, _>>(), newest);
    compact(&mut log, NOW);
    assert_eq!(records(&log).into_iter().map(|r| (r.1, r.2)).collect::<BTreeMap<_, _>>(), newest);
}
