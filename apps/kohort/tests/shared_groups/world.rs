//! A broker, topics, and members that write down what they handle.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::{Duration, Instant};

use kohort_broker::{Broker, Config};
use kohort_client::admin::NewTopic;
use kohort_client::{Client, ClientConfig, Outgoing, OwnedRecord, TopicPartition};
use kohort_runtime::{GroupConfig, HandleError, Handler, HandlerGroup, Retries, Running, kq};
use kohort_service::{Kq, ServiceFile};
use tempfile::TempDir;

/// A busy machine is no failure; this long is one. Kafka misses a killed member after its session, 6 s here.
pub(crate) const PATIENCE: Duration = Duration::from_secs(90);

pub(crate) struct World {
    pub(crate) bootstrap: String,
    pub(crate) client: Client,
    /// Before each name of a topic and a group: others may use the same broker.
    prefix: String,
    _own: Option<(Broker, TempDir)>,
}

impl World {
    pub(crate) async fn new() -> World {
        match std::env::var("KOHORT_TEST_BOOTSTRAP") {
            Ok(bootstrap) => World::at(bootstrap, None),
            Err(_) => World::own().await,
        }
    }

    /// A broker of ours, whatever the environment says.
    pub(crate) async fn own() -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = Config::new(folder.path());
        config.settings.set_pair("group.initial.rebalance.delay.ms=0").unwrap();
        let broker = Broker::start(config).await.unwrap();
        World::at(broker.address().to_string(), Some((broker, folder)))
    }

    fn at(bootstrap: String, own: Option<(Broker, TempDir)>) -> World {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        remember_logs();
        let client = Client::new(ClientConfig::new([&*bootstrap])).unwrap();
        let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
        let prefix = format!("s{now}-{}-", NUMBER.fetch_add(1, Ordering::Relaxed));
        World { bootstrap, client, prefix, _own: own }
    }

    /// A name as the broker knows it.
    pub(crate) fn named(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }

    pub(crate) async fn topic(&self, name: &str, partitions: i32) {
        let topic = NewTopic::new(self.named(name), partitions);
        for (_, made) in self.client.admin().create_topics(&[topic]).await.unwrap() {
            made.unwrap();
        }
    }

    /// The blocks of a service's file, on this broker's topics and groups.
    pub(crate) fn blocks(&self, text: &str) -> Vec<(String, Kq)> {
        let file = ServiceFile::parse("test", "test.yaml", text).unwrap();
        let of = |mut kq: Kq| {
            (kq.group, kq.topic) = (self.named(&kq.group), self.named(&kq.topic));
            kq.session_timeout = Some(Duration::from_secs(6));
            kq.commit_interval = Duration::from_millis(50);
            (file.name.clone(), kq)
        };
        file.kqs.iter().cloned().map(of).collect()
    }

    /// One block of this group and topic.
    pub(crate) fn block(&self, group: &str, topic: &str, more: &str) -> Kq {
        let text =
            format!("Kq:\n  Group: {group}\n  Topic: {topic}\n  Offset: first\n  Processors: 1\n{more}");
        self.blocks(&text).remove(0).1
    }

    /// Starts the members of a block; what they handle stands in `book` under `name`, and the member's number if it has several.
    pub(crate) fn start(&self, name: &str, kq: &Kq, book: &Book) -> Running {
        let brokers = [self.bootstrap.clone()];
        let client = kq::client(kq, name, Some(&brokers)).unwrap();
        HandlerGroup::start_each(&client, GroupConfig::of(kq), Retries::of(kq), |number| {
            let name = if number == 0 { name.to_owned() } else { format!("{name}-{number}") };
            Arc::new(Scribe { name, book: book.clone() })
        })
        .unwrap()
    }

    /// Sends so many records to a partition, and waits until they are there.
    pub(crate) async fn produce(&self, topic: &str, partition: i32, records: usize) {
        let producer = self.client.producer().build();
        let topic = self.named(topic);
        let mut acks = Vec::new();
        for _ in 0..records {
            let record = Outgoing::to(&topic).partition(partition).value(b"[]");
            acks.push(producer.send(record).await.unwrap());
        }
        for ack in acks {
            ack.await.unwrap();
        }
    }

    /// Waits until a group is stable with so many members that own so many partitions, and says who owns which: by instance id, or by
    /// member id where there is none. Partitions are `topic-number`, as the test named the topic.
    pub(crate) async fn assigned(&self, group: &str, members: usize, partitions: usize) -> Owners {
        let began = Instant::now();
        let group = self.named(group);
        loop {
            let described = self.client.admin().describe_group(&group).await.unwrap();
            let owner = |m: &kohort_client::admin::MemberDescription| {
                let owned = m.assignment.iter().map(|tp| self.short(tp)).collect::<Vec<_>>();
                (m.instance_id.clone().unwrap_or_else(|| m.member_id.clone()), owned)
            };
            let owners: Owners = described.members.iter().map(owner).collect();
            let distinct: BTreeSet<&String> = owners.values().flatten().collect();
            if described.state == "Stable"
                && (owners.len(), distinct.len()) == (members, partitions)
                && owners.values().map(Vec::len).sum::<usize>() == partitions
            {
                return owners;
            }
            assert!(
                began.elapsed() < PATIENCE,
                "`{group}` has not {members} members with {partitions}: {described:#?}"
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn short(&self, tp: &TopicPartition) -> String {
        let topic = tp.topic.strip_prefix(&self.prefix).unwrap_or(&tp.topic);
        format!("{topic}-{}", tp.partition)
    }

    /// What a group committed, by partition.
    pub(crate) async fn committed(&self, group: &str) -> BTreeMap<String, i64> {
        let offsets = self.client.admin().group_offsets(&self.named(group)).await.unwrap();
        offsets.iter().map(|(tp, offset)| (self.short(tp), *offset)).collect()
    }

    /// Waits until a group committed this for each of the partitions.
    pub(crate) async fn until_committed(&self, group: &str, wanted: &[(&str, i64)]) {
        let began = Instant::now();
        loop {
            let committed = self.committed(group).await;
            if wanted.iter().all(|(partition, offset)| committed.get(*partition) == Some(offset)) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "`{group}` has committed {committed:?}, not {wanted:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Who owns which partitions.
pub(crate) type Owners = BTreeMap<String, Vec<String>>;

/// What was handled, in order: by whom, of which topic (as the broker names it) and partition, at which offset.
#[derive(Clone, Default)]
pub(crate) struct Book(Arc<Mutex<Vec<Entry>>>);

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) who: String,
    pub(crate) topic: String,
    pub(crate) partition: i32,
    pub(crate) offset: i64,
}

impl Book {
    pub(crate) fn entries(&self) -> Vec<Entry> {
        self.0.lock().unwrap().clone()
    }

    /// Waits until what stands there is as wanted.
    pub(crate) async fn until(&self, what: &str, wanted: impl Fn(&[Entry]) -> bool) -> Vec<Entry> {
        let began = Instant::now();
        loop {
            let entries = self.entries();
            if wanted(&entries) {
                return entries;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: there are {}: {:?}", entries.len(), entries.last());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }
}

struct Scribe {
    name: String,
    book: Book,
}

impl Handler for Scribe {
    async fn handle(&self, record: &OwnedRecord) -> Result<(), HandleError> {
        let (who, topic) = (self.name.clone(), record.topic.to_string());
        let entry = Entry { who, topic, partition: record.partition, offset: record.offset };
        self.book.0.lock().unwrap().push(entry);
        Ok(())
    }
}

/// What the runtime logged so far, of all tests.
static LOG: Mutex<Vec<u8>> = Mutex::new(Vec::new());

struct Remember;

impl Write for Remember {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        LOG.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

fn remember_logs() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::WARN)
            .with_writer(|| Remember)
            .init();
    });
}

/// Waits until the runtime has logged a line with all of these words.
pub(crate) async fn until_logged(words: &[&str]) {
    let began = Instant::now();
    loop {
        let log = String::from_utf8_lossy(&LOG.lock().unwrap()).into_owned();
        if log.lines().any(|line| words.iter().all(|word| line.contains(word))) {
            return;
        }
        assert!(began.elapsed() < PATIENCE, "no line with {words:?} in\n{log}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Owners, written short: `("a", "t-0 t-1")`.
pub(crate) fn owners(of: &[(&str, &str)]) -> Owners {
    let split = |names: &str| names.split_whitespace().map(str::to_owned).collect();
    of.iter().map(|(who, owned)| ((*who).to_owned(), split(owned))).collect()
}
