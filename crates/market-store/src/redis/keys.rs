//! What things are called in Redis.

use std::fmt::Write;

use market_data::{Interval, PairKey};

use crate::TopicPartition;

/// The channel on which changed candles are published.
pub(super) const UPDATES: &str = "kline:updates";

/// The keys of a group's own things.
#[derive(Debug)]
pub(super) struct GroupKeys {
    /// Hash: `topic:partition` -> `epoch position`.
    pub(super) positions: String,
    /// Hash: `run` (the server's run id at the last claim), `version` (of the last flush), `newest` (trade, unix seconds).
    pub(super) state: String,
    /// Hash: `chain:pair` -> a record of the series.
    pub(super) series: String,
}

impl GroupKeys {
    pub(super) fn of(group: &str) -> GroupKeys {
        let key = |what: &str| format!("kohort:{group}:{what}");
        GroupKeys { positions: key("positions"), state: key("state"), series: key("series") }
    }
}

/// A partition's field in the hash of positions. A topic's name has no colon.
pub(super) fn partition_field(partition: &TopicPartition) -> String {
    format!("{}:{}", partition.topic, partition.partition)
}

/// Reads [`partition_field`] back.
pub(super) fn partition_of(field: &str) -> Option<TopicPartition> {
    let (topic, partition) = field.rsplit_once(':')?;
    Some(TopicPartition::new(topic, partition.parse().ok()?))
}

/// An epoch and a position, as the hash of positions keeps them.
pub(super) fn claimed(epoch: i64, position: Option<i64>) -> String {
    position.map_or_else(|| format!("{epoch} -"), |position| format!("{epoch} {position}"))
}

/// Reads [`claimed`] back.
pub(super) fn read_claimed(text: &str) -> Option<(i64, Option<i64>)> {
    let (epoch, position) = text.split_once(' ')?;
    let position = if position == "-" { None } else { Some(position.parse().ok()?) };
    Some((epoch.parse().ok()?, position))
}

/// A pair's part of a key: `chain:pair`. A colon within either, which no chain's addresses have, is written as `%3A`, so that two
/// pairs are never one.
pub(super) fn pair_field(pair: &PairKey) -> String {
    let mut field = String::with_capacity(pair.chain_id.len() + pair.pair.len() + 1);
    escape(&pair.chain_id, &mut field);
    field.push(':');
    escape(&pair.pair, &mut field);
    field
}

/// Reads [`pair_field`] back.
pub(super) fn pair_of(field: &str) -> Option<PairKey> {
    let (chain_id, pair) = field.split_once(':')?;
    let plain = |text: &str| text.replace("%3A", ":").replace("%25", "%");
    Some(PairKey { chain_id: plain(chain_id), pair: plain(pair) })
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            ':' => out.push_str("%3A"),
            '%' => out.push_str("%25"),
            other => out.push(other),
        }
    }
}

/// The original's key: `kline:{chain_id}:{pair_addr}:{interval}`.
pub(super) fn candles_key(field: &str, interval: Interval, out: &mut String) {
    out.clear();
    // Writing to a text cannot fail.
    let _ = write!(out, "kline:{field}:{interval}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_the_originals_and_two_pairs_are_never_one() {
        let mut key = String::new();
        candles_key(&pair_field(&PairKey::new("100000", "So1")), Interval::H12, &mut key);
        assert_eq!(key, "kline:100000:So1:12h");
        let odd = [("a:b", "c"), ("a", "b:c"), ("a%3Ab", "c"), ("", ""), ("%", ":%25")];
        for (chain, pair) in odd {
            let pair = PairKey::new(chain, pair);
            assert_eq!(pair_of(&pair_field(&pair)), Some(pair));
        }
        let partition = TopicPartition::new("sol-trades", 7);
        assert_eq!(partition_of(&partition_field(&partition)), Some(partition));
    }
}
