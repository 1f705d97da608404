//! The whole road: from a topic through the group into the log, each trade of a known wallet once.

use std::time::Duration;

use market_store::{Positions, TopicPartition};

use crate::world::{GROUP, Set, TOPIC, World};

const SETS: [&str; 3] = ["dex_eth_univ3_20240105", "dex_evm_blocks_mixed", "dex_sol_slot_254170887"];

async fn world_of(set: &Set, partitions: i32) -> World {
    let world = World::new(partitions).await;
    std::fs::write(world.addresses(), &set.addresses).unwrap();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn every_set_has_each_of_its_known_wallets_trades_once_however_it_is_shared_out() {
    for name in SETS {
        let set = Set::read(name);
        for (partitions, consumers, processors) in [(1, 1, 1), (12, 3, 4)] {
            let world = world_of(&set, partitions).await;
            let service = world.start(consumers, processors);
            let sent = world.produce(set.messages()).await;
            world.until_stored(GROUP, sent).await;
            assert_eq!(world.logged(), set.expected, "{name}");
            assert!(service.stop().await, "nothing is left to be read again");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_sent_twice_or_read_from_the_start_again_changes_nothing() {
    let set = Set::read("dex_eth_univ3_20240105");
    let world = world_of(&set, 3).await;
    let first = world.start(1, 2);
    let mut sent = world.produce(set.messages()).await;
    sent += world.produce(set.messages()).await;
    world.until_stored(GROUP, sent).await;
    assert_eq!(world.logged(), set.expected);
    assert!(first.stop().await);
    // Another group, which begins at the beginning: the log is one for all.
    let settings = world.settings_of("another", 2, 2);
    let again = smart_money::start(&settings).unwrap();
    world.until_stored("another", sent).await;
    assert_eq!(world.logged(), set.expected);
    let repeated = 2 * set.expected.values().sum::<u64>();
    let line = format!("smart_money_repeated_total{{group=\"another\",topic=\"{TOPIC}\"}} {repeated}\n");
    assert!(settings.registry.render().contains(&line), "{line}");
    assert!(again.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_dies_again_and_again_loses_and_doubles_nothing() {
    let set = Set::read("dex_eth_univ3_20240105");
    let world = world_of(&set, 3).await;
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
        let some = world.stored(GROUP) + (sent - world.stored(GROUP)) * (round as i64 % 4) / 4;
        while world.stored(GROUP) < some {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        process.shutdown_background();
        drop(service);
    }
    let service = world.start(2, 2);
    world.until_stored(GROUP, sent).await;
    assert_eq!(world.logged(), set.expected);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_was_fenced_writes_nothing_of_what_it_had_and_goes_on() {
    let set = Set::read("dex_eth_univ3_20240105");
    let world = world_of(&set, 2).await;
    let settings = world.settings_of(GROUP, 1, 2);
    let service = smart_money::start(&settings).unwrap();
    let mut log = world.log();
    let all = [0, 1].map(|partition| TopicPartition::new(TOPIC, partition));
    let mut sent = 0;
    for part in set.messages.chunks(set.messages.len() / 10 + 1) {
        sent += world.produce(part.iter().map(|(key, value)| (key.as_str(), value.as_slice()))).await;
        // As somebody does who thinks that they are his; his claim makes a zombie of whatever is in hand.
        log.claim(GROUP, &all).unwrap();
        world.until_stored(GROUP, sent).await;
    }
    assert_eq!(world.logged(), set.expected);
    let fenced = format!("smart_money_fenced_total{{group=\"{GROUP}\",topic=\"{TOPIC}\"}} ");
    let metrics = settings.registry.render();
    let times: u64 = metrics.split(&fenced).nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert!(times > 0, "somebody was fenced");
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_records_are_counted_and_kept_in_the_dead_letters_and_stop_nothing() {
    let world = World::new(1).await;
    std::fs::write(world.addresses(), "0xab,whale\n0xcd,,56\n").unwrap();
    let trade =
        r#"{"chain_id":"1","pair_addr":"a","maker":"0xAB","total_usd":1,"block_time":60,"tx_hash":"0x1"}"#;
    let wrong = trade.replace(":60", ":0");
    let strange = wrong.replace("0xAB", "0xef");
    let values = [
        "{\"broken\":".to_owned(),
        format!("[{trade},{wrong},{}]", trade.replace("0x1", "0x2")),
        // Nobody looks at what is wrong with the trades of others.
        format!("[{strange},{},{{}}]", trade.replace("0xAB", "0xcd")),
        "null".to_owned(),
        format!("[{}]", trade.replace("\"block_time\"", "\"type\":\"add_position\",\"block_time\"")),
        format!("[{trade}]"),
    ];
    let sent = world.produce(values.iter().map(|value| ("k", value.as_bytes()))).await;
    let settings = world.settings_of(GROUP, 1, 1);
    let service = smart_money::start(&settings).unwrap();
    world.until_stored(GROUP, sent).await;
    let metrics = settings.registry.render();
    for (name, value) in [
        ("messages", 6),
        ("trades", 8),
        ("no_maker", 1),
        ("probes", 7),
        ("matches", 3),
        ("liquidity", 1),
        ("other_chain", 1),
        ("rejected", 1),
        ("undecodable", 1),
        ("dead_letters", 2),
        ("logged", 2),
        ("repeated", 1),
    ] {
        let line = format!("smart_money_{name}_total{{group=\"{GROUP}\",topic=\"{TOPIC}\"}} {value}\n");
        assert!(metrics.contains(&line), "{line} in {metrics}");
    }
    let kept = world.dead_letters(GROUP, 2).await;
    assert_eq!((&kept[0].0, &kept[1].0), (&values[0], &values[1]));
    assert!(kept[0].1.contains("broken JSON"), "{kept:?}");
    assert!(kept[1].1.contains("element 1: `block_time` is missing"), "{kept:?}");
    assert!(service.stop().await);
}
