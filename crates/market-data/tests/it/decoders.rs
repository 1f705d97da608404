//! The scanner and `serde_json` say the same of every message, broken ones included.

use market_data::decode::{Decoder, Element, Undecodable};
use market_data::{Aggregator, Counts, Place, Rejection};
use proptest::prelude::*;

use crate::support::{SETS, set};

const PLACE: Place = Place { partition: 3, offset: 42 };

fn decoded(decoder: &mut Decoder, value: &[u8]) -> Result<Vec<String>, Undecodable> {
    let mut out = Vec::new();
    decoder.decode(value, PLACE, |index, element| {
        // `pair_info` is lent as it stands; the oracle stands on text, so bytes that are none are shown as it has them.
        out.push(match element {
            Element::Trade { chain_id, pair, trade, pair_info } => {
                format!("{index} {chain_id} {pair} {trade:?} {}", String::from_utf8_lossy(pair_info))
            }
            other => format!("{index} {other:?}"),
        });
    })?;
    Ok(out)
}

fn assert_same(value: &[u8]) {
    assert_same_after(&[], value);
}

/// The same, also for a decoder that remembers how other messages were written, and this one.
fn assert_same_after(before: &[&[u8]], value: &[u8]) {
    let oracle = decoded(&mut Decoder::serde_only(), value);
    let mut decoder = Decoder::default();
    for before in before {
        let _ = decoded(&mut decoder, before);
    }
    for time in ["first", "second"] {
        let scanned = decoded(&mut decoder, value);
        assert_eq!(scanned, oracle, "the {time} time: {}", String::from_utf8_lossy(value));
    }
}

fn counts(value: &str) -> Counts {
    Aggregator::new().add_message(PLACE, value.as_bytes()).unwrap()
}

fn good() -> String {
    r#"{"chain_id":"1","pair_addr":"0xabc","type":"buy","token_amount":"12.5","total_usd":25.0,"token_price_usd":2,"block_time":1700000000}"#.to_owned()
}

fn rejection(change: (&str, &str)) -> Option<Rejection> {
    let trade = good().replace(change.0, change.1);
    assert_ne!(trade, good());
    assert_same(format!("[{trade}]").as_bytes());
    // The others of the message are counted all the same.
    let counts = counts(&format!("[{},{trade},{}]", good(), good()));
    let expected = if counts.rejected + counts.no_price + counts.liquidity > 0 { 2 } else { 3 };
    assert_eq!(counts.trades, expected);
    if counts.no_price > 0 { Some(Rejection::NoPrice) } else { counts.first_rejection.map(|(_, why)| why) }
}

#[test]
fn every_message_of_the_sets_reads_the_same_in_both() {
    // One decoder for all: it remembers the trades of one set when it reads the next.
    let mut decoder = Decoder::default();
    for name in SETS {
        for (_, value) in &set(name).messages {
            let oracle = decoded(&mut Decoder::serde_only(), value);
            assert_eq!(decoded(&mut decoder, value), oracle, "{}", String::from_utf8_lossy(value));
        }
    }
}

