//! What is shown is what flowed.

use consumer::Settings;

use crate::world::{GROUP, TOPIC, TRADES, World, owned, sum};

#[tokio::test(flavor = "multi_thread")]
async fn sizes_trades_errors_samples_and_lag_are_those_of_the_records() {
    let world = World::new(2).await;
    let values: [&[u8]; 4] = [TRADES.as_bytes(), b"[]", b"{\"no\": \"array\"}", br#"[17, {"type":"buy"}]"#];
    world.produce(0, &values).await;
    world.produce(1, &[TRADES.as_bytes()]).await;
    let served = world.start(1, "", "");
    let block = served
        .until("all is read and committed", |block| {
            sum(block, "messages") == 5 && owned(block, 0).is_some_and(|flow| flow["lag"] == 0)
        })
        .await;
    let flow = owned(&block, 0).unwrap();
    assert_eq!(
        (flow["trades"].as_u64(), flow["trades_per_message"].as_f64()),
        (Some(2), Some(0.5)),
        "{flow:#}"
    );
    let sizes = values.map(|value| value.len() as u64);
    assert_eq!(flow["bytes"].as_u64().unwrap(), sizes.iter().sum::<u64>());
    assert_eq!(flow["size"]["min"].as_u64(), Some(2));
    assert_eq!(flow["size"]["max"].as_u64().unwrap(), TRADES.len() as u64);
    assert_eq!(flow["size"]["mean"].as_u64().unwrap(), sizes.iter().sum::<u64>() / 4);
    // One record that is no array, and two elements that are no trades.
    assert_eq!(flow["decode_errors"], 3, "{flow:#}");
    assert_eq!(flow["last_decode_error"]["offset"], 3);
    assert_eq!(flow["last_decode_error"]["why"], "element 0: not a trade object");
    assert_eq!((&flow["end"], &flow["committed"]), (&4.into(), &4.into()));
    assert_eq!(flow["sample"]["key"], "18937382");
    assert_eq!(flow["sample"]["value"], r#"[17, {"type":"buy"}]"#);
    assert_eq!(flow["sample"]["offset"], 3);
    let other = owned(&block, 1).unwrap();
    assert_eq!((&other["trades"], &other["decode_errors"]), (&2.into(), &0.into()));
    assert!(other["sample"]["value"].as_str().unwrap().len() <= consumer::flow::SAMPLE_BYTES);
    let (_, metrics) = served.ask("GET", "/metrics", "").await;
    let line =
        "consumer_decode_errors_total{group=\"looking\",topic=\"eth-trades\",partition=\"0\",member=\"0\"} 3";
    assert!(metrics.contains(line), "{metrics}");
    assert!(
        metrics.contains("consumer_lag{group=\"looking\",topic=\"eth-trades\",partition=\"1\"} 0"),
        "{metrics}"
    );
    assert_eq!(served.ask("GET", "/healthz", "").await, (200, "ok".to_owned()));
    assert!(served.consumer.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_what_came_since_the_last_report() {
    let world = World::new(1).await;
    let served = world.start(1, "", "");
    served.until("it owns its partition", |block| owned(block, 0).is_some()).await;
    let mut reports = served.consumer.reports();
    world.produce(0, &[TRADES.as_bytes(); 20]).await;
    let (mut counted, mut seen) = (0.0, 0);
    while seen < 20 {
        tokio::time::timeout(std::time::Duration::from_secs(60), reports.changed()).await.unwrap().unwrap();
        let report = reports.borrow_and_update().clone();
        let flow = &report.blocks[0].flows[0];
        counted += flow.messages_per_s * report.interval_ms as f64 / 1000.0;
        seen = flow.messages;
    }
    // A report that was overtaken takes its records with it; none is counted twice.
    assert!(counted > 0.0 && counted < 21.0, "{counted} records by their rates, 20 were sent");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_member_without_partitions_is_said_to_be_idle() {
    let world = World::new(2).await;
    let served = world.start(3, "", "");
    let idle = |block: &serde_json::Value| {
        let members = block["members"].as_array().unwrap();
        (
            members.iter().filter(|m| m["idle"] == true).count(),
            members.iter().all(|m| m["member_id"].is_string()),
        )
    };
    let block = served.until("one of three is idle", |block| idle(block) == (1, true)).await;
    assert!(owned(&block, 0).is_some() && owned(&block, 1).is_some(), "{block:#}");
    served
        .until("the broker knows all", |block| block["group_members"] == 3 && block["state"] == "Stable")
        .await;
    let report = served.consumer.reports().borrow().clone();
    let said = report.rows().iter().filter(|row| row.last().unwrap().starts_with("idle")).count();
    assert_eq!(said, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_lag_of_a_partition_that_went_to_another_member_goes_on() {
    let world = World::new(2).await;
    for partition in 0..2 {
        world.produce(partition, &[TRADES.as_bytes(); 3]).await;
    }
    let served = world.start(1, "", "");
    let at_the_end = |b: &serde_json::Value| (0..2).all(|n| owned(b, n).is_some_and(|f| f["lag"] == 0));
    served.until("all is committed", at_the_end).await;
    // A member that commits nothing.
    let mut other = world.client.consumer().group(GROUP).build().unwrap();
    other.subscribe([TOPIC]).unwrap();
    let joins = async {
        while other.handle().assignment().is_empty() {
            if let kohort_client::ConsumerEvent::Assigned { start, .. } = other.next().await {
                start.go();
            }
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), joins).await.unwrap();
    let moved = other.handle().assignment()[0].partition;
    world.produce(moved, &[TRADES.as_bytes(); 2]).await;
    let line = format!("consumer_lag{{group=\"{GROUP}\",topic=\"{TOPIC}\",partition=\"{moved}\"}}");
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let (_, metrics) = served.ask("GET", "/metrics", "").await;
        let lag = metrics.lines().find_map(|told| told.strip_prefix(&*line)).map(str::trim);
        if lag == Some("2") {
            break;
        }
        assert!(std::time::Instant::now() < until, "the lag is {lag:?}");
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    other.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_that_comes_seldom_tells_how_far_the_group_is_now() {
    let world = World::new(1).await;
    let served = world.start_reporting(std::time::Duration::from_secs(5), 1, "", "");
    let mut reports = served.consumer.reports();
    world.produce(0, &[TRADES.as_bytes(); 3]).await;
    while world.committed(0).await != Some(3) {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    // Twice as long as the broker is left alone.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    reports.mark_unchanged();
    reports.changed().await.unwrap();
    let report = reports.borrow().clone();
    let flow = report.blocks[0].flows.iter().find(|flow| flow.owned).unwrap();
    assert_eq!((flow.committed, flow.end, flow.lag), (Some(3), Some(3), Some(0)), "{report:#?}");
}

#[test]
fn the_shipped_file_has_the_originals_groups() {
    let settings =
        Settings::read(concat!(env!("CARGO_MANIFEST_DIR"), "/etc/consumer.yaml").as_ref()).unwrap();
    let blocks: Vec<_> = settings
        .file
        .kqs
        .iter()
        .map(|kq| (kq.name.as_str(), kq.group.as_str(), kq.topic.as_str(), kq.consumers))
        .collect();
    assert_eq!(
        blocks,
        [
            ("KqSolTrades", "data-flow-default-group10", "sol-trades", 1),
            ("KqEthTrades", "data-flow-default-group", "eth-trades", 3)
        ]
    );
    assert_eq!((settings.told, settings.file.warnings.len()), (None, 0));
}
