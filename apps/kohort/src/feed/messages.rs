//! Trade lines to messages: a JSON array for each slot or block, as the chain parsers send them.
//!
//! All trades of one slot or block (of one second, where the trades have neither) are in *one* message, wherever they
//! stand in the file: trades whose order fields are all equal are told apart only by their place in the array. The text
//! of a trade is passed on as it is written; only its times can be moved, in place.

use std::collections::HashMap;
use std::ops::Range;

use serde::de::{Deserializer, IgnoredAny, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::time::rfc3339;

/// What the key of a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub(crate) enum Keying {
    /// The slot or block number as decimal text, as the original does
    #[default]
    Slot,
    /// The pair's address; a message then holds one pair's trades of a slot
    Pair,
    /// No key
    None,
}

/// The largest value we make; the original's producer stops at 10485760 with its overhead.
const VALUE_BYTES_MAX: usize = 10_000_000;

/// One message to be.
#[derive(Debug, Clone)]
pub(crate) struct Message {
    /// The key, if any.
    pub(crate) key: Option<String>,
    /// The value, a JSON array of trades.
    pub(crate) value: Vec<u8>,
    /// The chain of its trades, as their `chain_id` says, "" if they say none.
    pub(crate) chain_id: String,
    /// How many trades it holds.
    pub(crate) trades: u32,
    /// `block_time` of its first trade, milliseconds since the epoch.
    pub(crate) time_ms: i64,
    times: Vec<TimeSpot>,
}

/// Where in a value a time stands, and which.
#[derive(Debug, Clone)]
struct TimeSpot {
    range: Range<usize>,
    kind: TimeKind,
    ms: i64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TimeKind {
    /// `block_time`, whole seconds.
    Seconds,
    /// `block_time_ms`.
    Millis,
    /// `create_time`, RFC 3339 text: becomes the time of its trade.
    Text,
    /// Behind the last character of `tx_hash`: what happens at another time is another transaction.
    Behind,
}

impl Message {
    /// Writes the value into `out` (which is cleared), each time replaced by `map` of it, in milliseconds.
    pub(crate) fn write_at(&self, out: &mut Vec<u8>, map: impl Fn(i64) -> i64) {
        self.write(out, false, map);
    }

    /// The same as trades of their own: the new time stands behind each `tx_hash` too, or whoever knows trades by their transactions
    /// would take them for those of the last time.
    pub(crate) fn write_anew(&self, out: &mut Vec<u8>, map: impl Fn(i64) -> i64) {
        self.write(out, true, map);
    }

    fn write(&self, out: &mut Vec<u8>, anew: bool, map: impl Fn(i64) -> i64) {
        out.clear();
        let mut from = 0;
        for spot in self.times.iter().filter(|spot| anew || spot.kind != TimeKind::Behind) {
            out.extend_from_slice(&self.value[from..spot.range.start]);
            let ms = map(spot.ms);
            let text = match spot.kind {
                TimeKind::Seconds => ms.div_euclid(1000).to_string(),
                TimeKind::Millis => ms.to_string(),
                TimeKind::Text => format!("\"{}\"", rfc3339(ms)),
                TimeKind::Behind => format!("@{ms}"),
            };
            out.extend_from_slice(text.as_bytes());
            from = spot.range.end;
        }
        out.extend_from_slice(&self.value[from..]);
    }
}

/// Why a line is no trade.
#[derive(Debug, thiserror::Error)]
#[error("line {line} is no trade: {what}")]
pub(crate) struct NotATrade {
    /// The line, from 1.
    pub(crate) line: usize,
    /// What serde says, with the column.
    what: String,
}

impl NotATrade {
    fn new(line: usize, error: &serde_json::Error) -> NotATrade {
        // To serde each of our lines is the first.
        let what = error.to_string().replace(" at line 1 column ", " at column ");
        NotATrade { line, what }
    }
}

/// Collects lines into messages, in the order in which their slots first stand in the file.
#[derive(Debug)]
pub(crate) struct Messages {
    keying: Keying,
    messages: Vec<Message>,
    open: HashMap<Group, usize>,
    lines: usize,
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Group {
    chain_id: String,
    number: Number,
    pair: Option<String>,
}

/// What holds trades together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Number {
    Slot(i64),
    Block(i64),
    Second(i64),
}

impl Number {
    fn value(self) -> i64 {
        match self {
            Number::Slot(number) | Number::Block(number) | Number::Second(number) => number,
        }
    }
}

impl Messages {
    /// Nothing yet.
    pub(crate) fn new(keying: Keying) -> Messages {
        Messages { keying, messages: Vec::new(), open: HashMap::new(), lines: 0 }
    }

