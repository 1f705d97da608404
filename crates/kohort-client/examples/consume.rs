//! A member of a group that commits what it has handled, and leaves in order on Ctrl-C.
//!
//!     cargo run -p kohort-client --example consume -- 127.0.0.1:9092 charts trades

use std::collections::BTreeMap;

use kohort_client::{Client, ClientConfig, ConsumerEvent, Offset, OffsetReset, TopicPartition};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(server), Some(group), Some(topic)) = (args.next(), args.next(), args.next()) else {
        return Err("usage: consume HOST:PORT GROUP TOPIC".into());
    };
    let client = Client::new(ClientConfig::new([server]).client_id("example"))?;
    let mut consumer = client
        .consumer()
        .group(group)
        .assignors(["cooperative-sticky"])
        .offset_reset(OffsetReset::Earliest)
        .build()?;
    consumer.subscribe([topic])?;
    // What is handled and not committed yet.
    let mut done: BTreeMap<TopicPartition, Offset> = BTreeMap::new();
    loop {
        let event = tokio::select! {
            event = consumer.next() => event,
            _ = tokio::signal::ctrl_c() => break,
        };
        match event {
            ConsumerEvent::Batch(batch) => {
                for record in batch.records() {
                    // Key, value and headers are slices of the batch: nothing is copied.
                    let record = record?;
                    let value = String::from_utf8_lossy(record.value.unwrap_or_default());
                    println!("{}-{} {}: {value}", batch.topic(), batch.partition(), record.offset);
                }
                done.insert(batch.topic_partition(), batch.next_offset());
                // Does not wait: the next batch is handled meanwhile.
                consumer.commit_async([(batch.topic_partition(), batch.next_offset())]);
            }
            ConsumerEvent::Assigned { added, all, .. } => {
                eprintln!("{} more, {} in all", added.len(), all.len())
            }
            ConsumerEvent::Revoking { partitions, ack } => {
                // Until `ack` is dropped nobody else owns them: the last moment to commit.
                let last: Vec<_> = partitions.iter().filter_map(|name| done.remove_entry(name)).collect();
                if let Err(error) = consumer.commit(last).await {
                    eprintln!("not committed, somebody else will read it again: {error}");
                }
                drop(ack);
            }
            ConsumerEvent::Lost { partitions } => done.retain(|name, _| !partitions.contains(name)),
            ConsumerEvent::Halted { partition, error } => eprintln!("{partition:?} is not read on: {error}"),
            ConsumerEvent::Left { reason } => eprintln!("out of the group: {reason:?}"),
            ConsumerEvent::Fatal(error) => return Err(error.into()),
        }
    }
    consumer.commit(done).await?;
    consumer.close().await;
    Ok(())
}
