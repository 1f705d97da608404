//! Tells everybody who listens on `kline:updates` what a flush changed, as the original does.
//!
//! A push is a view and no promise: it comes after the flush, and is lost if the connection is. Two groups in one Redis both
//! push. Prices and volume are the exact numbers, of which a reader of float64 makes the nearest.

use std::fmt::Write;

use market_data::{Candle, PairKey};

use super::keys::UPDATES;
use super::link::Link;
use super::wire::{Commands, Reply};
use crate::Flush;

/// Pushes that go out together.
const TOGETHER: usize = 2_000;

/// Asks who would hear a push: without anybody it need not be made.
pub(super) fn who_listens() -> Commands {
    let mut commands = Commands::default();
    commands.push(&[b"PUBSUB", b"NUMSUB", UPDATES.as_bytes()]);
    commands.push(&[b"PUBSUB", b"NUMPAT"]);
    commands.push(&[b"ROLE"]);
    commands
}

/// Whether anybody listens, or may: to a pattern, or at a replica, which passes pushes on. Where Redis does not say, somebody does.
pub(super) fn somebody_listens(replies: &[Reply]) -> bool {
    let [Reply::Array(channel), Reply::Int(patterns), Reply::Array(role)] = replies else { return true };
    let alone = matches!(&role[..], [Reply::Bulk(Some(master)), _, Reply::Array(replicas)] if master == b"master" && replicas.is_empty());
    !alone || *patterns > 0 || !matches!(&channel[..], [_, Reply::Int(0)])
}

/// Pushes the candles that a flush changed. What fails here is no failure of the flush.
pub(super) fn publish(link: &mut Link, flush: &Flush<'_>, candles: &[Candle]) {
    let changed: Vec<usize> = (0..candles.len()).filter(|at| !candles[*at].is_empty()).collect();
    let mut text = String::new();
    for part in changed.chunks(TOGETHER) {
        let mut commands = Commands::default();
        for at in part {
            let delta = &flush.deltas.candles[*at];
            text.clear();
            let pair = &flush.deltas.pairs[delta.pair as usize].key;
            write(pair, delta.interval.name(), delta.time, &candles[*at], flush.now, &mut text);
            commands.push(&[b"PUBLISH", UPDATES.as_bytes(), text.as_bytes()]);
        }
        if let Err(error) = link.ask(&commands) {
            tracing::warn!("{}: {} changed candles were not published: {error}", link.address, changed.len());
            return;
        }
    }
}

fn write(pair: &PairKey, interval: &str, time: i64, candle: &Candle, now: i64, out: &mut String) {
    let Some(prices) = candle.prices() else { return };
    // A text is always JSON. The original's chain is a number; a chain whose name is none keeps its name.
    let quoted = |text: &str| serde_json::to_string(text).unwrap_or_default();
    let chain =
        pair.chain_id.parse::<i64>().map_or_else(|_| quoted(&pair.chain_id), |number| number.to_string());
    // Writing to a text cannot fail.
    let _ = write!(
        out,
        "{{\"pair_address\":{},\"chain_id\":{chain},\"interval\":\"{interval}\",\"candle_time\":{time}",
        quoted(&pair.pair)
    );
    for (name, price) in [
        (",\"open\":", prices.open),
        (",\"high\":", prices.high),
        (",\"low\":", prices.low),
        (",\"close\":", prices.close),
    ] {
        out.push_str(name);
        price.write_to(out);
    }
    out.push_str(",\"volume\":");
    candle.volume_usd.write_to(out);
    let _ = write!(out, ",\"timestamp\":{now}}}");
}
