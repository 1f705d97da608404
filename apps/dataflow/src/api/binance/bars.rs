//! Which event of a candle is its closing one, and the payload of an event.

use std::collections::BTreeMap;

use market_data::Candle;
use serde::Serialize;

use super::stream::Stream;
use candles::hub::live::Key;

/// How long a candle whose time is over rests before it counts as closed: trades arrive after their block's time.
pub(super) const GRACE_MS: i64 = 2_000;

/// The newest candle of every stream that a connection was told of.
#[derive(Debug, Default)]
pub(super) struct Bars(BTreeMap<Stream, Bar>);

#[derive(Debug)]
struct Bar {
    time: i64,
    candle: Candle,
    closed: bool,
    closes_at_ms: i64,
    /// The one that closed before it.
    before: Option<(i64, Candle)>,
}

/// A state of a candle that is to be told.
#[derive(Debug, PartialEq)]
pub(super) struct Event {
    pub(super) stream: Stream,
    /// Start, unix seconds.
    time: i64,
    candle: Candle,
    closed: bool,
}

impl Bars {
    /// What to tell of a candle that changed. Candles of one stream come oldest first.
    pub(super) fn changed(
        &mut self,
        (pair, interval, time): &Key,
        candle: Candle,
        now_ms: i64,
    ) -> Vec<Event> {
        let (time, stream) = (*time, Stream::of(pair, *interval));
        let event = |time, candle, closed| Event { stream: stream.clone(), time, candle, closed };
        let closes_at_ms = now_ms.max((time + interval.seconds()) * 1000) + GRACE_MS;
        let Some(bar) = self.0.get_mut(&stream) else {
            let events = vec![event(time, candle, false)];
            self.0.insert(stream, Bar { time, candle, closed: false, closes_at_ms, before: None });
            return events;
        };
        if time < bar.time {
            // A late trade. The state that closed it may come again (the store was read): nothing new.
            if bar.before == Some((time, candle)) {
                return vec![];
            }
            if bar.before.is_none_or(|(before, _)| before <= time) {
                bar.before = Some((time, candle));
            }
            return vec![event(time, candle, true)];
        }
        if time == bar.time {
            if bar.closed && bar.candle == candle {
                return vec![];
            }
            bar.candle = candle;
            bar.closes_at_ms = closes_at_ms;
            return vec![event(time, candle, bar.closed)];
        }
        let mut events = Vec::with_capacity(2);
        if !bar.closed {
            events.push(event(bar.time, bar.candle, true));
        }
        events.push(event(time, candle, false));
        *bar = Bar { time, candle, closed: false, closes_at_ms, before: Some((bar.time, bar.candle)) };
        events
    }

    /// The candles that closed because their time is over and they rest.
    pub(super) fn due(&mut self, now_ms: i64) -> Vec<Event> {
        let due = self.0.iter_mut().filter(|(_, bar)| !bar.closed && bar.closes_at_ms <= now_ms);
        let close = |(stream, bar): (&Stream, &mut Bar)| {
            bar.closed = true;
            Event { stream: stream.clone(), time: bar.time, candle: bar.candle, closed: true }
        };
        due.map(close).collect()
    }

    /// When to ask what is [`due`](Bars::due), Unix milliseconds.
    pub(super) fn deadline(&self) -> Option<i64> {
        self.0.values().filter(|bar| !bar.closed).map(|bar| bar.closes_at_ms).min()
    }

    /// What was told last may be out of date, and closes nothing: its candles went on and were passed over.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// A stream is followed no more.
    pub(super) fn leave(&mut self, stream: &Stream) {
        self.0.remove(stream);
    }
}

#[derive(Debug, Serialize)]
struct Combined<'a> {
    stream: String,
    data: Payload<'a>,
}

#[derive(Debug, Serialize)]
#[expect(non_snake_case, reason = "Binance's names: case tells the close time from the open time")]
struct Payload<'a> {
    e: &'static str,
    E: i64,
    s: &'a str,
    k: Kline<'a>,
}

#[derive(Debug, Serialize)]
#[expect(non_snake_case, reason = "Binance's names: case tells the close time from the open time")]
struct Kline<'a> {
    t: i64,
    T: i64,
    s: &'a str,
    i: &'static str,
    /// Trades have no numbers on a chain.
    f: i64,
    L: i64,
    o: String,
    c: String,
    h: String,
    l: String,
    v: String,
    n: u64,
    x: bool,
    q: String,
    /// Candles keep how many trades bought, not how much.
    V: &'static str,
    Q: &'static str,
    B: &'static str,
}

