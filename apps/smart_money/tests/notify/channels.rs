//! What the channels are sent, and what follows from their answers.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use base64::Engine as _;
use smart_money::notify;

use super::receiver::Receiver;
use super::world::{config, key, log, notifier, open, settled, summary, trade, webhook};

fn hmac(key: &str, message: &str) -> Vec<u8> {
    let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, key.as_bytes());
    ring::hmac::sign(&key, message.as_bytes()).as_ref().to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn each_channel_is_sent_its_form() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::answering(|received, _| match received.path.as_str() {
        "/botTOKEN:1/sendMessage" => (200, vec![], r#"{"ok":true,"result":{"message_id":7}}"#),
        "/open-apis/bot/v2/hook/abc" => (200, vec![], r#"{"code":0,"msg":"success","data":{}}"#),
        _ => (200, vec![], "ok"),
    })
    .await;
    let at = receiver.address;
    let config = config(&format!(
        "Notify:
  - {{Kind: webhook, Url: 'http://{at}/in?x=1', Secret: s3cret, Rules: [{{Kind: trade}}]}}
  - {{Kind: telegram, Url: 'http://{at}/', Token: 'TOKEN:1', ChatId: -5, Rules: [{{Kind: buy, Usd: 10000}}]}}
  - {{Kind: lark, Url: 'http://{at}/open-apis/bot/v2/hook/abc', Secret: larksecret, Rules: [{{Kind: first-buy}}]}}
  - {{Kind: slack, Url: 'http://{at}/services/T/B/x', Rules: [{{Kind: trade, Usd: 12345.678}}]}}
"
    ));
    let mut store = open(folder.path());
    assert_eq!(log(&mut store, &config, &[trade(1)]).notifications, 4);
    let notifier = notifier(folder.path(), &config);
    let received = receiver.wait_for(4).await;
    for channel in ["webhook", "telegram", "lark", "slack"] {
        let now = settled(&mut store, channel, |now| now.sent == 1).await;
        assert_eq!((now.pending, now.failed), (0, 0), "{now:?}");
    }
    notifier.stop().await;
    let to = |path: &str| received.iter().find(|received| received.path == path).unwrap();
    assert!(received.iter().all(|one| one.header("content-type") == "application/json; charset=utf-8"));
    assert!(received.iter().all(|one| one.header("host") == at.to_string()));
    let text = "whale <1> bought PEPE for 12,345.67 USD\\n\
        Solana token So11111111111111111111111111111111111111112\\n\
        wallet EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm\\n\
        1,000 tokens at 12.345 USD\\ntx tx1\\n2024-01-05 12:00:23 UTC · ";

    let hook = to("/in?x=1");
    assert_eq!(
        hook.body,
        format!(
            "{{\"id\":\"trade|100000/pair/tx1/0\",\"channel\":\"webhook\",\"created_at\":1704456030,\"text\":\"{text}trade\",\
             \"event\":{{\"kind\":\"trade\",\"rule\":\"trade\",\"chain_id\":\"100000\",\
             \"token\":\"So11111111111111111111111111111111111111112\",\"token_symbol\":\"PEPE\",\"pair\":\"pair\",\
             \"wallet\":\"EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm\",\"label\":\"whale <1>\",\"side\":\"buy\",\
             \"token_amount\":\"1000\",\"total_usd\":\"12345.678\",\"price_usd\":\"12.345\",\"block_time\":1704456023,\
             \"tx_hash\":\"tx1\",\"trade_id\":\"100000/pair/tx1/0\"}}}}"
        )
    );
    assert_eq!(hook.key(), key(1));
    let hex: String = hmac("s3cret", &hook.body).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hook.header("x-kohort-signature"), format!("sha256={hex}"));

    assert_eq!(
        to("/botTOKEN:1/sendMessage").body,
        "{\"chat_id\":\"-5\",\"text\":\"<b>whale &lt;1&gt; bought PEPE for 12,345.67 USD</b>\\n\
         Solana token <code>So11111111111111111111111111111111111111112</code>\\n\
         wallet <code>EuhWKYxMPf4vE3uNTjyYoTBYMeLkYyAuj6e9JmzzCPbm</code>\\n\
         1,000 tokens at 12.345 USD\\ntx <code>tx1</code>\\n2024-01-05 12:00:23 UTC · buy, from 10000 USD\",\
         \"parse_mode\":\"HTML\",\"link_preview_options\":{\"is_disabled\":true}}"
    );

    let lark = to("/open-apis/bot/v2/hook/abc");
    let body: serde_json::Value = serde_json::from_str(&lark.body).unwrap();
    let timestamp = body["timestamp"].as_str().unwrap();
    let sign =
        base64::engine::general_purpose::STANDARD.encode(hmac(&format!("{timestamp}\nlarksecret"), ""));
    let words = text.replace('<', "‹").replace('>', "›");
    assert_eq!(
        lark.body,
        format!(
            "{{\"timestamp\":\"{timestamp}\",\"sign\":\"{sign}\",\"msg_type\":\"text\",\
             \"content\":{{\"text\":\"First buy: {words}first buy\"}}}}"
        )
    );

    let words = text.replace('<', "&lt;").replace('>', "&gt;");
    assert_eq!(to("/services/T/B/x").body, format!("{{\"text\":\"{words}trade, from 12345.678 USD\"}}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_channel_that_asks_for_time_gets_it_and_order_holds() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::answering(|_, before| match before {
        0 => (429, vec![], r#"{"ok":false,"error_code":429,"description":"Too Many Requests","parameters":{"retry_after":2}}"#),
        1 => (502, vec![], "<html>"),
        2 => (429, vec![("retry-after", "3")], "{}"),
        _ => (200, vec![], r#"{"ok":true}"#),
    })
    .await;
    let config = config(&format!(
        "Notify: [{{Kind: telegram, Url: 'http://{}', Token: T, ChatId: 5, RatePerSecond: 50, Rules: [{{Kind: trade}}]}}]",
        receiver.address
    ));
    let mut store = open(folder.path());
    log(&mut store, &config, &[trade(1), trade(2), trade(3)]);
    let notifier = notifier(folder.path(), &config);
    let received = receiver.wait_for(6).await;
    settled(&mut store, "telegram", |now| now.sent == 3).await;
    notifier.stop().await;
    let of: Vec<&str> = received
        .iter()
        .map(|one| ["tx1", "tx2", "tx3"].into_iter().find(|tx| one.body.contains(tx)).unwrap())
        .collect();
    assert_eq!(of, ["tx1", "tx1", "tx1", "tx1", "tx2", "tx3"]);
    // What was asked for at least, in the body or in the header.
    let wait = |at: usize| received[at + 1].at - received[at].at;
    assert!(wait(0) >= Duration::from_millis(1950), "{:?}", wait(0));
    assert!(wait(2) >= Duration::from_millis(2950), "{:?}", wait(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn while_one_channel_is_down_the_others_go_on_and_nothing_is_lost() {
    let folder = tempfile::tempdir().unwrap();
    let (mut first, second) = (Receiver::start().await, Receiver::start().await);
    let config = config(&format!(
        "Notify:
  - {{Kind: webhook, Name: a, Url: 'http://{}', RatePerSecond: 1000, Rules: [{{Kind: trade}}]}}
  - {{Kind: webhook, Name: b, Url: 'http://{}', RatePerSecond: 1000, Rules: [{{Kind: trade}}]}}
",
        first.address, second.address
    ));
    first.down().await;
    let mut store = open(folder.path());
    let notifier = notifier(folder.path(), &config);
    let trades: Vec<_> = (0..40).map(trade).collect();
    for part in trades.chunks(8) {
        log(&mut store, &config, part);
        notifier.wake().wake();
    }
    second.wait_for(40).await;
    let down = settled(&mut store, "a", |now| now.last_error.is_some()).await;
    assert_eq!((down.pending, down.sent), (40, 0));
    let why = down.last_error.unwrap();
    assert!(why.starts_with(&format!("`{}` cannot be reached: ", first.address)), "{why}");
    first.back().await;
    first.wait_for(40).await;
    settled(&mut store, "a", |now| now.sent == 40).await;
    settled(&mut store, "b", |now| now.sent == 40).await;
    notifier.stop().await;
    let wanted: Vec<String> = (0..40).map(key).collect();
    for receiver in [&first, &second] {
        assert_eq!(receiver.received().iter().map(|one| one.key()).collect::<Vec<_>>(), wanted);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_refused_for_good_is_shown_blocks_nobody_and_is_sent_when_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let mended = Arc::new(AtomicBool::new(false));
    let is_mended = Arc::clone(&mended);
    let receiver = Receiver::answering(move |received, _| {
        if received.body.contains("tx2") && !is_mended.load(Ordering::SeqCst) {
            (200, vec![], r#"{"code":19021,"msg":"sign match fail: hook-0123456789 and s3cretive"}"#)
        } else {
            (200, vec![], r#"{"StatusCode":0,"StatusMessage":"success"}"#)
        }
    })
    .await;
    let config = config(&format!(
        "Notify: [{{Kind: feishu, Url: 'http://{}/hook-0123456789', Secret: s3cretive, RatePerSecond: 50, Rules: [{{Kind: trade}}]}}]",
        receiver.address
    ));
    let mut store = open(folder.path());
    log(&mut store, &config, &[trade(1), trade(2), trade(3)]);
    let notifier = notifier(folder.path(), &config);
    let settled_now = settled(&mut store, "feishu", |now| now.pending == 0).await;
    assert_eq!((settled_now.sent, settled_now.failed), (2, 1));
    assert_eq!(
        settled_now.last_failure.as_deref(),
        Some("HTTP 200: code 19021: sign match fail: *** and ***")
    );

    // The same over HTTP, as a person would.
    let router = notify::router(&config.channels, Box::new(open(folder.path())), notifier.wake());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let api = listener.local_addr().unwrap();
    let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let shown = ask(api, "GET", "/api/notifications").await;
    assert!(shown.contains(r#""channel":"feishu","kind":"lark","pending":0,"sent":2,"failed":1"#), "{shown}");
    let nobody = ask(api, "POST", "/api/notifications/requeue").await;
    assert!(nobody.starts_with("HTTP/1.1 400") && nobody.contains(r#"{"error":""#), "{nobody}");
    mended.store(true, Ordering::SeqCst);
    let requeued = ask(api, "POST", "/api/notifications/requeue?channel=feishu").await;
    assert!(requeued.ends_with(r#"{"requeued":1}"#), "{requeued}");
    let settled_now = settled(&mut store, "feishu", |now| now.pending == 0 && now.failed == 0).await;
    assert_eq!(settled_now.sent, 3);
    assert_eq!(receiver.received().len(), 4);
    serving.abort();
    notifier.stop().await;
}

async fn ask(api: std::net::SocketAddr, method: &str, path: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let mut socket = tokio::net::TcpStream::connect(api).await.unwrap();
    let request =
        format!("{method} {path} HTTP/1.1\r\nHost: {api}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    socket.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn two_dispatchers_send_nothing_twice() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let config = webhook(receiver.address);
    let mut store = open(folder.path());
    let notifiers = [notifier(folder.path(), &config), notifier(folder.path(), &config)];
    for n in 0..30 {
        let trades: Vec<_> = (n * 10..n * 10 + 10).map(trade).collect();
        log(&mut store, &config, &trades);
        notifiers[(n % 2) as usize].wake().wake();
    }
    receiver.wait_for(300).await;
    settled(&mut store, "webhook", |now| now.sent == 300).await;
    for notifier in notifiers {
        notifier.stop().await;
    }
    let received: Vec<String> = receiver.received().iter().map(|one| one.key()).collect();
    assert_eq!(received, (0..300).map(key).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_lets_go_of_what_is_not_sent() {
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let config = config(&format!(
        "Notify: [{{Kind: slack, Url: 'http://{}/x', Rules: [{{Kind: trade}}]}}]",
        receiver.address
    ));
    let mut store = open(folder.path());
    log(&mut store, &config, &[trade(1), trade(2), trade(3)]);
    let first = notifier(folder.path(), &config);
    // The first is sent at once, the second is due after a second.
    receiver.wait_for(1).await;
    first.stop().await;
    let sent = summary(&mut store, "slack").sent;
    assert!((1..3).contains(&sent), "{sent}");
    // Nothing is leased any more: the next one need not wait for a lease to end, and sends each once.
    let second = notifier(folder.path(), &config);
    settled(&mut store, "slack", |now| now.sent == 3).await;
    second.stop().await;
    assert_eq!(receiver.received().len(), 3);
}

/// A server that says 200 and then trickles its page for ever: what it took is not sent again.
#[tokio::test(flavor = "multi_thread")]
async fn an_answer_whose_body_never_ends_is_an_answer() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let config = webhook(listener.local_addr().unwrap());
    let asked = Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let counted = Arc::clone(&asked);
    let serving = tokio::spawn(async move {
        loop {
            let (mut socket, _) = listener.accept().await.unwrap();
            counted.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let _ = socket.read(&mut [0; 4096]).await;
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let mut alive = socket.write_all(head.as_bytes()).await.is_ok();
                while alive {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    alive = socket.write_all(b"1\r\n \r\n").await.is_ok();
                }
            });
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let mut store = open(folder.path());
    log(&mut store, &config, &[trade(1)]);
    let timing = notify::Timing { request: Duration::from_secs(2), lease: Duration::from_secs(10) };
    let outbox = Box::new(open(folder.path()));
    let registry = kohort_service::metrics::Registry::default();
    let notifier = notify::Notifier::start_with(timing, &config.channels, outbox, &registry).unwrap();
    let now = settled(&mut store, "webhook", |now| now.sent == 1 || now.last_error.is_some()).await;
    assert_eq!((now.sent, now.last_error.as_deref()), (1, None));
    notifier.stop().await;
    assert_eq!(asked.load(Ordering::SeqCst), 1);
    serving.abort();
}
