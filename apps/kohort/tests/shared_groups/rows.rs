//! All rows of the original's table at once: Dataflow's four, Market's three, Smart Money's one, and Consumer's two beside them.
//!
//! Members are static, because Kafka's assignors order static members by their instance id and others by an id that is drawn.

use std::collections::{BTreeMap, BTreeSet};

use kohort_service::Kq;

use crate::world::{Book, Entry, Owners, World, owners};

/// The original's files.
const FILES: [&str; 4] = [
    include_str!("../check/dataflow.yaml"),
    include_str!("../check/market.yaml"),
    include_str!("../check/smartmoney.yaml"),
    include_str!("../check/consumer.yaml"),
];

/// The topics, and partitions that make the rows tell each other apart.
pub(crate) const TOPICS: [(&str, i32); 6] = [
    ("sol-trades", 6),
    ("bsc-trades", 3),
    ("eth-trades", 7),
    ("base-trades", 4),
    ("evm-trades-v4", 3),
    ("base-trades-v4", 5),
];

/// A group as it must come out: its name, its members, its partitions, who owns which.
pub(crate) type Expected = (&'static str, Owners);

/// What Kafka gives with `range`.
pub(crate) fn by_range() -> Vec<Expected> {
    let sol = "sol-trades-0 sol-trades-1 sol-trades-2 sol-trades-3 sol-trades-4 sol-trades-5";
    vec![
        // Dataflow and Market: one group, one topic; each sees a half.
        (
            "data-flow-default-group-1888",
            owners(&[
                ("dataflow-KqSol", "sol-trades-0 sol-trades-1 sol-trades-2"),
                ("market-KqSol", "sol-trades-3 sol-trades-4 sol-trades-5"),
            ]),
        ),
        (
            "data-flow-default-group-10",
            owners(&[("dataflow-KqBsc", "bsc-trades-0 bsc-trades-1 bsc-trades-2")]),
        ),
        // Three subscriptions in one group: each gets its own topic, whole.
        (
            "data-flow-default-group10",
            owners(&[
                ("consumer-KqSolTrades", sol),
                ("dataflow-KqBase", "base-trades-0 base-trades-1 base-trades-2 base-trades-3"),
                (
                    "dataflow-KqEth",
                    "eth-trades-0 eth-trades-1 eth-trades-2 eth-trades-3 eth-trades-4 eth-trades-5 eth-trades-6",
                ),
            ]),
        ),
        // Market and Smart Money: the same.
        (
            "data-kline-group-api",
            owners(&[
                (
                    "market-KqBase",
                    "base-trades-v4-0 base-trades-v4-1 base-trades-v4-2 base-trades-v4-3 base-trades-v4-4",
                ),
                ("market-KqEth", "evm-trades-v4-0 evm-trades-v4-1 evm-trades-v4-2"),
                ("smart_money-Kq", sol),
            ]),
        ),
        (
            "data-flow-default-group",
            owners(&[
                ("consumer-KqEthTrades", "eth-trades-0 eth-trades-1 eth-trades-2"),
                ("consumer-KqEthTrades-1", "eth-trades-3 eth-trades-4"),
                ("consumer-KqEthTrades-2", "eth-trades-5 eth-trades-6"),
            ]),
        ),
    ]
}

/// What Kafka gives with `roundrobin`.
pub(crate) fn by_roundrobin() -> Vec<Expected> {
    let mut expected = by_range();
    expected[0].1 = owners(&[
        ("dataflow-KqSol", "sol-trades-0 sol-trades-2 sol-trades-4"),
        ("market-KqSol", "sol-trades-1 sol-trades-3 sol-trades-5"),
    ]);
    expected[4].1 = owners(&[
        ("consumer-KqEthTrades", "eth-trades-0 eth-trades-3 eth-trades-6"),
        ("consumer-KqEthTrades-1", "eth-trades-1 eth-trades-4"),
        ("consumer-KqEthTrades-2", "eth-trades-2 eth-trades-5"),
    ]);
    expected
}

/// The rows, each with the name of its first member.
pub(crate) fn rows(world: &World) -> Vec<(String, Kq)> {
    let of_file = FILES.iter().flat_map(|text| world.blocks(text));
    of_file.map(|(service, kq)| (format!("{service}-{}", kq.name), kq)).collect()
}

/// Waits until all groups are as expected.
pub(crate) async fn assert_assigned(world: &World, expected: &[Expected]) {
    for (group, wanted) in expected {
        let partitions = wanted.values().map(Vec::len).sum();
        assert_eq!(world.assigned(group, wanted.len(), partitions).await, *wanted, "{group}");
    }
}

async fn every_row(assignor: &str, expected: &[Expected]) {
    let world = World::new().await;
    for (topic, partitions) in TOPICS {
        world.topic(topic, partitions).await;
    }
    let book = Book::default();
    let mut running = Vec::new();
    let rows = rows(&world);
    assert_eq!(rows.len(), 10);
    for (name, mut kq) in rows {
        (kq.instance_id, kq.assignors) = (Some(name.clone()), vec![assignor.to_owned()]);
        running.push(world.start(&name, &kq, &book));
    }
    assert_assigned(&world, expected).await;

    // And each handles the records of its own partitions, and no others.
    for (topic, partitions) in TOPICS {
        for partition in 0..partitions {
            world.produce(topic, partition, 1).await;
        }
    }
    let all: usize = expected.iter().flat_map(|(_, owners)| owners.values()).map(Vec::len).sum();
    let entries = book.until("every record at every group", |entries| entries.len() >= all).await;
    assert_eq!(handled(&world, &entries), by_member(expected));
    for running in running {
        assert!(running.stop().await.drained);
    }
    assert_eq!(book.entries().len(), all, "none is handled twice");
}

fn handled(world: &World, entries: &[Entry]) -> BTreeMap<String, BTreeSet<String>> {
    let mut by_member: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for entry in entries {
        let topic = entry.topic.strip_prefix(&world.named("")).unwrap();
        by_member.entry(entry.who.clone()).or_default().insert(format!("{topic}-{}", entry.partition));
    }
    by_member
}

fn by_member(expected: &[Expected]) -> BTreeMap<String, BTreeSet<String>> {
    let owners = expected.iter().flat_map(|(_, owners)| owners);
    owners.map(|(who, owned)| (who.clone(), owned.iter().cloned().collect())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_of_the_original_get_what_kafka_gives_with_range() {
    every_row("range", &by_range()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_rows_of_the_original_get_what_kafka_gives_with_roundrobin() {
    every_row("roundrobin", &by_roundrobin()).await;
}
