//! A log on a server that is away, that comes, and that lets us in no more.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use ::mysql::Opts;
use ::mysql::prelude::Queryable as _;
use kohort_service::Complaint;
use market_store::wallets::WalletLog as _;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};

use crate::api::{message, serve};
use crate::database::Database;
use crate::world::World;

/// A busy machine is no failure; this long is one.
const PATIENCE: Duration = Duration::from_secs(90);

async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let began = Instant::now();
    while !holds().await {
        assert!(began.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// An address at which nobody listens.
async fn nowhere() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap()
}

/// Lets everybody through who comes to `from`, from now on.
async fn relay(from: SocketAddr, to: SocketAddr) {
    let listener = TcpListener::bind(from).await.unwrap();
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
}

/// Where the tests' server is, and a `DataSource` of a login at another address.
fn server() -> (SocketAddr, impl Fn(&str, SocketAddr, &str) -> String) {
    let opts = Opts::from_url(&std::env::var("KOHORT_TEST_MYSQL").unwrap()).unwrap();
    let at = format!("{}:{}", opts.get_ip_or_hostname(), opts.get_tcp_port()).parse().unwrap();
    (at, |login: &str, at, database: &str| format!("{login}@tcp({at})/{database}"))
}

async fn send(world: &World, tx: &str) {
    let value = message("0xCc", tx);
    world.produce([("k", value.as_bytes())]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_away_is_waited_for_and_nobody_is_known_meanwhile() {
    let world = World::new(1).await;
    std::fs::write(world.addresses(), "0xCC\n").unwrap();
    let service = smart_money::start(&world.settings_on(&format!("u:p@tcp({})/d", nowhere().await))).unwrap();
    let server = serve(&service).await;
    send(&world, "0x1").await;
    assert_eq!(server.ask("GET", "/healthz", "", "").await, (200, "ok".to_owned()));
    assert_eq!(server.ask("GET", "/metrics", "", "").await.0, 200);
    for (method, path, body) in [
        ("GET", "/api/wallets", Value::Null),
        ("POST", "/api/wallets", json!({"address": "0xDD"})),
        ("DELETE", "/api/wallets/0xCC", Value::Null),
        ("GET", "/api/smart-money", Value::Null),
    ] {
        let (status, answer) = server.json(method, path, body).await;
        assert_eq!(status, 503, "{method} {path}: {answer}");
    }
    let (_, answer) = server.get("/api/wallets").await;
    assert!(answer["error"].as_str().unwrap().contains("not known yet"), "{answer}");
    // What is wrong with the file is said at once, whoever is away.
    std::fs::write(world.addresses(), "0xCC,label,mars\n").unwrap();
    let wrong = smart_money::start(&world.settings_on(&format!("u:p@tcp({})/d", nowhere().await)));
    assert!(wrong.unwrap_err().to_string().contains("the file of addresses is wrong"));
    assert!(tokio::time::timeout(PATIENCE, service.stop()).await.is_ok(), "it does not end");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: KOHORT_TEST_MYSQL, see tests/peers/mariadb"]
async fn a_server_that_comes_late_gets_everything() {
    let world = World::new(1).await;
    std::fs::write(world.addresses(), "0xCC\n").unwrap();
    let database = Database::new();
    let mut log = database.store();
    let ((at, source), late) = (server(), nowhere().await);
    let service =
        smart_money::start(&world.settings_on(&source("kohort:kohort", late, &database.name))).unwrap();
    let server = serve(&service).await;
    send(&world, "0x1").await;
    assert_eq!(server.get("/api/wallets").await.0, 503);
    relay(late, at).await;
    until("the trade is logged", async || log.logged_count().is_ok_and(|count| count == 1)).await;
    assert_eq!(server.get("/api/wallets").await.1["total"], json!(1));
    assert!(service.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: KOHORT_TEST_MYSQL, see tests/peers/mariadb"]
async fn what_no_waiting_mends_stops_the_start() {
    let world = World::new(1).await;
    let database = Database::new();
    let (at, source) = server();
    for (login, name, said) in [
        ("kohort:wrong", &*database.name, "refuses this user"),
        ("kohort:kohort", "no_such", "does not exist"),
    ] {
        let error = smart_money::start(&world.settings_on(&source(login, at, name))).unwrap_err();
        let complaint: &Complaint = error.downcast_ref().unwrap();
        assert!(complaint.what.contains(said) && !complaint.to_string().contains("wrong"), "{complaint}");
        assert!(complaint.at.as_deref().is_some_and(|at| at.starts_with("test.yaml:")), "{complaint}");
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: KOHORT_TEST_MYSQL, see tests/peers/mariadb"]
async fn a_password_that_works_no_more_is_seen_and_nothing_is_lost_when_it_does_again() {
    let world = World::new(1).await;
    std::fs::write(world.addresses(), "0xCC\n").unwrap();
    let mut database = Database::new();
    let (mut log, (at, source)) = (database.store(), server());
    let (user, name) = (format!("kohort_{}", std::process::id()), database.name.clone());
    let mut sql = |text: String| database.login.query_drop(text).unwrap();
    sql(format!("CREATE USER {user}@'127.0.0.1' IDENTIFIED BY 'first'"));
    sql(format!("GRANT ALL ON {name}.* TO {user}@'127.0.0.1'"));
    let service =
        smart_money::start(&world.settings_on(&source(&format!("{user}:first"), at, &name))).unwrap();
    let server = serve(&service).await;
    send(&world, "0x1").await;
    until("the first trade is logged", async || log.logged_count().is_ok_and(|count| count == 1)).await;

    sql(format!("ALTER USER {user}@'127.0.0.1' IDENTIFIED BY 'second'"));
    database.cut();
    send(&world, "0x2").await;
    until("the refusal of the log is seen", async || {
        let (status, why) = server.ask("GET", "/healthz", "", "").await;
        status == 503
            && why.contains("the log: ")
            && why.contains("refuses this user")
            && !why.contains("first")
    })
    .await;
    let refused = |value: u8| format!("\nsmart_money_store_refused{{part=\"the log\"}} {value}\n");
    assert!(server.ask("GET", "/metrics", "", "").await.1.contains(&refused(1)));

    database.login.query_drop(format!("ALTER USER {user}@'127.0.0.1' IDENTIFIED BY 'first'")).unwrap();
    until("the service is well again", async || {
        server.ask("GET", "/healthz", "", "").await == (200, "ok".to_owned())
    })
    .await;
    assert!(server.ask("GET", "/metrics", "", "").await.1.contains(&refused(0)));
    assert_eq!(log.logged_count().unwrap(), 2);
    assert!(service.stop().await);
    database.login.query_drop(format!("DROP USER {user}@'127.0.0.1'")).unwrap();
}
