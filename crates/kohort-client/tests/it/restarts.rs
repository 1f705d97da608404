//! The broker goes away and comes back: our own, or Apache Kafka where `KOHORT_TEST_RESTART` says how to kill and start it.

use std::time::Duration;

use kohort_client::{ConsumerEvent, OffsetReset, Outgoing};

use crate::server::{PATIENCE, Server, produce, read, soon, tp, unique, values};

#[tokio::test]
async fn a_consumer_goes_on_after_its_broker_returned() {
    let mut server = Server::restartable().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    produce(&client, &topic, 0, &["a"]).await;
    let mut consumer = client
        .consumer()
        .group(unique("group"))
        .offset_reset(OffsetReset::Earliest)
        .heartbeat_interval(Duration::from_millis(300))
        .build()
        .unwrap();
    consumer.subscribe([&*topic]).unwrap();
    read(&mut consumer, 1).await;
    soon("commit", consumer.commit([(tp(&topic, 0), 1)])).await.unwrap();
    for round in 0..2 {
        server.restart(tokio::time::sleep(Duration::from_millis(300))).await;
        produce(&client, &topic, 1, &["b"]).await;
        assert_eq!(values(&read(&mut consumer, 1).await)[&1], ["b"], "round {round}");
        soon("commit", consumer.commit([(tp(&topic, 1), round + 1)])).await.unwrap();
    }
    consumer.close().await;
}

#[tokio::test]
async fn a_producer_loses_nothing_and_writes_nothing_twice_over_restarts() {
    let mut server = Server::restartable().await;
    let client = server.client();
    let topic = server.topic(&client, 3).await;
    let producer = client.producer().batch_size(2_000).build();
    let sender = {
        let (producer, topic) = (producer.clone(), topic.clone());
        tokio::spawn(async move {
            for number in 0..6_000_u32 {
                let value = number.to_string();
                let record = Outgoing::to(&topic).partition((number % 3) as i32).value(value.as_bytes());
                producer.enqueue(record).await.unwrap();
                if number % 20 == 0 {
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
            }
        })
    };
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(150)).await;
        server.restart(tokio::time::sleep(Duration::from_millis(100))).await;
    }
    soon("all are sent", sender).await.unwrap();
    soon("all are acknowledged", producer.close(PATIENCE)).await.unwrap();
    let mut consumer = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    consumer.assign((0..3).map(|partition| (tp(&topic, partition), None))).unwrap();
    let records = read(&mut consumer, 6_000).await;
    for (partition, values) in values(&records) {
        let expected: Vec<String> =
            (0..6_000_u32).filter(|n| n % 3 == partition as u32).map(|n| n.to_string()).collect();
        assert_eq!(values, expected, "partition {partition}");
    }
    let more = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
    assert!(more.is_err(), "{more:?}");
}

#[tokio::test]
async fn a_client_may_be_made_before_its_broker() {
    let mut server = Server::restartable().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let late = server.client();
    let mut consumer =
        late.consumer().group(unique("group")).offset_reset(OffsetReset::Earliest).build().unwrap();
    let producer = late.producer().build();
    server
        .restart(async {
            consumer.subscribe([&*topic]).unwrap();
            let waits = tokio::time::timeout(Duration::from_millis(300), consumer.next()).await;
            assert!(!matches!(waits, Ok(ConsumerEvent::Fatal(_))), "{waits:?}");
        })
        .await;
    let ack = producer.send(Outgoing::to(&topic).value(b"late")).await.unwrap();
    soon("ack", ack).await.unwrap();
    assert_eq!(values(&read(&mut consumer, 1).await)[&0], ["late"]);
}
