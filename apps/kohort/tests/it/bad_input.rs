//! What is no trade: counted, kept, shown, and it stops nothing.

use serde_json::{Value, json};

use crate::process::{Server, said, told};

const DEAD_LETTERS: &str = "eth-trades.data-flow-default-group10.dlq";

fn trade(fields: &str) -> String {
    format!(
        r#"{{"chain_id":"1","pair_addr":"p","type":"buy","total_usd":1,"block_time":1704412823,{fields}}}"#
    )
}

#[test]
fn bad_records_are_counted_kept_and_shown_and_the_good_ones_after_them_handled() {
    let folder = tempfile::tempdir().expect("a folder");
    let up = Server::up(folder.path(), &["--no-feed"]);
    let server = ["--bootstrap-server", &up.broker];
    let good = trade(r#""token_price_usd":2"#);
    let pairless = good.replace(r#""pair_addr":"p","#, "");
    let refused = [
        "{\"broken\":".to_owned(),
        "\"a text\"".to_owned(),
        "7".to_owned(),
        format!("[{}]", trade(r#""token_price_usd":NaN"#)),
        format!("[{}]", trade(r#""token_price_usd":"two""#)),
        format!("[{}]", trade(r#""token_price_usd":1e400"#)),
        format!("[{pairless}]"),
        format!("[{good},7,{good}]"),
    ];
    let understood = ["[]".to_owned(), "null".to_owned(), format!("[{}]", trade(r#""token_price_usd":0"#))];
    let last = format!("[{good}]");
    let lines: Vec<&str> = refused.iter().chain(&understood).chain([&last]).map(String::as_str).collect();
    let produce = ["produce", "eth-trades", "--partition", "2"];
    said(&[&produce[..], &server].concat(), &lines.join("\n"));
    // The last trade, behind all of them, is in its candle.
    up.until("/api/candles?chain=1&pair=p&interval=1m", |candles| candles[0]["count"] == 3);
    let sources = up.ask("/api/input");
    let all = sources.as_array().expect("an array");
    let eth = all.iter().find(|source| source["topic"] == "eth-trades").expect("the topic");
    let counts = ["messages", "trades", "no_price", "dead_letters"].map(|name| &eth[name]);
    assert_eq!(counts, [&json!(12), &json!(3), &json!(1), &json!(refused.len())], "{eth}");
    assert_eq!(eth["dead_letter_topic"], DEAD_LETTERS);
    let shown = &eth["last_dead_letter"];
    assert_eq!((&shown["partition"], &shown["offset"]), (&json!(2), &json!(7)), "{shown}");
    assert!(shown["why"].as_str().is_some_and(|why| why.contains("1 of 3 elements")), "{shown}");
    let metrics = up.get("/metrics").1;
    let line = format!(
        "dataflow_dead_letters_total{{group=\"data-flow-default-group10\",topic=\"eth-trades\"}} {}\n",
        refused.len()
    );
    assert!(metrics.contains(&line), "{metrics}");

    let consume = ["consume", DEAD_LETTERS, "--offset", "first", "--exit", "--json"];
    let kept = said(&[&consume[..], &server].concat(), "");
    let kept: Vec<Value> = kept.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let values: Vec<&str> = kept.iter().filter_map(|letter| letter["value"].as_str()).collect();
    assert_eq!(values, refused.iter().map(String::as_str).collect::<Vec<_>>());
    for letter in &kept {
        let headers = letter["headers"].as_array().expect("headers");
        assert!(headers.iter().any(|header| header["key"] == "kohort.dlq.reason"), "{letter}");
    }
    let group = told(&[&["groups", "describe", "data-flow-default-group10", "--json"][..], &server].concat());
    assert_eq!(group["state"], "Stable");
    assert_eq!(up.end("-INT").0, Some(0));
}
