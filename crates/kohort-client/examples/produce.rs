//! Lines of standard input into a topic, each acknowledged by all in-sync replicas.
//!
//!     cargo run -p kohort-client --example produce -- 127.0.0.1:9092 trades <lines.txt

use std::io::BufRead;
use std::time::Duration;

use kohort_client::{Client, ClientConfig, Compression, Outgoing};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(server), Some(topic)) = (args.next(), args.next()) else {
        return Err("usage: produce HOST:PORT TOPIC".into());
    };
    let client = Client::new(ClientConfig::new([server]).client_id("example"))?;
    // Idempotent, and acknowledged by all, unless told otherwise: no retry writes a record twice.
    let producer = client.producer().compression(Compression::Lz4).linger(Duration::from_millis(5)).build();
    let mut last = None;
    for line in std::io::stdin().lock().lines() {
        // Takes the record at once; waits only while `buffer_memory` is used up.
        let ack = producer.send(Outgoing::to(&topic).value(line?.as_bytes())).await?;
        last = Some(ack);
    }
    // Who needs each record's offset awaits each ack; here the last one and the count will do.
    producer.flush().await;
    if let Some(ack) = last {
        let written = ack.await?;
        eprintln!("the last one is at {}-{} {}", written.topic, written.partition, written.offset);
    }
    eprintln!("{:?}", producer.delivered());
    producer.close(Duration::from_secs(10)).await?;
    Ok(())
}
