//! Every real set makes exactly its reference candles.

use market_data::reference::{self, compare};
use market_data::{Aggregator, Deltas};

use crate::support::{SETS, Set, set};

fn assert_equal(name: &str, set: &Set, deltas: Deltas) {
    let result = compare(&set.reference, &set.rows(deltas));
    assert_eq!(result.differing, 0, "{name}: {:#?}", &result.differences[..result.differences.len().min(5)]);
    assert_eq!(result.candles, set.reference.len(), "{name}");
}

#[test]
fn every_set_makes_its_reference_to_the_last_digit() {
    for name in SETS {
        let set = set(name);
        let (deltas, counts) = set.aggregate();
        assert_eq!((counts.rejected, counts.no_price), (0, 0), "{name}: {counts:?}");
        assert_equal(name, &set, deltas);
    }
}

#[test]
fn partitions_lanes_and_flushes_change_no_digit() {
    for name in SETS {
        let set = set(name);
        for (partitions, lanes, flush_every) in [(1, 4, 7), (3, 2, 1000), (12, 3, 50)] {
            let mut aggregators: Vec<Aggregator> = (0..lanes).map(|_| Aggregator::new()).collect();
            let mut flushed = Vec::new();
            let places = set.places(partitions);
            // Backwards through the file: the order of reading must not matter either.
            for (n, (place, (_, value))) in places.into_iter().zip(&set.messages).rev().enumerate() {
                aggregators[n * 7 % lanes].add_message(place, value).unwrap();
                if n % flush_every == 0 {
                    flushed
                        .push(Deltas::merge(aggregators.iter_mut().map(Aggregator::take_deltas).collect()));
                }
            }
            flushed.extend(aggregators.iter_mut().map(Aggregator::take_deltas));
            assert_equal(name, &set, Deltas::merge(flushed));
        }
    }
}

#[test]
fn one_changed_digit_is_one_difference() {
    let set = set("dex_sol_slot_254170887");
    let rows = set.rows(set.aggregate().0);
    let mut changed = set.reference.clone();
    let row = changed.values_mut().next().unwrap();
    let text = row.prices[3].to_string();
    row.prices[3] = format!("{}{}", &text[..text.len() - 1], if text.ends_with('1') { '2' } else { '1' })
        .parse()
        .unwrap();
    let result = compare(&changed, &rows);
    assert_eq!((result.candles, result.differing), (rows.len(), 1));
    assert_eq!(result.differences[0].column, "close");
    let (missing, _) = rows.iter().next().unwrap();
    let mut fewer = rows.clone();
    fewer.remove(&missing.clone());
    assert_eq!(compare(&set.reference, &fewer).differences[0].got, "none");
}

#[test]
fn a_reference_is_read_back_from_what_is_written() {
    let set = set("dex_evm_blocks_mixed");
    let mut text = String::from(reference::HEADER);
    for (key, row) in &set.reference {
        text.push('\n');
        text.push_str(&row.to_line(key));
    }
    assert_eq!(reference::read(&text).unwrap(), set.reference);
}
