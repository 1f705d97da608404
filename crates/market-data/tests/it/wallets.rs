//! Known wallets: every real set has exactly its expected matches, with a million strangers in the book too.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use market_data::wallets::{
    AddressBook, BookList, FalsePositiveRate, Known, Matched, Matcher, Probe, WalletTrade, canonical,
    read_list,
};
use market_data::{Place, Rejection, Side};
use serde_json::Value;

use crate::support::{Set, set, text};

const SETS: [&str; 3] = ["dex_eth_univ3_20240105", "dex_evm_blocks_mixed", "dex_sol_slot_254170887"];
const STRANGERS: u64 = 1_000_000;

/// SplitMix64.
fn random(seed: u64) -> u64 {
    let mut z = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A random EVM address.
fn stranger(seed: u64) -> String {
    let [a, b, c] = [1, 2, 3].map(|i| random(seed * 3 + i));
    format!("0x{a:016x}{b:016x}{:08x}", c as u32)
}

/// The addresses of all sets, as they ship, and a million others.
fn book() -> &'static AddressBook {
    static BOOK: OnceLock<AddressBook> = OnceLock::new();
    BOOK.get_or_init(|| {
        let mut list = BookList::default();
        for name in SETS {
            read_list(&text(&format!("{name}.smart_money_addresses.txt")), &mut list).unwrap();
        }
        for seed in 0..STRANGERS {
            list.push(&Known::new(&stranger(seed), "", "").unwrap());
        }
        let book = AddressBook::new(FalsePositiveRate::DEFAULT);
        book.replace(list, []).unwrap();
        book
    })
}

fn search(matcher: &mut Matcher, set: &Set) -> (Vec<WalletTrade>, Matched) {
    let topic: Arc<str> = "trades".into();
    let (mut found, mut counts) = (Vec::new(), Matched::default());
    for (place, (_, value)) in set.places(3).into_iter().zip(&set.messages) {
        counts.add(&matcher.read_message(&topic, place, value, &mut found).unwrap());
    }
    (found, counts)
}

#[test]
fn every_set_has_its_expected_matches_for_each_address() {
    for name in SETS {
        let expected: Value = serde_json::from_str(&text(&format!("{name}.expected.json"))).unwrap();
        let number = |field: &str| expected[field].as_u64().unwrap();
        // Its own list alone: an address of one set may be a stranger in another.
        let mut list = BookList::default();
        read_list(&text(&format!("{name}.smart_money_addresses.txt")), &mut list).unwrap();
        assert_eq!(list.len() as u64, number("list_size"), "{name}");
        let small = AddressBook::new(FalsePositiveRate::DEFAULT);
        small.replace(list, []).unwrap();
        let (found, counts) = search(&mut Matcher::new(&small), &set(name));
        assert_eq!(counts.matches, number("matching_trades"), "{name}: {counts:?}");
        assert_eq!(counts.elements - counts.matches, number("not_matching_trades"), "{name}");
        assert_eq!((counts.elements, counts.rejected), (number("trades"), 0), "{name}: {counts:?}");

        let mut per_address: BTreeMap<&str, (u64, market_data::Sum, Vec<&str>)> = BTreeMap::new();
        for trade in &found {
            let (trades, volume, pairs) =
                per_address.entry(&trade.maker).or_insert((0, market_data::Sum::ZERO, Vec::new()));
            *trades += 1;
            volume.add(&trade.total_usd);
            pairs.push(&trade.id.pair);
        }
        let wanted = expected["per_address"].as_object().unwrap();
        assert_eq!(per_address.len(), wanted.len(), "{name}");
        for (address, (trades, volume, mut pairs)) in per_address {
            let wanted = &wanted[address];
            pairs.sort_unstable();
            pairs.dedup();
            assert_eq!(trades, wanted["trades"].as_u64().unwrap(), "{name} {address}");
            assert_eq!(pairs.len() as u64, wanted["pairs"].as_u64().unwrap(), "{name} {address}");
            // The reference rounds to six places.
            let volume: f64 = volume.to_string().parse().unwrap();
            let off = (volume - wanted["volume_usd"].as_f64().unwrap()).abs();
            assert!(off < 0.000_001, "{name} {address}: {volume}");
        }
        let mut ids: Vec<_> = found.iter().map(|trade| &trade.id).collect();
        ids.sort();
        ids.dedup();
        assert_eq!(ids.len(), found.len(), "{name}: each trade has an identity of its own");

        // With a million strangers beside them the same trades are found, and more only where another set's list has the maker.
        let (among_many, counts) = search(&mut Matcher::new(book()), &set(name));
        let own = |trade: &&WalletTrade| wanted.contains_key(&*trade.maker);
        let of_list: Vec<&WalletTrade> = among_many.iter().filter(own).collect();
        assert!(found.iter().eq(of_list), "{name}");
        for other in among_many.iter().filter(|trade| !own(trade)) {
            assert!(SETS.iter().any(|set| {
                text(&format!("{set}.smart_money_addresses.txt")).lines().any(|line| line == &*other.maker)
            }));
        }
        assert_eq!(counts.rejected, 0);
    }
}

