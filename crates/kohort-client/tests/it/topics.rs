//! Topics that are not there yet or not any more, and offsets that are not.

use std::time::Duration;

use kohort_client::{Client, ClientConfig, ConsumerEvent, HaltError, OffsetReset, Outgoing, SendError};

use crate::server::{Server, event, produce, produce_with, read, soon, tp, unique, values};

/// A client that looks at the metadata often, and lets nobody make a topic by asking for it.
fn watchful(server: &Server) -> Client {
    let config = ClientConfig::new([&*server.bootstrap]).client_id("it").allow_auto_create_topics(false);
    Client::new(config.metadata_max_age(Duration::from_millis(300))).unwrap()
}

async fn delete(client: &Client, topic: &str) {
    for (_, result) in client.admin().delete_topics(&[topic]).await.unwrap() {
        result.unwrap();
    }
    soon("the topic is gone", async { while client.admin().describe_topic(topic).await.is_ok() {} }).await;
}

async fn create(client: &Client, topic: &str) {
    let new = kohort_client::admin::NewTopic::new(topic, 1);
    for (_, result) in client.admin().create_topics(&[new]).await.unwrap() {
        result.unwrap();
    }
}

#[tokio::test]
async fn a_topic_that_comes_later_is_read_once_it_is_there() {
    let server = Server::start().await;
    let client = watchful(&server);
    let topic = unique("topic");
    let settings = client.consumer().group(unique("group")).offset_reset(OffsetReset::Earliest);
    let mut consumer = settings.heartbeat_interval(Duration::from_millis(300)).build().unwrap();
    consumer.subscribe([&*topic]).unwrap();
    let mut by_hand = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    by_hand.assign([(tp(&topic, 0), None)]).unwrap();
    for early in [&mut consumer, &mut by_hand] {
        let early = tokio::time::timeout(Duration::from_millis(600), async {
            loop {
                match early.next().await {
                    ConsumerEvent::Assigned { all, .. } if all.is_empty() => {}
                    other => return other,
                }
            }
        });
        assert!(early.await.is_err());
    }
    create(&client, &topic).await;
    produce(&client, &topic, 0, &["a"]).await;
    assert_eq!(values(&read(&mut consumer, 1).await)[&0], ["a"]);
    assert_eq!(values(&read(&mut by_hand, 1).await)[&0], ["a"]);
}

#[tokio::test]
async fn who_sends_to_a_topic_that_is_not_there_is_told_in_time() {
    let server = Server::start().await;
    let client = watchful(&server);
    let topic = unique("topic");
    let producer = client.producer().max_block(Duration::from_millis(500)).build();
    let refused = producer.send(Outgoing::to(&topic).value(b"x")).await;
    assert!(matches!(&refused, Err(SendError::Timeout { topic: of, .. }) if *of == topic), "{refused:?}");
    create(&client, &topic).await;
    let patient = client.producer().build();
    soon("ack", patient.send(Outgoing::to(&topic).value(b"x")).await.unwrap()).await.unwrap();
}

#[tokio::test]
async fn a_topic_that_is_deleted_goes_and_one_that_comes_back_is_read_from_its_beginning() {
    let server = Server::start().await;
    let client = watchful(&server);
    let (stays, goes) = (server.topic(&client, 1).await, server.topic(&client, 1).await);
    let producer = client.producer().build();
    produce_with(&producer, &goes, 0, &["a", "b", "c"]).await;
    let settings = client.consumer().group(unique("group")).offset_reset(OffsetReset::Earliest);
    let mut consumer = settings.heartbeat_interval(Duration::from_millis(300)).build().unwrap();
    consumer.subscribe([&*stays, &*goes]).unwrap();
    let mut by_hand = client.consumer().offset_reset(OffsetReset::Earliest).build().unwrap();
    by_hand.assign([(tp(&goes, 0), None), (tp(&stays, 0), None)]).unwrap();
    read(&mut consumer, 3).await;
    read(&mut by_hand, 3).await;
    soon("commit", consumer.commit([(tp(&goes, 0), 3)])).await.unwrap();
    delete(&client, &goes).await;
    soon("it is taken away", async {
        while consumer.assignment() != [tp(&stays, 0)] {
            let _ = tokio::time::timeout(Duration::from_millis(20), consumer.next()).await;
        }
    })
    .await;
    produce(&client, &stays, 0, &["on"]).await;
    assert_eq!(values(&read(&mut consumer, 1).await)[&0], ["on"]);
    soon("commit", consumer.commit([(tp(&stays, 0), 1)])).await.unwrap();
    assert_eq!(values(&read(&mut by_hand, 1).await)[&0], ["on"]);
    create(&client, &goes).await;
    produce_with(&producer, &goes, 0, &["new"]).await;
    assert_eq!(values(&read(&mut consumer, 1).await)[&0], ["new"]);
    assert_eq!(values(&read(&mut by_hand, 1).await)[&0], ["new"]);
}

#[tokio::test]
async fn a_committed_offset_out_of_range_is_reset_as_the_policy_says() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    produce(&client, &topic, 0, &["a", "b", "c"]).await;
    let name = tp(&topic, 0);
    let policies = [
        OffsetReset::Earliest,
        OffsetReset::Latest,
        OffsetReset::By(Duration::from_secs(3600)),
        OffsetReset::None,
    ];
    for policy in policies {
        let group = unique("group");
        client.admin().alter_group_offsets(&group, &[(name.clone(), 1_000)]).await.unwrap();
        let mut consumer = client.consumer().group(group).offset_reset(policy).build().unwrap();
        consumer.subscribe([&*topic]).unwrap();
        match policy {
            OffsetReset::Latest => {
                soon("the end", async {
                    while consumer.position(&name) != Some(3) {
                        let _ = tokio::time::timeout(Duration::from_millis(5), consumer.next()).await;
                    }
                })
                .await;
            }
            OffsetReset::None => {
                let halted = soon("it halts", async {
                    loop {
                        match event(&mut consumer).await {
                            ConsumerEvent::Assigned { .. } | ConsumerEvent::Revoking { .. } => {}
                            other => return other,
                        }
                    }
                })
                .await;
                assert!(
                    matches!(&halted, ConsumerEvent::Halted { partition, error: HaltError::NoOffset } if *partition == name),
                    "{halted:?}"
                );
            }
            _ => assert_eq!(values(&read(&mut consumer, 3).await)[&0], ["a", "b", "c"], "{policy:?}"),
        }
        consumer.close().await;
    }
}
