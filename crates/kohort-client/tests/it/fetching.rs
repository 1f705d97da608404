//! Fetching without a group: where to begin, seek, pause, prefetch, lag.

use std::time::Duration;

use kohort_client::{ConsumerEvent, HaltError, OffsetReset, Outgoing, SeekTo};

use crate::server::{Server, event, produce, read, soon, tp, unique, values};

#[tokio::test]
async fn a_consumer_begins_where_it_is_told() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    produce(&client, &topic, 0, &["a", "b", "c"]).await;
    let begin = |reset| {
        let consumer = client.consumer().offset_reset(reset).build().unwrap();
        consumer.assign([(tp(&topic, 0), None)]).unwrap();
        consumer
    };
    let mut earliest = begin(OffsetReset::Earliest);
    assert_eq!(values(&read(&mut earliest, 3).await)[&0], ["a", "b", "c"]);
    assert_eq!(earliest.position(&tp(&topic, 0)), Some(3));
    assert_eq!(earliest.lag(&tp(&topic, 0)), Some(0));
    let mut an_hour = begin(OffsetReset::By(Duration::from_secs(3600)));
    assert_eq!(read(&mut an_hour, 3).await.len(), 3);
    let mut none = begin(OffsetReset::None);
    let halted = event(&mut none).await;
    assert!(matches!(halted, ConsumerEvent::Halted { error: HaltError::NoOffset, .. }), "{halted:?}");
    assert!(none.seek(&tp(&topic, 0), SeekTo::Offset(1)));
    assert_eq!(values(&read(&mut none, 2).await)[&0], ["b", "c"]);
    let mut latest = begin(OffsetReset::Latest);
    // Until it knows where the end is, what is produced might still be before it.
    soon("position", async {
        while latest.position(&tp(&topic, 0)).is_none() {
            let _ = tokio::time::timeout(Duration::from_millis(5), latest.next()).await;
        }
    })
    .await;
    produce(&client, &topic, 0, &["d"]).await;
    assert_eq!(values(&read(&mut latest, 1).await)[&0], ["d"]);
}

#[tokio::test]
async fn a_seek_is_heeded_at_once() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let values_of = |records: &[_]| values(records)[&0].clone();
    let producer = client.producer().linger(Duration::ZERO).build();
    for number in 0..100 {
        let record = Outgoing::to(&topic).value(b"x").timestamp(1_000_000 + number);
        soon("ack", producer.send(record).await.unwrap()).await.unwrap();
    }
    let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    let name = tp(&topic, 0);
    consumer.assign([(name.clone(), Some(10))]).unwrap();
    assert_eq!(read(&mut consumer, 1).await[0].offset, 10);
    for (to, first) in [
        (SeekTo::Offset(50), 50),
        (SeekTo::Earliest, 0),
        (SeekTo::Timestamp(1_000_073), 73),
        (SeekTo::Offset(3), 3),
    ] {
        assert!(consumer.seek(&name, to));
        let records = read(&mut consumer, 5).await;
        assert_eq!(records[0].offset, first, "{to:?}");
        assert!(records.windows(2).all(|two| two[1].offset == two[0].offset + 1));
    }
    assert!(consumer.seek(&name, SeekTo::Latest));
    soon("position", async {
        while consumer.position(&name) != Some(100) {
            let _ = tokio::time::timeout(Duration::from_millis(5), consumer.next()).await;
        }
    })
    .await;
    soon("ack", producer.send(Outgoing::to(&topic).value(b"new")).await.unwrap()).await.unwrap();
    assert_eq!(values_of(&read(&mut consumer, 1).await), ["new"]);
    assert!(!consumer.seek(&tp(&topic, 1), SeekTo::Latest), "it is not assigned");
}