    /// Adds the next line. Empty lines are no trades and no mistake.
    ///
    /// # Errors
    /// A line that is not a JSON object.
    pub(crate) fn add(&mut self, line: &str) -> Result<(), NotATrade> {
        self.lines += 1;
        let line = line.trim();
        if line.is_empty() {
            return Ok(());
        }
        let fields = Fields::of(line).map_err(|error| NotATrade::new(self.lines, &error))?;
        let number = match (fields.slot, fields.block_num) {
            (Some(slot), _) if slot != 0 => Number::Slot(slot),
            (_, Some(block)) if block != 0 => Number::Block(block),
            _ => Number::Second(fields.block_time),
        };
        let pair = (self.keying == Keying::Pair).then(|| fields.pair_addr.clone());
        let key = match self.keying {
            Keying::Slot => Some(number.value().to_string()),
            Keying::Pair => pair.clone(),
            Keying::None => None,
        };
        let group = Group { chain_id: fields.chain_id.clone(), number, pair };
        let index = match self.open.get(&group) {
            Some(&index) if self.messages[index].value.len() + line.len() < VALUE_BYTES_MAX => index,
            _ => {
                self.messages.push(Message {
                    key,
                    value: vec![b'['],
                    chain_id: fields.chain_id.clone(),
                    trades: 0,
                    time_ms: fields.block_time.saturating_mul(1000),
                    times: Vec::new(),
                });
                self.open.insert(group, self.messages.len() - 1);
                self.messages.len() - 1
            }
        };
        self.messages[index].append(line, fields.times);
        Ok(())
    }

    /// The messages, whole.
    pub(crate) fn finish(mut self) -> Vec<Message> {
        for message in &mut self.messages {
            message.value.push(b']');
            message.value.shrink_to_fit();
        }
        self.messages
    }
}

impl Message {
    fn append(&mut self, line: &str, times: Vec<TimeSpot>) {
        if self.trades > 0 {
            self.value.push(b',');
        }
        let start = self.value.len();
        self.value.extend_from_slice(line.as_bytes());
        self.times.extend(
            times
                .into_iter()
                .map(|spot| TimeSpot { range: spot.range.start + start..spot.range.end + start, ..spot }),
        );
        self.trades += 1;
    }
}

/// What a message needs to know of a trade; everything else is passed on unread.
#[derive(Debug, Default)]
struct Fields {
    chain_id: String,
    pair_addr: String,
    slot: Option<i64>,
    block_num: Option<i64>,
    block_time: i64,
    times: Vec<TimeSpot>,
}

impl Fields {
    fn of(line: &str) -> Result<Fields, serde_json::Error> {
        let mut deserializer = serde_json::Deserializer::from_str(line);
        let mut fields = deserializer.deserialize_map(FieldsVisitor { line })?;
        deserializer.end()?;
        // These have no number of their own here: they follow their trade.
        let trade_ms = fields.block_time.saturating_mul(1000);
        for spot in &mut fields.times {
            if matches!(spot.kind, TimeKind::Text | TimeKind::Behind) {
                spot.ms = trade_ms;
            }
        }
        Ok(fields)
    }

    fn spot(&mut self, line: &str, raw: &RawValue, kind: TimeKind, ms: i64) {
        // The raw text is a slice of the line, so the distance between the two is its place.
        let start = raw.get().as_ptr().addr() - line.as_ptr().addr();
        let end = start + raw.get().len();
        let range = if kind == TimeKind::Behind { end - 1..end - 1 } else { start..end };
        self.times.push(TimeSpot { range, kind, ms });
    }
}

struct FieldsVisitor<'a> {
    line: &'a str,
}

impl<'de> Visitor<'de> for FieldsVisitor<'de> {
    type Value = Fields;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a trade object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Fields, A::Error> {
        let mut fields = Fields::default();
        while let Some(name) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            match name.as_ref() {
                "chain_id" => fields.chain_id = text(map.next_value()?),
                "pair_addr" => fields.pair_addr = text(map.next_value()?),
                "slot" => fields.slot = integer(map.next_value()?),
                "block_num" => fields.block_num = integer(map.next_value()?),
                "block_time" => {
                    let raw: &RawValue = map.next_value()?;
                    if let Some(seconds) = integer(raw) {
                        fields.block_time = seconds;
                        fields.spot(self.line, raw, TimeKind::Seconds, seconds.saturating_mul(1000));
                    }
                }
                "block_time_ms" => {
                    let raw: &RawValue = map.next_value()?;
                    if let Some(ms) = integer(raw) {
                        fields.spot(self.line, raw, TimeKind::Millis, ms);
                    }
                }
                "create_time" => {
                    let raw: &RawValue = map.next_value()?;
                    fields.spot(self.line, raw, TimeKind::Text, 0);
                }
                "tx_hash" => {
                    let raw: &RawValue = map.next_value()?;
                    if raw.get().starts_with('"') && raw.get().len() > 2 {
                        fields.spot(self.line, raw, TimeKind::Behind, 0);
                    }
                }
                _ => drop(map.next_value::<IgnoredAny>()?),
            }
        }
        Ok(fields)
    }
}

/// The text of a JSON string or number; quotes are dropped, escapes are not expected in addresses and ids.
fn text(raw: &RawValue) -> String {
    raw.get().trim_matches('"').to_owned()
}