#[test]
fn at_a_million_addresses_the_filter_keeps_its_rate_and_an_address_takes_few_bytes() {
    let snapshot = book().snapshot();
    let asked = STRANGERS;
    let mut wrong = 0;
    for seed in 0..asked {
        match snapshot.probe(stranger(STRANGERS + seed).as_bytes()) {
            Probe::Absent => {}
            Probe::FalsePositive => wrong += 1,
            Probe::Known => panic!("a stranger is known"),
        }
    }
    let (stated, measured) = (book().rate().get(), f64::from(wrong) / asked as f64);
    let per_address = snapshot.bytes() as f64 / snapshot.len() as f64;
    println!(
        "{} addresses: {per_address:.1} bytes each, false positives {measured:.6} of {stated}",
        snapshot.len()
    );
    assert!(measured < stated * 1.3, "{measured}");
    assert!(measured > stated * 0.7, "{measured}: the filter is larger than stated");
    assert!(per_address < 34.0, "{per_address}");
    for seed in (0..STRANGERS).step_by(1009) {
        assert_eq!(
            snapshot.probe(stranger(seed).to_uppercase().replacen("0X", "0x", 1).as_bytes()),
            Probe::Known
        );
    }
}

const MAKER: &str = "0x5050e08626c499411b5d0e0b5af0e83d3fd82edf";

fn read(value: &str) -> (Vec<WalletTrade>, Matched) {
    let book = AddressBook::new(FalsePositiveRate::DEFAULT);
    let mut list = BookList::default();
    list.push(&Known::new(MAKER, "whale", "").unwrap());
    list.push(&Known::new("SoLana", "", "sol").unwrap());
    book.replace(list, []).unwrap();
    let mut found = Vec::new();
    let place = Place { partition: 2, offset: 7 };
    let counts = Matcher::new(&book).read_message(&"t".into(), place, value.as_bytes(), &mut found).unwrap();
    (found, counts)
}

fn trade(more: &str) -> String {
    format!(
        r#"{{"chain_id":"1","pair_addr":"0xAA","maker":"{}","type":"buy","total_usd":1.50,"token_amount":"3","token_price_usd":0.5,"block_time":60{more}}}"#,
        MAKER.to_uppercase().replacen("0X", "0x", 1)
    )
}

#[test]
fn what_is_kept_of_a_trade_is_what_it_says() {
    let more = r#","tx_hash":"0xAB","log_index":5,"transaction_index":4,"block_num":9,"slot":8,"swap_name":"v3","clamp":true,
        "base_token_amount":1e-9,"pair_info":{"token_addr":"0xCC","token_symbol":"T","base_token_addr":"0xDD","base_token_symbol":"B"}"#;
    let (found, counts) = read(&format!("[{}]", trade(more)));
    assert_eq!((counts.elements, counts.probes, counts.matches), (1, 1, 1));
    let [found] = found.try_into().unwrap();
    assert_eq!(found.id.to_string(), "1/0xaa/0xab/5");
    assert_eq!((&*found.maker, &*found.label, found.side), (MAKER, "whale", Side::Buy));
    assert_eq!(
        (&*found.token, &*found.token_symbol, &*found.base_token, &*found.base_token_symbol),
        ("0xcc", "T", "0xdd", "B")
    );
    assert_eq!(
        [found.total_usd, found.token_amount, found.base_token_amount].map(|sum| sum.to_string()),
        ["1.5", "3", "0.000000001"]
    );
    assert_eq!(found.price.unwrap().to_string(), "0.5");
    assert_eq!((found.block_time, found.block_num, found.slot), (60, 9, 8));
    assert_eq!((found.transaction_index, found.log_index, found.index), (4, 5, 0));
    assert_eq!((&*found.swap_name, found.clamp, &*found.topic, found.place.offset), ("v3", true, "t", 7));
}

