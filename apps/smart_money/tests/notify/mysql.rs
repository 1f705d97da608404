//! The outbox in MySQL or MariaDB, whose connections are cut again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ::mysql::prelude::Queryable as _;
use ::mysql::{Conn, Opts};
use kohort_service::metrics::Registry;
use market_store::MySqlAddress;
use market_store::wallets::MySqlWallets;
use smart_money::notify::Notifier;

use super::receiver::Receiver;
use super::world::{key, settled, trade, try_log, webhook};

/// A database of its own on the server that `KOHORT_TEST_MYSQL` names; gone with this value.
struct Database {
    login: Conn,
    address: MySqlAddress,
    name: String,
}

impl Database {
    fn new() -> Database {
        let url = std::env::var("KOHORT_TEST_MYSQL")
            .expect("KOHORT_TEST_MYSQL names no server: see tests/peers/mariadb");
        let name = format!("kohort_notify_{}", std::process::id());
        let mut login = Conn::new(Opts::from_url(&url).unwrap()).unwrap();
        login.query_drop(format!("CREATE DATABASE {name}")).unwrap();
        login.query_drop(format!("USE {name}")).unwrap();
        let address = MySqlAddress::parse(&url).unwrap().with_database(&name);
        Database { login, address, name }
    }

    fn store(&self) -> MySqlWallets {
        MySqlWallets::new(self.address.clone())
    }

    /// Ends every other connection to the database: how many.
    fn cut(&mut self) -> usize {
        let others =
            "SELECT id FROM information_schema.processlist WHERE db = DATABASE() AND id <> CONNECTION_ID()";
        let all: Vec<u64> = self.login.query(others).unwrap();
        // One that ended by itself meanwhile is gone as well.
        all.iter().filter(|id| self.login.query_drop(format!("KILL CONNECTION {id}")).is_ok()).count()
    }
}

impl Drop for Database {
    fn drop(&mut self) {
        self.login.query_drop(format!("DROP DATABASE {}", self.name)).ok();
    }
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs a server: KOHORT_TEST_MYSQL, see tests/peers/mariadb"]
async fn an_outbox_whose_connections_are_cut_loses_nothing_and_repeats_nothing() {
    const TRADES: i64 = 200;
    let receiver = Receiver::start().await;
    let config = webhook(receiver.address);
    let mut database = Database::new();
    let mut store = database.store();
    store.connect().unwrap();
    let notifiers = [(), ()].map(|()| {
        Notifier::start(&config.channels, Box::new(database.store()), &Registry::default()).unwrap()
    });
    let mut writing = database.store();
    let (rules, wakes) = (config.clone(), notifiers.each_ref().map(Notifier::wake));
    let logging = tokio::task::spawn_blocking(move || {
        for n in 0..TRADES {
            // A flush whose commit was not answered may have got through: the trade is there already then.
            while try_log(&mut writing, &rules, &[trade(n)]).is_err() {
                std::thread::sleep(Duration::from_millis(5));
            }
            wakes[(n % 2) as usize].wake();
        }
    });
    let enough = Arc::new(AtomicBool::new(false));
    let cutting = {
        let enough = Arc::clone(&enough);
        tokio::task::spawn_blocking(move || {
            let mut cut = 0;
            let until = Instant::now() + Duration::from_secs(60);
            while !enough.load(Ordering::SeqCst) && cut < 150 && Instant::now() < until {
                cut += database.cut();
                std::thread::sleep(Duration::from_millis(40));
            }
            (database, cut)
        })
    };
    logging.await.unwrap();
    enough.store(true, Ordering::SeqCst);
    let (_database, cut) = cutting.await.unwrap();
    assert!(cut > 0, "no connection was cut");
    receiver.wait_for(TRADES as usize).await;
    settled(&mut store, "webhook", |now| now.sent == TRADES as u64).await;
    for notifier in notifiers {
        notifier.stop().await;
    }
    let received: Vec<String> = receiver.received().iter().map(|one| one.key()).collect();
    assert_eq!(received, (0..TRADES).map(key).collect::<Vec<_>>(), "{cut} connections were cut");
}
