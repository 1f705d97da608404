//! The page's examples of sharing: few partitions and many members, two assignors, two groups, one group with two subscriptions.

use std::collections::BTreeSet;

use crate::world::{Book, World, owners, until_logged};

#[tokio::test(flavor = "multi_thread")]
async fn three_partitions_are_shared_by_one_two_and_three_and_a_fourth_stands_idle() {
    let world = World::new().await;
    world.topic("sol-trades", 3).await;
    let kq = world.block("growing", "sol-trades", "  Consumers: 1\n");
    let mut running = Vec::new();
    for (members, shares) in [(1, [3].as_slice()), (2, &[2, 1]), (3, &[1, 1, 1]), (4, &[1, 1, 1, 0])] {
        running.push(world.start("member", &kq, &Book::default()));
        let owners = world.assigned("growing", members, 3).await;
        let mut counts: Vec<usize> = owners.values().map(Vec::len).collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        assert_eq!(counts, shares);
    }
    until_logged(&["stands idle", &world.named("growing")]).await;
    // The runtime of the idle one knows it too.
    let states = running.iter().flat_map(|running| running.stats().members());
    let idle = states.filter(|state| !state.member_id.is_empty() && state.partitions.is_empty()).count();
    assert_eq!(idle, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_block_of_several_consumers_is_as_many_members() {
    let world = World::new().await;
    world.topic("t", 3).await;
    for (consumers, expected) in [
        (1, owners(&[("i", "t-0 t-1 t-2")])),
        (2, owners(&[("i", "t-0 t-1"), ("i-1", "t-2")])),
        (3, owners(&[("i", "t-0"), ("i-1", "t-1"), ("i-2", "t-2")])),
        (4, owners(&[("i", "t-0"), ("i-1", "t-1"), ("i-2", "t-2"), ("i-3", "")])),
    ] {
        let group = format!("block-of-{consumers}");
        let kq = world.block(&group, "t", &format!("  Consumers: {consumers}\n  InstanceId: i\n"));
        let running = world.start("member", &kq, &Book::default());
        assert_eq!(world.assigned(&group, consumers, 3).await, expected);
        if consumers == 4 {
            until_logged(&["member 3", "stands idle", &world.named(&group)]).await;
        }
        drop(running);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn six_partitions_and_three_members_under_range_and_under_roundrobin() {
    let world = World::new().await;
    world.topic("t", 6).await;
    for (assignor, expected) in [
        ("range", owners(&[("i", "t-0 t-1"), ("i-1", "t-2 t-3"), ("i-2", "t-4 t-5")])),
        ("roundrobin", owners(&[("i", "t-0 t-3"), ("i-1", "t-1 t-4"), ("i-2", "t-2 t-5")])),
    ] {
        let more = format!("  Consumers: 3\n  InstanceId: i\n  Assignor: {assignor}\n");
        let kq = world.block(assignor, "t", &more);
        let _running = world.start("member", &kq, &Book::default());
        assert_eq!(world.assigned(assignor, 3, 6).await, expected, "{assignor}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn two_groups_on_one_topic_have_each_its_own_offsets() {
    let world = World::new().await;
    world.topic("t", 2).await;
    world.produce("t", 0, 10).await;
    world.produce("t", 1, 5).await;
    let (first, second) = (Book::default(), Book::default());
    let running = world.start("first", &world.block("first", "t", "  Consumers: 1\n"), &first);
    first.until("the first group has all", |entries| entries.len() == 15).await;
    world.until_committed("first", &[("t-0", 10), ("t-1", 5)]).await;
    assert!(world.committed("second").await.is_empty());
    assert!(running.stop().await.drained);
    // The first is away; the second begins at the beginning and sees what comes meanwhile.
    world.produce("t", 0, 4).await;
    let _running = world.start("second", &world.block("second", "t", "  Consumers: 2\n"), &second);
    second.until("the second group has all", |entries| entries.len() == 19).await;
    world.until_committed("second", &[("t-0", 14), ("t-1", 5)]).await;
    assert_eq!(world.committed("first").await.get("t-0"), Some(&10));
    // The first goes on where it was.
    let _running = world.start("first", &world.block("first", "t", "  Consumers: 1\n"), &first);
    let entries = first.until("the first has the rest", |entries| entries.len() >= 19).await;
    assert_eq!(
        entries[15..].iter().map(|e| (e.partition, e.offset)).collect::<Vec<_>>(),
        [(0, 10), (0, 11), (0, 12), (0, 13)]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn in_one_group_each_service_gets_partitions_of_its_own_topics_only() {
    let world = World::new().await;
    let topics = [("evm-trades-v4", 3), ("base-trades-v4", 2), ("sol-trades", 3)];
    for (topic, partitions) in topics {
        world.topic(topic, partitions).await;
        for partition in 0..partitions {
            world.produce(topic, partition, 2).await;
        }
    }
    let book = Book::default();
    let mut running = Vec::new();
    for (who, topic) in
        [("market", "evm-trades-v4"), ("market", "base-trades-v4"), ("smart_money", "sol-trades")]
    {
        running.push(world.start(
            who,
            &world.block("data-kline-group-api", topic, "  Consumers: 1\n"),
            &book,
        ));
    }
    let owners = world.assigned("data-kline-group-api", 3, 8).await;
    for owned in owners.values() {
        let of: BTreeSet<&str> = owned.iter().map(|name| name.rsplit_once('-').unwrap().0).collect();
        assert_eq!(of.len(), 1, "{owned:?}");
    }
    let entries = book.until("all is handled", |entries| distinct(entries) == 16).await;
    for entry in entries {
        assert_eq!(entry.who == "smart_money", entry.topic == world.named("sol-trades"), "{entry:?}");
    }
}

fn distinct(entries: &[crate::world::Entry]) -> usize {
    entries.iter().map(|e| (&e.topic, e.partition, e.offset)).collect::<BTreeSet<_>>().len()
}