#[test]
fn one_bad_trade_spoils_only_itself() {
    use market_data::BadNumber::{NotANumber, TooLarge};
    let price = r#""token_price_usd":2"#;
    let with = |value: &str| format!(r#""token_price_usd":{value}"#);
    assert_eq!(rejection((price, &with("0"))), Some(Rejection::NoPrice));
    assert_eq!(rejection((price, &with("0.000"))), Some(Rejection::NoPrice));
    assert_eq!(rejection((price, &with("null"))), Some(Rejection::NoPrice));
    assert_eq!(rejection((price, &with("NaN"))), Some(Rejection::Number("token_price_usd", NotANumber)));
    assert_eq!(
        rejection((price, &with("-Infinity"))),
        Some(Rejection::Number("token_price_usd", NotANumber))
    );
    assert_eq!(rejection((price, &with("\"NaN\""))), Some(Rejection::Number("token_price_usd", NotANumber)));
    assert_eq!(rejection((price, &with("1e400"))), Some(Rejection::Number("token_price_usd", TooLarge)));
    assert_eq!(rejection((price, &with("[1]"))), Some(Rejection::WrongType("token_price_usd")));
    assert_eq!(rejection((price, &with("\"2.50\""))), None);
    assert_eq!(rejection(("12.5", "abc")), Some(Rejection::Number("token_amount", NotANumber)));
    assert_eq!(rejection((r#""0xabc""#, r#""""#)), Some(Rejection::NoPair));
    assert_eq!(rejection((r#""pair_addr":"0xabc","#, "")), Some(Rejection::NoPair));
    assert_eq!(rejection((r#""0xabc""#, "7")), Some(Rejection::WrongType("pair_addr")));
    assert_eq!(rejection(("1700000000", r#""yesterday""#)), Some(Rejection::WrongType("block_time")));
    assert_eq!(rejection(("1700000000", "1700000000000")), Some(Rejection::BadTime));
    assert_eq!(rejection((r#","block_time":1700000000"#, "")), Some(Rejection::BadTime));
    assert_eq!(rejection(("\"buy\"", "1")), Some(Rejection::WrongType("type")));
    assert_eq!(rejection(("\"buy\"", "\"add_position\"")), None);
}

#[test]
fn an_element_that_is_no_object_is_rejected_alone() {
    let counts = counts(&format!("[null, 5, [], \"x\", {{}}, {}]", good()));
    assert_eq!((counts.elements, counts.trades, counts.rejected), (6, 1, 5));
    assert_eq!(counts.first_rejection, Some((0, Rejection::NotAnObject)));
}

#[test]
fn an_empty_message_has_nothing_to_count() {
    assert_eq!(counts("[]"), Counts::default());
    assert_eq!(counts(" null "), Counts::default());
}

#[test]
fn a_broken_message_changes_nothing() {
    let mut aggregator = Aggregator::new();
    for (value, broken) in [
        (format!("[{},{{\"a\":", good()), true),
        (format!("[{}] x", good()), true),
        (String::new(), true),
        ("nonsense".to_owned(), true),
        (good(), false),
        ("5".to_owned(), false),
    ] {
        let refusal = aggregator.add_message(PLACE, value.as_bytes()).unwrap_err();
        assert_eq!(matches!(refusal, Undecodable::Broken(_)), broken, "{value}: {refusal}");
        assert_eq!(aggregator.waiting(), 0);
    }
    assert!(aggregator.take_deltas().is_empty());
}

#[test]
fn escapes_repeated_fields_and_a_numeric_chain_are_understood() {
    let trade = r#"{"chain_id_int":8453,"pair_addr":"a","p\u0061ir_addr":"0x\u0041\/b","name":"\ud83d\u20ac\n","token_price_usd":1,"token_price_usd":2.0,"block_time":1700000000}"#;
    let value = format!("[{trade}]");
    assert_same(value.as_bytes());
    let mut aggregator = Aggregator::new();
    aggregator.add_message(PLACE, value.as_bytes()).unwrap();
    let deltas = aggregator.take_deltas();
    assert_eq!((deltas.pairs[0].key.chain_id.as_str(), deltas.pairs[0].key.pair.as_str()), ("8453", "0xA/b"));
    assert_eq!(deltas.candles[0].candle.prices().unwrap().open.to_string(), "2");
}

#[test]
fn the_symbols_of_a_pair_are_learnt_from_its_first_trades() {
    let trade = |pair: &str, info: &str| {
        good().replace("0xabc", pair).replace('}', &format!(r#","pair_info":{info}}}"#))
    };
    let mut aggregator = Aggregator::new();
    let told = r#"{"token_symbol":"W\u20ac","base_token_symbol":"USDC","token_decimal":18}"#;
    let value = format!("[{},{},{}]", trade("a", "{}"), trade("a", told), trade("b", "[\"odd\"]"));
    assert_same(value.as_bytes());
    aggregator.add_message(PLACE, value.as_bytes()).unwrap();
    let pairs = aggregator.take_deltas().pairs;
    let symbols = pairs[0].symbols.as_ref().unwrap();
    assert_eq!((symbols.token.as_deref(), symbols.base_token.as_deref()), (Some("W\u{20ac}"), Some("USDC")));
    assert_eq!(pairs[1].symbols, None);
}

#[test]
fn the_first_elements_and_decoder_types_are_public() {
    // Sinks of other crates match on elements; this one keeps the shape from changing unseen.
    Decoder::default()
        .decode(format!("[{}]", good()).as_bytes(), PLACE, |_, element| {
            let Element::Trade { chain_id, pair, trade, .. } = element else { panic!("no trade") };
            assert_eq!((chain_id, pair, trade.order.partition, trade.order.offset), ("1", "0xabc", 3, 42));
        })
        .unwrap();
}

/// A trade as an exchange's or a chain's source writes it, of two pairs that may take turns.
fn written(pair: usize, time: u64) -> String {
    let pair = ["0xabc", "0xdef"][pair];
    format!(
        r#"{{"chain":"e\"th","chain_id":"1","chain_id_int":1,"pair_addr":"{pair}","tx_hash":"0x0123456789abcdef{time}","maker":"m\\u0041{time}","type":"sell","base_token_amount":1236.7526,"token_amount":0.02{time},"total_usd":"12.5","token_price_usd":61837.63,"block_num":0,"slot":{time},"block_time":{time},"log_index":0,"pair_info":{{"token_symbol":"W","of":"{pair}","list":[1,{{"x":"}}"}}]}},"clamp":false,"create_time":"2024-08-08T23:54:14.{time}Z"}}"#
    )
}

/// What is put in place of each value of a trade.
const VALUES: &[&str] = &[
    "null",
    "true",
    "false",
    "0",
    "-0",
    "7",
    "-7",
    "1.0",
    "1.5",
    "0.0",
    "1e3",
    "1e400",
    "1e-41",
    "01",
    "1.",
    "1e",
    "-",
    ".5",
    "tru",
    "12345678",
    "123456789",
    "1700000000",
    "1700000000000",
    "12345678901234567890123",
    "0.1234567890123456789012345678",
    "123456789012345678901234567890123456789012345",
    "\"\"",
    "\"buy\"",
    "\"sell\"",
    "\"sell \"",
    "\"add_position\"",
    "\"remove_position\"",
    "\"0xabc\"",
    "\"0xdef\"",
    "\"0xabd\"",
    "\"0xabcd\"",
    "\"1\"",
    "\"12.5\"",
    "\"12.\"",
    "\"NaN\"",
    "\"\\u0031\"",
    "\"a\\\"b\"",
    "\"\u{1}\"",
    "\"\u{e9}\"",
    "\"e\\xth\"",
    "\"e\\\"xth\"",
    "\"e\\",
    "\"m\\u00g1\"",
    "\"m\\u004",
    "\"open",
    "[]",
    "[1,2",
    "{}",
    "{\"token_symbol\":\"X\"}",
    "{\"a\":}",
    "NaN",
    "1 ",
    " 1",
    "1\n",
    "",
];

#[test]
fn a_trade_that_is_like_one_before_says_what_it_says() {
    let whole = written(0, 1_700_000_000);
    let before = format!("[{whole},{},{whole}]", written(1, 1_700_000_001));
    let parsed: serde_json::Map<String, serde_json::Value> = serde_json::from_str(&whole).unwrap();
    for name in parsed.keys() {
        let head = format!("\"{name}\":");
        // `pair_info` has no member of such a name.
        let start = whole.find(&head).unwrap() + head.len();
        let rest = &whole[start..];
        let len = if name == "pair_info" {
            rest.find(",\"clamp\"").unwrap()
        } else {
            let mut inside = serde_json::Deserializer::from_str(rest).into_iter::<serde::de::IgnoredAny>();
            inside.next().unwrap().unwrap();
            inside.byte_offset()
        };
        for value in VALUES {
            let changed = format!("{}{value}{}", &whole[..start], &rest[len..]);
            let message = format!("[{whole},{changed},{whole},{changed},{}]", written(1, 1_700_000_002));
            assert_same_after(&[before.as_bytes()], message.as_bytes());
        }
        // The member is missing, is given twice, has another name.
        let member = format!("{head}{},", &rest[..len]);
        for other in
            [String::new(), format!("{member}{head}\"buy\","), member.replacen(name.as_str(), "other", 1)]
        {
            let changed = whole.replacen(&member, &other, 1);
            let message = format!("[{changed},{whole},{changed},{changed}]");
            assert_same_after(&[before.as_bytes()], message.as_bytes());
            assert_same_after(&[message.as_bytes()], before.as_bytes());
        }
    }
}

#[test]
fn many_pairs_and_ways_to_write_read_the_same_in_both() {
    let mut decoder = Decoder::default();
    let mut state = 1u64;
    for _ in 0..300 {
        let trades: Vec<String> = (0..8)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                let pair = format!("0x{:03}", (state >> 33) % 40);
                let trade = written(0, 1_700_000_000 + (state >> 40) % 100).replace("0xabc", &pair);
                match (state >> 50) % 8 {
                    0 => trade.replace("\"block_num\":0", "\"block_num\":5"),
                    1 => trade.replace("\"clamp\":false,", ""),
                    2 => trade.replace(",\"", ", \""),
                    3 => trade.replace("\"chain_id\":\"1\",", ""),
                    _ => trade,
                }
            })
            .collect();
        let message = format!("[{}]", trades.join(","));
        let oracle = decoded(&mut Decoder::serde_only(), message.as_bytes());
        assert_eq!(decoded(&mut decoder, message.as_bytes()), oracle);
    }
}

/// JSON-like text: our fields, wrong types, odd numbers, nesting, white space.
fn json() -> impl Strategy<Value = String> {
    let scalar = prop_oneof![
        Just("null".to_owned()),
        Just("true".to_owned()),
        Just("false".to_owned()),
        Just("NaN".to_owned()),
        "-?[0-9]{1,25}",
        "-?[0-9]{1,3}\\.[0-9]{1,20}",
        "[0-9](\\.[0-9]{1,17})?[eE][+-]?[0-9]{1,3}",
        Just("\"buy\"".to_owned()),
        Just("\"0xabc\"".to_owned()),
        "\"[a-z0-9\\\\\"\\u{e9}\\u{1}n/]{0,12}\"",
        "\"[0-9]{1,4}(\\.[0-9]{1,3})?\"",
    ];
    let name = prop_oneof![
        Just("pair_addr"),
        Just("chain_id"),
        Just("chain_id_int"),
        Just("type"),
        Just("token_amount"),
        Just("total_usd"),
        Just("token_price_usd"),
        Just("block_num"),
        Just("slot"),
        Just("block_time"),
        Just("transaction_index"),
        Just("log_index"),
        Just("clamp"),
        Just("pair_info"),
        Just("maker"),
        Just("pair_\\u0061ddr"),
    ];
    let value = scalar.prop_recursive(3, 12, 4, move |inner| {
        let space = prop_oneof![Just(""), Just(" "), Just("\n\t")];
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(|v| format!("[{}]", v.join(","))),
            prop::collection::vec((name.clone(), space, inner), 0..8).prop_map(|members| {
                let members: Vec<String> =
                    members.iter().map(|(n, s, v)| format!("{s}\"{n}\"{s}:{s}{v}{s}")).collect();
                format!("{{{}}}", members.join(","))
            }),
        ]
    });
    prop::collection::vec(value, 0..4).prop_map(|elements| format!("[{}]", elements.join(", ")))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn odd_messages_read_the_same_in_both(before in json(), value in json()) {
        assert_same_after(&[before.as_bytes()], value.as_bytes());
    }

    #[test]
    fn damaged_messages_read_the_same_in_both(at in 0usize..2000, byte in any::<u8>(), cut in any::<bool>()) {
        let told = good().replace('}', r#","pair_info":{"token_symbol":"W","decimals":[18,{"x":"}"}]},"clamp":false}"#);
        let whole = format!("[{},{told},{},{told}]", good(), good()).into_bytes();
        let mut value = whole.clone();
        let at = at % value.len();
        if cut { value.truncate(at) } else { value[at] = byte }
        assert_same(&value);
        // Where it is remembered how the whole one is written, the damage is seen all the same.
        assert_same_after(&[&whole], &value);
    }

    #[test]
    fn damaged_trades_that_are_like_ones_before_read_the_same_in_both(
        at in 0usize..2000, bytes in prop::collection::vec(any::<u8>(), 0..3), removed in 0usize..4, cut in any::<bool>(),
    ) {
        let whole = format!("[{},{},{}]", written(0, 1_700_000_000), written(1, 1_700_000_001), written(0, 1_700_000_012));
        let mut value = whole.clone().into_bytes();
        let at = at % value.len();
        if cut { value.truncate(at) } else { drop(value.splice(at..(at + removed).min(value.len()), bytes)) }
        assert_same_after(&[whole.as_bytes()], &value);
        // What the damaged one was like spoils nothing that comes after it.
        assert_same_after(&[whole.as_bytes(), &value], whole.as_bytes());
    }
}
