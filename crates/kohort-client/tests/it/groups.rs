//! Membership: joining, leaving, the order of events, commits, static members.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kohort_client::{
    Client, CommitError, Consumer, ConsumerEvent, LeaveReason, OffsetReset, SeekTo, TopicPartition,
};

use crate::server::{Server, event, produce, read, soon, tp, unique, values};

fn member(client: &Client, group: &str, assignors: &[&str]) -> Consumer {
    client
        .consumer()
        .group(group)
        .assignors(assignors.iter().copied())
        .offset_reset(OffsetReset::Earliest)
        .session_timeout(Duration::from_secs(6))
        .heartbeat_interval(Duration::from_millis(300))
        .build()
        .unwrap()
}

/// Waits for the next assignment, acknowledging what comes before; returns what was added and all.
async fn assigned(consumer: &mut Consumer) -> (Vec<TopicPartition>, Vec<TopicPartition>) {
    soon("an assignment", async {
        loop {
            match consumer.next().await {
                ConsumerEvent::Assigned { added, all, .. } => return (added, all),
                ConsumerEvent::Fatal(error) => panic!("{error}"),
                _ => {}
            }
        }
    })
    .await
}

/// Lets two consumers turn their events over until `enough` holds for what they own.
async fn settle(
    one: &mut Consumer,
    two: &mut Consumer,
    enough: impl Fn(&[TopicPartition], &[TopicPartition]) -> bool,
) -> (Vec<Seen>, Vec<Seen>) {
    let (mut of_one, mut of_two) = (vec![], vec![]);
    soon("the group settles", async {
        while !enough(&one.assignment(), &two.assignment()) {
            tokio::select! {
                event = one.next() => of_one.push(seen(event)),
                event = two.next() => of_two.push(seen(event)),
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    })
    .await;
    // What is owned may be known before its event is taken.
    of_one.extend(std::iter::from_fn(|| one.try_next().map(seen)));
    of_two.extend(std::iter::from_fn(|| two.try_next().map(seen)));
    (of_one, of_two)
}

/// An event whose callback is acknowledged.
#[derive(Debug)]
enum Seen {
    Revoked(Vec<TopicPartition>),
    Assigned { added: Vec<TopicPartition>, all: Vec<TopicPartition> },
    Other(ConsumerEvent),
}

fn seen(event: ConsumerEvent) -> Seen {
    match event {
        ConsumerEvent::Revoking { partitions, .. } => Seen::Revoked(partitions),
        ConsumerEvent::Assigned { added, all, .. } => Seen::Assigned { added, all },
        other => Seen::Other(other),
    }
}

fn halves(one: &[TopicPartition], two: &[TopicPartition]) -> bool {
    let all: BTreeSet<_> = one.iter().chain(two).collect();
    one.len() == 2 && two.len() == 2 && all.len() == 4
}

#[tokio::test]
async fn a_first_member_gets_everything_and_reads_it() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 4).await;
    for partition in 0..4 {
        produce(&client, &topic, partition, &["a", "b"]).await;
    }
    let mut consumer = member(&client, &unique("group"), &["range", "cooperative-sticky"]);
    consumer.subscribe([&*topic]).unwrap();
    let (added, all) = assigned(&mut consumer).await;
    let expected: Vec<_> = (0..4).map(|partition| tp(&topic, partition)).collect();
    assert_eq!((&added, &all), (&expected, &expected));
    assert!(consumer.membership().is_some());
    let records = read(&mut consumer, 8).await;
    assert!(values(&records).values().all(|values| values == &["a", "b"]));
    consumer.close().await;
}

#[tokio::test]
async fn nothing_is_fetched_before_the_start_is_given() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    produce(&client, &topic, 0, &["a", "b", "c"]).await;
    produce(&client, &topic, 1, &["d", "e"]).await;
    let mut consumer = member(&client, &unique("group"), &["range"]);
    consumer.subscribe([&*topic]).unwrap();
    let ConsumerEvent::Assigned { mut start, .. } = event(&mut consumer).await else { panic!() };
    let early = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(early.is_err(), "{early:?}");
    start.at(tp(&topic, 0), 2);
    start.go();
    let records = read(&mut consumer, 3).await;
    assert_eq!(values(&records)[&0], ["c"]);
    assert_eq!(values(&records)[&1], ["d", "e"]);
}

