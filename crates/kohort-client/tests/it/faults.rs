//! What goes wrong on the way: frames cut in their middle, answers lost or late, leaders and coordinators that move.

use std::collections::BTreeSet;
use std::time::Duration;

use kohort_client::{Client, Consumer, OffsetReset, Outgoing, Producer};

use crate::relay::{
    FETCH, FIND_COORDINATOR, Fate, HEARTBEAT, JOIN_GROUP, METADATA, OFFSET_COMMIT, OFFSET_FETCH, PRODUCE,
    Relays, SYNC_GROUP, Way, every,
};
use crate::server::{PATIENCE, Server, produce, read, soon, tp, unique, values};

/// Sends numbers, one partition after the other, from the first of `range` on.
async fn send_numbers(producer: &Producer, topic: &str, partitions: u32, range: std::ops::Range<u32>) {
    for number in range {
        let value = number.to_string();
        let record = Outgoing::to(topic).partition((number % partitions) as i32).value(value.as_bytes());
        soon("room", producer.enqueue(record)).await.unwrap();
        if number.is_multiple_of(50) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// Each number once, in order, and nothing else.
async fn assert_numbers(client: &Client, topic: &str, partitions: u32, total: u32) {
    let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    consumer.assign((0..partitions).map(|partition| (tp(topic, partition as i32), None))).unwrap();
    let records = read(&mut consumer, total as usize).await;
    for (partition, values) in values(&records) {
        let expected: Vec<String> =
            (0..total).filter(|n| n % partitions == partition as u32).map(|n| n.to_string()).collect();
        assert_eq!(values, expected, "partition {partition}");
    }
    let more = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(more.is_err(), "{more:?}");
}

fn member(client: &Client, group: &str) -> Consumer {
    let settings = client.consumer().group(group).assignors(["range"]).offset_reset(OffsetReset::Earliest);
    settings.heartbeat_interval(Duration::from_millis(300)).build().unwrap()
}

#[tokio::test]
async fn a_fetch_that_is_cut_in_its_middle_is_made_again() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 3).await;
    let producer = client.producer().batch_size(2_000).build();
    send_numbers(&producer, &topic, 3, 0..3_000).await;
    producer.close(PATIENCE).await.unwrap();
    for way in [Way::Answer(FETCH), Way::Request(FETCH)] {
        let relays = Relays::before(&server.bootstrap, 1).await;
        relays.rule(every(3, way, Fate::Half));
        let settings = relays.client().consumer().offset_reset(OffsetReset::Earliest);
        let mut consumer = settings.partition_max_bytes(3_000).prefetch_bytes(10_000).build().unwrap();
        consumer.assign((0..3).map(|partition| (tp(&topic, partition), None))).unwrap();
        for (partition, values) in values(&read(&mut consumer, 3_000).await) {
            let expected: Vec<String> =
                (0..3_000).filter(|n| n % 3 == partition).map(|n: i32| n.to_string()).collect();
            assert_eq!(values, expected, "partition {partition}, {way:?}");
        }
    }
}

#[tokio::test]
async fn an_idempotent_producer_writes_nothing_twice_over_connections_that_end() {
    let server = Server::start().await;
    let client = server.client();
    // An answer that is lost was written; a request that is cut was not. The producer cannot tell them apart.
    for (way, fate) in [
        (Way::Answer(PRODUCE), Fate::Lost),
        (Way::Answer(PRODUCE), Fate::Half),
        (Way::Request(PRODUCE), Fate::Half),
    ] {
        let topic = server.topic(&client, 3).await;
        let relays = Relays::before(&server.bootstrap, 1).await;
        relays.rule(every(4, way, fate));
        let producer = relays.client().producer().batch_size(500).build();
        send_numbers(&producer, &topic, 3, 0..2_000).await;
        soon("all are acknowledged", producer.flush()).await;
        assert_eq!((producer.delivered().acked, producer.delivered().failed), (2_000, 0), "{way:?} {fate:?}");
        assert_numbers(&client, &topic, 3, 2_000).await;
    }
}

#[tokio::test]
async fn a_group_survives_the_loss_of_any_of_its_frames() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    produce(&client, &topic, 0, &["a", "b"]).await;
    produce(&client, &topic, 1, &["c"]).await;
    for key in [METADATA, FIND_COORDINATOR, JOIN_GROUP, SYNC_GROUP, OFFSET_FETCH, HEARTBEAT, OFFSET_COMMIT] {
        for (way, fate) in [(Way::Request(key), Fate::Half), (Way::Answer(key), Fate::Half)] {
            let relays = Relays::before(&server.bootstrap, 1).await;
            let mut left = 1;
            relays.rule(move |frame| {
                if frame != way || left == 0 {
                    return Fate::Pass;
                }
                left -= 1;
                fate
            });
            let mut consumer = member(&relays.client(), &unique("group"));
            consumer.subscribe([&*topic]).unwrap();
            let records = read(&mut consumer, 3).await;
            assert_eq!(records.len(), 3, "{way:?}: {:?}", values(&records));
            let offsets = [(tp(&topic, 0), 2), (tp(&topic, 1), 1)];
            soon("commit", consumer.commit(offsets)).await.unwrap();
            let committed =
                soon("committed", consumer.committed(&[tp(&topic, 0), tp(&topic, 1)])).await.unwrap();
            let committed: Vec<_> =
                committed.into_iter().map(|(_, committed)| committed.map(|of| of.offset)).collect();
            assert_eq!(committed, [Some(2), Some(1)], "{way:?}");
        }
    }
}

