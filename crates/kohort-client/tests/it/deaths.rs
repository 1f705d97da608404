//! Members that die or freeze: what was theirs is read again in time, and who wakes up late changes nothing.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kohort_client::{
    Client, ClientConfig, CommitError, Consumer, ConsumerEvent, LeaveReason, OffsetReset, Outgoing,
    TopicPartition,
};
use tokio::sync::oneshot;

use crate::server::{Server, produce, soon, tp, unique};

/// The shortest that Apache Kafka allows with its defaults.
const SESSION: Duration = Duration::from_secs(6);

fn member(client: &Client, group: &str) -> Consumer {
    let settings = client.consumer().group(group).assignors(["cooperative-sticky"]).session_timeout(SESSION);
    let settings = settings.heartbeat_interval(Duration::from_millis(300));
    settings.offset_reset(OffsetReset::Earliest).build().unwrap()
}

/// Turns events over until it owns `count` partitions, and returns them.
async fn own(consumer: &mut Consumer, count: usize) -> Vec<TopicPartition> {
    soon("partitions are owned", async {
        while consumer.assignment().len() != count {
            let _ = tokio::time::timeout(Duration::from_millis(20), consumer.next()).await;
        }
    })
    .await;
    consumer.assignment()
}

/// Runs a member in a runtime and thread of its own, as another process would be: it takes its half of four partitions and
/// tells so, and goes on until `then`; what follows is `end`'s, whose outcome is returned when the thread ends. What is left of
/// the member by then ends with the runtime: nobody says goodbye.
fn elsewhere<T: Send + 'static, F: Future<Output = T>>(
    bootstrap: &str,
    group: &str,
    topic: &str,
    end: impl FnOnce(Consumer) -> F + Send + 'static,
) -> (oneshot::Receiver<Vec<TopicPartition>>, oneshot::Sender<()>, std::thread::JoinHandle<T>) {
    let (halved, half) = oneshot::channel();
    let (then, mut told) = oneshot::channel::<()>();
    let (bootstrap, group, topic) = (bootstrap.to_owned(), group.to_owned(), topic.to_owned());
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let outcome = runtime.block_on(async {
            let client = Client::new(ClientConfig::new([bootstrap]).client_id("elsewhere")).unwrap();
            let mut consumer = member(&client, &group);
            consumer.subscribe([topic]).unwrap();
            halved.send(own(&mut consumer, 2).await).unwrap();
            loop {
                tokio::select! {
                    _ = consumer.next() => {}
                    _ = &mut told => break,
                }
            }
            end(consumer).await
        });
        runtime.shutdown_background();
        outcome
    });
    (half, then, thread)
}

#[tokio::test]
async fn what_a_killed_member_read_is_read_again_within_its_session() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 4).await;
    let group = unique("group");
    let mut survivor = member(&client, &group);
    survivor.subscribe([&*topic]).unwrap();
    own(&mut survivor, 4).await;
    let (mut half, kill, victim) = elsewhere(&server.bootstrap, &group, &topic, |_| async {});
    let of_victim = soon("the group is shared", async {
        loop {
            tokio::select! {
                half = &mut half => return half.unwrap(),
                _ = survivor.next() => {}
            }
        }
    })
    .await;
    // Both come to peace: each has a heartbeat at the coordinator.
    while tokio::time::timeout(Duration::from_secs(1), survivor.next()).await.is_ok() {}
    kill.send(()).unwrap();
    tokio::task::spawn_blocking(|| victim.join()).await.unwrap().unwrap();
    let killed = Instant::now();
    // What comes now, nobody but the survivor can read.
    let mut awaited: BTreeSet<TopicPartition> = of_victim.into_iter().collect();
    for name in &awaited {
        produce(&client, &topic, name.partition, &["after the kill"]).await;
    }
    soon("all is read again", async {
        while !awaited.is_empty() {
            if let ConsumerEvent::Batch(batch) = survivor.next().await {
                awaited.remove(&batch.topic_partition());
            }
        }
    })
    .await;
    // Our broker sees the connection close and does not wait for the session to end.
    let limit = if server.is_own() { Duration::from_secs(2) } else { SESSION + Duration::from_secs(1) };
    let took = killed.elapsed();
    println!("read again {took:?} after the kill");
    assert!(took < limit, "{took:?}");
    survivor.close().await;
}

/// What became of a member that slept longer than its session.
#[derive(Debug, Default)]
struct Woken {
    commits: Vec<Result<(), CommitError>>,
    lost: Vec<TopicPartition>,
    removed: bool,
}

