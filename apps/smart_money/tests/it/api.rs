//! The HTTP interface over a real socket.

use std::time::Duration;

use serde_json::{Value, json};
use smart_money::SmartMoney;
use smart_money::config::Own;
use test_world::Http;

use crate::world::{GROUP, TOPIC, World};

/// The service's routes over a real socket.
pub(crate) async fn serve(service: &SmartMoney) -> Http {
    Http::serve(service.router()).await
}

/// A trade of a wallet, as a message.
pub(crate) fn message(maker: &str, tx: &str) -> String {
    format!(
        r#"[{{"chain_id":"1","pair_addr":"p","maker":"{maker}","type":"buy","total_usd":12.50,"token_amount":"0.10","token_price_usd":125,
        "block_time":60,"tx_hash":"{tx}","pair_info":{{"token_addr":"0xCC","token_symbol":"T"}}}}]"#
    )
}

/// Sends a trade of a wallet and waits until it is read: how many trades the log has.
async fn send(world: &World, maker: &str, tx: &str) -> u64 {
    let (value, before) = (message(maker, tx), world.stored(GROUP));
    world.produce([("k", value.as_bytes())]).await;
    world.until_stored(GROUP, before + 1).await;
    world.logged().values().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn wallets_come_and_go_while_the_service_runs() {
    let world = World::new(1).await;
    std::fs::write(world.addresses(), "0xAA,from the file\n0xBB\n").unwrap();
    let service = world.start(1, 1);
    let server = serve(&service).await;
    assert_eq!(send(&world, "0xcc", "0x1").await, 0);
    let add =
        json!([{"address": "0xCC", "label": "new", "chain": "eth"}, {"address": "So1", "chain": 100000}]);
    assert_eq!(server.json("POST", "/api/wallets", add).await, (200, json!({"changed": 2, "total": 4})));
    let removed = server.json("DELETE", "/api/wallets/0xBB", Value::Null).await;
    assert_eq!(removed, (200, json!({"changed": 1, "total": 3})));
    let (_, page) = server.get("/api/wallets?limit=2").await;
    assert_eq!((&page["total"], &page["next"]), (&json!(3), &json!(2)));
    assert_eq!(page["wallets"][0], json!({"address": "0xaa", "label": "from the file", "chain_id": null}));
    let (_, page) = server.get("/api/wallets?q=NEW").await;
    assert_eq!(page["wallets"], json!([{"address": "0xcc", "label": "new", "chain_id": 1}]));
    // Page by page, though the address at which a page ended is known no more.
    let mut seen = Vec::new();
    let mut after = String::new();
    loop {
        let (_, page) = server.get(&format!("/api/wallets?limit=1&after={after}")).await;
        seen.push(page["wallets"][0]["address"].as_str().unwrap().to_owned());
        let Some(next) = page["next_after"].as_str() else { break };
        after = next.to_owned();
        if seen.len() == 1 {
            let add = json!({"address": "0x00"});
            assert_eq!(server.json("POST", "/api/wallets", add).await.1["changed"], json!(1));
            assert_eq!(server.json("DELETE", "/api/wallets/0xAA", Value::Null).await.1["changed"], json!(1));
        }
    }
    assert_eq!(seen, ["0xaa", "0xcc", "So1"]);
    assert_eq!(send(&world, "0xCc", "0x2").await, 1);
    assert_eq!(send(&world, "0xbb", "0x3").await, 1);
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_told_newest_first_and_digit_for_digit() {
    let world = World::new(1).await;
    std::fs::write(world.addresses(), "0xCC,new\n0xDD\n").unwrap();
    let service = world.start(1, 1);
    let server = serve(&service).await;
    send(&world, "0xdd", "0x1").await;
    send(&world, "0xCc", "0x2").await;
    let (_, trades) = server.get("/api/smart-money/trades?limit=5").await;
    assert_eq!(trades.as_array().unwrap().len(), 2);
    for (field, value) in [
        ("id", json!("1/p/0x2/0")),
        ("chain_id", json!(1)),
        ("wallet", json!("0xcc")),
        ("label", json!("new")),
        ("side", json!("buy")),
        ("token", json!("0xcc")),
        ("token_symbol", json!("T")),
        ("token_amount", json!("0.1")),
        ("total_usd", json!("12.5")),
        ("price_usd", json!("125")),
        ("topic", json!(TOPIC)),
    ] {
        assert_eq!(trades[0][field], value, "{field}");
    }
    let number = trades[0]["number"].as_i64().unwrap();
    let (_, older) = server.get(&format!("/api/smart-money/trades?before={number}")).await;
    assert_eq!(older, json!([trades[1]]));
    let (_, of_one) = server.get("/api/smart-money/trades?wallet=0xDD").await;
    assert_eq!(of_one, older);
    let (_, summary) = server.get("/api/smart-money").await;
    assert_eq!((&summary["addresses"], &summary["trades"]), (&json!(2), &json!(2)));
    assert_eq!(summary["false_positive_rate_stated"], json!(0.001));
    let (_, input) = server.get("/api/smart-money/input").await;
    assert_eq!((&input[0]["messages"], &input[0]["logged"]), (&json!(2), &json!(2)));
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_file_is_read_anew_when_told_and_what_was_changed_outlives_the_process() {
    let world = World::new(1).await;
    std::fs::write(world.addresses(), "0xAA\n0xBB\n").unwrap();
    let service = world.start(1, 1);
    let server = serve(&service).await;
    let reload = async || server.json("POST", "/api/wallets/reload", Value::Null).await;
    server.json("POST", "/api/wallets", json!({"address": "0xCC", "chain": 1})).await;
    server.json("DELETE", "/api/wallets/0xbb", Value::Null).await;
    // What was removed stays removed though the file has it still.
    std::fs::write(world.addresses(), "0xAA,renamed\n0xBB\n0xDD\n").unwrap();
    assert_eq!(reload().await, (200, json!({"total": 3})));
    assert_eq!(send(&world, "0xdd", "0x4").await, 1);
    std::fs::write(world.addresses(), "0xAA\nnot an address\n").unwrap();
    let (status, error) = reload().await;
    assert_eq!(status, 400);
    assert!(error["error"].as_str().unwrap().contains("line 2: "), "{error}");
    std::fs::remove_file(world.addresses()).unwrap();
    assert_eq!(reload().await.0, 503);
    assert_eq!(server.get("/api/smart-money").await.1["addresses"], json!(3), "all are known as before");
    assert!(service.stop().await);

    std::fs::write(world.addresses(), "0xAA\n0xBB\n").unwrap();
    let service = world.start(1, 1);
    let server = serve(&service).await;
    let (_, page) = server.get("/api/wallets").await;
    let address = |wallet: &Value| wallet["address"].as_str().unwrap().to_owned();
    let known: Vec<String> = page["wallets"].as_array().unwrap().iter().map(address).collect();
    assert_eq!(known, ["0xaa", "0xcc"]);

    // Another process of the service sees it within its next look at the table.
    let other = world.start(1, 1);
    assert_eq!(server.json("DELETE", "/api/wallets/0xcc?chain=1", Value::Null).await.0, 200);
    let seen = async {
        while other.keeper().book().snapshot().has("0xcc", "1") {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    assert!(tokio::time::timeout(Duration::from_secs(30), seen).await.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn wrong_questions_are_refused_with_the_mend() {
    let world = World::new(1).await;
    let service = world.start(1, 1);
    let server = serve(&service).await;
    for (method, path, body, status, said) in [
        ("GET", "/api/wallets?limit=0", "", 400, "from 1 to 10000"),
        ("GET", "/api/wallets?offest=1", "", 400, "offest"),
        ("GET", "/api/wallets?offset=1&after=0xa", "", 400, "two ways"),
        ("GET", "/api/smart-money/trades?limit=1001", "", 400, "from 1 to 1000"),
        ("GET", "/api/smart-money/trades?before=x", "", 400, "before"),
        ("POST", "/api/wallets", "[7]", 400, "an array of such"),
        ("POST", "/api/wallets", r#"{"address":"0x a"}"#, 400, "letters, digits"),
        ("POST", "/api/wallets", r#"{"address":"0xa","chain":"mars"}"#, 400, "a chain is a number"),
        ("POST", "/api/wallets", r#"{"address":"0xa","colour":"red"}"#, 400, "an array of such"),
        ("DELETE", "/api/wallets/0xa", "", 404, "is not known on any chain"),
        ("DELETE", "/api/wallets/0xa?chain=eth", "", 404, "is not known on chain 1"),
    ] {
        let (got, answer) = server.ask(method, path, "application/json", body).await;
        let answer: Value = serde_json::from_str(&answer).unwrap();
        assert_eq!(got, status, "{method} {path} {body}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{method} {path} {body}: {answer}");
    }
    // A page of another site cannot add wallets with a form.
    let (status, _) = server.ask("POST", "/api/wallets", "text/plain", r#"{"address":"0xa"}"#).await;
    assert_eq!(status, 400);
    assert_eq!(server.get("/api/wallets").await.1["total"], json!(0));
    assert_eq!(server.ask("GET", "/healthz", "", "").await, (200, "ok".to_owned()));
    let (_, metrics) = server.ask("GET", "/metrics", "", "").await;
    assert!(metrics.contains("\nsmart_money_false_positives_per_million_stated 1000\n"), "{metrics}");
    assert!(service.stop().await);
}

#[tokio::test]
async fn a_file_that_asks_for_what_cannot_be_stops_the_start_and_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("none.txt");
    let wrong = folder.path().join("wrong.txt");
    std::fs::write(&wrong, "0xab\n0xcd,label,mars\n").unwrap();
    let kq = "Kq:\n  Group: g\n  Topic: t\n";
    for (text, at, said) in [
        ("Name: none\n".to_owned(), "f.yaml", "has nothing to consume"),
        (format!("{kq}GroupStores: [\"sqlite:x.db\"]\n"), "f.yaml:4", "no use for `GroupStores`"),
        (format!("{kq}Addresses:\n  File: {}\n", missing.display()), "f.yaml:5", "none.txt` cannot be read"),
        (format!("{kq}Addresses:\n  File: {}\n", wrong.display()), "f.yaml:5", "line 2: a chain is a number"),
    ] {
        let settings = smart_money::Settings::new(Own::parse("f.yaml", &text).unwrap(), folder.path());
        let error = smart_money::start(&settings).unwrap_err();
        let complaint: &kohort_service::Complaint = error.downcast_ref().unwrap();
        assert_eq!(complaint.at.as_deref(), Some(at), "{complaint}");
        assert!(complaint.what.contains(said) && complaint.hint.is_some(), "{complaint}");
    }
}
