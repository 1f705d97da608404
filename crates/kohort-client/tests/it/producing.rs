//! Producing: what acks tell, every codec, keys, sizes, closing.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kohort_client::{
    Acks, Client, ClientConfig, Compression, OffsetReset, Outgoing, ProduceError, SendError,
};

use crate::relay::{Fate, PRODUCE, Relays, Way, every};
use crate::server::{PATIENCE, Server, produce_with, read, soon, tp, values};

#[tokio::test]
async fn acks_tell_where_records_are() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let producer = client.producer().build();
    assert_eq!(produce_with(&producer, &topic, 0, &["a", "b", "c"]).await, [0, 1, 2]);
    assert_eq!(produce_with(&producer, &topic, 1, &["d"]).await, [0]);
    assert_eq!(produce_with(&producer, &topic, 0, &["e"]).await, [3]);
    producer.close(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn partitions_that_are_added_are_written_to_by_a_producer_that_runs() {
    let server = Server::start().await;
    let config = ClientConfig::new([&*server.bootstrap]).metadata_max_age(Duration::from_millis(100));
    let client = Client::new(config).unwrap();
    let topic = server.topic(&client, 1).await;
    let producer = client.producer().build();
    produce_with(&producer, &topic, 0, &["first"]).await;
    client.admin().create_partitions(&topic, 4).await.unwrap();
    let grown = async {
        for number in 0_u32.. {
            let key = number.to_be_bytes();
            let record = Outgoing::to(&topic).key(&key).value(b"x");
            if producer.send(record).await.unwrap().await.unwrap().partition == 3 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    soon("a record in the last partition", grown).await;
}

#[tokio::test]
async fn records_without_a_key_go_round_though_no_batch_is_ever_full() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 3).await;
    let producer = client.producer().batch_size(1_000).build();
    let mut partitions = std::collections::BTreeSet::new();
    // One after the other, each acknowledged in a batch of its own.
    for _ in 0..60 {
        let record = Outgoing::to(&topic).value(&[b'x'; 100]);
        partitions.insert(producer.send(record).await.unwrap().await.unwrap().partition);
    }
    assert_eq!(partitions.len(), 3, "{partitions:?}");
    producer.close(PATIENCE).await.unwrap();
}

#[tokio::test]
async fn every_codec_is_read_as_it_was_written() {
    let server = Server::start().await;
    let client = server.client();
    for codec in Compression::ALL {
        let topic = server.topic(&client, 1).await;
        let producer = client.producer().compression(codec).linger(Duration::from_millis(20)).build();
        let headers: &[(&str, Option<&[u8]>)] =
            &[("source", Some(b"it")), ("nothing", None), ("source", Some(b""))];
        let mut acks = vec![];
        for number in 0..1000_i64 {
            let (key, value) = (format!("key-{number}"), format!("value-{number}-").repeat(10));
            let record = Outgoing::to(&topic)
                .key(key.as_bytes())
                .value(value.as_bytes())
                .headers(headers)
                .timestamp(1_700_000_000_000 + number);
            acks.push(producer.send(record).await.unwrap());
        }
        acks.push(producer.send(Outgoing::to(&topic).key(b"tombstone")).await.unwrap());
        for (offset, ack) in acks.into_iter().enumerate() {
            assert_eq!(soon("ack", ack).await.unwrap().offset, offset as i64, "{codec:?}");
        }
        let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
        consumer.assign([(tp(&topic, 0), None)]).unwrap();
        let records = read(&mut consumer, 1001).await;
        for (number, record) in records[..1000].iter().enumerate() {
            assert_eq!(record.offset, number as i64);
            assert_eq!(record.timestamp, 1_700_000_000_000 + number as i64);
            assert_eq!(record.key.as_deref(), Some(format!("key-{number}").as_bytes()));
            assert_eq!(record.value.as_deref(), Some(format!("value-{number}-").repeat(10).as_bytes()));
            let names: Vec<&str> = record.headers.iter().map(|(name, _)| name.as_str()).collect();
            assert_eq!(names, ["source", "nothing", "source"]);
            assert_eq!(record.headers[1].1, None);
            assert_eq!(record.headers[2].1.as_deref(), Some(&b""[..]));
        }
        assert_eq!((records[1000].key.as_deref(), &records[1000].value), (Some(&b"tombstone"[..]), &None));
    }
}

#[tokio::test]
async fn a_key_has_one_partition_and_order_is_kept() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 4).await;
    let producer = client.producer().batch_size(500).build();
    for number in 0..2000 {
        let (key, value) = (format!("key-{}", number % 10), format!("{number}"));
        producer.enqueue(Outgoing::to(&topic).key(key.as_bytes()).value(value.as_bytes())).await.unwrap();
    }
    soon("flush", producer.flush()).await;
    assert_eq!((producer.delivered().acked, producer.delivered().failed), (2000, 0));
    let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    consumer.assign((0..4).map(|partition| (tp(&topic, partition), None))).unwrap();
    let records = read(&mut consumer, 2000).await;
    for key in 0..10 {
        let of_key: Vec<_> = records
            .iter()
            .filter(|record| record.key.as_deref() == Some(format!("key-{key}").as_bytes()))
            .collect();
        assert!(of_key.iter().all(|record| record.partition == of_key[0].partition));
        let numbers: Vec<u32> = of_key
            .iter()
            .map(|record| String::from_utf8_lossy(record.value.as_deref().unwrap()).parse().unwrap())
            .collect();
        assert!(numbers.is_sorted() && numbers.len() == 200, "{numbers:?}");
    }
}

