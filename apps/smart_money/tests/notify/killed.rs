//! Dispatchers in processes of their own, killed at the worst moments.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kohort_service::metrics::Registry;
use smart_money::notify::{Notifier, Timing};

use super::receiver::Receiver;
use super::world::{key, log, notifier, open, settled, trade, webhook};

const FOLDER: &str = "KOHORT_TEST_NOTIFY_FOLDER";
const ADDRESS: &str = "KOHORT_TEST_NOTIFY_ADDRESS";
/// The trades that the process logs, one after another, while it dispatches: `first..last`.
const TRADES: &str = "KOHORT_TEST_NOTIFY_TRADES";

/// The process of the tests below: it logs trades where it was told to, and sends until it is killed.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "the process that other tests start and kill"]
async fn dispatching_process() {
    let of = |name| std::env::var(name).unwrap_or_else(|_| panic!("`{name}` is not set: started by no test"));
    let folder = of(FOLDER);
    let config = webhook(of(ADDRESS).parse().unwrap());
    let trades = of(TRADES);
    let (first, last) = trades.split_once("..").unwrap();
    let trades = first.parse::<i64>().unwrap()..last.parse().unwrap();
    // Short leases, so that rounds are not spent in waiting for that of the last one's.
    let timing = Timing { request: Duration::from_millis(200), lease: Duration::from_millis(300) };
    let outbox = Box::new(open(Path::new(&folder)));
    let notifier = Notifier::start_with(timing, &config.channels, outbox, &Registry::default()).unwrap();
    let wake = notifier.wake();
    tokio::task::spawn_blocking(move || {
        let mut store = open(Path::new(&folder));
        for n in trades {
            log(&mut store, &config, &[trade(n)]);
            wake.wake();
        }
    })
    .await
    .unwrap();
    std::future::pending::<()>().await;
}

/// Ends with the test, however that ends.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn start(folder: &Path, address: std::net::SocketAddr, trades: std::ops::Range<i64>) -> Killed {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "killed::dispatching_process", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .env(ADDRESS, address.to_string())
        .env(TRADES, format!("{}..{}", trades.start, trades.end))
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    Killed(child)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dispatcher_that_is_killed_between_send_and_mark_loses_nothing_and_repeats_the_key() {
    let folder = tempfile::tempdir().unwrap();
    let victim: Arc<Mutex<Option<Killed>>> = Arc::default();
    let to_kill = Arc::clone(&victim);
    let receiver = Receiver::answering(move |_, before| {
        // The fourth is with us, and its sender is dead before it hears of it.
        if before == 3 {
            drop(to_kill.lock().unwrap().take());
        }
        (200, vec![], "ok")
    })
    .await;
    let config = webhook(receiver.address);
    let mut store = open(folder.path());
    log(&mut store, &config, &(0..10).map(trade).collect::<Vec<_>>());
    {
        // Held until the process is in its place, so that the receiver finds it there.
        let mut victim = victim.lock().unwrap();
        *victim = Some(start(folder.path(), receiver.address, 0..0));
    }
    receiver.wait_for(4).await;
    let left = settled(&mut store, "webhook", |now| now.sent == 3).await;
    assert_eq!(left.pending, 7);
    // Another takes over when the lease of the dead one ends.
    let notifier = notifier(folder.path(), &config);
    settled(&mut store, "webhook", |now| now.sent == 10).await;
    notifier.stop().await;
    let received: Vec<String> = receiver.received().iter().map(|one| one.key()).collect();
    let wanted: Vec<String> = [0, 1, 2, 3, 3, 4, 5, 6, 7, 8, 9].map(key).to_vec();
    assert_eq!(received, wanted);
    // A receiver that goes by the key has each once, and a repetition is the same to the byte.
    let bodies: Vec<_> = receiver.received().into_iter().filter(|one| one.key() == key(3)).collect();
    assert_eq!(bodies[0].body, bodies[1].body);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_killed_again_and_again_tells_everything() {
    const ROUNDS: u32 = 50;
    let folder = tempfile::tempdir().unwrap();
    let receiver = Receiver::start().await;
    let mut sent_by_the_dead = 0;
    for round in 0..ROUNDS {
        let process =
            start(folder.path(), receiver.address, i64::from(round) * 20..i64::from(round) * 20 + 40);
        let before = receiver.received().len();
        receiver.wait_until(|received| received.len() > before).await;
        tokio::time::sleep(Duration::from_millis(u64::from(round * 37 % 50))).await;
        drop(process);
        sent_by_the_dead = receiver.received().len();
    }
    assert!(sent_by_the_dead >= ROUNDS as usize);
    let config = webhook(receiver.address);
    let mut store = open(folder.path());
    let trades: Vec<_> = (0..i64::from(ROUNDS) * 20 + 20).map(trade).collect();
    log(&mut store, &config, &trades);
    let notifier = notifier(folder.path(), &config);
    settled(&mut store, "webhook", |now| now.sent == trades.len() as u64).await;
    notifier.stop().await;
    let by_key = receiver.by_key();
    assert_eq!(by_key.len(), trades.len());
    let repeated: usize = by_key.values().map(|times| times - 1).sum();
    // At most the one that each dead process had in hand.
    assert!(repeated <= ROUNDS as usize, "{repeated} repetitions");
    let mut firsts: Vec<String> = receiver.received().iter().map(|one| one.key()).collect();
    firsts.dedup();
    assert_eq!(firsts.len(), trades.len(), "a repetition follows its first, and order holds");
}
