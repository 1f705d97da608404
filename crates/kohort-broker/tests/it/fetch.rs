//! Long polling, sizes, sessions.

use std::time::{Duration, Instant};

use kohort_protocol::messages::fetch_request::ForgottenTopic;
use kohort_protocol::messages::{FetchRequest, FetchResponse};
use kohort_protocol::{ErrorCode, Uuid};

use crate::wire::{Conn, Node, batch, fetch_request, topic, values};

/// Topic, partition, error, number of records.
fn shown(answer: &FetchResponse) -> Vec<(String, i32, i16, usize)> {
    let each = answer.responses.iter().flat_map(|t| t.partitions.iter().map(move |p| (t, p)));
    each.map(|(t, p)| (t.topic.to_string(), p.partition_index, p.error_code, values(p).len())).collect()
}

async fn fetch(c: &mut Conn, request: &FetchRequest) -> FetchResponse {
    c.call(1, 12, request).await
}

fn in_session(id: i32, epoch: i32, request: FetchRequest) -> FetchRequest {
    request.with_session_id(id).with_session_epoch(epoch)
}

#[tokio::test]
async fn every_version_reads_what_is_there() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 2, &[]).await;
    c.produce("t", 0, batch(&["a", "b"])).await;
    let id = crate::topics::id_of(&mut c, "t").await;
    for version in 4..=18 {
        let mut request = fetch_request(&[("t", 0, 0), ("t", 1, 0), ("none", 0, 0)]).with_session_epoch(-1);
        for t in &mut request.topics {
            if version >= 13 {
                t.topic_id = if t.topic.as_str() == "t" { id } else { Uuid::from_u128(9) };
                t.topic = topic("");
            }
            for p in &mut t.partitions {
                if version < 5 {
                    p.log_start_offset = -1;
                }
            }
        }
        if version >= 7 {
            request.session_epoch = -1;
        }
        if version >= 15 {
            request.replica_id = (-1).into();
        }
        let answer: FetchResponse = c.call(1, version, &request).await;
        let mut all = shown(&answer);
        all.iter_mut().for_each(|s| s.0.clear());
        all.sort();
        let unknown =
            if version >= 13 { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
        let wanted = [(String::new(), 0, 0, 2), (String::new(), 0, unknown.0, 0), (String::new(), 1, 0, 0)];
        assert_eq!(all, wanted, "version {version}");
        let empty = answer.responses.iter().flat_map(|t| &t.partitions).all(|p| p.records.is_some());
        assert!(empty, "records are never null");
    }
}

#[tokio::test]
async fn a_fetch_at_the_end_waits_for_an_append() {
    let node = Node::start(&[]).await;
    let (mut reader, mut writer) = (node.connect().await, node.connect().await);
    writer.create("t", 1, &[]).await;
    for offset in 0..20 {
        let request = fetch_request(&[("t", 0, offset)]).with_session_epoch(-1).with_max_wait_ms(30_000);
        reader.send(1, 12, &request).await;
        writer.produce("t", 0, batch(&["x"])).await;
        let answer: FetchResponse = reader.receive(12).await;
        assert_eq!(shown(&answer), [("t".to_owned(), 0, 0, 1)]);
        assert_eq!(answer.responses[0].partitions[0].high_watermark, offset + 1);
    }
}

#[tokio::test]
async fn a_fetch_waits_no_longer_than_it_says() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let began = Instant::now();
    let request = fetch_request(&[("t", 0, 0)]).with_session_epoch(-1).with_max_wait_ms(150);
    assert_eq!(shown(&fetch(&mut c, &request).await), [("t".to_owned(), 0, 0, 0)]);
    assert!(began.elapsed() >= Duration::from_millis(150));
}

#[tokio::test]
async fn a_fetch_waits_for_its_minimum_over_all_partitions() {
    let node = Node::start(&[]).await;
    let (mut reader, mut writer) = (node.connect().await, node.connect().await);
    writer.create("t", 2, &[]).await;
    let request = fetch_request(&[("t", 0, 0), ("t", 1, 0)]).with_session_epoch(-1);
    let one = batch(&[&"x".repeat(400)]);
    let least = i32::try_from(one.len()).unwrap() * 3;
    reader.send(1, 12, &request.with_max_wait_ms(30_000).with_min_bytes(least)).await;
    for partition in [0, 1, 0] {
        writer.produce("t", partition, one.clone()).await;
    }
    let answer: FetchResponse = reader.receive(12).await;
    assert_eq!(shown(&answer), [("t".to_owned(), 0, 0, 2), ("t".to_owned(), 1, 0, 1)]);
}

