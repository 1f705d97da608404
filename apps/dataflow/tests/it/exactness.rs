//! Late, duplicate and out-of-order trades, a topic that is read again, a position that an operator moved: `docs/exactness.md`.

use std::collections::BTreeMap;

use kohort_client::TopicPartition;
use market_data::reference::Row;
use market_data::{Interval, PairKey};
use market_store::{CandleStore, Scan};

use crate::world::{GROUP, Set, TOPIC, World};

/// A message with one trade of a pair.
fn trade(block_time: i64, price: u32) -> Vec<u8> {
    format!(
        r#"[{{"chain_id":"1","pair_addr":"p","type":"buy","token_price_usd":{price},"total_usd":10,"token_amount":1,"block_time":{block_time}}}]"#
    )
    .into_bytes()
}

/// The candles of an interval: by their time open, high, low, close, volume, count.
fn candles(world: &World, group: &str, interval: Interval) -> BTreeMap<i64, [String; 6]> {
    let mut found = BTreeMap::new();
    let add = &mut |_: &PairKey, of: Interval, time: i64, candle: &market_data::Candle| {
        if of == interval {
            let row = Row::of(candle).unwrap();
            let [open, high, low, close] = row.prices.map(|price| price.to_string());
            found.insert(time, [open, high, low, close, row.sums[0].to_string(), row.counts[0].to_string()]);
        }
    };
    world.store().reader().unwrap().scan(&Scan::all(group), add).unwrap();
    found
}

fn candle(text: &str) -> [String; 6] {
    let fields: Vec<String> = text.split(' ').map(str::to_owned).collect();
    fields.try_into().unwrap()
}

async fn produce(world: &World, values: &[Vec<u8>]) -> i64 {
    world.produce(values.iter().map(|value| ("k", value.as_slice()))).await
}

/// Moves the group on partition 0, as `kohort groups reset` does.
async fn reset(world: &World, to: i64) {
    let moved = [(TopicPartition::new(TOPIC, 0), to)];
    world.client.admin().alter_group_offsets(GROUP, &moved).await.unwrap();
}