#[tokio::test]
async fn a_paused_partition_rests_and_others_go_on() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    produce(&client, &topic, 0, &["a"; 50]).await;
    produce(&client, &topic, 1, &["b"; 50]).await;
    let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    consumer.assign([(tp(&topic, 0), None), (tp(&topic, 1), None)]).unwrap();
    consumer.pause(&[tp(&topic, 0)]);
    let records = read(&mut consumer, 50).await;
    assert!(records.iter().all(|record| record.partition == 1));
    produce(&client, &topic, 1, &["c"]).await;
    assert_eq!(values(&read(&mut consumer, 1).await)[&1], ["c"]);
    consumer.resume(&[tp(&topic, 0)]);
    let records = read(&mut consumer, 50).await;
    assert!(records.iter().all(|record| record.partition == 0));
}

#[tokio::test]
async fn a_resumed_partition_does_not_wait_behind_a_long_poll() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let mut consumer = client
        .consumer()
        .offset_reset(OffsetReset::Earliest)
        .fetch_max_wait(Duration::from_secs(20))
        .build()
        .unwrap();
    consumer.assign([(tp(&topic, 0), Some(0)), (tp(&topic, 1), Some(0))]).unwrap();
    produce(&client, &topic, 0, &["a"]).await;
    read(&mut consumer, 1).await;
    // Both partitions are in a long poll; one that is sent elsewhere must not wait for its end.
    let begun = std::time::Instant::now();
    assert!(consumer.seek(&tp(&topic, 0), SeekTo::Earliest));
    read(&mut consumer, 1).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn an_offset_out_of_range_is_reset_or_told() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    produce(&client, &topic, 0, &["a"]).await;
    let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    consumer.assign([(tp(&topic, 0), Some(1_000))]).unwrap();
    assert_eq!(values(&read(&mut consumer, 1).await)[&0], ["a"]);
    let mut strict = client.consumer().offset_reset(OffsetReset::None).build().unwrap();
    strict.assign([(tp(&topic, 0), Some(1_000))]).unwrap();
    let halted = event(&mut strict).await;
    assert!(matches!(halted, ConsumerEvent::Halted { error: HaltError::NoOffset, .. }), "{halted:?}");
}

#[tokio::test]
async fn what_is_fetched_ahead_is_bounded_and_nothing_is_lost() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 3).await;
    let producer = client.producer().batch_size(10_000).build();
    let value = vec![b'x'; 500];
    for number in 0..20_000_u32 {
        let record = Outgoing::to(&topic).partition((number % 3) as i32).value(&value);
        producer.enqueue(record).await.unwrap();
    }
    soon("flush", producer.flush()).await;
    assert_eq!(producer.delivered().failed, 0);
    let mut consumer = client
        .consumer()
        .offset_reset(OffsetReset::Earliest)
        .prefetch_bytes(200_000)
        .partition_max_bytes(50_000)
        .build()
        .unwrap();
    consumer.assign((0..3).map(|partition| (tp(&topic, partition), None))).unwrap();
    let mut next = [0; 3];
    for record in read(&mut consumer, 20_000).await {
        let next = &mut next[record.partition as usize];
        assert_eq!(record.offset, *next);
        *next += 1;
    }
}

#[tokio::test]
async fn offsets_can_be_committed_without_membership() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    produce(&client, &topic, 0, &["a", "b", "c"]).await;
    let group = unique("group");
    let name = tp(&topic, 0);
    let consumer = client.consumer().group(&group).build().unwrap();
    consumer.assign([(name.clone(), None)]).unwrap();
    let none = soon("committed", consumer.committed(std::slice::from_ref(&name))).await.unwrap();
    assert_eq!(none, [(name.clone(), None)]);
    soon("commit", consumer.commit([(name.clone(), 2)])).await.unwrap();
    consumer.close().await;
    let mut again = client.consumer().group(&group).offset_reset(OffsetReset::None).build().unwrap();
    again.assign([(name.clone(), None)]).unwrap();
    assert_eq!(values(&read(&mut again, 1).await)[&0], ["c"]);
    let committed = soon("committed", again.committed(std::slice::from_ref(&name))).await.unwrap();
    assert_eq!(committed[0].1.as_ref().map(|committed| committed.offset), Some(2));
}