#[tokio::test]
async fn a_waiting_fetch_learns_that_its_topic_is_deleted() {
    use kohort_protocol::messages::{DeleteTopicsRequest, DeleteTopicsResponse};
    let node = Node::start(&[]).await;
    let (mut reader, mut other) = (node.connect().await, node.connect().await);
    other.create("t", 1, &[]).await;
    reader.send(1, 12, &fetch_request(&[("t", 0, 0)]).with_session_epoch(-1).with_max_wait_ms(30_000)).await;
    let request = DeleteTopicsRequest::default().with_topic_names(vec![topic("t")]).with_timeout_ms(1000);
    let _: DeleteTopicsResponse = other.call(20, 5, &request).await;
    let answer: FetchResponse = reader.receive(12).await;
    assert_eq!(shown(&answer), [("t".to_owned(), 0, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0, 0)]);
}

#[tokio::test]
async fn sizes_are_kept_but_the_first_batch_always_comes() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 2, &[]).await;
    let one = batch(&[&"x".repeat(1000)]);
    for partition in [0, 0, 0, 1, 1] {
        c.produce("t", partition, one.clone()).await;
    }
    let n = i32::try_from(one.len()).unwrap();
    for (max, partition_max, wanted) in [
        (n * 9, n * 9, [3, 2]),
        (n * 9, n * 2, [2, 2]),
        (n * 9, n * 2 - 1, [1, 1]),
        (n * 4, n * 9, [3, 1]),
        (n * 4 - 1, n * 9, [3, 0]),
        (10, 10, [1, 0]),
        (0, n, [1, 0]),
    ] {
        let mut request =
            fetch_request(&[("t", 0, 0), ("t", 1, 0)]).with_session_epoch(-1).with_max_bytes(max);
        request.topics[0].partitions.iter_mut().for_each(|p| p.partition_max_bytes = partition_max);
        let got: Vec<usize> = shown(&fetch(&mut c, &request).await).iter().map(|s| s.3).collect();
        assert_eq!(got, wanted, "max {max}, of a partition {partition_max}");
    }
}

#[tokio::test]
async fn a_fetch_outside_the_log_is_told_so() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    c.produce("t", 0, batch(&["a"])).await;
    for (offset, wanted) in
        [(1, 0), (2, ErrorCode::OFFSET_OUT_OF_RANGE.0), (-1, ErrorCode::OFFSET_OUT_OF_RANGE.0)]
    {
        assert_eq!(c.fetch("t", 0, offset).await.error_code, wanted, "offset {offset}");
    }
    let mut request = fetch_request(&[("t", 0, 0)]).with_session_epoch(-1).with_max_wait_ms(30_000);
    request.topics[0].partitions[0].current_leader_epoch = 3;
    assert_eq!(shown(&fetch(&mut c, &request).await)[0].2, ErrorCode::UNKNOWN_LEADER_EPOCH.0);
}

#[tokio::test]
async fn an_incremental_session_says_only_what_is_new() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 3, &[]).await;
    let first = fetch(&mut c, &fetch_request(&[("t", 0, 0), ("t", 1, 0)])).await;
    assert_ne!(first.session_id, 0);
    assert_eq!(shown(&first).len(), 2, "the first answer names all");
    let next = |epoch| in_session(first.session_id, epoch, fetch_request(&[]));

    assert_eq!(shown(&fetch(&mut c, &next(1)).await), [], "no news");
    c.produce("t", 1, batch(&["a"])).await;
    assert_eq!(
        shown(&fetch(&mut c, &next(2)).await),
        [("t".to_owned(), 1, 0, 1)],
        "it remembers what is wanted"
    );
    assert_eq!(
        shown(&fetch(&mut c, &next(3)).await),
        [("t".to_owned(), 1, 0, 1)],
        "until the reader moves on"
    );

    let moved = in_session(first.session_id, 4, fetch_request(&[("t", 1, 1), ("t", 2, 0)]));
    assert_eq!(shown(&fetch(&mut c, &moved).await), [("t".to_owned(), 2, 0, 0)], "a new one is named once");
    let gone = ForgottenTopic::default().with_topic(topic("t")).with_partitions(vec![1]);
    assert_eq!(shown(&fetch(&mut c, &next(5).with_forgotten_topics_data(vec![gone])).await), []);
    c.produce("t", 1, batch(&["b"])).await;
    assert_eq!(shown(&fetch(&mut c, &next(6)).await), [], "forgotten");

    let waiting = next(7).with_max_wait_ms(30_000);
    let mut writer = node.connect().await;
    c.send(1, 12, &waiting).await;
    writer.produce("t", 2, batch(&["c"])).await;
    let answer: FetchResponse = c.receive(12).await;
    assert_eq!(shown(&answer), [("t".to_owned(), 2, 0, 1)], "an incremental fetch waits too");
}