#[tokio::test]
async fn in_an_eager_rebalance_everything_is_revoked_before_it_is_assigned_anew() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 4).await;
    let group = unique("group");
    let mut one = member(&client, &group, &["range"]);
    one.subscribe([&*topic]).unwrap();
    assigned(&mut one).await;
    let mut two = member(&client, &group, &["range"]);
    two.subscribe([&*topic]).unwrap();
    let (of_one, _) = settle(&mut one, &mut two, halves).await;
    assert!(
        matches!(&of_one[..], [Seen::Revoked(revoked), Seen::Assigned { added, all }]
            if revoked.len() == 4 && added.len() == 2 && all.len() == 2),
        "{of_one:?}"
    );
    two.close().await;
    let (_, all) = assigned(&mut one).await;
    assert_eq!(all.len(), 4);
    one.close().await;
}

#[tokio::test]
async fn in_a_cooperative_rebalance_only_what_moves_is_revoked() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 4).await;
    let group = unique("group");
    let mut one = member(&client, &group, &["cooperative-sticky"]);
    one.subscribe([&*topic]).unwrap();
    assigned(&mut one).await;
    let mut two = member(&client, &group, &["cooperative-sticky"]);
    two.subscribe([&*topic]).unwrap();
    let (of_one, _) = settle(&mut one, &mut two, halves).await;
    let mut revoked = vec![];
    for event in &of_one {
        match event {
            Seen::Revoked(partitions) => revoked.extend(partitions.iter().cloned()),
            Seen::Assigned { added, all } => assert!(added.is_empty() && !all.is_empty(), "{of_one:?}"),
            Seen::Other(other) => panic!("{other:?}"),
        }
    }
    assert_eq!(revoked.len(), 2, "{of_one:?}");
    one.close().await;
    two.close().await;
}

#[tokio::test]
async fn what_is_committed_while_revoking_is_where_the_next_owner_begins() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    produce(&client, &topic, 0, &["a", "b", "c"]).await;
    let group = unique("group");
    let mut one = member(&client, &group, &["range"]);
    one.subscribe([&*topic]).unwrap();
    read(&mut one, 3).await;
    // By member id the second may or may not get the only partition: leaving makes sure.
    let handle = one.handle();
    handle.unsubscribe();
    let ConsumerEvent::Revoking { partitions, ack } = event(&mut one).await else { panic!() };
    assert_eq!(partitions, [tp(&topic, 0)]);
    soon("commit", handle.commit([(tp(&topic, 0), 2)])).await.unwrap();
    ack.done();
    let left = event(&mut one).await;
    assert!(matches!(left, ConsumerEvent::Left { reason: LeaveReason::Asked }), "{left:?}");
    let mut two = member(&client, &group, &["range"]);
    two.subscribe([&*topic]).unwrap();
    assert_eq!(values(&read(&mut two, 1).await)[&0], ["c"]);
    // Who unsubscribed can come back.
    two.close().await;
    one.subscribe([&*topic]).unwrap();
    assert_eq!(values(&read(&mut one, 1).await)[&0], ["c"]);
}

/// Reads numbers and counts each once it is committed: at most once, so that a second sight would be a fault of the client's.
async fn count_committed(
    mut consumer: Consumer,
    seen: Arc<Mutex<Vec<u32>>>,
    total: u32,
    until: tokio::time::Instant,
) {
    let handle = consumer.handle();
    // Of each partition all together: an offset that is committed behind a later one would turn it back.
    let mut pending: BTreeMap<TopicPartition, (i64, Vec<u32>)> = BTreeMap::new();
    while let Ok(event) = tokio::time::timeout_at(until, consumer.next()).await {
        let (mut giving_up, mut callback) = (vec![], None);
        match event {
            ConsumerEvent::Batch(batch) => {
                let numbers = batch.records().map(|record| {
                    String::from_utf8_lossy(record.unwrap().value.unwrap()).parse::<u32>().unwrap()
                });
                let (offset, read) = pending.entry(batch.topic_partition()).or_default();
                *offset = batch.next_offset();
                read.extend(numbers);
            }
            ConsumerEvent::Revoking { partitions, ack } => {
                (giving_up, callback) = (partitions, Some(ack));
            }
            ConsumerEvent::Lost { partitions } => {
                pending.retain(|name, _| !partitions.contains(name));
            }
            _ => {}
        }
        for (name, (offset, numbers)) in std::mem::take(&mut pending) {
            match handle.commit([(name.clone(), offset)]).await {
                Ok(()) => seen.lock().unwrap().extend(numbers),
                // What stays can be committed after the rebalance; what goes is read by its next owner.
                Err(CommitError::RebalanceInProgress) if !giving_up.contains(&name) => {
                    pending.insert(name, (offset, numbers));
                }
                Err(_) => {}
            }
        }
        drop(callback);
        if seen.lock().unwrap().len() as u32 >= total {
            break;
        }
    }
    consumer.close().await;
}

