//! Small flushes to try a store with.

use market_data::{Aggregator, Candle, Deltas, Interval, PairKey, Place};
use market_store::{
    Advance, CandleReader, CandleStore, Claim, Flush, FlushError, Flushed, Scan, TopicPartition,
};

pub(crate) const GROUP: &str = "candles";

pub(crate) fn partition(index: i32) -> TopicPartition {
    TopicPartition::new("eth-trades", index)
}

/// Deltas of all intervals of some trades: (pair, time, price), each with a volume of 1 USD and 1 token.
pub(crate) fn deltas(trades: &[(&str, i64, &str)]) -> Deltas {
    let mut aggregator = Aggregator::new();
    for (offset, (pair, time, price)) in (0..).zip(trades) {
        let value = format!(
            r#"[{{"chain_id":"1","pair_addr":"{pair}","type":"buy","total_usd":1,"token_amount":1,"token_price_usd":{price},
            "block_time":{time},"block_num":{time},"pair_info":{{"token_symbol":"T{pair}","base_token_symbol":"USDC"}}}}]"#
        );
        let counts = aggregator.add_message(Place { partition: 0, offset }, value.as_bytes()).unwrap();
        assert_eq!(counts.trades, 1, "{counts:?}");
    }
    let mut deltas = aggregator.take_deltas();
    deltas.roll_up();
    deltas
}

pub(crate) fn advance(claim: &Claim, to: i64) -> Advance {
    Advance { partition: claim.partition.clone(), epoch: claim.epoch, from: claim.position, to }
}

pub(crate) fn flush(
    store: &mut dyn CandleStore,
    advances: &[Advance],
    deltas: &Deltas,
) -> Result<Flushed, FlushError> {
    flush_as(store, GROUP, advances, deltas)
}

pub(crate) fn flush_as(
    store: &mut dyn CandleStore,
    group: &str,
    advances: &[Advance],
    deltas: &Deltas,
) -> Result<Flushed, FlushError> {
    store.flush(&Flush { group, advances, deltas, now: 1_700_000_000 })
}

/// Every candle of a group, sorted.
pub(crate) fn dump(reader: &mut dyn CandleReader, group: &str) -> Vec<(PairKey, Interval, i64, Candle)> {
    let mut all = Vec::new();
    reader
        .scan(&Scan::all(group), &mut |pair, interval, time, candle| {
            all.push((pair.clone(), interval, time, *candle))
        })
        .unwrap();
    all.sort_by(|a, b| (&a.0, a.1, a.2).cmp(&(&b.0, b.1, b.2)));
    all
}
