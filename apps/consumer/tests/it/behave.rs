//! What it is told it does, and its group behaves as groups do.

use std::time::{Duration, Instant};

use consumer::Settings;

use crate::world::{TRADES, World, owned, sum};

const SHORT_SESSION: &str = "  SessionTimeout: 1s\n  DrainTimeout: 1s\n";

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_member_keeps_its_membership_and_commits_nothing_until_it_is_told_otherwise() {
    let world = World::new(1).await;
    world.produce(0, &[TRADES.as_bytes(); 3]).await;
    let served = world.start(1, SHORT_SESSION, "Behave:\n  Hang: true\n");
    let block = served.until("a record is in hand", |block| block["members"][0]["in_hand"] == 1).await;
    let before = block["members"][0]["member_id"].clone();
    // Longer than its session: heartbeats do not depend on handlers.
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let block = served.block().await;
        assert_eq!(
            (&block["members"][0]["member_id"], &block["members"][0]["partitions"][0]),
            (&before, &0.into())
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let block = served.until("the broker still counts it", |block| block["group_members"] == 1).await;
    assert_eq!((sum(&block, "messages"), &block["state"]), (0, &"Stable".into()));
    // Where it began, at most.
    assert!(world.committed(0).await.unwrap_or(0) == 0);
    served.tell("{}").await;
    served.until("all is done", |block| owned(block, 0).is_some_and(|flow| flow["committed"] == 3)).await;
    assert!(served.consumer.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_fails_at_every_try_goes_to_the_dead_letters_with_its_reason() {
    let world = World::new(1).await;
    world.produce(0, &[TRADES.as_bytes(); 5]).await;
    let more = "  MaxAttempts: 3\n  RetryBackoff: 1ms\n";
    let served = world.start(1, more, "Behave:\n  FailEvery: 2\n  RejectEvery: 5\n");
    let block = served.until("all is committed", |b| owned(b, 0).is_some_and(|f| f["committed"] == 5)).await;
    let flow = owned(&block, 0).unwrap();
    assert_eq!(
        (&flow["messages"], &flow["failed"], &flow["rejected"]),
        (&2.into(), &6.into(), &1.into()),
        "{flow:#}"
    );
    assert_eq!((&block["retries"], &block["dead_letters"]), (&4.into(), &3.into()), "{block:#}");
    let expected = [
        ("1", "told to fail each record number 2 (after 3 tries)"),
        ("3", "told to fail each record number 2 (after 3 tries)"),
        ("4", "told to reject each record number 5"),
    ];
    let letters = world.dead_letters(3).await;
    assert_eq!(letters, expected.map(|(offset, why)| (offset.to_owned(), why.to_owned())));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_force_commit_a_failing_record_holds_its_partition_until_it_works() {
    let world = World::new(1).await;
    world.produce(0, &[TRADES.as_bytes(); 3]).await;
    let more = "  ForceCommit: false\n  MaxAttempts: 2\n  RetryBackoff: 1ms\n";
    let served = world.start(1, more, "Behave:\n  FailEvery: 2\n");
    let block =
        served.until("it is tried far more often than MaxAttempts", |block| sum(block, "failed") >= 5).await;
    assert_eq!((sum(&block, "messages"), &block["dead_letters"]), (1, &0.into()), "{block:#}");
    served.until("what is below it is committed", |b| owned(b, 0).is_some_and(|f| f["committed"] == 1)).await;
    served.tell(r#"{"topic": "eth-trades", "fail_every": 0}"#).await;
    served.until("all is committed", |b| owned(b, 0).is_some_and(|f| f["committed"] == 3)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_member_holds_up_its_own_partition_and_no_other() {
    let world = World::new(2).await;
    let served = world.start(2, "", "");
    let both = |block: &serde_json::Value| owned(block, 0).is_some() && owned(block, 1).is_some();
    let one_each = |block: &serde_json::Value| {
        block["members"].as_array().unwrap().iter().all(|m| m["partitions"].as_array().unwrap().len() == 1)
    };
    let block = served.until("each owns one", |block| both(block) && one_each(block)).await;
    let owner = owned(&block, 0).unwrap()["member"].clone();
    served.tell(&format!(r#"{{"topic": "eth-trades", "member": {owner}, "slow_ms": 3600000}}"#)).await;
    world.produce(0, &[TRADES.as_bytes(); 5]).await;
    world.produce(1, &[TRADES.as_bytes(); 5]).await;
    let block = served
        .until("the other is done, and this one has begun", |block| {
            owned(block, 1).is_some_and(|flow| flow["messages"] == 5)
                && block["members"][owner.as_u64().unwrap() as usize]["in_hand"] == 1
        })
        .await;
    assert_eq!(owned(&block, 0).unwrap()["messages"], 0);
    served.tell("{}").await;
    served
        .until("told to be quick it goes on at once", |b| owned(b, 0).is_some_and(|f| f["messages"] == 5))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tries_that_fail_by_chance_lose_no_record() {
    let world = World::new(1).await;
    world.produce(0, &[TRADES.as_bytes(); 200]).await;
    let more = "  ForceCommit: false\n  RetryBackoff: 1ms\n";
    let served = world.start(1, more, "Behave:\n  FailPercent: 30\n");
    let block =
        served.until("all is committed", |b| owned(b, 0).is_some_and(|f| f["committed"] == 200)).await;
    let failed = sum(&block, "failed");
    assert_eq!(sum(&block, "messages"), 200);
    assert!((20..300).contains(&failed), "{failed} of some 286 tries failed");
    assert_eq!(block["retries"].as_u64(), Some(failed));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_told_wrongly_is_refused_and_changes_nothing() {
    let world = World::new(1).await;
    let served = world.start(1, "", "");
    for (wrong, status, words) in [
        (r#"{"slow": 5}"#, 400, "unknown field `slow`"),
        (r#"{"fail_percent": 101}"#, 400, "from 0 to 100"),
        (r#"{"topic": "other", "hang": true}"#, 404, "GET /api/behave"),
        (r#"{"member": 1, "hang": true}"#, 404, "GET /api/behave"),
        ("hang", 400, "JSON"),
    ] {
        let (said, body) = served.ask("POST", "/api/behave", wrong).await;
        let error: serde_json::Value = serde_json::from_str(&body).unwrap();
        assert_eq!(said, status, "{body}");
        assert!(error["error"].as_str().unwrap().contains(words), "{body}");
    }
    let (_, told) = served.ask("GET", "/api/behave", "").await;
    assert_eq!(told, r#"[{"block":"KqEthTrades","topic":"eth-trades","member":0,"behaviour":{}}]"#);
}

#[test]
fn what_the_file_tells_wrongly_stops_the_start_with_its_line() {
    let block = "Kq:\n  Group: g\n  Topic: t\n  Offset: first\n  Consumers: 2\n";
    for (behave, words) in [
        ("  Slo: 5ms\n", "did you mean `Slow`?"),
        ("  Slow: 5\n", "not a duration"),
        ("  FailPercent: 200\n", "from 0 to 100"),
        ("  Topic: other\n  Hang: true\n", "concerns no member"),
        ("  Member: 2\n  Hang: true\n", "concerns no member"),
    ] {
        let told = Settings::parse("c.yaml", &format!("{block}Behave:\n{behave}")).unwrap_err().to_string();
        assert!(told.contains(words) && told.contains("at: c.yaml"), "{told}");
    }
}