/// An integer, or a string that holds one; also as JSON may spell it: `1704412800.0`, `1.7044128e9`.
fn integer(raw: &RawValue) -> Option<i64> {
    /// Up to here every integer is a float64 of its own.
    const EXACT_MAX: f64 = 9_007_199_254_740_992.0;
    let text = raw.get().trim_matches('"');
    let spelled = || text.parse().ok().filter(|n: &f64| n.fract() == 0.0 && n.abs() < EXACT_MAX);
    text.parse().ok().or_else(|| spelled().map(|n| n as i64))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(keying: Keying, lines: &[&str]) -> Vec<Message> {
        let mut messages = Messages::new(keying);
        for line in lines {
            messages.add(line).unwrap();
        }
        messages.finish()
    }

    fn values(messages: &[Message]) -> Vec<(Option<&str>, &str)> {
        messages.iter().map(|m| (m.key.as_deref(), std::str::from_utf8(&m.value).unwrap())).collect()
    }

    #[test]
    fn a_message_holds_the_trades_of_one_slot_or_block_or_second() {
        let lines = [
            r#"{"slot":7,"block_num":5,"a":1}"#,
            r#"{"slot":7,"block_num":5,"a":2}"#,
            r#"{"block_num":"7","a":3}"#,
            "",
            r#"{"block_time":9,"a":4}"#,
            r#"{"block_time":10,"a":5}"#,
            r#"{"block_time":9.0,"a":6}"#,
        ];
        assert_eq!(
            values(&collect(Keying::Slot, &lines)),
            [
                (Some("7"), r#"[{"slot":7,"block_num":5,"a":1},{"slot":7,"block_num":5,"a":2}]"#),
                (Some("7"), r#"[{"block_num":"7","a":3}]"#),
                (Some("9"), r#"[{"block_time":9,"a":4},{"block_time":9.0,"a":6}]"#),
                (Some("10"), r#"[{"block_time":10,"a":5}]"#),
            ]
        );
    }

    #[test]
    fn blocks_of_two_chains_are_two_messages() {
        let lines = [r#"{"chain_id":"1","block_num":5}"#, r#"{"chain_id":"137","block_num":5}"#];
        assert_eq!(collect(Keying::Slot, &lines).len(), 2);
    }

    #[test]
    fn keyed_by_pair_a_message_holds_one_pair() {
        let lines = [
            r#"{"block_num":5,"pair_addr":"x"}"#,
            r#"{"block_num":5,"pair_addr":"y"}"#,
            r#"{"block_num":5,"pair_addr":"x"}"#,
        ];
        let messages = collect(Keying::Pair, &lines);
        assert_eq!(
            messages.iter().map(|m| (m.key.as_deref(), m.trades)).collect::<Vec<_>>(),
            [(Some("x"), 2), (Some("y"), 1)]
        );
        assert_eq!(collect(Keying::None, &lines)[0].key, None);
    }

    #[test]
    fn times_move_in_place_and_nothing_else_changes() {
        let line = r#"{"p":1.50,"block_time":1704412823,"pair_info":{"block_time":5},"block_time_ms":1704412823342,"create_time":"x"}"#;
        let message = &collect(Keying::Slot, &[line])[0];
        let mut out = Vec::new();
        message.write_at(&mut out, |ms| ms + 60_000);
        assert_eq!(
            std::str::from_utf8(&out).unwrap(),
            r#"[{"p":1.50,"block_time":1704412883,"pair_info":{"block_time":5},"block_time_ms":1704412883342,"create_time":"2024-01-05T00:01:23.000Z"}]"#
        );
        assert_eq!(message.time_ms, 1_704_412_823_000);
    }

    #[test]
    fn a_trade_that_is_played_anew_is_another_transaction() {
        let line = r#"{"tx_hash":"0xab","block_time":5,"hash_id":"0xab-1"}"#;
        let message = &collect(Keying::Slot, &[line, r#"{"tx_hash":"","block_time":5}"#])[0];
        let mut out = Vec::new();
        message.write_anew(&mut out, |ms| ms + 60_000);
        let anew =
            r#"[{"tx_hash":"0xab@65000","block_time":65,"hash_id":"0xab-1"},{"tx_hash":"","block_time":65}]"#;
        assert_eq!(std::str::from_utf8(&out).unwrap(), anew);
        message.write_at(&mut out, |ms| ms + 60_000);
        assert_eq!(std::str::from_utf8(&out).unwrap(), anew.replace("@65000", ""));
    }

    #[test]
    fn a_line_that_is_no_object_is_named() {
        let mut messages = Messages::new(Keying::Slot);
        messages.add("{}").unwrap();
        assert_eq!(messages.add("[1]").unwrap_err().line, 2);
        assert_eq!(messages.add(r#"{"a":1"#).unwrap_err().line, 3);
        assert_eq!(messages.add(r#"{"a":1} x"#).unwrap_err().line, 4);
    }
}
