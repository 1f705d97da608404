//! The same rows with Kafka's own client: who must get which partition is what its assignors decide, on Kafka and on ours.
//!
//! Needs Kafka's jars: `KOHORT_KAFKA_DIR` is a folder of `tests/peers/kafka install`. Run with `--ignored`, as `.ci/run` does.

use std::path::Path;
use std::process::{Child, ChildStdin, Command, Stdio};

use crate::rows::{Expected, TOPICS, assert_assigned, by_range, by_roundrobin, rows};
use crate::world::World;

/// Kafka's members, which go when their stdin does.
struct Members {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Members {
    fn start(world: &World, assignor: &str) -> Members {
        let folder =
            std::env::var("KOHORT_KAFKA_DIR").expect("KOHORT_KAFKA_DIR names a folder with Kafka's jars");
        let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/peers/Members.java");
        let mut members = Vec::new();
        for (name, kq) in rows(world) {
            for number in 0..kq.consumers {
                let instance = if number == 0 { name.clone() } else { format!("{name}-{number}") };
                members.push(format!("{},{},{instance},{assignor}", kq.group, kq.topic));
            }
        }
        let mut child = Command::new("java")
            .args(["-Xmx256m", "-cp", &format!("{folder}/libs/*")])
            .arg(program)
            .arg(&world.bootstrap)
            .args(members)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Members { child, stdin }
    }
}

impl Drop for Members {
    fn drop(&mut self) {
        drop(self.stdin.take());
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

async fn every_row(world: &World, assignor: &str, expected: &[Expected]) {
    for (topic, partitions) in TOPICS {
        world.topic(topic, partitions).await;
    }
    let _members = Members::start(world, assignor);
    assert_assigned(world, expected).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka's jars: KOHORT_KAFKA_DIR"]
async fn kafkas_own_members_divide_the_rows_as_written_here() {
    every_row(&World::new().await, "range", &by_range()).await;
    every_row(&World::new().await, "roundrobin", &by_roundrobin()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Apache Kafka's jars: KOHORT_KAFKA_DIR"]
async fn kafkas_own_members_divide_the_rows_as_written_here_on_our_broker() {
    every_row(&World::own().await, "range", &by_range()).await;
    every_row(&World::own().await, "roundrobin", &by_roundrobin()).await;
}