#[tokio::test]
async fn big_records_pass_and_too_big_ones_are_refused() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let producer = client.producer().max_request_size(2 << 20).build();
    let big: Vec<u8> = (0..900_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    for _ in 0..5 {
        let ack = producer.send(Outgoing::to(&topic).value(&big)).await.unwrap();
        soon("ack", ack).await.unwrap();
    }
    // Larger than the topic's `max.message.bytes`: the broker refuses it, and what follows is not held up.
    let bigger = vec![b'x'; 1_500_000];
    let refused = producer.send(Outgoing::to(&topic).value(&bigger)).await.unwrap();
    let next = producer.send(Outgoing::to(&topic).value(b"next")).await.unwrap();
    match soon("ack", refused).await {
        Err(ProduceError::Refused { code, .. }) => assert!(code == 10 || code == 18, "{code}"),
        other => panic!("{other:?}"),
    }
    assert_eq!(soon("ack", next).await.unwrap().offset, 5);
    // Larger than `max.request.size`: not even taken.
    let biggest = vec![b'x'; 3_000_000];
    let refused = producer.send(Outgoing::to(&topic).value(&biggest)).await;
    assert!(matches!(refused, Err(SendError::TooLarge { .. })));
    let mut consumer =
        client.consumer().offset_reset(OffsetReset::Earliest).partition_max_bytes(1000).build().unwrap();
    consumer.assign([(tp(&topic, 0), None)]).unwrap();
    let records = read(&mut consumer, 6).await;
    assert!(records[..5].iter().all(|record| record.value.as_deref() == Some(&big)));
}

#[tokio::test]
async fn with_less_than_all_acks_records_arrive_too() {
    let server = Server::start().await;
    let client = server.client();
    for (acks, known) in [(Acks::Leader, 0), (Acks::None, -1)] {
        let topic = server.topic(&client, 1).await;
        let producer = client.producer().acks(acks).build();
        assert_eq!(produce_with(&producer, &topic, 0, &["a"]).await, [known]);
        producer.close(PATIENCE).await.unwrap();
        let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
        consumer.assign([(tp(&topic, 0), None)]).unwrap();
        assert_eq!(values(&read(&mut consumer, 1).await)[&0], ["a"]);
    }
}