#[tokio::test]
async fn members_that_come_and_go_read_everything_and_nothing_twice() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 6).await;
    let group = unique("group");
    let producer = client.producer().build();
    let (total, seen) = (3_000_u32, Arc::new(Mutex::new(Vec::new())));
    let feeding = {
        let topic = topic.clone();
        tokio::spawn(async move {
            for number in 0..total {
                let value = number.to_string();
                let record =
                    kohort_client::Outgoing::to(&topic).key(value.as_bytes()).value(value.as_bytes());
                producer.enqueue(record).await.unwrap();
                if number % 10 == 0 {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
            producer.flush().await;
        })
    };
    let run = |stay: Option<Duration>| {
        let consumer = member(&client, &group, &["cooperative-sticky"]);
        consumer.subscribe([&*topic]).unwrap();
        let until = tokio::time::Instant::now() + stay.unwrap_or(Duration::from_secs(60));
        tokio::spawn(count_committed(consumer, seen.clone(), total, until))
    };
    let steady = run(None);
    for _ in 0..4 {
        run(Some(Duration::from_millis(600))).await.unwrap();
    }
    feeding.await.unwrap();
    soon("all are read", async {
        while (seen.lock().unwrap().len() as u32) < total {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut numbers = seen.lock().unwrap().clone();
    numbers.sort_unstable();
    assert_eq!(numbers, (0..total).collect::<Vec<_>>());
    steady.abort();
}

#[tokio::test]
async fn a_member_whose_join_waits_for_others_leaves_at_once() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let group = unique("group");
    let mut one = member(&client, &group, &["range"]);
    one.subscribe([&*topic]).unwrap();
    assigned(&mut one).await;
    let two = member(&client, &group, &["range"]);
    two.subscribe([&*topic]).unwrap();
    let members = async || client.admin().describe_group(&group).await.unwrap().members.len();
    soon("two has asked to join", async {
        while members().await != 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    // `one` does not let go of its partitions: the join of `two` waits for a minute.
    let began = std::time::Instant::now();
    two.close().await;
    assert_eq!(members().await, 1, "it is gone when `close` is over");
    assert!(began.elapsed() < Duration::from_secs(2), "{:?}", began.elapsed());
    one.close().await;
}

#[tokio::test]
async fn a_static_member_returns_to_its_partitions_without_a_rebalance() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 4).await;
    let group = unique("group");
    let fixed = |id: &str| {
        let settings = client.consumer().group(&group).instance_id(id).assignors(["range"]);
        let settings = settings.offset_reset(OffsetReset::Earliest);
        settings.heartbeat_interval(Duration::from_millis(300)).build().unwrap()
    };
    let (mut one, mut two) = (fixed("one"), fixed("two"));
    one.subscribe([&*topic]).unwrap();
    two.subscribe([&*topic]).unwrap();
    settle(&mut one, &mut two, halves).await;
    let (owned, generation) = (two.assignment(), one.membership().map(|(_, generation)| generation));
    two.close().await;
    let mut two = fixed("two");
    two.subscribe([&*topic]).unwrap();
    let (_, all) = assigned(&mut two).await;
    assert_eq!(all, owned);
    assert_eq!(two.membership().map(|(_, generation)| generation), generation);
    let quiet = tokio::time::timeout(Duration::from_secs(1), one.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    assert_eq!(one.membership().map(|(_, generation)| generation), generation);
}

#[tokio::test]
async fn a_second_process_with_the_same_instance_id_fences_the_first() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let group = unique("group");
    let fixed = || {
        let settings = client.consumer().group(&group).instance_id("only");
        settings.heartbeat_interval(Duration::from_millis(300)).build().unwrap()
    };
    let mut one = fixed();
    one.subscribe([&*topic]).unwrap();
    assigned(&mut one).await;
    let mut two = fixed();
    two.subscribe([&*topic]).unwrap();
    assigned(&mut two).await;
    soon("the first is fenced", async {
        loop {
            if let ConsumerEvent::Fatal(error) = one.next().await {
                assert!(error.to_string().contains("fenced"), "{error}");
                return;
            }
        }
    })
    .await;
}

#[tokio::test]
async fn who_does_not_call_next_leaves_and_comes_back_with_the_next_call() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let mut consumer = client
        .consumer()
        .group(unique("group"))
        .offset_reset(OffsetReset::Earliest)
        .heartbeat_interval(Duration::from_millis(200))
        .max_poll_interval(Duration::from_millis(700))
        .build()
        .unwrap();
    consumer.subscribe([&*topic]).unwrap();
    assigned(&mut consumer).await;
    let handle = consumer.handle();
    soon("it leaves", async {
        while handle.membership().is_some() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let mut left = false;
    soon("it returns", async {
        loop {
            match consumer.next().await {
                ConsumerEvent::Left { reason } => left = reason == LeaveReason::PollTimeout,
                ConsumerEvent::Assigned { .. } if left => return,
                _ => {}
            }
        }
    })
    .await;
}

#[tokio::test]
async fn a_topic_that_grows_is_assigned_whole() {
    let server = Server::start().await;
    let client = kohort_client::Client::new(
        kohort_client::ClientConfig::new([&*server.bootstrap]).metadata_max_age(Duration::from_millis(300)),
    )
    .unwrap();
    let topic = server.topic(&client, 1).await;
    let mut consumer = member(&client, &unique("group"), &["range"]);
    consumer.subscribe([&*topic]).unwrap();
    assert_eq!(assigned(&mut consumer).await.1.len(), 1);
    client.admin().create_partitions(&topic, 3).await.unwrap();
    assert_eq!(assigned(&mut consumer).await.1.len(), 3);
    produce(&client, &topic, 2, &["new"]).await;
    assert_eq!(values(&read(&mut consumer, 1).await)[&2], ["new"]);
    assert!(consumer.seek(&tp(&topic, 2), SeekTo::Earliest));
}

#[tokio::test]
async fn a_pause_outlasts_a_cooperative_rebalance_and_no_eager_one() {
    let server = Server::start().await;
    let client = server.client();
    for (assignor, outlasts) in [("cooperative-sticky", true), ("range", false)] {
        let topic = server.topic(&client, 4).await;
        let group = unique("group");
        let mut one = member(&client, &group, &[assignor]);
        one.subscribe([&*topic]).unwrap();
        assigned(&mut one).await;
        let all: Vec<_> = (0..4).map(|partition| tp(&topic, partition)).collect();
        one.pause(&all);
        let mut two = member(&client, &group, &[assignor]);
        two.subscribe([&*topic]).unwrap();
        settle(&mut one, &mut two, halves).await;
        let stayed = one.assignment();
        for name in &stayed {
            produce(&client, &topic, name.partition, &["a"]).await;
        }
        if outlasts {
            // The rebalance may have a last word; a batch would be one of a paused partition.
            while let Ok(event) = tokio::time::timeout(Duration::from_millis(500), one.next()).await {
                assert!(!matches!(event, ConsumerEvent::Batch(_)), "{event:?}");
            }
            one.resume(&stayed);
        }
        assert_eq!(read(&mut one, 2).await.len(), 2, "{assignor}");
        one.close().await;
        two.close().await;
    }
}

#[tokio::test]
async fn commits_that_meet_rebalances_are_taken_or_refused_and_never_go_back() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let group = unique("group");
    // The first stays owner of partition 0 throughout: range gives it to the member with the lower id.
    let fixed = |id: &str| {
        let settings = client.consumer().group(&group).instance_id(id).assignors(["range"]);
        settings.heartbeat_interval(Duration::from_millis(100)).build().unwrap()
    };
    let mut one = fixed("a");
    one.subscribe([&*topic]).unwrap();
    assigned(&mut one).await;
    let (handle, name) = (one.handle(), tp(&topic, 0));
    let stop = Arc::new(AtomicBool::new(false));
    let committing = {
        let (handle, name, stop) = (handle.clone(), name.clone(), stop.clone());
        tokio::spawn(async move {
            let (mut offset, mut taken, mut refused) = (0, 0, 0);
            while !stop.load(Ordering::Relaxed) {
                offset += 1;
                match soon("an outcome", handle.commit([(name.clone(), offset)])).await {
                    Ok(()) => taken = offset,
                    Err(CommitError::RebalanceInProgress) => refused += 1,
                    Err(error) => panic!("{error}"),
                }
            }
            (taken, refused)
        })
    };
    for round in 0..3 {
        // A static member that only goes away starts no rebalance: these are dynamic, and leave.
        let mut two = member(&client, &group, &["range"]);
        two.subscribe([&*topic]).unwrap();
        settle(&mut one, &mut two, |one, two| one.len() == 1 && two.len() == 1).await;
        assert_eq!(one.assignment(), std::slice::from_ref(&name), "round {round}");
        two.close().await;
        soon("both are back", async {
            while one.assignment().len() != 2 {
                let _ = tokio::time::timeout(Duration::from_millis(20), one.next()).await;
            }
        })
        .await;
    }
    stop.store(true, Ordering::Relaxed);
    let (taken, refused) = committing.await.unwrap();
    assert!(taken > 0, "{refused} refused");
    let committed = soon("committed", one.committed(std::slice::from_ref(&name))).await.unwrap();
    assert_eq!(committed[0].1.as_ref().map(|of| of.offset), Some(taken), "{refused} refused");
    one.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_detached_start_holds_no_rebalance_up_and_starts_what_is_still_there() {
    let (server, group) = (Server::start().await, unique("g"));
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    for partition in 0..2 {
        produce(&client, &topic, partition, &["a", "b", "c"]).await;
    }
    // Longer than this test has patience.
    let patient = |group: &str| {
        let builder = client.consumer().group(group).assignors(["cooperative-sticky"]);
        builder.rebalance_timeout(Duration::from_secs(600)).heartbeat_interval(Duration::from_millis(300))
    };
    let mut one = patient(&group).build().unwrap();
    one.subscribe([topic.as_str()]).unwrap();
    let mut late = soon("an assignment", async {
        loop {
            if let ConsumerEvent::Assigned { added, start, .. } = one.next().await
                && !added.is_empty()
            {
                return start;
            }
        }
    })
    .await;
    late.detach();
    let mut two = patient(&group).build().unwrap();
    two.subscribe([topic.as_str()]).unwrap();
    settle(&mut one, &mut two, |one, two| one.len() == 1 && two.len() == 1).await;
    for partition in 0..2 {
        late.at(tp(&topic, partition), 2);
    }
    late.go();
    let kept = one.assignment()[0].clone();
    let rest = soon("the rest of what stayed", async {
        loop {
            if let ConsumerEvent::Batch(batch) = one.next().await {
                let record = batch.records().next().unwrap().unwrap();
                return (batch.topic_partition(), record.value.map(<[u8]>::to_vec));
            }
        }
    })
    .await;
    assert_eq!(rest, (kept, Some(b"c".to_vec())));
}

#[tokio::test(flavor = "multi_thread")]
async fn who_wants_no_batch_hears_of_the_group_and_loses_none() {
    let (server, group) = (Server::start().await, unique("g"));
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    produce(&client, &topic, 0, &["a"]).await;
    let mut one = member(&client, &group, &["range"]);
    one.subscribe([topic.as_str()]).unwrap();
    assigned(&mut one).await;
    // The record is there before the rebalance that a second member asks for.
    soon("the record", async {
        while one.lag(&tp(&topic, 0)) != Some(1) {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    let mut two = member(&client, &group, &["range"]);
    two.subscribe([topic.as_str()]).unwrap();
    let event = tokio::select! {
        event = soon("news of the group", one.next_group_event()) => event,
        _ = two.next() => panic!("the second waits for the first"),
    };
    assert!(matches!(event, ConsumerEvent::Revoking { .. }), "{event:?}");
}
