//! What a memory needs in front of a file: to be filled from it, and to say beforehand what it would not take.

use market_data::{Interval, PairKey};

use super::MemoryStore;
use crate::retention::{Marks, place};
use crate::sqlite::Restored;
use crate::{CandleReader, Flush};

/// What of a flush is older than what is kept.
#[derive(Debug, Default)]
pub(crate) struct Expired {
    /// For each delta whether it is; empty if none is.
    pub(crate) deltas: Vec<bool>,
    /// Where candles are whole from: the pair's place in the flush, the interval, the start. Of those of which a delta is expired.
    pub(crate) marks: Vec<(u32, Interval, i64)>,
}

impl MemoryStore {
    /// What of a flush would be dropped as expired if it came next.
    pub(crate) fn expired(&self, flush: &Flush<'_>) -> Expired {
        let mut marks = Vec::with_capacity(flush.deltas.pairs.len());
        {
            let shared = self.read();
            let of_group = shared.groups.get(flush.group);
            for pair in &flush.deltas.pairs {
                let series = of_group.and_then(|of_group| of_group.one(&pair.key)).map(|(series, _)| series);
                let mut known = series.map_or(Marks::NEW, |series| series.marks);
                if series.is_some_and(|series| series.is_forgotten(self.retention, flush.now)) {
                    known.rested();
                }
                marks.push(known);
            }
        }
        let deltas = &flush.deltas.candles;
        for delta in deltas.iter().filter(|delta| delta.interval == Interval::M1) {
            marks[delta.pair as usize].see(self.retention, delta.time, flush.now);
        }
        let mut expired = Expired::default();
        for (at, delta) in deltas.iter().enumerate() {
            let of_pair = &marks[delta.pair as usize];
            if of_pair.expired(delta.interval, delta.time) {
                expired.deltas.resize(deltas.len(), false);
                expired.deltas[at] = true;
                expired.marks.push((delta.pair, delta.interval, of_pair.since[place(delta.interval)]));
            }
        }
        expired
    }

    /// Takes what a file has.
    pub(crate) fn restore(&self, restored: &Restored<'_>) {
        let (Restored::Since { group, pair, .. } | Restored::Candle { group, pair, .. }) = restored;
        let mut shared = self.write();
        let of_group = match shared.groups.get_mut(*group) {
            Some(of_group) => of_group,
            None => shared.groups.entry((*group).to_owned()).or_default(),
        };
        let number = of_group.number(pair);
        let series = &mut of_group.series[number];
        match restored {
            Restored::Since { interval, since, .. } => {
                let mark = &mut series.marks.since[place(*interval)];
                *mark = (*mark).max(*since);
            }
            Restored::Candle { interval, time, updated_at, candle, .. } => {
                series.touched = series.touched.max(*updated_at);
                // Where a pair is forgotten and its minutes are deleted already, the others say as well as they need how far it was.
                series.marks.newest = series.marks.newest.max(*time);
                if *interval == Interval::M1 {
                    series.marks.see(self.retention, *time, *updated_at);
                    series.drop_expired();
                }
                series.merge(*interval, *time, candle);
            }
        }
    }

    /// Everything was restored: pairs rest, or are forgotten, as if no time had passed by without this memory.
    pub(crate) fn restored(&self, now: i64) {
        let mut shared = self.write();
        for of_group in shared.groups.values_mut() {
            for number in 0..of_group.series.len() {
                of_group.look_at(number, self.retention, now);
                of_group.last_trades[number] = of_group.series[number].last_trade_at();
            }
        }
    }

    /// The latest start before which candles of an interval were dropped, of whatever pair; `i64::MIN` if none ever was.
    pub(crate) fn latest_since(&self, interval: Interval) -> i64 {
        let groups: Vec<String> = self.read().groups.keys().cloned().collect();
        let mut latest = i64::MIN;
        for group in groups {
            self.each_series(&group, |series, _| {
                latest = latest.max(series.marks.since[place(interval)]);
                1
            });
        }
        latest
    }

    /// As [`CandleReader::kept_since`], which does not fail here.
    pub(crate) fn since(&self, group: &str, pair: &PairKey, interval: Interval) -> Option<i64> {
        self.clone().kept_since(group, pair, interval).ok().flatten()
    }
}