async fn committed(world: &World) -> i64 {
    let offsets = world.client.admin().group_offsets(GROUP).await.unwrap();
    offsets.iter().map(|(_, offset)| offset).sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn trades_that_come_in_any_order_make_the_same_candles() {
    let (world, set) = (World::new(3).await, Set::read("dex_eth_univ3_20240105"));
    let service = world.start(2, 2);
    // Backwards, and each third message much too late.
    let (late, others): (Vec<_>, Vec<_>) =
        set.messages().enumerate().partition(|(number, _)| number % 3 == 0);
    let mut sent = world.produce(others.into_iter().rev().map(|(_, message)| message)).await;
    world.until_stored(sent).await;
    sent += world.produce(late.into_iter().map(|(_, message)| message)).await;
    world.until_stored(sent).await;
    world.assert_equal(&set);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_trade_changes_the_candles_of_its_own_time_and_nothing_else() {
    let world = World::new(1).await;
    let service = world.start(1, 1);
    produce(&world, &[trade(3600, 5), trade(7200, 6)]).await;
    world.until_stored(2).await;
    let minutes = candles(&world, GROUP, Interval::M1);
    produce(&world, &[trade(60, 9)]).await;
    world.until_stored(3).await;
    let mut wanted = minutes;
    wanted.insert(60, candle("9 9 9 9 10 1"));
    assert_eq!(candles(&world, GROUP, Interval::M1), wanted);
    // It opens the day, and does not close it.
    let day = candles(&world, GROUP, Interval::D1);
    assert_eq!(day, BTreeMap::from([(0, candle("9 9 5 6 30 3"))]));
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trade_that_stands_twice_in_the_topic_is_two_trades() {
    let world = World::new(1).await;
    let service = world.start(1, 1);
    produce(&world, &[trade(60, 1), trade(61, 2), trade(60, 1)]).await;
    world.until_stored(3).await;
    // Counted, and priced as if it were there once: it has the time of the first.
    assert_eq!(candles(&world, GROUP, Interval::M1), BTreeMap::from([(60, candle("1 2 1 2 30 3"))]));
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_moved_back_reads_nothing_twice_because_the_stores_position_counts() {
    let (world, set) = (World::new(1).await, Set::read("dex_eth_univ3_20240105"));
    let service = world.start(1, 2);
    let sent = world.produce(set.messages()).await;
    world.until_stored(sent).await;
    assert!(service.stop().await);
    assert_eq!(committed(&world).await, sent);
    reset(&world, 0).await;
    let service = world.start(1, 2);
    // Nothing has to come for lag to be right again.
    let again = async {
        while committed(&world).await != sent {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), again)
        .await
        .expect("the store's position committed");
    // What comes now is read, so what came before would have been by then.
    produce(&world, &[trade(60, 7)]).await;
    world.until_stored(sent + 1).await;
    assert!(service.stop().await);
    assert_eq!(committed(&world).await, sent + 1);
    let mut with_the_new_one = set;
    with_the_new_one.chains.insert("1".to_owned(), "eth".to_owned());
    let added = with_the_new_one.messages.len();
    assert_eq!(added as i64, sent);
    let rows = world.rows(&with_the_new_one.chains);
    let compared = market_data::reference::compare(&with_the_new_one.reference, &rows);
    // All of the reference is there to the digit; too many are only the seven candles of the new trade.
    assert_eq!((compared.differing, rows.len() - with_the_new_one.reference.len()), (7, 7));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_is_moved_to_the_beginning_with_a_new_store_makes_the_candles_anew() {
    let (world, set) = (World::new(1).await, Set::read("dex_eth_univ3_20240105"));
    let service = world.start(1, 2);
    let sent = world.produce(set.messages()).await;
    world.until_stored(sent).await;
    assert!(service.stop().await);
    world.remove_store().await;
    reset(&world, 0).await;
    let service = world.start(1, 2);
    world.until_stored(sent).await;
    world.assert_equal(&set);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_an_operator_passes_over_is_in_no_candle_and_stays_passed_over() {
    let world = World::new(1).await;
    let minutes: Vec<Vec<u8>> = (1..=10).map(|minute| trade(minute * 60, 1)).collect();
    produce(&world, &minutes[..3]).await;
    let service = world.start(1, 1);
    world.until_stored(3).await;
    assert!(service.stop().await);
    produce(&world, &minutes[3..8]).await;
    reset(&world, 6).await;
    let service = world.start(1, 1);
    world.until_stored(8).await;
    assert!(service.stop().await);
    let times =
        |world: &World| candles(world, GROUP, Interval::M1).into_keys().map(|t| t / 60).collect::<Vec<_>>();
    assert_eq!(times(&world), [1, 2, 3, 7, 8]);
    // Back again: the store is beyond it.
    reset(&world, 3).await;
    let service = world.start(1, 1);
    produce(&world, &minutes[8..]).await;
    world.until_stored(10).await;
    assert!(service.stop().await);
    assert_eq!(times(&world), [1, 2, 3, 7, 8, 9, 10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn another_group_makes_candles_of_its_own_out_of_the_same_topic() {
    let world = World::new(1).await;
    produce(&world, &[trade(60, 1), trade(61, 2)]).await;
    let first = world.start(1, 1);
    world.until_stored(2).await;
    let mut settings = world.settings(1, 1);
    settings.file.kqs[0].group = "another".to_owned();
    let second = dataflow::start(&settings).unwrap();
    let wanted = BTreeMap::from([(60, candle("1 2 1 2 20 2"))]);
    let both = async {
        while candles(&world, "another", Interval::M1) != wanted {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), both).await.expect("the other group's candles");
    assert_eq!(candles(&world, GROUP, Interval::M1), wanted);
    assert!(first.stop().await && second.stop().await);
}
