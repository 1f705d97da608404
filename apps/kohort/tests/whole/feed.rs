//! The trades on their way into the topic, and how far the groups have read.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kohort_client::{Client, ClientConfig, Compression, Outgoing, Producer, SeekTo, TopicPartition};
use tokio::runtime::Runtime;
use tokio::time::Instant;

use crate::rig::block;

/// How many lots of addresses there are. A day beyond them is one that was sent before.
pub(crate) const LOTS_MAX: usize = 24;
/// At full speed the feed is at most so many days ahead of the slowest group: readers never wait, and the disk stays small.
const AHEAD_MAX: u64 = 3;
/// At full speed so few lots that the stores stay small.
const LOTS_FULL: usize = 4;

/// How fast trades are sent.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Pace {
    /// The set's day in so long.
    Day(Duration),
    /// As fast as the slowest group reads.
    Full,
}

impl Pace {
    fn lots(self) -> usize {
        match self {
            Pace::Day(_) => LOTS_MAX,
            Pace::Full => LOTS_FULL,
        }
    }
}

/// The pool's address in a lot. Lot 0 has the real ones.
pub(crate) fn address_in(lot: usize, real: &str) -> String {
    if lot == 0 { real.to_owned() } else { format!("{}{lot:04x}", &real[..real.len() - 4]) }
}

/// The set's trades, a message a block, with the pools' addresses of a lot.
pub(crate) fn messages(lines: &[String], pools: &[String], lot: usize) -> Vec<(String, Vec<u8>)> {
    let mut messages: Vec<(String, Vec<u8>)> = Vec::new();
    for line in lines {
        let moved = pools.iter().fold(line.clone(), |line, pool| line.replace(pool, &address_in(lot, pool)));
        match messages.last_mut() {
            Some((key, value)) if key == block(line) => {
                value.push(b',');
                value.extend_from_slice(moved.as_bytes());
            }
            _ => messages.push((block(line).to_owned(), format!("[{moved}").into_bytes())),
        }
    }
    messages.iter_mut().for_each(|(_, value)| value.push(b']'));
    messages
}

/// Sends one day after another until it is told to end; then the day is finished.
pub(crate) struct Feed {
    thread: JoinHandle<Vec<u64>>,
    ends: Arc<AtomicBool>,
    sent: Arc<AtomicU64>,
}

/// What a feed sends, and where.
pub(crate) struct What {
    pub(crate) bootstrap: String,
    pub(crate) topic: &'static str,
    pub(crate) lines: Vec<String>,
    pub(crate) pools: Vec<String>,
    /// The groups that are waited for at full speed.
    pub(crate) groups: Vec<&'static str>,
}

impl Feed {
    pub(crate) fn start(what: What, pace: Pace, days: u32) -> Feed {
        let (ends, sent) = (Arc::<AtomicBool>::default(), Arc::<AtomicU64>::default());
        let thread = {
            let (ends, sent) = (Arc::clone(&ends), Arc::clone(&sent));
            std::thread::spawn(move || {
                let runtime = runtime();
                runtime.block_on(async {
                    let client = Client::new(ClientConfig::new([what.bootstrap.as_str()])).unwrap();
                    // The broker may be away for as long as a loaded machine takes to start it again.
                    let producer = client
                        .producer()
                        .compression(Compression::Lz4)
                        .delivery_timeout(Duration::from_secs(600))
                        .max_block(Duration::from_secs(600))
                        .build();
                    let mut times = vec![0; pace.lots()];
                    let mut made: Vec<Vec<(String, Vec<u8>)>> = Vec::new();
                    for day in 0..days {
                        let lot = day as usize % times.len();
                        if lot == made.len() {
                            made.push(messages(&what.lines, &what.pools, lot));
                        }
                        send_day(&producer, what.topic, &made[lot], pace, &ends, &sent).await;
                        times[lot] += 1;
                        if ends.load(Ordering::Relaxed) {
                            break;
                        }
                        if matches!(pace, Pace::Full) {
                            let ahead = AHEAD_MAX * made[lot].len() as u64;
                            until_read(&client, &what, sent.load(Ordering::Relaxed).saturating_sub(ahead))
                                .await;
                        }
                    }
                    producer.flush().await;
                    assert_eq!(producer.delivered().failed, 0, "messages were not delivered");
                    times
                })
            })
        };
        Feed { thread, ends, sent }
    }

    /// How many messages were sent.
    pub(crate) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    pub(crate) fn flows(&self) -> bool {
        !self.thread.is_finished()
    }

    /// Lets the day that is being sent come to its end, and says how often each lot was sent.
    pub(crate) fn ends(self) -> Vec<u64> {
        self.ends.store(true, Ordering::Relaxed);
        self.thread.join().expect("the feed")
    }
}

async fn send_day(
    producer: &Producer,
    topic: &str,
    messages: &[(String, Vec<u8>)],
    pace: Pace,
    ends: &AtomicBool,
    sent: &AtomicU64,
) {
    let began = Instant::now();
    for (number, (key, value)) in messages.iter().enumerate() {
        if let Pace::Day(day) = pace
            && !ends.load(Ordering::Relaxed)
        {
            tokio::time::sleep_until(began + day.mul_f64(number as f64 / messages.len() as f64)).await;
        }
        producer.enqueue(Outgoing::to(topic).key(key.as_bytes()).value(value)).await.unwrap();
        sent.fetch_add(1, Ordering::Relaxed);
    }
}

/// Waits until each group has committed so many messages.
async fn until_read(client: &Client, what: &What, messages: u64) {
    for group in &what.groups {
        loop {
            let read =
                client.admin().group_offsets(group).await.map(|all| all.iter().map(|(_, at)| *at).sum());
            if read.is_ok_and(|read: i64| read >= 0 && read as u64 >= messages) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Asks a broker from outside how far groups have read.
pub(crate) struct Watch {
    runtime: Runtime,
    client: Client,
}

impl Watch {
    pub(crate) fn new(bootstrap: &str) -> Watch {
        let runtime = runtime();
        let client = {
            let _inside = runtime.enter();
            Client::new(ClientConfig::new([bootstrap]).api_timeout(Duration::from_secs(20))).unwrap()
        };
        Watch { runtime, client }
    }

    /// How many messages a group has committed; `None` if the broker does not say it now.
    pub(crate) fn read(&self, group: &str) -> Option<i64> {
        let offsets = self.runtime.block_on(self.client.admin().group_offsets(group)).ok()?;
        Some(offsets.iter().map(|(_, at)| *at).sum())
    }

    /// How many messages the topic has.
    pub(crate) fn end(&self, topic: &str, partitions: i32) -> Option<i64> {
        let all: Vec<TopicPartition> =
            (0..partitions).map(|partition| TopicPartition { topic: topic.to_owned(), partition }).collect();
        let ends = self.runtime.block_on(self.client.admin().list_offsets(&all, SeekTo::Latest)).ok()?;
        Some(ends.iter().map(|(_, at)| *at).sum())
    }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}