impl Event {
    /// The event as a frame; `None` for a candle without prices. Times are in milliseconds, or in microseconds.
    pub(super) fn frame(&self, combined: bool, micros: bool, now_micros: i64) -> Option<String> {
        let prices = self.candle.prices()?;
        let (second, now) = if micros { (1_000_000, now_micros) } else { (1000, now_micros / 1000) };
        let symbol = self.stream.symbol();
        let interval = self.stream.interval();
        let k = Kline {
            t: self.time * second,
            T: (self.time + interval.seconds()) * second - 1,
            s: &symbol,
            i: interval.name(),
            f: -1,
            L: -1,
            o: prices.open.to_string(),
            c: prices.close.to_string(),
            h: prices.high.to_string(),
            l: prices.low.to_string(),
            v: self.candle.token_volume.to_string(),
            n: self.candle.count,
            x: self.closed,
            q: self.candle.volume_usd.to_string(),
            V: "0",
            Q: "0",
            B: "0",
        };
        let data = Payload { e: "kline", E: now, s: &symbol, k };
        let frame = if combined {
            serde_json::to_string(&Combined { stream: self.stream.to_string(), data })
        } else {
            serde_json::to_string(&data)
        };
        frame.ok()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use market_data::{Aggregator, Interval, PairKey, Place};

    use super::*;

    fn key(time: i64) -> Key {
        (Arc::new(PairKey::new("1", "0xAb")), Interval::M1, time)
    }

    fn candle(price: &str) -> Candle {
        let mut aggregator = Aggregator::new();
        let value = format!(
            r#"[{{"chain_id":"1","pair_addr":"0xAb","type":"buy","total_usd":10.25,"token_amount":0.000000000000000003,
            "token_price_usd":{price},"block_time":60}}]"#
        );
        aggregator.add_message(Place { partition: 0, offset: 0 }, value.as_bytes()).unwrap();
        aggregator.take_deltas().candles[0].candle
    }

    fn told(events: &[Event]) -> Vec<(i64, bool)> {
        events.iter().map(|event| (event.time, event.closed)).collect()
    }

    #[test]
    fn the_digits_are_those_of_the_candle() {
        let price = "0.00000000000123456789012345";
        let events = Bars::default().changed(&key(60), candle(price), 61_000);
        assert_eq!(
            events[0].frame(false, false, 61_000_123).unwrap(),
            format!(
                r#"{{"e":"kline","E":61000,"s":"1:0XAB","k":{{"t":60000,"T":119999,"s":"1:0XAB","i":"1m","f":-1,"L":-1,"o":"{price}","c":"{price}","h":"{price}","l":"{price}","v":"0.000000000000000003","n":1,"x":false,"q":"10.25","V":"0","Q":"0","B":"0"}}}}"#
            )
        );
        let combined = events[0].frame(true, true, 61_000_123).unwrap();
        let combined: serde_json::Value = serde_json::from_str(&combined).unwrap();
        assert_eq!(combined["stream"], "1:0xab@kline_1m");
        let data = &combined["data"];
        assert_eq!((&data["E"], &data["k"]["t"]), (&61_000_123.into(), &60_000_000.into()));
        assert_eq!(data["k"]["T"], 119_999_999);
    }

    #[test]
    fn a_later_candle_closes_the_one_before_it_once() {
        let mut bars = Bars::default();
        assert_eq!(told(&bars.changed(&key(60), candle("1"), 61_000)), [(60, false)]);
        assert_eq!(told(&bars.changed(&key(120), candle("2"), 121_000)), [(60, true), (120, false)]);
        assert_eq!(bars.changed(&key(60), candle("1"), 121_500), [], "nothing new");
        assert_eq!(told(&bars.changed(&key(60), candle("3"), 121_500)), [(60, true)], "a late trade");
        assert_eq!(told(&bars.due(200_000)), [(120, true)]);
        assert_eq!(told(&bars.changed(&key(180), candle("2"), 201_000)), [(180, false)]);
    }

    #[test]
    fn a_candle_whose_time_is_over_closes_when_it_rests() {
        let mut bars = Bars::default();
        bars.changed(&key(60), candle("1"), 61_000);
        assert_eq!(bars.deadline(), Some(120_000 + GRACE_MS));
        assert_eq!(bars.due(120_000 + GRACE_MS - 1), []);
        // Still counting: a day of the past is replayed, or a block is late.
        assert_eq!(told(&bars.changed(&key(60), candle("2"), 121_000)), [(60, false)]);
        assert_eq!(bars.due(120_000 + GRACE_MS), []);
        assert_eq!(told(&bars.due(121_000 + GRACE_MS)), [(60, true)]);
        assert_eq!((bars.due(999_000), bars.deadline()), (vec![], None));
        assert_eq!(told(&bars.changed(&key(60), candle("3"), 999_000)), [(60, true)], "a late trade");
        assert_eq!(bars.deadline(), None);
    }
}
