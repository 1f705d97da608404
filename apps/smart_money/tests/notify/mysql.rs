//! The outbox in MySQL or MariaDB, whose connections are cut again and again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use kohort_service::metrics::Registry;
use smart_money::notify::Notifier;

use super::database::Database;
use super::receiver::Receiver;
use super::world::{key, settled, trade, try_log, webhook};

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
