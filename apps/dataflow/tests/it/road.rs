//! The whole road: from a topic through the group into the store, exactly.

use std::time::Duration;

use crate::world::{GROUP, Set, TOPIC, World};

#[tokio::test(flavor = "multi_thread")]
async fn one_partition_one_member_one_lane_makes_the_reference() {
    let (world, set) = (World::new(1).await, Set::read("dex_eth_univ3_20240105"));
    let service = world.start(1, 1);
    let sent = world.produce(set.messages()).await;
    world.until_stored(sent).await;
    world.assert_equal(&set);
    assert!(service.stop().await, "nothing is left to be read again");
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_members_and_lanes_change_no_digit() {
    for name in ["dex_sol_slot_254170887", "dex_evm_blocks_mixed", "cex_bitstamp_btcusd_2011"] {
        let (world, set) = (World::new(12).await, Set::read(name));
        let sent = world.produce(set.messages()).await;
        let service = world.start(3, 4);
        world.until_stored(sent).await;
        world.assert_equal(&set);
        assert!(service.stop().await);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_again_and_again_loses_and_doubles_nothing() {
    let (world, set) = (World::new(3).await, Set::read("dex_eth_univ3_20240105"));
    // Sent in parts, so that there is always something left when the service dies.
    let mut sent = 0;
    for (round, part) in set.messages.chunks(set.messages.len() / 8 + 1).enumerate() {
        // A runtime of its own: when that is shut down, tasks and sockets go as with the process.
        let process =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let service = {
            let _entered = process.enter();
            world.start(1 + round as u32 % 2, 1 + round as u32 % 3)
        };
        sent += world.produce(part.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).await;
        // At another moment each time.
        let some = world.stored() + (sent - world.stored()) * (round as i64 % 4) / 4;
        while world.stored() < some {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        process.shutdown_background();
        drop(service);
    }
    let service = world.start(2, 2);
    world.until_stored(sent).await;
    world.assert_equal(&set);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_come_and_go_change_no_digit() {
    let (world, set) = (World::new(4).await, Set::read("cex_bitstamp_btcusd_2011"));
    let first = world.start(1, 2);
    let sent = world.produce(set.messages()).await;
    let second = world.start(1, 1);
    let third = world.start(2, 1);
    assert!(first.stop().await);
    world.until_stored(sent).await;
    assert!(second.stop().await);
    assert!(third.stop().await);
    world.assert_equal(&set);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_counted_and_kept_in_the_dead_letters_and_stop_nothing() {
    let world = World::new(1).await;
    let trade = r#"{"chain_id":"1","pair_addr":"a","token_price_usd":2,"total_usd":1,"block_time":60}"#;
    let free = trade.replace(":2,", ":0,");
    let wrong = trade.replace(":2,", ":\"two\",");
    let huge = format!("[{trade}{}]", format!(",{trade}").repeat(9_900_000 / (trade.len() + 1)));
    let values = [
        "{\"broken\":".to_owned(),
        format!("[{trade},{wrong},{trade}]"),
        format!("[{free}]"),
        "[]".to_owned(),
        "null".to_owned(),
        huge,
        format!("[{trade}]"),
    ];
    let sent = world.produce(values.iter().map(|value| ("k", value.as_bytes()))).await;
    let settings = world.settings(1, 1);
    let service = dataflow::start(&settings).unwrap();
    world.until_stored(sent).await;
    let metrics = settings.registry.render();
    let huge_trades = 1 + 9_900_000 / (trade.len() + 1);
    for (name, value) in [
        ("dataflow_messages_total", 7),
        ("dataflow_trades_total", 3 + huge_trades),
        ("dataflow_no_price_total", 1),
        ("dataflow_rejected_total", 1),
        ("dataflow_undecodable_total", 1),
        ("dataflow_dead_letters_total", 2),
    ] {
        let line = format!("{name}{{group=\"{GROUP}\",topic=\"{TOPIC}\"}} {value}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let kept = world.dead_letters(GROUP, 2).await;
    assert_eq!((&kept[0].0, &kept[1].0), (&values[0], &values[1]));
    assert!(kept[0].1.contains("broken JSON"), "{kept:?}");
    assert!(kept[1].1.contains("`token_price_usd` is not a decimal number"), "{kept:?}");
    assert!(service.stop().await);
}
