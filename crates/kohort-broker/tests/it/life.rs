//! Starting, stopping, being killed; garbage.

use std::time::Duration;

use kohort_broker::{Broker, Config, StartError};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::{
    ApiVersionsRequest, ApiVersionsResponse, DescribeClusterRequest, DescribeClusterResponse,
};

use crate::wire::{Node, batch, text, values};

#[tokio::test]
async fn what_was_acknowledged_is_there_after_a_crash_and_after_a_clean_end() {
    let mut node = Node::start(&[]).await;
    let mut sent = Vec::new();
    for (round, cleanly) in [true, false, true, false].into_iter().enumerate() {
        let mut c = node.connect().await;
        if round == 0 {
            c.create("t", 1, &[]).await;
        }
        for i in 0..10 {
            let value = format!("{round}-{i}");
            let offset = c.produce("t", 0, batch(&[&value])).await.base_offset;
            sent.push((offset, value));
        }
        node.restart(cleanly).await;
        assert_eq!(values(&node.connect().await.fetch("t", 0, 0).await), sent, "after round {round}");
    }
}

#[tokio::test]
async fn the_cluster_keeps_its_id() {
    let mut node = Node::start(&["node.id=7"]).await;
    let mut ids = Vec::new();
    for _ in 0..2 {
        let request = DescribeClusterRequest::default().with_endpoint_type(1);
        let answer: DescribeClusterResponse = node.connect().await.call(60, 1, &request).await;
        assert_eq!((answer.controller_id.0, answer.brokers.len()), (7, 1));
        ids.push(answer.cluster_id);
        node.restart(true).await;
    }
    assert_eq!(ids[0], ids[1]);
    let request = DescribeClusterRequest::default().with_endpoint_type(2);
    let answer: DescribeClusterResponse = node.connect().await.call(60, 1, &request).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::MISMATCHED_ENDPOINT_TYPE);
}

#[tokio::test]
async fn two_brokers_never_share_a_folder() {
    let node = Node::start(&[]).await;
    let error = Broker::start(Config::new(node.folder.path())).await.unwrap_err();
    assert!(matches!(error, StartError::InUse { .. }), "{error:?}");
    assert!(error.to_string().contains(&std::process::id().to_string()), "{error}");
}

#[tokio::test]
async fn a_busy_port_is_an_error_that_names_it() {
    let node = Node::start(&[]).await;
    let folder = tempfile::tempdir().unwrap();
    let listen = node.broker.as_ref().unwrap().address().to_string();
    let error =
        Broker::start(Config { listen: listen.clone(), ..Config::new(folder.path()) }).await.unwrap_err();
    assert!(matches!(error, StartError::Listen { .. }) && error.to_string().contains(&listen), "{error:?}");
    // The folder is free again.
    Broker::start(Config::new(folder.path())).await.unwrap().shutdown().await;
}

#[tokio::test]
async fn a_folder_that_cannot_be_one_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, "x").unwrap();
    let error = Broker::start(Config::new(file.join("data"))).await.unwrap_err();
    assert!(matches!(error, StartError::Folder { .. }) && error.to_string().contains("file"), "{error:?}");
}

#[tokio::test]
async fn a_damaged_file_of_topics_stops_the_start_and_stays_as_it_is() {
    let folder = tempfile::tempdir().unwrap();
    Broker::start(Config::new(folder.path())).await.unwrap().shutdown().await;
    let file = folder.path().join("topics.json");
    std::fs::write(&file, "[{").unwrap();
    let error = Broker::start(Config::new(folder.path())).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("topics.json"), "{source}");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "[{");
}

#[tokio::test]
async fn a_lost_file_of_topics_costs_no_records() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    c.produce("t", 0, batch(&["kept"])).await;
    node.broker.take().unwrap().shutdown().await;
    let (file, aside) = (node.folder.path().join("topics.json"), node.folder.path().join("aside"));
    std::fs::rename(&file, &aside).unwrap();
    let error = Broker::start(Config::new(node.folder.path())).await.unwrap_err();
    let source = std::error::Error::source(&error).unwrap().to_string();
    assert!(source.contains("topics.json") && source.contains("holds records"), "{source}");
    std::fs::rename(&aside, &file).unwrap();
    node.begin().await;
    assert_eq!(values(&node.connect().await.fetch("t", 0, 0).await), [(0, "kept".to_owned())]);
}