#[tokio::test]
async fn a_session_is_refused_by_id_epoch_and_kind() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let id = fetch(&mut c, &fetch_request(&[("t", 0, 0)])).await.session_id;
    let ask = |id, epoch| in_session(id, epoch, fetch_request(&[]));
    for (id, epoch, wanted) in
        [(id ^ 1, 1, ErrorCode::FETCH_SESSION_ID_NOT_FOUND), (id, 2, ErrorCode::INVALID_FETCH_SESSION_EPOCH)]
    {
        let answer = fetch(&mut c, &ask(id, epoch)).await;
        assert_eq!((ErrorCode(answer.error_code), answer.session_id, answer.responses.len()), (wanted, 0, 0));
    }
    let by_id: FetchResponse = c.call(1, 13, &ask(id, 1)).await;
    assert_eq!(ErrorCode(by_id.error_code), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);

    let closed = in_session(id, -1, fetch_request(&[("t", 0, 0)]));
    assert_eq!(fetch(&mut c, &closed).await.session_id, 0);
    let answer = fetch(&mut c, &ask(id, 1)).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
}

#[tokio::test]
async fn sessions_are_limited() {
    let node = Node::start(&["max.incremental.fetch.session.cache.slots=2"]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    let mut ids = Vec::new();
    for _ in 0..3 {
        ids.push(fetch(&mut c, &fetch_request(&[("t", 0, 0)])).await.session_id);
    }
    assert!(ids[0] != 0 && ids[1] != 0 && ids[0] != ids[1], "{ids:?}");
    assert_eq!(ids[2], 0, "the third reader gets none");
}

#[tokio::test]
async fn no_partition_of_a_session_starves() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 3, &[]).await;
    for partition in 0..3 {
        for _ in 0..3 {
            c.produce("t", partition, batch(&[&"x".repeat(500)])).await;
        }
    }
    let small = |request: FetchRequest| request.with_max_bytes(10);
    let first = fetch(&mut c, &small(fetch_request(&[("t", 0, 0), ("t", 1, 0), ("t", 2, 0)]))).await;
    let mut served: Vec<i32> = Vec::new();
    for epoch in 1..=3 {
        let request = in_session(first.session_id, epoch, fetch_request(&[]));
        let answer = fetch(&mut c, &small(request)).await;
        served.extend(shown(&answer).iter().filter(|s| s.3 > 0).map(|s| s.1));
    }
    served.sort_unstable();
    assert_eq!(served, [0, 1, 2], "three answers of one batch each served three partitions");
}

#[tokio::test]
async fn a_reader_far_behind_and_one_at_the_tail_see_the_same() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[("segment.bytes", "1048576"), ("index.interval.bytes", "1000")]).await;
    let sent: Vec<String> = (0..3000).map(|i| format!("{i}-{}", "x".repeat(i % 1500))).collect();
    for chunk in sent.chunks(7) {
        let chunk: Vec<&str> = chunk.iter().map(String::as_str).collect();
        assert_eq!(c.produce("t", 0, batch(&chunk)).await.error_code, 0);
    }
    let mut seen = Vec::new();
    while seen.len() < sent.len() {
        let at = i64::try_from(seen.len()).unwrap();
        let from = c.fetch("t", 0, at).await;
        // A batch is given whole: its first records may be known already.
        seen.extend(values(&from).into_iter().filter(|(offset, _)| *offset >= at));
    }
    assert!(seen.iter().enumerate().all(|(i, (offset, value))| *offset == i as i64 && *value == sent[i]));
}
