//! A member dies: its partitions go to the survivor, which goes on at the committed offset.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::world::{Book, PATIENCE, World};

#[tokio::test(flavor = "multi_thread")]
async fn what_a_member_had_that_is_gone_without_a_word_is_handled_by_the_survivor() {
    const EACH: i64 = 400;
    let world = World::new().await;
    world.topic("t", 4).await;
    let kq = world.block("crash", "t", "  Consumers: 1\n");
    let book = Book::default();
    let (killed, survivor) = (world.start("killed", &kq, &book), world.start("survivor", &kq, &book));
    let owners = world.assigned("crash", 2, 4).await;
    let id = killed.stats().members()[0].member_id.clone();
    let lost: BTreeSet<String> = owners[&id].iter().cloned().collect();
    assert_eq!(lost.len(), 2);
    let send = async {
        for _ in 0..EACH / 20 {
            for partition in 0..4 {
                world.produce("t", partition, 20).await;
            }
        }
    };
    let crash = async {
        // Something is committed, and something is on its way.
        let began = Instant::now();
        let committed = loop {
            let committed = world.committed("crash").await;
            if lost.iter().all(|name| committed.get(name).is_some_and(|offset| *offset > 0)) {
                break committed;
            }
            assert!(began.elapsed() < PATIENCE, "nothing is committed: {committed:?}");
        };
        drop(killed);
        committed
    };
    let ((), committed) = tokio::join!(send, crash);
    let entries = book
        .until("every record is handled", |entries| {
            entries.iter().map(|e| (e.partition, e.offset)).collect::<BTreeSet<_>>().len()
                == 4 * EACH as usize
        })
        .await;
    world.assigned("crash", 1, 4).await;
    let mut times: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    entries.iter().for_each(|e| *times.entry((e.partition, e.offset)).or_default() += 1);
    for ((partition, offset), times) in times {
        let name = format!("t-{partition}");
        // Twice at most, and only what was not committed when its member died.
        let twice = times == 2 && lost.contains(&name) && offset >= committed[&name];
        assert!(
            times == 1 || twice,
            "record {offset} of {name} is handled {times} times; committed: {committed:?}"
        );
    }
    for name in &lost {
        let of_it = |who: &str| {
            let of = entries.iter().filter(|e| e.who == who && format!("t-{}", e.partition) == *name);
            of.map(|e| e.offset).collect::<Vec<_>>()
        };
        let (before, after) = (of_it("killed"), of_it("survivor"));
        let first = after.first().copied().unwrap_or(EACH);
        assert!(
            (committed[name]..=before.last().unwrap() + 1).contains(&first),
            "{name}: went on at {first}"
        );
    }
    assert!(survivor.stop().await.drained);
}

/// `kohort consumer` with one member, as a process.
struct Process {
    child: Child,
    http: String,
}

impl Process {
    fn start(world: &World, folder: &Path, name: &str, commit_interval: &str) -> Process {
        let file = folder.join(format!("{name}.yaml"));
        let text = format!(
            "Name: {name}\nBrokers: [{}]\nKq:\n  Group: {}\n  Topic: {}\n  Offset: first\n  Consumers: 1\n  Processors: 1\n  \
             CommitInterval: {commit_interval}\n  SessionTimeout: 6s\n",
            world.bootstrap,
            world.named("kill"),
            world.named("t")
        );
        std::fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(["consumer", "--quiet", "--http", "127.0.0.1:0", "-f"])
            .arg(&file)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let http = line.trim().strip_prefix("http listening on http://").expect("it says where").to_owned();
        Process { child, http }
    }

    fn ask(&self, request: &str) -> Value {
        let mut stream = TcpStream::connect(&self.http).unwrap();
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        serde_json::from_str(answer.split_once("\r\n\r\n").unwrap().1).unwrap()
    }

    fn tell(&self, what: &str) {
        let head = "POST /api/behave HTTP/1.0\r\nContent-Type: application/json";
        self.ask(&format!("{head}\r\nContent-Length: {}\r\n\r\n{what}", what.len()));
    }

    /// Asks until the only block is as wanted.
    fn until(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let block = self.ask("GET /api/flow HTTP/1.0\r\n\r\n")["blocks"][0].clone();
            if wanted(&block) {
                return block;
            }
            assert!(began.elapsed() < PATIENCE, "{what}: still {block:#}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it owns so many partitions, and says the first.
    fn owns(&self, count: usize) -> i32 {
        let partitions =
            |block: &Value| block["members"][0]["partitions"].as_array().cloned().unwrap_or_default();
        let block = self.until("partitions", |block| partitions(block).len() == count);
        i32::try_from(partitions(&block)[0].as_i64().unwrap()).unwrap()
    }

    fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A number of the flow of a partition.
fn flow(block: &Value, partition: i32, field: &str) -> Option<i64> {
    let flows = block["flows"].as_array()?;
    flows.iter().find(|flow| flow["partition"] == partition && flow["owned"] == true)?[field].as_i64()
}

/// Two processes, each with one of two partitions: the one to be killed, its partition, the survivor.
async fn two(world: &World, folder: &Path, commit_interval: &str) -> (Process, i32, Process) {
    world.topic("t", 2).await;
    let killed = Process::start(world, folder, "killed", commit_interval);
    let survivor = Process::start(world, folder, "survivor", "50ms");
    world.assigned("kill", 2, 2).await;
    let partition = killed.owns(1);
    survivor.owns(1);
    (killed, partition, survivor)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_survivor_of_a_kill_9_goes_on_at_the_committed_offset() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new().await;
    let (killed, partition, survivor) = two(&world, folder.path(), "50ms").await;
    world.produce("t", partition, 30).await;
    world.until_committed("kill", &[(&format!("t-{partition}"), 30)]).await;
    // What comes now it has in hand, and has not done.
    killed.tell(r#"{"hang": true}"#);
    world.produce("t", partition, 20).await;
    killed.until("it has one in hand", |block| block["members"][0]["in_hand"] == 1);
    killed.kill();
    let done = |block: &Value| flow(block, partition, "lag") == Some(0);
    let block = survivor.until("the survivor has done the rest", done);
    assert_eq!(flow(&block, partition, "messages"), Some(20), "{block:#}");
    assert_eq!(flow(&block, partition, "committed"), Some(50));
    world.assigned("kill", 1, 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_done_and_not_committed_is_done_again_after_a_kill_9() {
    let folder = tempfile::tempdir().unwrap();
    let world = World::new().await;
    let (killed, partition, survivor) = two(&world, folder.path(), "1h").await;
    world.produce("t", partition, 30).await;
    killed.until("it has done all", |block| flow(block, partition, "messages") == Some(30));
    let committed = world.committed("kill").await.get(&format!("t-{partition}")).copied().unwrap_or(0);
    assert_eq!(committed, 0);
    killed.kill();
    let block =
        survivor.until("the survivor has done it again", |block| flow(block, partition, "lag") == Some(0));
    assert_eq!(flow(&block, partition, "messages"), Some(30), "{block:#}");
}
