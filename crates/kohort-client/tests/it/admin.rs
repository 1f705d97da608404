//! The admin.

use kohort_client::admin::{ConfigResource, NewTopic};
use kohort_client::{AdminError, ConsumerEvent, OffsetReset, SeekTo};

use crate::server::{Server, event, produce, soon, tp, unique};

#[tokio::test]
async fn topics_are_made_described_grown_and_deleted() {
    let server = Server::start().await;
    let admin = server.client().admin();
    let topic = unique("topic");
    let new = NewTopic::new(&topic, 2).config("retention.ms", "3600000");
    let results = admin.create_topics(std::slice::from_ref(&new)).await.unwrap();
    assert!(matches!(&results[..], [(name, Ok(()))] if *name == topic));
    let results = admin.create_topics(&[new]).await.unwrap();
    assert!(matches!(&results[0].1, Err(AdminError::Refused { code: 36, .. })), "{results:?}");
    assert_eq!(admin.describe_topic(&topic).await.unwrap().partitions.len(), 2);
    admin.create_partitions(&topic, 5).await.unwrap();
    assert!(matches!(admin.create_partitions(&topic, 5).await, Err(AdminError::Refused { code: 37, .. })));
    soon("the partitions are there", async {
        while admin.describe_topic(&topic).await.unwrap().partitions.len() != 5 {}
    })
    .await;
    assert!(admin.list_topics().await.unwrap().iter().any(|listed| listed.name == topic));
    let config = admin.describe_config(&ConfigResource::Topic(topic.clone())).await.unwrap();
    let retention = config.iter().find(|entry| entry.name == "retention.ms").unwrap();
    assert_eq!((retention.value.as_deref(), retention.is_set), (Some("3600000"), true));
    let results = admin.delete_topics(&[&topic]).await.unwrap();
    assert!(matches!(&results[..], [(_, Ok(()))]));
    soon("the topic is gone", async {
        while !matches!(admin.describe_topic(&topic).await, Err(AdminError::Refused { code: 3, .. })) {}
    })
    .await;
}

#[tokio::test]
async fn a_cluster_has_a_broker_where_it_was_asked() {
    let server = Server::start().await;
    let cluster = server.client().admin().describe_cluster().await.unwrap();
    let addresses: Vec<_> = cluster.brokers.iter().map(|(_, host, port)| format!("{host}:{port}")).collect();
    assert_eq!(addresses, [server.bootstrap.replace("localhost", "127.0.0.1")]);
    assert!(cluster.brokers.iter().any(|(id, _, _)| *id == cluster.controller));
    let id = cluster.controller;
    assert!(!server.client().admin().describe_config(&ConfigResource::Broker(id)).await.unwrap().is_empty());
}

#[tokio::test]
async fn groups_and_their_offsets_are_described_changed_and_deleted() {
    let server = Server::start().await;
    let client = server.client();
    let admin = client.admin();
    let topic = server.topic(&client, 2).await;
    let group = unique("group");
    produce(&client, &topic, 0, &["a", "b"]).await;
    let mut consumer = client
        .consumer()
        .group(&group)
        .assignors(["range"])
        .offset_reset(OffsetReset::Earliest)
        .build()
        .unwrap();
    consumer.subscribe([&*topic]).unwrap();
    let ConsumerEvent::Assigned { .. } = event(&mut consumer).await else { panic!() };
    soon("commit", consumer.commit([(tp(&topic, 0), 1)])).await.unwrap();
    let described = admin.describe_group(&group).await.unwrap();
    assert_eq!((described.state.as_str(), described.assignor.as_str()), ("Stable", "range"));
    assert_eq!(described.members[0].client_id, "it");
    assert_eq!(described.members[0].assignment, [tp(&topic, 0), tp(&topic, 1)]);
    assert!(admin.list_groups().await.unwrap().iter().any(|listed| listed.group == group));
    assert_eq!(admin.group_offsets(&group).await.unwrap(), [(tp(&topic, 0), 1)]);
    let refused = admin.alter_group_offsets(&group, &[(tp(&topic, 0), 0)]).await;
    assert!(matches!(refused, Err(AdminError::Refused { code: 25, .. })), "{refused:?}");
    assert!(matches!(admin.delete_group(&group).await, Err(AdminError::Refused { code: 68, .. })));
    consumer.close().await;
    soon("the group is empty", async {
        while admin.describe_group(&group).await.unwrap().state != "Empty" {}
    })
    .await;
    admin.alter_group_offsets(&group, &[(tp(&topic, 0), 0), (tp(&topic, 1), 7)]).await.unwrap();
    assert_eq!(admin.group_offsets(&group).await.unwrap(), [(tp(&topic, 0), 0), (tp(&topic, 1), 7)]);
    admin.delete_group_offsets(&group, &[tp(&topic, 1)]).await.unwrap();
    assert_eq!(admin.group_offsets(&group).await.unwrap(), [(tp(&topic, 0), 0)]);
    admin.delete_group(&group).await.unwrap();
    assert_eq!(admin.describe_group(&group).await.unwrap().state, "Dead");
}

#[tokio::test]
async fn offsets_of_a_log_are_listed() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    produce(&client, &topic, 0, &["a", "b"]).await;
    let both = [tp(&topic, 0), tp(&topic, 1)];
    let list = async |at| client.admin().list_offsets(&both, at).await.unwrap();
    let named = |one, two| vec![(both[0].clone(), one), (both[1].clone(), two)];
    assert_eq!(list(SeekTo::Latest).await, named(2, 0));
    assert_eq!(list(SeekTo::Earliest).await, named(0, 0));
    assert_eq!(list(SeekTo::Timestamp(0)).await, named(0, -1));
}