#[tokio::test]
async fn who_leads_partitions_may_change_while_they_are_written_and_read() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 3).await;
    let relays = Relays::before(&server.bootstrap, 3).await;
    let through = relays.client();
    let mut consumer = through.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    consumer.assign((0..3).map(|partition| (tp(&topic, partition), None))).unwrap();
    let reading = tokio::spawn(async move { read(&mut consumer, 4_000).await });
    let producer = through.producer().batch_size(500).build();
    for round in 0..4 {
        relays.lead(round % 3);
        let from = round as u32 * 1_000;
        send_numbers(&producer, &topic, 3, from..from + 1_000).await;
        soon("round", producer.flush()).await;
    }
    assert_eq!(producer.delivered().failed, 0);
    for (partition, values) in values(&soon("all are read", reading).await.unwrap()) {
        let expected: Vec<String> =
            (0..4_000).filter(|n| n % 3 == partition).map(|n: i32| n.to_string()).collect();
        assert_eq!(values, expected, "partition {partition}");
    }
    assert_numbers(&client, &topic, 3, 4_000).await;
}

#[tokio::test]
async fn who_coordinates_a_group_may_change_and_its_members_stay() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    produce(&client, &topic, 0, &["a"]).await;
    let relays = Relays::before(&server.bootstrap, 3).await;
    let mut consumer = member(&relays.client(), &unique("group"));
    consumer.subscribe([&*topic]).unwrap();
    read(&mut consumer, 1).await;
    let membership = consumer.membership();
    let mut offset = 0;
    for round in 1..4 {
        relays.coordinate(round % 3);
        // By a commit it learns at once, by a heartbeat soon.
        for _ in 0..3 {
            offset += 1;
            soon("commit", consumer.commit([(tp(&topic, 1), offset)])).await.unwrap();
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let committed = soon("committed", consumer.committed(&[tp(&topic, 1)])).await.unwrap();
        assert_eq!(committed[0].1.as_ref().map(|of| of.offset), Some(offset));
    }
    let quiet = tokio::time::timeout(Duration::from_millis(700), consumer.next()).await;
    assert!(quiet.is_err(), "nothing was revoked or lost: {quiet:?}");
    assert_eq!(consumer.membership(), membership);
}

#[tokio::test]
async fn a_broker_that_answers_too_late_is_asked_again() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let relays = Relays::before(&server.bootstrap, 1).await;
    let slow = relays.client_with(|config| config.request_timeout(Duration::from_millis(700)));
    // It was written all the same, and must not be written again.
    relays.rule(every(5, Way::Answer(PRODUCE), Fate::Late(Duration::from_secs(4))));
    let producer = slow.producer().batch_size(2_000).build();
    send_numbers(&producer, &topic, 2, 0..2_000).await;
    soon("all are acknowledged", producer.flush()).await;
    assert_eq!(producer.delivered().failed, 0);
    assert_numbers(&client, &topic, 2, 2_000).await;
    relays.rule(every(3, Way::Answer(FETCH), Fate::Late(Duration::from_secs(4))));
    let settings =
        slow.consumer().offset_reset(OffsetReset::Earliest).fetch_max_wait(Duration::from_millis(100));
    let mut consumer = settings.partition_max_bytes(6_000).prefetch_bytes(8_000).build().unwrap();
    consumer.assign((0..2).map(|partition| (tp(&topic, partition), None))).unwrap();
    let records = read(&mut consumer, 2_000).await;
    let offsets: BTreeSet<_> = records.iter().map(|record| (record.partition, record.offset)).collect();
    assert_eq!((records.len(), offsets.len()), (2_000, 2_000));
}

#[tokio::test]
async fn a_slow_coordinator_costs_no_membership() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    produce(&client, &topic, 0, &["a"]).await;
    let relays = Relays::before(&server.bootstrap, 1).await;
    let mut consumer = member(&relays.client(), &unique("group"));
    consumer.subscribe([&*topic]).unwrap();
    read(&mut consumer, 1).await;
    let membership = consumer.membership();
    relays.rule(every(1, Way::Answer(HEARTBEAT), Fate::Late(Duration::from_millis(1_500))));
    let quiet = tokio::time::timeout(Duration::from_secs(4), consumer.next()).await;
    assert!(quiet.is_err(), "{quiet:?}");
    // Behind a slow heartbeat, on the same connection.
    soon("commit", consumer.commit([(tp(&topic, 0), 1)])).await.unwrap();
    assert_eq!(consumer.membership(), membership);
}