#[tokio::test]
async fn a_member_that_freezes_beyond_its_session_commits_nothing_and_joins_anew() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 4).await;
    let group = unique("group");
    let mut survivor = member(&client, &group);
    survivor.subscribe([&*topic]).unwrap();
    own(&mut survivor, 4).await;
    let name = topic.clone();
    let (mut half, freeze, zombie) =
        elsewhere(&server.bootstrap, &group, &topic, move |mut consumer| async move {
            // The only thread of its runtime: no heartbeat, no answer, nothing.
            std::thread::sleep(SESSION + Duration::from_secs(2));
            let mine = consumer.assignment();
            assert!(!mine.is_empty(), "it does not know yet");
            let handle = consumer.handle();
            let commit = || handle.commit(mine.iter().map(|name| (name.clone(), 1)));
            let mut woken = Woken::default();
            woken.commits.push(commit().await);
            // It has learnt that it is out, and its caller, busy with its records, has not heard: however long that takes, what it
            // commits is not taken for that of a member who has joined anew.
            tokio::time::sleep(Duration::from_secs(3)).await;
            woken.commits.push(commit().await);
            loop {
                match soon("it joins anew", consumer.next()).await {
                    ConsumerEvent::Lost { partitions } => woken.lost = partitions,
                    ConsumerEvent::Left { reason: LeaveReason::Removed } => woken.removed = true,
                    ConsumerEvent::Assigned { all, .. } if !all.is_empty() => break,
                    _ => {}
                }
            }
            consumer.close().await;
            woken
        });
    let of_zombie = soon("the group is shared", async {
        loop {
            tokio::select! {
                half = &mut half => return half.unwrap(),
                _ = survivor.next() => {}
            }
        }
    })
    .await;
    freeze.send(()).unwrap();
    own(&mut survivor, 4).await;
    let all = (0..4).map(|partition| (tp(&name, partition), 10));
    soon("commit", survivor.commit(all)).await.unwrap();
    let woken = tokio::task::spawn_blocking(|| zombie.join());
    let woken = soon("it wakes", async {
        tokio::pin!(woken);
        loop {
            tokio::select! {
                woken = &mut woken => return woken.unwrap().unwrap(),
                _ = survivor.next() => {}
            }
        }
    })
    .await;
    assert_eq!(woken.commits, [Err(CommitError::NotInGroup), Err(CommitError::NotInGroup)]);
    assert!(woken.removed, "{woken:?}");
    assert_eq!(woken.lost, of_zombie);
    let committed = soon("committed", survivor.committed(&of_zombie)).await.unwrap();
    for (name, committed) in committed {
        assert_eq!(committed.map(|of| of.offset), Some(10), "{name:?}");
    }
    survivor.close().await;
}

#[tokio::test]
async fn a_handler_that_takes_longer_than_the_session_costs_no_membership() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 1).await;
    let mut consumer = member(&client, &unique("group"));
    consumer.subscribe([&*topic]).unwrap();
    own(&mut consumer, 1).await;
    let membership = consumer.membership();
    let producer = client.producer().build();
    producer.enqueue(Outgoing::to(&topic).value(b"x")).await.unwrap();
    // The handler's time: `next` is not called, heartbeats do not depend on it.
    tokio::time::sleep(SESSION + Duration::from_secs(1)).await;
    soon("commit", consumer.commit([(tp(&topic, 0), 1)])).await.unwrap();
    assert_eq!(consumer.membership(), membership);
    consumer.close().await;
}

#[tokio::test]
async fn a_consumer_that_is_dropped_leaves_its_group_at_once() {
    let server = Server::start().await;
    let client = server.client();
    let topic = server.topic(&client, 2).await;
    let group = unique("group");
    let mut one = member(&client, &group);
    one.subscribe([&*topic]).unwrap();
    own(&mut one, 2).await;
    let mut two = member(&client, &group);
    two.subscribe([&*topic]).unwrap();
    soon("the group is shared", async {
        while one.assignment().len() != 1 || two.assignment().len() != 1 {
            tokio::select! {
                _ = one.next() => {}
                _ = two.next() => {}
                () = tokio::time::sleep(Duration::from_millis(20)) => {}
            }
        }
    })
    .await;
    drop(two);
    let dropped = Instant::now();
    own(&mut one, 2).await;
    // Long before its session ends: it said goodbye.
    assert!(dropped.elapsed() < SESSION / 2, "{:?}", dropped.elapsed());
    one.close().await;
}