#[tokio::test]
async fn deliveries_are_told_once_a_batch() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let (records, told) = (Arc::new(AtomicU64::new(0)), Arc::new(Mutex::new(vec![])));
    let (count, list) = (records.clone(), told.clone());
    let producer = client
        .producer()
        .linger(Duration::from_secs(5))
        .on_delivery(move |delivery| {
            count.fetch_add(delivery.records.into(), Ordering::Relaxed);
            list.lock().unwrap().push(delivery.result.clone().unwrap());
        })
        .build();
    for _ in 0..100 {
        producer.enqueue(Outgoing::to(&topic).value(b"x")).await.unwrap();
    }
    // It does not wait for `linger`.
    soon("flush", producer.flush()).await;
    assert_eq!(records.load(Ordering::Relaxed), 100);
    assert_eq!(*told.lock().unwrap(), [0]);
}

#[tokio::test]
async fn a_full_buffer_makes_senders_wait_and_loses_nothing() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let producer = client.producer().buffer_memory(20_000).batch_size(4_000).build();
    let value = vec![b'x'; 1_000];
    for _ in 0..2_000 {
        soon("room", producer.enqueue(Outgoing::to(&topic).value(&value))).await.unwrap();
    }
    soon("close", producer.clone().close(PATIENCE)).await.unwrap();
    assert_eq!(producer.delivered().acked, 2_000);
    assert!(matches!(producer.enqueue(Outgoing::to(&topic)).await, Err(SendError::Closed)));
}

#[tokio::test]
async fn a_partition_that_is_not_there_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let producer = client.producer().build();
    let refused = producer.send(Outgoing::to(&topic).partition(2).value(b"x")).await;
    assert!(matches!(refused, Err(SendError::NoPartition { partition: 2, .. })), "{refused:?}");
}

#[tokio::test]
async fn what_a_dropped_producer_had_taken_is_delivered() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let producer = client.producer().linger(Duration::from_secs(60)).build();
    let ack = producer.send(Outgoing::to(&topic).value(b"last words")).await.unwrap();
    drop(producer);
    assert_eq!(soon("ack", ack).await.unwrap().offset, 0);
}

#[tokio::test]
async fn a_producer_that_is_closed_while_no_broker_answers_says_what_was_not_delivered() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let relays = Relays::before(&server.bootstrap, 1).await;
    let producer = relays.client().producer().build();
    assert_eq!(produce_with(&producer, &topic, 0, &["a"]).await, [0]);
    relays.rule(every(1, Way::Request(PRODUCE), Fate::Lost));
    let mut acks = vec![];
    for _ in 0..3 {
        acks.push(producer.send(Outgoing::to(&topic).value(b"b")).await.unwrap());
    }
    let closed = soon("close", producer.close(Duration::from_millis(300))).await.unwrap_err();
    assert_eq!(closed.records, 3);
    for ack in acks {
        let outcome = soon("an outcome", ack).await;
        assert!(matches!(outcome, Err(ProduceError::Closed)), "{outcome:?}");
    }
}

#[tokio::test]
async fn a_record_that_cannot_be_delivered_in_time_is_given_up_and_the_next_are_written() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let relays = Relays::before(&server.bootstrap, 1).await;
    let producer = relays.client().producer().delivery_timeout(Duration::from_millis(500)).build();
    assert_eq!(produce_with(&producer, &topic, 0, &["a"]).await, [0]);
    relays.rule(every(1, Way::Request(PRODUCE), Fate::Lost));
    let ack = producer.send(Outgoing::to(&topic).value(b"lost")).await.unwrap();
    let outcome = soon("an outcome", ack).await;
    assert!(matches!(outcome, Err(ProduceError::Timeout { .. })), "{outcome:?}");
    relays.rule(|_| Fate::Pass);
    // The sequence has a hole now: a new epoch begins behind it, and nothing is refused.
    assert_eq!(produce_with(&producer, &topic, 0, &["b", "c"]).await, [1, 2]);
}
