//! The candle is a commutative monoid, and adding is merging.

use market_data::{Candle, Order, Side, Trade};
use proptest::prelude::*;

fn trade() -> impl Strategy<Value = Trade> {
    // Small ranges on purpose: equal orders, equal prices and clamped trades must meet often.
    let order =
        (0i64..3, 0i64..2, 0i64..2, 0i64..3, 0u32..3).prop_map(|(time, block, log, offset, index)| Order {
            block_time: 1_700_000_000 + time,
            block_num: block,
            log_index: log,
            offset,
            index,
            ..Order::default()
        });
    let number = prop_oneof![
        (1u64..9).prop_map(|n| format!("0.{n}")),
        (1u64..u64::MAX, 0u32..40).prop_map(|(n, exponent)| format!("{n}e-{exponent}")),
    ];
    let side = prop_oneof![Just(Side::Buy), Just(Side::Sell), Just(Side::Unknown)];
    (order, number.clone(), number.clone(), number, side, any::<bool>()).prop_map(
        |(order, price, usd, tokens, side, clamp)| Trade {
            order,
            price: price.parse().unwrap(),
            total_usd: usd.parse().unwrap(),
            token_amount: tokens.parse().unwrap(),
            side,
            clamp,
        },
    )
}

fn trades() -> impl Strategy<Value = Vec<Trade>> {
    prop::collection::vec(trade(), 0..12)
}

fn candle(trades: &[Trade]) -> Candle {
    let mut candle = Candle::EMPTY;
    trades.iter().for_each(|t| candle.add(t));
    candle
}

fn merged(a: &Candle, b: &Candle) -> Candle {
    let mut both = *a;
    both.merge(b);
    both
}

proptest! {
    #[test]
    fn a_packed_candle_is_read_back_to_the_last_digit(a in trades(), b in trades(), start in any::<i64>()) {
        let (a, b) = (candle(&a), candle(&b));
        let mut bytes = Vec::new();
        for (candle, start) in [(a, 1_700_000_000), (b, start), (merged(&a, &b), 0)] {
            bytes.clear();
            candle.pack(start, &mut bytes);
            prop_assert_eq!(Candle::unpack(start, &bytes), Some(candle));
        }
    }

    #[test]
    fn merge_is_associative_and_commutative_and_has_an_identity(a in trades(), b in trades(), c in trades()) {
        let (a, b, c) = (candle(&a), candle(&b), candle(&c));
        prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
        prop_assert_eq!(merged(&a, &b), merged(&b, &a));
        prop_assert_eq!(merged(&a, &Candle::EMPTY), a);
        prop_assert_eq!(merged(&Candle::EMPTY, &a), a);
    }

    #[test]
    fn adding_a_trade_is_merging_the_candle_of_it(trades in trades(), one in trade()) {
        let candle = candle(&trades);
        let mut added = candle;
        added.add(&one);
        prop_assert_eq!(added, merged(&candle, &Candle::of(&one)));
    }

    #[test]
    fn any_split_in_any_order_gives_the_same_candle(
        (trades, shuffled) in trades().prop_flat_map(|t| (Just(t.clone()), Just(t).prop_shuffle())),
        parts in 1usize..5,
    ) {
        let mut split = vec![Candle::EMPTY; parts];
        for (n, trade) in shuffled.iter().enumerate() {
            split[n * 3 % parts].add(trade);
        }
        let again = split.iter().rev().fold(Candle::EMPTY, |all, part| merged(&all, part));
        prop_assert_eq!(again, candle(&trades));
    }

    #[test]
    fn prices_come_from_clamped_trades_only_for_want_of_others(trades in trades()) {
        let Some(prices) = candle(&trades).prices() else {
            prop_assert!(trades.is_empty());
            return Ok(());
        };
        prop_assert_eq!(prices.clamped_only, trades.iter().all(|t| t.clamp));
        let heard: Vec<&Trade> = trades.iter().filter(|t| prices.clamped_only || !t.clamp).collect();
        prop_assert_eq!(prices.high, heard.iter().map(|t| t.price).max().unwrap());
        prop_assert_eq!(prices.low, heard.iter().map(|t| t.price).min().unwrap());
        let (first, last) = (heard.iter().map(|t| t.order).min(), heard.iter().map(|t| t.order).max());
        prop_assert_eq!((Some(prices.open_order), Some(prices.close_order)), (first, last));
    }
}
