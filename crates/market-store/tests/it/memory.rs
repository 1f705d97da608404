//! What is the memory's alone: who reads a lot holds up nobody who writes.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::time::Duration;

use market_data::PairKey;
use market_store::{CandleStore, MemoryStore, Scan, Window};

use crate::support::{GROUP, deltas, flush};

const PAIRS: usize = 2_000;
/// How long a scan may be drawn out for a flush that gets no turn, or no processor.
const PATIENCE: Duration = Duration::from_secs(8);

fn filled() -> MemoryStore {
    let mut store = MemoryStore::new();
    let names: Vec<String> = (0..PAIRS).map(|number| format!("p{number}")).collect();
    for (part, names) in names.chunks(500).enumerate() {
        let trades: Vec<_> = names.iter().map(|name| (name.as_str(), 60 + part as i64, "2")).collect();
        flush(&mut store, &[], &deltas(&trades)).unwrap();
    }
    store
}

#[test]
fn a_flush_gets_its_turn_in_the_middle_of_a_scan_of_everything() {
    let store = filled();
    let (mut reader, mut writer) = (store.reader().unwrap(), store.clone());
    let flushed = AtomicBool::new(false);
    let (begun, begins) = mpsc::channel();
    std::thread::scope(|scope| {
        let flushed = &flushed;
        scope.spawn(move || {
            begins.recv().unwrap();
            flush(&mut writer, &[], &deltas(&[("late", 60, "3")])).unwrap();
            flushed.store(true, Ordering::SeqCst);
        });
        let (mut seen, mut before) = (0, 0);
        let mut slowly = |_: &PairKey| {
            begun.send(()).ok();
            seen += 1;
            if !flushed.load(Ordering::SeqCst) {
                before += 1;
                std::thread::sleep(PATIENCE / u32::try_from(PAIRS).unwrap());
            }
        };
        let mut last = None;
        let scan = Scan::all(GROUP);
        reader
            .scan(&scan, &mut |pair, _, _, _| {
                if last.as_ref() != Some(pair) {
                    last = Some(pair.clone());
                    slowly(pair);
                }
            })
            .unwrap();
        assert!((PAIRS..=PAIRS + 1).contains(&seen));
        assert!(before < PAIRS, "the flush waited for the whole scan");
    });
}

#[test]
fn what_is_read_in_parts_has_every_pair_once() {
    let store = filled();
    let mut reader = store.reader().unwrap();
    let groups = [GROUP.to_owned()];
    let sorted = |mut names: Vec<String>| {
        names.sort();
        names
    };
    let wanted = sorted((0..PAIRS).map(|number| format!("p{number}")).collect());
    let names = reader.names(&groups).unwrap().into_iter().map(|name| name.pair.pair).collect();
    assert_eq!(sorted(names), wanted);
    let listed = reader.pairs(&groups, Window { start: 0, end: 900 }).unwrap();
    assert!(listed.iter().all(|summary| summary.window.count == 1));
    assert_eq!(sorted(listed.into_iter().map(|summary| summary.pair.pair).collect()), wanted);
    let mut traded = Vec::new();
    let each = &mut |pair: &PairKey, parts: &[market_data::Candle]| {
        assert_eq!(parts.iter().map(|part| part.count).collect::<Vec<_>>(), [0, 1]);
        traded.push(pair.pair.clone());
    };
    reader.stretches(GROUP, &[(0, 60), (60, 900)], each).unwrap();
    assert_eq!(sorted(traded), wanted);
}
