//! Dataflow and Market in one group: each store has a part, and both readers have the whole.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use candles::api::Readers;
use market_data::reference::{Key, Row};
use market_store::{CandleStore, SqliteStore};

use test_world::rows;

use crate::world::{GROUP, Set, World, stored, until_equal};

async fn whole(readers: &Arc<Readers>, chains: &HashMap<String, String>) -> BTreeMap<Key, Row> {
    let chains = chains.clone();
    Arc::clone(readers).ask(move |reader| Ok(rows(reader, GROUP, &chains))).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn dataflow_and_market_in_one_group_have_parts_and_show_the_whole() {
    let (world, set) = (World::new(6).await, Set::read("dex_eth_univ3_20240105"));
    let files = ["candles.db", "market.db"].map(|name| world.folder.path().join(name));
    let dataflow = dataflow::start(&world.settings("dataflow", &[&files[1]])).unwrap();
    let market = market::start(&world.settings("market", &[&files[0], &files[1]])).unwrap();
    world.until_split().await;
    world.produce(set.messages()).await;
    until_equal(&set, async || whole(dataflow.road().readers(), &set.chains).await).await;
    until_equal(&set, async || whole(market.road().readers(), &set.chains).await).await;
    let counted = |file| {
        let mut reader = SqliteStore::open(file).unwrap().reader().unwrap();
        rows(&mut *reader, GROUP, &set.chains).len()
    };
    for file in &files {
        assert!((1..set.reference.len()).contains(&counted(file)) && stored(file) > 0, "{}", file.display());
    }
    assert!(dataflow.stop().await);
    // Its partitions go to the other, and nothing changes.
    until_equal(&set, async || whole(market.road().readers(), &set.chains).await).await;
    assert!(market.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn market_alone_makes_the_reference_and_has_it_after_a_crash() {
    let (world, set) = (World::new(3).await, Set::read("dex_eth_univ3_20240105"));
    let half = set.messages.len() / 2;
    world.produce(set.messages().take(half)).await;
    // A runtime of its own: when that is shut down, tasks and sockets go as with the process.
    let process = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let settings = world.settings("market", &[]);
    let market = {
        let _entered = process.enter();
        market::start(&settings).unwrap()
    };
    while stored(&market::store_file(&settings)) == 0 {
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    process.shutdown_background();
    drop(market);
    world.produce(set.messages().skip(half)).await;
    let market = market::start(&settings).unwrap();
    until_equal(&set, async || whole(market.road().readers(), &set.chains).await).await;
    assert!(settings.registry.render().contains("market_trades_total{group=\"shared\",topic=\"trades\"}"));
    assert!(market.stop().await);
}