#[tokio::test]
async fn connections_end_with_the_broker_and_soon() {
    let mut node = Node::start(&[]).await;
    let mut c = node.connect().await;
    c.create("t", 1, &[]).await;
    // A fetch that would wait for a long time.
    c.send(
        1,
        12,
        &crate::wire::fetch_request(&[("t", 0, 0)]).with_session_epoch(-1).with_max_wait_ms(60_000),
    )
    .await;
    let broker = node.broker.take().unwrap();
    tokio::time::timeout(Duration::from_secs(3), broker.shutdown()).await.unwrap();
    assert_eq!(c.frame().await, None);
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let node = Node::start(&["connections.max.idle.ms=300"]).await;
    let (mut idle, mut busy) = (node.connect().await, node.connect().await);
    let closed = tokio::spawn(async move { idle.frame().await });
    // Never left in the middle of a call: its answer would be the next call's.
    while !closed.is_finished() {
        let answer: ApiVersionsResponse = busy.call(18, 0, &ApiVersionsRequest::default()).await;
        assert_eq!(answer.error_code, 0);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(closed.await.expect("the task ends"), None);
    let answer: ApiVersionsResponse = busy.call(18, 0, &ApiVersionsRequest::default()).await;
    assert_eq!(answer.error_code, 0);
}

#[tokio::test]
async fn api_versions_is_answered_whatever_the_version() {
    let node = Node::start(&[]).await;
    let mut c = node.connect().await;
    for version in [5i16, 99, -1] {
        let mut frame = vec![0, 0, 0, 10, 0, 18];
        frame.extend(version.to_be_bytes());
        frame.extend([0, 0, 0, 9, 0xff, 0xff]);
        c.raw(&frame).await;
        let answer = c.frame().await.unwrap();
        assert_eq!(&answer[..], [0, 0, 0, 9, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4], "version {version}");
    }
    for version in 0..=4 {
        let named = ApiVersionsRequest::default()
            .with_client_software_name(text("me"))
            .with_client_software_version(text("1.0"));
        let request = if version < 3 { ApiVersionsRequest::default() } else { named };
        let answer: ApiVersionsResponse = c.call(18, version, &request).await;
        assert_eq!(answer.error_code, 0);
        assert!(
            answer.api_keys.iter().any(|k| k.api_key == 0 && k.min_version == 0),
            "librdkafka looks for it"
        );
        assert!(answer.api_keys.is_sorted_by_key(|k| k.api_key));
    }
    let request = ApiVersionsRequest::default()
        .with_client_software_name(text("-x"))
        .with_client_software_version(text("1"));
    let answer: ApiVersionsResponse = c.call(18, 3, &request).await;
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::INVALID_REQUEST);
}

#[tokio::test]
async fn garbage_ends_its_connection_and_no_other() {
    let node = Node::start(&[]).await;
    let mut other = node.connect().await;
    let request = |key: u8, version: u8, body: &[u8]| {
        let mut frame =
            vec![0, 0, 0, u8::try_from(10 + body.len()).unwrap(), 0, key, 0, version, 0, 0, 0, 1, 0xff, 0xff];
        frame.extend_from_slice(body);
        frame
    };
    let two_billion = 2_000_000_000i32.to_be_bytes();
    let garbage: Vec<Vec<u8>> = vec![
        (-1i32).to_be_bytes().to_vec(),
        i32::MAX.to_be_bytes().to_vec(),
        b"GET / HTTP/1.1\r\n\r\n".to_vec(),
        vec![0, 0, 0, 0],
        vec![0, 0, 0, 3, 1, 2, 3],
        request(200, 0, &[]),
        request(3, 99, &[]),
        request(3, 1, &two_billion),
        request(3, 1, &(-2i32).to_be_bytes()),
        request(1, 4, &[0xff; 20]),
        request(0, 9, &[0xff; 40]),
        request(11, 5, &[0, 1, b'g', 0x7f, 0xff]),
    ];
    for bytes in garbage {
        let mut c = node.connect().await;
        c.raw(&bytes).await;
        let closed = tokio::time::timeout(Duration::from_secs(5), c.frame()).await;
        assert_eq!(closed.unwrap_or_else(|_| panic!("{bytes:?} was not hung up on")), None);
        let answer: ApiVersionsResponse = other.call(18, 0, &ApiVersionsRequest::default()).await;
        assert_eq!(answer.error_code, 0);
    }
    // Half a frame waits for the other half and disturbs nobody.
    let mut half = node.connect().await;
    half.raw(&[0, 0, 0]).await;
    let answer: ApiVersionsResponse = other.call(18, 0, &ApiVersionsRequest::default()).await;
    assert_eq!(answer.error_code, 0);
    half.raw(&request(18, 0, &[])[3..]).await;
    assert!(half.frame().await.is_some());
}

#[tokio::test]
async fn a_frame_larger_than_allowed_is_hung_up_on_before_it_comes() {
    let node = Node::start(&["socket.request.max.bytes=1000"]).await;
    let mut c = node.connect().await;
    c.raw(&1001i32.to_be_bytes()).await;
    assert_eq!(c.frame().await, None);
}