#[test]
fn an_identity_is_of_what_the_trade_gives() {
    let id = |more: &str| read(&format!("[1,{}]", trade(more))).0[0].id.to_string();
    assert_eq!(id(r#","tx_hash":"0xAB","hash_id":"0xab-7""#), "1/0xaa/0xab/0");
    assert_eq!(id(r#","tx_hash":"","hash_id":"0xAB-7","log_index":7"#), "1/0xaa/0xAB-7/7");
    assert_eq!(id(""), "1/0xaa/t-2@7/1");
    let (found, _) = read(&format!("[{},{}]", trade(""), trade("")));
    assert_ne!(found[0].id, found[1].id, "nothing but their places tells them apart");
}

#[test]
fn what_is_no_trade_of_a_known_wallet_here_is_counted_and_not_kept() {
    let liquidity = trade("").replace("buy", "add_position");
    let elsewhere = trade("").replace(&MAKER.to_uppercase().replacen("0X", "0x", 1), "SoLana");
    let nobody = r#"{"pair_addr":1}"#;
    let unsure = trade("").replace("0.5", "0");
    let (found, counts) = read(&format!("[{liquidity},{elsewhere},{nobody},{unsure}]"));
    assert_eq!((counts.liquidity, counts.other_chain, counts.no_maker, counts.probes), (1, 1, 1, 3));
    assert_eq!(
        (counts.rejected, found.len(), found[0].price),
        (0, 1, None),
        "a trade without a price is a trade"
    );
}

#[test]
fn what_is_wrong_with_a_known_wallets_trade_is_told_with_its_index_and_spoils_no_other() {
    for (wrong, why) in [
        ("7".to_owned(), Rejection::NotAnObject),
        (r#"{"maker":7}"#.to_owned(), Rejection::WrongType("maker")),
        (trade("").replace("0xAA", ""), Rejection::NoPair),
        (trade("").replace(":60", ":0"), Rejection::BadTime),
        (trade(r#","tx_hash":7"#), Rejection::WrongType("tx_hash")),
        (trade(&format!(r#","tx_hash":"{}""#, "a".repeat(300))), Rejection::BadText("tx_hash")),
        (trade("").replace("1.50", "-1"), Rejection::Number("total_usd", market_data::BadNumber::Negative)),
        (
            trade("").replace("0.5", "NaN"),
            Rejection::Number("token_price_usd", market_data::BadNumber::NotANumber),
        ),
    ] {
        let (found, counts) = read(&format!("[{},{wrong},{}]", trade(""), trade("")));
        assert_eq!(counts.first_rejection, Some((1, why)), "{wrong}");
        assert_eq!((counts.rejected, found.len()), (1, 2), "{wrong}");
    }
}

#[test]
fn both_decoders_find_the_same_makers() {
    // Escapes in a name or a value, and nesting, are the fallback's; all else is the scanner's.
    let plain = format!("[{0},{{}},{0}]", trade(r#","x":{"maker":"inner"},"y":[{"maker":"inner"}]"#));
    let escaped = plain
        .replace("\"maker\":\"0x5", "\"m\\u0061ker\":\"0x\\u0035")
        .replace("\"pair_addr\"", "\"pair\\u005faddr\"");
    let deep = plain.replace("\"y\":", &format!("\"z\":{}{},\"y\":", "[".repeat(60), "]".repeat(60)));
    let twice = plain.replace(r#"{"chain_id""#, r#"{"maker":"another","chain_id""#);
    let (wanted, counts) = read(&plain);
    assert_eq!((counts.probes, counts.no_maker, wanted.len()), (2, 1, 2));
    for other in [escaped, deep, twice, format!(" {plain}\n")] {
        assert_eq!(read(&other), (wanted.clone(), counts), "{other}");
    }
    assert_eq!(canonical(&wanted[0].maker), *wanted[0].maker);
}

#[test]
fn a_message_that_is_broken_or_no_array_changes_nothing() {
    let mut matcher = Matcher::new(book());
    for value in [format!("[{},", trade("")), format!("[{}] x", trade("")), trade(""), "{\"a\":".to_owned()] {
        let mut found = Vec::new();
        assert!(
            matcher.read_message(&"t".into(), Place::default(), value.as_bytes(), &mut found).is_err(),
            "{value}"
        );
        assert!(found.is_empty());
    }
    let mut found = Vec::new();
    for value in ["[]", "null", " [ ] "] {
        let counts =
            matcher.read_message(&"t".into(), Place::default(), value.as_bytes(), &mut found).unwrap();
        assert_eq!(counts, Matched::default());
    }
}
